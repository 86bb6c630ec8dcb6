"""Plots of learning curves and training metrics."""

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter

from surefoot.errors import InputError
from surefoot.recipes.files import read_recipe
from surefoot.reports.figure_style import COLOURS, FAINT, INK, new_figure
from surefoot.reports.media_files import output_path, save
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics

TRAINING, EVALUATION = "train/return", "evaluation/return"

_RETURNS = (TRAINING, EVALUATION)

_UNITS = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
_GRID_POINTS = 300
_MAX_POINTS = 2000  # longer lines are reduced to this number of points by averages

# Panels of training metrics: the title, and the last parts of the names of metrics shown in it.
_PANELS = {
    "policy loss": ("policy", "policy_loss", "actor", "actor_loss"),
    "value loss": ("value", "value_loss", "critic", "critic_loss"),
    "entropy": ("entropy",),
    "KL divergence": ("kl", "approx_kl", "kl_divergence"),
    "action std": ("standard_deviation", "std", "sd", "action_sd"),
    "learning rate": ("learning_rate", "rate"),
    "environment steps per second": ("steps_per_second", "speed", "sps"),
}

Run = RunFolder | dict[str, Any]
Thresholds = float | Mapping[str, float] | None


def plot_curves(
    runs: Sequence[Run], path: str | Path, *, threshold: Thresholds = None, title: str | None = None
) -> Path:
    """Plot the returns of runs over environment steps and over training time, as a PNG file.

    A label with a single run shows its training return (pale) and its evaluations (marked). Runs of equal labels are
    seeds of one experiment: a thin line each, a thick line for their mean up to the end of the shortest seed, and a
    band from the lowest to the highest seed.

    Args:
        runs: run folders; those whose recipes differ only in the seed are seeds of one experiment, labelled by the
            first one's name. Or `{"label": str, "metrics": rows of metrics}`.
        path: output file, `.png`.
        threshold: return at which the task counts as solved, a dashed line; for runs of several tasks by their names.
        title: title of the figure.

    Raises:
        InputError: no run has a return yet, or the path does not end in `.png`.
    """
    path = output_path(path, ".png")
    return _save(draw_curves(runs, threshold=threshold, title=title), path)


def draw_curves(
    runs: Sequence[Run],
    *,
    threshold: Thresholds = None,
    title: str | None = None,
    clock: str | None = None,
    width: float | None = None,
) -> Figure:
    """Return the figure of `plot_curves`, `width` inches wide.

    Raises:
        InputError: no run has a return yet; or `clock`, "step" or "seconds" for one panel only, is not in the metrics.
    """
    groups = _grouped(runs)
    all_runs = [run for seeds in groups.values() for run in seeds]
    if not any(_series(run, key)[1].size for run in all_runs for key in _RETURNS):
        raise InputError("there are no returns to plot yet; train until the first episodes have ended")
    has_times = any(_series(run, key, "seconds")[1].size for run in all_runs for key in _RETURNS)
    clocks = {"step": "environment steps"} | ({"seconds": "training time, minutes"} if has_times else {})
    if clock is not None:
        clocks = {name: label for name, label in clocks.items() if name == clock}
        if not clocks:
            raise InputError("the metrics contain no times")
    figure, panels = new_figure(width or (9.0 if len(clocks) > 1 else 6.0), 3.6, 1, len(clocks), sharey=True)
    thresholds = threshold if isinstance(threshold, Mapping) else {} if threshold is None else {"": threshold}
    alone = len(groups) == 1 and all(len(seeds) == 1 for seeds in groups.values())
    for axes, (name, x_label) in zip(panels, clocks.items(), strict=True):
        for colour, (label, seeds) in zip(itertools.cycle(COLOURS), groups.items()):
            if len(seeds) == 1:
                _draw_run(axes, seeds[0], name, colour, None if alone else label)
            else:
                _draw_seeds(axes, seeds, name, colour, f"{label} ({len(seeds)} seeds)")
        for value in thresholds.values():
            axes.axhline(value, color=FAINT, linewidth=1.0, dashes=(5, 4), zorder=1)
        axes.set_xlabel(x_label)
        scale_axes(axes, 6)
    first = panels[0]
    at = {"xycoords": first.get_yaxis_transform(), "textcoords": "offset points"}
    for name, value in thresholds.items():  # on the left, where curves are low
        text = f"{name} solved: {value:,g}".lstrip()
        first.annotate(text, (0.0, value), (3, 3), color=FAINT, fontsize=9, **at)
    first.set_ylabel("return")
    first.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    add_legend(figure, first, title)
    return figure


