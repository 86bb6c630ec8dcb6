"""Measures of recorded episodes: the figures of a gait report, and the gait cycles of its plots."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from surefoot.bodies.body import Body
from surefoot.evaluation.statistics import summarise
from surefoot.evaluation.travel import distance_travelled, heading, summarise_travel
from surefoot.gait import contacts as gait
from surefoot.gait.gait_names import UNCLEAR, name_gait
from surefoot.gait.probes import BodyModel, Motion
from surefoot.gait.recording import Episode, Recording

SETTLING_S = 1.0  # left out at the start of each episode, and before a fall
MIN_FORCE = 0.05  # fraction of the body's weight; a lighter contact does not count
_MIN_STRIDES = 3
# A phase lag is reported only if at least this fraction of strides has one, and their mean unit vector has at least
# this length.
MIN_AGREEMENT = 0.7
_MAX_CYCLES = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class GaitSegment:
    """The part of an episode in which the gait is measured."""

    motion: Motion  # T samples of that part
    contact: np.ndarray  # (T, F) bool, with bounces filled
    strides: list[np.ndarray]  # strides of each foot, (S, 2) samples


@dataclasses.dataclass(frozen=True, eq=False)
class GaitCycles:
    """All strides of the reference foot, resampled to C points from 0 to 100 % of the cycle."""

    reference: int  # index of the foot whose landing starts the cycles
    angle: np.ndarray  # (S, C, J) rad
    speed: np.ndarray  # (S, C, J) rad/s
    height: np.ndarray  # (S, C, F) m
    contact: np.ndarray  # (C, F) fraction of strides in which a foot is in contact


def measure_returns(recording: Recording) -> dict[str, Any]:
    """Return statistics of returns, durations, falls and reward terms."""
    episodes = recording.episodes
    fell = [episode.fell for episode in episodes]
    names = sorted({name for episode in episodes for name in episode.terms})
    return {
        "episodes": len(episodes),
        "return": summarise([episode.reward.sum() for episode in episodes]),
        "seconds": summarise([len(episode.reward) * recording.step_s for episode in episodes]),
        "falls": None if None in fell else sum(map(bool, fell)),
        "terminated": sum(episode.terminated for episode in episodes),
        "reward_terms": {
            name: float(np.mean([np.nansum(e.terms[name]) for e in episodes if name in e.terms])) for name in names
        },
    }


def measure_joints(body: Body, model: BodyModel, episodes: Sequence[Episode]) -> dict[str, dict[str, Any]]:
    """Return angles (degrees), speeds, torques and powers of each joint over whole episodes, and their limits."""
    motions = [episode.motion for episode in episodes if episode.motion is not None]
    angle, speed, torque = (
        np.concatenate([getattr(motion, name) for motion in motions]) for name in ("angle", "speed", "torque")
    )
    power, degrees, limit = torque * speed, np.degrees(angle), model.torque_limit
    at_limit = (np.abs(torque) >= 0.99 * limit).mean(axis=0)
    columns = {
        "mean_deg": degrees.mean(axis=0),
        "sd_deg": degrees.std(axis=0),
        "min_deg": degrees.min(axis=0),
        "max_deg": degrees.max(axis=0),
        "range_low_deg": np.degrees(model.joint_range[:, 0]),
        "range_high_deg": np.degrees(model.joint_range[:, 1]),
        "speed_peak_rad_s": np.abs(speed).max(axis=0),
        "speed_limit_rad_s": model.speed_limit,
        "torque_peak_nm": np.abs(torque).max(axis=0),
        "torque_rms_nm": np.sqrt((torque**2).mean(axis=0)),
        "torque_limit_nm": limit,
        "fraction_at_torque_limit": np.where(np.isfinite(limit), at_limit, np.nan),
        "power_peak_w": power.max(axis=0),
        "power_mean_abs_w": np.abs(power).mean(axis=0),
    }
    return {
        joint: {name: float(values[index]) for name, values in columns.items()}
        for index, joint in enumerate(body.joints)
    }


def find_segments(body: Body, model: BodyModel, episodes: Sequence[Episode]) -> list[GaitSegment]:
    """Return the parts of episodes in which the gait is measured; short episodes have none."""
    segments = []
    skip = round(SETTLING_S / model.step_s)
    for episode in episodes:
        if episode.motion is None:
            continue
        end = len(episode.motion.time) - (skip if episode.fell else 0)
        if end - skip < skip:
            continue
        motion = Motion(*(getattr(episode.motion, field.name)[skip:end] for field in dataclasses.fields(Motion)))
        too_light = motion.force < MIN_FORCE * model.mass_kg * model.gravity  # False for unknown forces (NaN)
        feet = (motion.contact & ~too_light).T
        contact = np.stack([gait.without_bounces(foot, model.step_s) for foot in feet], axis=1)
        strides = [gait.steady(gait.find_strides(contact[:, foot])) for foot in range(len(body.feet))]
        segments.append(GaitSegment(motion, contact, strides))
    return segments


def find_cycles(segments: Sequence[GaitSegment]) -> GaitCycles | None:
    """Return the strides of the foot with the most regular steps, or None if no foot steps."""
    reference = _reference_foot(segments)
    if reference is None:
        return None
    parts = [
        [
            gait.over_cycle(values, segment.strides[reference])
            for values in (
                *(segment.motion.angle, segment.motion.speed, segment.motion.height),
                segment.contact.astype(float),
            )
        ]
        for segment in segments
        if len(segment.strides[reference])
    ]
    angle, speed, height, contact = (np.concatenate(part) for part in zip(*parts, strict=True))
    chosen = np.unique(np.linspace(0, len(angle) - 1, min(len(angle), _MAX_CYCLES)).astype(int))
    return GaitCycles(reference, angle[chosen], speed[chosen], height[chosen], contact.mean(axis=0))


def measure_gait(
    body: Body, model: BodyModel, segments: Sequence[GaitSegment], cycles: GaitCycles | None
) -> dict[str, Any] | None:
    """Return the measures of a gait, or None if every episode was too short."""
    if not segments:
        return None
    step_s = model.step_s
    seconds = sum(len(segment.contact) for segment in segments) * step_s
    motions = [segment.motion for segment in segments]
    travels = [summarise_travel(motion.position, heading(motion.orientation), step_s) for motion in motions]
    lengths = [len(motion.position) - 1 for motion in motions]
    travel = {x: float(np.average([part[x] for part in travels], weights=lengths)) for x in travels[0]}
    distance = sum(distance_travelled(motion.position, step_s) for motion in motions)
    work = np.sum([gait.joint_work(motion.torque, motion.speed, step_s) for motion in motions], axis=0)
    supports = gait.support_fractions(np.concatenate([segment.contact for segment in segments]))
    feet = {foot.name: _measure_foot(model, segments, cycles, index) for index, foot in enumerate(body.feet)}
    duty = [foot["duty_factor"]["mean"] for foot in feet.values() if foot["duty_factor"]]
    lags = {name: foot["phase_lag"] for name, foot in feet.items()}
    costs = [gait.cost_of_transport(joules, model.mass_kg, model.gravity, distance) for joules in work]
    heights = np.concatenate([motion.position[:, 2] for motion in motions])
    others = np.concatenate([motion.other for motion in motions])
    return {
        "name": name_gait(body, lags, float(np.mean(duty)), supports[0]) if cycles and duty else UNCLEAR,
        "reference_foot": body.feet[cycles.reference].name if cycles else None,
        "episodes": len(segments),
        "seconds": seconds,
        **travel,
        "stride": _measure_strides(model, segments, cycles),
        "duty_factor": float(np.mean(duty)) if duty else None,
        "feet": feet,
        "flight_fraction": float(supports[0]),
        "support_fractions": [float(fraction) for fraction in supports],
        "other_contact_fraction": float(others.mean()),
        "cost_of_transport": costs[0],
        "cost_of_transport_absolute": costs[1],
        "mean_positive_power_w": float(work[0] / seconds),
        "trunk_height_m": {"mean": float(heights.mean()), "sd": float(heights.std())},
        "symmetry_percent": _measure_symmetry(body, feet, segments),
    }


def _reference_foot(segments: Sequence[GaitSegment]) -> int | None:
    """Return the foot with the least variable stride duration, among those with enough strides."""
    variation = {}
    for foot in range(segments[0].contact.shape[1] if segments else 0):
        durations = np.concatenate([np.diff(segment.strides[foot], axis=1)[:, 0] for segment in segments])
        if len(durations) >= _MIN_STRIDES:
            variation[foot] = round(float(durations.std() / durations.mean()), 9)
    return min(variation, key=lambda foot: variation[foot], default=None)


def _measure_strides(
    model: BodyModel, segments: Sequence[GaitSegment], cycles: GaitCycles | None
) -> dict[str, Any] | None:
    if cycles is None:
        return None
    strides = [segment.strides[cycles.reference] for segment in segments]
    seconds = np.concatenate([np.diff(samples, axis=1)[:, 0] for samples in strides]) * model.step_s
    lengths = [gait.stride_lengths(segment.motion.position, segment.strides[cycles.reference]) for segment in segments]
    return {
        "count": len(seconds),
        "seconds": _spread(seconds),
        "frequency_hz": _spread(1 / seconds),
        "length_m": _spread(np.concatenate(lengths)),
    }


def _measure_foot(
    model: BodyModel, segments: Sequence[GaitSegment], cycles: GaitCycles | None, foot: int
) -> dict[str, Any]:
    duty = np.concatenate([gait.duty_factors(segment.contact[:, foot], segment.strides[foot]) for segment in segments])
    swings = [gait.swing_heights(segment.motion.height[:, foot], segment.contact[:, foot]) for segment in segments]
    peaks, clearances = (np.concatenate(heights) for heights in zip(*swings, strict=True))
    lag, agreement = None, None
    if cycles is not None:
        contacts = [(segment.contact, segment.strides[cycles.reference]) for segment in segments]
        lags = [gait.phase_lags(x[:, foot], x[:, cycles.reference], strides) for x, strides in contacts]
        mean, agreement = gait.circular_mean(np.concatenate(lags))
        measured_fraction = sum(map(len, lags)) / sum(len(strides) for _, strides in contacts)
        if agreement >= MIN_AGREEMENT and measured_fraction >= MIN_AGREEMENT:
            lag = mean
    force = np.concatenate([segment.motion.force[:, foot] for segment in segments])
    return {
        "strides": len(duty),
        "duty_factor": _spread(duty) if len(duty) else None,
        "phase_lag": lag,
        "phase_agreement": agreement,
        "clearance_peak_m": _spread(peaks) if len(peaks) else None,
        "clearance_mid_swing_m": _spread(clearances) if len(clearances) else None,
        "force_peak_body_weights": float(force.max() / (model.mass_kg * model.gravity)),
    }


def _measure_symmetry(body: Body, feet: dict[str, dict], segments: Sequence[GaitSegment]) -> dict[str, float]:
    """Return symmetry indices of foot pairs (duty factor) and of joint pairs (standard deviation of the angle)."""
    indices = {}
    for left, right in body.foot_pairs:
        duties = [feet[name]["duty_factor"] for name in (left, right)]
        if all(duties):
            indices[f"duty factor, {left} and {right}"] = gait.symmetry_index(duties[0]["mean"], duties[1]["mean"])
    angle = np.concatenate([segment.motion.angle for segment in segments])
    for left, right in body.joint_pairs:
        swings = [float(angle[:, body.joints.index(name)].std()) for name in (left, right)]
        indices[f"swing, {left} and {right}"] = gait.symmetry_index(*swings)
    return indices


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values))}
