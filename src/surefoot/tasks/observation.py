"""Parts of an observation: the name of each value and its change when left and right are exchanged.

A task lists the parts of its observation; names and mirror image (`tasks.symmetry`) follow from them. The mirror
is the plane of x (forward) and z (up). A polar vector, such as a velocity, changes the sign of y; an axial one, such as
an angular velocity, those of x and z.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

AXES = ("x", "y", "z")
POLAR, AXIAL = (1, -1, 1), (-1, 1, -1)


class Part(NamedTuple):
    """Neighbouring values of an observation.

    Attributes:
        names: of the values.
        signs: 1, or -1 for a value whose sign the mirror changes (besides its joint's own sign).
        owners: the joint, foot or body of each value; the mirror exchanges it with its partner. Empty, or "": none.
        images: index, within the part, of each value's mirror image, if there are no owners. Empty: each its own image.
    """

    names: tuple[str, ...]
    signs: tuple[int, ...]
    owners: tuple[str, ...] = ()
    images: tuple[int, ...] = ()


def scalars(*names: str) -> Part:
    """Values that the mirror does not change, such as a height."""
    return Part(names, (1,) * len(names))


def sideways(*names: str) -> Part:
    """Values whose sign the mirror changes, such as a command to the left."""
    return Part(names, (-1,) * len(names))


def polar(template: str) -> Part:
    """Components x, y, z of a polar vector: position, velocity, force; `template` has {} for the axis."""
    return Part(tuple(map(template.format, AXES)), POLAR)


def axial(template: str) -> Part:
    """Components x, y, z of an axial vector: angular velocity, torque; `template` has {} for the axis."""
    return Part(tuple(map(template.format, AXES)), AXIAL)


def quaternion(template: str) -> Part:
    """Components w, x, y, z of an orientation; the last three are an axial vector."""
    return Part(tuple(map(template.format, "wxyz")), (1, *AXIAL))


def per_joint(template: str, joints: Iterable[str]) -> Part:
    """One value for each joint, which changes sign as the joint does; `template` has {} for the joint's name."""
    owners = tuple(joints)
    return Part(tuple(map(template.format, owners)), (1,) * len(owners), owners)


def per_foot(template: str, feet: Iterable[str]) -> Part:
    """One value for each foot, such as its contact; `template` has {} for the foot's name."""
    return per_joint(template, feet)


def at_points(template: str, points: Sequence[tuple[float, float]] | np.ndarray) -> Part:
    """One value for each point (x, y) around the body, such as the terrain's height; `template` is given x and y.

    Raises:
        ValueError: a point (x, y) has no partner (x, -y).
    """
    points = np.asarray(points, float).reshape(-1, 2)
    distance = np.abs(points[:, None] * [1, -1] - points).max(2)
    if (distance.min(1) > 1e-9).any():
        raise ValueError("points (x, y) and (x, -y) must come in pairs")
    names = tuple(template.format(x, y) for x, y in points)
    return Part(names, (1,) * len(points), images=tuple(distance.argmin(1).tolist()))
