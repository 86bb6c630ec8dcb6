"""The base of all engines: a Gymnasium vector environment with a second, faster interface for training.

An engine returns one float32 array per step, the simulator output: one row per environment, with the fields of a
`Layout`. `interpret` turns it into observation, reward, termination and truncation. It is a pure `jax.numpy` function,
so that training compiles it together with the policy into one call per step. `reset` and `step` are Gymnasium's
interface, built on the same functions.
"""

import abc
import functools
import os
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from surefoot.errors import EngineError
from surefoot.packing import Layout
from surefoot.tasks.catalogue import TaskInfo

MOST_ENVS, MOST_THREADS = 100_000, 1024  # of an engine


class StepResult(NamedTuple):
    """One step of every environment.

    Attributes:
        observation: (N, D) float32.
        reward: (N,) float32; 0 after a reset.
        terminated: (N,) bool; False after a reset.
        truncated: (N,) bool, the episode reached its time limit; False after a reset.
        terms: the reward's terms by name, (N,) float32 each; None if the engine does not know them.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    terms: dict[str, jax.Array] | None = None


@functools.cache
def step_layout(observation_size: int) -> Layout:
    """Fields of the simulator output that the default `Engine.interpret` reads."""
    return Layout(observation=observation_size, reward="scalar", terminated="flag", truncated="flag")


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine(gymnasium.vector.VectorEnv, abc.ABC):
    """N environments of the task `info`, stepped together, with next-step autoreset.

    An environment whose episode ended returns that episode's final observation. Its next step resets it, ignoring the
    action, and returns the first observation of a new episode with reward 0 and both flags False.

    Attributes:
        name: name of the engine in a recipe.
        num_envs: N.
        single_observation_space: `Box` of shape (D,), float32.
        single_action_space: `Box` of shape (A,), float32.
        layout: fields of the simulator output.
        term_names: names of `StepResult.terms`.
        cut_episodes: episodes so far that ended because a simulator failed or its process died.
    """

    name: str = ""
    cut_episodes: int = 0
    term_names: tuple[str, ...] = ()

    def __init__(self, info: TaskInfo, num_envs: int) -> None:
        self.num_envs = num_envs
        self.layout = step_layout(info.observation_size)
        self.single_observation_space = Box(-np.inf, np.inf, (info.observation_size,), np.float32)
        self.single_action_space = Box(info.action_low, info.action_high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self._info = info
        self._finished = np.ones(num_envs, bool)
        self._begun = False

    @abc.abstractmethod
    def begin(self, seed: int | None) -> np.ndarray:
        """Start a new episode in every environment and return the simulator output, (N, K) float32, a new array.

        Environment i has its own random generator, seeded with `seed + i`; None: seeds from the operating system.
        """

    @abc.abstractmethod
    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        """Step all environments and return the simulator output, (N, K) float32, a new array.

        Args:
            action: (N, A) float32, within the bounds of the action space.
            finished: (N,) bool, environments whose episode ended at the previous output; they are reset instead.
            resting: (N,) bool, finished environments that stay as they are, at no cost, until a later call resets them;
                their rows of the output are undefined. None: no environment rests.

        Raises:
            EngineError: a simulator failed; the message names the environment.
        """

    def reset_some(self, which: np.ndarray) -> np.ndarray:
        """Start new episodes in environments `which`, (N,) bool, only; other rows of the output are undefined."""
        actions = np.zeros(self.action_space.shape or (), np.float32)
        return self.advance(actions, np.ones(self.num_envs, bool), ~which)

    def interpret(self, sim_output: jax.Array, action: jax.Array) -> StepResult:
        """Read the simulator output that followed `action`, (N, A); pure, and traced by JAX."""
        del action
        return StepResult(**self.layout.unpack(sim_output))

    def curriculum_metrics(self) -> dict[str, float]:
        """Return the curriculum's current difficulty, averaged over environments, by name; {} without a curriculum."""
        return {}

    def get_state(self) -> dict[str, np.ndarray] | None:
        """Return everything that determines how the environments continue, or None if the simulator cannot save it."""
        return None

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue, bit for bit, from what `get_state` returned."""
        raise NotImplementedError(f"engine '{self.name}' cannot restore its state")

    def _check_open(self) -> None:
        if self.closed:
            raise EngineError(f"the engine of task '{self._info.name}' is closed; make a new one")

    @functools.cached_property
    def _interpret(self):
        return jax.jit(lambda sim_output, action: self.interpret(sim_output, action)._replace(terms=None))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes in all environments; return (N, D) float32 observations and an empty info."""
        del options
        sim_output = self.begin(seed)
        self._begun = True
        observation = self._interpret(sim_output, jnp.zeros(self.action_space.shape, jnp.float32)).observation
        self._finished = np.zeros(self.num_envs, bool)
        return np.array(observation), {}

    def restart(self, which: np.ndarray) -> np.ndarray:
        """Start new episodes in environments `which`, (N,) bool, immediately; return their observations, (N, D)."""
        sim_output = self.reset_some(which)
        self._finished = self._finished & ~which
        return np.array(self._interpret(sim_output, jnp.zeros(self.action_space.shape, jnp.float32)).observation)

    def step(self, actions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all environments by (N, A) actions; observation, reward, terminated, truncated and an empty info."""
        actions = np.asarray(actions, np.float32)
        if not self._begun:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {actions.shape}, not {self.action_space.shape}")
        sim_output = self.advance(actions, self._finished)
        observation, reward, terminated, truncated = map(np.array, self._interpret(sim_output, actions)[:4])
        self._finished = terminated | truncated
        return observation, reward, terminated, truncated, {}
