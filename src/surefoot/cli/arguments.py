"""The command line's arguments: what each command takes, and what is a setting."""

import argparse
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from surefoot.errors import InputError

_EPILOG = """\
any setting of a recipe can be changed on the way:
  surefoot train half-cheetah --seed 3 --ppo.learning_rate 1e-4 --policy.actor [128,64]
  surefoot train --settings              lists them all
"""
_TASK_OPTIONS = """\
the task may differ from the policy's own by any of its options:
  --task_options.NAME VALUE
"""


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line by one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message + f" (see '{self.prog} --help')")


def split_settings(words: list[str], flags: list[str], table: str = "") -> tuple[list[str], dict[str, str | None]]:
    """Part the command's own arguments from the settings of a recipe, `--a.b VALUE` or `--a.b=VALUE`.

    Args:
        words: the command line.
        flags: the command's own.
        table: the settings' table, "a.", if only those of one are taken.

    Returns:
        The command's own words, and the settings' texts by name; None where the value was forgotten.
    """
    own: list[str] = []
    settings: dict[str, str | None] = {}
    rest = words[::-1]
    while rest:
        word = rest.pop()
        name, equals, value = word.partition("=")
        if not word.startswith("--" + table) or word == "--" or name in flags:
            own.append(word)
        elif equals:
            settings[name[2:]] = value
        else:
            settings[name[2:]] = rest.pop() if rest and not rest[-1].startswith("--") else None
    return own, settings


def make_parser(functions: Mapping[str, Callable[[argparse.Namespace], int]]) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole command line, and those of the commands, by name.

    Args:
        functions: what each command does; the parsed arguments hold it as `command`.
    """
    parser = Parser(
        prog="surefoot",
        description="Teaches bodies with legs to walk, run and climb.",
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
    _add_resume(add("resume", "go on with a run that was stopped"))
    _add_evaluate(add("evaluate", "judge policies on fresh episodes", _TASK_OPTIONS))
    _add_record(add("record", "film a policy at work", _TASK_OPTIONS))
    _add_report(add("report", "make a page of what runs have learnt: film, curves, gait"))
    add("list", "show tasks, recipes, engines and algorithms")
    add("doctor", "say what this machine has and lacks")
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
    command.add_argument("--steps", type=whole_number, help="train until so many environment steps instead")
    command.add_argument("--quiet", action="store_true", help="show only warnings")
    _add_root(command)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, TASK/NAME, or a policy file")
    command.add_argument("--episodes", type=whole_number, default=100, help="how many (default: 100)")
    command.add_argument("--seed", type=whole_number, default=0, help="shifts the episodes' seeds (default: 0)")
    command.add_argument("--engine", default="auto", help="which engine simulates (default: auto)")
    command.add_argument("--task", help="another task of the same shape than the policy's own")
    command.add_argument("--last", action="store_true", help="the last policy instead of the best")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    _add_root(command)


def _add_record(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="a run's folder, TASK/NAME, or a policy file")
    command.add_argument("--output", type=Path, help="the film, .mp4, or .webp or .gif for a short animation")
    command.add_argument("--episodes", type=whole_number, default=1, help="how many episodes (default: 1)")
    command.add_argument("--seed", type=whole_number, default=0, help="the episodes' seed (default: 0)")
    command.add_argument("--task", help="another task of the same shape than the policy's own")
    command.add_argument("--snapshots", action="store_true", help="film every policy kept by training.snapshot_every")
    _add_root(command)


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, TASK/NAME, or a policy file")
    command.add_argument(
        "--output", type=Path, help="the page, .html (default: report.html in the run), or .png for curves of all runs"
    )
    command.add_argument("--episodes", type=whole_number, default=50, help="how many to record (default: 50)")
    command.add_argument("--seed", type=whole_number, default=0, help="shifts the episodes' seeds (default: 0)")
    command.add_argument("--which", choices=("policy", "last"), default="policy", help="the best policy or the last")
    command.add_argument("--no-video", action="store_true", help="do not record a video for the page")
    command.add_argument("--quiet", action="store_true", help="show only the files that were written")
    _add_root(command)


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument("--root", default="runs", help="the folder of all runs (default: runs)")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from surefoot import __version__

        print(f"surefoot {__version__}")
        parser.exit()


def whole_number(text: str) -> int:
    """Read `3`, `1_000_000` or `1e6`; argparse shows the error."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if float(text).is_integer():
            return int(float(text))
    raise argparse.ArgumentTypeError(f"'{text[:100]}' is not a whole number")
