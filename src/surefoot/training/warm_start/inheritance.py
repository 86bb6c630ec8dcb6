"""The recipe of a training, with the settings that it takes over at a warm start."""

import warnings
from pathlib import Path
from typing import Any

from surefoot.recipes.make import make_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.training.progress import Progress
from surefoot.training.warm_start.compatibility import plan
from surefoot.training.warm_start.source import load_source


def make_recipe_from(
    task: str, recipe: str | None, changes: dict[str, Any], root: Path | str, progress: Progress
) -> Recipe:
    """Return the complete recipe of a training, including the settings inherited at a warm start.

    Those are the shape of the networks, the observation wrappers, and, if neither a recipe nor an algorithm is given,
    the algorithm. `changes` take precedence; `progress` reports the inherited settings.

    Raises:
        InputError: a name or a value is wrong; or the source of the warm start is missing or does not fit.
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: progress.warn(str(message))
        own = make_recipe(task, recipe, changes)
        if "training.start_from" not in changes or not own.training.start_from:
            return own
        source = load_source(own.training.start_from, root, progress.warn)
        complete, inherited = plan(source, own, recipe, changes)
    if inherited:
        progress.say(f"as in {source.name}: {inherited}")
    return complete
