"""What the benchmarks share: one process per contender, the machine in words, a table, a JSON file."""

import dataclasses
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from surefoot.runs.versions import revision, versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
_PACKAGES = (
    *("surefoot", "jax", "jaxlib", "numpy", "gymnasium", "mujoco", "box2d", "envpool"),
    *("stable-baselines3", "sbx-rl", "torch", "flax"),
)


@dataclasses.dataclass(frozen=True)
class Ran:
    """A process that has ended well.

    Attributes:
        output: what it printed.
        began: when it was started, in seconds since 1970.
        peak_memory_mib: the most memory that it held at once, or one of the processes it started.
    """

    output: str
    began: float
    peak_memory_mib: float

    def answer(self) -> dict[str, Any]:
        """Return its last line, read as JSON."""
        return json.loads(self.output.splitlines()[-1])


def run_child(command: Sequence[str]) -> Ran:
    """Run a command on the CPU only, and wait for it.

    Raises:
        SystemExit: it failed; the message holds the end of what it wrote to standard error.
    """
    # JAX and PyTorch take a GPU where they find one; these networks are too small for it to help any contender.
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
    return Ran(output, began, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return the median, the extremes and all of the values, in order."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": values}


def told(values: dict[str, Any], digits: int = 0) -> str:
    """Write a spread as median (min-max)."""
    return f"{values['median']:,.{digits}f} ({values['min']:,.{digits}f}-{values['max']:,.{digits}f})"


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; the first column is flush left, the others right."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print("", table, "")


def write_results(path: Path, busy_before: float | None, results: dict[str, Any]) -> None:
    """Write results with what is needed to repeat them: command, date, commit, machine, versions."""
    origin = {
        "command": shlex.join(["python", *(os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": revision(),
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
            "busy_before": busy_before,
        },
        "versions": versions(_PACKAGES),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(origin | results, indent=1) + "\n")
    print(path)


def busy_share() -> float | None:
    """Return how much of all cores others use, in [0, 1], watched for a second; None where Linux is not there to ask.

    The load average would not do: it still holds the benchmark before this one.
    """
    try:
        before = _cpu_ticks()
        time.sleep(1)
        idle, total = (after - then for after, then in zip(_cpu_ticks(), before, strict=True))
    except OSError:
        return None
    busy = 1 - idle / max(total, 1)
    if busy > 0.1:
        print(f"warning: others use {busy:.0%} of this machine; the figures will be too low", file=sys.stderr)
    return round(busy, 3)


def _cpu_ticks() -> tuple[int, int]:
    """Return the idle ticks and all ticks of all cores since the start."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
