"""Replay: the most recent transitions, kept on the host and sampled uniformly.

Packed rows are stored in the order of time, as in `rollout`: row t of an environment holds the observation at step t,
the action chosen there, and the outcome of the previous action. A transition consists of two neighbouring rows, so no
observation is stored twice.
"""

from typing import Any, NamedTuple

import numpy as np

from surefoot.algorithms.rollout import rollout_layout


class Batch(NamedTuple):
    """B transitions of one or more steps, or K batches of them with a new first axis; NumPy or JAX arrays, float32.

    Attributes:
        observation: (B, D), raw.
        action: (B, A), in units in which the task's bounds are -1 and 1.
        reward: (B,), the discounted sum over the steps.
        next_observation: (B, D), after the last step.
        discount: (B,), the factor of the value of `next_observation`: gamma to the number of steps, or 0 if the episode
            terminated there; on truncation targets bootstrap.
    """

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    discount: Any


class Replay:
    """A ring buffer of packed rows for each of N environments; `count` rows of each are stored.

    The capacity is in transitions, all environments counted; it is rounded up to whole rows.
    """

    def __init__(self, capacity: int, num_envs: int, observation_size: int, action_size: int) -> None:
        self._num_envs = num_envs
        self._layout = rollout_layout(observation_size, action_size)
        shape = self.shape(capacity, num_envs, observation_size, action_size)
        self._length = shape[0]
        # The operating system allocates zeroed pages when they are first written; an empty replay uses no memory.
        self._rows = np.zeros(shape, np.float32)
        self._head = 0
        self.count = 0

    @staticmethod
    def shape(capacity: int, num_envs: int, observation_size: int, action_size: int) -> tuple[int, int, int]:
        """Return the shape of the stored array of float32."""
        return -(-capacity // num_envs) + 1, num_envs, rollout_layout(observation_size, action_size).size

    @property
    def nbytes(self) -> int:
        """Memory of a full replay, in bytes."""
        return self._rows.nbytes

    @property
    def size(self) -> int:
        """Number of stored rows, all environments counted."""
        return self.count * self._num_envs

    @property
    def can_sample(self) -> bool:
        """Whether at least one transition can be sampled."""
        return self.count > 2  # of two neighbouring rows at most one ends an episode

    def add(self, rows: np.ndarray) -> None:
        """Add one step of all environments, (N, K), packed by `rollout_layout`."""
        self._rows[self._head] = rows
        self._head = (self._head + 1) % self._length
        self.count = min(self.count + 1, self._length)

    def truncate(self) -> None:
        """Mark the newest rows as truncated, because the next ones will not continue their episodes."""
        self._layout.write(self._rows[self._head - 1], {"truncated": 1})

    def sample(
        self,
        random: np.random.Generator,
        batches: int,
        size: int,
        steps: int,
        discount: float,
        action_cost: np.ndarray | float = 0.0,
        idle: np.ndarray | float = 0.0,
    ) -> Batch:
        """Sample `batches` x `size` transitions uniformly.

        Args:
            random: the generator.
            batches: K.
            size: B.
            steps: n, rewards summed before targets bootstrap (Sutton 1988); fewer if the episode or the replay ends.
            discount: gamma.
            action_cost: (A,), cost of each action dimension per unit of distance from `idle`, subtracted from rewards.
            idle: (A,), the action without cost.

        Raises:
            ValueError: the replay holds no transition yet.
        """
        layout = self._layout
        age, env = self._sample_starts(random, batches * size)
        start = self._index(age)
        reward = np.zeros(len(age), np.float32)
        factor = np.ones(len(age), np.float32)
        active = np.ones(len(age), bool)
        last = age
        has_cost = np.any(action_cost)
        for _ in range(steps):
            cost = 0.0
            if has_cost:
                action = self._rows[self._index(last), env, layout.columns("action")]
                cost = np.abs(action - idle) @ action_cost
            last = last + active
            outcome = layout.unpack(self._rows[self._index(last), env])
            reward += active * factor * (outcome["reward"] - cost)
            factor *= np.where(active, np.where(outcome["terminated"], 0, discount), 1).astype(np.float32)
            active &= ~(outcome["terminated"] | outcome["truncated"]) & (last < self.count - 1)
        first = layout.unpack(self._rows[start, env])
        shape = (batches, size)
        return Batch(
            first["observation"].reshape(*shape, -1),
            first["action"].reshape(*shape, -1),
            reward.reshape(shape),
            self._rows[self._index(last), env, layout.columns("observation")].reshape(*shape, -1),
            factor.reshape(shape),
        )

    def observations(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Sample (count, D) observations uniformly."""
        age, env = random.integers(0, self.count, count), random.integers(0, self._num_envs, count)
        return self._rows[self._index(age), env, self._layout.columns("observation")]

    def state(self) -> dict[str, Any]:
        """Return the contents, oldest row first; the array may share the replay's memory."""
        order = self._index(np.arange(self.count))
        return {"rows": self._rows[order] if self._head and self.count == self._length else self._rows[: self.count]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`; ValueError if there are more rows than the capacity, or they have another shape."""
        rows = state["rows"]
        if len(rows) > self._length or rows.shape[1:] != self._rows.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape} do not fit a replay of {self._rows.shape}")
        self._rows[: len(rows)] = rows
        self.count = len(rows)
        self._head = self.count % self._length

    def _index(self, age: np.ndarray) -> np.ndarray:
        """Ring indices of rows, counted from the oldest."""
        return (self._head - self.count + age) % self._length

    def _sample_starts(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample rows where a transition starts: not the newest, and none that ended an episode."""
        ages, envs = [], []
        total = 0
        for _ in range(1000 if self.count > 1 else 0):
            age = random.integers(0, self.count - 1, count)
            env = random.integers(0, self._num_envs, count)
            row = self._rows[self._index(age), env]
            starts = ~(self._layout.read(row, "terminated") | self._layout.read(row, "truncated"))
            ages.append(age[starts])
            envs.append(env[starts])
            total += int(starts.sum())
            if total >= count:
                return np.concatenate(ages)[:count], np.concatenate(envs)[:count]
        raise ValueError("the replay holds no transition yet")
