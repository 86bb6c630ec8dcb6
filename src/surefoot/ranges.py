"""Ranges of values that a sweep searches."""

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Range:
    """Values that a setting may take in a sweep.

    Attributes:
        kind: uniform: a number between `low` and `high`; log: the same with a uniform logarithm; integer: a whole
            number from `low` to `high`; choice: one of `values`.
        low: the smallest value.
        high: the largest value.
        values: the values of a choice.
    """

    kind: Literal["uniform", "log", "integer", "choice"]
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check against a setting's own limits: both ends, or all values of a choice."""
        return self.values if self.kind == "choice" else (self.low, self.high)

    def __contains__(self, value: Any) -> bool:
        if self.kind == "choice":
            return value in self.values
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (self.kind != "integer" or value == int(value))

    def __str__(self) -> str:
        if self.kind == "choice":
            return ", ".join(map(str, self.values))
        return f"{self.low:g} to {self.high:g}" + {"log": ", logarithmic", "integer": ", whole numbers"}.get(
            self.kind, ""
        )


def uniform(low: float, high: float) -> Range:
    """A number between two others."""
    return Range("uniform", low, high)


def log(low: float, high: float) -> Range:
    """A number between two others, with a uniform logarithm."""
    return Range("log", low, high)


def integer(low: int, high: int) -> Range:
    """A whole number from one to another."""
    return Range("integer", low, high)


def choice(*values: Any) -> Range:
    """One of several values."""
    return Range("choice", values=values)
