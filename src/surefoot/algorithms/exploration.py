"""What is added to a deterministic policy so that it tries new things: noise on actions, or on the policy's weights.

Each episode is given one kind by chance and keeps it to its end, as in Pavlov et al. 2017 (arXiv 1711.06922).
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from surefoot.policies.networks import Layer
from surefoot.pytrees import random_from_words, random_words
from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings

_PLAPPERT_FACTOR = 1.01  # Plappert et al. 2018, arXiv 1706.01905, appendix C
_BISECTION_RANGE = (0.0, 100.0)  # of Reason8's search (github.com/Scitator/Run-Skeleton-Run, agent.py)
_BISECTION_TOLERANCE = 1e-3
_BISECTION_TRIES = 60


class ExplorationSettings(Settings):
    """How a deterministic actor explores."""

    noise: Literal["gaussian", "ornstein-uhlenbeck"] = "gaussian"
    """The noise added to actions."""
    sigma: Schedule = schedule(0.1, ge=0, le=10)
    """Its standard deviation, in units of half the action range; of Ornstein-Uhlenbeck noise, per root of a second."""
    theta: float = Field(0.15, ge=0, le=100)
    """Ornstein-Uhlenbeck: the rate of return to zero, per second."""
    dt: float = Field(0.01, gt=0, le=10)
    """Ornstein-Uhlenbeck: the seconds between two actions."""
    parameter_noise: float = Field(0.0, ge=0, le=1)
    """The share of episodes that explore by noise on the actor's weights instead, drawn once and held."""
    parameter_distance: float | None = Field(None, gt=0, le=2)
    """How far weight noise shall move actions (root mean square); none: as far as `sigma` says."""
    parameter_rule: Literal["multiplicative", "bisection", "fixed"] = "multiplicative"
    """How the scale of weight noise is found: nudged by 1 % before each draw (Plappert et al.); searched anew for each
    draw (Reason8); or not at all, so that it stays `parameter_sigma`."""
    parameter_sigma: float = Field(0.05, gt=0, le=100)
    """The scale of weight noise at the start."""


class Exploration:
    """The noise of N copies of a task, on the host.

    Args:
        settings: which.
        copies: N.
        action_size: A.
        seed: where chance starts.
        number: which of several explorers with that seed this is.

    Attributes:
        settings: which.
        by_weights: (N,) bool, the copies whose present episode explores by weight noise.
        parameter_sigma: the present scale of weight noise.
        distance: the last measured distance of a perturbed actor, nan before there is one.
    """

    def __init__(
        self, settings: ExplorationSettings, copies: int, action_size: int, seed: int, number: int = 0
    ) -> None:
        self.settings = settings
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 7, number))))
        self._drift = np.zeros((copies, action_size))
        self.by_weights = np.zeros(copies, bool)
        self.parameter_sigma = settings.parameter_sigma
        self.distance = math.nan

    def begin_episodes(self, started: np.ndarray) -> None:
        """Give every copy in `started`, (N,) bool, its kind of noise for the episode that begins."""
        self._drift[started] = 0
        if self.settings.parameter_noise:
            drawn = self._random.random(len(started)) < self.settings.parameter_noise
            self.by_weights = np.where(started, drawn, self.by_weights)

    def draw(self, progress: float) -> np.ndarray:
        """Return (N, A) float32 noise to add to the actions; 0 for copies that explore by their weights.

        Ornstein-Uhlenbeck noise follows x += -theta x dt + sigma sqrt(dt) N(0, 1) (Uhlenbeck and Ornstein 1930, in the
        Euler-Maruyama form of Lillicrap et al. 2016).
        """
        settings = self.settings
        noise = settings.sigma.value(progress) * self._random.standard_normal(self._drift.shape)
        if settings.noise == "ornstein-uhlenbeck":
            self._drift += -settings.theta * settings.dt * self._drift + math.sqrt(settings.dt) * noise
            noise = self._drift
        return np.where(self.by_weights[:, None], 0, noise).astype(np.float32)

    def target_distance(self, progress: float) -> float:
        """Return how far weight noise shall move actions."""
        return self.settings.parameter_distance or self.settings.sigma.value(progress)

    def adapt(self, distance: float, target: float) -> None:
        """Nudge the scale of weight noise towards the target distance (Plappert et al. 2018, section 3)."""
        self.distance = distance
        if self.settings.parameter_rule == "multiplicative":
            self.parameter_sigma *= _PLAPPERT_FACTOR if distance < target else 1 / _PLAPPERT_FACTOR

    def search(self, measure: Any, target: float) -> None:
        """Find the scale of weight noise by bisection; `measure(sigma)` gives the distance of a fresh draw."""
        low, high = _BISECTION_RANGE
        for _ in range(_BISECTION_TRIES):
            self.parameter_sigma = (low + high) / 2
            self.distance = float(measure(self.parameter_sigma))
            if abs(self.distance - target) < _BISECTION_TOLERANCE:
                return
            low, high = (self.parameter_sigma, high) if self.distance < target else (low, self.parameter_sigma)

    def state(self) -> dict[str, Any]:
        """Return everything that decides what noise comes next, as a tree of arrays."""
        return {
            "random": random_words(self._random),
            "drift": self._drift.copy(),
            "by_weights": self.by_weights.copy(),
            "parameter_sigma": np.float64(self.parameter_sigma),
            "distance": np.float64(self.distance),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._random = random_from_words(state["random"])
        self._drift = np.array(state["drift"])
        self.by_weights = np.array(state["by_weights"])
        self.parameter_sigma = float(state["parameter_sigma"])
        self.distance = float(state["distance"])


def perturbed(layers: list[Layer], key: jax.Array, sigma: jax.Array) -> list[Layer]:
    """Add noise of deviation `sigma` to weights and biases; what belongs to a normalisation stays as it is."""
    noisy = []
    for layer in layers:
        key, *keys = jax.random.split(key, 3)
        noise = {
            name: sigma * jax.random.normal(use, layer[name].shape)
            for name, use in zip(("weight", "bias"), keys, strict=True)
        }
        noisy.append(layer | {name: layer[name] + noise[name] for name in noise})
    return noisy


def action_distance(actions: jax.Array, others: jax.Array) -> jax.Array:
    """Return the distance of two policies by what they do in M states, actions (M, A): its root mean square."""
    return jnp.sqrt(jnp.mean(jnp.square(actions - others)))
