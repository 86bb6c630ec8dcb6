"""What can go wrong, said in one line that tells the person what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches

import numpy as np


class SurefootError(Exception):
    """Base of every error that Surefoot raises on purpose; its message is one line."""


class InputError(SurefootError):
    """The caller asked for something that cannot be: a wrong name, value or file. Exit status 2."""


class RunError(InputError):
    """A run folder is missing, damaged, in use, or does not fit."""


class PolicyFileError(InputError):
    """A policy file is not one, is damaged, or is of another version or shape."""


class EngineError(SurefootError):
    """A simulator failed while it ran.

    Attributes:
        details: the failing worker's own traceback, several lines, or "".
    """

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class NonFiniteError(SurefootError):
    """A loss, an observation or a physics state became infinite or not a number.

    Attributes:
        arrays: what it was found in, by name.
    """

    def __init__(self, message: str, arrays: dict[str, np.ndarray] | None = None):
        super().__init__(message)
        self.arrays = arrays or {}


def nearest(name: str, options: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` of `options` that are spelt most like `name`, best first."""
    by_lower = {option.lower(): option for option in options}
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=n, cutoff=0.5)]


def suggestion(name: str, options: Iterable[str]) -> str:
    """Return the end of an error message: the nearest valid names, or all of them when none is near."""
    options = sorted(options)
    close = nearest(name, options)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "; choose from " + ", ".join(options) if options else ""
