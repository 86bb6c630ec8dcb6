"""Read a body's movement from inside its simulator, and change nothing there.

A probe of MuJoCo samples at every step of the physics where the environment steps as Gymnasium's own do, because a
policy that acts 20 times a second takes a stride in five of its steps; elsewhere at every step of the environment.
"""

import dataclasses
import math
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from surefoot.bodies.body import Body
from surefoot.gait.contact_geometry import ground_heights, lowest_points
from surefoot.tasks.task_env import TaskEnv


@dataclasses.dataclass(frozen=True, eq=False)
class Build:
    """What a model states of its body; NaN or infinity where it states nothing.

    Attributes:
        step_s: time from one sample to the next.
        mass_kg: of the whole body.
        gravity: m/s^2.
        joint_range: (J, 2) radians.
        torque_limit: (J,) N m, the largest that the motors can give.
        speed_limit: (J,) rad/s.
    """

    step_s: float
    mass_kg: float
    gravity: float
    joint_range: np.ndarray
    torque_limit: np.ndarray
    speed_limit: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """How a body with J joints and F feet moved, at T samples.

    Attributes:
        time: (T,) s since the start of the episode.
        angle: (T, J) radians.
        speed: (T, J) rad/s.
        torque: (T, J) N m that the motors give.
        position: (T, 3) m, of the trunk; z is up.
        orientation: (T, 4), of the trunk, a quaternion w x y z.
        velocity: (T, 3) m/s, of the trunk.
        contact: (T, F) bool, whether a foot presses on the ground.
        force: (T, F) N, by which it does; NaN where the simulator does not say.
        other: (T,) 1 where another part presses on the ground, else 0; NaN where the simulator does not say.
        foot: (T, F, 3) m.
        height: (T, F) m, of the lowest point of a foot above the ground; NaN where that is not known.
    """

    time: np.ndarray
    angle: np.ndarray
    speed: np.ndarray
    torque: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    velocity: np.ndarray
    contact: np.ndarray
    force: np.ndarray
    other: np.ndarray
    foot: np.ndarray
    height: np.ndarray


class Probe(Protocol):
    """What samples one environment; `begin` an episode, then step it, then ask for the `motion`."""

    @property
    def build(self) -> Build:
        """What the model states of the body."""
        ...

    def begin(self) -> None:
        """Forget what was sampled so far."""
        ...

    def motion(self) -> Motion:
        """Return what was sampled since `begin`."""
        ...


def find_probe(env: gymnasium.Env, body: Body) -> Probe | None:
    """Return a probe for a body in an environment, or None where the body is not there under its names."""
    base: Any = env.unwrapped
    try:
        if hasattr(base, "model") and hasattr(base, "data"):
            return MujocoProbe(base, body)
        if any(kind.__name__ == "BipedalWalker" for kind in type(base).__mro__):
            return WalkerProbe(base, body)
    except KeyError:
        return None
    return None


class MujocoProbe:
    """Samples a MuJoCo environment that offers its `model` and `data`.

    Raises:
        KeyError: the model has no part of one of the body's names.
    """

    def __init__(self, base: Any, body: Body) -> None:
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
        self._rows: list[tuple] = []
        steps = getattr(type(base), "_step_mujoco_simulation", None)
        inside = steps is MujocoEnv._step_mujoco_simulation
        if inside:
            base._step_mujoco_simulation = self._simulate
        elif isinstance(base, TaskEnv):
            inside = True
            base.simulate = self._step
        else:
            _call_after(base, "step", self._sample_now)
        # Only then is what the step computed on the way that of the state before it.
        self._euler = model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4
        self.build = Build(
            step_s=float(model.opt.timestep if inside else getattr(base, "dt", model.opt.timestep)),
            mass_kg=float(model.body_subtreemass[model.body_rootid[self._trunk]]),
            gravity=float(np.linalg.norm(model.opt.gravity)),
            joint_range=np.where(model.jnt_limited[joints][:, None] > 0, model.jnt_range[joints], np.nan),
            torque_limit=_torque_limits(model, joints),
            speed_limit=np.full(len(joints), body.speed_limit or np.nan),
        )

    def begin(self) -> None:
        """Forget what was sampled so far."""
        self._rows = []

    def motion(self) -> Motion:
        """Return what was sampled since `begin`."""
        time, angle, speed, torque, position, orientation, velocity, force, other, centre, turn = (
            np.array(column, float) for column in zip(*self._rows, strict=True)
        )
        model, data, ground = self._model, self._data, self._ground
        level = (model.geom_type[ground], model.geom_size[ground], data.geom_xpos[ground], data.geom_xmat[ground])
        points, column = [], 0
        for geoms in self._soles:
            own = [
                lowest_points(model.geom_type[geom], model.geom_size[geom], centre[:, column + i], turn[:, column + i])
                for i, geom in enumerate(geoms)
            ]
            column += len(geoms)
            lowest = np.argmin([point[:, 2] for point in own], axis=0)
            points.append(np.array(own)[lowest, np.arange(len(time))])
        foot = np.stack(points, axis=1)
        height = np.stack([point[:, 2] - ground_heights(*level, point[:, :2]) for point in points], axis=1)
        return Motion(
            time, angle, speed, torque, position, orientation, velocity, force > 0, force, other, foot, height
        )

    def _simulate(self, ctrl: np.ndarray, n_frames: int) -> None:
        """Do what MujocoEnv does, one step of the physics at a time."""
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
        self._rows.append(
            (
                time,
                angle,
                speed,
                data.qfrc_actuator[self._dof],
                data.xpos[self._trunk].copy(),
                data.xquat[self._trunk].copy(),
                velocity[3:],
                force,
                other,
                data.geom_xpos[self._sole_geoms],
                data.geom_xmat[self._sole_geoms],
            )
        )

    def _forces(self) -> tuple[np.ndarray, bool]:
        """Return by how much each foot presses on what does not move, (F,) N, and whether another part does."""
        force, other = np.zeros(len(self._soles)), False
        data, wrench = self._data, np.zeros(6)
        if data.ncon:
            geoms = data.contact.geom
            static = self._static[geoms]
            for index in np.flatnonzero(static.any(axis=1)):
                mujoco.mj_contactForce(self._model, data, int(index), wrench)
                foot = self._foot_of[geoms[index, 1 if static[index, 0] else 0]]
                if foot >= 0:
                    force[foot] += wrench[0]
                elif wrench[0] > 0:
                    other = True
        return force, other


