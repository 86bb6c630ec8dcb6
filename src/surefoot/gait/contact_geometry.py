"""How high feet are above the ground: geometry of MuJoCo's shapes, for T samples at once."""

import mujoco
import numpy as np

_SHAPES = mujoco.mjtGeom
_LEVEL = 0.999999  # the cosine of a tilt that does not count


def lowest_points(kind: int, size: np.ndarray, centre: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return where and how high the lowest point of a geom is, (T, 3).

    Args:
        kind: an mjtGeom; of a kind not known here the height is NaN.
        size: (3,) as MuJoCo keeps it.
        centre: (T, 3).
        turn: (T, 9), rotation matrices row by row.

    A long shape's lowest point lies at its lower end; for other shapes x and y are those of the centre.
    """
    shape = _SHAPES(int(kind))
    down = np.abs(turn[:, 6:])
    point = np.array(centre, float)
    if shape == _SHAPES.mjGEOM_SPHERE:
        reach = size[0]
    elif shape in (_SHAPES.mjGEOM_CAPSULE, _SHAPES.mjGEOM_CYLINDER):
        axis = turn[:, [2, 5, 8]]
        point -= axis * size[1] * np.where(axis[:, 2:] < 0, -1.0, 1.0)
        flat = np.sqrt(np.maximum(0.0, 1 - down[:, 2] ** 2))
        reach = size[0] if shape == _SHAPES.mjGEOM_CAPSULE else size[0] * flat
    elif shape == _SHAPES.mjGEOM_BOX:
        reach = down @ size
    elif shape == _SHAPES.mjGEOM_ELLIPSOID:
        reach = np.linalg.norm(down * size, axis=1)
    else:
        reach = np.nan
    point[:, 2] -= reach
    return point


def ground_heights(
    kinds: np.ndarray, sizes: np.ndarray, centres: np.ndarray, turns: np.ndarray, place: np.ndarray
) -> np.ndarray:
    """Return how high the ground is at places (T, 2): the highest of the geoms (G, ...) it consists of.

    NaN everywhere if one of them is no level plane and no box that stands straight, or where nothing is below.
    """
    height = np.full(len(place), -np.inf)
    for kind, size, centre, turn in zip(kinds, sizes, centres, turns, strict=True):
        shape = _SHAPES(int(kind))
        if shape == _SHAPES.mjGEOM_PLANE and turn[8] > _LEVEL:
            height = np.maximum(height, centre[2])
        elif shape == _SHAPES.mjGEOM_BOX and turn[0] > _LEVEL and turn[8] > _LEVEL:
            above = (np.abs(place - centre[:2]) <= size[:2]).all(axis=1)
            height = np.where(above, np.maximum(height, centre[2] + size[2]), height)
        else:
            return np.full(len(place), np.nan)
    return np.where(np.isfinite(height), height, np.nan)
