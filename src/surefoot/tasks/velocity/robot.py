"""The simulated robot of the velocity task: model with ground and sensors, its sizes and limits, and its parts by name.

Heights are relative to the floor; the trunk's axes are x forward, y left, z up, as the robot stands.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from surefoot.bodies import anymal_c, parts
from surefoot.bodies.body import Body
from surefoot.bodies.loader import LoadedBody, Pose
from surefoot.bodies.symmetry import foot_place, standing
from surefoot.errors import InputError
from surefoot.packing import Layout
from surefoot.tasks import rotations
from surefoot.tasks.task import State
from surefoot.tasks.velocity.terrain import Terrain

_ACTION_S = 0.02
_SOFT_RANGE = 0.9
# ANYmal C as it stands. Lengths and torques of other robots are scaled by height and by weight times height.
_REFERENCE_HEIGHT_M, _REFERENCE_MASS_KG = 0.549, 52.13
_KNEE_RADIUS_M, _GAIT_HZ, _LOAD_FRACTION = 0.065, 1.75, 0.1
# A knee is the lowest joint of a leg above this fraction of the standing height; lower joints are ankles.
_LOWEST_KNEE = 0.25
_IN_PLANE = 0.5  # cosine between a joint's axis and the y axis
# A biped on its knees has fallen: the trunk's clearance must stay above this fraction of the one in the pose.
_BIPED_CLEARANCE = 0.5
# ANYmal C: 5 ms is stable with these servos. The solver's iterations are not capped: with 4 of them random actions made
# it diverge, and the cap saved no time (64 environments).
_ANYMAL_TIMESTEP_S = 0.005
# With the pose itself as target, as in legged_gym, servos of 80 N m / rad yield until the robot kneels. The targets
# that hold the pose are used instead.
_ANYMAL_STIFFNESS, _ANYMAL_DAMPING = 80.0, 2.0


class TrunkHull(NamedTuple):
    """Two cylinders along x that enclose the trunk."""

    half_length_m: float  # of both
    half_width_m: float  # distance of their axes from the centre, along y
    radius_m: float  # of both
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)  # position in the trunk's frame as it stands, m


class Robot:
    """A robot with A joints and F feet, compiled together with its ground and sensors.

    Joints and feet are in the order of `body`.

    Attributes:
        body: names of its parts.
        stand: standing pose.
        pose: (A,) joint angles of the standing pose.
        joint_range: (2, A) lower and upper limits, infinite for joints without limits.
        joint_qpos: columns of the joints in qpos; `joint_qvel` those in qvel.
        servos: columns of the joints' servos in ctrl.
        back_emf: braking torque of the motors per speed, which their drivers compensate, N m s / rad.
        trunk_qvel: columns of the trunk's linear and angular velocity in qvel.
        torque_limit: (A,) N m; inf if unknown.
        speed_limit: of all joints, rad/s; inf if unknown.
        sole_m: (F,) distance from a foot's centre down to its sole.
        stance_m: distance of the feet from the trunk's centre, forward and sideways.
        trunk: hull of the trunk.
        knee_radius_m: height of a knee's centre below which the knee touches the ground.
        lateral_joints: indices of joints that move legs sideways or turn them.
        look_height_m: height of the trunk from which the observed ground heights are counted.
        floor_m: height of the floor in the world frame.
        fall_clearance_m: least clearance of the trunk above the ground; below it the robot has fallen.
        gait_hz: default number of strides per second.
        load_kg: default range of the load added to the trunk.
        length_scale: its size relative to ANYmal C.
        torque_scale: weight times height relative to ANYmal C.
        power_scale: weight times the square root of height, relative to ANYmal C.
    """

    back_emf = 0.0

    def __init__(self, loaded: LoadedBody, terrain: Terrain | None) -> None:
        """Compile and measure a robot.

        Raises:
            InputError: the robot has no feet that can touch the ground.
        """
        spec, self.body, self.stand = loaded
        self._measure(spec)
        if terrain is not None:
            terrain.build(spec, self.floor_m)
        geoms = [geom for foot in self.body.feet for geom in foot.geoms]
        _add_sensors(spec, geoms, self._knees)
        self.model = model = spec.compile()
        self.frame_skip = max(1, round(_ACTION_S / model.opt.timestep))
        joints = [model.joint(name) for name in self.body.joints]
        self.joint_qpos = _columns([joint.qposadr[0] for joint in joints])
        self.joint_qvel = _columns([joint.dofadr[0] for joint in joints])
        self.servos = _columns([model.actuator(name).id for name in self.body.joints])
        self.pose = self.stand.qpos[self.joint_qpos].copy()
        ids = [joint.id for joint in joints]
        self.joint_range = np.where(model.jnt_limited[ids] > 0, model.jnt_range[ids].T, [[-np.inf], [np.inf]])
        root = model.joint(parts.free_joint(model, self.body.trunk))
        q, v = int(root.qposadr[0]), int(root.dofadr[0])
        self._position, self._quat = slice(q, q + 3), slice(q + 3, q + 7)
        self.trunk_qvel = slice(v, v + 6)
        self._linear, self._angular = slice(v, v + 3), slice(v + 3, v + 6)
        if terrain is not None:  # a file may place the robot where a hill now is
            model.qpos0[q : q + 2] = self.stand.qpos[q : q + 2] = 0
        self._sensors = Layout(
            foot_position=3 * len(geoms), foot_velocity=3 * len(geoms), knee=3 * len(self._knees), contact=len(geoms)
        )
        counts = np.array([len(foot.geoms) for foot in self.body.feet])
        self._first_geom, self._geom_count = np.cumsum(counts) - counts, counts
        # The trunk's own frame may have any orientation while the robot stands level.
        level = self.stand.qpos[self._quat]
        self._level = None
        if not np.array_equal(level, [1, 0, 0, 0]):
            self._level = rotations.right_product_matrix(level * [1, -1, -1, -1]).T
            self._unlevel = rotations.right_product_matrix(level).T
            self._axes = rotations.matrices(level[None], np)[0].T

    def _measure(self, spec: mujoco.MjSpec) -> None:
        """Set sizes and limits from the robot as it stands on its floor."""
        body, pose = self.body, self.stand
        # By priority, the friction of the feet applies and not that of the ground.
        for foot in body.feet:
            for geom in foot.geoms:
                spec.geom(geom).priority = 1
        model = spec.compile()
        data = standing(model, pose.qpos)
        floor = parts.known_floor(model, body.trunk)
        self._floor = model.geom(floor).name
        self.floor_m = parts.floor_height(data, floor)
        servos = [model.actuator(joint).id for joint in body.joints]
        limited = model.actuator_forcelimited[servos] > 0
        self.torque_limit = np.where(limited, np.abs(model.actuator_forcerange[servos]).max(1), np.inf)
        self.speed_limit = np.inf if body.speed_limit is None else body.speed_limit
        centre = data.body(body.trunk).xpos
        feet = np.array([foot_place(data, foot.geoms) for foot in body.feet])
        soles = [min(_distance(data, self._floor, geom) for geom in foot.geoms) for foot in body.feet]
        self.sole_m = feet[:, 2] - self.floor_m - np.array(soles)
        self.stance_m = (float(np.abs(feet[:, 0] - centre[0]).max()), float(np.abs(feet[:, 1] - centre[1]).max()))
        self.trunk = hull = _find_hull(data, floor, body.trunk)
        trunk = model.body(body.trunk).id
        mass = float(model.body_subtreemass[model.body_rootid[trunk]])
        self._knees = _find_knees(data, body, self.floor_m, pose.height_m)
        axes = [data.joint(joint).xaxis for joint in body.joints]
        self.lateral_joints = tuple(i for i, axis in enumerate(axes) if abs(axis[1]) < _IN_PLANE)
        self.look_height_m = pose.height_m
        clearance = pose.height_m + hull.centre[2] - hull.radius_m
        self.fall_clearance_m = _BIPED_CLEARANCE * max(clearance, 0.0) if len(body.feet) < 3 else 0.0
        self.load_kg = min(_LOAD_FRACTION * mass, float(model.body_mass[trunk]) / 2)
        self._set_scale(pose.height_m / _REFERENCE_HEIGHT_M, mass / _REFERENCE_MASS_KG)

    def _set_scale(self, length: float, mass: float) -> None:
        """Set the values that depend on length and mass relative to ANYmal C."""
        self.length_scale, self.torque_scale = length, length * mass
        self.power_scale = self.torque_scale / length**0.5
        self.knee_radius_m = _KNEE_RADIUS_M * length
        self.gait_hz = _GAIT_HZ / float(np.sqrt(length))

    def standing_height(self, angles: np.ndarray) -> np.ndarray:
        """Return the height of a level trunk whose lowest foot touches the floor, (K,) m, from joint angles (K, A)."""
        data, heights = mujoco.MjData(self.model), np.zeros(len(angles))
        for i, row in enumerate(angles):
            data.qpos[:] = self.stand.qpos
            data.qpos[self.joint_qpos] = row
            data.qpos[self._position][2] += self.stand.height_m  # high enough for all distances to be positive
            mujoco.mj_kinematics(self.model, data)
            lowest = min(_distance(data, self._floor, geom) for foot in self.body.feet for geom in foot.geoms)
            heights[i] = 2 * self.stand.height_m - lowest
        return heights

    def position(self, state: State) -> np.ndarray:
        """Return the trunk's position, (N, 3) m."""
        position = state["qpos"][:, self._position]
        return position - [0, 0, self.floor_m] if self.floor_m else position

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
        state["qpos"][env_indices] = self.stand.qpos
        state["qpos"][env_indices, self._position] = np.add(position, [0, 0, self.floor_m])
        quat = np.zeros((len(env_indices), 4))
        quat[:, 0], quat[:, 3] = np.cos(facing / 2), np.sin(facing / 2)
        state["qpos"][env_indices, self._quat] = quat if self._level is None else quat @ self._unlevel

    def foot_position(self, state: State) -> np.ndarray:
        """Return the centres of the feet, (N, F, 3) m."""
        return self._per_foot(state, "foot_position") - [0, 0, self.floor_m]

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
        return knees.reshape(len(knees), -1, 3) - [0, 0, self.floor_m]

    def _per_foot(self, state: State, name: str) -> np.ndarray:
        """Average a vector over the geoms of each foot."""
        values = self._sensors.read(state["sensordata"], name)
        values = values.reshape(len(values), -1, 3)
        if self._geom_count.max() == 1:
            return values
        return np.add.reduceat(values, self._first_geom, axis=1) / self._geom_count[:, None]

    def holding_targets(self) -> np.ndarray:
        """Return servo targets, (A,), that hold the standing pose with the weight shared equally by the feet."""
        model = self.model
        data = mujoco.MjData(model)
        data.qpos[:] = self.stand.qpos
        data.qpos[self._position] = 0, 0, 1
        mujoco.mj_forward(model, data)
        joints = np.arange(model.nv)[self.joint_qvel]
        mass = np.where(model.body_rootid == model.body(self.body.trunk).rootid[0], model.body_mass, 0).sum()
        load = -mass * model.opt.gravity[2] / len(self.body.feet)
        torque = data.qfrc_bias[joints].copy()
        for foot in self.body.feet:
            for geom in (model.geom(name) for name in foot.geoms):
                jacobian = np.zeros((3, model.nv))
                mujoco.mj_jac(model, data, jacobian, None, data.geom_xpos[geom.id], geom.bodyid[0])
                torque -= load / len(foot.geoms) * jacobian[2, joints]
        torque = np.clip(torque, -self.torque_limit, self.torque_limit)
        return self.pose + torque / np.maximum(-model.actuator_biasprm[self.servos, 1], 1e-9)

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
        body = self.body
        names = [foot.name for foot in body.feet]
        if sorted(name for pair in body.foot_pairs for name in pair) != sorted(names):
            raise InputError(
                f"gait = 'trot' needs feet in left-right pairs, which {body.name} does not have; state foot_pairs in a "
                "TOML description or set gait = 'free'"
            )
        data = standing(self.model, self.stand.qpos)
        forward = {foot.name: data.geom(foot.geoms[0]).xpos[0] for foot in body.feet}
        pairs = sorted(body.foot_pairs, key=lambda pair: -forward[pair[0]])
        first = {pair[number % 2] for number, pair in enumerate(pairs)}
        return np.array([name in first for name in names])


