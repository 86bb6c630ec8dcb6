"""Replay: the transitions seen lately, kept on the host as they came, and drawn at random.

Rows are kept in the order of time, as in `rollout`: row t of a copy holds what was observed, the action chosen there,
and what led to it. A transition is two neighbouring rows, so no observation is kept twice.
"""

from typing import Any, NamedTuple

import numpy as np


class Transitions(NamedTuple):
    """K batches of B transitions of one or more steps, as they are learnt from.

    Attributes:
        observation: (K, B, D) float32, raw.
        action: (K, B, A) float32, in units in which the task's bounds are -1 and 1.
        reward: (K, B) float32, the discounted sum over the steps.
        next_observation: (K, B, D) float32, after the last of the steps.
        discount: (K, B) float32, what the value of `next_observation` counts: gamma to the number of steps, or 0 if
            the episode terminated there. A time limit is no end.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    discount: np.ndarray


class Replay:
    """A ring of rows for each of N copies of a task.

    Args:
        capacity: how many transitions to keep, all copies together; rounded up to a whole number of rows.
        copies: N.
        observation_size: D.
        action_size: A.

    Attributes:
        count: rows held per copy.
    """

    def __init__(self, capacity: int, copies: int, observation_size: int, action_size: int) -> None:
        self._length = -(-capacity // copies) + 1
        self._copies = copies
        self._ends = (observation_size, observation_size + action_size)
        # Zeroed pages are given by the operating system as they are first written, so an empty replay costs nothing.
        self._rows = np.zeros((self._length, copies, row_size(observation_size, action_size)), np.float32)
        self._head = 0
        self.count = 0

    @property
    def nbytes(self) -> int:
        """Memory of a full replay, in bytes."""
        return self._rows.nbytes

    @property
    def can_sample(self) -> bool:
        """Whether it surely holds a transition."""
        return self.count > 2  # of two neighbouring rows at most one ends an episode

    def add(self, row: np.ndarray) -> None:
        """Add one moment of all copies, (N, D + A + 3): observation, action, reward, terminated, truncated."""
        self._rows[self._head] = row
        self._head = (self._head + 1) % self._length
        self.count = min(self.count + 1, self._length)

    def cut(self) -> None:
        """Let the newest row end its episodes, for what comes next does not follow from it."""
        self._rows[self._head - 1, :, -1] = 1

    def sample(
        self,
        random: np.random.Generator,
        batches: int,
        size: int,
        steps: int,
        discount: float,
        action_cost: np.ndarray | float = 0.0,
        idle: np.ndarray | float = 0.0,
    ) -> Transitions:
        """Draw `batches` x `size` transitions, each with equal chance.

        Args:
            random: where chance comes from.
            batches: K.
            size: B.
            steps: n, rewards summed up before a value is asked for (Sutton 1988); fewer where an episode or the
                replay ends earlier.
            discount: gamma.
            action_cost: (A,), taken from each reward, times how far the action that earned it was from `idle`.
            idle: (A,), the action that costs nothing.

        Raises:
            ValueError: the replay holds no transition yet.
        """
        age, copy = self._draw(random, batches * size)
        start = self._at(age)
        reward = np.zeros(len(age), np.float32)
        factor = np.ones(len(age), np.float32)
        going = np.ones(len(age), bool)
        last = age
        costs = np.any(action_cost)
        for _ in range(steps):
            cost = 0.0
            if costs:
                cost = np.abs(self._rows[self._at(last), copy, self._ends[0] : self._ends[1]] - idle) @ action_cost
            last = last + going
            flags = self._rows[self._at(last), copy, self._ends[1] :]
            reward += going * factor * (flags[:, 0] - cost)
            factor *= np.where(going, np.where(flags[:, 1] > 0.5, 0, discount), 1).astype(np.float32)
            going &= (flags[:, 1:].max(1) < 0.5) & (last < self.count - 1)
        first = self._rows[start, copy]
        shape = (batches, size)
        return Transitions(
            first[:, : self._ends[0]].reshape(*shape, -1),
            first[:, self._ends[0] : self._ends[1]].reshape(*shape, -1),
            reward.reshape(shape),
            self._rows[self._at(last), copy, : self._ends[0]].reshape(*shape, -1),
            factor.reshape(shape),
        )

    def observations(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Draw (count, D) observations."""
        age, copy = random.integers(0, self.count, count), random.integers(0, self._copies, count)
        return self._rows[self._at(age), copy, : self._ends[0]]

    def state(self) -> dict[str, Any]:
        """Return what it holds, oldest row first: a tree of arrays that may share its memory."""
        order = self._at(np.arange(self.count))
        return {"rows": self._rows[order] if self._head and self.count == self._length else self._rows[: self.count]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: the rows are more than it can hold, or of another shape.
        """
        rows = state["rows"]
        if len(rows) > self._length or rows.shape[1:] != self._rows.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape} do not fit a replay of {self._rows.shape}")
        self._rows[: len(rows)] = rows
        self.count = len(rows)
        self._head = self.count % self._length

    def _at(self, age: np.ndarray) -> np.ndarray:
        """Where rows are that are `age` younger than the oldest."""
        return (self._head - self.count + age) % self._length

    def _draw(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows from which a transition starts: none that ended an episode, and not the newest."""
        if self.count < 2:
            raise ValueError("the replay holds no transition yet")
        ages, copies = [], []
        found = 0
        for _ in range(1000):
            age = random.integers(0, self.count - 1, count)
            copy = random.integers(0, self._copies, count)
            real = self._rows[self._at(age), copy, self._ends[1] + 1 :].max(1) < 0.5
            ages.append(age[real])
            copies.append(copy[real])
            found += int(real.sum())
            if found >= count:
                return np.concatenate(ages)[:count], np.concatenate(copies)[:count]
        raise ValueError("the replay holds no transition yet")


def row_size(observation_size: int, action_size: int) -> int:
    """Return how many numbers a row has."""
    return observation_size + action_size + 3
