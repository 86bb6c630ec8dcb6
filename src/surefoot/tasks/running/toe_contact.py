"""OpenSim's loss of the toes' contact, imitated in MuJoCo.

A foot touches the floor with a sphere at the heel and one at the toes. A sphere that rises faster than 0.444 m/s while
still in contact has no force: the factor 1 + 1.5 c v of the law of Hunt and Crossley is negative. Simbody's function
for that force then returns (`HuntCrossleyForceImpl::calcForce`, since 2013), so that the spheres of the same force that
come later have none, either. In the runner's feet these are the toes.
"""

import mujoco
import numpy as np

from surefoot.bodies.runner import LEGS
from surefoot.tasks.running.kinematics import Points, chain
from surefoot.tasks.task import State

FIELD = "geom_size"
_DISSIPATION = 1.5  # s/m, of the contest's model
_FASTEST_M_S = 1 / (1.5 * _DISSIPATION)
_NOWHERE_M = -1.0  # a sphere of this radius touches nothing


class ToeContact:
    """Takes the toes of N runners out of contact while their heels rise fast; needs the model's array `FIELD`."""

    def __init__(self, model: mujoco.MjModel) -> None:
        heels = [model.geom(f"heel_{leg}").id for leg in LEGS]
        self._toes = [model.geom(f"toe_{leg}").id for leg in LEGS]
        self._heels = Points(model, heels)
        self._radius = model.geom_size[heels[0], 0]

    def update(self, state: State, coordinates: np.ndarray, speeds: np.ndarray) -> None:
        """Choose the toes' contact for the next physics step, by the coordinates and speeds (N, 9) at its start."""
        segments = chain(coordinates, speeds)
        height = self._heels.positions(coordinates, segments)[:, 1::2]
        rise = self._heels.velocities(speeds, segments)[:, 1::2]
        lost = (height < self._radius) & (rise > _FASTEST_M_S)
        state[FIELD][:, self._toes, 0] = np.where(lost, _NOWHERE_M, self._radius)
