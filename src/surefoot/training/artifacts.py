"""What a training leaves in its run folder besides metrics and checkpoints: policies, and what went wrong."""

from surefoot.errors import NonFiniteError
from surefoot.files import atomic_write, save_arrays
from surefoot.policies.files import save_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import dump_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.folder import RunFolder
from surefoot.runs.versions import versions
from surefoot.training.progress import Progress


class ArtifactWriter:
    """Writes policies and failures.

    Args:
        recipe: what is trained.
        folder: where to.
        progress: who is told if that fails, for it ends no training.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, progress: Progress) -> None:
        self._recipe = recipe
        self._folder = folder
        self._progress = progress

    def keep_policy(self, name: str, policy: Policy, steps: int) -> None:
        """Save a policy that was trained for so many environment steps as `policy/NAME.safetensors`."""
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

    def keep_recipe(self) -> None:
        """Write the recipe again, where it is no longer what the run was begun by."""
        try:
            atomic_write(self._folder.recipe, dump_recipe(self._recipe).encode())
        except OSError as error:
            self._progress.warn(f"the changed recipe could not be saved: {error.strerror or error}")

    def keep_failure(self, error: NonFiniteError, steps: int) -> str:
        """Write what was not finite where the user can look at it; return the end of a sentence that says where."""
        path = self._folder.failure / f"step-{steps:012d}.safetensors"
        try:
            self._folder.failure.mkdir(exist_ok=True)
            save_arrays(path, error.arrays, {"error": str(error), "step": steps})
        except OSError as problem:
            return f"; what was found could not be saved: {problem.strerror}"
        return f", and what was found is in {path}"
