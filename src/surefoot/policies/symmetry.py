"""The mirror image of what is observed and done, for bodies whose left and right are alike."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Mirror(NamedTuple):
    """A symmetry: value i of a mirrored vector is value `index[i]` of the vector, times `sign[i]`, plus `offset[i]`.

    Attributes:
        observation_index: (D,) int.
        observation_sign: (D,) float32, 1 or -1.
        observation_offset: (D,) float32, where left and right count from other zeros.
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

    def undoes_itself(self) -> bool:
        """Tell whether the mirror image of a mirror image is the thing itself, to the rounding of the offsets."""
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

    def both(self, x: jax.Array) -> jax.Array:
        """Return observations (..., D) and their mirror images side by side, (..., 2, D)."""
        return jnp.stack([x, self.observation(x)], axis=-2)

    def agreed(self, mean: jax.Array, log_std: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Average what a network answers to an observation and, mirrored back, to its image.

        mean(o) = (net(o) + M net(M o)) / 2, so that mean(M o) = M mean(o), whatever the network. Logarithms of
        deviations, which have no sign, are averaged likewise: the deviation is the geometric mean.

        Args:
            mean: (..., 2, A), the answers to what `both` returned.
            log_std: (A,), the same for all observations, or (..., 2, A).

        Returns:
            The mean (..., A), and the log standard deviation, (A,) or (..., A).
        """
        own, other = (log_std, log_std) if log_std.ndim == 1 else (log_std[..., 0, :], log_std[..., 1, :])
        agreed_mean = (mean[..., 0, :] + self.action(mean[..., 1, :])) / 2
        return agreed_mean, (own + other[..., self.action_index]) / 2
