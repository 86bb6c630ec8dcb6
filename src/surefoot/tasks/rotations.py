"""Quaternions (w, x, y, z) of N bodies; `xp` is `numpy` or `jax.numpy`."""

from typing import Any

import numpy as np


def matrices(quat: Any, xp: Any) -> Any:
    """Return the rotation matrices (N, 3, 3) of quaternions (N, 4): from the body's axes to the world's."""
    w, x, y, z = (quat[:, i] for i in range(4))
    entries = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return xp.stack([xp.stack(row, axis=1) for row in entries], axis=1)


def to_body_frame(quat: Any, vector: Any, xp: Any) -> Any:
    """Return vectors (N, 3) of the world in the axes of bodies with orientations (N, 4)."""
    real, imaginary = quat[:, :1], -quat[:, 1:]
    twice = 2 * xp.cross(imaginary, vector)
    return vector + real * twice + xp.cross(imaginary, twice)


def yaw(quat: np.ndarray) -> np.ndarray:
    """Return the direction in which bodies face, (N,) rad from the world's x."""
    w, x, y, z = quat.T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def right_product_matrix(quat: np.ndarray) -> np.ndarray:
    """Return the (4, 4) matrix M with M q = q quat for every quaternion q."""
    w, x, y, z = quat
    return np.array([[w, -x, -y, -z], [x, w, z, -y], [y, -z, w, x], [z, y, -x, w]])
