"""The command line: one function per command; nothing heavy is imported until it is needed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from surefoot.errors import EngineError, InputError, SurefootError, suggestion

_EPILOG = """\
any setting of a recipe can be changed on the way:
  surefoot train half-cheetah --seed 3 --ppo.learning_rate 1e-4 --engine.copies 64
  surefoot train --settings              lists them all
"""


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line by one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message + f" (see '{self.prog} --help')")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 wrong input, 1 anything else, 130 interrupted."""
    try:
        parser, commands = _make_parser()
        words = list(sys.argv[1:] if arguments is None else arguments)
        settings: list[str] = []
        if words and words[0] == "train":
            words, settings = _split_settings(words, commands["train"])
        elif words and not words[0].startswith("-") and words[0] not in commands:
            raise InputError(f"unknown command '{words[0]}'" + suggestion(words[0], commands))
        given, rest = parser.parse_known_args(words)
        if not hasattr(given, "command"):
            parser.print_help()
            return 0
        if rest:
            options = [flag for action in commands[words[0]]._actions for flag in action.option_strings]
            raise InputError(f"unknown argument '{rest[0]}'" + suggestion(rest[0], options))
        given.changes = _parse_settings(settings)
        return given.command(given) or 0
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
        sys.stderr.close()
        return 1


