"""Complete recipes, from a base recipe and changes."""

from collections.abc import Mapping
from typing import Any

from surefoot.algorithms.registry import DEFAULT_ALGORITHM
from surefoot.errors import InputError
from surefoot.recipes.checks import check_recipe
from surefoot.recipes.files import default_recipe, load_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.settings import validate
from surefoot.tasks.catalogue import canonical_name


def make_recipe(task: str, recipe: str | None, changes: Mapping[str, Any]) -> Recipe:
    """Return the complete, checked recipe of a training.

    Args:
        task: a short name or a Gymnasium id.
        recipe: name of a shipped recipe or path of a TOML file; None: the task's own, or the defaults.
        changes: settings by their dotted names.

    Raises:
        InputError: a name or a value is wrong.
    """
    name = canonical_name(task)
    base = load_recipe(recipe) if recipe else default_recipe(name, changes.get("algorithm", DEFAULT_ALGORITHM))
    if canonical_name(base.task) != name:
        raise InputError(f"recipe '{base.name}' is for task '{base.task}', not '{task}'")
    complete = validate(Recipe, replaced(base, dict(changes)), "settings")
    check_recipe(complete)
    return complete
