"""Arguments of the command line: those of each command, and the settings of a recipe."""

import argparse
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from surefoot.errors import InputError

_EPILOG = """\
any setting of a recipe can be changed:
  surefoot train half-cheetah --seed 3 --ppo.learning_rate 1e-4 --policy.actor [128,64]
  surefoot train half-cheetah --settings    list the settings of this training
  surefoot train --settings                 list all settings
"""
_TASK_OPTIONS = """\
options of the task can be changed:
  --task_options.NAME VALUE
"""


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message + f" (see '{self.prog} --help')")


def split_settings(arguments: list[str], flags: list[str], table: str = "") -> tuple[list[str], dict[str, str | None]]:
    """Separate the settings of a recipe, `--a.b VALUE` or `--a.b=VALUE`, from the other arguments.

    Args:
        arguments: the command line.
        flags: flags of the command itself.
        table: take only settings of this table, such as "a.".

    Returns:
        The other arguments, and the texts of the settings by name; None for a missing value.
    """
    own: list[str] = []
    settings: dict[str, str | None] = {}
    rest = arguments[::-1]
    while rest:
        argument = rest.pop()
        name, equals, value = argument.partition("=")
        if not argument.startswith("--" + table) or argument == "--" or name in flags:
            own.append(argument)
        elif equals:
            settings[name[2:]] = value
        else:
            settings[name[2:]] = rest.pop() if rest and not rest[-1].startswith("--") else None
    return own, settings


def make_parser(functions: Mapping[str, Callable[[argparse.Namespace], int]]) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the command line, and the parsers of the commands by name.

    Args:
        functions: function of each command; the attribute `command` of the parsed arguments.
    """
    parser = Parser(
        prog="surefoot",
        description="Teaches legged robots to walk, run and climb.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, help: str, epilog: str | None = None) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(command=functions[name])
        return command

    _add_train(add("train", "train a policy on a task", _EPILOG))
    _add_resume(add("resume", "continue a stopped run"))
    _add_evaluate(add("evaluate", "evaluate policies on held-out episodes", _TASK_OPTIONS))
    _add_record(add("record", "record a video of a policy", _TASK_OPTIONS))
    _add_report(add("report", "make a report of a run: video, learning curves, gait", _TASK_OPTIONS))
    _add_list(add("list", "list tasks, recipes, engines and algorithms, or the details of a task"))
    add("doctor", "check the installation")
    return parser, commands.choices


def _add_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("task", nargs="?", help="a short name such as ant, a Gymnasium id, or MODULE:CLASS")
    command.add_argument("--recipe", help="name of a recipe (see 'surefoot list'), or a .toml file")
    command.add_argument("--name", help="name of the run")
    command.add_argument("--from", dest="start_from", metavar="RUN", help="warm start from a run or a policy file")
    command.add_argument("--video", action="store_true", help="record a video after the training")
    command.add_argument(
        "--settings",
        action="store_true",
        help="list the settings of this training, or of all trainings without a task, and exit",
    )
    command.add_argument("--quiet", action="store_true", help="print only warnings")
    _add_root(command)


def _add_resume(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="run folder, or TASK/NAME")
    command.add_argument("--steps", type=integer, help="total environment steps, instead of the recipe's")
    command.add_argument("--quiet", action="store_true", help="print only warnings")
    _add_root(command)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folder, TASK/NAME, or policy file")
    command.add_argument("--episodes", type=integer, default=100, help="number of episodes (default: 100)")
    command.add_argument("--seed", type=integer, default=0, help="offset of the seeds (default: 0)")
    command.add_argument("--engine", default="auto", help="simulation engine (default: auto)")
    command.add_argument("--task", help="another task with the same spaces")
    command.add_argument("--last", action="store_true", help="use the last policy instead of the best")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    _add_root(command)


def _add_record(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="run folder, TASK/NAME, or policy file")
    command.add_argument("--output", type=Path, help="output file: .mp4, or .webp or .gif for a short animation")
    command.add_argument("--episodes", type=integer, default=1, help="number of episodes (default: 1)")
    command.add_argument("--seed", type=integer, default=0, help="offset of the seeds (default: 0)")
    command.add_argument("--task", help="another task with the same spaces")
    command.add_argument(
        "--snapshots", action="store_true", help="record all policies saved by training.snapshot_every"
    )
    _add_root(command)


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folder, TASK/NAME, or policy file")
    command.add_argument(
        "--output",
        type=Path,
        help="output file: .html (default: report.html in the run folder), or .png for the curves of all runs",
    )
    command.add_argument("--task", metavar="MODULE:CLASS", help="permit the import of the runs' own task")
    command.add_argument("--episodes", type=integer, default=50, help="number of recorded episodes (default: 50)")
    command.add_argument("--seed", type=integer, default=0, help="offset of the seeds (default: 0)")
    command.add_argument("--which", choices=("policy", "last"), default="policy", help="the best or the last policy")
    command.add_argument("--no-video", action="store_true", help="do not record a video for the page")
    command.add_argument("--quiet", action="store_true", help="print only the paths of the files")
    _add_root(command)


def _add_list(command: argparse.ArgumentParser) -> None:
    command.add_argument("task", nargs="?", help="show the recipes, policies and options of this task")


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument("--root", default="runs", help="folder of all runs (default: runs)")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from surefoot import __version__

        print(f"surefoot {__version__}")
        parser.exit()


def integer(text: str) -> int:
    """Parse an integer such as `3`, `1_000_000` or `1e6`."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if float(text).is_integer():
            return int(float(text))
    raise argparse.ArgumentTypeError(f"'{text[:100]}' is not an integer")
