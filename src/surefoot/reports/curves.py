"""Draw learning curves, and what went on inside the updates, as pictures for a README or a paper."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter

from surefoot.errors import InputError
from surefoot.recipes.files import read_recipe
from surefoot.reports.figure_style import COLOURS, FAINT, INK, new_figure
from surefoot.reports.image_files import picture_path, save_picture
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics

TRAINING, EVALUATION = "train/return", "evaluation/return"

_RETURNS = (TRAINING, EVALUATION)

_UNITS = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
_GRID_POINTS = 300
_MAX_POINTS = 2000  # a line of more is thinned by averaging; no picture shows them

# What is drawn of the updates: the panel's title, and the names that an algorithm may give it (the last part
# of a metric's name).
_PANELS = {
    "policy loss": ("policy", "policy_loss", "actor", "actor_loss"),
    "value loss": ("value", "value_loss", "critic", "critic_loss"),
    "entropy": ("entropy",),
    "KL divergence": ("kl", "approx_kl", "kl_divergence"),
    "standard deviation of actions": ("standard_deviation", "std", "sd", "action_sd"),
    "learning rate": ("learning_rate", "rate"),
    "environment steps per second": ("steps_per_second", "speed", "sps"),
}

Run = RunFolder | dict[str, Any]


def plot_curves(
    runs: Sequence[Run], path: str | Path, *, threshold: float | None = None, title: str | None = None
) -> Path:
    """Draw the returns of runs against environment steps and against training time, as a PNG file.

    A lone run of its label shows the return while exploring (pale) and the deterministic evaluation (marked).
    Runs of equal labels are seeds of one experiment: each is thin, their mean thick, and a band spans the
    lowest to the highest seed; the mean ends where the shortest seed does.

    Args:
        runs: run folders, of which those count as seeds of one experiment whose recipes are the same but for the seed,
            labelled by the first one's name; or `{"label": str, "rows": list of metric rows}`.
        path: the file to write, `.png`.
        threshold: the return at which the task counts as solved, drawn as a dashed line.
        title: written above.

    Raises:
        InputError: no run has a return to show yet, or the name does not end in `.png`.
    """
    path = picture_path(path, ".png")
    return _save(draw_curves(runs, threshold=threshold, title=title), path)


def draw_curves(
    runs: Sequence[Run],
    *,
    threshold: float | None = None,
    title: str | None = None,
    clock: str | None = None,
    width: float | None = None,
) -> Figure:
    """Draw what `plot_curves` keeps; `clock`, "step" or "seconds", for one of its panels alone, `width` in inches.

    Raises:
        InputError: no run has a return to show yet, or no time to show it against.
    """
    groups = _grouped(runs)
    if not any(_series(rows, key)[1].size for seeds in groups.values() for rows in seeds for key in _RETURNS):
        raise InputError("there are no returns to draw yet; train for longer, until the first episodes have ended")
    timed = any(
        _series(rows, key, "seconds")[1].size for seeds in groups.values() for rows in seeds for key in _RETURNS
    )
    clocks = {"step": "environment steps"} | ({"seconds": "training time, minutes"} if timed else {})
    if clock is not None:
        clocks = {name: label for name, label in clocks.items() if name == clock}
        if not clocks:
            raise InputError("the metrics hold no times")
    figure, panels = new_figure(width or (9.0 if len(clocks) > 1 else 6.0), 3.6, 1, len(clocks), sharey=True)
    alone = len(groups) == 1 and all(len(seeds) == 1 for seeds in groups.values())
    for axes, (name, label) in zip(panels, clocks.items(), strict=True):
        _draw_groups(axes, groups, name, alone)
        if threshold is not None:
            axes.axhline(threshold, color=FAINT, linewidth=1.0, dashes=(5, 4), zorder=1)
        axes.set_xlabel(label)
        _scale(axes, 6)
    first = panels[0]
    if threshold is not None:
        first.annotate(
            f"solved: {threshold:,g}",
            (0.0, threshold),  # on the left, for curves begin low
            (3, 3),
            xycoords=first.get_yaxis_transform(),
            textcoords="offset points",
            color=FAINT,
            fontsize=9,
            ha="left",
        )
    first.set_ylabel("return of an episode")
    first.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    _name(figure, first, title)
    return figure


def plot_losses(runs: Sequence[Run], path: str | Path, *, title: str | None = None) -> Path:
    """Draw what the updates measured, one small panel each, against environment steps, as a PNG file.

    The well-known ones come first (losses, entropy, KL divergence, standard deviation, learning rate, speed),
    then everything else that is called `loss/...`. A row without a panel's value is passed over; null there,
    which stands for a number that was not finite, breaks the line.

    Args:
        runs: as for `plot_curves`; runs of equal labels share a colour.
        path: the file to write, `.png`.
        title: written above.

    Raises:
        InputError: there is nothing to draw yet, or the name does not end in `.png`.
    """
    path = picture_path(path, ".png")
    return _save(draw_losses(runs, title=title), path)


def draw_losses(runs: Sequence[Run], *, title: str | None = None) -> Figure:
    """Draw what `plot_losses` keeps.

    Raises:
        InputError: there is nothing to draw yet.
    """
    groups = _grouped(runs)
    panels = _find_panels([rows for seeds in groups.values() for rows in seeds])
    if not panels:
        raise InputError("there are no losses to draw yet; train for longer, until the first update")
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure, grid = new_figure(3.2 * columns, 2.0 * lines + 0.6, lines, columns)
    for axes, (name, key) in zip(grid, panels.items(), strict=False):
        for index, (label, seeds) in enumerate(groups.items()):
            for number, rows in enumerate(seeds):
                colour = COLOURS[index % len(COLOURS)]
                named = label if number == 0 else None
                x, y = _thinned(*_series(rows, key))
                axes.plot(x, y, _mark(y), color=colour, linewidth=1.2, alpha=0.9, label=named)
        axes.set_title(name, fontsize=10, loc="left", color=INK)
        _scale(axes, 4)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("environment steps", fontsize=10, color=INK)
    _name(figure, grid[0], title, len(groups) > 1)
    return figure


def _draw_groups(axes: Axes, groups: dict[str, list[list[dict]]], clock: str, alone: bool) -> None:
    for index, (label, seeds) in enumerate(groups.items()):
        colour = COLOURS[index % len(COLOURS)]
        if len(seeds) == 1:
            _draw_run(axes, seeds[0], clock, colour, None if alone else label)
        else:
            _draw_seeds(axes, seeds, clock, colour, f"{label} ({len(seeds)} seeds)")


def _draw_run(axes: Axes, rows: list[dict], clock: str, colour: str, label: str | None) -> None:
    """Draw one run; alone it says what its two lines are, among others it says its name."""
    x, y = _series(rows, TRAINING, clock)
    known = np.isfinite(y)
    if 2 * known.sum() < len(y):  # episodes end so seldom that most rows know of none: these are no gaps
        x, y = x[known], y[known]
    x, y = _thinned(x, y)
    has_evaluation = _series(rows, EVALUATION, clock)[1].size > 0
    if y.size:
        axes.plot(
            x, y, _mark(y), color=colour, linewidth=1.2, alpha=0.45 if has_evaluation else 0.9,
            label="while training (exploring)" if label is None else None if has_evaluation else label,
        )  # fmt: skip
    if has_evaluation:
        x, y = _series(rows, EVALUATION, clock)
        axes.plot(
            x, y, color=colour, linewidth=2.4, marker="o", markersize=4.5 if len(x) <= 40 else 0,
            markeredgecolor="white", markeredgewidth=0.7, solid_capstyle="round", zorder=3,
            label="evaluation (deterministic)" if label is None else label,
        )  # fmt: skip


def _draw_seeds(axes: Axes, seeds: list[list[dict]], clock: str, colour: str, label: str) -> None:
    """Draw runs of one label: evaluations where every seed has them, else the returns while training."""
    key = EVALUATION if all(_series(rows, EVALUATION, clock)[1].size for rows in seeds) else TRAINING
    lines = [_series(rows, key, clock) for rows in seeds]
    lines = [(x[np.isfinite(y)], y[np.isfinite(y)]) for x, y in lines]
    lines = [(x, y) for x, y in lines if x.size]
    for x, y in lines:
        x, y = _thinned(x, y)
        axes.plot(x, y, _mark(y), color=colour, linewidth=0.8, alpha=0.45, zorder=2)
    axes.plot([], [], color=colour, linewidth=2.4, label=label)  # named even while there is no mean yet
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
    """Read the runs and put those of equal labels together: label -> rows of each seed."""
    if not runs:
        raise InputError("no run was given to draw; name at least one")
    groups: dict[str, list[list[dict]]] = {}
    labels = iter(_labels([run for run in runs if isinstance(run, RunFolder)]))
    for run in runs:
        label, rows = (
            (run["label"], run["rows"]) if isinstance(run, dict) else (next(labels), read_metrics(run.metrics))
        )
        rows = [row for row in rows if "step" in row and "event" not in row]
        groups.setdefault(str(label), []).append(sorted(rows, key=lambda row: row["step"]))
    return groups


def _labels(folders: Sequence[RunFolder]) -> list[str]:
    """Name the experiment of each run: as its first run is called, with the task where there are several."""
    tasks = {folder.path.parent.name for folder in folders}
    experiments: dict[str, tuple[str, set[int]]] = {}
    labels = []
    for folder in folders:
        own = folder.path.name if len(tasks) == 1 else f"{folder.path.parent.name}/{folder.path.name}"
        recipe = read_recipe(folder.recipe)
        same = recipe.model_copy(update={"seed": 0}).model_dump_json()
        label, seeds = experiments.setdefault(same, (own, set()))
        # The same seed twice is no other seed: somebody compares machines, or versions.
        labels.append(own if recipe.seed in seeds else label)
        seeds.add(recipe.seed)
    return labels


def _series(rows: list[dict], key: str, clock: str = "step") -> tuple[np.ndarray, np.ndarray]:
    """Return where (K,) and what (K,) `key` was; time in minutes.

    A row without the key is left out. Null there is a gap (NaN) in what is measured all the time; evaluations
    are rare, so that null only says that there was none.
    """
    points = [
        (row[clock], math.nan if row[key] is None else row[key])
        for row in rows
        if key in row and row.get(clock) is not None and not (row[key] is None and key == EVALUATION)
    ]
    array = np.array(points, float).reshape(-1, 2)
    if not np.isfinite(array[:, 1]).any():
        array = array[:0]
    return array[:, 0] / (60.0 if clock == "seconds" else 1.0), array[:, 1]


def _mark(y: np.ndarray) -> str:
    """Return the style of a line: a lone point needs a mark to be seen."""
    return "o-" if np.isfinite(y).sum() == 1 else "-"


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours until at most `_MAX_POINTS` are left."""
    size = math.ceil(len(x) / _MAX_POINTS)
    if size <= 1:
        return x, y
    starts = np.arange(0, len(x), size)
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def _find_panels(runs: list[list[dict]]) -> dict[str, str]:
    """Return the panels there is something for: title -> key."""
    keys = sorted({key for rows in runs for row in rows for key, value in row.items() if is_number(value)})
    panels = {}
    for title, names in _PANELS.items():
        found = [key for name in names for key in keys if key.split("/")[-1] == name]
        if found:
            panels[title] = found[0]
    rest = [key for key in keys if key.startswith("loss/") and key not in panels.values()]
    return panels | {key.removeprefix("loss/").replace("_", " "): key for key in rest}


