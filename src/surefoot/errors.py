"""What can go wrong, said in one line that tells the person what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line answers '--help' before NumPy is loaded
    import numpy as np


_LONGEST_LIST = 160  # characters, so that a message fits on two lines of a terminal
_LONGEST_NAME = 200  # comparing names takes time with the square of their length


class SurefootError(Exception):
    """Base of every error that Surefoot raises on purpose; its message is one line."""

    def __str__(self) -> str:
        # Messages quote names and files, which may hold line breaks and whatever moves a terminal's cursor.
        line = " ".join(super().__str__().split())
        return "".join(c if c.isprintable() else "?" for c in line)


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

    def __init__(self, message: str, arrays: "dict[str, np.ndarray] | None" = None):
        super().__init__(message)
        self.arrays = arrays or {}


def nearest(name: str, options: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` of `options` that are spelt most like `name`, best first."""
    by_lower = {option.lower(): option for option in options}
    return [by_lower[match] for match in get_close_matches(name[:_LONGEST_NAME].lower(), by_lower, n=n, cutoff=0.5)]


def suggestion(name: str, options: Iterable[str]) -> str:
    """Return the end of an error message: the nearest valid names, or else all of them, or where they are listed."""
    options = sorted(options)
    close = nearest(name, options)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    listed = ", ".join(options)
    if len(listed) > _LONGEST_LIST:
        return "; 'surefoot list' and 'surefoot train --settings' show all names"
    return "; choose from " + listed if options else ""