def draw_losses(runs: Sequence[Run]) -> Figure:
    """Plot training metrics over environment steps, one small panel each.

    Common metrics come first (losses, entropy, KL divergence, action std, learning rate, speed), then all others named
    `loss/...`. Rows without a metric are skipped; null, a number that was not finite, leaves a gap.

    Raises:
        InputError: there are no metrics yet.
    """
    groups = _grouped(runs)
    panels = _find_panels([run for seeds in groups.values() for run in seeds])
    if not panels:
        raise InputError("there are no losses to plot yet; train until the first update")
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure, grid = new_figure(3.2 * columns, 2.0 * lines + 0.6, lines, columns)
    for axes, (name, key) in zip(grid, panels.items(), strict=False):
        for colour, (label, seeds) in zip(itertools.cycle(COLOURS), groups.items()):
            for number, run in enumerate(seeds):
                x, y = _thin(*_series(run, key))
                named = label if number == 0 else None
                axes.plot(x, y, _style(y), color=colour, linewidth=1.2, alpha=0.9, label=named)
        axes.set_title(name, fontsize=10, loc="left", color=INK, parse_math=False)
        scale_axes(axes, 4)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("environment steps", fontsize=10, color=INK)
    if len(groups) > 1:
        add_legend(figure, grid[0])
    return figure


def _draw_run(axes: Axes, metrics: list[dict], clock: str, colour: str, label: str | None) -> None:
    """Plot one run; without a label, the legend names its two lines."""
    x, y = _series(metrics, TRAINING, clock)
    finite = np.isfinite(y)
    if 2 * finite.sum() < len(y):  # a null is not a gap here: most rows contain no finished episode
        x, y = x[finite], y[finite]
    x, y = _thin(x, y)
    has_evaluation = _series(metrics, EVALUATION, clock)[1].size > 0
    if y.size:
        axes.plot(
            x, y, _style(y), color=colour, linewidth=1.2, alpha=0.45 if has_evaluation else 0.9,
            label="while training (exploring)" if label is None else None if has_evaluation else label,
        )  # fmt: skip
    if has_evaluation:
        x, y = _series(metrics, EVALUATION, clock)
        axes.plot(
            x, y, color=colour, linewidth=2.4, marker="o", markersize=4.5 if len(x) <= 40 else 0,
            markeredgecolor="white", markeredgewidth=0.7, solid_capstyle="round", zorder=3,
            label="evaluation (deterministic)" if label is None else label,
        )  # fmt: skip


def _draw_seeds(axes: Axes, seeds: list[list[dict]], clock: str, colour: str, label: str) -> None:
    """Plot runs of one label: evaluations if every seed has some, otherwise training returns."""
    key = EVALUATION if all(_series(run, EVALUATION, clock)[1].size for run in seeds) else TRAINING
    lines = [_series(run, key, clock) for run in seeds]
    lines = [(x[np.isfinite(y)], y[np.isfinite(y)]) for x, y in lines]
    lines = [(x, y) for x, y in lines if x.size]
    for x, y in lines:
        x, y = _thin(x, y)
        axes.plot(x, y, _style(y), color=colour, linewidth=0.8, alpha=0.45, zorder=2)
    axes.plot([], [], color=colour, linewidth=2.4, label=label)  # a legend entry even if there is no mean yet
    if not lines:
        return
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if first > last:
        return
    grid = np.linspace(first, last, _GRID_POINTS)
    values = np.array([np.interp(grid, x, y) for x, y in lines])
    axes.fill_between(grid, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0, zorder=1)
    axes.plot(grid, values.mean(axis=0), color=colour, linewidth=2.4, zorder=3)


