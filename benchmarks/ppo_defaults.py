"""PPO's defaults on ten Gymnasium tasks that no recipe names, beside those of Stable-Baselines3.

    .venv-bench/bin/python benchmarks/ppo_defaults.py

Each run is a process with one thread. Measured are the return of the last policy over 100 held-out episodes, the same
for both libraries, and the time of the training, imports and compilation included: on the clock, and of the processor,
which other load on the machine affects less. Finished runs are not repeated, so an interrupted study can continue.
After every run the output is written, with all finished runs in `--root`. Further arguments go to `surefoot train`.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from measuring import RESULTS, background_load, print_table, run_child, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, run_episodes
from surefoot.evaluation.statistics import summarise_seeds

# Environment steps by task.
TASKS = {
    "Pendulum-v1": 100_000,
    "MountainCarContinuous-v0": 100_000,
    "LunarLanderContinuous-v3": 100_000,
    "InvertedPendulum-v5": 50_000,
    "InvertedDoublePendulum-v5": 100_000,
    "Reacher-v5": 100_000,
    "Pusher-v5": 100_000,
    "Swimmer-v5": 200_000,
    "Hopper-v5": 100_000,
    "Walker2d-v5": 100_000,
}
LIBRARIES = ("Surefoot", "Stable-Baselines3")
_EPISODES = 100


def main() -> None:
    """Train and evaluate both libraries on all tasks; write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, metavar="TASK")
    parser.add_argument("--libraries", nargs="+", default=list(LIBRARIES), choices=LIBRARIES, metavar="LIBRARY")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path("runs/ppo-defaults"))
    parser.add_argument("--output", type=Path, default=RESULTS / "ppo-defaults.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments, settings = parser.parse_known_args()
    if arguments.child:
        print(json.dumps(_train_stable_baselines3(**json.loads(arguments.child))))
        return
    load = background_load()
    results: dict[str, Any] = {}
    for seed in range(arguments.seeds):
        for library in arguments.libraries:
            for task in arguments.tasks:
                print(f"{task}, {library}, seed {seed}", flush=True)
                _run(arguments.root, task, library, seed, settings)
                results = _summarise(arguments.root)
                write_results(arguments.output, load, {"tasks": results})
    rows = [
        (task, f"{result['steps']:,}", *(_format(result.get(library)) for library in LIBRARIES))
        for task, result in results.items()
    ]
    print_table("", ("task", "steps", *LIBRARIES), rows)


def _run(root: Path, task: str, library: str, seed: int, settings: Sequence[str]) -> None:
    """Train and evaluate, unless it is done; record the returns and the seconds of the training."""
    folder = root / task / f"{library.lower()}-{seed}"
    record = folder.with_suffix(".json")
    if record.exists():
        return
    if library == "Surefoot":
        shutil.rmtree(folder, ignore_errors=True)
        run = _train_surefoot(folder, task, seed, settings)
    else:
        order = {"task": task, "steps": TASKS[task], "seed": seed}
        child = run_child([sys.executable, os.path.abspath(__file__), "--child", json.dumps(order)])
        run = child.result()
        run["seconds"] = run.pop("trained_at") - child.began
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(run))


def _train_surefoot(folder: Path, task: str, seed: int, settings: Sequence[str]) -> dict[str, Any]:
    surefoot = [sys.executable, "-m", "surefoot"]
    last = ["--training.evaluate_every", str(10**9), "--training.evaluation_episodes", "1"]
    where = ["--root", str(folder.parent.parent), "--name", folder.name, "--quiet"]
    words = ["--seed", str(seed), "--training.steps", str(TASKS[task]), "--engine.threads", "1", *last, *where]
    began, processor = time.time(), _processor_seconds()
    run_child([*surefoot, "train", task, *words, *settings])
    seconds, processor = time.time() - began, _processor_seconds() - processor
    evaluated = run_child([*surefoot, "evaluate", str(folder), "--last", "--json", "--episodes", str(_EPISODES)])
    return {"returns": json.loads(evaluated.output)[0]["returns"], "seconds": seconds, "processor_seconds": processor}


def _processor_seconds() -> float:
    """Return the processor time of all processes started and ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _train_stable_baselines3(task: str, steps: int, seed: int) -> dict[str, Any]:
    import gymnasium
    import torch
    from stable_baselines3 import PPO

    from surefoot.tasks.catalogue import find_task

    torch.set_num_threads(1)
    model = PPO("MlpPolicy", gymnasium.make(task), seed=seed, device="cpu").learn(steps)
    trained = {"trained_at": time.time(), "processor_seconds": time.process_time()}
    episodes = run_episodes(model, gymnasium.make(task), find_task(task), _EPISODES, EVALUATION_SEEDS)
    assert episodes
    return {"returns": episodes.returns.tolist()} | trained


def _summarise(root: Path) -> dict[str, Any]:
    """Return the results of all finished runs, by task and library."""
    results: dict[str, Any] = {}
    for task, steps in TASKS.items():
        for library in LIBRARIES:
            records = sorted((root / task).glob(f"{library.lower()}-[0-9].json"))
            runs = [json.loads(record.read_text()) for record in records]
            if runs:
                summary = summarise_seeds([run["returns"] for run in runs])
                summary["each_seed"] = [float(np.mean(run["returns"])) for run in runs]
                summary |= {name: [run[name] for run in runs] for name in ("seconds", "processor_seconds")}
                results.setdefault(task, {"steps": steps})[library] = summary
    return results


def _format(result: dict[str, Any] | None) -> str:
    return f"{result['mean']:.1f} ({result['ci_low']:.1f} to {result['ci_high']:.1f})" if result else ""


if __name__ == "__main__":
    main()
