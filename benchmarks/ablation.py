"""Ablation of DDPG's mirrored batches and parameter noise: neither, one, the other, both; several seeds each.

    python benchmarks/ablation.py --seeds 3 --steps 300000 --output results/ddpg-ablation.json
    python benchmarks/ablation.py --task learning-to-run --recipe ghelfi2019 --without-layer-norm \
        --seeds 3 --steps 100000 --evaluate-every 10000 --output results/learning-to-run-ablation.json \
        --engine.threads 1 --training.mode synchronous --training.samplers 1

As in the ablation of Pavlov et al. 2017 (arXiv 1711.06922, section 4), on a smaller task, and in that of Arcari,
Gagliardi and Ghelfi (2018), whose metres are shown beside the measured ones. All runs make the same steps and updates
and draw batches of the same size, before mirroring doubles them. Runs are parallel, one per core. Measured
are the return of the last policy over 100 held-out episodes, and the mean of all evaluations during training, which is
learning speed. A picture of the curves is written beside the file. Finished runs and their evaluations are not
repeated, so an interrupted study can continue.
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

from measuring import background_load, print_table, write_results
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
WITHOUT_LAYER_NORM = {"both, without layer normalisation": VARIANTS["both"] | {"policy.layer_norm": False}}
# Metres in OpenSim after about 1.3 million updates, one run each (Arcari, Gagliardi and Ghelfi 2018, table 2).
PUBLISHED = {"ghelfi2019": {"neither": 2.54, "mirror": 25.85, "parameter noise": 8.61, "both": 33.41}}


def main() -> None:
    """Train and evaluate all variants; write the file and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="bipedal-walker", help="a task whose mirror is known (default: %(default)s)")
    parser.add_argument("--recipe", default="bipedal-walker-ddpg", help="of DDPG (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps of a run (default: %(default)s)")
    parser.add_argument("--evaluate-every", type=int, default=20_000)
    parser.add_argument("--without-layer-norm", action="store_true", help="add a variant without layer normalisation")
    parser.add_argument("--root", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--output", type=Path, required=True)
    arguments, settings = parser.parse_known_args()
    names = VARIANTS | (WITHOUT_LAYER_NORM if arguments.without_layer_norm else {})
    published = PUBLISHED.get(arguments.recipe, {})
    load = background_load()
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(available_cores()):
        cores.put(core)
    # Seed by seed, so that an interrupted study has equally many of each variant.
    jobs = [(name, seed) for seed in range(arguments.seeds) for name in names]
    with ThreadPoolExecutor(cores.qsize()) as pool:
        results = list(pool.map(lambda job: _run(arguments, settings, cores, *job), jobs))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for (name, _), result in zip(jobs, results, strict=True):
        runs[name].append(result)
    picture = arguments.output.with_suffix(".png")
    plot_curves(
        [
            {"label": name + (f" (2018: {published[name]} m)" if name in published else ""), "metrics": run.pop("rows")}
            for name, seeds in runs.items()
            for run in seeds
        ],
        picture,
        title=f"DDPG on {arguments.task}",
    )
    variants = {}
    for name, seeds in runs.items():
        returns = [np.array(run.pop("returns")) for run in seeds]
        variants[name] = {
            "over_seeds": summarise_seeds(returns),
            "mean_during_training": summarise([run["mean_during_training"] for run in seeds]),
            "seeds": seeds,
        }
        if name in published:
            variants[name]["published"] = published[name]
    _print(variants)
    write_results(arguments.output, load, {"task": arguments.task, "recipe": arguments.recipe, "variants": variants})


def _run(
    arguments: argparse.Namespace, settings: list[str], cores: "Queue[int]", variant: str, seed: int
) -> dict[str, Any]:
    """Train one run on its own core, unless it is finished, and evaluate its last policy."""
    folder = RunFolder(arguments.root / arguments.task / f"{variant.replace(',', '').replace(' ', '-')}-{seed}")
    core = cores.get()
    try:
        if not _ended(folder):
            if folder.checkpoints.exists():
                command = ["resume", str(folder.path)]
            else:
                command = ["train", arguments.task, "--recipe", arguments.recipe, "--seed", str(seed)]
                command += ["--root", str(arguments.root), "--name", folder.path.name]
                changes = (VARIANTS | WITHOUT_LAYER_NORM)[variant] | {
                    "training.steps": arguments.steps,
                    "training.evaluate_every": arguments.evaluate_every,
                    # All make the same steps.
                    "training.stop_at_return": 1e9,
                }
                command += [str(word) for name, value in changes.items() for word in (f"--{name}", value)]
                command += settings
            _surefoot(core, [*command, "--quiet"])
        if not folder.evaluation.exists():
            _surefoot(core, ["evaluate", str(folder.path), "--last", "--json"])
    finally:
        cores.put(core)
    rows = read_metrics(folder.metrics)
    returns = [row["evaluation/return"] for row in rows if "evaluation/return" in row]
    evaluation = json.loads(folder.evaluation.read_text())
    print(
        f"{variant}, seed {seed}: {evaluation['return']['mean']:.4g}, {np.mean(returns):.4g} during training",
        flush=True,
    )
    return {
        "seed": seed,
        "return": evaluation["return"],
        "falls": evaluation["falls"],
        "mean_during_training": float(np.mean(returns)),
        "minutes": max(row["seconds"] for row in rows if "seconds" in row) / 60,
        "returns": evaluation["returns"],
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
        last, during = variant["over_seeds"], variant["mean_during_training"]
        minutes = np.mean([seed["minutes"] for seed in variant["seeds"]])
        seeds = ", ".join(f"{seed['return']['mean']:.4g}" for seed in variant["seeds"])
        theirs = str(variant.get("published", ""))
        rows.append([name, f"{last['mean']:.4g}", seeds, f"{during['mean']:.4g}", f"{minutes:.1f}", theirs])
    print_table("", ("DDPG", "last policy", "each seed", "during training", "minutes", "published"), rows)


if __name__ == "__main__":
    main()
