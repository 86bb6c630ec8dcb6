"""Measure recorded episodes: the figures of a gait report, and the cycles that its pictures show."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from surefoot.bodies.body import Body
from surefoot.evaluation.statistics import summarise
from surefoot.gait import contacts as gait
from surefoot.gait.gait_names import UNCLEAR, name_gait
from surefoot.gait.probes import Build, Motion
from surefoot.gait.recording import Episode, Recording

SETTLING_S = 1.0  # of each episode's start, and before a fall, no gait is measured
FIRM = 0.05  # of the body's weight: a foot that presses less only brushes the ground
_FEWEST_STRIDES = 3
AGREEMENT = 0.7  # a phase lag is told if strides agree at least so well, and at least such a share of them has one
_MOST_CYCLES = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """The part of an episode in which the gait is measured.

    Attributes:
        motion: cut to that part.
        contact: (T, F) bool, without bounces.
        strides: of each foot, (S, 2) samples.
    """

    motion: Motion
    contact: np.ndarray
    strides: list[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Cycles:
    """All strides of the reference foot, stretched to 0 to 100 %: C points.

    Attributes:
        reference: the index of the foot with whose landing they begin.
        angle: (S, C, J) radians.
        speed: (S, C, J) rad/s.
        height: (S, C, F) m.
        contact: (C, F) share of strides with a foot on the ground.
    """

    reference: int
    angle: np.ndarray
    speed: np.ndarray
    height: np.ndarray
    contact: np.ndarray


def measure_returns(recording: Recording) -> dict[str, Any]:
    """Return what the episodes earned, how long they lasted, how they ended and what the reward was made of."""
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


def measure_joints(body: Body, build: Build, episodes: Sequence[Episode]) -> dict[str, dict[str, Any]]:
    """Return by joint how it moved over whole episodes, beside what the model allows; angles in degrees."""
    motions = [episode.motion for episode in episodes if episode.motion is not None]
    angle, speed, torque = (
        np.concatenate([getattr(motion, name) for motion in motions]) for name in ("angle", "speed", "torque")
    )
    power = torque * speed
    found = {}
    for index, name in enumerate(body.joints):
        limit = build.torque_limit[index]
        low, high = np.degrees(build.joint_range[index])
        degrees = np.degrees(angle[:, index])
        found[name] = {
            "mean_deg": float(degrees.mean()),
            "sd_deg": float(degrees.std()),
            "min_deg": float(degrees.min()),
            "max_deg": float(degrees.max()),
            "range_low_deg": float(low),
            "range_high_deg": float(high),
            "speed_peak_rad_s": float(np.abs(speed[:, index]).max()),
            "speed_limit_rad_s": float(build.speed_limit[index]),
            "torque_peak_nm": float(np.abs(torque[:, index]).max()),
            "torque_rms_nm": float(np.sqrt((torque[:, index] ** 2).mean())),
            "torque_limit_nm": float(limit),
            "share_at_torque_limit": float((np.abs(torque[:, index]) >= 0.99 * limit).mean())
            if math.isfinite(limit)
            else math.nan,
            "power_peak_w": float(power[:, index].max()),
            "power_mean_abs_w": float(np.abs(power[:, index]).mean()),
        }
    return found


def find_walks(body: Body, build: Build, episodes: Sequence[Episode]) -> list[Walk]:
    """Return the walking parts of episodes; of one that is over too soon there is none."""
    walks = []
    skip = round(SETTLING_S / build.step_s)
    for episode in episodes:
        if episode.motion is None:
            continue
        end = len(episode.motion.time) - (skip if episode.fell else 0)
        if end - skip < skip:
            continue
        motion = Motion(
            **{field.name: getattr(episode.motion, field.name)[skip:end] for field in dataclasses.fields(Motion)}
        )
        brushing = motion.force < FIRM * build.mass_kg * build.gravity  # never so where the force is not known
        contact = np.stack(
            [gait.without_bounces(foot, build.step_s) for foot in (motion.contact & ~brushing).T], axis=1
        )
        strides = [gait.steady(gait.find_strides(contact[:, foot])) for foot in range(len(body.feet))]
        walks.append(Walk(motion, contact, strides))
    return walks


def find_cycles(walks: Sequence[Walk]) -> Cycles | None:
    """Return the strides of the foot that steps most regularly, or None where no foot steps."""
    reference = _reference_foot(walks)
    if reference is None:
        return None
    parts = [
        [
            gait.over_cycle(values, walk.strides[reference])
            for values in (walk.motion.angle, walk.motion.speed, walk.motion.height, walk.contact.astype(float))
        ]
        for walk in walks
        if len(walk.strides[reference])
    ]
    angle, speed, height, contact = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = np.unique(np.linspace(0, len(angle) - 1, min(len(angle), _MOST_CYCLES)).astype(int))
    return Cycles(reference, angle[kept], speed[kept], height[kept], contact.mean(axis=0))


def measure_gait(body: Body, build: Build, walks: Sequence[Walk], cycles: Cycles | None) -> dict[str, Any] | None:
    """Return the measures of a gait, or None where no episode went on for long enough."""
    if not walks:
        return None
    seconds = sum(len(walk.contact) for walk in walks) * build.step_s
    distance = sum(gait.travelled(walk.motion.position, build.step_s) for walk in walks)
    work = np.sum([gait.joint_work(walk.motion.torque, walk.motion.speed, build.step_s) for walk in walks], axis=0)
    supports = np.average(
        [gait.support_shares(walk.contact) for walk in walks], axis=0, weights=[len(walk.contact) for walk in walks]
    )
    feet = {foot.name: _measure_foot(build, walks, cycles, index) for index, foot in enumerate(body.feet)}
    duty = [foot["duty_factor"]["mean"] for foot in feet.values() if foot["duty_factor"]]
    lags = {name: foot["phase_lag"] for name, foot in feet.items()}
    costs = [gait.cost_of_transport(one, build.mass_kg, build.gravity, distance) for one in work]
    heights = np.concatenate([walk.motion.position[:, 2] for walk in walks])
    others = np.concatenate([walk.motion.other for walk in walks])
    return {
        "name": name_gait(body, lags, float(np.mean(duty)), supports[0]) if cycles and duty else UNCLEAR,
        "reference_foot": body.feet[cycles.reference].name if cycles else None,
        "episodes": len(walks),
        "seconds": seconds,
        "speed_m_s": distance / seconds,
        "stride": _measure_strides(build, walks, cycles),
        "duty_factor": float(np.mean(duty)) if duty else None,
        "feet": feet,
        "flight_share": float(supports[0]),
        "support_shares": [float(share) for share in supports],
        "other_parts_share": float(others.mean()),
        "cost_of_transport_given": costs[0],
        "cost_of_transport_all": costs[1],
        "mean_power_given_w": float(work[0] / seconds),
        "trunk_height_m": {"mean": float(heights.mean()), "sd": float(heights.std())},
        "symmetry_percent": _measure_symmetry(body, feet, walks),
    }


def _reference_foot(walks: Sequence[Walk]) -> int | None:
    """Return the foot whose strides differ least in length, of those with enough."""
    best: tuple[float, int] | None = None
    for foot in range(walks[0].contact.shape[1] if walks else 0):
        lasting = np.concatenate([np.diff(walk.strides[foot], axis=1)[:, 0] for walk in walks])
        if len(lasting) >= _FEWEST_STRIDES and (best is None or lasting.std() / lasting.mean() < best[0] - 1e-9):
            best = (float(lasting.std() / lasting.mean()), foot)
    return None if best is None else best[1]


def _measure_strides(build: Build, walks: Sequence[Walk], cycles: Cycles | None) -> dict[str, Any] | None:
    if cycles is None:
        return None
    strides = [walk.strides[cycles.reference] for walk in walks]
    seconds = np.concatenate([np.diff(one, axis=1)[:, 0] for one in strides]) * build.step_s
    lengths = np.concatenate(
        [gait.stride_lengths(walk.motion.position, one) for walk, one in zip(walks, strides, strict=True)]
    )
    return {
        "count": len(seconds),
        "seconds": _spread(seconds),
        "frequency_hz": _spread(1 / seconds),
        "length_m": _spread(lengths),
    }


def _measure_foot(build: Build, walks: Sequence[Walk], cycles: Cycles | None, foot: int) -> dict[str, Any]:
    duty = np.concatenate([gait.duty_factors(walk.contact[:, foot], walk.strides[foot]) for walk in walks])
    swings = [gait.swing_heights(walk.motion.height[:, foot], walk.contact[:, foot]) for walk in walks]
    greatest, least = (np.concatenate(part) for part in zip(*swings, strict=True))
    lag, agreement = None, None
    if cycles is not None:
        own = [(walk.contact, walk.strides[cycles.reference]) for walk in walks]
        lags = [gait.phase_lags(contact[:, foot], contact[:, cycles.reference], strides) for contact, strides in own]
        mean, agreement = gait.circular_mean(np.concatenate(lags))
        told = sum(map(len, lags)) / sum(len(strides) for _, strides in own)
        if agreement >= AGREEMENT and told >= AGREEMENT:
            lag = mean
    force = np.concatenate([walk.motion.force[:, foot] for walk in walks])
    return {
        "strides": len(duty),
        "duty_factor": _spread(duty) if len(duty) else None,
        "phase_lag": lag,
        "phase_agreement": agreement,
        "clearance_peak_m": _spread(greatest) if len(greatest) else None,
        "clearance_mid_swing_m": _spread(least) if len(least) else None,
        "force_peak_body_weights": float(force.max() / (build.mass_kg * build.gravity)),
    }


def _measure_symmetry(body: Body, feet: dict[str, dict], walks: Sequence[Walk]) -> dict[str, float]:
    """Return symmetry indices of pairs: of feet by their duty factors, of joints by how far they swing (2 sd)."""
    found = {}
    for left, right in body.foot_pairs:
        duties = [feet[name]["duty_factor"] for name in (left, right)]
        if all(duties):
            found[f"duty factor, {left} and {right}"] = gait.symmetry_index(duties[0]["mean"], duties[1]["mean"])
    angle = np.concatenate([walk.motion.angle for walk in walks])
    for left, right in body.joint_pairs:
        swings = [float(angle[:, body.joints.index(name)].std()) for name in (left, right)]
        found[f"swing, {left} and {right}"] = gait.symmetry_index(*swings)
    return found


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values))}