class AnymalC(Robot):
    """ANYmal C with its own servos (80 N m / rad, 2 N m s / rad) and the constants of the shipped policies."""

    def __init__(
        self, base: anymal_c.Base, motor: anymal_c.Motor, visuals: bool, terrain: Terrain | None = None
    ) -> None:
        spec = anymal_c.make_scene(
            _ANYMAL_TIMESTEP_S,
            base=base,
            motor=motor,
            stiffness=_ANYMAL_STIFFNESS,
            servo_damping=_ANYMAL_DAMPING,
            joint_damping=0.0,
            joint_friction=0.0,
            armature=anymal_c.ARMATURE,
            touching="feet and knees",
            foot_contact=3,
            visuals=visuals,
        )
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        self.back_emf = anymal_c.BACK_EMF if motor == "limited" else 0.0
        angles = anymal_c.STANDING_POSE
        height_m = float(self.standing_height(angles[None])[0])
        qpos = np.array([0, 0, height_m, 1, 0, 0, 0, *angles])
        super().__init__(LoadedBody(spec, anymal_c.BODY, Pose(qpos, angles, height_m)), terrain)

    def _measure(self, spec: mujoco.MjSpec) -> None:
        super()._measure(spec)
        self._set_scale(1.0, 1.0)
        self.torque_limit = np.full(len(anymal_c.JOINTS), anymal_c.TORQUE_LIMIT)
        self.sole_m = np.full(len(anymal_c.LEGS), anymal_c.FOOT_RADIUS_M)
        self.stance_m, self.trunk = (0.36, 0.30), TrunkHull(half_length_m=0.5245, half_width_m=0.07, radius_m=0.09)
        self.look_height_m, self.load_kg = 0.5, 5.0

    def standing_height(self, angles: np.ndarray) -> np.ndarray:
        haa, hfe, kfe = (angles[:, joint::3] for joint in range(3))
        forward, out = np.array([1, 1, -1, -1]), np.array([1, -1, 1, -1])
        # First the height below the hip within the leg's plane, then the rotation of that plane about x by HAA.
        whole = hfe + kfe
        down = 0.285 * np.cos(hfe) + 0.31547 * np.cos(whole) + 0.08795 * forward * np.sin(whole)
        aside = out * (0.08381 + 0.1003 + 0.01305)
        return (down * np.cos(haa) - aside * np.sin(haa) + anymal_c.FOOT_RADIUS_M).max(1)


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


