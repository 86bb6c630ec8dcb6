"""How much of a task a policy sees and how often it acts: the last few observations, every few steps.

This module must stay light, for worker processes import it.
"""

from typing import Any

import gymnasium

# Task options that are not the environment's own but say how it is seen.
ACTION_REPEAT, FRAME_STACK = "action_repeat", "frame_stack"
_MOST = 100


class ActionRepeat(gymnasium.Wrapper):
    """Makes each action `times` times, unless the episode ends on the way, and adds up the rewards."""

    def __init__(self, env: gymnasium.Env, times: int) -> None:
        super().__init__(env)
        self._times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; the observation and the info are those of the last step made."""
        total = 0.0
        for _ in range(self._times):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def read_view(options: dict[str, Any]) -> tuple[int, int]:
    """Return how often each action is made, and how many observations are seen at once.

    Raises:
        ValueError: one of them is no number from 1 to 100.
    """
    values = []
    for name in (ACTION_REPEAT, FRAME_STACK):
        value = options.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
            raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to {_MOST}")
        values.append(value)
    return values[0], values[1]


def without_view(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are the environment's own."""
    return {name: value for name, value in options.items() if name not in (ACTION_REPEAT, FRAME_STACK)}


def only_view(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that say how the environment is seen."""
    return {name: value for name, value in options.items() if name in (ACTION_REPEAT, FRAME_STACK)}


def seen(env: gymnasium.Env, action_repeat: int, frame_stack: int) -> gymnasium.Env:
    """Wrap an environment of flat observations (D,); the last `frame_stack` of them, oldest first, become one.

    At the start of an episode the first observation stands for those before it.
    """
    if action_repeat > 1:
        env = ActionRepeat(env, action_repeat)
    if frame_stack > 1:
        env = gymnasium.wrappers.FrameStackObservation(env, frame_stack, padding_type="reset")
        env = gymnasium.wrappers.FlattenObservation(env)
    return env
