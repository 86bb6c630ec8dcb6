"""Helpers of the benchmarks: child processes, rounds, tables, result files with the machine and versions."""

import argparse
import dataclasses
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from surefoot import machine
from surefoot.runs.versions import revision, versions

Name = TypeVar("Name")
Result = TypeVar("Result")
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
_PACKAGES = (
    *("surefoot", "jax", "jaxlib", "numpy", "gymnasium", "mujoco", "box2d", "envpool"),
    *("stable-baselines3", "sbx-rl", "torch", "flax"),
)


@dataclasses.dataclass(frozen=True)
class Finished:
    """A process that ended with status 0.

    Attributes:
        output: standard output.
        began: start time, seconds since 1970.
        peak_memory_mib: peak memory of the process, or of a process it started if larger.
    """

    output: str
    began: float
    peak_memory_mib: float

    def result(self) -> dict[str, Any]:
        """Return the last line of the output, parsed as JSON."""
        return json.loads(self.output.splitlines()[-1])


def run_child(command: Sequence[str]) -> Finished:
    """Run a command on the CPU only and wait for it.

    Raises:
        SystemExit: it failed; the message holds the end of its standard error.
    """
    # JAX and PyTorch would use a GPU; networks this small gain nothing from it.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryFile() as errors:
        began = time.time()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            output = process.stdout.read()
        except BaseException:
            process.terminate()
            raise
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            tail = errors.read().decode(errors="replace")[-3000:]
            raise SystemExit(f"{tail}\n{shlex.join(command)}\nended with status {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    return Finished(output, began, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))


def run_order(script: str, order: dict[str, Any]) -> dict[str, Any]:
    """Run a benchmark script in a child process with `--child ORDER`, and return its result."""
    return run_child([sys.executable, str(Path(script).resolve()), "--child", json.dumps(order)]).result()


def train_in_child(task: str, *words: str, **settings: Any) -> tuple[Finished, list[dict[str, Any]]]:
    """Run `surefoot train` in a child process.

    Args:
        task: the task.
        *words: further command-line words.
        **settings: settings, two underscores for a dot.

    Returns:
        The finished process, and the metrics of all iterations.
    """
    from surefoot.runs.metrics import read_metrics

    changes = [f"--{name.replace('__', '.')}={value}" for name, value in settings.items()]
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "surefoot", "train", task, "--quiet", "--root", root, "--name", "bench"]
        finished = run_child([*command, *words, *changes])
        rows = read_metrics(Path(root) / task / "bench" / "metrics.jsonl")
    return finished, [row for row in rows if "steps_per_second" in row]


def arguments_parser(
    description: str, output: str, rounds: int = 3, peers: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every benchmark: `--rounds`, `--output` and, for children, `--child`.

    If `peers` are given, libraries of the extra `bench`, `--peers` chooses some of them or none.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="measurements of each contender (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / output)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    if peers:
        what = "libraries to compare with, or none (default: all)"
        parser.add_argument("--peers", nargs="*", choices=peers, default=[*peers], metavar="PEER", help=what)
    return parser


def say_rate(what: str, steps_per_second: float) -> None:
    """Print a rate."""
    print(f"{what}: {steps_per_second:,.0f} steps/s", flush=True)


def take_turns(
    contenders: Mapping[Name, Callable[[], Result]], rounds: int, say: Callable[[str, Result], None] = say_rate
) -> dict[Name, list[Result]]:
    """Measure every contender once per round, in turn, so that other load on the machine affects all of them.

    Args:
        contenders: a function that measures, by the name of the contender.
        rounds: number of rounds.
        say: called after each measurement with a description and the result.

    Returns:
        The results of each contender, one per round.
    """
    results: dict[Name, list[Result]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, measure in contenders.items():
            results[name].append(measure())
            say(f"round {number} of {rounds}: {name}", results[name][-1])
    return results


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return median, minimum, maximum and all values in order."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": values}


def format_spread(values: dict[str, Any], digits: int = 0) -> str:
    """Format a spread as median (min-max)."""
    return f"{values['median']:,.{digits}f} ({values['min']:,.{digits}f}-{values['max']:,.{digits}f})"


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; the first column is left-aligned, the others right."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print("", table, "")


def write_results(path: Path, load: float | None, results: dict[str, Any]) -> None:
    """Write results with command, date, commit, machine and versions."""
    origin = {
        "command": shlex.join(["python", *(os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": revision(),
        "machine": machine.describe_machine() | {"background_load": load},
        "versions": versions(_PACKAGES),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(origin | results, indent=1) + "\n")
    print(path)


def background_load() -> float | None:
    """Return `machine.background_load()`; warn on a loaded machine."""
    load = machine.background_load()
    if load is not None and load > 0.1:
        print(f"warning: other programs use {load:.0%} of this machine; results will be too low", file=sys.stderr)
    return load
