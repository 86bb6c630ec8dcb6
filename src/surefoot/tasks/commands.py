"""Velocities to be followed: how they are drawn, and when."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from surefoot.tasks.chance import uniform
from surefoot.tasks.options import check_number, check_numbers

_USE = 1  # of chance
# Slower than this is not worth a step (legged_gym has the first).
_LEAST_SPEED, _LEAST_YAW_RATE = 0.2, 0.1


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
    command: Sequence[float] | None = None
    """One command (forward, left, turn) for all time instead; or several, in turn, three numbers each."""

    def __post_init__(self) -> None:
        for name, most in (("command_x", 5), ("command_y", 5), ("command_yaw", 5), ("standing", 1)):
            check_number(name, getattr(self, name), 0, most)
        check_number("command_every_s", self.command_every_s, 0.02, 1e4)
        if self.command is not None:
            whole = isinstance(self.command, Sequence) and len(self.command) > 3 and len(self.command) % 3 == 0
            check_numbers("command", self.command, len(self.command) if whole else 3, -5, 5)

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
