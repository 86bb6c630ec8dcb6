"""The mirror image of what is observed and done, for bodies whose left and right are alike."""

from typing import NamedTuple

import jax
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
