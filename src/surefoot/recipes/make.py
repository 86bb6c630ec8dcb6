"""Complete recipes, from a base recipe and changes, checked against their task and engine."""

import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

from surefoot.algorithms.registry import DEFAULT_ALGORITHM
from surefoot.algorithms.replay import Replay
from surefoot.errors import InputError
from surefoot.machine import available_memory, gigabytes
from surefoot.policies.symmetry import Mirror
from surefoot.recipes.files import default_recipe, load_recipe, recipe_names
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.settings import validate
from surefoot.simulation.engine import Engine
from surefoot.simulation.factory import choose_engine, make_engine
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
    data = replaced(base, dict(changes))
    for table in ("task_options", "train_task_options"):
        if isinstance(data[table], dict):  # else it is refused below
            data[table] = {name: _absolute(name, value) for name, value in data[table].items()}
    complete = validate(Recipe, data, "settings")
    info = complete.evaluation_task()
    setting = f"{complete.algorithm}.symmetry"
    chosen = setting in changes or not (recipe is None or recipe in recipe_names())
    if complete.symmetry != "none" and info.mirror is None and not chosen:
        warnings.warn(f"{setting} is 'none': no mirror image is known with these task options", stacklevel=2)
        complete = validate(Recipe, replaced(complete, {setting: "none"}), "settings")
    choose_engine(complete.engine.name, info)
    choose_engine(complete.engine.simulator, info)
    check_wrappers(complete.wrappers, info)
    complete.training_task()
    training_mirror(complete, info)
    if complete.settings.learner == "off_policy":
        _check_memory(complete, info)
    return complete


def _absolute(name: str, value: Any) -> Any:
    """Return the path of a model's file as an absolute one, so that the run can be resumed from any folder."""
    if not isinstance(value, str) or not value.endswith((".xml", ".mjcf", ".urdf", ".xacro", ".toml", ".osim")):
        return value
    packaged = name == "xml_file" and not os.path.dirname(value)  # a model in Gymnasium's package
    return os.path.abspath(value) if os.path.isfile(value) and not packaged else value


def _check_memory(recipe: Recipe, info: TaskInfo) -> None:
    """Check that the replay fits into this machine's memory."""
    capacity, memory = recipe.settings.buffer_size, available_memory()
    shape = Replay.shape(capacity, recipe.engine.num_envs, info.observation_size, info.action_size)
    size = 4 * math.prod(shape)
    if memory and size > memory[1]:
        raise InputError(
            f"{recipe.algorithm}.buffer_size = {capacity}: the replay of '{info.name}' takes {gigabytes(size)}; this "
            f"machine has {gigabytes(memory[1])} of memory, enough for {memory[1] * capacity // (2 * size)} transitions"
        )


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


def make_sampler_engine(recipe: Recipe) -> Engine:
    """Make the engine inside one sampler of a cluster.

    Raises:
        InputError: as `make_engine`.
    """
    settings, samplers = recipe.engine, recipe.training.samplers
    threads = max(1, settings.threads // samplers)
    return make_engine(settings.inner, recipe.training_task(), settings.num_envs // samplers, threads)
