"""The trials of a sweep on the page of a comparison: importance of settings, parallel coordinates, Pareto front."""

import importlib.util
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from surefoot.reports.figure_style import COLOURS, FAINT, INK, as_svg, new_figure
from surefoot.reports.markup import Markup, figures, number, paragraph, section, table, wide
from surefoot.studies.figures import pareto_front
from surefoot.studies.folder import StudyFolder
from surefoot.studies.trial_book import open_study

if TYPE_CHECKING:
    import optuna

KIND = "sweep"
_LISTED = 10  # best trials in the table
_LEAST_TRIALS = 4  # for importances


def draw_sweep(folder: StudyFolder) -> Markup:
    """Return the section about a sweep: its best trials and its plots."""
    title = f"Sweep: {folder.path.name}"
    if not importlib.util.find_spec("optuna"):
        return section(title, paragraph('Its trials are not shown: install Optuna with pip install "surefoot[sweep]".'))
    study = _load(folder)
    trials = [] if study is None else [trial for trial in study.get_trials() if trial.state.name == "COMPLETE"]
    if study is None or not trials:
        return section(title, paragraph("No trial is complete yet."))
    names = sorted({name for trial in trials for name in trial.params})
    objectives = _objectives(folder, study)
    maximise = [direction.name == "MAXIMIZE" for direction in study.directions]
    plots = []
    if (weights := _importances(study, trials)) is not None:
        spoken = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in weights.items())
        caption = f"Importance of each setting for the {objectives[0]}, by Optuna."
        plots.append(
            (as_svg(_draw_importances(weights), f"importance-{_plain(folder)}", f"{caption} {spoken}"), caption)
        )
    if len(objectives) > 1:
        caption = f"Complete trials by {objectives[0]} and {objectives[1]}; those on the Pareto front are larger."
        figure = _draw_front([trial.values for trial in trials], objectives, maximise)
        plots.append((as_svg(figure, f"front-{_plain(folder)}", caption), caption))
    caption = f"Settings of the complete trials, one line each; dark: high {objectives[0]}."
    lines = as_svg(_draw_parallel(trials, names, objectives[0]), f"parallel-{_plain(folder)}", caption)
    counts = paragraph(f"{len(study.get_trials())} trials, {len(trials)} of them complete.", "note")
    return section(
        title,
        counts,
        _best(trials, names, objectives, maximise),
        figures(plots, "panels large"),
        wide(lines, caption),
        paragraph(caption, "note"),
    )


def _plain(folder: StudyFolder) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in folder.path.name)


def _load(folder: StudyFolder) -> "optuna.Study | None":
    """Return the study in a journal, None if there is none.

    Raises:
        RunError: the journal is damaged.
    """
    return open_study(folder.journal) if folder.journal.exists() and folder.journal.stat().st_size else None


def _objectives(folder: StudyFolder, study: "optuna.Study") -> list[str]:
    names, count = ["return", *folder.read().get("pareto", [])], len(study.directions)
    return names if len(names) == count else [f"objective {index + 1}" for index in range(count)]


def _importances(study: "optuna.Study", trials: Sequence[Any]) -> Mapping[str, float] | None:
    """Return Optuna's importances for the first objective, the largest first; None for too few trials."""
    import optuna

    if len(trials) < _LEAST_TRIALS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.importance.get_param_importances(study, target=lambda trial: trial.values[0])
    except (ValueError, RuntimeError):  # equal values, or no setting that all trials have
        return None


def _best(trials: Sequence[Any], names: Sequence[str], objectives: Sequence[str], maximise: Sequence[bool]) -> Markup:
    order = sorted(trials, key=lambda trial: trial.values[0], reverse=maximise[0])
    rows = [
        (
            f"trial {trial.number}",
            *(number(value, 4) for value in trial.values),
            *(_short(trial.params.get(name)) for name in names),
        )
        for trial in order[:_LISTED]
    ]
    return table(("", *objectives, *names), rows, "Best trials")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _draw_importances(weights: Mapping[str, float]) -> Figure:
    figure, (axes,) = new_figure(4.6, 0.9 + 0.3 * len(weights), 1, 1)
    names = list(weights)[::-1]
    axes.barh(range(len(names)), [weights[name] for name in names], color=COLOURS[0], height=0.6)
    axes.set_yticks(range(len(names)), [name.rpartition(".")[2] for name in names])
    axes.set_xlim(0, 1)
    axes.set_xlabel("importance")
    axes.grid(False, axis="y")
    return figure


def _draw_front(values: Sequence[Sequence[float]], objectives: Sequence[str], maximise: Sequence[bool]) -> Figure:
    figure, (axes,) = new_figure(4.6, 3.7, 1, 1)
    points = np.array(values, float)
    front = pareto_front(points, maximise)
    axes.scatter(points[:, 1], points[:, 0], s=18, color=COLOURS[5], linewidths=0, zorder=2)
    axes.scatter(points[front, 1], points[front, 0], s=52, color=COLOURS[0], linewidths=0, zorder=3)
    axes.set_xlabel(objectives[1])
    axes.set_ylabel(objectives[0])
    return figure


def _draw_parallel(trials: Sequence[Any], names: Sequence[str], objective: str) -> Figure:
    """Plot each trial as a line across one vertical axis per setting, and one of the objective."""
    # Narrow, so that the text is large enough on a phone, whose page shows a plot of 480 px and scrolls.
    figure, (axes,) = new_figure(max(6.0, 0.75 * (len(names) + 1)), 3.8, 1, 1)
    results = np.array([trial.values[0] for trial in trials], float)
    columns = [[trial.params.get(name) for trial in trials] for name in names] + [list(results)]
    heights = np.array([_heights(column) for column in columns])
    ranks = np.argsort(np.argsort(results)) / max(1, len(results) - 1)
    for index in np.argsort(results):
        axes.plot(heights[:, index], color=COLOURS[0], alpha=0.12 + 0.78 * ranks[index] ** 2, linewidth=1.3)
    for position, column in enumerate(columns):
        axes.axvline(position, color=FAINT, linewidth=0.8)
        for place, text in _ends(column):
            axes.annotate(text, (position, place), (3, 2), textcoords="offset points", fontsize=9, color=INK)
    labels = [name.rpartition(".")[2].replace("_", "\n") for name in [*names, objective]]
    axes.set_xticks(range(len(labels)), labels, fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(labels) - 0.4)
    axes.grid(False)
    return figure


def _heights(column: Sequence[Any]) -> np.ndarray:
    """Return the place of each value between 0 and 1: by its logarithm if the range is wide; texts by their order."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in column):
        values = {str(value): value for value in column}
        order = {name: index for index, name in enumerate(sorted(values, key=lambda name: _order(values[name])))}
        return np.array([order[str(value)] / max(1, len(order) - 1) for value in column])
    values = np.array(column, float)
    if values.min() > 0 and values.max() > 20 * values.min():
        values = np.log(values)
    width = values.max() - values.min()
    return (values - values.min()) / width if width > 0 and math.isfinite(width) else np.full(len(values), 0.5)


def _order(value: Any) -> tuple[bool, bool, Any]:
    """Return the key that sorts numbers, then texts, then none."""
    return value is None, isinstance(value, str), value or 0 if not isinstance(value, str) else value


def _ends(column: Sequence[Any]) -> list[tuple[float, str]]:
    """Return the texts at the lowest and the highest place of an axis; of texts, each of them."""
    places = dict(zip(_heights(column), column, strict=True))
    if any(isinstance(value, str) for value in column):
        return [(place, str(value)) for place, value in places.items()]
    return [(place, _short(places[place]) or "none") for place in {min(places), max(places)}]
