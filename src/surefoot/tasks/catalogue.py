"""Find a task by its short name, by a Gymnasium id, or in a user's module, and describe it."""

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, get_args

import gymnasium
import mujoco
import numpy as np

from surefoot.bodies.body import Body
from surefoot.errors import InputError, foreign_code, suggestion
from surefoot.tasks.gymnasium import GYMNASIUM_TASKS, find_gymnasium_task
from surefoot.tasks.gymnasium.mujoco import MujocoTask
from surefoot.tasks.registry import ENTRIES, find_entry, make_task, register_built_in
from surefoot.tasks.symmetry import stacked
from surefoot.tasks.task import FallRule, Task
from surefoot.tasks.task_env import TaskEnv
from surefoot.tasks.wrappers import Guarded, only_wrappers, read_wrappers, without_wrappers, wrap

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

register_built_in()

_FALL_BELOW = -50.0  # not -100: with action repeat, rewards of the steps just before the fall are added


@dataclasses.dataclass(frozen=True, eq=False)
class TaskInfo:
    """Description of a task as a policy sees it.

    Attributes:
        name: short name, Gymnasium id, or "module:Class".
        id: Gymnasium id, "module:id" if a module must be imported first.
        options: keyword arguments for `gymnasium.make`, and those of `tasks.wrappers`.
        observation_size: D, of all stacked observations together.
        action_low: (A,) float32 lower bounds, may be -inf.
        action_high: (A,) float32 upper bounds, may be inf.
        max_episode_steps: the time limit in actions, or None.
        reward_threshold: the mean return at which the task counts as solved, or None.
        fall: how falls are detected (`tasks.task.FallRule`).
        body: names of the body's parts, or None if unknown.
        observation_names: D names, or None if unknown; with frame stacking, names of older values end in their age,
            such as "hull angle (1 before)".
        action_names: A names, or None.
        mirror: the mirror image of observations and actions, or None.
    """

    name: str
    id: str
    options: dict[str, Any]
    observation_size: int
    action_low: np.ndarray
    action_high: np.ndarray
    max_episode_steps: int | None
    reward_threshold: float | None
    fall: FallRule
    body: Body | None = None
    observation_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    mirror: "Mirror | None" = None

    @property
    def action_repeat(self) -> int:
        """Number of environment steps per action."""
        return read_wrappers(self.options)[0]

    @property
    def frame_stack(self) -> int:
        """Number of observations stacked into one."""
        return read_wrappers(self.options)[1]

    @property
    def is_wrapped(self) -> bool:
        """Whether actions are repeated or observations stacked."""
        return self.action_repeat > 1 or self.frame_stack > 1

    @property
    def env_options(self) -> dict[str, Any]:
        """The environment's own options."""
        return without_wrappers(self.options)

    @property
    def action_size(self) -> int:
        """Number of action dimensions, A."""
        return len(self.action_low)

    def falls(self, terminated: Any, last_reward: Any) -> Any:
        """Whether episodes ended in a fall, (E,) bool in NumPy or JAX; None if falls cannot be detected."""
        if self.fall == "none":
            return None
        return terminated & (last_reward <= _FALL_BELOW) if self.fall == "reward" else terminated


def short_names() -> dict[str, str]:
    """Return the Gymnasium ids of all tasks that have a short name."""
    theirs = {task.short_name: task.id for task in GYMNASIUM_TASKS if task.short_name}
    return theirs | {entry.short_name: entry.id for entry in ENTRIES.values() if entry.short_name}


def find_task(name: str, options: dict[str, Any] | None = None) -> TaskInfo:
    """Return the description of a task.

    Args:
        name: a short name (`short_names`), the id of a registered Gymnasium environment, "module:id", or "module:Class"
            for a subclass of `Task`.
        options: keyword arguments for `gymnasium.make`, and those of `tasks.wrappers`.

    Raises:
        InputError: no such task, or its observation or action space is not a flat box.
    """
    try:
        return _find(name, json.dumps(options or {}, sort_keys=True))
    except TypeError:
        raise InputError(f"task options {options!r}: only numbers, texts and lists can be given") from None


def canonical_name(name: str) -> str:
    """Return the name by which recipes call a task; no environment is made.

    Raises:
        InputError: no such task.
    """
    return _resolve(name)[0]


def name_of(task: Any) -> str:
    """Return the name of the task of an environment, or of a class or function that makes one; register it if needed.

    Other processes know the task only if its class or function can be imported from a module.

    Raises:
        InputError: it is none of these, or an environment that cannot be made again.
    """
    if isinstance(task, gymnasium.Env):
        if task.spec is None:
            raise InputError(
                f"{type(task).__name__}: an environment that gymnasium.make did not make cannot be made again; give "
                "its class, or a function that makes it"
            )
        spec = task.spec
        if not spec.additional_wrappers and spec.kwargs == gymnasium.spec(spec.id).kwargs:
            return canonical_name(spec.id)
        return _register_factory(spec.name, lambda **kwargs: gymnasium.make(spec, **kwargs))
    if not callable(task):
        raise InputError(f"task {task!r}: give a name, an environment, or a class or function that makes one")
    if (entry := next((entry for entry in ENTRIES.values() if entry.source is task), None)) is not None:
        return entry.name
    module, name = getattr(task, "__module__", ""), getattr(task, "__qualname__", type(task).__name__)
    if module != "__main__" and getattr(sys.modules.get(module), name, None) is task:
        return canonical_name(f"{module}:{name}")
    return _register_factory(name, task)


