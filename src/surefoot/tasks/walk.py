"""Any legged body walks straight ahead at a desired speed, by position servos at 50 Hz.

The reward is a sum of named terms (`_WEIGHTS`). Distances and forces are scaled by the body's own height, weight and
servo strength, so that one set of weights serves bodies of any size.
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import mujoco
import numpy as np
from pydantic import Field

from surefoot.bodies import anymal_c
from surefoot.bodies.body import Body
from surefoot.bodies.loader import MENAGERIE, LoadedBody, Pose, load_body
from surefoot.bodies.parts import free_joint
from surefoot.bodies.stance import find_fault
from surefoot.bodies.symmetry import standing
from surefoot.tasks import rotations
from surefoot.tasks.observation import axial, per_foot, per_joint, polar, scalars, sideways
from surefoot.tasks.options import TaskOptions
from surefoot.tasks.symmetry import task_mirror
from surefoot.tasks.task import State, Task, TaskOutput

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

ANYMAL = "anymal-c"
_ACTION_S = 0.02
_LEAST_UPRIGHT = 0.5  # cosine of the largest tilt, 60 degrees
# Initial clearance as a fraction of the body's height: parts at randomised joint angles may reach below the floor.
_LIFT = 0.03
# Weights per step; walking at the desired speed earns 1 more than standing.
_WEIGHTS = {
    "forward": 1.0,
    "upright": 0.2,
    "alive": 0.3,
    "drift": -0.5,
    "heading": -1.0,
    "turning": -0.1,
    "work": -0.1,
    "torque": -0.1,
    "posture": -0.5,
    "action_change": -0.2,
}
_ANYMAL_STIFFNESS, _ANYMAL_DAMPING = 250.0, 4.0  # strong enough to hold the standing pose


class WalkOptions(TaskOptions):
    """Options of `Walk`."""

    body: str = ANYMAL
    """The robot: "anymal-c", menagerie:NAME, or a path to .xml, .mjcf, .urdf or .toml (`bodies.loader`)."""
    speed_m_s: float = Field(1.0, ge=0.05, le=20)
    """Desired forward speed, m/s."""
    action_scale: float = Field(0.5, ge=0.01, le=3)
    """Offset of a joint's target from the pose for an action of 1, rad (m for slides)."""
    fall_height: float = Field(0.65, ge=0, le=0.95)
    """Height of the trunk below which the body has fallen, as a fraction of its standing height."""
    reset_noise: float = Field(0.05, ge=0, le=0.5)
    """Largest deviation of initial joints (rad) and velocities (m/s, rad/s) from rest."""


