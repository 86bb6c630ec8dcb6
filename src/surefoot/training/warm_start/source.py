"""The source of a warm start: the learner's state in an earlier run's checkpoint, or the policy in a file."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
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

# Prefixes in a checkpoint, of the learner's state and of the algorithm's (`Learner.state`).
_LEARNER, _ALGORITHM = "learner/", "algorithm/"
_PARAMETER_SIGMA = "samplers/0/exploration/parameter_sigma"


@dataclasses.dataclass(frozen=True, eq=False)
class WarmStartSource:
    """An earlier run, or a policy from a file."""

    name: str  # its path, for messages
    step: int | None  # environment steps it was trained for, None if unknown
    algorithm: str  # "" if unknown
    recipe: Recipe | None  # None for a policy file
    task: str  # name of its task
    options: dict[str, Any]  # options of the task, including those of `tasks.wrappers`
    policy: PolicySettings  # settings of its networks
    arrays: Mapping[str, np.ndarray]  # the algorithm's state; of a policy file, `parameters` and `normaliser`
    acting: str  # name of the networks that act, among the arrays
    averaged: bool  # whether the policy is averaged with its mirror image (`symmetry = "averaged"`)
    parameter_sigma: np.ndarray | None = None  # the last scale of parameter noise, (); None if there was none

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of observation values and of actions."""
        return len(self.array("normaliser/mean")), len(self.array(f"{self.acting}/log_std"))

    @property
    def std(self) -> np.ndarray:
        """Final action std (A,), unless it is state-dependent."""
        return np.maximum(np.exp(self.array(f"{self.acting}/log_std")), self.policy.minimum_std)

    def array(self, name: str) -> np.ndarray:
        """Return one array.

        Raises:
            RunError: it is missing.
        """
        if name not in self.arrays:
            raise self.error(f"array '{name[:100]}' is missing")
        return self.arrays[name]

    def error(self, reason: object) -> RunError:
        """Return the error of a warm start that is impossible."""
        return RunError(f"cannot start from '{self.name}': {reason}")

    def find_task(self) -> TaskInfo | None:
        """Return its task; None if it cannot be made here, or if a policy file would import a module."""
        try:
            trusted = self.recipe is not None and self.recipe.names(self.task, self.options)
            return find_policy_task(self.task, self.options, trusted=trusted)
        except InputError:
            return None


def load_source(text: str, root: Path | str = "runs", warn: Callable[[str], object] = warnings.warn) -> WarmStartSource:
    """Read the source of a warm start.

    Args:
        text: a policy file, a run folder, or TASK/NAME under `root`; of a run, the newest checkpoint in order is used.
        root: the folder of all runs.
        warn: called with one line for each newer checkpoint.

    Raises:
        InputError: nothing is there, or it is damaged.
    """
    is_file = os.path.isfile(text) or text.endswith(".safetensors")
    source = _from_policy(text) if is_file else _from_run(RunFolder.open(text, root), warn)
    mean, log_std = source.array("normaliser/mean").shape, source.array(f"{source.acting}/log_std").shape
    shapes = {"normaliser/mean": [mean[:1]], "normaliser/variance": [mean], "normaliser/count": [(), mean]}
    for name, allowed in (shapes | {f"{source.acting}/log_std": [log_std[:1]]}).items():
        array = source.array(name)
        if array.shape not in allowed or array.dtype != np.float32 or not array.size:
            raise source.error(f"array '{name}' has another shape or type")
    return source


def _from_policy(path: str) -> WarmStartSource:
    policy = load_policy(path)
    network, normaliser, mirror = policy.controller
    step, algorithm = policy.origin.get("steps"), policy.origin.get("algorithm")
    return WarmStartSource(
        name=path,
        step=step if isinstance(step, int) else None,
        algorithm=algorithm if isinstance(algorithm, str) else "",
        recipe=None,
        task=policy.task,
        options=policy.task_options,
        policy=policy.settings,
        arrays=flatten_tree(network, "parameters") | flatten_tree(normaliser, "normaliser"),
        acting="parameters",
        averaged=mirror is not None,
    )


def _from_run(folder: RunFolder, warn: Callable[[str], object]) -> WarmStartSource:
    recipe = read_recipe(folder.recipe)

    def wanted(name: str) -> bool:  # not the replay, which may be large
        name = name.removeprefix(_LEARNER)
        return name.startswith(_ALGORITHM) or name == _PARAMETER_SIGMA

    try:
        step, stored, _ = Checkpoints(folder.checkpoints, warn=warn).latest(wanted)
    except RunError as error:
        raise RunError(f"cannot start from '{folder.path}': {error}") from None
    arrays = {name.removeprefix(_LEARNER): array for name, array in stored.items()}
    return WarmStartSource(
        name=str(folder.path),
        step=step,
        algorithm=recipe.algorithm,
        recipe=recipe,
        task=recipe.task,
        options=recipe.full_task_options,
        policy=recipe.policy,
        arrays={name.removeprefix(_ALGORITHM): arrays[name] for name in arrays if name.startswith(_ALGORITHM)},
        acting="average",
        averaged=recipe.symmetry == "averaged",
        parameter_sigma=arrays.get(_PARAMETER_SIGMA),
    )
