"""Networks and statistics that were made for some observation values, rearranged for others."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from surefoot.policies.normaliser import Normaliser


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """Which of D' earlier observation values each of D present ones is.

    Attributes:
        index: (D,) int; -1 is a new value, on which nothing hangs at first.
        earlier_size: D'.
    """

    index: np.ndarray
    earlier_size: int

    @classmethod
    def by_name(cls, earlier: Sequence[str], present: Sequence[str]) -> "Columns":
        """Find each name of `present` among those of `earlier`."""
        places = {name: place for place, name in enumerate(earlier)}
        return cls(np.array([places.get(name, -1) for name in present], int), len(earlier))

    @classmethod
    def by_position(cls, size: int) -> "Columns":
        """Leave all `size` values as they are."""
        return cls(np.arange(size), size)

    @property
    def new(self) -> np.ndarray:
        """(D,) bool, the values that there were not."""
        return self.index < 0

    @property
    def dropped(self) -> np.ndarray:
        """The earlier values that there are no more, as places among the D'."""
        return np.setdiff1d(np.arange(self.earlier_size), self.index)

    def rows(self, weight: np.ndarray) -> np.ndarray:
        """Rearrange weights (..., D' + K, O) into (..., D + K, O), zero for new values; the K last rows stay.

        Raises:
            ValueError: there are fewer than D' rows.
        """
        if weight.ndim < 2 or weight.shape[-2] < self.earlier_size:
            raise ValueError(f"weights {weight.shape} are not those of {self.earlier_size} values")
        observed = np.where(self.new[:, None], 0, weight[..., self.index, :]).astype(weight.dtype)
        return np.concatenate([observed, weight[..., self.earlier_size :, :]], axis=-2)

    def statistics(self, normaliser: Normaliser) -> Normaliser:
        """Rearrange statistics. New values start with mean 0, variance 1 and no observation.

        Were they counted as often as the others, the first millions of steps would hardly move their statistics.
        """
        counts = jnp.broadcast_to(normaliser.count, normaliser.mean.shape)
        mean, variance, count = (
            jnp.where(self.new, fill, values[self.index])
            for values, fill in ((normaliser.mean, 0.0), (normaliser.variance, 1.0), (counts, 0.0))
        )
        return Normaliser(mean, variance, count[0] if bool((count == count[0]).all()) else count)
