"""Plots of a comparison. Methods differ in colour and in line style, intervals are pale bands or thin bars."""

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from surefoot.reports.curves import add_legend, scale_axes
from surefoot.reports.figure_style import COLOURS, FAINT, INK, new_figure
from surefoot.reports.media_files import save
from surefoot.studies import statistics
from surefoot.studies.compare import Comparison, curve, profiles
from surefoot.studies.experiments import Experiment

CLOCKS = {"steps": "environment steps", "seconds": "training time, minutes"}
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "osD^vP*"
_WIDTH = 4.6  # inches; text stays readable on a phone
_THIN = 0.45  # opacity of single seeds

Style = tuple[str, tuple | str, str]
"""Colour, dashes and marker of a method."""


def styles(comparison: Comparison) -> dict[str, Style]:
    """Return the style of each label."""
    labels = dict.fromkeys(experiment.label for experiment in comparison.experiments)
    cycle = zip(itertools.cycle(COLOURS), itertools.cycle(_DASHES), itertools.cycle(_MARKERS), strict=False)
    return dict(zip(labels, cycle, strict=False))


def draw_curves(comparison: Comparison, task: str, clock: str) -> Figure:
    """Plot the learning curves of a task over "steps" or "seconds"."""
    figure, (axes,) = new_figure(_WIDTH, 3.7, 1, 1)
    _curves(axes, comparison, task, clock)
    add_legend(figure, axes)
    return figure


def draw_scores(comparison: Comparison, task: str) -> Figure:
    """Plot the scores of all runs of a task, and their interquartile means with intervals."""
    count = len(comparison.of_task(task))
    figure, (axes,) = new_figure(_WIDTH, 0.9 + 0.42 * count, 1, 1)
    _scores(axes, comparison, task)
    return figure


def draw_improvement(pairs: Sequence[Mapping]) -> Figure:
    """Plot probabilities of improvement with intervals."""
    figure, (axes,) = new_figure(_WIDTH, 0.9 + 0.42 * len(pairs), 1, 1)
    for row, pair in enumerate(reversed(pairs)):
        _interval(axes, row, pair["value"], pair["low"], pair["high"], (COLOURS[0], "-", "o"))
    _rows(axes, [f"{pair['of']} over {pair['over']}" for pair in reversed(pairs)])
    axes.axvline(0.5, color=FAINT, linewidth=1.0, dashes=(5, 4), zorder=1)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("probability of improvement")
    return figure


def draw_profiles(comparison: Comparison) -> Figure:
    """Plot the fraction of runs above each score."""
    figure, (axes,) = new_figure(_WIDTH, 3.7, 1, 1)
    _profile(axes, comparison)
    add_legend(figure, axes)
    return figure


def draw_costs(comparison: Comparison, task: str) -> Figure:
    """Plot scores over training time, with the Pareto front of the medians: higher and earlier is better."""
    figure, (axes,) = new_figure(_WIDTH, 3.7, 1, 1)
    centres = []
    for experiment, (colour, _, marker) in _styled(comparison, task):
        minutes = np.array([run.total_seconds for run in experiment.runs]) / 60
        scores = comparison.scores(experiment)
        axes.scatter(minutes, scores, s=16, color=colour, alpha=_THIN, linewidths=0, zorder=2)
        centre = float(np.median(minutes)), statistics.interquartile_mean([scores]).value
        axes.plot(
            *centre, marker, color=colour, markersize=9, markeredgecolor="white", label=experiment.label, zorder=4
        )
        centres.append(centre)
    front = pareto_front(centres, (False, True))
    x, y = zip(*sorted(centres[index] for index in front), strict=True)
    axes.step(x, y, where="post", color=FAINT, linewidth=1.2, dashes=(5, 4), zorder=1)
    _finish(axes, "training time, minutes", _score_name(comparison))
    add_legend(figure, axes)
    return figure


def pareto_front(points: ArrayLike, maximise: Sequence[bool]) -> list[int]:
    """Return the indices of the points that no other point equals or exceeds in everything, one at least strictly."""
    signs = np.where(maximise, 1.0, -1.0)
    values = np.asarray(points, float).reshape(-1, len(signs)) * signs
    better = [((values >= value).all(axis=1) & (values > value).any(axis=1)).any() for value in values]
    return [index for index, dominated in enumerate(better) if not dominated]


