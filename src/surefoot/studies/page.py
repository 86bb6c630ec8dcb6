"""The page of a comparison: one self-contained HTML file."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from surefoot.reports.figure_style import as_svg
from surefoot.reports.markup import Markup, facts, figures, number, paragraph, section, table, text, tiles
from surefoot.reports.page import film, whole_page
from surefoot.studies import figures as draw
from surefoot.studies.compare import Comparison
from surefoot.studies.statistics import FEW_SEEDS

Films = Sequence[tuple[str, bytes | None, str]]
"""Heading, MP4 or None, and caption or reason of each film."""

_SLIGHT = "\N{EN DASH}"
_READING = (
    (
        "Score of a seed",
        "Mean return of one trained policy. Episodes of one policy do not show the variation between trainings, so the "
        "seed is the unit of all statistics here.",
    ),
    (
        "Interquartile mean (IQM)",
        "Mean of the middle half of the seeds: a quarter, rounded down, is cut at each end. It is less sensitive to "
        "one lucky or failed seed than the mean, and uses more seeds than the median.",
    ),
    (
        "95 % interval",
        "Percentile interval of the stratified bootstrap: seeds are drawn again, with replacement, within each task. "
        f"With fewer than {FEW_SEEDS} seeds it is too narrow.",
    ),
    (
        "Probability of improvement",
        "Probability that a random seed of the first scores more than a random seed of the second; 50 % means no "
        "difference. An interval that contains 50 % decides nothing.",
    ),
    (
        "In training",
        "Mean of all evaluations in training, averaged over seeds. It is higher if learning is faster.",
    ),
    (
        "Performance profile",
        "Fraction of the seeds that score more than each value. A curve above another one everywhere is better "
        "everywhere.",
    ),
    (
        "Time to the threshold",
        "Training steps or time until the first evaluation in training at or above the threshold. A seed that never "
        "reaches it counts as infinitely late.",
    ),
    (
        "Pareto front",
        "Those that no other one equals or exceeds in everything shown.",
    ),
)


def write_page(
    comparison: Comparison,
    measures: Mapping[str, Any],
    films: Films,
    sweeps: Sequence[Markup],
    json_file: str,
) -> str:
    """Return the page as HTML; it loads nothing and runs no scripts.

    Args:
        comparison: the comparison.
        measures: its figures, `compare.measure` and their origin.
        films: films of the best runs.
        sweeps: sections about sweeps.
        json_file: name of the file with the figures.
    """
    parts = [
        _head(comparison, measures),
        section("Results", _results(measures), *_notes(comparison)),
        *(_task(comparison, task) for task in comparison.tasks),
        _certainty(comparison, measures),
        *sweeps,
        _films(films),
        _settings(comparison, measures),
        _reading(),
        _provenance(measures),
    ]
    return whole_page(_title(comparison), parts, json_file)


def _title(comparison: Comparison) -> str:
    labels = list(dict.fromkeys(experiment.label for experiment in comparison.experiments))
    names = " and ".join([", ".join(labels[:-1]), labels[-1]]) if len(labels) > 1 else labels[0]
    return names if len(labels) <= 4 else f"{len(labels)} experiments"


def _head(comparison: Comparison, measures: Mapping[str, Any]) -> Markup:
    runs = sum(len(experiment.runs) for experiment in comparison.experiments)
    kind = "over held-out episodes" if comparison.held_out else "at the last evaluation in training"
    lead = f"{runs} {'trainings' if runs > 1 else 'training'}; returns of deterministic policies {kind}."
    best = max(measures["experiments"], key=lambda row: row["iqm"]["value"])
    entries: list[tuple[str, Any, str, Any]] = []
    if len(comparison.tasks) == 1:
        entries.append(("Highest IQM", number(best["iqm"]["value"], 4), "", f"{best['label']}; {_range(best['iqm'])}"))
        entries += _fastest(measures)
    ranked = sorted(measures["experiments"], key=lambda row: -row["iqm"]["value"])
    first = {row["label"] for row in ranked[:2]}
    for pair in measures["improvement"]:
        if len(comparison.tasks) == 1 and {pair["of"], pair["over"]} == first:
            more = f"of {pair['of']} over {pair['over']}; {_range(pair, percent=True)}"
            entries.append(("Probability of improvement", f"{100 * pair['value']:.0f}", "%", more))
    return Markup(
        f'<header><p class="eyebrow">Comparison</p><h1>{text(_title(comparison))}</h1>'
        f'<p class="lead"><b>{text(", ".join(comparison.tasks))}</b>. {text(lead)}</p></header>'
        f"{tiles(entries) if entries else ''}"
    )


def _fastest(measures: Mapping[str, Any]) -> list[tuple[str, Any, str, Any]]:
    rows = [row for row in measures["experiments"] if row["time_to_threshold"]]
    times = [(row["time_to_threshold"]["seconds"]["median"], row) for row in rows]
    reached = [(seconds, row) for seconds, row in times if seconds is not None]
    if not reached:
        return []
    seconds, row = min(reached, key=lambda pair: pair[0])
    threshold = number(measures["thresholds"][row["task"]], 4)
    return [(f"First at {threshold}", number(seconds / 60), "min", f"{row['label']}; median over seeds")]


def _range(estimate: Mapping[str, Any], percent: bool = False) -> str:
    if estimate["low"] is None:
        return "one seed: no interval"
    low, high = ((f"{100 * x:.0f} %" if percent else number(x, 4)) for x in (estimate["low"], estimate["high"]))
    return f"95 % interval {low} to {high}"


def _results(measures: Mapping[str, Any]) -> Markup:
    several = len({row["task"] for row in measures["experiments"]}) > 1
    columns = ("", *(("task",) if several else ()), "seeds", "IQM", "95 % interval", "mean", "worst seed", "falls")
    columns += ("in training", "steps to threshold", "minutes to threshold", "minutes in all")
    rows: list[tuple[str, ...]] = []
    for row in measures["experiments"]:
        estimate, falls = row["iqm"], [run["falls"] for run in row["runs"]]
        interval = f"{number(estimate['low'], 4)} to {number(estimate['high'], 4)}" if row["n"] > 1 else _SLIGHT
        rows.append(
            (
                row["label"],
                *((row["task"],) if several else ()),
                str(row["n"]),
                number(estimate["value"], 4),
                interval,
                number(row["mean"], 4),
                number(row["worst"], 4),
                _SLIGHT if None in falls else f"{sum(falls):,}",
                number(row["in_training"]["mean"], 4) if row["in_training"] else _SLIGHT,
                _time(row, "steps", lambda steps: f"{steps / 1e6:.2f} M" if steps >= 1e6 else f"{steps:,.0f}"),
                _time(row, "seconds", lambda seconds: number(seconds / 60)),
                number(row["seconds"] / 60),
            )
        )
    for row in measures["over_tasks"]:
        interval = f"{number(row['low'], 3)} to {number(row['high'], 3)}" if row["low"] is not None else _SLIGHT
        rows.append((row["label"], "all, normalised", _SLIGHT, number(row["value"]), interval, *[_SLIGHT] * 7))
    return table(columns, rows, "Results")


def _time(row: Mapping[str, Any], clock: str, show: Callable[[float], str]) -> str:
    times = row["time_to_threshold"]
    if not times:
        return _SLIGHT
    time = times[clock]
    middle = show(time["median"]) if time["median"] is not None else "not reached"
    return middle + (f" ({time['reached']} of {time['seeds']})" if time["reached"] < time["seeds"] else "")


def _notes(comparison: Comparison) -> list[Markup]:
    notes = []
    if comparison.thresholds:
        listed = ", ".join(f"{number(value, 5)} ({task})" for task, value in comparison.thresholds.items())
        notes.append(f"Thresholds: {listed}. Times are medians over seeds; in brackets the seeds that reach it.")
    fewest = min(len(experiment.runs) for experiment in comparison.experiments)
    if fewest == 1:
        notes.append("A single seed shows what one training did, not what an algorithm does.")
    elif fewest < FEW_SEEDS:
        notes.append(f"With fewer than {FEW_SEEDS} seeds the intervals are too narrow.")
    if not comparison.held_out:
        notes.append(
            "Some runs were not evaluated after their training, so the scores of all are the last evaluations in "
            "training, which have few episodes. Evaluate the runs with: surefoot evaluate RUN."
        )
    return [paragraph(note, "note") for note in notes]


def _task(comparison: Comparison, task: str) -> Markup:
    name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in task)
    plots = []
    for clock, unit in draw.CLOCKS.items():
        caption = f"Interquartile mean over seeds of the evaluations in training, over {unit}; band: 95 % interval."
        figure = draw.draw_curves(comparison, task, clock)
        plots.append((as_svg(figure, f"curve-{clock}-{name}", f"Learning curves. {caption}"), caption))
    caption = "Score of each seed (dots), interquartile mean (marker) and its 95 % interval (bar)."
    described = f"{caption} {_spoken(comparison, task)}"
    plots.append((as_svg(draw.draw_scores(comparison, task), f"scores-{name}", described), caption))
    caption = "Score over training time: each seed, and the experiments with their Pareto front (dashed)."
    plots.append((as_svg(draw.draw_costs(comparison, task), f"costs-{name}", caption), caption))
    return section(f"Learning: {task}" if len(comparison.tasks) > 1 else "Learning", figures(plots, "panels large"))


def _spoken(comparison: Comparison, task: str) -> str:
    """Return the mean scores in words, for screen readers."""
    means = (f"{one.label}: mean {comparison.scores(one).mean():.4g}" for one in comparison.of_task(task))
    return "; ".join(means) + "."


def _certainty(comparison: Comparison, measures: Mapping[str, Any]) -> Markup:
    plots = []
    if measures["improvement"]:
        pairs = measures["improvement"]
        caption = "Probability that a seed of the first scores more than one of the second, with its 95 % interval."
        spoken = "; ".join(f"{pair['of']} over {pair['over']}: {100 * pair['value']:.0f} %" for pair in pairs)
        plots.append((as_svg(draw.draw_improvement(pairs), "improvement", f"{caption} {spoken}."), caption))
    if measures["profiles"]["methods"]:
        caption = "Performance profiles: fraction of seeds that score more than each value; band: 95 % interval."
        plots.append((as_svg(draw.draw_profiles(comparison), "profiles", caption), caption))
    return section("How certain it is", figures(plots, "panels large")) if plots else Markup("")


def _films(films: Films) -> Markup:
    if not films:
        return Markup("")
    parts = []
    for heading, data, caption in films:
        shown = (
            film(data, f"{heading}. {caption}", autoplay=False) if data else paragraph(f"{heading}: {caption}", "note")
        )
        parts.append(shown)
    return section("Films of the best seeds", Markup(f'<div class="panels large">{"".join(parts)}</div>'))


def _settings(comparison: Comparison, measures: Mapping[str, Any]) -> Markup:
    if not measures["settings"]:
        return Markup("")
    columns = ("setting", *(experiment.label for experiment in comparison.experiments))
    rows = [(name, *(_value(value) for value in values)) for name, values in sorted(measures["settings"].items())]
    note = paragraph("Settings that are equal everywhere are left out.", "note")
    return section("Settings that differ", note, table(columns, rows, "Settings that differ"))


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return _SLIGHT if value is None else value if isinstance(value, str) else json.dumps(value)


def _reading() -> Markup:
    terms = "".join(f"<div><dt>{text(name)}</dt><dd>{text(meaning)}</dd></div>" for name, meaning in _READING)
    source = Markup(
        "After Agarwal et al. 2021, <cite>Deep Reinforcement Learning at the Edge of the Statistical Precipice</cite>, "
        "arXiv 2108.13264."
    )
    return section("How to read this page", Markup(f'<dl class="terms">{terms}</dl>'), paragraph(source, "note"))


def _provenance(measures: Mapping[str, Any]) -> Markup:
    found = ", ".join(f"{name} {version}" for name, version in measures["versions"].items())
    rows = [
        ("Command", Markup(f"<code>{text(measures['command'])}</code>")),
        ("Date", measures["date"]),
        ("Revision", measures["revision"] or "unknown"),
        ("Versions", found),
    ]
    return section("Provenance", facts(rows))
