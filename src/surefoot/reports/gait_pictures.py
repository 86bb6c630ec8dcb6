"""Draw a gait: footfalls, feet, joints and motors, one small figure for each panel of a page."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from surefoot.bodies.body import Body
from surefoot.gait.measures import Cycles, Walk
from surefoot.gait.probes import Build
from surefoot.gait.recording import Episode
from surefoot.reports.figure_style import COLOURS, FAINT, INK, new_figure

# Inches; on a page text of 9 points in such a panel is about as large as the page's own.
_WIDTH, _HEIGHT = 3.6, 2.4
_LARGE = 4.6
_WIDE, _FOOT_ROW = 7.0, 0.42
_SHOWN_S = 4.0
_MOST_POINTS = 400
_PERCENT = np.linspace(0, 100, 101)


def joint_groups(body: Body) -> list[tuple[str, ...]]:
    """Return the joints that share a panel: each pair, left before right, and the others alone; in the body's order."""
    partner = {name: pair for pair in body.joint_pairs for name in pair}
    groups = [partner.get(joint, (joint,)) for joint in body.joints]
    return list(dict.fromkeys(groups))


def draw_footfalls(body: Body, step_s: float, walk: Walk) -> Figure:
    """Draw when each foot is on the ground, for a few seconds of one episode."""
    count = min(len(walk.contact), round(_SHOWN_S / step_s))
    start = (len(walk.contact) - count) // 2
    time = (start + np.arange(count + 1)) * step_s
    figure, axes = _panel(_WIDE, 0.7 + _FOOT_ROW * len(body.feet))
    for row in range(len(body.feet)):
        contact = walk.contact[start : start + count, row]
        bars = [(time[first], time[last] - time[first]) for first, last in _runs(contact)]
        axes.broken_barh(bars, (row - 0.32, 0.64), color=COLOURS[row % 6], linewidth=0)
    flight = walk.contact[start : start + count].sum(axis=1) == 0
    for first, last in _runs(flight):
        axes.axvspan(time[first], time[last], color=FAINT, alpha=0.08, linewidth=0)
    axes.set_yticks(range(len(body.feet)), [foot.name for foot in body.feet])
    axes.set_ylim(len(body.feet) - 0.5, -0.5)
    axes.set_xlim(time[0], time[-1])
    axes.margins(x=0)
    axes.grid(False, axis="y")
    axes.set_xlabel("seconds from where the gait is measured")
    return figure


def draw_foot_cycle(body: Body, cycles: Cycles) -> Figure:
    """Draw how often each foot is on the ground over the stride of the reference foot."""
    figure, axes = _panel(_LARGE, 2.8)
    for index, foot in enumerate(body.feet):
        axes.plot(_PERCENT, 100 * cycles.contact[:, index], color=COLOURS[index % 6], linewidth=1.8, label=foot.name)
    axes.set_ylabel("on the ground, % of strides")
    axes.set_ylim(-3, 103)
    _finish_cycle(axes)
    return figure


def draw_foot_heights(body: Body, cycles: Cycles) -> Figure | None:
    """Draw how high each foot is over the stride of the reference foot; None where the ground is not known."""
    if not np.isfinite(cycles.height).all():
        return None
    figure, axes = _panel(_LARGE, 2.8)
    for index, foot in enumerate(body.feet):
        _band(axes, 100 * cycles.height[:, :, index], COLOURS[index % 6], foot.name)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_ylabel("lowest point, cm")
    _finish_cycle(axes)
    return figure


def draw_joint_cycle(body: Body, build: Build, cycles: Cycles, joints: Sequence[str]) -> Figure:
    """Draw the mean angle of joints over the stride of the reference foot, and one standard deviation around it."""
    figure, axes = _panel()
    for index, joint in enumerate(joints):
        _band(axes, np.degrees(cycles.angle[:, :, body.joints.index(joint)]), COLOURS[index], joint)
    low, high = np.degrees(build.joint_range[body.joints.index(joints[0])])
    bottom, top = axes.get_ylim()
    for stop in (low, high):
        if np.isfinite(stop) and bottom <= stop <= top:
            axes.axhline(stop, color=FAINT, linewidth=0.9, dashes=(4, 3))
    axes.set_ylim(bottom, top)
    axes.set_ylabel("angle, °")
    _finish_cycle(axes)
    return figure


