"""The exceptions of Surefoot; each message is one line that says what to do next."""

import contextlib
import numbers
import traceback
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # '--help' must not load NumPy
    import numpy as np


_LONGEST_MESSAGE = 1000
_LONGEST_NAME = 200  # the time to compare names grows with the square of their length


class SurefootError(Exception):
    """Base class of all errors that Surefoot raises; the message is one line."""

    def __str__(self) -> str:
        # Messages quote names and files, which may contain line breaks and control characters.
        line = " ".join(super().__str__().split())
        line = line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 3] + "..."
        return "".join(c if c.isprintable() else "?" for c in line)


class InputError(SurefootError):
    """A wrong name, value or file. Exit status 2."""


class RunError(InputError):
    """A run folder is missing, damaged or in use, or has other settings."""


class FolderLostError(SurefootError):
    """The folder of a run was deleted or moved while it trained."""


class PolicyFileError(InputError):
    """A policy file is damaged, of another version, or does not fit the task."""


class EngineError(SurefootError):
    """A simulator failed.

    Attributes:
        details: traceback of the worker process, or "".
    """

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class NonFiniteError(SurefootError):
    """A loss, an observation or a physics state became infinite or not a number.

    Attributes:
        arrays: the arrays with the numbers that are not finite, by name.
        ahead: environment steps since the iteration began.
    """

    def __init__(self, message: str, arrays: "dict[str, np.ndarray] | None" = None, ahead: int = 0):
        super().__init__(message)
        self.arrays = arrays or {}
        self.ahead = ahead


@contextlib.contextmanager
def foreign_code(subject: str) -> Iterator[None]:
    """Turn an exception of a user's code into an EngineError: `subject`, the exception in one line, its traceback."""
    try:
        yield
    except (SurefootError, KeyboardInterrupt):
        raise
    except BaseException as error:  # includes SystemExit, and panics of extensions in Rust
        raise EngineError(f"{subject}: {one_line(error)}", traceback.format_exc()) from error


def one_line(error: BaseException) -> str:
    """Return the type and the message of an exception."""
    message, kind = message_of(error), type(error).__name__
    return kind if message == kind else f"{kind}: {message}"


def message_of(error: BaseException) -> str:
    """Return the message of an exception in one line, or its type if it has none."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # of a user's exception class
        message = ""
    return message or type(error).__name__


def check_range(name: str, value: float, least: float, most: float, whole: bool = False) -> None:
    """Raise an `InputError` if a value is not a number, or a whole number, from `least` to `most`."""
    if not isinstance(value, numbers.Integral if whole else numbers.Real):
        kind = "whole number" if whole else "number"
        raise InputError(f"{name} = {value!r:.60}: choose a {kind} from {least:,} to {most:,}")
    if not least <= value <= most:  # also for NaN
        raise InputError(f"{name} = {value}: choose {least:,} to {most:,}")


def nearest(name: str, options: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` of `options` with the spelling closest to `name`, best first."""
    by_lower = {option.lower(): option for option in options}
    return [by_lower[match] for match in get_close_matches(name[:_LONGEST_NAME].lower(), by_lower, n=n, cutoff=0.5)]


def suggestion(name: str, options: Iterable[str], longest: int = 200, command: str = "") -> str:
    """Return the end of an error message: the nearest valid names, else all names in up to `longest` characters.

    If there are more, it names the `command` that lists them.
    """
    options = sorted(options)
    close = nearest(name, options)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    listed = ", ".join(options)
    if len(listed) > longest:
        if command:
            return f"; '{command}' shows all names"
        shown = listed[:longest].rpartition(", ")[0]
        return f"; choose from {shown} and {len(options) - shown.count(', ') - 1:,} more" if shown else ""
    return "; choose from " + listed if options else ""


def alternatives(name: str, options: Iterable[str]) -> str:
    """Return the end of an error message: the nearest valid name, and all of them; "" if there are none."""
    options = sorted(options)
    close = nearest(name, options, 1)
    start = f"; did you mean '{close[0]}'? Choose from " if close else "; choose from "
    return start + ", ".join(options) if options else ""
