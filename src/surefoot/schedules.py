"""Values that change over a training: learning rates, step sizes, noise."""

import math
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, model_serializer, model_validator

from surefoot.settings import Settings

# RSL-RL's bounds and factor for its KL-adaptive learning rate (rsl_rl/algorithms/ppo.py).
_SLOWEST, _FASTEST = 1e-5, 1e-2
_FACTOR = 1.5


class Schedule(Settings):
    """A value that is constant or goes from `start` to `end`; a bare number is a constant one.

    `schedule` makes a setting of this type.
    """

    kind: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """Form of the change: none, linear, half a cosine, or exponential."""
    start: float
    """Value at the start of the training."""
    end: float = Field(0.0, ge=0)
    """Value at `until` and after; not used by a constant."""
    until: float = Field(1.0, gt=0, le=1)
    """Fraction of the training at which `end` is reached."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        if isinstance(data, (dict, Schedule)):
            return data
        if isinstance(data, (int, float, str)) and not isinstance(data, bool):
            return {"start": data}
        raise ValueError("should be a number, or a table with kind, start, end and until")

    @model_validator(mode="after")
    def _check_reachable(self) -> Self:
        if self.kind == "exponential" and min(self.start, self.end) <= 0:
            raise ValueError("an exponential schedule needs a start and an end above 0")
        return self

    @model_serializer(mode="wrap")
    def _as_number(self, write: Any) -> Any:
        return self.start if self.kind == "constant" else write(self)

    def value(self, progress: Any) -> Any:
        """Value at `progress`, the fraction of the training that is done: a number, or an array of JAX."""
        if self.kind == "constant":
            return self.start
        xp = jnp if isinstance(progress, jax.Array) else np
        progress = xp.clip(progress / self.until, 0, 1)
        if self.kind == "exponential":
            return self.start * (self.end / self.start) ** progress
        weight = 0.5 * (1 - xp.cos(math.pi * progress)) if self.kind == "cosine" else progress
        return self.start + weight * (self.end - self.start)

    def __gt__(self, bound: float) -> bool:
        return self.start > bound

    def __ge__(self, bound: float) -> bool:
        return min(self._ends) >= bound

    def __le__(self, bound: float) -> bool:
        return max(self._ends) <= bound

    @property
    def _ends(self) -> tuple[float, ...]:
        return (self.start,) if self.kind == "constant" else (self.start, self.end)


schedule: Any = Field
"""A field of settings that holds a schedule; the bound `gt` is for the start, `ge` and `le` are for both ends."""


def adapted_to_kl(learning_rate: jax.Array, kl: jax.Array, desired: float) -> jax.Array:
    """Lower the rate if the policy moved more than twice as far as desired; raise it if less than half as far."""
    factor = jnp.where(kl > 2 * desired, 1 / _FACTOR, jnp.where(kl < 0.5 * desired, _FACTOR, 1.0))
    return jnp.clip(learning_rate * factor, _SLOWEST, _FASTEST)