class WalkerProbe:
    """Samples Gymnasium's BipedalWalker, which lives in a plane: its x and y are our x and z."""

    def __init__(self, base: Any, body: Body) -> None:
        from gymnasium.envs.box2d import bipedal_walker as walker

        if (len(body.joints), len(body.feet)) != (4, 2):
            raise KeyError("a BipedalWalker has four joints and two feet")
        self._base, self._fps, self._walker = base, walker.FPS, walker
        self._rows: list[tuple] = []
        self._plain = not base.hardcore  # else obstacles lie on the ground that the environment knows
        _call_after(base, "step", self._sample)

    @property
    def build(self) -> Build:
        """What the walker is made of, once an episode has begun."""
        base, walker = self._base, self._walker
        return Build(
            step_s=1 / walker.FPS,
            mass_kg=float(sum(part.mass for part in [base.hull, *base.legs])),
            gravity=float(abs(base.world.gravity[1])),
            joint_range=np.array([[joint.lowerLimit, joint.upperLimit] for joint in base.joints]),
            torque_limit=np.full(4, float(walker.MOTORS_TORQUE)),
            speed_limit=np.array([walker.SPEED_HIP, walker.SPEED_KNEE] * 2, float),
        )

    def begin(self) -> None:
        """Forget what was sampled so far."""
        self._rows = []

    def motion(self) -> Motion:
        """Return what was sampled since `begin`."""
        time, angle, speed, torque, position, orientation, velocity, contact, foot, height = (
            np.array(column, float) for column in zip(*self._rows, strict=True)
        )
        unknown = np.full((len(time), 2), np.nan)
        return Motion(
            *(time, angle, speed, torque, position, orientation, velocity),
            *(contact > 0, unknown, unknown[:, 0], foot, height),
        )

    def _sample(self) -> None:
        base, half_x, half_y = self._base, 0.4 * self._walker.LEG_W, self._walker.LEG_H / 2
        joints, hull, feet = base.joints, base.hull, [base.legs[1], base.legs[3]]
        soles = [[foot.GetWorldPoint((side * half_x, -half_y)) for side in (-1, 1)] for foot in feet]
        lowest = [min(points, key=lambda point: point[1]) for points in soles]
        ground = np.interp([x for x, _ in lowest], base.terrain_x, base.terrain_y) if self._plain else math.nan
        (x, z), (vx, vz), turn = hull.position, hull.linearVelocity, hull.angle / 2
        self._rows.append(
            (
                len(self._rows) / self._fps,
                [joint.angle for joint in joints],
                [joint.speed for joint in joints],
                [joint.GetMotorTorque(self._fps) for joint in joints],
                (x, 0.0, z),
                (math.cos(turn), 0.0, -math.sin(turn), 0.0),
                (vx, 0.0, vz),
                [bool(foot.ground_contact) for foot in feet],
                [(point[0], 0.0, point[1]) for point in lowest],
                np.array([point[1] for point in lowest]) - ground,
            )
        )


def _torque_limits(model: Any, joints: list[int]) -> np.ndarray:
    """Return the largest torques (J,) that the actuators of joints can give; NaN where there is no bound."""
    limits = np.full(len(joints), np.nan)
    for index, joint in enumerate(joints):
        found = []
        if model.jnt_actfrclimited[joint]:
            found.append(np.abs(model.jnt_actfrcrange[joint]).max())
        for actuator in np.flatnonzero(model.actuator_trnid[:, 0] == joint):
            if model.actuator_trntype[actuator] != mujoco.mjtTrn.mjTRN_JOINT:
                continue
            gear = abs(model.actuator_gear[actuator, 0])
            plain = model.actuator_gaintype[actuator] == 0 and model.actuator_biastype[actuator] == 0
            if model.actuator_forcelimited[actuator]:
                found.append(gear * np.abs(model.actuator_forcerange[actuator]).max())
            if plain and model.actuator_ctrllimited[actuator]:
                gain = abs(model.actuator_gainprm[actuator, 0])
                found.append(gear * gain * np.abs(model.actuator_ctrlrange[actuator]).max())
        if found:
            limits[index] = min(found)
    return limits


def _call_after(base: Any, method: str, then: Any) -> None:
    """Have `then` called after each call of a method of an object."""
    original = getattr(base, method)

    def called(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        then()
        return result

    setattr(base, method, called)
