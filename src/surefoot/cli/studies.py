"""The commands of studies: `seeds`, `compare`."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surefoot.cli.progress_bar import progress_bar
from surefoot.cli.tables import print_table
from surefoot.errors import InputError
from surefoot.reports.media_files import output_path
from surefoot.studies.api import compare_sources, plan_seeds
from surefoot.studies.folder import write_json
from surefoot.studies.seeds import open_study, run_seeds

# Arguments that do not change the results.
_UNRECORDED = ("--root", "--studies", "--quiet")
_WITH_VALUE = ("--root", "--studies", "--output")
_FORM = "write: --variant NAME SETTING=VALUE ..."


def train_seeds(args: argparse.Namespace) -> int:
    """Train and evaluate the seeds of `surefoot seeds`."""
    if args.output is not None:
        output_path(args.output, ".json")
    seeds = range(args.first_seed, args.first_seed + args.n)
    variants, command = _variants(args.variant), _command(args.words)
    order, default = plan_seeds(args.recipe, seeds, args.episodes, args.changes, variants, args.start_from, command)
    name = args.name or (args.output.stem if args.output else default)
    folder = open_study(args.root, name, order)
    with progress_bar(args.quiet) as progress:
        results = run_seeds(folder, order, args.workers, (lambda _: None) if args.quiet else _say, progress)
    if results is None:
        print(f"interrupted; the same command continues the study in {shlex.quote(str(folder.path))}")
        return 130
    _print_seeds(name, results)
    print(folder.results)
    if args.output is not None:
        write_json(args.output, results)
        print(args.output)
    print(f"next: surefoot compare {shlex.quote(str(folder.path))}")
    return 0


def _variants(words: Sequence[Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return the variants of `--variant NAME SETTING=VALUE ...`: texts of settings by the name of the variant.

    Raises:
        InputError: a setting has no value, or two variants have one name.
    """
    variants: dict[str, dict[str, str]] = {}
    for name, *settings in words:
        if name in variants or "=" in name:
            raise InputError(f"--variant {name}: " + ("two variants have this name" if name in variants else _FORM))
        variants[name] = {}
        for text in settings:
            setting, equals, value = text.removeprefix("--").partition("=")
            if not equals:
                raise InputError(f"--variant {name}: '{text}' has no value; {_FORM}")
            variants[name][setting] = value
    return variants


def compare_runs(args: argparse.Namespace) -> int:
    """Compare the runs of `surefoot compare`."""
    with progress_bar(args.quiet) as progress:
        outcome = compare_sources(
            args.sources,
            args.threshold,
            args.output,
            args.title,
            not args.no_video,
            args.root,
            args.studies,
            _command(args.words),
            progress,
        )
    _print_comparison(outcome.figures)
    for path in outcome.files:
        print(path)
    return 0


def _print_comparison(measures: dict[str, Any]) -> None:
    several = len({row["task"] for row in measures["experiments"]}) > 1
    rows = []
    for row in measures["experiments"]:
        estimate, times = row["iqm"], row["time_to_threshold"]
        reached = "-"
        if times:
            seconds = times["seconds"]
            reached = "-" if seconds["median"] is None else f"{seconds['median'] / 60:.1f}"
            reached += "" if seconds["reached"] == row["n"] else f" ({seconds['reached']} of {row['n']})"
        rows.append(
            [
                f"{row['label']}, {row['task']}" if several else row["label"],
                str(row["n"]),
                f"{estimate['value']:,.1f}",
                "-" if estimate["low"] is None else f"{estimate['low']:,.1f} to {estimate['high']:,.1f}",
                f"{row['mean']:,.1f}",
                f"{row['worst']:,.1f}",
                f"{row['seconds'] / 60:.1f}",
                reached,
            ]
        )
    columns = ("experiment", "seeds", "IQM", "95 % interval", "mean", "worst", "minutes", "to threshold")
    print_table(columns, rows, numbers_from=1)
    for row in measures["over_tasks"]:
        print(f"over all tasks, normalised: {row['label']} {row['value']:.3f}{_interval(row, '.3f')}")
    for pair in measures["improvement"]:
        chance = f"{pair['value']:.0%}{_interval(pair, '.0%')}"
        print(f"a seed of {pair['of']} scores more than one of {pair['over']}: {chance}")
    print(f"scores: {measures['scores']}; intervals: stratified bootstrap over seeds")


def _interval(estimate: dict[str, Any], form: str) -> str:
    return "" if estimate["low"] is None else f" [{estimate['low']:{form}}, {estimate['high']:{form}}]"


def _command(words: list[str]) -> str:
    """Return the command line without folders of this machine."""
    shown, rest = ["surefoot"], iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in _WITH_VALUE and not equals:
            value = next(rest, "")
        if not (flag in _UNRECORDED or (flag == "--output" and Path(value).is_absolute())):
            shown += [word] if equals or flag not in _WITH_VALUE else [word, value]
    return shlex.join(shown)


def _say(line: str) -> None:
    print(line, flush=True)


def _print_seeds(name: str, results: dict[str, Any]) -> None:
    rows = []
    for label, part in results.get("variants", {name: results}).items():
        figures, times = part["over_seeds"], part["training_seconds"]
        interval = f"{figures['ci_low']:,.1f} to {figures['ci_high']:,.1f}" if figures["n"] > 1 else "-"
        falls = [seed["falls"] for seed in part["seeds"]]
        rows.append(
            [
                label,
                str(figures["n"]),
                f"{figures['mean']:,.1f}",
                f"{figures['iqm']:,.1f}",
                interval,
                f"{figures['min']:,.1f}",
                "-" if None in falls else f"{sum(falls):,}",
                f"{times['mean'] / 60:.1f} ({times['max'] / 60:.1f})",
            ]
        )
    first = "variant" if "variants" in results else "study"
    columns = (first, "seeds", "mean return", "IQM", "95 % interval", "worst seed", "falls", "minutes (longest)")
    print_table(columns, rows, numbers_from=1)
