"""Any body walks: a quadruped or biped goes forward at a speed, by position servos told angles 50 times a second.

What is rewarded, each step, by named terms: to go forward at the speed, to be upright and alive; what costs: to drift,
to turn, work, torque, to leave the pose, and to change one's mind. Distances and forces are measured by the body itself
(its height, its weight, the strength of its servos), so that one set of numbers serves bodies of any size.
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import mujoco
import numpy as np

from surefoot.bodies import anymal_c
from surefoot.bodies.body import Body
from surefoot.bodies.loader import MENAGERIE, LoadedBody, Pose, load_body
from surefoot.bodies.scene import new_scene
from surefoot.bodies.symmetry import mirror_feet, mirror_joints, standing
from surefoot.tasks.options import check_number
from surefoot.tasks.task import Rows, Task, TaskOutput

ANYMAL = "anymal-c"
_ACTION_S = 0.02
_LEAST_UPRIGHT = 0.5  # the cosine of 60 degrees
# Of the body's height: an episode begins this far above the floor, for joints that begin elsewhere reach deeper.
_LIFT = 0.03
# Per step; going forward at the speed earns 1 more than standing.
_WEIGHTS = {
    "forward": 1.0,
    "upright": 0.2,
    "alive": 0.3,
    "drift": -0.5,
    "turning": -0.1,
    "work": -0.1,
    "torque": -0.1,
    "posture": -0.5,
    "action_change": -0.2,
}
# How ANYmal stands: with bent knees, on servos that can hold it so.
_ANYMAL_POSE = (0.0, 0.4, -0.8, 0.0, 0.4, -0.8, 0.0, -0.4, 0.8, 0.0, -0.4, 0.8)
_ANYMAL_STIFFNESS, _ANYMAL_DAMPING = 250.0, 4.0
_ANYMAL_FOOT_RADIUS_M = 0.03


class Walk(Task):
    """The task; see the module.

    Attributes:
        body: the names of the body's parts.
        pose: how it stands, about which actions move the joints.
    """

    def __init__(
        self,
        body: str = ANYMAL,
        speed_m_s: float = 1.0,
        action_scale: float = 0.5,
        fall_height: float = 0.65,
        reset_noise: float = 0.05,
    ) -> None:
        """Build the task.

        Args:
            body: "anymal-c", menagerie:NAME, or a path to .xml, .mjcf, .urdf or .toml; see `bodies.elsewhere`.
            speed_m_s: how fast to go; more of it earns less again.
            action_scale: how far an action of 1 moves a joint's target from the pose, in rad (m for slides).
            fall_height: the share of its standing height below which a trunk has fallen.
            reset_noise: joints (rad) and velocities (m/s, rad/s) begin up to this far from rest.

        Raises:
            ValueError: an option has another value.
            InputError: there is no such body, or it cannot be read.
        """
        if not isinstance(body, str):
            raise ValueError(f"body is {body!r}; it must be a text: {ANYMAL}, menagerie:NAME or a path")
        for name, value, least, most in (
            ("speed_m_s", speed_m_s, 0.05, 20),
            ("action_scale", action_scale, 0.01, 3),
            ("fall_height", fall_height, 0, 0.95),
            ("reset_noise", reset_noise, 0, 0.5),
        ):
            check_number(name, value, least, most)
        self._speed, self._scale, self._fall, self._noise = speed_m_s, action_scale, fall_height, reset_noise
        self.model, self._parts, self.pose = _with_sensors(body)
        self.body = self._parts
        self.frame_skip = max(1, round(_ACTION_S / self.model.opt.timestep))
        self.fields = ("qpos", "qvel", "ctrl", "sensordata", "qfrc_actuator")
        self._find_addresses()
        count, feet = len(self._parts.joints), len(self._parts.feet)
        self.columns = {
            "height": 1, "turned": 4, "velocity": 3, "rate": 3, "angle": count, "joint_velocity": count,
            "torque": count, "last": count, "before": count, "contact": feet,
        }  # fmt: skip
        size = len(self.observation_names)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (count,), np.float32)

    def _find_addresses(self) -> None:
        """Look up where the body's parts stand in MuJoCo's arrays, and what it weighs and gives."""
        model = self.model
        root = model.body(self._parts.trunk).jntadr[0]
        self._q, self._v = int(model.jnt_qposadr[root]), int(model.jnt_dofadr[root])
        joints = [model.joint(name) for name in self._parts.joints]
        servos = [model.actuator(name) for name in self._parts.joints]
        self._joint_q = np.array([joint.qposadr[0] for joint in joints])
        self._joint_v = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([servo.id for servo in servos])
        limited = np.array([joint.id for joint in joints])
        ranges = np.where(model.jnt_limited[limited, None] > 0, model.jnt_range[limited], [-np.inf, np.inf])
        self._low, self._high = ranges.T
        self._rest = self.pose.qpos[self._joint_q]
        strength = model.actuator_gainprm[self._ctrl, 0] * self._scale
        forces = model.actuator_forcerange[self._ctrl, 1]
        self._strength = np.maximum(np.where(model.actuator_forcelimited[self._ctrl] > 0, forces, strength), 1e-6)
        weight = model.body_subtreemass[model.body(self._parts.trunk).id] * np.linalg.norm(model.opt.gravity)
        self._weight = max(float(weight), 1e-6)
        self._lift = self.pose.qpos[self._q + 2] - self.pose.height_m  # the floor's own height
        touching = [(f"touch {geom}", number) for number, foot in enumerate(self._parts.feet) for geom in foot.geoms]
        self._touch = np.array([model.sensor(name).adr[0] for name, _ in touching])
        self._touch_starts = np.flatnonzero(np.diff([-1, *(number for _, number in touching)]))
        # The trunk's own axes may lie anyhow; what counts are the world's, as the body stands, carried by the trunk.
        stood = self.pose.qpos[self._q + 3 : self._q + 7]
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, stood)
        self._to_standing = axes.reshape(3, 3)
        self._unstand = _times(stood * [1, -1, -1, -1])

    @property
    def observation_names(self) -> tuple[str, ...]:
        """What each value of the observation is, in order."""
        axes, joints = ("x", "y", "z"), self._parts.joints
        return (
            "trunk height",
            *(f"gravity {axis}" for axis in axes),
            *(f"trunk velocity {axis}" for axis in axes),
            *(f"trunk turning rate {axis}" for axis in axes),
            *(f"{joint} angle" for joint in joints),
            *(f"{joint} velocity" for joint in joints),
            *(f"{joint} last action" for joint in joints),
            *(f"{foot.name} contact" for foot in self._parts.feet),
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each value of an action moves."""
        return self._parts.joints

    def mirror_parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return each joint's image (A,) and its sign (A,), and each foot's (F,); None if the body is not alike."""
        data = standing(self.model, self.pose.qpos)
        joints, feet = mirror_joints(data, self._parts), mirror_feet(data, self._parts)
        return None if joints is None or feet is None else (*joints, feet)

    def init_buffers(self, count: int) -> Rows:
        return {name: np.zeros((count, len(self._parts.joints))) for name in ("last", "before")}

    def reset(self, rows: Rows, copies: np.ndarray, randoms: Sequence[np.random.Generator]) -> None:
        count = len(self._joint_q)
        for one in copies:
            noise = randoms[one].uniform(-self._noise, self._noise, 2 * count + 6)
            rows["qpos"][one] = self.pose.qpos
            rows["qpos"][one, self._q + 2] += _LIFT * self.pose.height_m
            rows["qpos"][one, self._joint_q] = np.clip(self._rest + noise[:count], self._low, self._high)
            rows["qvel"][one] = 0
            rows["qvel"][one, self._joint_v] = noise[count:-6]
            rows["qvel"][one, self._v : self._v + 6] = noise[-6:]
            rows["ctrl"][one] = self.pose.ctrl
        rows["last"][copies] = rows["before"][copies] = 0

    def apply_action(self, rows: Rows, action: np.ndarray) -> None:
        rows["before"][:] = rows["last"]
        rows["last"][:] = action
        rows["ctrl"][:] = self.pose.ctrl
        rows["ctrl"][:, self._ctrl] = np.clip(self._rest + self._scale * action, self._low, self._high)

    def gather(self, rows: Rows) -> Sequence[np.ndarray]:
        q, v = self._q, self._v
        qpos, qvel = rows["qpos"], rows["qvel"]
        return (
            qpos[:, q + 2 : q + 3] - self._lift,
            qpos[:, q + 3 : q + 7],
            qvel[:, v : v + 3],
            qvel[:, v + 3 : v + 6],
            qpos[:, self._joint_q] - self._rest,
            qvel[:, self._joint_v],
            rows["qfrc_actuator"][:, self._joint_v],
            rows["last"],
            rows["before"],
            np.add.reduceat(rows["sensordata"][:, self._touch], self._touch_starts, axis=1) > 0,
        )

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        del action
        height, turned = measured["height"], measured["turned"] @ self._unstand.T.astype(np.float32)
        down = xp.concatenate([xp.zeros_like(height), xp.zeros_like(height), -xp.ones_like(height)], axis=1)
        gravity = _seen_from(turned, down, xp)
        velocity = _seen_from(turned, measured["velocity"], xp)
        rate = measured["rate"] @ self._to_standing.T.astype(np.float32)
        parts = [height, gravity, velocity, rate, measured["angle"], measured["joint_velocity"]]
        observation = xp.concatenate([*parts, measured["last"], measured["contact"]], axis=1)
        ahead, aside = self._along(turned, measured["velocity"], xp)
        upright = -gravity[:, 2]
        power = xp.abs(measured["torque"] * measured["joint_velocity"]).sum(1)
        values = {
            "forward": xp.maximum(1 - xp.abs(ahead - self._speed) / self._speed, -1),
            "upright": upright,
            "alive": xp.ones_like(upright),
            "drift": xp.minimum(xp.abs(aside) / self._speed, 2),
            "turning": xp.minimum(rate[:, 2] ** 2, 10),
            "work": xp.minimum(power / (self._weight * self._speed), 5),
            "torque": ((measured["torque"] / self._strength.astype(np.float32)) ** 2).mean(1),
            "posture": (measured["angle"] ** 2).mean(1),
            "action_change": ((measured["last"] - measured["before"]) ** 2).mean(1),
        }
        fell = (height[:, 0] < self._fall * self.pose.height_m) | (upright < _LEAST_UPRIGHT)
        return TaskOutput(observation, {name: _WEIGHTS[name] * value for name, value in values.items()}, fell)

    def _along(self, turned: Any, velocity: Any, xp: Any) -> tuple[Any, Any]:
        """Return the velocity along where the body faces, over the ground, and to its left, (N,) each."""
        w, x, y, z = (turned[:, i] for i in range(4))
        front_x, front_y = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z)
        length = xp.maximum(xp.sqrt(front_x**2 + front_y**2), 1e-6)
        front_x, front_y = front_x / length, front_y / length
        return (
            velocity[:, 0] * front_x + velocity[:, 1] * front_y,
            velocity[:, 1] * front_x - velocity[:, 0] * front_y,
        )


def _with_sensors(source: str) -> tuple[mujoco.MjModel, Body, Pose]:
    """Return a body's model, with a sensor for each part of a foot, whether it touches anything."""
    # What is downloaded, or our own, stays as it is; a file may change between two calls.
    kept = source == ANYMAL or source.startswith(MENAGERIE)
    model, body, pose = _compiled_once(source) if kept else _compiled(source)
    return copy.copy(model), body, pose


