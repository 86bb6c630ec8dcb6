"""Files that a training leaves in its run folder besides metrics and checkpoints: policies, recipe, failures."""

import jax
import numpy as np

from surefoot.errors import NonFiniteError
from surefoot.files import atomic_write, save_arrays
from surefoot.policies.files import save_policy
from surefoot.policies.policy import Controller, Policy
from surefoot.recipes.files import dump_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.folder import RunFolder
from surefoot.runs.versions import versions
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.progress import Progress


def snapshot(info: TaskInfo, controller: Controller) -> Policy:
    """Return a policy with a copy of the arrays, which later updates do not change."""
    return Policy(info.name, info.action_low, info.action_high, jax.tree.map(np.array, controller), info.options)


class ArtifactWriter:
    """Writes policies, the recipe and failures; a full disk causes a warning, not an error.

    Args:
        recipe: the run's recipe.
        folder: the run's folder.
        progress: receives the warnings.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, progress: Progress) -> None:
        self._recipe = recipe
        self._folder = folder
        self._progress = progress

    def save_policy(self, name: str, policy: Policy, steps: int) -> None:
        """Save a policy, trained for `steps` environment steps, as `policy/NAME.safetensors`."""
        policy.origin = {
            "algorithm": self._recipe.algorithm,
            "recipe": self._recipe.name,
            "seed": self._recipe.seed,
            "steps": steps,
            "versions": versions(),
        }
        try:
            self._folder.policy.mkdir(exist_ok=True)
            save_policy(policy, self._folder.policy / f"{name}.safetensors")
        except OSError as error:
            self._progress.warn(f"the policy could not be saved: {error.strerror or error}")

    def save_recipe(self) -> None:
        """Replace the recipe file, after a setting was changed on resume."""
        try:
            atomic_write(self._folder.recipe, dump_recipe(self._recipe).encode())
        except OSError as error:
            self._progress.warn(f"the changed recipe could not be saved: {error.strerror or error}")

    def save_failure(self, error: NonFiniteError, steps: int) -> str:
        """Save the arrays that are not finite; return the end of a sentence that names the file."""
        path = self._folder.failure / f"step-{steps:012d}.safetensors"
        try:
            self._folder.failure.mkdir(exist_ok=True)
            save_arrays(path, error.arrays, {"error": str(error), "step": steps})
        except OSError as problem:
            return f"; its arrays could not be saved: {problem.strerror}"
        return f", and its arrays are in {path}"
