"""Adaptation of networks and statistics to another set of observation values."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from surefoot.policies.normaliser import Normaliser


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationMapping:
    """Index of each of D new observation values among D' earlier ones.

    Attributes:
        index: (D,) int; -1: the value is new, and has no influence at first.
        earlier_size: D'.
    """

    index: np.ndarray
    earlier_size: int

    @classmethod
    def by_name(cls, earlier: Sequence[str], present: Sequence[str]) -> "ObservationMapping":
        """Map values of the same name."""
        places = {name: place for place, name in enumerate(earlier)}
        return cls(np.array([places.get(name, -1) for name in present], int), len(earlier))

    @classmethod
    def by_position(cls, size: int) -> "ObservationMapping":
        """Map each of `size` values to itself."""
        return cls(np.arange(size), size)

    @property
    def new(self) -> np.ndarray:
        """(D,) bool, the values without an earlier one."""
        return self.index < 0

    @property
    def dropped(self) -> np.ndarray:
        """Indices of the earlier values that are not used any more."""
        return np.setdiff1d(np.arange(self.earlier_size), self.index)

    def first_weight(self, weight: np.ndarray) -> np.ndarray:
        """Map first-layer weights, (..., D' + K, O) to (..., D + K, O): zero for new values; the last K rows stay.

        Raises:
            ValueError: there are fewer than D' rows.
        """
        if weight.ndim < 2 or weight.shape[-2] < self.earlier_size:
            raise ValueError(f"weights {weight.shape} are not those of {self.earlier_size} values")
        observed = np.where(self.new[:, None], 0, weight[..., self.index, :]).astype(weight.dtype)
        return np.concatenate([observed, weight[..., self.earlier_size :, :]], axis=-2)

    def statistics(self, normaliser: Normaliser) -> Normaliser:
        """Map statistics. New values start with mean 0, variance 1 and count 0.

        With the other values' count, they would hardly change during the first millions of steps.
        """
        counts = jnp.broadcast_to(normaliser.count, normaliser.mean.shape)
        mean, variance, count = (
            jnp.where(self.new, initial, values[self.index])
            for values, initial in ((normaliser.mean, 0.0), (normaliser.variance, 1.0), (counts, 0.0))
        )
        return Normaliser(mean, variance, count[0] if bool((count == count[0]).all()) else count)