def _distance(data: mujoco.MjData, floor: str, geom: str) -> float:
    """Return the height of a geom's lowest point above the floor, m."""
    return mujoco.mj_geomDistance(data.model, data, data.geom(floor).id, data.geom(geom).id, 100.0, None)


def _find_hull(data: mujoco.MjData, floor: int, trunk: str) -> TrunkHull:
    """Return the hull of the geoms that are fixed to the trunk, those that can touch the floor if there are any."""
    model = data.model
    geoms = np.flatnonzero(model.body_weldid[model.geom_bodyid] == model.body(trunk).weldid[0])
    solid = [geom for geom in geoms if parts.touches(model, floor, int(geom))]
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = [
        data.geom_xpos[geom]
        + (model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]) @ data.geom_xmat[geom].reshape(3, 3).T
        for geom in solid or geoms
    ]
    if not corners:
        return TrunkHull(0.0, 0.0, 0.0)
    points = np.concatenate(corners) - data.body(trunk).xpos
    low, high = points.min(0), points.max(0)
    half, centre = (high - low) / 2, (high + low) / 2
    x, y, z = map(float, centre)
    return TrunkHull(float(half[0]), float(max(half[1] - half[2], 0)), float(half[2]), (x, y, z))


def _find_knees(data: mujoco.MjData, body: Body, floor_m: float, height_m: float) -> tuple[str, ...]:
    """Return the links below the knees, one per leg; for legs without a knee, the links below the hips."""
    model = data.model
    trunk = model.body(body.trunk).id
    knees = []
    for foot in body.feet:
        link, knee = int(model.geom_bodyid[model.geom(foot.geoms[0]).id]), None
        while link and model.body_weldid[link] != model.body_weldid[trunk]:
            if model.body_jntnum[link]:
                knee = link
                if data.xpos[link, 2] - floor_m > _LOWEST_KNEE * height_m:
                    break
            link = int(model.body_parentid[link])
        if knee is None:
            raise InputError(f"the foot '{foot.name}' of {body.name} is fixed to its trunk")
        knees.append(model.body(knee).name)
    return tuple(dict.fromkeys(knees))
