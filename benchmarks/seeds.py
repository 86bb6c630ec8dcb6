"""Train one recipe with several seeds, one after the other, and evaluate each policy on held-out episodes.

    python benchmarks/seeds.py half-cheetah --seeds 5 --output results/half-cheetah-ppo.json

Each training is its own process, timed from start to stop: imports, compilation, evaluations and checkpoints included.
An unfinished run is resumed and a finished one is only evaluated; their times are then those in the run's metrics.
Further arguments go to `surefoot train`, with {seed} replaced by the seed.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from measuring import background_load, write_results
from surefoot.evaluation.statistics import summarise, summarise_seeds
from surefoot.recipes.files import read_recipe
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=Path("runs/seeds"))
    arguments, settings = parser.parse_known_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    load = background_load()
    trained = [train(arguments, settings, seed) for seed in seeds]
    returns = [np.array(run.pop("returns")) for run in trained]
    result = {
        "task": arguments.task,
        "recipe": trained[0]["recipe"],
        "over_seeds": summarise_seeds(returns),
        "training_seconds": summarise([run["training_seconds"] for run in trained]),
        "seeds": trained,
    }
    write_results(arguments.output, load, result)
    print(json.dumps({key: result[key] for key in ("over_seeds", "training_seconds")}, indent=1))


def train(arguments: argparse.Namespace, settings: list[str], seed: int) -> dict:
    """Train and evaluate one seed."""
    name = f"{arguments.output.stem}-{seed}"
    run = f"{arguments.task.replace(':', '-').replace('/', '-')}/{name}"
    old = (arguments.root / run).is_dir()
    if not old:
        command = ["train", arguments.task, "--seed", str(seed), "--name", name, "--root", str(arguments.root)]
        command += [setting.replace("{seed}", str(seed)) for setting in settings]
    else:
        command = ["resume", run, "--root", str(arguments.root)]
    began = time.perf_counter()
    if not (old and is_done(RunFolder.open(run, arguments.root))):
        subprocess.run([sys.executable, "-m", "surefoot.cli.main", *command, "--quiet"], check=True)
    folder = RunFolder.open(run, arguments.root)
    rows = progress_of(folder)
    seconds = rows[-1]["seconds"] if old else time.perf_counter() - began
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "surefoot.cli.main",
            "evaluate",
            str(folder.path),
            "--json",
            f"--episodes={arguments.episodes}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    evaluation = json.loads(answer.stdout)[0]
    one = {
        "seed": seed,
        "recipe": read_recipe(folder.recipe).name,
        "steps": rows[-1]["step"],
        "training_seconds": round(seconds, 1),
        "return": evaluation["return"],
        "length": evaluation["length"],
        "falls": evaluation["falls"],
        "evaluation_seeds": evaluation["seeds"],
        "curve": [
            [row["step"], row["seconds"], row["evaluation/return"]] for row in rows if "evaluation/return" in row
        ],
        "returns": evaluation["returns"],
    }
    figures = evaluation["return"]
    print(
        f"seed {seed}: {one['steps']:,} steps in {seconds:.0f} s; return {figures['mean']:.1f} "
        f"[{figures['ci_low']:.1f}, {figures['ci_high']:.1f}], falls {evaluation['falls']}",
        flush=True,
    )
    return one


def progress_of(folder: RunFolder) -> list[dict]:
    """Return the records of a run's metrics with steps and seconds."""
    return [row for row in read_metrics(folder.metrics) if "seconds" in row and "event" not in row]


def is_done(folder: RunFolder) -> bool:
    """Whether a run has made all its steps."""
    rows = progress_of(folder)
    return bool(rows) and rows[-1]["step"] >= read_recipe(folder.recipe).training.steps


if __name__ == "__main__":
    main()
