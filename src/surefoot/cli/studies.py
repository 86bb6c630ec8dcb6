"""The commands of studies: `seeds`, `compare`."""

import argparse
import contextlib
import shlex
from pathlib import Path
from typing import Any

from surefoot.api import make_recipe_from
from surefoot.cli.progress_bar import progress_bar
from surefoot.cli.tables import print_table
from surefoot.errors import InputError, RunError, suggestion
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.overrides import parse_settings
from surefoot.reports.media_files import output_path
from surefoot.runs.folder import RunFolder
from surefoot.studies.folder import StudyFolder, write_json
from surefoot.studies.seeds import Order, open_study, run_seeds, with_seed
from surefoot.tasks.registry import short_names
from surefoot.training.progress import Progress

# Arguments that do not change the results.
_UNRECORDED = ("--root", "--studies", "--quiet")
_WITH_VALUE = ("--root", "--studies", "--output")


def train_seeds(args: argparse.Namespace) -> int:
    """Train and evaluate the seeds of `surefoot seeds`."""
    if args.output is not None:
        output_path(args.output, ".json")
    task, recipe = _task_and_recipe(args.recipe)
    seeds = range(args.first_seed, args.first_seed + args.n)
    settings = {name: value for name, value in args.changes.items() if value is not None}
    start_from = None if args.start_from is None else _source(args.start_from, seeds[0])
    changes = parse_settings({name: value and with_seed(value, seeds[0]) for name, value in args.changes.items()})
    for name, instead in {"seed": "--first-seed and --n", "task": "RECIPE", "training.start_from": "--from"}.items():
        if name in changes:
            raise InputError(f"--{name}: of 'seeds', use {instead}")
    if start_from is not None:
        changes["training.start_from"] = with_seed(start_from, seeds[0])
    complete = make_recipe_from(task, recipe, changes, "runs", Progress(quiet=True))
    default = f"{Path(args.recipe).stem if recipe else task}-{complete.algorithm}".replace(":", "-").replace("/", "-")
    name = args.name or (args.output.stem if args.output else default)
    order = Order(task, recipe, settings, start_from, seeds, args.episodes, _command(args.words))
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


def compare_runs(args: argparse.Namespace) -> int:
    """Compare the runs of `surefoot compare`."""
    from surefoot.studies.compare import compare
    from surefoot.studies.experiments import find_sweeps, load_experiments
    from surefoot.studies.report import ENDINGS, write_comparison  # imports matplotlib and MuJoCo's renderer

    if args.output is not None:
        output_path(args.output, *ENDINGS)
    comparison = compare(load_experiments(args.sources, args.root, args.studies), args.threshold)
    sweeps = find_sweeps(args.sources, args.root, args.studies)
    output = args.output or _page_of(args.sources, args.studies)
    with progress_bar(args.quiet) as progress:
        measures, written = write_comparison(
            comparison, output, _command(args.words), args.title, sweeps, not args.no_video, progress
        )
    _print_comparison(measures)
    for path in written:
        print(path)
    return 0


def _page_of(sources: list[str], studies: str) -> Path:
    """Return the default page: of one study in its folder, otherwise in the working directory."""
    if len(sources) == 1:
        with contextlib.suppress(RunError):
            return StudyFolder.open(sources[0].rpartition("=")[2], studies).page
    return Path("compare.html")


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


def _task_and_recipe(text: str) -> tuple[str, str | None]:
    """Return task and recipe of `RECIPE`: a task stands for its own recipe, or for the defaults.

    Raises:
        InputError: there is no such recipe or task.
    """
    if text in short_names() or ":" in text:
        return text, None
    if text in recipe_names() or text.endswith(".toml"):
        return load_recipe(text).task, text
    import gymnasium

    if text in gymnasium.registry:
        return text, None
    raise InputError(f"no recipe or task '{text}'{suggestion(text, [*recipe_names(), *short_names()])}")


def _source(text: str, seed: int) -> str:
    """Return the path of a warm start's source: a path, or TASK/NAME under `runs`."""
    if Path(with_seed(text, seed)).exists():
        return text
    RunFolder.open(with_seed(text, seed), "runs")
    return str(Path("runs") / text)


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
    figures, times = results["over_seeds"], results["training_seconds"]
    interval = f"{figures['ci_low']:,.1f} to {figures['ci_high']:,.1f}" if figures["n"] > 1 else "-"
    falls = [seed["falls"] for seed in results["seeds"]]
    row = [
        name,
        str(figures["n"]),
        f"{figures['mean']:,.1f}",
        f"{figures['iqm']:,.1f}",
        interval,
        f"{figures['min']:,.1f}",
        "-" if None in falls else f"{sum(falls):,}",
        f"{times['mean'] / 60:.1f} ({times['max'] / 60:.1f})",
    ]
    columns = ("study", "seeds", "mean return", "IQM", "95 % interval", "worst seed", "falls", "minutes (longest)")
    print_table(columns, [row], numbers_from=1)
