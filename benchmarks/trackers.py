"""Overhead of the experiment trackers: processor time and wall-clock time of a training with each and without.

    python benchmarks/trackers.py

The recipe half-cheetah logs one line of metrics per iteration of 4,096 steps. Each round trains in a new process
without a tracker, then with each one; W&B is offline. Measured is the time from the 4th iteration to the last one, so
without start and compilation, and with all child processes, such as W&B's service. Overhead compares runs of the same
round.
"""

import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    arguments_parser,
    background_load,
    format_spread,
    print_table,
    run_order,
    spread,
    take_turns,
    write_results,
)

TRACKERS = ("tensorboard", "wandb", "trackio")
_SKIPPED = 3  # iterations, which compile
_STEPS_PER_ITERATION = 4096


def main() -> None:
    parser = arguments_parser(__doc__, "trackers.json", rounds=6)
    parser.add_argument("--iterations", type=int, default=100, help="of each training (default: %(default)s)")
    parser.add_argument("--trackers", nargs="+", choices=TRACKERS, default=TRACKERS)
    arguments = parser.parse_args()
    if arguments.child:
        stdout, sys.stdout = sys.stdout, sys.stderr  # Trackio prints
        print(json.dumps(train(**json.loads(arguments.child))), file=stdout)
        return
    load = background_load()
    contenders = {
        name: partial(run_order, __file__, {"tracker": name, "iterations": arguments.iterations})
        for name in ("none", *arguments.trackers)
    }
    rounds = take_turns(contenders, arguments.rounds, lambda what, result: print(f"{what}: {result}", flush=True))
    results: dict[str, Any] = {"iterations": arguments.iterations, "trackers": {}}
    for name, runs in rounds.items():
        figures: dict[str, Any] = {clock: spread(run[clock] for run in runs) for clock in ("cpu_s", "wall_s")}
        if name != "none":
            pairs = list(zip(runs, rounds["none"], strict=True))
            for clock in ("cpu", "wall"):
                ratios = [100 * (ours[f"{clock}_s"] / plain[f"{clock}_s"] - 1) for ours, plain in pairs]
                figures[f"overhead_{clock}_percent"] = spread(ratios)
            figures["log_ms"] = spread(run["log_ms"] for run in runs)
        results["trackers"][name] = figures
    write_results(arguments.output, load, results)
    rows = [
        [
            name,
            *(format_spread(figures[clock], 2) for clock in ("cpu_s", "wall_s")),
            *(format_spread(figures[key], 1) if key in figures else "" for key in _COLUMNS),
        ]
        for name, figures in results["trackers"].items()
    ]
    print_table("", ("tracker", "processor, s", "wall-clock, s", *_COLUMNS.values()), rows)


_COLUMNS = {
    "overhead_cpu_percent": "overhead, processor, %",
    "overhead_wall_percent": "overhead, wall-clock, %",
    "log_ms": "per line, ms",
}


def train(tracker: str, iterations: int) -> dict[str, float]:
    """Train once; return the processor time, the wall-clock time, and the time of a call of the tracker."""
    os.environ["WANDB_MODE"], os.environ["WANDB_SILENT"] = "offline", "true"
    import surefoot
    from surefoot.runs.trackers import SafeTracker

    calls: list[float] = []
    log = SafeTracker.log

    def timed(self: SafeTracker, *arguments: Any) -> None:
        began = time.perf_counter()
        log(self, *arguments)
        calls.append(time.perf_counter() - began)

    SafeTracker.log = timed
    marks: list[tuple[float, float]] = []

    def callback(step: int, metrics: dict[str, float]) -> None:
        if "steps_per_second" in metrics:
            marks.append((_processor_seconds(), time.perf_counter()))

    settings: dict[str, Any] = {"training__steps": iterations * _STEPS_PER_ITERATION, "training__evaluate_every": 10**9}
    settings["training__trackers"] = [] if tracker == "none" else [tracker]
    with tempfile.TemporaryDirectory() as root:
        os.environ["TRACKIO_DIR"] = root
        surefoot.train("half-cheetah", root=root, progress=False, callback=callback, **settings)
    (cpu, wall), (last_cpu, last_wall) = marks[_SKIPPED], marks[-1]
    return {
        "cpu_s": last_cpu - cpu,
        "wall_s": last_wall - wall,
        "log_ms": 1e3 * sum(calls[_SKIPPED:]) / max(1, len(calls[_SKIPPED:])),
    }


def _processor_seconds() -> float:
    """Return the processor time of this process and of all its living descendants."""
    ticks, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)], ticks[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:13]))
    family = {os.getpid()}
    for _ in range(10):  # generations
        family |= {process for process, parent in parents.items() if parent in family}
    return sum(ticks[process] for process in family) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
