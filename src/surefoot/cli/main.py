"""The command line: one function per command; nothing heavy is imported until it is needed."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surefoot.cli.arguments import make_parser, split_settings
from surefoot.errors import EngineError, InputError, SurefootError, suggestion

_LARGEST = 100_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 wrong input, 1 anything else, 130 interrupted."""
    # JAX warns of every process that is started; ours go straight on to another program, such as ffmpeg.
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where a reader that has left is met
        return status
    except InputError as error:
        print(f"surefoot: {error}", file=sys.stderr)
        return 2
    except EngineError as error:
        print(f"{error.details}surefoot: {error}", file=sys.stderr)
        return 1
    except SurefootError as error:
        print(f"surefoot: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("surefoot: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        with contextlib.suppress(OSError, ValueError):  # or Python would complain once more when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a file that may not be read
        where = f"'{error.filename}': " if error.filename else ""
        print(f"surefoot: {SurefootError(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    parser, commands = make_parser(_COMMANDS)
    if not words:
        parser.print_help()
        return 0
    if words[0].startswith("-"):
        parser.parse_args(words[:1])  # which ends here, unless the flag is unknown
        raise InputError(f"unexpected argument '{words[0]}' (see 'surefoot --help')")
    if words[0] not in commands:
        raise InputError(f"unknown command '{words[0]}'" + suggestion(words[0], commands))
    flags = [flag for action in commands[words[0]]._actions for flag in action.option_strings]
    settings: dict[str, str | None] = {}
    if words[0] == "train":
        words, settings = split_settings(words, flags)
    elif words[0] in ("evaluate", "record"):
        words, settings = split_settings(words, flags, "task_options.")
    given, rest = parser.parse_known_args(words)
    if rest:
        hint = suggestion(rest[0], flags) if rest[0].startswith("-") else f" (see 'surefoot {words[0]} --help')"
        raise InputError(f"unexpected argument '{rest[0]}'{hint}")
    given.changes, given.flags = settings, flags
    return given.command(given)


def _train(given: argparse.Namespace) -> int:
    from surefoot.recipes.overrides import parse_settings

    changes = parse_settings(given.changes, given.flags)
    if given.settings:
        from surefoot.cli.listing import print_settings

        print_settings()
        return 0
    task = given.task or changes.pop("task", None)
    if task is None:
        raise InputError("which task? such as 'surefoot train half-cheetah' (see 'surefoot list')")
    if "task" in changes:
        raise InputError(f"two tasks: '{task}' and '{changes['task']}'; choose one")
    if given.start_from is not None:
        if not given.start_from:
            raise InputError("--from '': name a run or a policy's file")
        if "training.start_from" in changes:
            raise InputError("--from and --training.start_from say the same; give one of them")
        changes["training.start_from"] = given.start_from
    from surefoot.api import make_recipe_from, train_recipe
    from surefoot.training.progress import Progress

    progress = Progress(given.quiet)
    recipe = make_recipe_from(task, given.recipe, changes, given.root, progress)
    try:
        outcome = train_recipe(recipe, given.name, given.root, progress)
    finally:
        progress.stop()
    status = _tell(outcome)
    if given.video and status == 0:
        try:
            _film(outcome.folder.path, None, 1, 0, given.root)
        except SurefootError as error:
            raise SurefootError(f"the training is done, but no film was made: {error}") from error
    return status


def _resume(given: argparse.Namespace) -> int:
    from surefoot.runs.folder import RunFolder
    from surefoot.training import loop
    from surefoot.training.progress import Progress

    if given.steps is not None and given.steps < 1:
        raise InputError(f"--steps {given.steps}: choose 1 or more")
    progress = Progress(given.quiet)
    try:
        outcome = loop.resume(RunFolder.open(given.run, given.root), progress, given.steps)
    finally:
        progress.stop()
    return _tell(outcome)


def _tell(outcome) -> int:
    counters, path = outcome.counters, outcome.folder.path
    best = "not evaluated yet" if counters.best_return is None else f"best evaluated return {counters.best_return:.1f}"
    minutes, seconds = divmod(round(counters.seconds), 60)
    print(f"{outcome.reason} at step {counters.steps:,} after {minutes} min {seconds} s; {best}")
    if outcome.reason == "interrupted":
        print(f"go on with: surefoot resume {path}")
        return 130
    print(f"next: surefoot evaluate {path}    surefoot record {path}    surefoot report {path}")
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    import json

    from surefoot.api import evaluate
    from surefoot.cli.tables import print_evaluations
    from surefoot.policies.files import load_policy
    from surefoot.runs.folder import RunFolder

    results, changed = [], _changed_options(given)
    for run in given.runs:  # nothing is judged in vain because another is not there
        _ = load_policy(run) if os.path.isfile(run) else RunFolder.open(run, given.root)
    for run in given.runs:
        options: dict[str, Any] = {"seed": given.seed, "engine": given.engine, "task": given.task}
        options["task_options"] = changed
        if given.last and not os.path.isfile(run):
            options["which"] = "last"
        results.append(evaluate(run, given.episodes, root=given.root, **options))
    if given.json:
        print(json.dumps(results, indent=1))
    else:
        print_evaluations(results)
    return 0


def _record(given: argparse.Namespace) -> int:
    for name, value, least in (("--episodes", given.episodes, 1), ("--seed", given.seed, 0)):
        if not least <= value <= _LARGEST:
            raise InputError(f"{name} {value}: choose {least} to {_LARGEST}")
    if given.snapshots:
        return _film_snapshots(given)
    how = {"task": given.task, "options": _changed_options(given)}
    return _film(given.run, given.output, given.episodes, given.seed, given.root, **how)


def _changed_options(given: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the task that are to be other than the policy's own."""
    from surefoot.recipes.overrides import parse_settings

    return {name.partition(".")[2]: value for name, value in parse_settings(given.changes).items()}


def _film_snapshots(given: argparse.Namespace) -> int:
    from surefoot.runs.folder import RunFolder

    if given.output:
        raise InputError("--output: the films of --snapshots go into the run's folder, under their policies' names")
    folder = RunFolder.open(given.run, given.root)
    policies = sorted(folder.policy.glob("step-*.safetensors"))
    if not policies:
        raise InputError(f"'{folder.path}' has no snapshots; train with --training.snapshot_every STEPS")
    for path in policies:
        film = folder.videos / f"{path.stem}.mp4"
        _film(str(path), film, given.episodes, given.seed, given.root, given.task, _changed_options(given))
    return 0


def _film(
    run: str | Path,
    output: Path | None,
    episodes: int,
    seed: int,
    root: str,
    task: str | None = None,
    options: dict[str, Any] | None = None,
) -> int:
    from surefoot.evaluation.episodes import EVALUATION_SEEDS
    from surefoot.policies.files import load_policy
    from surefoot.reports import video
    from surefoot.runs.folder import RunFolder
    from surefoot.tasks.catalogue import find_policy_task

    if os.path.isfile(run):
        policy, default = load_policy(run), Path("policy.mp4")
    else:
        folder = RunFolder.open(str(run), root)
        best, last = folder.policy_file, folder.policy / "last.safetensors"
        if best.exists() or not last.exists():
            policy, default = load_policy(best), folder.videos / "best.mp4"
        else:
            policy, default = load_policy(last), folder.videos / "last.mp4"
    if task or options:  # the run's own film stays
        default = default.with_stem(f"{default.stem}-changed")
    path = output or default
    info = find_policy_task(policy.task, policy.task_options, instead=task, changes=options)
    if path.suffix in (".webp", ".gif"):
        video.write_animation(policy, info, path, seed=EVALUATION_SEEDS + seed)
        print(f"{path}: animation")
        return 0
    film = video.record(policy, info, path, episodes=episodes, seed=EVALUATION_SEEDS + seed)
    print(f"{path}: return {film['return']:.1f} in {film['length']:g} steps")
    return 0


def _report(given: argparse.Namespace) -> int:
    if given.output is not None and given.output.suffix.lower() == ".png":
        return _draw_curves(given)
    if given.output is not None and given.output.suffix.lower() != ".html":
        raise InputError(f"--output '{given.output}' should end in .html, or in .png for the curves alone")
    if given.output is not None and len(given.runs) > 1:
        raise InputError(
            f"--output '{given.output}': each of {len(given.runs)} runs has a page of its own; name one run"
        )
    for name, value, least, most in (("--episodes", given.episodes, 1, 10_000), ("--seed", given.seed, 0, _LARGEST)):
        if not least <= value <= most:
            raise InputError(f"{name} {value}: choose {least} to {most}")
    from surefoot.api import report
    from surefoot.cli.progress_bar import ProgressBar

    for run in given.runs:
        with ProgressBar(given.quiet) as waiting:
            written = report(
                *(run, given.episodes, given.which, given.output, given.root),
                **{"seed": given.seed, "video": not given.no_video, "progress": waiting.tell},
            )
        for path in written:
            print(path)
    return 0


def _draw_curves(given: argparse.Namespace) -> int:
    from surefoot.recipes.files import read_recipe
    from surefoot.reports.curves import plot_curves
    from surefoot.runs.folder import RunFolder
    from surefoot.tasks.catalogue import find_task

    folders = [RunFolder.open(run, given.root) for run in given.runs]
    recipe = read_recipe(folders[0].recipe)
    threshold = find_task(recipe.task, recipe.full_task_options).reward_threshold
    print(plot_curves(folders, given.output, threshold=threshold))
    return 0


def _list(given: argparse.Namespace) -> int:
    from surefoot.cli.listing import print_catalogue

    print_catalogue()
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from surefoot.cli.doctor import examine

    return examine()


_COMMANDS = {
    "train": _train,
    "resume": _resume,
    "evaluate": _evaluate,
    "record": _record,
    "report": _report,
    "list": _list,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
