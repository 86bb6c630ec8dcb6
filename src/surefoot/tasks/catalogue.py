"""Descriptions of tasks, and their environments."""

import contextlib
import dataclasses
import functools
import shlex
import sys
import warnings
from typing import TYPE_CHECKING, Any, get_args

import gymnasium
import numpy as np

from surefoot.bodies.body import Body
from surefoot.bodies.model_file import quiet_mujoco
from surefoot.errors import InputError, foreign_code, message_of, suggestion
from surefoot.settings import Settings, plain
from surefoot.tasks.gymnasium.task import GymnasiumTask
from surefoot.tasks.options import EnvOptions, env_options, env_options_class, time_limit
from surefoot.tasks.registry import find_entry, make_task, resolve
from surefoot.tasks.symmetry import stacked
from surefoot.tasks.task import FallRule, Task
from surefoot.tasks.task_env import TaskEnv, prepare_rendering
from surefoot.tasks.wrappers import Guarded, WrapperOptions, split_wrappers, wrap, wrapper_options

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

_FALL_BELOW = -50.0  # not -100: with action repeat, rewards of the steps just before the fall are added
_FLATTENED = (gymnasium.spaces.Box, gymnasium.spaces.Dict, gymnasium.spaces.Discrete, gymnasium.spaces.Tuple)
_UNBOUNDED = 1e9  # larger action bounds count as no bounds


@dataclasses.dataclass(frozen=True, eq=False)
class TaskInfo:
    """Description of a task for a policy: spaces, names, fall rule and mirror image.

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
        fault: why the body does not stand, in one line, or None.
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
    fault: str | None = None

    @functools.cached_property
    def _wrappers(self) -> WrapperOptions:
        return wrapper_options(self.options)

    @property
    def action_repeat(self) -> int:
        """Number of environment steps per action."""
        return self._wrappers.action_repeat

    @property
    def frame_stack(self) -> int:
        """Number of observations stacked into one."""
        return self._wrappers.frame_stack

    @property
    def is_wrapped(self) -> bool:
        """Whether actions are repeated or observations stacked."""
        return self.action_repeat > 1 or self.frame_stack > 1

    @property
    def env_options(self) -> dict[str, Any]:
        """The environment's own options, as keyword arguments for `gymnasium.make`."""
        return _env_options(self.name, self.id, self.options)

    @property
    def action_size(self) -> int:
        """Number of action dimensions, A."""
        return len(self.action_low)

    def falls(self, terminated: Any, last_reward: Any) -> Any:
        """Whether episodes ended in a fall, (E,) bool in NumPy or JAX; None if falls cannot be detected."""
        if self.fall == "none":
            return None
        return terminated & (last_reward <= _FALL_BELOW) if self.fall == "reward" else terminated