def _split_settings(words: list[str], command: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Part the command's own arguments from the settings of a recipe."""
    flags = {flag for action in command._actions for flag in action.option_strings}
    own, settings = [], []
    position = 0
    while position < len(words):
        word = words[position]
        if word.startswith("--") and len(word) > 2 and word.partition("=")[0] not in flags:
            settings += words[position : position + (1 if "=" in word else 2)]
            position += 1 if "=" in word else 2
        else:
            own.append(word)
            position += 1
    return own, settings


def _make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
        prog="surefoot",
        description="Teaches bodies with legs to walk, run and climb.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, function, help: str) -> argparse.ArgumentParser:
        description = help[0].upper() + help[1:] + "."
        command = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
        command.set_defaults(command=function)
        return command

    def add_root(command: argparse.ArgumentParser) -> None:
        command.add_argument("--root", default="runs", help="the folder of all runs (default: runs)")

    train = add("train", _train, "train a policy on a task")
    train.add_argument("task", nargs="?", help="a short name such as ant, or any Gymnasium id")
    train.add_argument("--recipe", help="a recipe's name (see 'surefoot list'), or a .toml file")
    train.add_argument("--name", help="the run's name")
    train.add_argument("--video", action="store_true", help="record a video at the end")
    train.add_argument("--settings", action="store_true", help="list every setting with its default and exit")
    train.add_argument("--quiet", action="store_true", help="show only warnings")
    add_root(train)

    resume = add("resume", _resume, "go on with a run that was stopped")
    resume.add_argument("run", help="a run's folder, or TASK/NAME")
    resume.add_argument("--steps", type=int, help="train until so many environment steps instead")
    resume.add_argument("--quiet", action="store_true", help="show only warnings")
    add_root(resume)

    evaluate = add("evaluate", _evaluate, "judge policies on fresh episodes")
    evaluate.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, TASK/NAME, or a policy file")
    evaluate.add_argument("--episodes", type=int, default=100, help="how many (default: 100)")
    evaluate.add_argument("--seed", type=int, default=0, help="shifts the episodes' seeds (default: 0)")
    evaluate.add_argument("--engine", default="auto", help="which engine simulates (default: auto)")
    evaluate.add_argument("--last", action="store_true", help="the last policy instead of the best")
    evaluate.add_argument("--json", action="store_true", help="print the results as JSON")
    add_root(evaluate)

    record = add("record", _record, "film a policy at work")
    record.add_argument("run", help="a run's folder, TASK/NAME, or a policy file")
    record.add_argument("--output", type=Path, help="the film, .mp4, or .webp or .gif for a short animation")
    record.add_argument("--episodes", type=int, default=1, help="how many episodes (default: 1)")
    record.add_argument("--seed", type=int, default=0, help="the episodes' seed (default: 0)")
    add_root(record)

    report = add("report", _report, "draw the learning curves of runs")
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or TASK/NAME")
    report.add_argument("--output", type=Path, help="the picture, .png (default: curve.png in the first run)")
    add_root(report)

    add("list", _list, "show tasks, recipes and engines")
    add("doctor", _doctor, "say what this machine has and lacks")
    return parser, commands.choices


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from surefoot import __version__

        print(f"surefoot {__version__}")
        parser.exit()


def _train(given: argparse.Namespace) -> int:
    if given.settings:
        from surefoot.reports.tables import print_settings

        print_settings()
        return 0
    if given.task is None:
        raise InputError("which task? such as 'surefoot train half-cheetah' (see 'surefoot list')")
    from surefoot.face import make_recipe, start_folder
    from surefoot.training import loop
    from surefoot.training.progress import Progress

    recipe = make_recipe(given.task, given.recipe, given.changes)
    folder = start_folder(recipe, given.name, given.root)
    progress = Progress(given.quiet)
    progress.say(f"training '{recipe.task}' by {recipe.algorithm} (recipe {recipe.name}) into {folder.path}")
    try:
        outcome = loop.train(recipe, folder, progress)
    except SurefootError:
        if not folder.checkpoints.exists():
            _remove_empty(folder)
        raise
    finally:
        progress.stop()
    status = _tell(outcome)
    if given.video and status == 0:
        _film(outcome.folder.path, None, 1, 0, given.root)
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
        options: dict[str, Any] = {"seed": given.seed, "engine": given.engine}
        if given.last and not Path(run).is_file():
            options["which"] = "last"
        results.append(evaluate(run, given.episodes, root=given.root, **options))
    if given.json:
        print(json.dumps(results, indent=1))
    else:
        print_evaluations(results)
    return 0


def _record(given: argparse.Namespace) -> int:
    if given.episodes < 1:
        raise InputError(f"--episodes {given.episodes}: choose 1 or more")
    return _film(given.run, given.output, given.episodes, given.seed, given.root)


def _film(run: str | Path, output: Path | None, episodes: int, seed: int, root: str) -> int:
    from surefoot.policies.files import load_policy
    from surefoot.reports import video
    from surefoot.runs.folder import RunFolder
    from surefoot.simulation.episodes import EVALUATION_SEEDS
    from surefoot.tasks.catalogue import find_task

    if Path(run).is_file():
        policy, default = load_policy(run), Path("policy.mp4")
    else:
        folder = RunFolder.open(str(run), root)
        policy, default = load_policy(folder.policy_file), folder.videos / "best.mp4"
    path = output or default
    path.parent.mkdir(parents=True, exist_ok=True)
    info = find_task(policy.task, policy.task_options)
    if path.suffix in (".webp", ".gif"):
        video.write_animation(policy, info, path, seed=EVALUATION_SEEDS + seed)
        print(f"{path}: animation")
        return 0
    film = video.record(policy, info, path, episodes=episodes, seed=EVALUATION_SEEDS + seed)
    print(f"{path}: return {film['return']:.1f} in {film['length']} steps")
    return 0


def _report(given: argparse.Namespace) -> int:
    from surefoot.recipes.files import read_recipe
    from surefoot.reports.curves import plot_curves, plot_losses
    from surefoot.runs.folder import RunFolder
    from surefoot.tasks.catalogue import find_task

    folders = [RunFolder.open(run, given.root) for run in given.runs]
    recipe = read_recipe(folders[0].recipe)
    threshold = find_task(recipe.task, recipe.task_options).reward_threshold
    path = given.output or folders[0].curve
    plot_curves(folders, path, threshold=threshold)
    print(path)
    if given.output is None and len(folders) == 1:
        losses = folders[0].path / "losses.png"
        plot_losses(folders[0], losses)
        print(losses)
    return 0


def _list(given: argparse.Namespace) -> int:
    from surefoot.reports.tables import print_catalogue

    print_catalogue()
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from surefoot.reports.doctor import examine

    return examine()


def _parse_settings(words: list[str]) -> dict[str, Any]:
    """Read `--a.b VALUE` and `--a.b=VALUE` pairs; values are written as in TOML, or plain text."""
    changes: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--") or len(word) < 3:
            raise InputError(f"unexpected argument '{word}'; settings are written --name VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            position += 1
            if position == len(words):
                raise InputError(f"setting '--{name}' needs a value")
            value = words[position]
        changes[name.replace("-", "_")] = _parse_value(value)
        position += 1
    return changes


def _parse_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _remove_empty(folder) -> None:
    """Take away the folder of a run that failed before it began."""
    import shutil

    shutil.rmtree(folder.path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
