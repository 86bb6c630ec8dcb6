"""Exploration noise for deterministic policies: on actions or on parameters.

Each episode has one of the two, chosen at random at its start, as in Pavlov et al. 2017 (arXiv 1711.06922).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from surefoot.policies.networks import Layer
from surefoot.pytrees import random_from_words, random_words
from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings

_PLAPPERT_FACTOR = 1.01  # Plappert et al. 2018, arXiv 1706.01905, appendix C


def gaussian(memory: np.ndarray, normal: np.ndarray, settings: "ExplorationSettings") -> tuple[np.ndarray, np.ndarray]:
    """Independent normal noise."""
    del settings
    return normal, memory


def ornstein_uhlenbeck(
    memory: np.ndarray, normal: np.ndarray, settings: "ExplorationSettings"
) -> tuple[np.ndarray, np.ndarray]:
    """Ornstein-Uhlenbeck noise: x += -theta x dt + sigma sqrt(dt) N(0, 1).

    Uhlenbeck and Ornstein 1930, in the Euler-Maruyama form of Lillicrap et al. 2016.
    """
    memory = memory + (-settings.theta * settings.dt * memory + math.sqrt(settings.dt) * normal)
    return memory, memory


# Action noise by name: functions (memory, samples, settings) -> (noise, memory). The memory (N, A) is 0 at the start of
# an episode; the samples (N, A) are normal with standard deviation `sigma`.
ActionNoise = Callable[[np.ndarray, np.ndarray, "ExplorationSettings"], tuple[np.ndarray, np.ndarray]]
ACTION_NOISES: dict[str, ActionNoise] = {"gaussian": gaussian, "ornstein-uhlenbeck": ornstein_uhlenbeck}

if TYPE_CHECKING:
    NoiseName = str
else:
    NoiseName = Literal[tuple(ACTION_NOISES)]


class ExplorationSettings(Settings):
    """Exploration of a deterministic actor."""

    noise: NoiseName = "gaussian"
    """Noise added to actions."""
    sigma: Schedule = schedule(0.1, ge=0, le=10)
    """Scale of the noise in units of half the action range: the standard deviation of Gaussian noise, the diffusion per
    root of a second of Ornstein-Uhlenbeck noise."""
    theta: float = Field(0.15, ge=0, le=100)
    """Ornstein-Uhlenbeck: rate of return to zero, per second."""
    dt: float = Field(0.01, gt=0, le=10)
    """Ornstein-Uhlenbeck: seconds between two actions."""
    parameter_noise: float = Field(0.0, ge=0, le=1)
    """Fraction of episodes with Gaussian noise on the actor's parameters instead, sampled once per episode."""
    parameter_sigma: float = Field(0.05, gt=0, le=100)
    """Standard deviation of parameter noise; the initial one if it adapts."""
    adapt_parameter_sigma: bool = True
    """Whether the scale of parameter noise adapts so that actions change by `sigma` (root mean square; Plappert et al.
    2018, arXiv 1706.01905)."""


class Exploration:
    """Exploration noise of N environments, on the host; `index` distinguishes several with the same seed.

    Attributes:
        uses_parameter_noise: (N,) bool, whether the current episode has parameter noise instead of action noise.
        parameter_sigma: current standard deviation of parameter noise.
        distance: last measured distance between actions with and without parameter noise; nan at first.
    """

    def __init__(
        self, settings: ExplorationSettings, num_envs: int, action_size: int, seed: int, index: int = 0
    ) -> None:
        self.settings = settings
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 7, index))))
        self._noise = ACTION_NOISES[settings.noise]
        self._memory = np.zeros((num_envs, action_size))
        self.uses_parameter_noise = np.zeros(num_envs, bool)
        self.parameter_sigma = settings.parameter_sigma
        self.distance = math.nan

    def start_episodes(self, started: np.ndarray) -> None:
        """Sample the kind of noise of episodes that start; `started` is (N,) bool."""
        self._memory[started] = 0
        if self.settings.parameter_noise:
            sampled = self._random.random(len(started)) < self.settings.parameter_noise
            self.uses_parameter_noise = np.where(started, sampled, self.uses_parameter_noise)

    def sample(self, progress: float) -> np.ndarray:
        """Return action noise, (N, A) float32, at training `progress` in [0, 1]; 0 in episodes with parameter noise."""
        normal = self.settings.sigma.value(progress) * self._random.standard_normal(self._memory.shape)
        noise, self._memory = self._noise(self._memory, normal, self.settings)
        return np.where(self.uses_parameter_noise[:, None], 0, noise).astype(np.float32)

    def adapt(self, distance: float, progress: float) -> None:
        """Adapt the scale of parameter noise to a measured distance (Plappert et al. 2018, section 3)."""
        self.distance = distance
        too_small = distance < self.settings.sigma.value(progress)
        self.parameter_sigma *= _PLAPPERT_FACTOR if too_small else 1 / _PLAPPERT_FACTOR

    def state(self) -> dict[str, Any]:
        """Return everything that determines the next noise, as a tree of arrays."""
        return {
            "random": random_words(self._random),
            "memory": self._memory.copy(),
            "uses_parameter_noise": self.uses_parameter_noise.copy(),
            "parameter_sigma": np.float64(self.parameter_sigma),
            "distance": np.float64(self.distance),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._random = random_from_words(state["random"])
        self._memory = np.array(state["memory"])
        self.uses_parameter_noise = np.array(state["uses_parameter_noise"])
        self.parameter_sigma = float(state["parameter_sigma"])
        self.distance = float(state["distance"])


def perturbed(layers: list[Layer], key: jax.Array, sigma: jax.Array) -> list[Layer]:
    """Add noise of standard deviation `sigma` to weights and biases, but not to normalisations."""
    noisy = []
    for layer in layers:
        key, *keys = jax.random.split(key, 3)
        noise = zip(("weight", "bias"), keys, strict=True)
        noisy.append(layer | {name: layer[name] + sigma * jax.random.normal(k, layer[name].shape) for name, k in noise})
    return noisy


def action_distance(actions: jax.Array, others: jax.Array) -> jax.Array:
    """Root mean square difference of two policies' actions (M, A) in the same M states."""
    return jnp.sqrt(jnp.mean(jnp.square(actions - others)))