def find_task(name: str, options: dict[str, Any] | None = None) -> TaskInfo:
    """Return the description of a task; it is not cached, because the environment or its model's file may change.

    Args:
        name: a short name, the id of a registered Gymnasium environment, "module:id", or "module:Class" for a subclass
            of `Task` (`registry.resolve`).
        options: keyword arguments for `gymnasium.make`, and those of `tasks.wrappers`.

    Raises:
        InputError: no such task, or its observation or action space is not a flat box.
    """
    try:
        options = dict(plain(options or {}))
    except ValueError:
        raise InputError(f"task options {options!r}: only numbers, texts and lists can be given") from None
    canonical, id = resolve(name)
    wrappers = wrapper_options(options, f"task '{name}'")
    env = Guarded(_make(name, id, _env_options(canonical, id, options)), name)
    with contextlib.closing(env):
        observation, action = _flat_spaces(env, name, id)
        low, high = action.low.astype(np.float64), action.high.astype(np.float64)
        limit = env.spec.max_episode_steps if env.spec else None
        with foreign_code(f"task '{name}' cannot be described"):
            source: Any = env.unwrapped  # an environment of a user may define the attributes of a `TaskDescription`
            if isinstance(source, TaskEnv):
                source = source.task
            elif entry := find_entry(id):
                described: Any = entry.task
                source = described(source, options)
            fall: Any = getattr(source, "fall", "none")
            body = getattr(source, "body", None)
            names = _names(source, "observation_names", observation.shape[0])
            mirror = source.mirror() if callable(getattr(source, "mirror", None)) else None
            # A wrapper registered with the task may have changed the spaces; names and mirror no longer fit then.
            if mirror and (mirror.observation_index.shape, mirror.action_index.shape) != (
                observation.shape,
                action.shape,
            ):
                mirror = None
            fault = source.fault() if isinstance(source, Task) else None
            ages = range(wrappers.frame_stack - 1, -1, -1)
        if fault and isinstance(body, Body):
            _warn_once(f"{body.name}: {fault}")
        return TaskInfo(
            name=canonical,
            id=id,
            options=options,
            observation_size=observation.shape[0] * wrappers.frame_stack,
            # Some environments state the largest number of a type instead of no bound.
            action_low=np.where(low > -_UNBOUNDED, low, -np.inf).astype(np.float32),
            action_high=np.where(high < _UNBOUNDED, high, np.inf).astype(np.float32),
            max_episode_steps=None if limit is None else -(-limit // wrappers.action_repeat),
            reward_threshold=env.spec.reward_threshold if env.spec else None,
            fall=fall if fall in get_args(FallRule) else "none",
            body=body if isinstance(body, Body) else None,
            observation_names=names and tuple(f"{n} ({age} before)" if age else n for age in ages for n in names),
            action_names=_names(source, "action_names", action.shape[0]),
            mirror=mirror and stacked(mirror, wrappers.frame_stack),
            fault=fault,
        )


def _flat_spaces(env: gymnasium.Env, name: str, id: str) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Return the observation and the action space, checked to be flat boxes with at least one value."""
    with foreign_code(f"task '{name}' cannot be described"):
        observation, action = env.observation_space, env.action_space
    for attribute, space in (("observation_space", observation), ("action_space", action)):
        if not isinstance(space, gymnasium.Space):
            raise InputError(f"task '{name}' has no {attribute} when it is made; set it in the constructor")
    if not isinstance(observation, gymnasium.spaces.Box) or len(observation.shape) != 1:
        flattened = isinstance(observation, _FLATTENED) and observation.is_np_flattenable
        raise InputError(
            f"task '{name}' observes {_describe(observation)}; Surefoot learns from flat boxes of numbers"
            + ("; wrap it in gymnasium.wrappers.FlattenObservation" if flattened else "")
        )
    if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
        twins = [other for other in gymnasium.registry if other.startswith(f"{id.split('-v')[0]}Continuous")]
        raise InputError(
            f"task '{name}' acts by {_describe(action)}; Surefoot needs a flat box of continuous actions"
            + (suggestion(id, twins) if twins else "")
        )
    for values, space in (("observations", observation), ("actions", action)):
        if not space.shape[0]:
            raise InputError(f"task '{name}' has no {values}; there is nothing to learn")
    return observation, action


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def options_class(id: str) -> type[Settings]:
    """Return the settings class of a task's options, by its Gymnasium id."""
    entry = find_entry(id)
    if entry and issubclass(entry.task, Task) and not issubclass(entry.task, GymnasiumTask):
        return entry.task.Options
    return env_options_class(id.rpartition(":")[2])  # the module has been imported


def _env_options(name: str, id: str, options: dict[str, Any]) -> dict[str, Any]:
    own, model, source = split_wrappers(options)[0], options_class(id), f"task '{name}'"
    if not issubclass(model, EnvOptions):
        return own | time_limit(own, source)  # a `Task` checks its options itself
    return env_options(model, own, source)


def _names(source: Any, attribute: str, size: int) -> tuple[str, ...] | None:
    """Return the names that a task defines for its values, if they are `size` distinct texts."""
    stated: Any = getattr(source, attribute, None)
    if isinstance(stated, str) or not hasattr(stated, "__iter__"):
        return None
    names = tuple(stated)
    fits = len(names) == size and all(isinstance(name, str) for name in names) and len(set(names)) == size
    return names if fits else None


def find_policy_task(
    name: str,
    options: dict[str, Any],
    instead: str | None = None,
    changes: dict[str, Any] | None = None,
    trusted: bool = False,
) -> TaskInfo:
    """Return the description of the task that a policy file names, or of another with the same wrappers.

    Args:
        name: the task in the file, with its `options` there; `changes` are options that differ.
        instead: another task, given by the user; or the file's own, which keeps its options and permits its import.
        trusted: whether modules may be imported without the user's request, because the run's recipe names them.

    Raises:
        InputError: as `find_task`; or it would import a module, which only the user may request.
    """
    module, colon, _ = name.partition(":")
    if instead and name not in resolve(instead):
        return find_task(instead, split_wrappers(options)[1] | (changes or {}))
    if colon and not trusted and module not in sys.modules:
        raise InputError(
            f"the policy's task '{name}' would import the module '{module}'; if you trust it, add --task "
            + shlex.quote(name)
        )
    entry = find_entry(resolve(name)[1])
    for option in entry.task.module_options if entry else ():
        stated = options.get(option, ()) if option not in (changes or {}) else ()
        for text in stated if isinstance(stated, (list, tuple)) else [stated]:
            module = str(text).partition(":")[0]
            if not trusted and module not in sys.modules:
                raise InputError(
                    f"the policy's task option {option} would import the module '{module}'; if you trust it, set "
                    f"task_options.{option}"
                )
    return find_task(name, options | (changes or {}))


def make_env(info: TaskInfo, **kwargs) -> gymnasium.Env:
    """Make one environment of the task with its time limit; `kwargs` go to `gymnasium.make` (such as `render_mode`)."""
    if kwargs.get("render_mode"):
        prepare_rendering()
    env = _make(info.name, info.id, info.env_options, **kwargs)
    return Guarded(wrap(env, info.action_repeat, info.frame_stack, info.name), info.name)


def has_batch_physics(info: TaskInfo) -> bool:
    """Whether `make_physics_task` can construct the task."""
    entry = find_entry(info.id)
    return entry is not None and entry.id == info.id.rpartition(":")[2] and issubclass(entry.task, Task)


def make_physics_task(info: TaskInfo) -> Task:
    """Construct the task that simulates many environments on the engine `batch`."""
    entry = find_entry(info.id)
    assert entry is not None
    if not issubclass(entry.task, GymnasiumTask):
        return make_task(entry.id, info.env_options, headless=True)
    with contextlib.closing(make_env(info)) as env:
        simulated: Any = entry.task
        return simulated(env.unwrapped, info.env_options)


def _make(name: str, id: str, options: dict[str, Any], **kwargs) -> gymnasium.Env:
    try:
        # An environment that changes the working folder must not move the runs, whose paths are relative.
        with contextlib.chdir("."), quiet_mujoco(), warnings.catch_warnings(record=True) as caught:
            env = gymnasium.make(id, disable_env_checker=True, **options, **kwargs)
        for warning in caught:  # not shown on failure; the error suffices then
            warnings.warn(warning.message, warning.category, stacklevel=3)
        return env
    except (InputError, KeyboardInterrupt):
        raise
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise InputError(f"task '{name}' needs a package that is not installed: {error}") from error
    except BaseException as error:  # a user's task may raise anything
        raise InputError(f"task '{name}' cannot be made: {message_of(error)}") from error


def _describe(space: gymnasium.Space) -> str:
    if isinstance(space, gymnasium.spaces.Box):
        return f"a box of shape {space.shape}" + (" (an image)" if len(space.shape) == 3 else "")
    return type(space).__name__
