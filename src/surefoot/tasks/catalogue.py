"""Find a task by its short name or by any Gymnasium id, and say what it looks like."""

import contextlib
import dataclasses
import functools
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np

from surefoot.errors import InputError, suggestion
from surefoot.tasks.registry import register
from surefoot.tasks.wrappers import only_view, read_view, seen, without_view

SHORT_NAMES = {
    "bipedal-walker": "BipedalWalker-v3",
    "bipedal-walker-hardcore": "BipedalWalkerHardcore-v3",
    "half-cheetah": "HalfCheetah-v5",
    "ant": "Ant-v5",
    "anymal": "surefoot/AnymalC-v0",
    "anymal-step": "surefoot/AnymalCStep-v0",
    "anymal-velocity": "surefoot/AnymalCVelocity-v0",
    "walk": "surefoot/Walk-v0",
}

register()

# How a fall shows itself, where an episode's end alone does not say it. A walker that reaches the far end of its
# terrain terminates too, but only a fall costs it 100 (gymnasium/envs/box2d/bipedal_walker.py).
_FALL_BY_REWARD = ("BipedalWalker-v3", "BipedalWalkerHardcore-v3")
_FALL_BY_TERMINATION = ("Ant-", "Hopper-", "Walker2d-", "Humanoid-", "surefoot/Anymal", "surefoot/Walk")
FALL_BELOW = -50.0  # not -100, for where actions are repeated the steps just before the fall count as well


@dataclasses.dataclass(frozen=True, eq=False)
class TaskInfo:
    """What the rest of the program needs to know of a task.

    Attributes:
        name: as the user says it: a short name or a Gymnasium id.
        id: the Gymnasium id.
        options: keyword arguments for `gymnasium.make`, and those that `tasks.view` reads.
        observation_size: D, of all observations seen at once.
        action_low: (A,) float32 lower bounds, may be -inf.
        action_high: (A,) float32 upper bounds, may be inf.
        max_episode_steps: the time limit in steps of the policy, or None.
        reward_threshold: the mean return at which the task counts as solved, or None.
        fall: how a fall is told: "terminated", "reward" (a last reward of about -100) or "none" (it cannot be told).
    """

    name: str
    id: str
    options: dict[str, Any]
    observation_size: int
    action_low: np.ndarray
    action_high: np.ndarray
    max_episode_steps: int | None
    reward_threshold: float | None
    fall: str

    @property
    def action_repeat(self) -> int:
        """How many steps of the environment each action lasts."""
        return read_view(self.options)[0]

    @property
    def frame_stack(self) -> int:
        """How many observations are seen at once."""
        return read_view(self.options)[1]

    @property
    def sees_otherwise(self) -> bool:
        """Whether the policy does not see and act step by step."""
        return self.action_repeat > 1 or self.frame_stack > 1

    @property
    def env_options(self) -> dict[str, Any]:
        """The environment's own options."""
        return without_view(self.options)

    @property
    def action_size(self) -> int:
        """The number of action values, A."""
        return len(self.action_low)

    def falls(self, terminated: np.ndarray, last_reward: np.ndarray) -> np.ndarray | None:
        """Tell which episodes ended in a fall, (E,) bool, or None where the task cannot say."""
        if self.fall == "none":
            return None
        return terminated & (last_reward <= FALL_BELOW) if self.fall == "reward" else terminated


def find_task(name: str, options: dict[str, Any] | None = None) -> TaskInfo:
    """Return what is known of the task called `name`.

    Args:
        name: a short name (`SHORT_NAMES`) or the id of a registered Gymnasium environment.
        options: keyword arguments for `gymnasium.make`, and those that `tasks.view` reads.

    Raises:
        InputError: no such task, or its observation or action is not a flat box.
    """
    try:
        return _find(name, json.dumps(options or {}, sort_keys=True))
    except TypeError:
        raise InputError(f"task options {options!r}: only numbers, texts and lists can be given") from None