class Walk(Task):
    """Any legged body walks forward at a desired speed.

    Attributes:
        pose: the standing pose, about which actions move the joints.

    Raises:
        InputError: there is no such body, or it cannot be read.
    """

    fall = "terminated"
    Options = WalkOptions
    fields = ("qpos", "qvel", "ctrl", "sensordata", "qfrc_actuator")

    def __init__(self, options: WalkOptions) -> None:
        super().__init__(options)
        # Robots of Menagerie and Surefoot do not change; a file may change between two calls.
        fixed = options.body == ANYMAL or options.body.startswith(MENAGERIE)
        model, body, self.pose = (_compiled_once if fixed else _compiled)(options.body)
        self.model, self.body = copy.copy(model), body
        self.frame_skip = max(1, round(_ACTION_S / self.model.opt.timestep))
        self._find_addresses(body)
        joints, feet = body.joints, [foot.name for foot in body.feet]
        self.observation = (
            scalars("trunk height"),
            polar("gravity {}"),
            scalars("heading cosine"),
            sideways("heading sine"),
            polar("trunk velocity {}"),
            axial("trunk turning rate {}"),
            per_joint("{} angle", joints),
            per_joint("{} velocity", joints),
            per_joint("{} last action", joints),
            per_foot("{} contact", feet),
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(joints),), np.float32)  # held joints have controls too

    def _find_addresses(self, body: Body) -> None:
        """Look up the addresses of the body's parts in MuJoCo's arrays, its weight and the strength of its servos."""
        model = self.model
        root = free_joint(model, body.trunk)
        self._q, self._v = int(model.jnt_qposadr[root]), int(model.jnt_dofadr[root])
        joints = [model.joint(name) for name in body.joints]
        self._joint_q = np.array([joint.qposadr[0] for joint in joints])
        self._joint_v = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([model.actuator(name).id for name in body.joints])
        ids = [joint.id for joint in joints]
        ranges = np.where(model.jnt_limited[ids, None] > 0, model.jnt_range[ids], [-np.inf, np.inf])
        self._low, self._high = ranges.T
        self._rest = self.pose.qpos[self._joint_q]
        strength = model.actuator_gainprm[self._ctrl, 0] * self.options.action_scale
        forces = np.abs(model.actuator_forcerange[self._ctrl]).max(1)
        self._strength = np.maximum(np.where(model.actuator_forcelimited[self._ctrl] > 0, forces, strength), 1e-6)
        weight = model.body_subtreemass[model.body(body.trunk).rootid[0]] * np.linalg.norm(model.opt.gravity)
        self._weight = max(float(weight), 1e-6)
        self._floor_m = self.pose.qpos[self._q + 2] - self.pose.height_m
        touching = [(f"touch {geom}", number) for number, foot in enumerate(body.feet) for geom in foot.geoms]
        self._touch = np.array([model.sensor(name).adr[0] for name, _ in touching])
        self._touch_starts = np.flatnonzero(np.diff([-1, *(number for _, number in touching)]))
        # The trunk's own axes are arbitrary. Vectors are expressed in axes fixed to the trunk that coincide with the
        # world's in the standing pose.
        stood = self.pose.qpos[self._q + 3 : self._q + 7]
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, stood)
        self._to_standing = axes.reshape(3, 3)
        self._unstand = rotations.right_product_matrix(stood * [1, -1, -1, -1])

    def mirror(self) -> "Mirror | None":
        return task_mirror(self, self.pose.qpos)

    @property
    def reference_angles(self) -> Mapping[str, float]:
        return dict(zip(self.action_names or (), map(float, self._rest), strict=True))

    def fault(self) -> str | None:
        assert self.body is not None
        return find_fault(self.model, self.body, self.pose)

    def init_buffers(self, num_envs: int) -> State:
        return {name: np.zeros((num_envs, len(self._joint_q))) for name in ("last", "before")}

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        count, size = len(self._joint_q), self.options.reset_noise
        for env in env_indices:
            noise = rngs[env].uniform(-size, size, 2 * count + 6)
            state["qpos"][env] = self.pose.qpos
            state["qpos"][env, self._q + 2] += _LIFT * self.pose.height_m
            state["qpos"][env, self._joint_q] = np.clip(self._rest + noise[:count], self._low, self._high)
            state["qvel"][env] = 0
            state["qvel"][env, self._joint_v] = noise[count:-6]
            state["qvel"][env, self._v : self._v + 6] = noise[-6:]
            state["ctrl"][env] = self.pose.ctrl
        state["last"][env_indices] = state["before"][env_indices] = 0

    def apply_action(self, state: State, action: np.ndarray) -> None:
        state["before"][:] = state["last"]
        state["last"][:] = action
        state["ctrl"][:] = self.pose.ctrl
        target = self._rest + self.options.action_scale * action
        state["ctrl"][:, self._ctrl] = np.clip(target, self._low, self._high)

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        q, v = self._q, self._v
        qpos, qvel, touch = state["qpos"], state["qvel"], state["sensordata"][:, self._touch]
        return {
            "height": qpos[:, q + 2] - self._floor_m,
            "quat": qpos[:, q + 3 : q + 7],
            "velocity": qvel[:, v : v + 3],
            "angular_velocity": qvel[:, v + 3 : v + 6],
            "angle": qpos[:, self._joint_q] - self._rest,
            "joint_velocity": qvel[:, self._joint_v],
            "torque": state["qfrc_actuator"][:, self._joint_v],
            "last": state["last"],
            "before": state["before"],
            "contact": np.add.reduceat(touch, self._touch_starts, axis=1) > 0,
        }

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        height, quat = measured["height"], measured["quat"] @ self._unstand.T.astype(np.float32)
        down = xp.concatenate([xp.zeros_like(height), xp.zeros_like(height), -xp.ones_like(height)], axis=1)
        gravity = rotations.to_body_frame(quat, down, xp)
        velocity = rotations.to_body_frame(quat, measured["velocity"], xp)
        angular_velocity = measured["angular_velocity"] @ self._to_standing.T.astype(np.float32)
        heading = _heading(quat, xp)
        parts = [height, gravity, heading, velocity, angular_velocity, measured["angle"], measured["joint_velocity"]]
        observation = xp.concatenate([*parts, measured["last"], measured["contact"]], axis=1)
        upright, speed = -gravity[:, 2], self.options.speed_m_s
        ahead, aside = measured["velocity"][:, 0], measured["velocity"][:, 1]  # in the initial heading
        power = xp.abs(measured["torque"] * measured["joint_velocity"]).sum(1)
        terms = {
            "forward": xp.maximum(1 - xp.abs(ahead - speed) / speed, -1),
            "upright": upright,
            "alive": xp.ones_like(upright),
            "drift": xp.minimum(xp.abs(aside) / speed, 2),
            "heading": 1 - heading[:, 0],
            "turning": xp.minimum(angular_velocity[:, 2] ** 2, 10),
            "work": xp.minimum(power / (self._weight * speed), 5),
            "torque": ((measured["torque"] / self._strength.astype(np.float32)) ** 2).mean(1),
            "posture": (measured["angle"] ** 2).mean(1),
            "action_change": ((measured["last"] - measured["before"]) ** 2).mean(1),
        }
        fallen = (height[:, 0] < self.options.fall_height * self.pose.height_m) | (upright < _LEAST_UPRIGHT)
        return TaskOutput(observation, {name: _WEIGHTS[name] * value for name, value in terms.items()}, fallen)