def draw_portrait(body: Body, step_s: float, walk: Walk, cycles: Cycles | None, joints: Sequence[str]) -> Figure:
    """Draw the speed of joints against their angles: a few seconds thin, the mean stride thick."""
    figure, axes = _panel()
    count = min(len(walk.contact), round(_SHOWN_S / step_s))
    start = (len(walk.contact) - count) // 2
    for index, joint in enumerate(joints):
        column = body.joints.index(joint)
        angle = np.degrees(walk.motion.angle[start : start + count, column])
        axes.plot(
            angle, walk.motion.speed[start : start + count, column], color=COLOURS[index], linewidth=0.5, alpha=0.4
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


def draw_motor(body: Body, build: Build, walks: Sequence[Walk], joints: Sequence[str]) -> Figure:
    """Draw the torque of joints against their speed, within what the model says their motors can."""
    figure, axes = _panel()
    for index, joint in enumerate(joints):
        column = body.joints.index(joint)
        speed, torque = (
            np.concatenate([getattr(walk.motion, name)[:, column] for walk in walks]) for name in ("speed", "torque")
        )
        shown = np.random.default_rng(0).permutation(len(speed))[:_MOST_POINTS]
        axes.plot(
            speed[shown], torque[shown], "o", color=COLOURS[index], markersize=1.8, markeredgewidth=0, alpha=0.5,
            label=joint,
        )  # fmt: skip
    column = body.joints.index(joints[0])
    for sign in (-1, 1):
        if np.isfinite(build.torque_limit[column]):
            axes.axhline(sign * build.torque_limit[column], color=INK, linewidth=1.0, dashes=(4, 3))
        if np.isfinite(build.speed_limit[column]):
            axes.axvline(sign * build.speed_limit[column], color=INK, linewidth=1.0, dashes=(4, 3))
    axes.set_xlabel("speed, rad/s")
    axes.set_ylabel("torque, N m")
    _finish(axes)
    return figure


def draw_traces(episode: Episode, step_s: float, what: str) -> Figure:
    """Draw the first numbers of the "action" or "observation" over the first seconds of an episode."""
    values = getattr(episode, what)
    count = min(len(values), max(2, round(10 / step_s)))
    figure, axes = _panel(_WIDE)
    for column in range(min(values.shape[1], 6)):
        axes.plot(
            np.arange(count) * step_s, values[:count, column], color=COLOURS[column], linewidth=1.1, label=str(column)
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel(what)
    _finish(axes)
    return figure


def draw_returns(after: Sequence[float], before: Sequence[float]) -> Figure:
    """Draw the return of every episode, trained above untrained."""
    figure, axes = _panel(height=1.9)
    for row, (values, colour) in enumerate(((after, COLOURS[0]), (before, COLOURS[1]))):
        aside = (np.random.default_rng(0).permutation(len(values)) / max(1, len(values) - 1) - 0.5) * 0.4
        axes.plot(values, row + aside, "o", color=colour, markersize=4, markeredgewidth=0, alpha=0.5)
    axes.set_yticks((0, 1), ("trained", "untrained"))
    axes.set_ylim(1.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("return of an episode")
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    return figure


def _panel(width: float = _WIDTH, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    figure, panels = new_figure(width, height, 1, 1)
    return figure, panels[0]


def _band(axes: Axes, values: np.ndarray, colour: str, label: str) -> None:
    """Draw the mean of strides (S, C) and one standard deviation around it."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    axes.fill_between(_PERCENT, mean - deviation, mean + deviation, color=colour, alpha=0.16, linewidth=0)
    axes.plot(_PERCENT, mean, color=colour, linewidth=1.8, label=label)


def _finish_cycle(axes: Axes) -> None:
    axes.set_xlim(0, 100)
    axes.set_xlabel("gait cycle, %")
    _finish(axes)
    axes.set_xticks(range(0, 101, 25))


def _finish(axes: Axes) -> None:
    """Set round numbers on both axes, and name the lines above them."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=6, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=1.2, columnspacing=1.0, borderpad=0.1, borderaxespad=0.2, markerscale=2.5,
    )  # fmt: skip


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return first sample and sample after the last of every unbroken row of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
