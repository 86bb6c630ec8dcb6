"""What mirrored batches and parameter noise are worth to DDPG: neither, one, the other, both; several seeds each.

    python benchmarks/ablation.py --seeds 3 --steps 300000 --output results/ddpg-ablation.json

As in the ablation of Pavlov et al. 2017 (arXiv 1711.06922, section 4), on a smaller task. All runs make the same steps
and updates and draw batches of the same size; a mirrored one is twice as large when it is learnt from. Runs go side by
side, one per core, each held to its core. What is judged is the last policy, on 100 fresh episodes, and the mean of all
evaluations on the way, which tells how fast it was learnt. A picture of the curves goes beside the file.

Runs that have ended before are not made again, so that the study can be broken off and go on.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

from measuring import busy_share, print_table, write_results
from surefoot.evaluation.statistics import summarise, summarise_seeds
from surefoot.reports.curves import plot_curves
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.simulation.engine import available_cores

SYMMETRY, NOISE = "ddpg.symmetry", "ddpg.exploration.parameter_noise"
VARIANTS: dict[str, dict[str, Any]] = {
    "neither": {SYMMETRY: "none", NOISE: 0.0},
    "mirror": {SYMMETRY: "augment", NOISE: 0.0},
    "parameter noise": {SYMMETRY: "none", NOISE: 0.3},
    "both": {SYMMETRY: "augment", NOISE: 0.3},
}


def main() -> None:
    """Train what has not been trained yet, judge it, and write the file and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="bipedal-walker", help="a task whose mirror is known (default: %(default)s)")
    parser.add_argument("--recipe", default="bipedal-walker-ddpg", help="of DDPG (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps of a run (default: %(default)s)")
    parser.add_argument("--evaluate-every", type=int, default=20_000)
    parser.add_argument("--root", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--output", type=Path, required=True)
    given, settings = parser.parse_known_args()
    busy = busy_share()
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(available_cores()):
        cores.put(core)
    # Seed by seed, so that a study broken off has as many of each variant.
    jobs = [(name, seed) for seed in range(given.seeds) for name in VARIANTS]
    with ThreadPoolExecutor(cores.qsize()) as pool:
        found = list(pool.map(lambda job: _run(given, settings, cores, *job), jobs))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for (name, _), one in zip(jobs, found, strict=True):
        runs[name].append(one)
    picture = given.output.with_suffix(".png")
    plot_curves(
        [{"label": name, "metrics": one.pop("rows")} for name, ones in runs.items() for one in ones],
        picture,
        title=f"DDPG on {given.task}",
    )
    variants = {}
    for name, ones in runs.items():
        returns = [np.array(one.pop("returns")) for one in ones]
        variants[name] = {
            "over_seeds": summarise_seeds(returns),
            "on_the_way": summarise([one["on_the_way"] for one in ones]),
            "seeds": ones,
        }
    _print(variants)
    write_results(given.output, busy, {"task": given.task, "recipe": given.recipe, "variants": variants})


def _run(
    given: argparse.Namespace, settings: list[str], cores: "Queue[int]", variant: str, seed: int
) -> dict[str, Any]:
    """Train one run on a core of its own, if it has not been trained, and judge its last policy."""
    folder = RunFolder(given.root / given.task / f"{variant.replace(' ', '-')}-{seed}")
    core = cores.get()
    try:
        if not _ended(folder):
            if folder.checkpoints.exists():
                command = ["resume", str(folder.path)]
            else:
                command = ["train", given.task, "--recipe", given.recipe, "--seed", str(seed)]
                command += ["--root", str(given.root), "--name", folder.path.name]
                changes = VARIANTS[variant] | {
                    "training.steps": given.steps,
                    "training.evaluate_every": given.evaluate_every,
                    # All shall make the same steps.
                    "training.stop_at_return": 1e9,
                }
                command += [str(word) for name, value in changes.items() for word in (f"--{name}", value)]
                command += settings
            _surefoot(core, [*command, "--quiet"])
        answer = _surefoot(core, ["evaluate", str(folder.path), "--last", "--json"])
    finally:
        cores.put(core)
    rows = read_metrics(folder.metrics)
    way = [row["evaluation/return"] for row in rows if "evaluation/return" in row]
    judged = json.loads(answer)[0]
    print(f"{variant}, seed {seed}: {judged['return']['mean']:.0f}, {np.mean(way):.0f} on the way", flush=True)
    return {
        "seed": seed,
        "return": judged["return"],
        "falls": judged["falls"],
        "on_the_way": float(np.mean(way)),
        "minutes": max(row["seconds"] for row in rows if "seconds" in row) / 60,
        "returns": judged["returns"],
        "rows": [row for row in rows if "evaluation/return" in row],
    }


def _surefoot(core: int, command: list[str]) -> str:
    def hold() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})

    whole = [sys.executable, "-m", "surefoot.cli.main", *command]
    return subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=hold).stdout


def _ended(folder: RunFolder) -> bool:
    return folder.metrics.exists() and any(row.get("event") == "finished" for row in read_metrics(folder.metrics))


def _print(variants: dict[str, Any]) -> None:
    rows = []
    for name, variant in variants.items():
        last, way = variant["over_seeds"], variant["on_the_way"]
        minutes = np.mean([one["minutes"] for one in variant["seeds"]])
        seeds = ", ".join(f"{one['return']['mean']:.0f}" for one in variant["seeds"])
        rows.append([name, f"{last['mean']:.0f}", seeds, f"{way['mean']:.0f}", f"{minutes:.1f}"])
    print_table("", ("DDPG", "last policy", "each seed", "on the way", "minutes"), rows)


if __name__ == "__main__":
    main()
