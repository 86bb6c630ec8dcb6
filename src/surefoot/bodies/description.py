"""What a person states of a body in a TOML file, so that it need not be found."""

import tomllib
from pathlib import Path

from pydantic import Field

from surefoot.errors import InputError
from surefoot.settings import Settings, validate

_LARGEST_FILE = 1_000_000  # bytes; a description takes a few hundred
_MOST_GAIN = 1e6

Pair = tuple[str, str]


class BodyDescription(Settings):
    """A body's description; all but `model` may be left out and is then found. Names are those of the model."""

    model: str
    """The model: a file beside or below this one, or menagerie:NAME."""
    name: str | None = None
    """What figures and tables call the body; else the model's own name."""
    trunk: str | None = None
    """The MuJoCo body (URDF: link) whose movement is that of the whole."""
    joints: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The joints that actions move, in this order; other driven joints are held where they stand."""
    feet: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Geoms, or bodies with all their geoms, that are meant to touch the ground."""
    joint_pairs: tuple[Pair, ...] | None = None
    """[left, right] joints that change places in a mirror; [] for none."""
    foot_pairs: tuple[Pair, ...] | None = None
    """[left, right] names of feet, as `feet` has them."""
    pose: dict[str, float] | None = None
    """Angles (rad) or places (m) of joints when it stands; those not named are at zero."""
    kp: float | dict[str, float] | None = None
    """Stiffness of the servos, N m / rad: of all, or by joint."""
    kd: float | dict[str, float] | None = None
    """Damping of the servos, N m s / rad: of all, or by joint."""


def read_stated(path: Path) -> BodyDescription:
    """Return what a TOML file states.

    Raises:
        InputError: it is no such file, or names a model outside its own folder.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"body '{path}' is too large for a description of a body")
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"body '{path}' cannot be read: {error}") from None
    stated = validate(BodyDescription, data, f"body '{path}'")
    for gain in (stated.kp, stated.kd):
        values = gain.values() if isinstance(gain, dict) else [gain]
        if any(value is not None and not 0 <= value <= _MOST_GAIN for value in values):
            raise InputError(f"body '{path}': kp and kd must be from 0 to {_MOST_GAIN:g}")
    return stated


def model_beside(path: Path, model: str) -> Path:
    """Return the file that a description names, which must lie in the description's folder or below.

    A description may come from a stranger; so it cannot have other files opened, and their text shown in an error.

    Raises:
        InputError: it lies elsewhere.
    """
    folder = path.parent.resolve()
    try:
        found = (folder / model).resolve()
    except (OSError, ValueError, RuntimeError):  # a zero in its name, or links in a ring
        found = None
    if found is None or not found.is_relative_to(folder):
        raise InputError(f"body '{path}': the model '{model}' must lie in the same folder or below")
    return found
