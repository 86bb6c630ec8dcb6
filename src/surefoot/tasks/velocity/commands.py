"""Velocities to be followed: how they are drawn, and when."""

import dataclasses
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from surefoot.tasks.options import check_number, check_numbers
from surefoot.tasks.rotations import yaw
from surefoot.tasks.task import State
from surefoot.tasks.velocity.hash_rng import uniform

_USE = 1  # of chance
# Slower than this is not worth a step (legged_gym has the first).
_LEAST_SPEED, _LEAST_YAW_RATE = 0.2, 0.1
# Who is told a direction turns so fast for each rad that is left, 1/s (legged_gym's).
_TURN_TO = 0.5


@dataclasses.dataclass(frozen=True)
class Commands:
    """Commands (forward m/s, to the left m/s, turning left rad/s), drawn uniformly and held for a while."""

    command_x: float = 1.0
    """The fastest forward and backward, m/s."""
    command_y: float = 0.6
    """The fastest sideways, m/s."""
    command_yaw: float = 1.0
    """The fastest turn, rad/s."""
    command_every_s: float = 10.0
    """How long each command holds."""
    standing: float = 0.1
    """The share of commands to stand still."""
    heading: float = 0.0
    """The share of commands whose turn is to a direction: as fast as drawn at first, then by half the angle that is
    left, in rad/s, so that it ends, and what leads away from there is corrected."""
    command: Sequence[float] | None = None
    """One command (forward, left, turn) for all time instead; or several, in turn, three numbers each."""

    def __post_init__(self) -> None:
        for name, most in (("command_x", 5), ("command_y", 5), ("command_yaw", 5), ("standing", 1), ("heading", 1)):
            check_number(name, getattr(self, name), 0, most)
        check_number("command_every_s", self.command_every_s, 0.02, 1e4)
        if self.command is not None:
            whole = isinstance(self.command, Sequence) and len(self.command) > 3 and len(self.command) % 3 == 0
            check_numbers("command", self.command, len(self.command) if whole else 3, -5, 5)

    @property
    def remembered(self) -> MappingProxyType[str, int]:
        """What copies keep from step to step besides the command, and how many numbers each: name and width."""
        return MappingProxyType({"steers": 1, "goal": 1} if self.heading else {})

    def give(self, state: State, env_indices: np.ndarray, count: np.ndarray) -> None:
        """Tell some copies, (K,), which have keys, their commands number `count`, (K,)."""
        key = state["key"][env_indices]
        command = self.draw(key, count)
        state["command"][env_indices] = command
        if self.heading:
            chance = (uniform(key, _USE, count.astype(np.uint32), 5, np)[:, 4] + 1) / 2
            state["steers"][env_indices, 0] = (chance < self.heading) & command.any(1)
            state["goal"][env_indices, 0] = yaw(state["qpos"][env_indices, 3:7]) + command[:, 2] / _TURN_TO

    def steer(self, state: State) -> None:
        """Tell all copies that turn to a direction how fast to turn now, rad/s."""
        if self.heading:
            left = state["goal"][:, 0] - yaw(state["qpos"][:, 3:7])
            left = (left + np.pi) % (2 * np.pi) - np.pi
            rate = np.clip(_TURN_TO * left, -self.command_yaw, self.command_yaw)
            state["command"][:, 2] = np.where(state["steers"][:, 0] > 0, rate, state["command"][:, 2])

    def draw(self, key: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return the commands, (K, 3), number `count` (K,) of the episodes with these keys (K,)."""
        if self.command is not None:
            told = np.array(self.command, float).reshape(-1, 3)
            return told[count % len(told)]
        drawn = uniform(key, _USE, count.astype(np.uint32), 4, np).astype(float)
        command = drawn[:, :3] * [self.command_x, self.command_y, self.command_yaw]
        command[np.hypot(command[:, 0], command[:, 1]) < _LEAST_SPEED, :2] = 0
        command[np.abs(command[:, 2]) < _LEAST_YAW_RATE, 2] = 0
        command[(drawn[:, 3] + 1) / 2 < self.standing] = 0
        return command
