"""Plots of a gait: footfalls, feet, joints and motors, one figure per panel of the report page."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from surefoot.bodies.body import Body
from surefoot.gait.measures import GaitCycles, GaitSegment
from surefoot.gait.probes import BodyModel
from surefoot.gait.recording import Episode
from surefoot.reports.figure_style import COLOURS, FAINT, INK, new_figure

# Inches; in a panel of this width, 9-point text is about as large as the text of the page.
_WIDTH, _HEIGHT = 3.6, 2.4
_LARGE = 4.6
_WIDE, _FOOT_ROW = 7.0, 0.42
_SHOWN_S = 4.0
_MAX_POINTS = 400
_PERCENT = np.linspace(0, 100, 101)


def joint_groups(body: Body) -> list[tuple[str, ...]]:
    """Return the joints of each panel, in the body's order: left-right pairs together, others alone."""
    partner = {name: pair for pair in body.joint_pairs for name in pair}
    groups = [partner.get(joint, (joint,)) for joint in body.joints]
    return list(dict.fromkeys(groups))


def draw_footfalls(body: Body, step_s: float, segment: GaitSegment) -> Figure:
    """Plot the contacts of each foot for a few seconds of one episode."""
    count = min(len(segment.contact), round(_SHOWN_S / step_s))
    start = (len(segment.contact) - count) // 2
    time = (start + np.arange(count + 1)) * step_s
    figure, axes = _panel(_WIDE, 0.7 + _FOOT_ROW * len(body.feet))
    for row in range(len(body.feet)):
        contact = segment.contact[start : start + count, row]
        bars = [(time[first], time[last] - time[first]) for first, last in _runs(contact)]
        axes.broken_barh(bars, (row - 0.32, 0.64), color=COLOURS[row % 6], linewidth=0)
    flight = segment.contact[start : start + count].sum(axis=1) == 0
    for first, last in _runs(flight):
        axes.axvspan(time[first], time[last], color=FAINT, alpha=0.08, linewidth=0)
    axes.set_yticks(range(len(body.feet)), [foot.name for foot in body.feet])
    axes.set_ylim(len(body.feet) - 0.5, -0.5)
    axes.set_xlim(time[0], time[-1])
    axes.margins(x=0)
    axes.grid(False, axis="y")
    axes.set_xlabel("time since the start of the measured interval, s")
    return figure


def draw_foot_cycle(body: Body, cycles: GaitCycles) -> Figure:
    """Plot the fraction of strides with each foot in contact over the gait cycle."""
    figure, axes = _panel(_LARGE, 2.8)
    for index, foot in enumerate(body.feet):
        axes.plot(_PERCENT, 100 * cycles.contact[:, index], color=COLOURS[index % 6], linewidth=1.8, label=foot.name)
    axes.set_ylabel("in contact, % of strides")
    axes.set_ylim(-3, 103)
    _finish_cycle(axes)
    return figure


def draw_foot_heights(body: Body, cycles: GaitCycles) -> Figure | None:
    """Plot the height of each foot over the gait cycle; None if the ground height is unknown."""
    if not np.isfinite(cycles.height).all():
        return None
    figure, axes = _panel(_LARGE, 2.8)
    for index, foot in enumerate(body.feet):
        _band(axes, 100 * cycles.height[:, :, index], COLOURS[index % 6], foot.name)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_ylabel("lowest point, cm")
    _finish_cycle(axes)
    return figure


def draw_joint_cycle(body: Body, model: BodyModel, cycles: GaitCycles, joints: Sequence[str]) -> Figure:
    """Plot the mean angle of joints ± one standard deviation over the gait cycle."""
    figure, axes = _panel()
    for index, joint in enumerate(joints):
        _band(axes, np.degrees(cycles.angle[:, :, body.joints.index(joint)]), COLOURS[index], joint)
    low, high = np.degrees(model.joint_range[body.joints.index(joints[0])])
    bottom, top = axes.get_ylim()
    for stop in (low, high):
        if np.isfinite(stop) and bottom <= stop <= top:
            axes.axhline(stop, color=FAINT, linewidth=0.9, dashes=(4, 3))
    axes.set_ylim(bottom, top)
    axes.set_ylabel("angle, °")
    _finish_cycle(axes)
    return figure


