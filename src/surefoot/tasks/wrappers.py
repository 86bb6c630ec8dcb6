"""Wrappers that change what a policy observes and how often it acts: action repeat and frame stacking.

Worker processes import this module; it must not import JAX.
"""

from typing import Any

import gymnasium

# Task options that are not the environment's own.
ACTION_REPEAT, FRAME_STACK = "action_repeat", "frame_stack"
_MOST = 100


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


def read_wrappers(options: dict[str, Any]) -> tuple[int, int]:
    """Return the action repeat and the number of stacked observations in a task's options.

    Raises:
        ValueError: one of them is not a whole number from 1 to 100.
    """
    values = []
    for name in (ACTION_REPEAT, FRAME_STACK):
        value = options.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
            raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to {_MOST}")
        values.append(value)
    return values[0], values[1]


def without_wrappers(options: dict[str, Any]) -> dict[str, Any]:
    """Return the environment's own options."""
    return {name: value for name, value in options.items() if name not in (ACTION_REPEAT, FRAME_STACK)}


def only_wrappers(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the wrappers."""
    return {name: value for name, value in options.items() if name in (ACTION_REPEAT, FRAME_STACK)}


def wrap(env: gymnasium.Env, action_repeat: int, frame_stack: int) -> gymnasium.Env:
    """Wrap an environment with flat observations (D,); stacked observations are flat too, oldest first.

    At the start of an episode the first observation fills the stack.
    """
    if action_repeat > 1:
        env = ActionRepeat(env, action_repeat)
    if frame_stack > 1:
        env = gymnasium.wrappers.FrameStackObservation(env, frame_stack, padding_type="reset")
        env = gymnasium.wrappers.FlattenObservation(env)
    return env
