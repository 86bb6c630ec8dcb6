"""The policy: everything a trained body needs in order to act, in one object."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.errors import InputError
from surefoot.policies.distributions import Distribution
from surefoot.policies.networks import ActorCritic, PolicySettings, init_actor_critic
from surefoot.policies.normaliser import Normaliser, init_normaliser, prepare
from surefoot.policies.symmetry import Mirror, MirrorAveraged


class Controller(NamedTuple):
    """The computing part of a policy, a pytree: from raw observations to actions in units of half their range.

    Attributes:
        network: the actor, and perhaps the critic.
        normaliser: statistics of the observations.
        mirror: the symmetry of a policy averaged over mirror images, else None.
    """

    network: ActorCritic
    normaliser: Normaliser
    mirror: Mirror | None = None

    def distribution(self, observation: jax.Array) -> Distribution:
        """Return the distribution of actions (..., A) for raw observations (..., D)."""
        network = self.network if self.mirror is None else MirrorAveraged(self.network, self.mirror)
        return network.distribution(prepare(self.network.settings, self.normaliser, observation, self.mirror))

    def action(self, observation: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        """Return actions (..., A) for raw observations (..., D).

        Args:
            observation: (..., D), as the task returns it.
            noise: (..., A) standard normal, for a sample; None: the deterministic action.
        """
        distribution = self.distribution(observation)
        return distribution.mode() if noise is None else distribution.sample(noise)


@dataclasses.dataclass(eq=False)
class Policy:
    """A controller with its task and action bounds.

    Attributes:
        task: name of the task.
        action_low: (A,) float32, lower bounds of the actions.
        action_high: (A,) float32, upper bounds of the actions.
        controller: network, normaliser and, if the policy is averaged over mirror images, the mirror.
        task_options: keyword arguments of the task.
        origin: algorithm, seed, steps, versions; for information only.
    """

    task: str
    action_low: np.ndarray
    action_high: np.ndarray
    controller: Controller
    task_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.action_low = np.asarray(self.action_low, np.float32)
        self.action_high = np.asarray(self.action_high, np.float32)

    @property
    def settings(self) -> PolicySettings:
        """Architecture of the network."""
        return self.controller.network.settings

    @property
    def observation_size(self) -> int:
        """Number of observation dimensions, D."""
        return len(self.controller.normaliser.mean)

    @property
    def action_size(self) -> int:
        """Number of action dimensions, A."""
        return len(self.action_low)

    def predict(
        self, observation, state: None = None, episode_start: None = None, deterministic: bool = True
    ) -> tuple[np.ndarray, None]:
        """Compute actions, with the signature of Stable-Baselines3; `state` and `episode_start` are ignored.

        Args:
            observation: (D,) or (N, D), as the task returns it (not normalised).
            deterministic: return the mean action; else a sample.

        Returns:
            The action, (A,) or (N, A) float32 within the task's bounds, and None.

        Raises:
            InputError: the observation has the wrong shape or is not finite, or the action is not.
        """
        del state, episode_start
        try:
            observation = np.asarray(observation, np.float32)
        except (TypeError, ValueError):
            raise InputError(f"an observation must be {self.observation_size} numbers") from None
        if observation.ndim not in (1, 2) or observation.shape[-1] != self.observation_size:
            raise InputError(
                f"an observation of '{self.task}' has {self.observation_size} numbers; got shape {observation.shape}"
            )
        if not np.isfinite(observation).all():
            raise InputError("the observation holds numbers that are not finite")
        noise = None
        if not deterministic:
            noise = self._generator.standard_normal((*observation.shape[:-1], self.action_size), np.float32)
        action = np.asarray(self._act(self.controller, observation, noise))
        # XLA takes the smallest float32 numbers, which a bound may be, for zero.
        action = np.clip(action, self.action_low, self.action_high)
        if not np.isfinite(action).all():
            raise InputError(f"the action of the policy of '{self.task}' is not finite; its weights are too large")
        return action, None

    @functools.cached_property
    def _generator(self) -> np.random.Generator:
        return np.random.default_rng()

    @functools.cached_property
    def _act(self):
        def act(controller: Controller, observation: jax.Array, noise: jax.Array | None) -> jax.Array:
            return to_bounds(controller.action(observation, noise), self.action_low, self.action_high)

        return jax.jit(act)


def action_scale(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre and half the range of actions, (A,) float32 each; 0 and 1 where a bound is infinite."""
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -1), np.where(bounded, high, 1)
    return np.asarray((high + low) / 2, np.float32), np.asarray((high - low) / 2, np.float32)


def to_bounds(sample: jax.Array, low: np.ndarray, high: np.ndarray) -> jax.Array:
    """Map actions (..., A) from units in which the bounds are -1 and 1 to the task's units, and clip them.

    Values without finite bounds are unchanged.
    """
    centre, half = action_scale(low, high)
    return jnp.clip(centre + half * sample, low, high)


def new_policy(
    key: jax.Array,
    task: str,
    observation_size: int,
    action_low: np.ndarray,
    action_high: np.ndarray,
    settings: PolicySettings,
    task_options: dict[str, Any] | None = None,
) -> Policy:
    """Create an untrained policy."""
    network = init_actor_critic(key, observation_size, len(action_low), settings)
    controller = Controller(network, init_normaliser(observation_size))
    return Policy(task, action_low, action_high, controller, task_options or {})