def write_picture(comparison: Comparison, path: Path, title: str | None = None) -> None:
    """Write a PNG file: for each task its learning curves and scores, and the profiles of all tasks."""
    tasks = comparison.tasks
    _, methods = profiles(comparison)
    columns = 3 if methods else 2
    figure, panels = new_figure(5.0 * columns, 3.7 * len(tasks) + 0.4, len(tasks), columns)
    for row, task in enumerate(tasks):
        first, second, *rest = panels[row * columns : (row + 1) * columns]
        _curves(first, comparison, task, "steps")
        _scores(second, comparison, task)
        if len(tasks) > 1:
            first.set_title(task, fontsize=10, loc="left", color=INK, parse_math=False)
        for axes in rest:
            if row == 0:
                _profile(axes, comparison)
            else:
                axes.set_visible(False)
    add_legend(figure, panels[0], title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    save(path, buffer.getvalue())


def _styled(comparison: Comparison, task: str) -> Iterator[tuple[Experiment, Style]]:
    chosen = styles(comparison)
    return ((experiment, chosen[experiment.label]) for experiment in comparison.of_task(task))


def _curves(axes: Axes, comparison: Comparison, task: str, clock: str) -> None:
    scale = 60.0 if clock == "seconds" else 1.0
    for experiment, (colour, dashes, _) in _styled(comparison, task):
        count = len(experiment.runs)
        label = f"{experiment.label} ({count} {'seeds' if count > 1 else 'seed'})"
        for run in experiment.runs if count > 1 else ():
            axes.plot(getattr(run, clock) / scale, run.returns, color=colour, linewidth=0.7, alpha=_THIN, zorder=2)
        values = curve(experiment, clock)
        axes.plot([], [], color=colour, linestyle=dashes, linewidth=2.2, label=label)
        if values is None:
            continue
        x = values["x"] / scale
        if count > 1:
            axes.fill_between(x, values["low"], values["high"], color=colour, alpha=0.18, linewidth=0, zorder=1)
        point = "o" if len(x) == 1 else ""
        axes.plot(x, values["iqm"], color=colour, linestyle=dashes, linewidth=2.2, marker=point, zorder=3)
    _mark_threshold(axes, comparison.thresholds.get(task))
    _finish(axes, CLOCKS[clock], "return, evaluation in training")


def _scores(axes: Axes, comparison: Comparison, task: str) -> None:
    styled = list(_styled(comparison, task))[::-1]
    for row, (experiment, style) in enumerate(styled):
        scores = comparison.scores(experiment)
        estimate = statistics.interquartile_mean([scores])
        axes.scatter(scores, np.full(len(scores), row), s=16, color=style[0], alpha=_THIN, linewidths=0, zorder=2)
        _interval(axes, row, estimate.value, estimate.low, estimate.high, style)
    _rows(axes, [experiment.label for experiment, _ in styled])
    threshold = comparison.thresholds.get(task)
    if threshold is not None:
        axes.axvline(threshold, color=FAINT, linewidth=1.0, dashes=(5, 4), zorder=1)
    axes.set_xlabel(_score_name(comparison))
    axes.xaxis.set_major_locator(_few_ticks())


def _profile(axes: Axes, comparison: Comparison) -> None:
    levels, methods = profiles(comparison)
    chosen = styles(comparison)
    for label, (fraction, low, high) in methods.items():
        colour, dashes, _ = chosen[label]
        axes.fill_between(levels, low, high, color=colour, alpha=0.15, linewidth=0, step="post", zorder=1)
        axes.step(levels, fraction, where="post", color=colour, linestyle=dashes, linewidth=2.2, label=label, zorder=3)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("fraction of seeds above")
    name = "normalised score" if len(comparison.tasks) > 1 else _score_name(comparison)
    axes.set_xlabel(name)
    axes.xaxis.set_major_locator(_few_ticks())


def _interval(axes: Axes, row: int, value: float, low: float | None, high: float | None, style: Style) -> None:
    if low is not None and high is not None:
        axes.plot([low, high], [row, row], color=style[0], linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=3)
    axes.plot(value, row, style[2], color=style[0], markersize=8, markeredgecolor="white", zorder=4)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)))
    for label, name in zip(axes.set_yticklabels(names), names, strict=True):
        label.set(parse_math=False, text=name)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(False, axis="y")


def _score_name(comparison: Comparison) -> str:
    return "return, held-out episodes" if comparison.held_out else "return, last evaluation"


def _mark_threshold(axes: Axes, threshold: float | None) -> None:
    if threshold is not None:
        axes.axhline(threshold, color=FAINT, linewidth=1.0, dashes=(5, 4), zorder=1)


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    scale_axes(axes, 5)


def _few_ticks() -> MaxNLocator:
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
