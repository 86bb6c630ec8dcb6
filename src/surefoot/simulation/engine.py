"""What every engine is: a Gymnasium vector environment with a second, faster face for training.

An engine answers each step with one float32 array, the *frame*: whatever the simulator measured, packed one row per
copy. `interpret` turns a frame into observation, reward and the two ends of an episode; it is a pure `jax.numpy`
function, so that training can fuse it with the policy into one compiled call per step. `reset` and `step` are the
ordinary Gymnasium face over the same two.
"""

import abc
import functools
import os
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space


class StepResult(NamedTuple):
    """What one step of every copy says.

    Attributes:
        observation: (N, D) float32.
        reward: (N,) float32; 0 where a copy has just been reset.
        terminated: (N,) bool, the episode ended by what happened in it; False where a copy has just been reset.
        truncated: (N,) bool, the episode ended by its time limit; False where a copy has just been reset.
        terms: (N,) float32 each, what the reward is the sum of, by name; None where the engine cannot tell.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    terms: dict[str, jax.Array] | None = None


def pack(observation, reward, terminated, truncated) -> np.ndarray:
    """Pack finished signals into a new (N, D + 3) float32 frame, the layout that `Engine.interpret` reads."""
    count, size = observation.shape
    frame = np.empty((count, size + 3), np.float32)
    frame[:, :size] = observation
    frame[:, size] = reward
    frame[:, size + 1] = terminated
    frame[:, size + 2] = truncated
    return frame


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine(gymnasium.vector.VectorEnv, abc.ABC):
    """Many copies of one task, stepped together, with next-step autoreset.

    A copy whose episode ended returns that episode's last observation; its next step resets it, whatever the action,
    and returns the first observation of a new episode with reward 0 and both flags down.

    Attributes:
        name: the engine's name, as the user gives it.
        num_envs: the number of copies, N.
        single_observation_space: `Box` of shape (D,), float32.
        single_action_space: `Box` of shape (A,), float32.
        term_names: the names of `StepResult.terms`.
    """

    name: str = ""
    term_names: tuple[str, ...] = ()

    def __init__(
        self, num_envs: int, observation_space: gymnasium.spaces.Box, action_space: gymnasium.spaces.Box
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self._finished = np.ones(num_envs, bool)
        self._begun = False

    @abc.abstractmethod
    def begin(self, seed: int | None) -> np.ndarray:
        """Start a new episode in every copy and return the first frame, (N, K) float32, a fresh array.

        Copy i draws from its own random numbers, seeded with `seed + i`; None draws from the operating system.
        """

    @abc.abstractmethod
    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        """Step the copies and return the next frame, (N, K) float32, a fresh array.

        Args:
            action: (N, A) float32, within the action space's bounds.
            finished: (N,) bool, the copies whose previous frame ended their episode; they are reset instead.
            resting: (N,) bool, finished copies that are left as they are, at no cost, until a later call resets them;
                their rows of the frame say nothing. None: no copy rests.

        Raises:
            EngineError: a simulator failed; the message names the copy.
        """

    def interpret(self, frame: jax.Array, action: jax.Array) -> StepResult:
        """Read a frame that followed `action`; pure, and traced by JAX."""
        del action
        size = frame.shape[1] - 3
        return StepResult(frame[:, :size], frame[:, size], frame[:, size + 1] > 0.5, frame[:, size + 2] > 0.5)

    def curriculum_metrics(self) -> dict[str, float]:
        """Return how hard the task's curriculum has made it, over all copies, by name; empty where there is none."""
        return {}

    def get_state(self) -> dict[str, np.ndarray] | None:
        """Return everything that decides what the copies do next, or None where the simulator cannot give it."""
        return None

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from what `get_state` returned."""
        raise NotImplementedError(f"engine '{self.name}' cannot restore its state")

    @functools.cached_property
    def _interpret(self):
        return jax.jit(lambda frame, action: self.interpret(frame, action)._replace(terms=None))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes in all copies; (N, D) float32 observations and an empty info."""
        del options
        frame = self.begin(seed)
        self._begun = True
        observation = self._interpret(frame, jnp.zeros(self.action_space.shape, jnp.float32)).observation
        self._finished = np.zeros(self.num_envs, bool)
        return np.array(observation), {}

    def step(self, actions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all copies by (N, A) actions; observation, reward, terminated, truncated and an empty info."""
        actions = np.asarray(actions, np.float32)
        if not self._begun:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {actions.shape}, not {self.action_space.shape}")
        frame = self.advance(actions, self._finished)
        observation, reward, terminated, truncated = map(np.array, self._interpret(frame, actions)[:4])
        self._finished = terminated | truncated
        return observation, reward, terminated, truncated, {}
