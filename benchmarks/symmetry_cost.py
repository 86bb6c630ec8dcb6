"""Time of one PPO update on ANYmal with plain, averaged and tied networks.

    python benchmarks/symmetry_cost.py

Each updates from the same random transitions in turn, several rounds, in one process, with the recipe's shapes.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from measuring import arguments_parser, background_load, format_spread, print_table, spread, write_results
from surefoot.algorithms import ppo
from surefoot.algorithms.symmetry import Symmetry
from surefoot.api import make_recipe
from surefoot.tasks.catalogue import find_task

CONTENDERS = ("none", "averaged", "tied")


def main() -> None:
    parser = arguments_parser(__doc__, "symmetry_cost.json", rounds=30)
    arguments = parser.parse_args()
    load = background_load()
    learners = {symmetry: Learner(symmetry) for symmetry in CONTENDERS}
    seconds: dict[str, list[float]] = {symmetry: [] for symmetry in CONTENDERS}
    for _ in range(arguments.rounds):
        for symmetry, learner in learners.items():
            seconds[symmetry].append(learner.update())
    result = {
        "update_ms": {symmetry: spread(np.array(taken) * 1e3) for symmetry, taken in seconds.items()},
        "relative_to_none": {
            symmetry: spread(np.array(seconds[symmetry]) / seconds["none"]) for symmetry in ("averaged", "tied")
        },
    }
    write_results(arguments.output, load, result)
    print_table(
        "One update of the recipe anymal",
        ("symmetry", "ms", "relative to none"),
        [
            (
                symmetry,
                format_spread(taken),
                format_spread(result["relative_to_none"][symmetry], 2) if symmetry != "none" else "",
            )
            for symmetry, taken in result["update_ms"].items()
        ],
    )


class Learner:
    """PPO with random transitions to learn from."""

    def __init__(self, symmetry: str) -> None:
        recipe = make_recipe("anymal", None, {"ppo.symmetry": symmetry})
        info = find_task(recipe.task, recipe.full_task_options)
        sizes = info.observation_size, info.action_size
        num_envs, horizon = recipe.engine.num_envs, recipe.settings.horizon
        rows = np.random.default_rng(0).normal(size=(horizon + 1, num_envs, sum(sizes) + 3)).astype(np.float32)
        rows[..., -2:] = 0.0  # no episode ends
        self.rows = jnp.asarray(rows)
        symmetry_of = Symmetry(symmetry, None if symmetry == "none" else info.mirror)
        self.fixed: tuple[Any, ...] = (recipe.settings, symmetry_of)
        self.state = ppo.init(jax.random.PRNGKey(0), *sizes, num_envs, recipe.policy, recipe.settings, symmetry_of)
        self.update()  # compiles

    def update(self) -> float:
        """Make one update; return its duration in seconds."""
        began = time.perf_counter()
        self.state, metrics = ppo.update(self.state, self.rows, jnp.float32(0), *self.fixed)
        jax.block_until_ready(metrics)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
