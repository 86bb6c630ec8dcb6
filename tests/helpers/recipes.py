"""Recipes of trainings that take a moment."""

from typing import Any

from surefoot.recipes.files import default_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.settings import validate

# An iteration is 4 x 16 = 64 steps.
TINY_PPO: dict[str, Any] = {
    "engine.num_envs": 4,
    "ppo.horizon": 16,
    "ppo.minibatch_size": 32,
    "ppo.epochs": 2,
    "policy.actor": [8],
    "policy.critic": [8],
    "training.evaluation_episodes": 2,
}
SAVE_ALWAYS: dict[str, Any] = {"training.checkpoint_every_s": 0}


def make_recipe(task: str, algorithm: str = "ppo", settings: dict[str, Any] | None = None, **more: Any) -> Recipe:
    """Make the default recipe of a task with changed settings.

    Args:
        task: name of the task.
        algorithm: name of the algorithm.
        settings: by dotted name.
        **more: more of them, dots written as two underscores; these count last.

    Raises:
        InputError: a setting is invalid.
    """
    changes = (settings or {}) | {name.replace("__", "."): value for name, value in more.items()}
    return validate(Recipe, replaced(default_recipe(task, algorithm), changes), "test")