def _compiled(source: str) -> tuple[mujoco.MjModel, Body, Pose]:
    spec, body, pose = _load_anymal() if source == ANYMAL else load_body(source)
    for foot in body.feet:
        for geom in foot.geoms:
            sensor = spec.add_sensor(name=f"touch {geom}", type=mujoco.mjtSensor.mjSENS_CONTACT)
            sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_GEOM, geom
            sensor.intprm[:3] = 1, 0, 1  # whether there is any, in whatever order, of one contact
    return spec.compile(), body, pose


_compiled_once = functools.lru_cache(maxsize=4)(_compiled)


def _load_anymal() -> LoadedBody:
    spec = new_scene(0.004)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    anymal_c.add_anymal_c(spec, stiffness=_ANYMAL_STIFFNESS, joint_damping=_ANYMAL_DAMPING)
    model = spec.compile()
    qpos = model.qpos0.copy()
    qpos[7:] = _ANYMAL_POSE
    data = standing(model, qpos)
    feet = [data.geom(geom).xpos[2] for foot in anymal_c.BODY.feet for geom in foot.geoms]
    qpos[2] -= min(feet) - _ANYMAL_FOOT_RADIUS_M
    return LoadedBody(spec, anymal_c.BODY, Pose(qpos, np.array(_ANYMAL_POSE), float(qpos[2])))


def _times(quat: np.ndarray) -> np.ndarray:
    """Return the (4, 4) matrix M with M q = q quat, for any quaternion q."""
    w, x, y, z = quat
    return np.array([[w, -x, -y, -z], [x, w, z, -y], [y, -z, w, x], [z, y, -x, w]])


def _seen_from(turned: Any, vector: Any, xp: Any) -> Any:
    """Return vectors (N, 3) of the world in the axes of bodies that are turned by quaternions (N, 4)."""
    real, imaginary = turned[:, :1], -turned[:, 1:]
    twice = 2 * xp.cross(imaginary, vector)
    return vector + real * twice + xp.cross(imaginary, twice)