def _register_factory(name: str, make: Callable[..., gymnasium.Env]) -> str:
    """Register a class or function that makes environments with Gymnasium; return its id."""
    id = f"local/{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'Task'}-v0"
    gymnasium.registry.pop(id, None)
    gymnasium.register(id, entry_point=make)
    _find.cache_clear()
    return id


def task_options(name: str) -> type | None:
    """Return the settings class of the options of a task of `Task` form; None for Gymnasium's and other environments.

    Raises:
        InputError: no such task.
    """
    entry = find_entry(_resolve(name)[1])
    return entry.task.Options if entry else None


@functools.lru_cache
def _find(name: str, options: str) -> TaskInfo:
    canonical, id = _resolve(name)
    given = json.loads(options)
    env = Guarded(_make(name, id, without_wrappers(given)), name)
    try:
        action_repeat, frame_stack = read_wrappers(given)
    except ValueError as error:
        env.close()
        raise InputError(f"task '{name}': {error}") from None
    limit = env.spec.max_episode_steps if env.spec else None
    try:
        observation, action = env.observation_space, env.action_space
        if not isinstance(observation, gymnasium.spaces.Box) or len(observation.shape) != 1:
            raise InputError(
                f"task '{name}' observes {_describe(observation)}; Surefoot learns from flat boxes of numbers, "
                "such as HalfCheetah-v5"
            )
        if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
            raise InputError(
                f"task '{name}' acts by {_describe(action)}; Surefoot needs continuous actions"
                + suggestion(id, _continuous_twins(id))
            )
        with foreign_code(f"task '{name}' cannot be described"):
            facts = _facts(id, env, given, frame_stack)
        return TaskInfo(
            name=canonical,
            id=id,
            options=given,
            observation_size=observation.shape[0] * frame_stack,
            action_low=action.low.astype(np.float32),
            action_high=action.high.astype(np.float32),
            max_episode_steps=None if limit is None else -(-limit // action_repeat),
            reward_threshold=env.spec.reward_threshold if env.spec else None,
            **facts,
        )
    finally:
        env.close()


def _facts(id: str, env: gymnasium.Env, options: dict[str, Any], frame_stack: int) -> dict[str, Any]:
    """Properties that a task defines, by the names in `TaskInfo`.

    The task is a `Task`, one of Gymnasium's (`tasks.gymnasium`), or an environment with attributes of the same names.
    """
    source: Any = env.unwrapped
    if isinstance(source, TaskEnv):
        source = source.task
    elif described := find_gymnasium_task(id):
        source = described(source, options)
    fall, body = getattr(source, "fall", "none"), getattr(source, "body", None)
    # A wrapper registered with the task may have changed the spaces; names and mirror no longer fit then.
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    observation = _names(source, "observation_names", env.observation_space.shape[0])
    mirror = source.mirror() if callable(getattr(source, "mirror", None)) else None
    sizes = env.observation_space.shape + env.action_space.shape
    if mirror is not None and (len(mirror.observation_index), len(mirror.action_index)) != sizes:
        mirror = None
    return {
        "fall": fall if fall in get_args(FallRule) else "none",
        "body": body if isinstance(body, Body) else None,
        "observation_names": observation and _aged(observation, frame_stack),
        "action_names": _names(source, "action_names", env.action_space.shape[0]),
        "mirror": mirror if mirror is None or frame_stack == 1 else stacked(mirror, frame_stack),
    }


def _names(source: Any, attribute: str, size: int) -> tuple[str, ...] | None:
    """Return the names that a task defines for its values, if they are `size` distinct texts."""
    stated: Any = getattr(source, attribute, None)
    if isinstance(stated, str) or not hasattr(stated, "__iter__"):
        return None
    names = tuple(stated)
    fits = len(names) == size and all(isinstance(name, str) for name in names) and len(set(names)) == size
    return names if fits else None


def _aged(names: tuple[str, ...], frame_stack: int) -> tuple[str, ...]:
    """Return the names of stacked observations, oldest first."""
    ages = range(frame_stack - 1, -1, -1)
    return tuple(f"{name} ({age} before)" if age else name for age in ages for name in names)


def find_policy_task(
    name: str, options: dict[str, Any], instead: str | None = None, changes: dict[str, Any] | None = None
) -> TaskInfo:
    """Return the description of the task that a policy file names, or of another with the same wrappers.

    Args:
        name: the task in the file.
        options: its options there.
        instead: another task, given by the user; or the file's own "module:Class", which permits its import.
        changes: options that differ from those.

    Raises:
        InputError: as `find_task`; or it would import a module, which only the user may request.
    """
    module, colon, _ = name.partition(":")
    if instead and not (colon and canonical_name(instead) == name):
        return find_task(instead, only_wrappers(options) | (changes or {}))
    if colon and module not in sys.modules:
        raise InputError(
            f"the policy's task '{name}' would import the module '{module}'; if you trust it, add --task {name}"
        )
    entry = find_entry(_resolve(name)[1])
    for option in entry.task.module_options if entry else ():
        stated = options.get(option, ()) if option not in (changes or {}) else ()
        for text in stated if isinstance(stated, (list, tuple)) else [stated]:
            module = str(text).partition(":")[0]
            if module not in sys.modules:
                raise InputError(
                    f"the policy's task option {option} would import the module '{module}'; if you trust it, set "
                    f"task_options.{option}"
                )
    return find_task(name, options | (changes or {}))


def make_env(info: TaskInfo, **kwargs) -> gymnasium.Env:
    """Make one environment of the task with its time limit; `kwargs` go to `gymnasium.make` (such as `render_mode`)."""
    env = _make(info.name, info.id, info.env_options, **kwargs)
    return Guarded(wrap(env, info.action_repeat, info.frame_stack, info.name), info.name)


def has_batch_physics(info: TaskInfo) -> bool:
    """Whether `make_physics_task` can construct the task."""
    task = find_gymnasium_task(info.id)
    return find_entry(info.id) is not None or (task is not None and task.id == info.id and issubclass(task, MujocoTask))


def make_physics_task(info: TaskInfo) -> Task:
    """Construct the task that simulates many environments on the engine `batch`."""
    if find_entry(info.id):
        return make_task(info.id.rpartition(":")[2], info.env_options, headless=True)
    task = find_gymnasium_task(info.id)
    assert task is not None and issubclass(task, MujocoTask)
    with contextlib.closing(make_env(info)) as env:
        return task(env.unwrapped, info.env_options)


def _make(name: str, id: str, options: dict[str, Any], **kwargs) -> gymnasium.Env:
    try:
        with quiet_mujoco(), warnings.catch_warnings(record=True) as caught:
            env = gymnasium.make(id, disable_env_checker=True, **options, **kwargs)
        for warning in caught:  # not shown on failure; the error suffices then
            warnings.warn(warning.message, warning.category, stacklevel=3)
        return env
    except InputError:
        raise
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise InputError(f"task '{name}' needs a package that is not installed: {_one_line(error)}") from error
    except Exception as error:  # a user's task may raise anything
        raise InputError(f"task '{name}' cannot be made: {_one_line(error) or type(error).__name__}") from error


@contextlib.contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Suppress MuJoCo's warnings about the age of a model's file, on the terminal and in MUJOCO_LOG.TXT."""
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)


def _resolve(name: str) -> tuple[str, str]:
    """Return a task's canonical name and its Gymnasium id.

    Raises:
        InputError: no such task.
    """
    module, colon, rest = name.partition(":")
    if colon:
        return _resolve_in_module(name, module, rest)
    names = short_names()
    id = names.get(name, name)
    if id not in gymnasium.registry:
        raise InputError(f"unknown task '{name}'" + suggestion(name, {*names, *gymnasium.registry}))
    if entry := ENTRIES.get(id):
        return entry.name, entry.gymnasium_id
    return next((short for short, full in names.items() if full == id), id), id


def _resolve_in_module(name: str, module: str, rest: str) -> tuple[str, str]:
    """As `_resolve` for "module:Class" and "module:id"; imports the module, which registers its tasks."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # the module may raise anything
        raise InputError(f"task '{name}': the module '{module}' cannot be imported: {_one_line(error)}") from error
    stated = getattr(imported, rest, None)
    if isinstance(stated, type) and issubclass(stated, Task):
        target = f"{stated.__module__}:{stated.__qualname__}"
        entry = next((entry for entry in ENTRIES.values() if entry.target == target), None)
        if entry is None:
            raise InputError(
                f"task '{name}': the class '{rest}' is not registered; put @surefoot.tasks.register(...) above it"
            )
        return entry.name, entry.gymnasium_id
    if entry := ENTRIES.get(rest):
        return entry.name, entry.gymnasium_id
    if rest in gymnasium.registry:
        return name, name
    if callable(stated):
        return name, f"{module}:{_register_factory(rest, stated)}"
    own = {entry.target.partition(":")[2] for entry in ENTRIES.values() if entry.target.startswith(f"{module}:")}
    raise InputError(f"unknown task '{name}'" + suggestion(rest, own or gymnasium.registry))


def _continuous_twins(id: str) -> list[str]:
    stem = id.split("-v")[0]
    return [other for other in gymnasium.registry if other.startswith(f"{stem}Continuous")] or list(short_names())


def _describe(space: gymnasium.Space) -> str:
    if isinstance(space, gymnasium.spaces.Box):
        return f"a box of shape {space.shape}" + (" (an image)" if len(space.shape) == 3 else "")
    return f"{type(space).__name__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
