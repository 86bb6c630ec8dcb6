"""Checks of a complete recipe against its task and its engine: everything that settings alone cannot show."""

from surefoot.errors import InputError
from surefoot.policies.symmetry import Mirror
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.reward_shaping import check_wrappers
from surefoot.tasks.symmetry import known_mirror


def check_recipe(recipe: Recipe) -> None:
    """Make sure that a training by this recipe can start.

    Raises:
        InputError: the task, an option, the engine, a wrapper or the symmetry does not fit.
    """
    info = recipe.evaluation_task()
    choose_engine(recipe.engine.name, info)
    check_wrappers(recipe.wrappers, info)
    recipe.training_task()
    training_mirror(recipe, info)


def training_mirror(recipe: Recipe, info: TaskInfo) -> Mirror | None:
    """Return the task's mirror if the algorithm's `symmetry` setting uses it, else None.

    Raises:
        InputError: the setting needs a mirror, but the task has none; or networks tied in pairs would see observations
            whose mirror has an offset, without normalisation.
    """
    symmetry = getattr(recipe.settings, "symmetry", "none")
    if symmetry == "none":
        return None
    setting = f"{recipe.algorithm}.symmetry = '{symmetry}'"
    mirror = known_mirror(info, setting)
    if symmetry == "tied" and mirror.observation_offset.any() and not recipe.policy.normalise_observations:
        raise InputError(
            f"{setting} needs policy.normalise_observations = true: left and right are measured from different zeros"
        )
    return mirror
