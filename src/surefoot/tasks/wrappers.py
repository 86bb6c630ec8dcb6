"""Wrappers of environments: checks at the boundary, action repeat and frame stacking."""

import math
import re
import warnings
from typing import Any

import gymnasium
import numpy as np
from pydantic import Field

from surefoot.errors import InputError, SurefootError, foreign_code
from surefoot.settings import Settings, validate

_STEP = "(observation, reward, terminated, truncated, info)"
_NEW_API = "change it to Gymnasium's present API, or wrap it"


class WrapperOptions(Settings):
    """Task options that are not the environment's own."""

    action_repeat: int = Field(1, ge=1, le=100, strict=True)
    """Environment steps per action; rewards are summed, and the policy observes the last step only."""
    frame_stack: int = Field(1, ge=1, le=100, strict=True)
    """Number of latest observations that the policy observes together, oldest first."""


def steps_per_second(env: gymnasium.Env) -> float:
    """Return `render_fps` of an environment's metadata; 30 if it is no number from 0.01 to 100,000."""
    try:
        rate = float(env.metadata["render_fps"])
    except (KeyError, TypeError, ValueError):
        rate = math.nan
    return rate if 0.01 <= rate <= 1e5 else 30.0


def _described(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(type(part).__name__ for part in value)})"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}, type {value.dtype}"
    return f"{value!r:.60} ({type(value).__name__})"


class Checked(gymnasium.Wrapper):
    """Checks what the first `reset` and the first `step` return: the tuple, shapes and types.

    Later calls are not checked and take no extra time. A reward in an array of one value becomes a number.

    Raises:
        InputError: a value is wrong.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._name = name

    def reset(self, **kwargs: Any) -> Any:
        try:
            result = self.env.reset(**kwargs)
        except TypeError as error:
            missing = re.search("unexpected keyword argument '(seed|options)'", str(error))
            if not missing:
                raise
            raise self._fault(f"its reset takes no {missing[1]}; {_NEW_API}") from error
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            raise self._fault(f"its reset returns {_described(result)}, not (observation, info); {_NEW_API}")
        self._check_observation(result[0], "reset")
        self.__dict__["reset"] = self.env.reset
        return result

    def step(self, action: Any) -> Any:
        try:
            result: Any = self.env.step(action)
        except ValueError as error:  # from Gymnasium's own wrappers
            if "values to unpack (expected 5" not in str(error):
                raise
            raise self._fault(f"its step does not return the five values {_STEP}; {_NEW_API}") from error
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            raise self._fault(f"its step returns {_described(result)}, not {_STEP}; {_NEW_API}")
        observation, reward, *flags, _ = result
        self._check_observation(observation, "step")
        if np.size(reward) != 1 or np.asarray(reward).dtype.kind not in "biuf":
            raise self._fault(f"its step returns {_described(reward)} as the reward, not a number")
        for name, flag in zip(("terminated", "truncated"), flags, strict=True):
            if np.shape(flag) != () or np.asarray(flag).dtype != bool:
                raise self._fault(f"its step returns {_described(flag)} as {name}, not True or False")
        self.__dict__["step"] = self.env.step if np.shape(reward) == () else self._step_with_scalar_reward
        return self._scalar(result)

    def _step_with_scalar_reward(self, action: Any) -> Any:
        return self._scalar(self.env.step(action))

    def _scalar(self, result: Any) -> Any:
        observation, reward, *rest = result
        return observation, (np.asarray(reward).item() if np.shape(reward) else reward), *rest

    def _check_observation(self, observation: Any, method: str) -> None:
        shape = self.env.observation_space.shape
        try:
            values = np.asarray(observation)
        except ValueError:  # lists of different lengths
            values = np.asarray(None)
        if values.shape != shape or values.dtype.kind not in "biuf":
            expected = f"its observation_space has numbers of shape {shape}"
            raise self._fault(f"its {method} returns {_described(observation)} as the observation, but {expected}")

    def _fault(self, message: str) -> InputError:
        return InputError(f"task '{self._name}': {message}")


class Guarded(gymnasium.Wrapper):
    """Reports an exception of an environment in one line that names the task; one of `close` is a warning."""

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._name = name

    def reset(self, **kwargs: Any) -> Any:
        with self._guard("reset"):
            return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        with self._guard("step"):
            return self.env.step(action)

    def render(self) -> Any:
        with self._guard("render"):
            return self.env.render()

    def close(self) -> None:
        try:
            with self._guard("close"):
                self.env.close()
        except SurefootError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def _guard(self, method: str) -> Any:
        return foreign_code(f"task '{self._name}' failed in its {method}")


class ConvertAction(gymnasium.ActionWrapper):
    """Hands actions to an environment in the type of its action space and within its bounds.

    Integers and booleans are rounded.
    """

    def action(self, action: Any) -> np.ndarray:
        """Return the converted action."""
        space: Any = self.env.action_space
        action = np.asarray(action, np.float64)
        if space.dtype.kind in "iub":
            action = np.rint(action)
        return np.clip(action, space.low, space.high).astype(space.dtype)


class ActionRepeat(gymnasium.Wrapper):
    """Repeats each action `times` times, or until the episode ends, and sums the rewards."""

    def __init__(self, env: gymnasium.Env, times: int) -> None:
        super().__init__(env)
        self._times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; observation and info are those of the last step."""
        total = 0.0
        for _ in range(self._times):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def split_wrappers(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a task's options into the environment's own and those of the wrappers."""
    wrappers = {name: value for name, value in options.items() if name in WrapperOptions.model_fields}
    return {name: value for name, value in options.items() if name not in wrappers}, wrappers


def wrapper_options(options: dict[str, Any], source: str = "task options") -> WrapperOptions:
    """Return action repeat and frame stacking in a task's options.

    Raises:
        InputError: one of them is not a whole number from 1 to 100.
    """
    return validate(WrapperOptions, split_wrappers(options)[1], source, noun="option")


def wrap(env: gymnasium.Env, action_repeat: int, frame_stack: int, name: str) -> gymnasium.Env:
    """Check an environment with flat observations (D,) and wrap it, so that it takes float32 actions.

    Stacked observations are flat too, oldest first. At the start of an episode the first observation fills the stack.
    """
    env = Checked(env, name)
    if env.action_space.dtype != np.float32:
        env = ConvertAction(env)
    if action_repeat > 1:
        env = ActionRepeat(env, action_repeat)
    if frame_stack > 1:
        env = gymnasium.wrappers.FrameStackObservation(env, frame_stack, padding_type="reset")
        env = gymnasium.wrappers.FlattenObservation(env)
    return env
