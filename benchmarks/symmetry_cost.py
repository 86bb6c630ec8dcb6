"""What symmetric networks cost: one update of PPO on ANYmal with plain ones, with averaged and with tied ones.

    python benchmarks/symmetry_cost.py

Each learns from the same made-up transitions in turn, several rounds, in one process, in the shapes of the recipe.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from measuring import RESULTS, busy_share, print_table, spread, told, write_results
from surefoot.algorithms import ppo
from surefoot.api import make_recipe
from surefoot.tasks.catalogue import find_task

CONTENDERS = ("none", "averaged", "tied")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, default=RESULTS / "symmetry_cost.json")
    given = parser.parse_args()
    busy = busy_share()
    learners = {symmetry: Learner(symmetry) for symmetry in CONTENDERS}
    seconds: dict[str, list[float]] = {symmetry: [] for symmetry in CONTENDERS}
    for _ in range(given.rounds):
        for symmetry, learner in learners.items():
            seconds[symmetry].append(learner.update())
    result = {
        "update_ms": {symmetry: spread(np.array(taken) * 1e3) for symmetry, taken in seconds.items()},
        "of_plain": {
            symmetry: spread(np.array(seconds[symmetry]) / seconds["none"]) for symmetry in ("averaged", "tied")
        },
    }
    write_results(given.output, busy, result)
    print_table(
        "One update of the recipe anymal",
        ("symmetry", "ms", "of plain"),
        [
            (symmetry, told(taken), told(result["of_plain"][symmetry], 2) if symmetry != "none" else "")
            for symmetry, taken in result["update_ms"].items()
        ],
    )


class Learner:
    """PPO's state, and made-up transitions to learn from."""

    def __init__(self, symmetry: str) -> None:
        recipe = make_recipe("anymal", None, {"ppo.symmetry": symmetry})
        info = find_task(recipe.task, recipe.full_task_options)
        sizes = info.observation_size, info.action_size
        copies, horizon = recipe.engine.num_envs, recipe.settings.horizon
        mirror = None if symmetry == "none" else info.mirror
        rows = np.random.default_rng(0).normal(size=(horizon + 1, copies, sum(sizes) + 3)).astype(np.float32)
        rows[..., -2:] = 0.0  # nothing ends
        self.rows = jnp.asarray(rows)
        self.fixed: tuple[Any, ...] = (recipe.policy, recipe.settings, mirror)
        self.state = ppo.init(jax.random.PRNGKey(0), *sizes, copies, recipe.policy, recipe.settings, mirror)
        self.update()  # compiles

    def update(self) -> float:
        """Learn from the transitions once; return the seconds it took."""
        began = time.perf_counter()
        self.state, metrics = ppo.update(self.state, self.rows, jnp.float32(0), *self.fixed)
        metrics.block_until_ready()
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
