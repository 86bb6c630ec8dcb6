"""Wall-clock time and environment steps until a threshold is reached, by Surefoot and by other libraries, on CPUs.

    python benchmarks/rivals.py --list                              # all cells and their state
    python benchmarks/rivals.py --tasks Hopper-v5 --seeds 0 1 2     # measure, then draw
    python benchmarks/rivals.py --draw                              # results/rivals.png from results/rivals.json

A cell is a task, a contender with one of its algorithms, and a seed. Cells run in turn, each in its own process and
environment, with all cores; nothing else should run. Every finished cell is added to the JSON file at once and is not
run again, so an interrupted measurement loses only the cell that was running. The protocol is that of
`rivals/protocol.py`; settings and their sources are in `rivals/cells.toml`.

Surefoot runs first on each task. The others have `--factor` times its median time, at most `--cap-minutes`.
"""

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measuring import ROOT, background_load, print_table
from surefoot import machine
from surefoot.errors import InputError, suggestion
from surefoot.files import atomic_write
from surefoot.runs.versions import revision

OURS = "surefoot"
ADAPTERS = Path(__file__).with_suffix("")
# A training that does not end by itself is killed after its cap and this many times its cap more, for evaluations, and
# some seconds.
_PATIENCE = 2.0
_PATIENCE_S = 900.0
_PROTOCOL = """## Protocol

- The clock runs from the start of the training's process, so imports and compilation count, with empty caches. It
  stands still during evaluations.
- After 25,000 further steps (100,000 for the quadruped) and 5 % more time the deterministic policy plays {episodes}
  held-out episodes of the Gymnasium task, the same for all libraries. If their mean return reaches the threshold,
  {confirm_episodes} new episodes must confirm it. The figures are those of the first evaluation that was confirmed.
- A training ends when it is confirmed, at the end of its settings' own number of steps, or at the cap: 10 times
  Surefoot's median time.
- Thread settings are each library's defaults.
- The quadrupeds are a Go1 or Go2 that follows commanded velocities, each library in its own simulation, so these times
  compare products rather than algorithms. Score of an episode: mean over 20 s of (2 exp(-v² / 0.25) +
  exp(-w² / 0.25)) / 3 with the errors v of the velocity, m/s, and w of the turning rate, rad/s; 0 after a fall.

Cells are measured one by one; finished ones are kept, so the same command continues an interrupted measurement:

```sh
python benchmarks/rivals.py --list
python benchmarks/rivals.py --tasks HalfCheetah-v5 --seeds 0 1 2 --budget-minutes 120
```

Libraries that are not complete on PyPI are run from clones in `build/rivals/sources/NAME`, as the table says.
"""
_VERSIONS = (
    "import importlib.metadata as m, json, platform, sys\n"
    "found = {d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}\n"
    "names = {n: found.get(n.lower().replace('_', '-')) for n in sys.argv[1:]}\n"
    "print(json.dumps({'python': platform.python_version()} | {n: v for n, v in names.items() if v}))"
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training to measure."""

    task: str
    contender: str
    algorithm: str
    seed: int
    settings: dict[str, Any]  # of the contender for the task
    about: dict[str, Any]  # of the contender

    @property
    def key(self) -> str:
        return f"{self.task}/{self.contender}/{self.algorithm}/{self.seed}"


class Results:
    """The results file: measured cells by key, and the contenders that could not be installed.

    Attributes:
        cells: measured cells by key.
        failures: errors of installations by contender.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        data = json.loads(path.read_text()) if path.exists() else {}
        self.cells: dict[str, dict[str, Any]] = data.get("cells", {})
        self.failures: dict[str, dict[str, Any]] = data.get("failures", {})

    def add(self, key: str, cell: dict[str, Any]) -> None:
        """Add a measured cell and save the file."""
        self.cells[key] = cell
        self.save()

    def save(self) -> None:
        """Replace the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        data = {"failures": self.failures, "cells": dict(sorted(self.cells.items()))}
        atomic_write(self._path, (json.dumps(data, indent=1) + "\n").encode())

    def minutes(self, task: str, contender: str) -> list[float]:
        """Return the minutes of the seeds that reached the threshold, by the contender's best algorithm."""
        times: dict[str, list[float]] = {}
        for cell in self.of(task, contender):
            if cell["status"] == "reached":
                times.setdefault(cell["algorithm"], []).append(cell["minutes"])
        return min(times.values(), key=lambda values: (-len(values), statistics.median(values)), default=[])

    def of(self, task: str, contender: str) -> list[dict[str, Any]]:
        """Return the measured cells of a contender on a task."""
        return [cell for cell in self.cells.values() if (cell["task"], cell["contender"]) == (task, contender)]


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        config = tomllib.loads(arguments.cells.read_text())
        results = Results(arguments.output)
        cells = list(choose(config, arguments.tasks, arguments.contenders, arguments.seeds))
        if arguments.list:
            _print_cells(cells, results)
        else:
            if not arguments.draw:
                measure(cells, config, results, arguments)
            draw(config, results, arguments.output.with_suffix(".png"))
            print_table("Minutes to the threshold", *rows(config, results))
    except InputError as error:
        print(f"rivals: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--list", action="store_true", help="show the cells and end")
    add("--draw", action="store_true", help="draw the picture and print the table, without measuring")
    add("--tasks", nargs="+", default=[], help="default: all")
    add("--contenders", nargs="+", default=[], help="default: all")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    add("--again", action="store_true", help="also run finished cells")
    add("--budget-minutes", type=float, default=float("inf"), help="start no cell whose cap exceeds what is left")
    add("--factor", type=float, default=10.0, help="cap of the others as a multiple of Surefoot's time (default: 10)")
    add("--cap-minutes", type=float, default=120.0, help="largest cap, and Surefoot's own (default: 120)")
    add("--environments", type=Path, default=ROOT / "build" / "rivals", help="folder of virtual environments")
    add("--sources", type=Path, default=ROOT / "build" / "rivals" / "sources", help="folder of clones")
    add("--cells", type=Path, default=ADAPTERS / "cells.toml", help=argparse.SUPPRESS)
    add("--output", type=Path, default=ROOT / "results" / "rivals.json")
    return parser


def choose(
    config: dict[str, Any], tasks: Sequence[str], contenders: Sequence[str], seeds: Iterable[int]
) -> Iterator[Cell]:
    """Yield cells, Surefoot first on each task; all contenders take turns for each seed.

    Raises:
        InputError: there is no such task or contender.
    """
    for kind, names in (("tasks", tasks), ("contenders", contenders)):
        for name in names:
            if name not in config[kind]:
                raise InputError(f"{kind}: '{name}' is none of them" + suggestion(name, list(config[kind])))
    for task in tasks or config["tasks"]:
        for ours, seed in itertools.product((True, False), seeds):
            for contender, about in config["contenders"].items():
                if (contender == OURS) == ours and contender in (contenders or config["contenders"]):
                    for settings in about["cells"].get(task, []):
                        yield Cell(task, contender, settings["name"], seed, settings, about)


def measure(cells: Iterable[Cell], config: dict[str, Any], results: Results, arguments: argparse.Namespace) -> None:
    """Run the cells that are not finished, and save each."""
    end = time.monotonic() + 60 * arguments.budget_minutes
    for cell in cells:
        if cell.key in results.cells and not arguments.again:
            continue
        cap = cap_of(cell, results, arguments)
        if cap is None:
            print(f"{cell.key}: left out, because Surefoot was not measured")
        elif 60 * cap > end - time.monotonic():
            print(f"{cell.key}: left out, because its cap of {cap:.0f} minutes exceeds the budget")
        elif not _source(cell, arguments.sources).exists():
            print(f"{cell.key}: left out; clone {cell.about['clone']}, into {_source(cell, arguments.sources)}")
        elif python := _python(cell, results, arguments.environments):
            print(f"{cell.key}: at most {cap:.1f} minutes", flush=True)
            load = background_load()
            rules = {key: config[key] for key in ("episodes", "confirm_episodes")} | config["tasks"][cell.task]
            result = train(cell, rules, cap, python, arguments.sources)
            origin = _origin(cell, python, load)
            results.add(cell.key, result | origin)
            print(f"{cell.key}: {_outcome(result)}", flush=True)


def cap_of(cell: Cell, results: Results, arguments: argparse.Namespace) -> float | None:
    """Return the cap in minutes; None: unknown, because Surefoot was not measured."""
    ours = results.minutes(cell.task, OURS)
    if cell.contender == OURS or (not ours and results.of(cell.task, OURS)):
        return arguments.cap_minutes
    return min(arguments.factor * statistics.median(ours), arguments.cap_minutes) if ours else None


def _source(cell: Cell, sources: Path) -> Path:
    """Return the folder of the contender's clone, or a folder that exists if it needs none."""
    return sources / cell.contender if "clone" in cell.about else ADAPTERS


def _python(cell: Cell, results: Results, environments: Path) -> str | None:
    """Return the contender's Python; make its environment if there is none. None: that failed."""
    if "requirements" not in cell.about:
        return sys.executable
    folder = environments.absolute() / cell.contender
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"{cell.contender}: installing in {folder}", flush=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", folder], pip + cell.about["requirements"]):
            done = subprocess.run([*map(str, command)], stderr=subprocess.PIPE, text=True)
            if done.returncode:
                error = _last_lines(done.stderr, environments.absolute())
                results.failures[cell.contender] = {"error": error, "date": _now()}
                results.save()
                print(f"{cell.contender}: not installed: {error}")
                return None
        (folder / "complete").touch()
    if results.failures.pop(cell.contender, None):
        results.save()
    return str(python)


def train(cell: Cell, rules: dict[str, Any], cap: float, python: str, sources: Path) -> dict[str, Any]:
    """Run one training in its own process, and return its result as plain data.

    Compilers and libraries find their caches empty, so that what they compile counts.
    """
    order = {key: rules[key] for key in ("threshold", "evaluate_every", "episodes", "confirm_episodes")}
    order |= {"task": cell.task, "seed": cell.seed, "cap_minutes": cap, "settings": _own(cell)}
    order |= {"environment": cell.settings.get("environment", {}), "source": str(_source(cell, sources).absolute())}
    result: dict[str, Any] = {"status": "error"}
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as log:
        output, caches = Path(scratch, "result.json"), Path(scratch, "caches")
        caches.mkdir()
        variables = {"XDG_CACHE_HOME": str(caches), "TMPDIR": str(caches), "SUREFOOT_COMPILATION_CACHE": "off"}
        variables |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
        order["began"] = time.time()
        process = subprocess.Popen(
            [python, str(ADAPTERS / cell.about["adapter"]), json.dumps(order), str(output)],
            env=os.environ | variables,
            cwd=scratch,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            status: int | str = process.wait(60 * cap * (1 + _PATIENCE) + _PATIENCE_S)
        except subprocess.TimeoutExpired:
            status = "a timeout"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if output.exists():
            result |= json.loads(output.read_text())
        if status == 0 and result.pop("finished", False):
            over = result.get("minutes", cap) >= cap
            result["status"] = "reached" if result["reached"] else "cap" if over else "ended"
        else:
            log.seek(0)
            result["error"] = _last_lines(f"{log.read()}\nended with {status}", Path(scratch))
    return result | {"cap_minutes": cap, "threshold": rules["threshold"]}


def _own(cell: Cell) -> dict[str, Any]:
    """Return the settings that the adapter needs."""
    left_out = ("name", "source", "environment")
    own = {key: value for key, value in cell.settings.items() if key not in left_out}
    return own | ({"library": cell.about["library"]} if "library" in cell.about else {})


def _origin(cell: Cell, python: str, load: float | None) -> dict[str, Any]:
    """Return the cell's names, and where its figures come from."""
    versions = subprocess.run([python, "-c", _VERSIONS, *cell.about["packages"]], capture_output=True, text=True)
    origin = {
        "task": cell.task,
        "contender": cell.contender,
        "algorithm": cell.algorithm,
        "seed": cell.seed,
        "settings": cell.settings["source"],
        "date": _now(),
        "command": shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "commit": revision(),
        "machine": machine.describe_machine() | {"background_load": load},
        "versions": json.loads(versions.stdout or "{}"),
    }
    return origin | ({"clone": cell.about["clone"]} if "clone" in cell.about else {})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _last_lines(text: str, folder: Path) -> str:
    """Return the last lines of an output, short enough for the results file, without the paths of this machine."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines)[-500:].replace(f"{folder}/", "").replace(f"{ROOT}/", "")


def _outcome(cell: dict[str, Any]) -> str:
    """Return a cell's result in words."""
    if cell["status"] == "reached":
        return f"{cell['minutes']:.1f} minutes, {cell['steps']:,} steps"
    if cell["status"] == "error":
        return cell["error"].splitlines()[-1]
    best = max((row[2] for row in cell["curve"]), default=float("nan"))
    return f"not reached in {cell['cap_minutes']:.0f} minutes; best evaluation {best:,.1f}"


def summaries(config: dict[str, Any], results: Results) -> Iterator[dict[str, Any]]:
    """Yield the figures of each task, contender and algorithm that was measured, the fastest of a task first."""
    for task in config["tasks"]:
        ours = results.minutes(task, OURS)
        found = []
        for contender in config["contenders"]:
            cells = results.of(task, contender)
            for algorithm in dict.fromkeys(cell["algorithm"] for cell in cells):
                seeds = [cell for cell in cells if cell["algorithm"] == algorithm]
                reached = [cell for cell in seeds if cell["status"] == "reached"]
                found.append(
                    {
                        "task": task,
                        "contender": contender,
                        "algorithm": algorithm,
                        "settings": seeds[0]["settings"],
                        "seeds": len(seeds),
                        "minutes": sorted(cell["minutes"] for cell in reached),
                        "steps": sorted(cell["steps"] for cell in reached),
                        "others": [cell for cell in seeds if cell["status"] != "reached"],
                        "ratio": statistics.median(cell["minutes"] for cell in reached) / statistics.median(ours)
                        if ours and reached
                        else None,
                    }
                )
        # Contenders that reached the threshold with more seeds, then in less time.
        yield from sorted(found, key=lambda row: (-len(row["minutes"]) / row["seeds"], row["ratio"] or 0))


def rows(config: dict[str, Any], results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the columns and the rows of the table."""
    columns = ["task", "threshold", "contender", "algorithm", "seeds that reach it", "minutes", "steps", "time ratio"]
    lines = []
    for row in summaries(config, results):
        lines.append(
            [
                row["task"],
                f"{config['tasks'][row['task']]['threshold']:,g}",
                row["contender"],
                row["algorithm"],
                f"{len(row['minutes'])} of {row['seeds']}",
                _median(row["minutes"], ".1f") or _missed(row["others"]),
                _median(row["steps"], ",.0f"),
                f"{row['ratio']:.1f}" if row["ratio"] else "",
            ]
        )
    return columns, lines


def _median(values: Sequence[float], digits: str) -> str:
    """Return median (lowest to highest), or nothing."""
    if len(values) < 2:
        return "".join(f"{value:{digits}}" for value in values)
    return f"{statistics.median(values):{digits}} ({values[0]:{digits}}-{values[-1]:{digits}})"


def _missed(cells: Sequence[dict[str, Any]]) -> str:
    """Return the reason why no seed reached the threshold."""
    if any(cell["status"] == "error" for cell in cells):
        return "error"
    if all(cell["status"] == "ended" for cell in cells):
        return f"not by the end of its training, {max(cell['minutes'] for cell in cells):.0f} minutes"
    return f"> {max(cell['cap_minutes'] for cell in cells):.0f}"


def draw(config: dict[str, Any], results: Results, path: Path) -> None:
    """Draw minutes to the threshold, a panel for each task: filled if reached, an open triangle at the cap if not."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    found = list(summaries(config, results))
    tasks = [task for task in config["tasks"] if any(row["task"] == task for row in found)]
    if not tasks:
        return
    figure, panels = pyplot.subplots(len(tasks), 1, figsize=(8, 1 + 1.7 * len(tasks)), squeeze=False, sharex=True)
    for task, panel in zip(tasks, panels[:, 0], strict=True):
        of_task = [row for row in found if row["task"] == task][::-1]
        for height, row in enumerate(of_task):
            colour = "tab:green" if row["contender"] == OURS else "tab:blue"
            missed = [cell.get("minutes", cell["cap_minutes"]) for cell in row["others"] if cell["status"] != "error"]
            panel.plot(row["minutes"], [height] * len(row["minutes"]), "o", color=colour)
            panel.plot(missed, [height] * len(missed), ">", color=colour, markerfacecolor="white")
        panel.set_yticks(range(len(of_task)), [f"{row['contender']}, {row['algorithm']}" for row in of_task])
        panel.set_ylim(-0.6, len(of_task) - 0.4)
        panel.set_title(f"{task} to {config['tasks'][task]['threshold']:,g}", loc="left", fontsize=10)
        panel.set_xscale("log", subs=(2, 5))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.grid(axis="x", which="both", alpha=0.3)
    panels[-1, 0].set_xlabel("minutes; open: not reached when the training ended")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def page(folder: Path = ROOT / "results") -> str:
    """Return docs/results/rivals.md."""
    config = tomllib.loads((ADAPTERS / "cells.toml").read_text())
    results = Results(folder / "rivals.json")
    columns, lines = rows(config, results)
    figures = [
        "Minutes and steps are medians over the seeds that reach the threshold, with the lowest and the highest; the "
        "time ratio is that of the minutes to Surefoot's. `> M`: no seed reached it within M minutes, the cap "
        "([data](../../results/rivals.json)).",
        "",
        *_markdown(columns, lines),
        "",
        "![Minutes to the threshold by task and library](../../results/rivals.png)",
    ]
    failures = [f"- {name}: `{' '.join(failure['error'].split())}`" for name, failure in results.failures.items()]
    settings = [
        [task, contender, cell["name"], cell["source"]]
        for task in config["tasks"]
        for contender, about in config["contenders"].items()
        for cell in about["cells"].get(task, [])
    ]
    needs = [
        [
            name,
            about["licence"],
            about.get("clone", "PyPI" if "requirements" in about else "this repository"),
            f"[`{about['adapter']}`](../../benchmarks/rivals/{about['adapter']})",
        ]
        for name, about in config["contenders"].items()
    ]
    return "\n".join(
        [
            "# Surefoot and other libraries on the same machine",
            "",
            "<!-- Generated by benchmarks/readme.py from benchmarks/rivals/cells.toml and results/rivals.json; do not "
            "edit. -->",
            "",
            "Wall-clock time and environment steps until a policy reaches a threshold, on CPUs only. Each library runs "
            "in its own environment with its own published settings, one training at a time, with all cores.",
            "",
            *(figures if lines else ["No cell has been measured yet."]),
            *(["", "Could not be installed:", "", *failures] if failures else []),
            "",
            _PROTOCOL.format(**config),
            "## Settings",
            "",
            *_markdown(("task", "library", "algorithm", "settings"), settings),
            "",
            *_markdown(("library", "licence", "source", "adapter"), needs),
            "",
            *(f"- {name}: {note}" for name, about in config["contenders"].items() for note in about.get("notes", [])),
            "",
        ]
    )


def _markdown(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*head, *("| " + " | ".join(line) + " |" for line in lines)]


def _print_cells(cells: Iterable[Cell], results: Results) -> None:
    lines = []
    for cell in cells:
        done = results.cells.get(cell.key)
        lines.append([cell.task, cell.contender, cell.algorithm, str(cell.seed), _outcome(done) if done else "to do"])
    print_table("Cells", ("task", "contender", "algorithm", "seed", "state"), lines)
    for contender, failure in results.failures.items():
        print(f"{contender} could not be installed on {failure['date'][:10]}: {failure['error']}")


if __name__ == "__main__":
    sys.exit(main())
