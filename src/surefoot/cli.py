"""The command line: one function per command; nothing heavy is imported until it is needed."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from surefoot.errors import EngineError, InputError, SurefootError, suggestion

_EPILOG = """\
any setting of a recipe can be changed on the way:
  surefoot train half-cheetah --seed 3 --ppo.learning_rate 1e-4 --policy.actor [128,64]
  surefoot train --settings              lists them all
"""
_LARGEST = 100_000_000


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line by one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message + f" (see '{self.prog} --help')")


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
    parser, commands = _make_parser()
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
        words, settings = _split_settings(words, flags)
    given, rest = parser.parse_known_args(words)
    if rest:
        hint = suggestion(rest[0], flags) if rest[0].startswith("-") else f" (see 'surefoot {words[0]} --help')"
        raise InputError(f"unexpected argument '{rest[0]}'{hint}")
    given.changes, given.flags = settings, flags
    return given.command(given)


def _split_settings(words: list[str], flags: list[str]) -> tuple[list[str], dict[str, str | None]]:
    """Part the command's own arguments from the settings of a recipe, `--a.b VALUE` or `--a.b=VALUE`."""
    own: list[str] = []
    settings: dict[str, str | None] = {}
    rest = words[::-1]
    while rest:
        word = rest.pop()
        name, equals, value = word.partition("=")
        if not word.startswith("--") or word == "--" or name in flags:
            own.append(word)
        elif equals:
            settings[name[2:]] = value
        else:  # None, where the value was forgotten
            settings[name[2:]] = rest.pop() if rest and not rest[-1].startswith("--") else None
    return own, settings


def _make_parser() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(
        prog="surefoot",
        description="Teaches bodies with legs to walk, run and climb.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, function, help: str, epilog: str | None = None) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(command=function)
        return command

    _add_train(add("train", _train, "train a policy on a task", _EPILOG))
    _add_resume(add("resume", _resume, "go on with a run that was stopped"))
    _add_evaluate(add("evaluate", _evaluate, "judge policies on fresh episodes"))
    _add_record(add("record", _record, "film a policy at work"))
    _add_report(add("report", _report, "make a page of what runs have learnt: film, curves, gait"))
    add("list", _list, "show tasks, recipes, engines and algorithms")
    add("doctor", _doctor, "say what this machine has and lacks")
    return parser, commands.choices


def _add_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("task", nargs="?", help="a short name such as ant, or any Gymnasium id")
    command.add_argument("--recipe", help="a recipe's name (see 'surefoot list'), or a .toml file")
    command.add_argument("--name", help="the run's name")
    command.add_argument(
        "--from", dest="start_from", metavar="RUN", help="start from what a run, or a policy's file, has learnt"
    )
    command.add_argument("--video", action="store_true", help="record a video at the end")
    command.add_argument("--settings", action="store_true", help="list every setting with its default and exit")
    command.add_argument("--quiet", action="store_true", help="show only warnings")
    _add_root(command)


def _add_resume(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="a run's folder, or TASK/NAME")
    command.add_argument("--steps", type=_whole_number, help="train until so many environment steps instead")
    command.add_argument("--quiet", action="store_true", help="show only warnings")
    _add_root(command)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, TASK/NAME, or a policy file")
    command.add_argument("--episodes", type=_whole_number, default=100, help="how many (default: 100)")
    command.add_argument("--seed", type=_whole_number, default=0, help="shifts the episodes' seeds (default: 0)")
    command.add_argument("--engine", default="auto", help="which engine simulates (default: auto)")
    command.add_argument("--task", help="another task of the same shape than the policy's own")
    command.add_argument("--last", action="store_true", help="the last policy instead of the best")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    _add_root(command)


def _add_record(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="a run's folder, TASK/NAME, or a policy file")
    command.add_argument("--output", type=Path, help="the film, .mp4, or .webp or .gif for a short animation")
    command.add_argument("--episodes", type=_whole_number, default=1, help="how many episodes (default: 1)")
    command.add_argument("--seed", type=_whole_number, default=0, help="the episodes' seed (default: 0)")
    command.add_argument("--task", help="another task of the same shape than the policy's own")
    command.add_argument("--snapshots", action="store_true", help="film every policy kept by training.snapshot_every")
    _add_root(command)


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, TASK/NAME, or a policy file")
    command.add_argument(
        "--output", type=Path, help="the page, .html (default: report.html in the run), or .png for curves of all runs"
    )
    command.add_argument("--episodes", type=_whole_number, default=50, help="how many to record (default: 50)")
    command.add_argument("--seed", type=_whole_number, default=0, help="shifts the episodes' seeds (default: 0)")
    command.add_argument("--which", choices=("policy", "last"), default="policy", help="the best policy or the last")
    command.add_argument("--no-film", action="store_true", help="make no film for the page")
    command.add_argument("--quiet", action="store_true", help="show only the files that were written")
    _add_root(command)


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument("--root", default="runs", help="the folder of all runs (default: runs)")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from surefoot import __version__

        print(f"surefoot {__version__}")
        parser.exit()


def _train(given: argparse.Namespace) -> int:
    from surefoot.recipes.words import parse_settings

    changes = parse_settings(given.changes, given.flags)
    if given.settings:
        from surefoot.reports.listing import print_settings

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
    from surefoot.face import make_recipe_from, train_recipe
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

    from surefoot.face import evaluate
    from surefoot.reports.tables import print_evaluations

    results = []
    for run in given.runs:
        options: dict[str, Any] = {"seed": given.seed, "engine": given.engine, "task": given.task}
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
    return _film(given.run, given.output, given.episodes, given.seed, given.root, given.task)


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
        _film(str(path), film, given.episodes, given.seed, given.root, given.task)
    return 0


def _film(run: str | Path, output: Path | None, episodes: int, seed: int, root: str, task: str | None = None) -> int:
    from surefoot.policies.files import load_policy
    from surefoot.reports import video
    from surefoot.runs.folder import RunFolder
    from surefoot.simulation.episodes import EVALUATION_SEEDS
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
    path = output or default
    info = find_policy_task(policy.task, policy.task_options, instead=task)
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
    from surefoot.face import report
    from surefoot.reports.waiting import Waiting

    for run in given.runs:
        with Waiting(given.quiet) as waiting:
            written = report(
                *(run, given.episodes, given.which, given.output, given.root),
                **{"seed": given.seed, "film": not given.no_film, "progress": waiting.tell},
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
    threshold = find_task(recipe.task, recipe.seen_options).reward_threshold
    print(plot_curves(folders, given.output, threshold=threshold))
    return 0


def _list(given: argparse.Namespace) -> int:
    from surefoot.reports.listing import print_catalogue

    print_catalogue()
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from surefoot.reports.doctor import examine

    return examine()


def _whole_number(text: str) -> int:
    """Read `3`, `1_000_000` or `1e6`."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if float(text).is_integer():
            return int(float(text))
    raise argparse.ArgumentTypeError(f"'{text[:100]}' is not a whole number")


if __name__ == "__main__":
    sys.exit(main())