def is_number(value: Any) -> bool:
    """Tell whether a value of a metric can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scale(axes: Axes, marks: int) -> None:
    """Start at 0, with a few round numbers."""
    axes.set_xlim(left=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(marks, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int | None = None) -> str:
    """Write a number of an axis, a large one as 200 k or 1.5 M."""
    size, letter = next((pair for pair in _UNITS if abs(value) >= pair[0]), (1.0, ""))
    return f"{value / size:.4g}{letter}".replace("-", "\N{MINUS SIGN}")


def _name(figure: Figure, axes: Axes, title: str | None, legend: bool = True) -> None:
    """Put the title and under it what the lines of `axes` are above all panels."""
    if legend:
        handles, labels = axes.get_legend_handles_labels()
        # A letter of this size is about 0.09 inch wide, a handle with its margins 0.9.
        longest = max(map(len, labels), default=0)
        columns = min(len(labels), 4, int(figure.get_figwidth() / (0.9 + 0.09 * longest)))
        figure.legend(
            handles, labels, loc="outside upper center", ncols=max(1, columns), frameon=False,
            fontsize=10, title=title, title_fontproperties={"size": 12, "weight": "bold"}, labelcolor=INK,
        )  # fmt: skip
    elif title:
        figure.suptitle(title, fontsize=12, fontweight="bold", color=INK)


def _save(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    save_picture(path, buffer.getvalue())
    return path
