"""Arguments of the command line: those of each command, and the settings of a recipe."""

import argparse
import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from surefoot.errors import InputError

_EPILOG = """\
any setting of a recipe can be changed:
  surefoot train half-cheetah --seed 3 --ppo.learning_rate 1e-4 --policy.actor 128,64
  surefoot train half-cheetah --settings    list the settings of this training
  surefoot train --settings                 list all settings
"""
_SEEDS_EPILOG = """\
any setting of the recipe can be changed; {seed} in a value or in --from is the seed:
  surefoot seeds anymal --n 5
  surefoot seeds anymal --name slow --ppo.learning_rate 1e-4
  surefoot seeds anymal-step --n 3 --from 'studies/anymal-ppo/runs/anymal/seed-{seed}'
  surefoot seeds anymal --name clip --variant narrow ppo.clip_eps=0.1 --variant wide ppo.clip_eps=0.3
the same command continues a study that was stopped
"""
_COMPARE_EPILOG = """\
runs that differ only in the seed are one experiment; LABEL= before a run, a study or a file names its experiment:
  surefoot compare anymal/first anymal/second
  surefoot compare PPO=studies/half-cheetah-ppo TD3=studies/half-cheetah-td3 --threshold 4800
  surefoot compare results/bipedal-walker-ppo.json results/bipedal-walker-td3.json --output curves.png
"""
_SWEEP_EPILOG = """\
settings that are the same in all trials are given as for 'surefoot train':
  surefoot sweep half-cheetah --training.steps 200_000 --trials 50
  surefoot sweep half-cheetah --algorithm sac --search sac.batch_size sac.n_step
  surefoot sweep --space claborne2023-sweep
the same command continues a sweep that was stopped or killed
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

    train = add("train", "train a policy on a task", _EPILOG)
    train.add_argument("task", nargs="?", help="a short name such as ant, a Gymnasium id, or MODULE:CLASS")
    train.add_argument("--recipe", help="name of a recipe (see 'surefoot list'), or a .toml file")
    train.add_argument("--name", help="name of the run")
    train.add_argument("--from", dest="start_from", metavar="RUN", help="warm start from a run or a policy file")
    train.add_argument("--engine", metavar="NAME", help="simulation engine (see 'surefoot list'; default: auto)")
    train.add_argument("--video", action="store_true", help="record a video after the training")
    what = "list the settings of this training, or of all trainings without a task, and exit"
    train.add_argument("--settings", action="store_true", help=what)
    train.add_argument("--quiet", action="store_true", help="print only warnings")
    _add_root(train)

    _add_seeds(add("seeds", "train a recipe with several seeds, and evaluate each policy", _SEEDS_EPILOG))

    resume = add("resume", "continue a stopped run")
    resume.add_argument("run", help="run folder, or TASK/NAME")
    resume.add_argument("--steps", type=integer(1), help="total environment steps, instead of the recipe's")
    resume.add_argument("--quiet", action="store_true", help="print only warnings")
    _add_root(resume)

    _add_sweep(add("sweep", "search for better settings of a training", _SWEEP_EPILOG))
    _add_evaluate(add("evaluate", "evaluate policies on held-out episodes", _TASK_OPTIONS))
    _add_record(add("record", "record a video of a policy", _TASK_OPTIONS))
    _add_watch(add("watch", "show a robot live in the browser, controlled by a policy"))
    _add_report(add("report", "make a report of a run: video, learning curves, gait", _TASK_OPTIONS))
    _add_export(add("export", "export a policy for robots and other programs: ONNX, C, deploy.json"))
    _add_compare(add("compare", "compare runs and studies: learning curves, intervals, films", _COMPARE_EPILOG))
    listing = add("list", "list tasks, recipes, engines and algorithms, or the details of a task", _TASK_OPTIONS)
    listing.add_argument("task", nargs="?", help="show the recipes, policies and options of this task")
    add("doctor", "check the installation")
    return parser, commands.choices


def _add_seeds(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="a recipe (see 'surefoot list'), a .toml file, or a task")
    command.add_argument("--n", type=integer(1, 1000), default=5, help="number of seeds (default: 5)")
    command.add_argument("--first-seed", type=integer(0, 100_000), default=0, help="the first seed (default: 0)")
    what = "train these settings, too; repeat it for each variant of an ablation"
    command.add_argument(
        "--variant", action="append", nargs="+", default=[], metavar=("NAME", "SETTING=VALUE"), help=what
    )
    command.add_argument("--from", dest="start_from", metavar="RUN", help="warm start from a run or a policy file")
    what = "held-out episodes of each policy (default: 100)"
    command.add_argument("--episodes", type=integer(1, 1_000_000), default=100, help=what)
    what = "seeds trained at a time, which share the cores (default: 1, so that times are comparable)"
    command.add_argument("--workers", type=integer(1, 1000), default=1, help=what)
    command.add_argument("--name", help="name of the study (default: recipe and algorithm)")
    command.add_argument("--output", type=Path, help="write the results to this .json file, too")
    command.add_argument("--quiet", action="store_true", help="print only the table")
    what = "folder of all studies (default: studies)"
    command.add_argument("--root", type=Path, default=Path("studies"), help=what)


def _add_sweep(command: argparse.ArgumentParser) -> None:
    what = "a task, or the folder of a sweep to continue; without one, the task of the search space"
    command.add_argument("task", nargs="?", metavar="TASK|STUDY", help=what)
    command.add_argument("--recipe", help="recipe of all settings that are not searched (default: as 'surefoot train')")
    command.add_argument("--space", help="search space: a name (see 'surefoot list'), or a .toml file")
    what = "settings to search, within the algorithm's ranges or their own limits"
    command.add_argument("--search", nargs="+", default=[], metavar="SETTING", help=what)
    command.add_argument("--trials", type=integer(1, 9_999), default=30, help="trials in all (default: 30)")
    command.add_argument("--minutes", type=number, help="begin no trial after this time")
    command.add_argument(
        "--workers", type=integer(0, 1_000), default=0, help="trials at a time (default: one per core)"
    )
    what = "average of held-out returns to maximise: mean or iqm, the interquartile mean (default: mean)"
    command.add_argument("--objective", choices=("mean", "iqm"), help=what)
    what = "further objectives, for a Pareto front: time, entropy"
    command.add_argument("--pareto", nargs="+", default=[], choices=("time", "entropy"), help=what)
    what = "held-out episodes per trial (default: 100)"
    command.add_argument("--episodes", type=integer(1, 1_000_000), help=what)
    what = "training seeds for the best settings and for the recipe of the start, at the end (default: 5)"
    command.add_argument("--new-seeds", type=integer(0, 1_000), default=5, metavar="N", help=what)
    command.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    what = "seed of the sampler (default: 0)"
    command.add_argument("--sampler-seed", type=integer(0, 100_000), metavar="SEED", help=what)
    what = "Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT (default: this machine, without Ray)"
    command.add_argument("--on", metavar="ADDRESS", help=what)
    command.add_argument("--name", help="name of the study")
    command.add_argument("--settings", action="store_true", help="list the search space and exit")
    command.add_argument("--quiet", action="store_true", help="print only warnings and the result")
    command.add_argument("--root", default="studies", help="folder of all studies (default: studies)")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folder, TASK/NAME, or policy file")
    _add_episodes(command, "number of episodes", 100, 1_000_000)
    _add_engine(command)
    command.add_argument("--task", help="another task with the same spaces")
    command.add_argument("--last", action="store_true", help="use the last policy instead of the best")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    _add_root(command)


def _add_record(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="run folder, TASK/NAME, or policy file")
    command.add_argument("--output", type=Path, help="output file: .mp4, or .webp or .gif for a short animation")
    _add_episodes(command, "number of episodes", 1, 10_000)
    command.add_argument("--seconds", type=number, help="length in seconds, instead of whole episodes")
    command.add_argument(
        "--start", type=number, default=0, metavar="SECONDS", help="simulated time to skip (default: 0)"
    )
    what = "maximum frames per second (default: 30; for .webp and .gif: 25)"
    command.add_argument("--fps", type=number, help=what)
    command.add_argument("--size", type=size, metavar="WIDTHxHEIGHT", help="in pixels (default for MuJoCo: 640x480)")
    _add_engine(command)
    command.add_argument("--task", help="another task with the same spaces")
    command.add_argument("--last", action="store_true", help="use the last policy instead of the best")
    what = "record all policies saved by training.snapshot_every"
    command.add_argument("--snapshots", action="store_true", help=what)
    command.add_argument("--quiet", action="store_true", help="show no progress bar")
    _add_root(command)


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folder, TASK/NAME, or policy file")
    what = "output file: .html (default: report.html in the run folder), or .png for the curves of all runs"
    command.add_argument("--output", type=Path, help=what)
    _add_engine(command)
    command.add_argument("--task", metavar="MODULE:CLASS", help="permit the import of the runs' own task")
    _add_episodes(command, "number of recorded episodes", 50, 10_000)
    command.add_argument("--last", action="store_true", help="use the last policy instead of the best")
    command.add_argument("--no-video", action="store_true", help="do not record a video for the page")
    command.add_argument("--quiet", action="store_true", help="print only the paths of the files")
    _add_root(command)


def _add_watch(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", metavar="RUN|TASK", help="run folder, TASK/NAME, policy file, or a task")
    what = "actions without a policy, on a task (default for a task: zero)"
    command.add_argument("--policy", choices=("zero", "random"), help=what)
    command.add_argument("--task", metavar="MODULE:CLASS", help="permit the import of the policy's own task")
    command.add_argument("--last", action="store_true", help="use the newest policy of a run instead of the best")
    what = "interface to bind; others can control the robot if they can reach it (default: 127.0.0.1)"
    command.add_argument("--host", default="127.0.0.1", help=what)
    what = "port (default: the first free one from 8080)"
    command.add_argument("--port", type=integer(0, 65_535), default=0, help=what)
    what = "offset of the first episode's seed (default: 0)"
    command.add_argument("--seed", type=integer(0, 100_000_000), default=0, help=what)
    _add_root(command)


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="run folder, TASK/NAME, or policy file")
    what = "output folder (default: export, in the run folder or the current one)"
    command.add_argument("--output", type=Path, metavar="FOLDER", help=what)
    command.add_argument("--task", metavar="MODULE:CLASS", help="permit the import of the policy's own task")
    command.add_argument("--last", action="store_true", help="use the last policy instead of the best")
    _add_root(command)


def _add_compare(command: argparse.ArgumentParser) -> None:
    what = "run folder, TASK/NAME, study, or .json file of 'surefoot seeds --output'"
    command.add_argument("sources", nargs="+", metavar="RUN|STUDY", help=what)
    what = "return to reach (default: that at which the task counts as solved)"
    command.add_argument("--threshold", type=number, help=what)
    what = "output file: .html with a .json and a .png beside it, or one of these (default: compare.html, in a study)"
    command.add_argument("--output", type=Path, help=what)
    command.add_argument("--title", help="title of the picture")
    command.add_argument("--no-video", action="store_true", help="record no films for the page")
    command.add_argument("--quiet", action="store_true", help="print only the tables and the paths of the files")
    _add_root(command)
    command.add_argument("--studies", default="studies", help="folder of all studies (default: studies)")


def _add_episodes(command: argparse.ArgumentParser, meaning: str, default: int, most: int) -> None:
    what = f"{meaning} (default: {default})"
    command.add_argument("--episodes", type=integer(1, most), default=default, help=what)
    command.add_argument("--seed", type=integer(0, 100_000_000), default=0, help="offset of the seeds (default: 0)")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", default="auto", help="simulation engine (default: auto)")


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument("--root", default="runs", help="folder of all runs (default: runs)")


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from surefoot import __version__

        print(f"surefoot {__version__}")
        parser.exit()


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser of integers such as `3`, `1_000_000` or `1e6`, from `least` to `most`."""

    def parse(text: str) -> int:
        number = math.nan
        with contextlib.suppress(ValueError):
            number = float(text)
        if not number.is_integer():
            raise argparse.ArgumentTypeError(f"'{text[:100]}' is not an integer")
        value = int(number)
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text}: choose {least:,} " + (f"to {most:,}" if most else "or more"))
        return value

    return parse


def number(text: str) -> float:
    """Parse a finite number."""
    with contextlib.suppress(ValueError):
        if math.isfinite(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError(f"'{text[:100]}' is not a number")


def size(text: str) -> tuple[int, int]:
    """Parse a size such as `640x480`."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text[:100]}' is not a size such as 640x480")
    return int(width[:6]), int(height[:6])
