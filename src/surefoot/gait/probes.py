"""Sample the motion of a body from its simulator without changing the simulation.

The MuJoCo probe samples every physics step of Gymnasium's and Surefoot's tasks, because a policy at 20 Hz has only
about five steps per stride. It samples every environment step of other MuJoCo environments, and of the
runner in OpenSim.
"""

import dataclasses
import math
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from surefoot.bodies.body import Body
from surefoot.bodies.runner import LEGS
from surefoot.gait.contact_geometry import ground_heights, lowest_points
from surefoot.tasks.running.opensim_env import OpenSimRunner
from surefoot.tasks.task_env import TaskEnv


@dataclasses.dataclass(frozen=True, eq=False)
class BodyModel:
    """Properties of a simulated body; NaN or infinity if the model does not define them."""

    step_s: float  # sampling interval, s
    mass_kg: float  # total mass
    gravity: float  # m/s^2
    joint_range: np.ndarray  # (J, 2) radians
    torque_limit: np.ndarray  # (J,) N m, maximum torque of the motors
    speed_limit: np.ndarray  # (J,) rad/s


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """Motion of a body with J joints and F feet at T samples."""

    time: np.ndarray  # (T,) s since the start of the episode
    angle: np.ndarray  # (T, J) rad, of the joints
    speed: np.ndarray  # (T, J) rad/s, of the joints
    torque: np.ndarray  # (T, J) N m, of the motors
    position: np.ndarray  # (T, 3) m, of the trunk; z is up
    orientation: np.ndarray  # (T, 4), of the trunk, a quaternion w x y z
    velocity: np.ndarray  # (T, 3) m/s, of the trunk
    contact: np.ndarray  # (T, F) bool, whether a foot is in contact with the ground
    force: np.ndarray  # (T, F) N, normal contact force of a foot; NaN if the simulator does not report it
    other: np.ndarray  # (T,) 1 if another part touches the ground, else 0; NaN if the simulator does not report it
    foot: np.ndarray  # (T, F, 3) m, lowest point of each foot
    height: np.ndarray  # (T, F) m, of that point above the ground; NaN if the ground height is unknown


