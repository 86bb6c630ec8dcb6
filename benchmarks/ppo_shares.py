"""Time, simulator speed and memory of Surefoot's own PPO training, by part.

The recipe `half-cheetah` trains with the whole loop, without evaluations. After each iteration an equal second engine
makes as many steps with random controls, so that other load on the machine affects both. The second engine never
resets; a reset would be due once in a thousand steps. Memory is that of an ordinary `surefoot train`, evaluations
included, in its own process.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import RESULTS, background_load, format_spread, print_table, run_child, spread, write_results

TASK = "half-cheetah"
PARTS = ("simulation", "policy", "update")
_SETTINGS: dict[str, Any] = {
    "engine__name": "batch",
    # One short evaluation comes after the last step, and is not timed.
    "training__evaluate_every": 10**12,
    "training__evaluation_episodes": 1,
    "training__stop_at_return": None,
}


def main() -> None:
    """Measure memory, then speed and time by part; print and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=500_000, help="environment steps of each training")
    parser.add_argument("--output", type=Path, default=RESULTS / "ppo_shares.json")
    arguments = parser.parse_args()
    load = background_load()
    os.environ["JAX_PLATFORMS"] = "cpu"
    # First: a process's peak memory starts at that of its parent, which is still small.
    memory = _peak_memory_mib(arguments.steps)
    results = _alternate(arguments.steps)
    results["peak_memory_mib"] = memory
    _print(results)
    write_results(arguments.output, load, results)


def _peak_memory_mib(steps: int) -> float:
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "surefoot.cli.main", "train", TASK, "--quiet", "--root", root]
        return run_child([*command, "--training.steps", str(steps)]).peak_memory_mib


def _alternate(steps: int) -> dict[str, Any]:
    """Train, with random controls on a second engine after every iteration."""
    import numpy as np

    import surefoot
    from surefoot.recipes.files import default_recipe, read_recipe
    from surefoot.runs.metrics import read_metrics
    from surefoot.simulation.factory import make_engine
    from surefoot.tasks.catalogue import find_task
    from surefoot.training.progress import Progress

    recipe = default_recipe(TASK)
    info, num_envs, horizon = find_task(TASK), recipe.engine.num_envs, recipe.settings.horizon
    settings = _SETTINGS | {"training__steps": steps}
    engine = make_engine("batch", info, num_envs, recipe.engine.threads)
    engine.begin(0)
    shape = (horizon, num_envs, info.action_size)
    controls = np.random.default_rng(0).uniform(info.action_low, info.action_high, shape).astype(np.float32)
    never = np.zeros(num_envs, bool)
    training, random = [], []

    class Alternating(Progress):
        """Runs the random engine after each iteration."""

        def start(self, *_: object) -> None:
            self._left = time.perf_counter()

        def update(self, *_: object) -> None:
            entered = time.perf_counter()
            training.append(entered - self._left)
            for action in controls:
                engine.advance(action, never)
            self._left = time.perf_counter()
            random.append(self._left - entered)

    with tempfile.TemporaryDirectory() as root:
        folder = surefoot.train(TASK, root=root, progress=Alternating(quiet=True), **settings).folder
        rows = [row for row in read_metrics(folder.metrics) if "steps_per_second" in row]
        recipe = read_recipe(folder.recipe)
    engine.close()
    made = horizon * num_envs
    training, random, rows = training[1:], random[1:], rows[1:]  # the first iteration compiles
    if not rows:
        raise SystemExit(f"--steps {steps}: choose more than {made}, the steps of one iteration")
    seconds = {part: sum(row[f"time/{part}"] for row in rows) for part in PARTS}
    seconds["rest"] = sum(training) - sum(seconds.values())
    return {
        "task": info.id,
        "recipe": recipe.model_dump(mode="json"),
        "iterations": len(rows),
        "steps_per_iteration": made,
        "training_steps_per_second": made * len(rows) / sum(training),
        "random_steps_per_second": made * len(rows) / sum(random),
        "relative_to_random": spread(theirs / ours for ours, theirs in zip(training, random, strict=True)),
        "time_fractions": {part: seconds[part] / sum(training) for part in seconds},
    }


def _print(results: dict[str, Any]) -> None:
    rows = [
        ("training, steps/s", f"{results['training_steps_per_second']:,.0f}"),
        ("engine with random controls, steps/s", f"{results['random_steps_per_second']:,.0f}"),
        ("training / engine, median (min-max)", format_spread(results["relative_to_random"], 2)),
        *((f"fraction of {part}", f"{fraction:.1%}") for part, fraction in results["time_fractions"].items()),
        ("peak memory, MiB", f"{results['peak_memory_mib']:,.0f}"),
    ]
    print_table(f"PPO, {results['task']}, recipe {results['recipe']['name']}", ("", ""), rows)


if __name__ == "__main__":
    main()
