"""Left-right symmetry of a task: mirror images of observations and actions, and networks averaged over them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.policies.distributions import Distribution, Gaussian
from surefoot.policies.networks import ActorCritic


class Mirror(NamedTuple):
    """A symmetry: value i of a mirrored vector is value `index[i]` of the vector, times `sign[i]`, plus `offset[i]`.

    Attributes:
        observation_index: (D,) int.
        observation_sign: (D,) float32, 1 or -1.
        observation_offset: (D,) float32, not 0 if left and right are measured from different zeros.
        action_index: (A,) int.
        action_sign: (A,) float32, 1 or -1.
    """

    observation_index: np.ndarray
    observation_sign: np.ndarray
    observation_offset: np.ndarray
    action_index: np.ndarray
    action_sign: np.ndarray

    def observation(self, x: jax.Array) -> jax.Array:
        """Mirror observations (..., D)."""
        return x[..., self.observation_index] * self.observation_sign + self.observation_offset

    def action(self, x: jax.Array) -> jax.Array:
        """Mirror actions (..., A)."""
        return x[..., self.action_index] * self.action_sign

    def is_involution(self) -> bool:
        """Whether mirroring twice restores every vector, up to the rounding of the offsets."""
        parts = (
            (self.observation_index, self.observation_sign, self.observation_offset),
            (self.action_index, self.action_sign, np.zeros_like(self.action_sign)),
        )
        return all(
            np.array_equal(index[index], np.arange(len(index)))
            and np.array_equal(sign * sign[index], np.ones_like(sign))
            and np.allclose(offset, -sign * offset[index], atol=1e-6)
            for index, sign, offset in parts
        )

    def pairs(self, x: jax.Array) -> jax.Array:
        """Stack observations (..., D) and their mirror images, (..., 2, D)."""
        return jnp.stack([x, self.observation(x)], axis=-2)


class MirrorAveraged(NamedTuple):
    """A network averaged over an observation and its mirror image, so that its policy is symmetric.

    mean(o) = (net(o) + M net(M o)) / 2, hence mean(M o) = M mean(o) for any network. Log standard deviations are
    averaged likewise, without the signs. Its inputs are (..., 2, D), from `Mirror.pairs`.
    """

    network: ActorCritic
    mirror: Mirror

    def __call__(self, pairs: jax.Array) -> tuple[Gaussian, jax.Array]:
        """Return the action distribution, (..., A), and the value, (...,), of pairs (..., 2, D)."""
        distribution, value = self.network(pairs)
        return Gaussian(*self._average(distribution)), value.mean(-1)

    def distribution(self, pairs: jax.Array) -> Distribution:
        """Return the action distribution, (..., A), of pairs (..., 2, D)."""
        return self._average(self.network.distribution(pairs))

    def _average(self, distribution: Distribution) -> Distribution:
        mean, log_std = distribution
        own, other = (log_std, log_std) if log_std.ndim == 1 else (log_std[..., 0, :], log_std[..., 1, :])
        return type(distribution)(
            (mean[..., 0, :] + self.mirror.action(mean[..., 1, :])) / 2,
            (own + other[..., self.mirror.action_index]) / 2,
        )
