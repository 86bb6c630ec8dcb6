"""What an earlier run left to start from: the state of its learner, or the policy in a file."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surefoot.errors import InputError, RunError
from surefoot.policies.files import load_policy
from surefoot.policies.networks import PolicySettings
from surefoot.pytrees import flatten_tree
from surefoot.recipes.files import read_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.tasks.catalogue import TaskInfo, find_policy_task

# Where a checkpoint keeps the algorithm's state, and in it the networks that act.
_STATE = "learner/algorithm/"
_ACTING = "average"
_PARAMETER_SIGMA = "learner/samplers/0/exploration/parameter_sigma"
_NEVER_NEGATIVE = ("variance", "count")


@dataclasses.dataclass(frozen=True, eq=False)
class WarmStartSource:
    """What was learnt before.

    Attributes:
        source: where it was found, for people.
        step: environment steps it took, None if not known.
        algorithm: what it was learnt by, "" if not known.
        recipe: all settings, where the state of the learner is there; None where there is only a policy.
        task: the task's name.
        options: its options, those of `tasks.view` among them.
        policy: the shape of the networks.
        arrays: the algorithm's state, `flatten_tree`ed; of a mere policy, `parameters` and `normaliser`.
        acting: under which name the networks that act are among the arrays.
        equivariant: whether the policy acts through its mirror image too, by `ppo.symmetry` or `ars.symmetry`.
        parameter_sigma: the scale that weight noise had come to, if there was any.
    """

    source: str
    step: int | None
    algorithm: str
    recipe: Recipe | None
    task: str
    options: dict[str, Any]
    policy: PolicySettings
    arrays: Mapping[str, np.ndarray]
    acting: str
    equivariant: bool
    parameter_sigma: float | None = None

    @property
    def observation_size(self) -> int:
        """D'."""
        return len(self.array("normaliser/mean"))

    @property
    def action_size(self) -> int:
        """A'."""
        return len(self.array(f"{self.acting}/log_std"))

    @property
    def std(self) -> np.ndarray:
        """(A',) the deviation of exploration that it had come to, unless that is a network's answer."""
        return np.maximum(np.exp(self.array(f"{self.acting}/log_std")), self.policy.minimum_std)

    def array(self, name: str) -> np.ndarray:
        """Return one array.

        Raises:
            RunError: it is missing.
        """
        if name not in self.arrays:
            raise RunError(f"cannot start from '{self.source}': array '{name[:100]}' is missing")
        return self.arrays[name]

    def find_task(self) -> TaskInfo | None:
        """Return what is known of the task; None where it cannot be made here, or only by importing a module."""
        try:
            return find_policy_task(self.task, self.options)
        except InputError:
            return None


def is_equivariant(recipe: Recipe) -> bool:
    """Tell whether a run's policy acts through its mirror image too."""
    return getattr(recipe.settings, "symmetry", "none") == "averaged"


def is_tied(recipe: Recipe) -> bool:
    """Tell whether a run's networks are symmetric by their weights."""
    return getattr(recipe.settings, "symmetry", "none") == "tied" or getattr(recipe.settings, "tied", False)


def load_earlier(text: str, root: Any = "runs", warn: Callable[[str], object] = warnings.warn) -> WarmStartSource:
    """Read what is to be started from.

    Args:
        text: a policy's file, a run's folder, or TASK/NAME under `root`; of a run, its newest checkpoint counts.
        root: the folder of all runs.
        warn: told of newer checkpoints that cannot be read.

    Raises:
        InputError: there is nothing there, or it is damaged; one line.
    """
    named = os.path.isfile(text) or text.endswith(".safetensors")
    earlier = _from_policy(text) if named else _from_run(RunFolder.open(text, root), warn)
    for name, array in earlier.arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RunError(
                f"cannot start from '{earlier.source}': array '{name[:100]}' holds numbers that are not finite"
            )
        if (name.endswith(_NEVER_NEGATIVE) or "/nu/" in name) and (array < 0).any():
            raise RunError(f"cannot start from '{earlier.source}': array '{name[:100]}' holds negative numbers")
    size = earlier.array("normaliser/mean").shape
    shapes = {"normaliser/mean": [(*size[:1],)], "normaliser/variance": [size], "normaliser/count": [(), size]}
    shapes[f"{earlier.acting}/log_std"] = [(earlier.array(f"{earlier.acting}/log_std").size,)]
    for name, allowed in shapes.items():
        found = earlier.array(name)
        if found.shape not in allowed or found.dtype != np.float32 or not found.size:
            raise RunError(f"cannot start from '{earlier.source}': array '{name}' is of another shape or type")
    return earlier


def _from_policy(text: str) -> WarmStartSource:
    policy = load_policy(text)
    step, algorithm = policy.origin.get("steps"), policy.origin.get("algorithm")
    return WarmStartSource(
        source=text,
        step=step if isinstance(step, int) else None,
        algorithm=algorithm if isinstance(algorithm, str) else "",
        recipe=None,
        task=policy.task,
        options=policy.task_options,
        policy=policy.settings,
        arrays=flatten_tree(policy.parameters, "parameters") | flatten_tree(policy.normaliser, "normaliser"),
        acting="parameters",
        equivariant=policy.mirror is not None,
    )


def _from_run(folder: RunFolder, warn: Callable[[str], object]) -> WarmStartSource:
    recipe = read_recipe(folder.recipe)

    def wanted(name: str) -> bool:  # the replay may be large
        return name.startswith(_STATE) or name == _PARAMETER_SIGMA

    skipped: list[str] = []
    try:
        step, arrays, _ = Checkpoints(folder.checkpoints, warn=skipped.append).latest(wanted)
    except RunError:
        reason = skipped[0] if skipped else "no checkpoint was saved"
        raise RunError(f"cannot start from '{folder.path}': {reason}") from None
    for message in skipped:
        warn(message)
    sigma = arrays.pop(_PARAMETER_SIGMA, None)
    return WarmStartSource(
        source=str(folder.path),
        step=step,
        algorithm=recipe.algorithm,
        recipe=recipe,
        task=recipe.task,
        options=recipe.seen_options,
        policy=recipe.policy,
        arrays={name.removeprefix(_STATE): array for name, array in arrays.items()},
        acting=_ACTING,
        equivariant=is_equivariant(recipe),
        parameter_sigma=float(sigma) if sigma is not None and sigma.shape == () and 0 < sigma < np.inf else None,
    )
