"""Velocity commands: drawn at random, held for some seconds, and corrected for commands with a target direction."""

from collections.abc import Callable

import numpy as np
import pydantic
from pydantic import Field

from surefoot.tasks.options import TaskOptions
from surefoot.tasks.task import State
from surefoot.tasks.velocity.hash_rng import uniform

_STREAM = 1
# Smaller commands are set to zero (legged_gym has the first limit).
_LEAST_SPEED, _LEAST_YAW_RATE = 0.2, 0.1
_HEADING_GAIN = 0.5  # 1/s, legged_gym's


class CommandOptions(TaskOptions):
    """Commands (forward m/s, left m/s, turning left rad/s), drawn uniformly."""

    command_x: float = Field(1.0, ge=0, le=5)
    """Largest speed forward and backward, m/s."""
    command_y: float = Field(0.6, ge=0, le=5)
    """Largest speed sideways, m/s."""
    command_yaw: float = Field(1.0, ge=0, le=5)
    """Largest turning rate, rad/s."""
    command_every_s: float = Field(10.0, ge=0.02, le=1e4)
    """Seconds until the next command."""
    standing: float = Field(0.1, ge=0, le=1)
    """Fraction of commands to stand still."""
    heading: float = Field(0.0, ge=0, le=1)
    """Fraction of commands with a target direction, as in legged_gym: the turning rate, in rad/s, is half the remaining
    angle, so the robot stops turning at the target and corrects deviations from it."""
    command: tuple[float, ...] | None = None
    """A fixed command (forward, left, turn) instead of random ones; or a sequence of commands, three numbers each."""

    @pydantic.field_validator("command")
    @classmethod
    def _check_command(cls, command: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if command is not None and (not command or len(command) % 3 or max(map(abs, command)) > 5):
            raise ValueError("must be three numbers from -5 to 5, or a multiple of three")
        return command


class Commands:
    """Commands of N environments, in state["command"] (N, 3).

    Attributes:
        buffers: name and width of the arrays of `state` besides "command".
    """

    def __init__(self, options: CommandOptions, facing: Callable[[State], np.ndarray]) -> None:
        """Set up; `facing` returns the directions in which the robots face, (N,) rad."""
        self.options = options
        self._facing = facing
        self.buffers = {"turns_to_goal": 1, "goal": 1} if options.heading else {}

    def assign(self, state: State, env_indices: np.ndarray, count: np.ndarray) -> None:
        """Assign environments (K,) their commands number `count` (K,), from the random keys state["key"]."""
        key = state["key"][env_indices]
        command = self.draw(key, count)
        state["command"][env_indices] = command
        if self.options.heading:
            chance = (uniform(key, _STREAM, count.astype(np.uint32), 5, np)[:, 4] + 1) / 2
            state["turns_to_goal"][env_indices, 0] = (chance < self.options.heading) & command.any(1)
            state["goal"][env_indices, 0] = self._facing(state)[env_indices] + command[:, 2] / _HEADING_GAIN

    def steer(self, state: State) -> None:
        """Update the turning rates of commands that turn to a direction."""
        if self.options.heading:
            angle = state["goal"][:, 0] - self._facing(state)
            angle = (angle + np.pi) % (2 * np.pi) - np.pi
            rate = np.clip(_HEADING_GAIN * angle, -self.options.command_yaw, self.options.command_yaw)
            state["command"][:, 2] = np.where(state["turns_to_goal"][:, 0] > 0, rate, state["command"][:, 2])

    def draw(self, key: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return commands, (K, 3), number `count` (K,) of the episodes with random keys `key` (K,)."""
        options = self.options
        if options.command is not None:
            fixed = np.array(options.command, float).reshape(-1, 3)
            return fixed[count % len(fixed)]
        drawn = uniform(key, _STREAM, count.astype(np.uint32), 4, np).astype(float)
        command = drawn[:, :3] * [options.command_x, options.command_y, options.command_yaw]
        command[np.hypot(command[:, 0], command[:, 1]) < _LEAST_SPEED, :2] = 0
        command[np.abs(command[:, 2]) < _LEAST_YAW_RATE, 2] = 0
        command[(drawn[:, 3] + 1) / 2 < options.standing] = 0
        return command
