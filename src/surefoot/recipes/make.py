"""Complete recipes, from a base recipe and changes, checked against their task and engine."""

import warnings
from collections.abc import Mapping
from typing import Any

from surefoot.algorithms.registry import DEFAULT_ALGORITHM
from surefoot.errors import InputError
from surefoot.policies.symmetry import Mirror
from surefoot.recipes.files import default_recipe, load_recipe, recipe_names
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.settings import validate
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.registry import resolve
from surefoot.tasks.reward_shaping import check_wrappers
from surefoot.tasks.symmetry import known_mirror


def make_recipe(task: str, recipe: str | None, changes: Mapping[str, Any]) -> Recipe:
    """Return the complete, checked recipe of a training.

    The symmetry of a shipped recipe is left out if the task has no mirror image with its options.

    Args:
        task: a short name or a Gymnasium id.
        recipe: name of a shipped recipe or path of a TOML file; None: the task's own, or the defaults.
        changes: settings by their dotted names.

    Raises:
        InputError: a name or a value is wrong; or the engine, a wrapper or the symmetry does not fit the task.
    """
    name = resolve(task)[0]
    base = load_recipe(recipe) if recipe else default_recipe(name, changes.get("algorithm", DEFAULT_ALGORITHM))
    if resolve(base.task)[0] != name:
        raise InputError(f"recipe '{base.name}' is for task '{base.task}', not '{task}'")
    complete = validate(Recipe, replaced(base, dict(changes)), "settings")
    info = complete.evaluation_task()
    setting = f"{complete.algorithm}.symmetry"
    chosen = setting in changes or not (recipe is None or recipe in recipe_names())
    if complete.symmetry != "none" and info.mirror is None and not chosen:
        warnings.warn(f"{setting} is 'none': no mirror image is known with these task options", stacklevel=2)
        complete = validate(Recipe, replaced(complete, {setting: "none"}), "settings")
    choose_engine(complete.engine.name, info)
    check_wrappers(complete.wrappers, info)
    complete.training_task()
    training_mirror(complete, info)
    return complete


def training_mirror(recipe: Recipe, info: TaskInfo) -> Mirror | None:
    """Return the task's mirror if the algorithm's `symmetry` setting uses it, else None.

    Raises:
        InputError: the setting needs a mirror, but the task has none; or tied networks need normalised observations,
            because the mirror has an offset.
    """
    symmetry = recipe.symmetry
    if symmetry == "none":
        return None
    setting = f"{recipe.algorithm}.symmetry = '{symmetry}'"
    mirror = known_mirror(info, setting)
    if symmetry == "tied" and mirror.observation_offset.any() and not recipe.policy.normalise_observations:
        raise InputError(
            f"{setting} needs policy.normalise_observations = true: left and right are measured from different zeros"
        )
    return mirror
