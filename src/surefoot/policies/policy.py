"""The policy: what a trained body needs in order to act, in one object."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.errors import InputError
from surefoot.policies.networks import (
    Parameters,
    PolicySettings,
    action_distribution,
    features,
    init_actor_critic,
    sampled_action,
)
from surefoot.policies.normaliser import Normaliser, init_normaliser, normalise
from surefoot.policies.symmetry import Mirror


class Policy:
    """Observation normaliser, actor and action bounds.

    Attributes:
        task: the task's name.
        task_options: keyword arguments of the task.
        observation_size: D.
        action_low: (A,) float32, the task's lower bounds.
        action_high: (A,) float32, the task's upper bounds.
        settings: the shape of the networks.
        parameters: the networks' arrays.
        normaliser: the observations' statistics.
        origin: where it comes from, for people: algorithm, seed, steps, versions.
        mirror: the symmetry of an actor that is equivariant, else None; see `prepare`.
    """

    def __init__(
        self,
        task: str,
        observation_size: int,
        action_low: np.ndarray,
        action_high: np.ndarray,
        settings: PolicySettings,
        parameters: Parameters,
        normaliser: Normaliser,
        task_options: dict[str, Any] | None = None,
        origin: dict[str, Any] | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.task = task
        self.task_options = task_options or {}
        self.observation_size = observation_size
        self.action_low = np.asarray(action_low, np.float32)
        self.action_high = np.asarray(action_high, np.float32)
        self.settings = settings
        self.parameters = parameters
        self.normaliser = normaliser
        self.origin = origin or {}
        self.mirror = mirror

    @property
    def action_size(self) -> int:
        """The number of action values, A."""
        return len(self.action_low)

    def predict(
        self, observation, state: None = None, episode_start: None = None, deterministic: bool = True
    ) -> tuple[np.ndarray, None]:
        """Answer observations with actions, in the form Stable-Baselines3 users know.

        Args:
            observation: (D,) or (N, D), as the task gives it (not normalised).
            state: for recurrent policies elsewhere; not used.
            episode_start: likewise.
            deterministic: the mean action; else a sample of the Gaussian.

        Returns:
            The action, (A,) or (N, A) float32 within the task's bounds, and None.

        Raises:
            InputError: the observation has another shape, or is not made of finite numbers.
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
        return np.array(self._act(self.parameters, self.normaliser, observation, noise)), None

    @functools.cached_property
    def _generator(self) -> np.random.Generator:
        return np.random.default_rng()

    @functools.cached_property
    def _act(self):
        return jax.jit(functools.partial(act, self.settings, self.action_low, self.action_high, mirror=self.mirror))


def act(
    settings: PolicySettings,
    action_low: np.ndarray,
    action_high: np.ndarray,
    parameters: Parameters,
    normaliser: Normaliser,
    observation: jax.Array,
    noise: jax.Array | None,
    mirror: Mirror | None = None,
) -> jax.Array:
    """Answer raw observations (..., D) with actions (..., A) in the task's units.

    `noise` None gives the mean; a mirror makes the answer equivariant.
    """
    feature = features(parameters, prepare(settings, normaliser, observation, mirror), settings)
    mean, log_std = action_distribution(parameters, feature, settings, mirror=mirror)
    return to_bounds(sampled_action(mean, log_std, noise, settings), action_low, action_high)


def prepare(
    settings: PolicySettings, normaliser: Normaliser, observation: jax.Array, mirror: Mirror | None = None
) -> jax.Array:
    """Normalise observations (..., D) if the settings ask for it; with a mirror, them and their images, (..., 2, D).

    It is the raw observation that is mirrored. Then an equivariant actor is so exactly, whatever the statistics, and
    also where normalised values are clipped; it costs one more normalisation a call. Symmetric statistics would do as
    well, but would have to be kept so wherever statistics are merged, taken over from another run, or read.
    """
    if mirror is not None:
        observation = mirror.both(observation)
    if not settings.normalise_observations:
        return observation
    return normalise(normaliser, observation, settings.observation_clip)


def to_bounds(sample: jax.Array, low: np.ndarray, high: np.ndarray) -> jax.Array:
    """Map (..., A) from units in which the bounds are -1 and 1 into the task's own, clipped to them.

    A value without finite bounds is passed through.
    """
    bounded = np.isfinite(low) & np.isfinite(high)
    centre = np.where(bounded, (np.where(bounded, high, 0) + np.where(bounded, low, 0)) / 2, 0).astype(np.float32)
    half = np.where(bounded, (np.where(bounded, high, 1) - np.where(bounded, low, -1)) / 2, 1).astype(np.float32)
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
    """Make an untrained policy."""
    return Policy(
        task,
        observation_size,
        action_low,
        action_high,
        settings,
        init_actor_critic(key, observation_size, len(action_low), settings),
        init_normaliser(observation_size),
        task_options,
    )
