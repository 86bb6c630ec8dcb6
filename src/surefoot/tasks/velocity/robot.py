"""The simulated robot of the velocity task: model with ground and sensors, and access to its parts by name.

Heights are relative to the floor; the trunk's axes are x forward, y left, z up, as the robot stands.
"""

import mujoco
import numpy as np

from surefoot.bodies.robot import Robot
from surefoot.errors import InputError
from surefoot.packing import Layout
from surefoot.tasks import rotations
from surefoot.tasks.task import State
from surefoot.tasks.velocity.terrain import Terrain

_ACTION_S = 0.02
_SOFT_RANGE = 0.9


class RobotModel:
    """A robot compiled together with its ground and sensors.

    Attributes:
        record: sizes, gains and limits of the robot.
        model: MuJoCo model.
        frame_skip: physics steps per action, which lasts 20 ms.
        pose: (A,) joint angles of the standing pose.
        joint_range: (2, A) lower and upper limits, infinite for joints without limits.
        joint_qpos: columns of the joints in qpos.
        joint_qvel: columns of the joints in qvel.
        servos: columns of the joints' servos in ctrl.
        trunk_qvel: columns of the trunk's linear and angular velocity in qvel.
    """

    def __init__(self, robot: Robot, terrain: Terrain | None) -> None:
        body, spec = robot.body, robot.spec
        if terrain is not None:
            terrain.build(spec, robot.floor_m, *robot.collides_with)
        geoms = [geom for foot in body.feet for geom in foot.geoms]
        _add_sensors(spec, geoms, robot.knees)
        self.record = robot
        self.model = model = spec.compile()
        self.frame_skip = max(1, round(_ACTION_S / model.opt.timestep))
        joints = [model.joint(name) for name in body.joints]
        self.joint_qpos = _columns([joint.qposadr[0] for joint in joints])
        self.joint_qvel = _columns([joint.dofadr[0] for joint in joints])
        self.servos = _columns([model.actuator(name).id for name in body.joints])
        self.pose = robot.pose.qpos[self.joint_qpos].copy()
        ids = [joint.id for joint in joints]
        self.joint_range = np.where(model.jnt_limited[ids] > 0, model.jnt_range[ids].T, [[-np.inf], [np.inf]])
        root = model.joint(model.body(body.trunk).jntadr[0])
        q, v = int(root.qposadr[0]), int(root.dofadr[0])
        self._position, self._quat = slice(q, q + 3), slice(q + 3, q + 7)
        self.trunk_qvel = slice(v, v + 6)
        self._linear, self._angular = slice(v, v + 3), slice(v + 3, v + 6)
        self._sensors = Layout(
            foot_position=3 * len(geoms), foot_velocity=3 * len(geoms), knee=3 * len(robot.knees), contact=len(geoms)
        )
        counts = np.array([len(foot.geoms) for foot in body.feet])
        self._first_geom, self._geom_count = np.cumsum(counts) - counts, counts
        # The trunk's own frame may have any orientation while the robot stands level.
        standing = robot.pose.qpos[self._quat]
        self._level = None
        if not np.array_equal(standing, [1, 0, 0, 0]):
            self._level = rotations.right_product_matrix(standing * [1, -1, -1, -1]).T
            self._unlevel = rotations.right_product_matrix(standing).T
            self._axes = rotations.matrices(standing[None], np)[0].T

    def position(self, state: State) -> np.ndarray:
        """Return the trunk's position, (N, 3) m."""
        position = state["qpos"][:, self._position]
        return position - [0, 0, self.record.floor_m] if self.record.floor_m else position

    def orientation(self, state: State) -> np.ndarray:
        """Return the trunk's orientation, (N, 4) quaternions; (1, 0, 0, 0) stands level and faces along x."""
        quat = state["qpos"][:, self._quat]
        return quat if self._level is None else quat @ self._level

    def facing(self, state: State) -> np.ndarray:
        """Return the direction in which the trunk faces, (N,) rad from the world's x axis."""
        return rotations.yaw(self.orientation(state))

    def velocity(self, state: State) -> np.ndarray:
        """Return the trunk's linear velocity in the world frame, (N, 3) m/s."""
        return state["qvel"][:, self._linear]

    def angular_velocity(self, state: State) -> np.ndarray:
        """Return the trunk's angular velocity in its own frame, (N, 3) rad/s."""
        rate = state["qvel"][:, self._angular]
        return rate if self._level is None else rate @ self._axes

    def place(self, state: State, env_indices: np.ndarray, position: np.ndarray, facing: np.ndarray) -> None:
        """Put the robot in some environments level at `position` (K, 3), facing in the directions `facing` (K,)."""
        state["qpos"][env_indices] = self.record.pose.qpos
        state["qpos"][env_indices, self._position] = np.add(position, [0, 0, self.record.floor_m])
        quat = np.zeros((len(env_indices), 4))
        quat[:, 0], quat[:, 3] = np.cos(facing / 2), np.sin(facing / 2)
        state["qpos"][env_indices, self._quat] = quat if self._level is None else quat @ self._unlevel

    def foot_position(self, state: State) -> np.ndarray:
        """Return the centres of the feet, (N, F, 3) m."""
        return self._per_foot(state, "foot_position") - [0, 0, self.record.floor_m]

    def foot_velocity(self, state: State) -> np.ndarray:
        """Return the velocities of the feet in the world frame, (N, F, 3) m/s."""
        return self._per_foot(state, "foot_velocity")

    def foot_contact(self, state: State) -> np.ndarray:
        """Whether each foot touches anything, (N, F) bool."""
        contact = self._sensors.read(state["sensordata"], "contact") > 0
        return np.logical_or.reduceat(contact, self._first_geom, axis=1)

    def knee_position(self, state: State) -> np.ndarray:
        """Return the positions of the knees, (N, K, 3) m."""
        knees = self._sensors.read(state["sensordata"], "knee")
        return knees.reshape(len(knees), -1, 3) - [0, 0, self.record.floor_m]

    def _per_foot(self, state: State, name: str) -> np.ndarray:
        """Average a vector over the geoms of each foot."""
        values = self._sensors.read(state["sensordata"], name)
        values = values.reshape(len(values), -1, 3)
        if self._geom_count.max() == 1:
            return values
        return np.add.reduceat(values, self._first_geom, axis=1) / self._geom_count[:, None]

    def holding_targets(self) -> np.ndarray:
        """Return servo targets, (A,), that hold the standing pose with the weight shared equally by the feet."""
        model, robot = self.model, self.record
        data = mujoco.MjData(model)
        data.qpos[:] = robot.pose.qpos
        data.qpos[self._position] = 0, 0, 1
        mujoco.mj_forward(model, data)
        joints = np.arange(model.nv)[self.joint_qvel]
        mass = np.where(model.body_rootid == model.body(robot.body.trunk).id, model.body_mass, 0).sum()
        load = -mass * model.opt.gravity[2] / len(robot.body.feet)
        torque = data.qfrc_bias[joints].copy()
        for foot in robot.body.feet:
            for geom in (model.geom(name) for name in foot.geoms):
                jacobian = np.zeros((3, model.nv))
                mujoco.mj_jac(model, data, jacobian, None, data.geom_xpos[geom.id], geom.bodyid[0])
                torque -= load / len(foot.geoms) * jacobian[2, joints]
        torque = np.clip(torque, -robot.torque_limit, robot.torque_limit)
        return self.pose + torque / np.maximum(robot.stiffness, 1e-9)

    def soft_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the middle 90 % of the joints' ranges, two arrays (A,), as offsets from the standing pose, rad."""
        low, high = self.joint_range
        with np.errstate(invalid="ignore"):
            centre, half = (low + high) / 2, _SOFT_RANGE * (high - low) / 2
        low, high = (np.where(np.isnan(centre), side * np.inf, centre + side * half) for side in (-1, 1))
        return (low - self.pose).astype(np.float32), (high - self.pose).astype(np.float32)

    def trot(self) -> np.ndarray:
        """Return the feet on the ground in the first half of a stride of a trot, (F,) bool.

        From front to hind: the left foot of the first pair, the right foot of the second, and so on in turn.

        Raises:
            InputError: a foot belongs to no left-right pair.
        """
        body = self.record.body
        names = [foot.name for foot in body.feet]
        if sorted(name for pair in body.foot_pairs for name in pair) != sorted(names):
            raise InputError(
                f"gait = 'trot' needs feet in left-right pairs, which {body.name} does not have; state foot_pairs in a "
                "TOML description or set gait = 'free'"
            )
        data = mujoco.MjData(self.model)
        data.qpos[:] = self.record.pose.qpos
        mujoco.mj_kinematics(self.model, data)
        forward = {foot.name: data.geom(foot.geoms[0]).xpos[0] for foot in body.feet}
        pairs = sorted(body.foot_pairs, key=lambda pair: -forward[pair[0]])
        first = {pair[number % 2] for number, pair in enumerate(pairs)}
        return np.array([name in first for name in names])


def _add_sensors(spec: mujoco.MjSpec, geoms: list[str], knees: tuple[str, ...]) -> None:
    sensor, kind = mujoco.mjtSensor, mujoco.mjtObj
    for geom in geoms:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_GEOM, objname=geom)
    for geom in geoms:
        spec.add_sensor(type=sensor.mjSENS_FRAMELINVEL, objtype=kind.mjOBJ_GEOM, objname=geom)
    for knee in knees:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_XBODY, objname=knee)
    for geom in geoms:
        contact = spec.add_sensor(type=sensor.mjSENS_CONTACT, objtype=kind.mjOBJ_GEOM, objname=geom)
        contact.intprm[:3] = 1, 0, 1  # data: found; reduction: none; contacts: 1


def _columns(indices: list[int]) -> slice | np.ndarray:
    """Return indices as a slice if they are consecutive; that avoids a copy."""
    first = int(indices[0])
    if list(indices) == list(range(first, first + len(indices))):
        return slice(first, first + len(indices))
    return np.array(indices)