class Probe:
    """Samples one environment: call `begin` at the start of an episode, step the environment, then call `motion`.

    Attributes:
        model: properties of the simulated body, known after `begin`.
    """

    model: BodyModel

    def __init__(self) -> None:
        self._samples: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Discard all samples."""
        self._samples = []

    def motion(self) -> Motion:
        """Return the samples since `begin`."""
        raise NotImplementedError

    def _stacked(self) -> dict[str, np.ndarray]:
        """Stack the samples into float arrays (T, ...) by name."""
        return {name: np.array([sample[name] for sample in self._samples], float) for name in self._samples[0]}


def find_probe(env: gymnasium.Env, body: Body) -> Probe | None:
    """Return a probe for a body in an environment, or None if the environment lacks parts of these names."""
    base: Any = env.unwrapped
    try:
        if isinstance(base, OpenSimRunner):
            return OpenSimProbe(base, body)
        if hasattr(base, "model") and hasattr(base, "data"):
            return MujocoProbe(base, body)
        if any(kind.__name__ == "BipedalWalker" for kind in type(base).__mro__):
            return WalkerProbe(base, body)
    except KeyError:
        return None
    return None


class MujocoProbe(Probe):
    """Samples a MuJoCo environment with `model` and `data` attributes.

    Raises:
        KeyError: the model lacks a part of the body.
    """

    def __init__(self, base: Any, body: Body) -> None:
        super().__init__()
        self._model, self._data = base.model, base.data
        model = self._model
        joints = [model.joint(name).id for name in body.joints]
        self._trunk = model.body(body.trunk).id
        self._qpos, self._dof = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        self._soles = [[model.geom(name).id for name in foot.geoms] for foot in body.feet]
        self._sole_geoms = [geom for geoms in self._soles for geom in geoms]
        self._foot_of = np.full(model.ngeom, -1)
        for index, geoms in enumerate(self._soles):
            self._foot_of[geoms] = index
        solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        self._static = model.body_weldid[model.geom_bodyid] == 0
        self._ground = np.flatnonzero(self._static & solid)
        steps = getattr(type(base), "_step_mujoco_simulation", None)
        inside = steps is MujocoEnv._step_mujoco_simulation
        if inside:
            base._step_mujoco_simulation = self._simulate
        elif isinstance(base, TaskEnv) and not isinstance(base, OpenSimRunner):
            inside = True
            base.simulate = self._step
        else:
            _call_after(base, "step", self._sample_now)
        # After a step with RK4, the forces belong to an intermediate state; with other integrators, to the state
        # before.
        self._euler = model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4
        self.model = BodyModel(
            step_s=float(model.opt.timestep if inside else getattr(base, "dt", model.opt.timestep)),
            mass_kg=float(model.body_subtreemass[model.body_rootid[self._trunk]]),
            gravity=float(np.linalg.norm(model.opt.gravity)),
            joint_range=np.where(model.jnt_limited[joints][:, None] > 0, model.jnt_range[joints], np.nan),
            torque_limit=_torque_limits(model, joints),
            speed_limit=np.full(len(joints), body.speed_limit or np.nan),
        )

    def motion(self) -> Motion:
        samples = self._stacked()
        model, data, ground = self._model, self._data, self._ground
        ground_geoms = model.geom_type[ground], model.geom_size[ground], data.geom_xpos[ground], data.geom_xmat[ground]
        centre, rotation = samples.pop("sole_centre"), samples.pop("sole_rotation")
        points = [
            lowest_points(model.geom_type[geom], model.geom_size[geom], centre[:, column], rotation[:, column])
            for column, geom in enumerate(self._sole_geoms)
        ]
        feet = []
        for geoms in self._soles:
            own = np.array([points.pop(0) for _ in geoms])
            feet.append(own[np.argmin(own[:, :, 2], axis=0), np.arange(own.shape[1])])
        height = np.stack([foot[:, 2] - ground_heights(*ground_geoms, foot[:, :2]) for foot in feet], axis=1)
        return Motion(**samples, contact=samples["force"] > 0, foot=np.stack(feet, axis=1), height=height)

    def _simulate(self, ctrl: np.ndarray, n_frames: int) -> None:
        """Replace `MujocoEnv._step_mujoco_simulation` by single physics steps."""
        self._data.ctrl[:] = ctrl
        for _ in range(n_frames):
            self._step()
        mujoco.mj_rnePostConstraint(self._model, self._data)

    def _step(self) -> None:
        before = (self._data.time, self._data.qpos[self._qpos], self._data.qvel[self._dof])
        mujoco.mj_step(self._model, self._data)
        if self._euler:
            self._sample(*before)
        else:
            self._sample_now()

    def _sample_now(self) -> None:
        data = self._data
        self._sample(data.time, data.qpos[self._qpos], data.qvel[self._dof])

    def _sample(self, time: float, angle: np.ndarray, speed: np.ndarray) -> None:
        data, velocity = self._data, np.zeros(6)
        mujoco.mj_objectVelocity(self._model, data, mujoco.mjtObj.mjOBJ_XBODY, self._trunk, velocity, 0)
        force, other = self._forces()
        self._samples.append(
            {
                "time": time,
                "angle": angle,
                "speed": speed,
                "torque": data.qfrc_actuator[self._dof],
                "position": data.xpos[self._trunk].copy(),
                "orientation": data.xquat[self._trunk].copy(),
                "velocity": velocity[3:],
                "force": force,
                "other": other,
                "sole_centre": data.geom_xpos[self._sole_geoms],
                "sole_rotation": data.geom_xmat[self._sole_geoms],
            }
        )

    def _forces(self) -> tuple[np.ndarray, bool]:
        """Return the normal force of each foot on static geoms, (F,) N, and whether another part touches them."""
        force, other = np.zeros(len(self._soles)), False
        data, wrench = self._data, np.zeros(6)
        if data.ncon:
            geoms = data.contact.geom
            static = self._static[geoms] & (geoms >= 0).all(axis=1, keepdims=True)  # a soft body has no geoms
            for index in np.flatnonzero(static.any(axis=1)):
                mujoco.mj_contactForce(self._model, data, int(index), wrench)
                foot = self._foot_of[geoms[index, 1 if static[index, 0] else 0]]
                if foot >= 0:
                    force[foot] += wrench[0]
                elif wrench[0] > 0:
                    other = True
        return force, other


class OpenSimProbe(MujocoProbe):
    """Samples the runner in OpenSim after each step of its task; torques and contact forces are those of OpenSim."""

    def __init__(self, base: OpenSimRunner, body: Body) -> None:
        super().__init__(base, body)
        self._runner = base
        self._legs = [LEGS.index(foot.geoms[0][-1]) for foot in body.feet]

    def _sample_now(self) -> None:
        self._data.qfrc_actuator[self._dof] = self._runner.joint_torques()
        super()._sample_now()

    def _forces(self) -> tuple[np.ndarray, bool]:
        return self._runner.ground_forces()[self._legs], False  # only the feet have contact


class WalkerProbe(Probe):
    """Samples Gymnasium's BipedalWalker, a planar body: its x and y become x and z."""

    def __init__(self, base: Any, body: Body) -> None:
        from gymnasium.envs.box2d import bipedal_walker as walker

        if (len(body.joints), len(body.feet)) != (4, 2):
            raise KeyError("a BipedalWalker has four joints and two feet")
        super().__init__()
        self._base, self._fps, self._walker = base, walker.FPS, walker
        self._flat = not base.hardcore  # the environment reports the ground height without obstacles
        _call_after(base, "step", self._sample)

    def begin(self) -> None:
        super().begin()
        base, walker = self._base, self._walker
        self.model = BodyModel(
            step_s=1 / walker.FPS,
            mass_kg=float(sum(part.mass for part in [base.hull, *base.legs])),
            gravity=float(abs(base.world.gravity[1])),
            joint_range=np.array([[joint.lowerLimit, joint.upperLimit] for joint in base.joints]),
            torque_limit=np.full(4, float(walker.MOTORS_TORQUE)),
            speed_limit=np.array([walker.SPEED_HIP, walker.SPEED_KNEE] * 2, float),
        )

    def motion(self) -> Motion:
        samples = self._stacked()
        samples["contact"] = samples["contact"] > 0
        unknown = np.full((len(self._samples), 2), np.nan)
        return Motion(**samples, force=unknown, other=unknown[:, 0])

    def _sample(self) -> None:
        base, half_x, half_y = self._base, 0.4 * self._walker.LEG_W, self._walker.LEG_H / 2
        joints, hull, feet = base.joints, base.hull, [base.legs[1], base.legs[3]]
        soles = [[foot.GetWorldPoint((side * half_x, -half_y)) for side in (-1, 1)] for foot in feet]
        lowest = [min(points, key=lambda point: point[1]) for points in soles]
        ground = np.interp([x for x, _ in lowest], base.terrain_x, base.terrain_y) if self._flat else math.nan
        (x, z), (vx, vz), half_angle = hull.position, hull.linearVelocity, hull.angle / 2
        self._samples.append(
            {
                "time": len(self._samples) / self._fps,
                "angle": [joint.angle for joint in joints],
                "speed": [joint.speed for joint in joints],
                "torque": [joint.GetMotorTorque(self._fps) for joint in joints],
                "position": (x, 0.0, z),
                "orientation": (math.cos(half_angle), 0.0, -math.sin(half_angle), 0.0),
                "velocity": (vx, 0.0, vz),
                "contact": [bool(foot.ground_contact) for foot in feet],
                "foot": [(point[0], 0.0, point[1]) for point in lowest],
                "height": np.array([point[1] for point in lowest]) - ground,
            }
        )