def _grouped(runs: Sequence[Run]) -> dict[str, list[list[dict]]]:
    """Return the rows of metrics of each run, by label."""
    if not runs:
        raise InputError("there is no run to plot; name at least one")
    groups: dict[str, list[list[dict]]] = {}
    labels = iter(experiment_labels([run for run in runs if isinstance(run, RunFolder)]))
    for run in runs:
        label, metrics = (
            (run["label"], run["metrics"]) if isinstance(run, dict) else (next(labels), read_metrics(run.metrics))
        )
        metrics = [row for row in metrics if "step" in row and "event" not in row]
        groups.setdefault(str(label), []).append(sorted(metrics, key=lambda row: row["step"]))
    return groups


def experiment_labels(folders: Sequence[RunFolder]) -> list[str]:
    """Label each run by the first run of its experiment, with the task if there are several tasks."""
    tasks = {folder.path.parent.name for folder in folders}
    experiments: dict[str, tuple[str, set[int]]] = {}
    labels = []
    for folder in folders:
        own = folder.path.name if len(tasks) == 1 else f"{folder.path.parent.name}/{folder.path.name}"
        recipe = read_recipe(folder.recipe)
        same = recipe.model_copy(update={"seed": 0}).model_dump_json()
        label, seeds = experiments.setdefault(same, (own, set()))
        # Two runs of the same seed are not two seeds of an experiment: they compare machines or versions.
        labels.append(own if recipe.seed in seeds else label)
        seeds.add(recipe.seed)
    return labels


def _series(metrics: list[dict], key: str, clock: str = "step") -> tuple[np.ndarray, np.ndarray]:
    """Return the steps or minutes, (K,), and the values of a metric, (K,).

    Rows without the metric are left out. Null is a gap (NaN), except for evaluations, where it means that there was
    none.
    """
    points = [
        (row[clock], math.nan if row[key] is None else row[key])
        for row in metrics
        if key in row and row.get(clock) is not None and not (row[key] is None and key == EVALUATION)
    ]
    array = np.array(points, float).reshape(-1, 2)
    if not np.isfinite(array[:, 1]).any():
        array = array[:0]
    return array[:, 0] / (60.0 if clock == "seconds" else 1.0), array[:, 1]


def _style(y: np.ndarray) -> str:
    """Return the style of a line; a single point needs a marker."""
    return "o-" if np.isfinite(y).sum() == 1 else "-"


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbouring points down to at most `_MAX_POINTS`."""
    size = math.ceil(len(x) / _MAX_POINTS)
    if size <= 1:
        return x, y
    starts = np.arange(0, len(x), size)
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def _find_panels(runs: list[list[dict]]) -> dict[str, str]:
    """Return the metric of each panel by its title; panels without values are left out."""
    keys = sorted({key for run in runs for row in run for key, value in row.items() if isinstance(value, int | float)})
    panels = {}
    for title, names in _PANELS.items():
        matches = [key for name in names for key in keys if key.split("/")[-1] == name]
        if matches:
            panels[title] = matches[0]
    others = [key for key in keys if key.startswith("loss/") and key not in panels.values()]
    return panels | {key.removeprefix("loss/").replace("_", " "): key for key in others}


def scale_axes(axes: Axes, ticks: int) -> None:
    """Start the x axis at 0 and set about `ticks` round tick values."""
    axes.set_xlim(left=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(short_number))


def short_number(value: float, _: int | None = None) -> str:
    """Format a tick value; large ones as 200 k or 1.5 M."""
    size, letter = next((pair for pair in _UNITS if abs(value) >= pair[0]), (1.0, ""))
    return f"{value / size:.4g}{letter}".replace("-", "\N{MINUS SIGN}")


def add_legend(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the title and the legend of `axes` above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    # Widths in inches: about 0.09 per letter, 0.9 per handle with its margins.
    longest = max(map(len, labels), default=0)
    columns = min(len(labels), 4, int(figure.get_figwidth() / (0.9 + 0.09 * longest)))
    drawn = figure.legend(
        handles, labels, loc="outside upper center", ncols=max(1, columns), frameon=False,
        fontsize=10, title=title, title_fontproperties={"size": 12, "weight": "bold"}, labelcolor=INK,
    )  # fmt: skip
    for text in drawn.get_texts():
        text.set_parse_math(False)  # names of runs may contain "$"


def _save(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    save(path, buffer.getvalue())
    return path
