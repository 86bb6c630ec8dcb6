"""Checks of what a person gives as a task's options; each answers in one line."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from surefoot.errors import suggestion


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise ValueError unless `value` is one of a `Literal`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} is {value!r}; choose {' or '.join(get_args(choices))}")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be true or false")


def check_integer(name: str, value: Any, least: int, most: int) -> None:
    """Raise ValueError unless `value` is a whole number within both bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Raise ValueError unless `value` is a number within both bounds."""
    if not _is_number(value) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; it must be a number from {least:g} to {most:g}")


def check_numbers(name: str, value: Any, count: int, least: float, most: float) -> None:
    """Raise ValueError unless `value` is a sequence of `count` numbers within both bounds."""
    fits = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count
    if not fits or not all(_is_number(one) and least <= one <= most for one in value):
        raise ValueError(f"{name} is {value!r}; it must be {count} numbers from {least:g} to {most:g}")


def sorted_options(options: Mapping[str, Any], *kinds: type) -> list[Any]:
    """Make one of each dataclass from those of the options that are its fields; TypeError for one that is of none."""
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    for name in options:
        if name not in names:
            raise TypeError(f"there is no option '{name}'" + suggestion(name, names))
    return [
        kind(**{field.name: options[field.name] for field in dataclasses.fields(kind) if field.name in options})
        for kind in kinds
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