def canonical_name(name: str) -> str:
    """Return how recipes call the task called `name`: its short name, if it has one; nothing is made.

    Raises:
        InputError: no such task.
    """
    id = SHORT_NAMES.get(name, name)
    _check_registered(name, id)
    return next((short for short, full in SHORT_NAMES.items() if full == id), id)


@functools.lru_cache
def _find(name: str, options: str) -> TaskInfo:
    id, canonical = SHORT_NAMES.get(name, name), canonical_name(name)
    given = json.loads(options)
    env = _make(name, id, without_view(given))
    try:
        action_repeat, frame_stack = read_view(given)
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
        return TaskInfo(
            name=canonical,
            id=id,
            options=given,
            observation_size=observation.shape[0] * frame_stack,
            action_low=action.low.astype(np.float32),
            action_high=action.high.astype(np.float32),
            max_episode_steps=None if limit is None else -(-limit // action_repeat),
            reward_threshold=env.spec.reward_threshold if env.spec else None,
            fall=_fall_rule(id),
        )
    finally:
        env.close()


def find_policy_task(
    name: str, options: dict[str, Any], instead: str | None = None, changes: dict[str, Any] | None = None
) -> TaskInfo:
    """Return what is known of the task that a policy's file names, or of another, seen in the same way.

    Args:
        name: the task in the file.
        options: its options there.
        instead: another task, named by a person.
        changes: options that are to be other than those.

    Raises:
        InputError: as `find_task`; or finding it would import a module, which nobody but a person may ask for.
    """
    if instead:
        return find_task(instead, only_view(options) | (changes or {}))
    module, colon, _ = name.partition(":")
    if colon and module not in sys.modules:
        raise InputError(
            f"the policy's task '{name}' would import the module '{module}'; if you trust it, name the task"
        )
    return find_task(name, options | (changes or {}))


def make_env(info: TaskInfo, **kwargs) -> gymnasium.Env:
    """Make one copy of the task with its time limit; `kwargs` go to `gymnasium.make` (such as `render_mode`)."""
    return seen(_make(info.name, info.id, info.env_options, **kwargs), info.action_repeat, info.frame_stack)


def _make(name: str, id: str, options: dict[str, Any], **kwargs) -> gymnasium.Env:
    try:
        with quiet_mujoco(), warnings.catch_warnings(record=True) as said:
            env = gymnasium.make(id, disable_env_checker=True, **options, **kwargs)
        for one in said:  # of interest only where there is an environment; else the error says it all
            warnings.warn(one.message, one.category, stacklevel=3)
        return env
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise InputError(f"task '{name}' needs a package that is not installed: {_one_line(error)}") from error
    except Exception as error:  # a task may be anybody's code
        raise InputError(f"task '{name}' cannot be made: {_one_line(error) or type(error).__name__}") from error


@contextlib.contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Keep MuJoCo from printing, and from writing MUJOCO_LOG.TXT, what it thinks of the age of a model's file."""
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)


def _check_registered(name: str, id: str) -> None:
    if ":" in id:  # "module:Name-v0" imports the module, which registers the task
        module, id = id.split(":", 1)
        try:
            __import__(module)
        except Exception as error:  # whatever the module raises, or a name that is none
            raise InputError(f"task '{name}': the module '{module}' cannot be imported: {_one_line(error)}") from error
    if id not in gymnasium.registry:
        raise InputError(f"unknown task '{name}'" + suggestion(name, {*SHORT_NAMES, *gymnasium.registry}))


def _fall_rule(id: str) -> str:
    if id in _FALL_BY_REWARD:
        return "reward"
    return "terminated" if id.startswith(_FALL_BY_TERMINATION) else "none"


def _continuous_twins(id: str) -> list[str]:
    stem = id.split("-v")[0]
    return [other for other in gymnasium.registry if other.startswith(f"{stem}Continuous")] or list(SHORT_NAMES)


def _describe(space: gymnasium.Space) -> str:
    if isinstance(space, gymnasium.spaces.Box):
        return f"a box of shape {space.shape}" + (" (an image)" if len(space.shape) == 3 else "")
    return f"{type(space).__name__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
