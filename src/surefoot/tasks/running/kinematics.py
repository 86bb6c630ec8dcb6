"""Positions, velocities and accelerations of the runner's parts, exactly those of the coordinates.

MuJoCo's own values are computed before a physics step, and so lag behind the coordinates by one.

Each point of a planar chain is x = base + sum_k c_k cos(theta_k) + s_k sin(theta_k), with the angle theta_k of each
segment in the plane and constant vectors c_k and s_k, which are found from the model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from surefoot.bodies.runner import COORDINATE_INDICES, COORDINATES

# Angle of a segment as a sum of coordinates: pelvis, then femur, tibia and foot of the right and of the left leg.
_SEGMENTS = (
    ("pelvis_tilt",),
    ("pelvis_tilt", "hip_r"),
    ("pelvis_tilt", "hip_r", "knee_r"),
    ("pelvis_tilt", "hip_r", "knee_r", "ankle_r"),
    ("pelvis_tilt", "hip_l"),
    ("pelvis_tilt", "hip_l", "knee_l"),
    ("pelvis_tilt", "hip_l", "knee_l", "ankle_l"),
)
SUMS = np.array([[float(name in segment) for segment in _SEGMENTS] for name in COORDINATES])
_BASE = [COORDINATES.index("pelvis_tx"), COORDINATES.index("pelvis_ty")]
_POSES, _TOLERANCE_M = 40, 1e-6


class Chain(NamedTuple):
    """Cosines and sines of the segments' angles, (N, 7) each, and the rates and accelerations of these angles."""

    cos: np.ndarray
    sin: np.ndarray
    rate: np.ndarray
    acceleration: np.ndarray | None


def chain(coordinates: np.ndarray, speeds: np.ndarray, accelerations: np.ndarray | None = None) -> Chain:
    """Return the segments' angles of coordinates, speeds and accelerations, (N, 9) each."""
    angle = coordinates @ SUMS
    return Chain(np.cos(angle), np.sin(angle), speeds @ SUMS, None if accelerations is None else accelerations @ SUMS)


class Points:
    """Motion of P points, each fixed to a segment, or of a centre of mass.

    Args:
        model: the runner.
        points: sites, or geoms by their numbers; None: the centre of mass of the whole body.

    Raises:
        ValueError: the model is no planar chain of the known segments.
    """

    def __init__(self, model: mujoco.MjModel, points: Sequence[str] | Sequence[int] | None) -> None:
        random = np.random.default_rng(0)
        coordinates = random.uniform(-1, 1, (_POSES, len(COORDINATES)))
        data = mujoco.MjData(model)
        found = []
        for pose in coordinates:
            data.qpos[COORDINATE_INDICES] = pose
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            pelvis = model.body("pelvis").id
            if points is None:
                places = data.subtree_com[[pelvis]]
            else:
                places = [data.site(p).xpos if isinstance(p, str) else data.geom_xpos[p] for p in points]
            found.append(np.asarray(places)[:, [0, 2]].ravel())
        self._count = len(found[0]) // 2
        segments = chain(coordinates, coordinates)
        terms = np.concatenate([segments.cos, segments.sin], axis=1)
        away = np.array(found) - np.tile(coordinates[:, _BASE], self._count)
        self._weights = np.linalg.lstsq(terms, away, rcond=None)[0]
        if np.abs(terms @ self._weights - away).max() > _TOLERANCE_M:
            raise ValueError("the runner's model is not a planar chain of seven segments")

    def positions(self, coordinates: np.ndarray, chain: Chain) -> np.ndarray:
        """Return x and y of each point, (N, 2 P) m."""
        return self._sum(coordinates, chain.cos, chain.sin)

    def velocities(self, speeds: np.ndarray, chain: Chain) -> np.ndarray:
        """Return the velocity of each point, (N, 2 P) m/s."""
        return self._sum(speeds, -chain.sin * chain.rate, chain.cos * chain.rate)

    def accelerations(self, accelerations: np.ndarray, chain: Chain) -> np.ndarray:
        """Return the acceleration of each point, (N, 2 P) m/s^2."""
        assert chain.acceleration is not None
        square = chain.rate**2
        cos = -chain.sin * chain.acceleration - chain.cos * square
        sin = chain.cos * chain.acceleration - chain.sin * square
        return self._sum(accelerations, cos, sin)

    def _sum(self, base: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
        away = np.concatenate([cos, sin], axis=1) @ self._weights
        return np.tile(base[:, _BASE], self._count) + away