def _heading(quat: Any, xp: Any) -> Any:
    """Return cosine and sine of the angle from the world's x to where bodies face, (N, 2)."""
    w, x, y, z = (quat[:, i] for i in range(4))
    front = xp.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)], axis=1)
    return front / xp.maximum(xp.sqrt((front**2).sum(1, keepdims=True)), 1e-6)


def _compiled(source: str) -> tuple[mujoco.MjModel, Body, Pose]:
    """Return a body's model with a contact sensor for each geom of a foot, its names and its standing pose."""
    spec, body, pose = _load_anymal() if source == ANYMAL else load_body(source)
    for foot in body.feet:
        for geom in foot.geoms:
            sensor = spec.add_sensor(name=f"touch {geom}", type=mujoco.mjtSensor.mjSENS_CONTACT)
            sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_GEOM, geom
            sensor.intprm[:3] = 1, 0, 1  # data: found; reduction: none; contacts: 1
    return spec.compile(), body, pose


_compiled_once = functools.lru_cache(maxsize=4)(_compiled)


def _load_anymal() -> LoadedBody:
    spec = anymal_c.make_scene(0.004, stiffness=_ANYMAL_STIFFNESS, joint_damping=_ANYMAL_DAMPING)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model = spec.compile()
    qpos = model.qpos0.copy()
    qpos[7:] = anymal_c.STANDING_POSE
    data = standing(model, qpos)
    feet = [data.geom(geom).xpos[2] for foot in anymal_c.BODY.feet for geom in foot.geoms]
    qpos[2] -= min(feet) - anymal_c.FOOT_RADIUS_M
    return LoadedBody(spec, anymal_c.BODY, Pose(qpos, anymal_c.STANDING_POSE, float(qpos[2])))