def draw_portrait(
    body: Body, step_s: float, segment: GaitSegment, cycles: GaitCycles | None, joints: Sequence[str]
) -> Figure:
    """Plot the speed of joints over their angle: a few seconds (thin) and the mean stride (thick)."""
    figure, axes = _panel()
    count = min(len(segment.contact), round(_SHOWN_S / step_s))
    start = (len(segment.contact) - count) // 2
    for index, joint in enumerate(joints):
        column = body.joints.index(joint)
        angle = np.degrees(segment.motion.angle[start : start + count, column])
        axes.plot(
            angle, segment.motion.speed[start : start + count, column], color=COLOURS[index], linewidth=0.5, alpha=0.4
        )
        if cycles is not None:
            mean = cycles.angle[:, :, column].mean(axis=0), cycles.speed[:, :, column].mean(axis=0)
            axes.plot(np.degrees(mean[0]), mean[1], color=COLOURS[index], linewidth=1.9, label=joint)
        else:
            axes.plot([], [], color=COLOURS[index], label=joint)
    axes.set_xlabel("angle, °")
    axes.set_ylabel("speed, rad/s")
    _finish(axes)
    return figure


def draw_motor(body: Body, model: BodyModel, segments: Sequence[GaitSegment], joints: Sequence[str]) -> Figure:
    """Plot the torque of joints over their speed, with the limits of the model."""
    figure, axes = _panel()
    for index, joint in enumerate(joints):
        column = body.joints.index(joint)
        speed, torque = (
            np.concatenate([getattr(segment.motion, name)[:, column] for segment in segments])
            for name in ("speed", "torque")
        )
        chosen = np.random.default_rng(0).permutation(len(speed))[:_MAX_POINTS]
        axes.plot(
            speed[chosen], torque[chosen], "o", color=COLOURS[index], markersize=1.8, markeredgewidth=0, alpha=0.5,
            label=joint,
        )  # fmt: skip
    column = body.joints.index(joints[0])
    for sign in (-1, 1):
        if np.isfinite(model.torque_limit[column]):
            axes.axhline(sign * model.torque_limit[column], color=INK, linewidth=1.0, dashes=(4, 3))
        if np.isfinite(model.speed_limit[column]):
            axes.axvline(sign * model.speed_limit[column], color=INK, linewidth=1.0, dashes=(4, 3))
    axes.set_xlabel("speed, rad/s")
    axes.set_ylabel("torque, N m")
    _finish(axes)
    return figure


def draw_traces(episode: Episode, step_s: float, quantity: str) -> Figure:
    """Plot the first 6 components of the "action" or "observation" over the first 10 s of an episode."""
    values = getattr(episode, quantity)
    count = min(len(values), max(2, round(10 / step_s)))
    figure, axes = _panel(_WIDE)
    for column in range(min(values.shape[1], 6)):
        axes.plot(
            np.arange(count) * step_s, values[:count, column], color=COLOURS[column], linewidth=1.1, label=str(column)
        )
    axes.set_xlabel("time, s")
    axes.set_ylabel(quantity)
    _finish(axes)
    return figure


def draw_returns(after: Sequence[float], before: Sequence[float]) -> Figure:
    """Plot the return of each episode, trained and untrained."""
    figure, axes = _panel(height=1.9)
    for row, (values, colour) in enumerate(((after, COLOURS[0]), (before, COLOURS[1]))):
        offset = (np.random.default_rng(0).permutation(len(values)) / max(1, len(values) - 1) - 0.5) * 0.4
        axes.plot(values, row + offset, "o", color=colour, markersize=4, markeredgewidth=0, alpha=0.5)
    axes.set_yticks((0, 1), ("trained", "untrained"))
    axes.set_ylim(1.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("return")
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    return figure


def _panel(width: float = _WIDTH, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    figure, panels = new_figure(width, height, 1, 1)
    return figure, panels[0]


def _band(axes: Axes, values: np.ndarray, colour: str, label: str) -> None:
    """Plot the mean of strides (S, C) ± one standard deviation."""
    mean, std = values.mean(axis=0), values.std(axis=0)
    axes.fill_between(_PERCENT, mean - std, mean + std, color=colour, alpha=0.16, linewidth=0)
    axes.plot(_PERCENT, mean, color=colour, linewidth=1.8, label=label)


def _finish_cycle(axes: Axes) -> None:
    axes.set_xlim(0, 100)
    axes.set_xlabel("gait cycle, %")
    _finish(axes)
    axes.set_xticks(range(0, 101, 25))


def _finish(axes: Axes) -> None:
    """Set round tick values, and put the legend above the axes."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=6, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=1.2, columnspacing=1.0, borderpad=0.1, borderaxespad=0.2, markerscale=2.5,
    )  # fmt: skip


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the start and the end (exclusive) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
