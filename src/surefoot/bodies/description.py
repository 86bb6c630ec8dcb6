"""TOML description of a body: names and gains that replace detected ones."""

from pathlib import Path

from pydantic import Field

from surefoot.errors import InputError
from surefoot.files import parse_toml
from surefoot.settings import Settings, validate

_LARGEST_FILE = 100_000  # bytes; a description takes a few hundred
_MOST_GAIN = 1e6

Pair = tuple[str, str]


class BodyDescription(Settings):
    """Description of a body, by names of its model. Optional fields are detected if left out."""

    model: str
    """Model file in the same folder or below, or menagerie:NAME."""
    name: str | None = None
    """Label in figures and tables; by default the model's own name."""
    trunk: str | None = None
    """MuJoCo body (URDF: link) that represents the whole robot."""
    joints: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Joints that actions move, in this order. Other actuated joints are held in the standing pose."""
    feet: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Geoms, or bodies with all their geoms, that are meant to touch the ground."""
    joint_pairs: tuple[Pair, ...] | None = None
    """[left, right] joints that a mirror exchanges; [] for none."""
    foot_pairs: tuple[Pair, ...] | None = None
    """[left, right] feet that a mirror exchanges, by the names in `feet`."""
    pose: dict[str, float] | None = None
    """Joint positions of the standing pose, rad (m for slides); 0 for joints that are not named."""
    kp: float | dict[str, float] | None = None
    """Stiffness of the servos, N m / rad: one number, or one per joint."""
    kd: float | dict[str, float] | None = None
    """Damping of the servos, N m s / rad: one number, or one per joint."""
    speed_limit: float | None = Field(default=None, gt=0)
    """No-load speed of the motors, rad/s."""


def read_description(path: Path) -> BodyDescription:
    """Read a description from a TOML file.

    Raises:
        InputError: the file cannot be read or is not a description.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"body '{path}' is too large for a description of a body")
        data = parse_toml(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"body '{path}' cannot be read: {error}") from None
    description = validate(BodyDescription, data, f"body '{path}'")
    for gain in (description.kp, description.kd):
        values = gain.values() if isinstance(gain, dict) else [gain]
        if any(value is not None and not 0 <= value <= _MOST_GAIN for value in values):
            raise InputError(f"body '{path}': kp and kd must be from 0 to {_MOST_GAIN:g}")
    return description


def model_beside(path: Path, model: str) -> Path:
    """Return the path of a description's model, which must lie in the description's folder or below.

    A description may come from an untrusted source. It must not reveal the text of other files through an error.

    Raises:
        InputError: the model lies elsewhere.
    """
    folder = path.parent.resolve()
    try:
        target = (folder / model).resolve()
    except (OSError, ValueError, RuntimeError):  # such as a null byte, or circular links
        target = None
    if target is None or not target.is_relative_to(folder):
        raise InputError(f"body '{path}': the model '{model}' must lie in the same folder or below")
    return target