def _torque_limits(model: Any, joints: list[int]) -> np.ndarray:
    """Return the maximum actuator torques of joints, (J,); NaN for unlimited ones."""
    limits = np.full(len(joints), np.nan)
    for index, joint in enumerate(joints):
        bounds = []
        if model.jnt_actfrclimited[joint]:
            bounds.append(np.abs(model.jnt_actfrcrange[joint]).max())
        drives = (model.actuator_trnid[:, 0] == joint) & (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT)
        for actuator in np.flatnonzero(drives):
            gear = abs(model.actuator_gear[actuator, 0])
            is_motor = model.actuator_gaintype[actuator] == 0 and model.actuator_biastype[actuator] == 0
            if model.actuator_forcelimited[actuator]:
                bounds.append(gear * np.abs(model.actuator_forcerange[actuator]).max())
            if is_motor and model.actuator_ctrllimited[actuator]:
                gain = abs(model.actuator_gainprm[actuator, 0])
                bounds.append(gear * gain * np.abs(model.actuator_ctrlrange[actuator]).max())
        if bounds:
            limits[index] = min(bounds)
    return limits


def _call_after(base: Any, method: str, then: Any) -> None:
    """Make `then` run after each call of a method."""
    original = getattr(base, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        then()
        return result

    setattr(base, method, wrapped)
