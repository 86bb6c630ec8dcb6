"""PPO's defaults on Gymnasium tasks that no recipe names, beside other values.

Those of version 0.1 and of Stable-Baselines3, and a discount that looks ten times as far ahead.

    python benchmarks/ppo_defaults.py --seeds 3 --output results/ppo-defaults.json

Each run is its own process. Measured is the return of the last policy over 100 held-out episodes. Finished runs are not
repeated, so an interrupted study can continue. Further arguments go to `surefoot train`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from measuring import background_load, print_table, write_results
from surefoot.evaluation.statistics import summarise_seeds
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics

# Environment steps by task.
TASKS = {
    "Pendulum-v1": 100_000,
    "MountainCarContinuous-v0": 100_000,
    "LunarLanderContinuous-v3": 200_000,
    "InvertedPendulum-v5": 50_000,
    "InvertedDoublePendulum-v5": 100_000,
    "Reacher-v5": 100_000,
    "Pusher-v5": 100_000,
    "Swimmer-v5": 200_000,
    "Hopper-v5": 200_000,
    "Walker2d-v5": 200_000,
}
_OLD: dict[str, Any] = {"engine.num_envs": 32, "ppo.horizon": 256, "ppo.minibatch_size": 512, "ppo.epochs": 5}
# Stable-Baselines3 2.8: one environment, no normalisation; its value coefficient weights the whole squared error.
_THEIRS: dict[str, Any] = {"engine.num_envs": 1, "ppo.horizon": 2048, "ppo.minibatch_size": 64, "ppo.epochs": 10}
_THEIRS |= {"ppo.discount": 0.99, "ppo.value_coef": 1.0, "ppo.normalise_returns": "false"}
_THEIRS |= {"policy.normalise_observations": "false"}
_FAR: dict[str, Any] = {"ppo.discount": 0.999}
VARIANTS = {"defaults": {}, "discount 0.999": _FAR, "version 0.1": _OLD, "Stable-Baselines3": _THEIRS}


def main() -> None:
    """Train and evaluate all variants on all tasks; write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, metavar="TASK")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path("runs/ppo-defaults"))
    parser.add_argument("--output", type=Path, required=True)
    arguments, settings = parser.parse_known_args()
    load = background_load()
    results: dict[str, Any] = {}
    for task in arguments.tasks:
        results[task] = {"steps": TASKS[task]}
        for variant in arguments.variants:
            returns = [_returns(arguments.root, task, variant, seed, settings) for seed in range(arguments.seeds)]
            results[task][variant] = summarise_seeds(returns) | {"each_seed": [float(one.mean()) for one in returns]}
            print(f"{task}, {variant}: {results[task][variant]['mean']:.0f}", flush=True)
    rows = [
        [task, f"{result['steps']:,}", *(f"{result[variant]['mean']:.0f}" for variant in arguments.variants)]
        for task, result in results.items()
    ]
    print_table("", ("task", "steps", *arguments.variants), rows)
    write_results(arguments.output, load, {"tasks": results})


def _returns(root: Path, task: str, variant: str, seed: int, settings: list[str]) -> np.ndarray:
    """Train one run, unless it is finished, and return the returns of its last policy on held-out episodes."""
    folder = RunFolder(root / task / f"{variant.replace(' ', '-')}-{seed}")
    if not folder.metrics.exists() or not any(row.get("event") == "finished" for row in read_metrics(folder.metrics)):
        changes = VARIANTS[variant] | {"training.steps": TASKS[task], "training.evaluate_every": 10**9, "seed": seed}
        words = [str(word) for name, value in changes.items() for word in (f"--{name}", value)]
        start = ["resume", str(folder.path)] if folder.checkpoints.exists() else ["train", task, *words, *settings]
        where = [] if start[0] == "resume" else ["--root", str(root), "--name", folder.path.name]
        _surefoot([*start, *where, "--quiet"])
    output = _surefoot(["evaluate", str(folder.path), "--last", "--json", "--episodes", "100"])
    return np.array(json.loads(output)[0]["returns"])


def _surefoot(command: list[str]) -> str:
    whole = [sys.executable, "-m", "surefoot.cli.main", *command]
    return subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
