"""Heights of feet above the ground from MuJoCo geoms, vectorised over T samples."""

import mujoco
import numpy as np

_SHAPES = mujoco.mjtGeom
_LEVEL = 0.999999  # minimum cosine of the tilt of a surface that counts as level


def lowest_points(kind: int, size: np.ndarray, centre: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return the lowest point of a geom, (T, 3).

    Args:
        kind: an mjtGeom; the height is NaN for meshes and other unsupported types.
        size: (3,), MuJoCo's `geom_size`.
        centre: (T, 3).
        rotation: (T, 9), rotation matrices in row-major order.

    For capsules and cylinders the point lies at the lower end; for other shapes x and y are those of the centre.
    """
    shape = _SHAPES(int(kind))
    down = np.abs(rotation[:, 6:])
    point = np.array(centre, float)
    if shape == _SHAPES.mjGEOM_SPHERE:
        reach = size[0]
    elif shape in (_SHAPES.mjGEOM_CAPSULE, _SHAPES.mjGEOM_CYLINDER):
        axis = rotation[:, [2, 5, 8]]
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
    kinds: np.ndarray, sizes: np.ndarray, centres: np.ndarray, rotations: np.ndarray, position: np.ndarray
) -> np.ndarray:
    """Return the ground height at positions (T, 2): the top of the highest of the ground's G geoms.

    Supports level planes and axis-aligned boxes. If the ground has another geom, all heights are NaN; so are those of
    positions without ground.
    """
    height = np.full(len(position), -np.inf)
    for kind, size, centre, rotation in zip(kinds, sizes, centres, rotations, strict=True):
        shape = _SHAPES(int(kind))
        if shape == _SHAPES.mjGEOM_PLANE and rotation[8] > _LEVEL:
            height = np.maximum(height, centre[2])
        elif shape == _SHAPES.mjGEOM_BOX and rotation[0] > _LEVEL and rotation[8] > _LEVEL:
            inside = (np.abs(position - centre[:2]) <= size[:2]).all(axis=1)
            height = np.where(inside, np.maximum(height, centre[2] + size[2]), height)
        else:
            return np.full(len(position), np.nan)
    return np.where(np.isfinite(height), height, np.nan)
