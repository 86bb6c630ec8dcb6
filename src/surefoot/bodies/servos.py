"""Replacement of a model's actuators by position servos."""

import dataclasses

import mujoco
import numpy as np

from surefoot.bodies.parts import BY_JOINT
from surefoot.bodies.scene import PLAIN

# Default stiffness: this fraction of weight times standing height, N m / rad, which holds a body that leans; but the
# torque limit is reached at an error between these, rad (m for slides).
_WEIGHT_FRACTION = 1.0
_LEAST_ERROR, _LARGEST_ERROR = 0.2, 0.6
_DAMPING_RATIO = 0.5
_MOST_TORQUE = 1e6  # N m; stands for a limit that is unknown
_SOLVER_ITERATIONS, _LINE_SEARCH_ITERATIONS = 100, 50  # MuJoCo's defaults


@dataclasses.dataclass(frozen=True)
class Servo:
    """A position servo."""

    kp: float | None  # stiffness, N m / rad; None for the default
    kd: float | None  # damping, N m s / rad; None for the default
    low: float  # least torque, N m; -inf if unknown
    high: float  # largest torque, N m; inf if unknown


def find_servo(model: mujoco.MjModel, joint: str) -> Servo:
    """Return the gains and torque limits that a model defines for a joint."""
    number = model.joint(joint).id
    low, high = model.jnt_actfrcrange[number] if model.jnt_actfrclimited[number] else (-np.inf, np.inf)
    kp, kd = None, 0.0
    for actuator in range(len(model.actuator_trntype)):
        if model.actuator_trntype[actuator] not in BY_JOINT or model.actuator_trnid[actuator, 0] != number:
            continue
        gear, gain = model.actuator_gear[actuator, 0], model.actuator_gainprm[actuator, 0]
        _, stiffness, damping = model.actuator_biasprm[actuator, :3]
        kind, limits = model.actuator_biastype[actuator], []
        if kind == int(mujoco.mjtBias.mjBIAS_AFFINE):
            kd -= float(damping) * gear**2
            if gain > 0 and stiffness == -gain:
                kp = float(gain) * gear**2
        elif kind == int(mujoco.mjtBias.mjBIAS_NONE) and model.actuator_ctrllimited[actuator]:
            limits.append(model.actuator_ctrlrange[actuator] * gain)
        if model.actuator_forcelimited[actuator]:
            limits.append(model.actuator_forcerange[actuator])
        for limit in limits:
            low, high = max(low, min(limit * gear)), min(high, max(limit * gear))
    if low >= high:  # an empty range means no limit
        low, high = -np.inf, np.inf
    return Servo(kp, float(kd) if kp is not None or kd > 0 else None, float(low), float(high))


def add_servos(spec: mujoco.MjSpec, model: mujoco.MjModel, servos: dict[str, Servo], height_m: float) -> None:
    """Replace all actuators by position servos with the joints' names, in the order of `servos`.

    Elements that may refer to actuators are deleted. `model` is `spec` compiled; `height_m` is the standing height of
    the trunk.
    """
    for group in (spec.sensors, spec.keys, spec.tuples, spec.actuators):
        for element in list(group):
            spec.delete(element)
    inertia = _joint_inertias(model)
    weight = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
    for joint, servo in servos.items():
        limit = max(abs(servo.low), abs(servo.high))
        kp, kd = servo.kp, servo.kd
        if kp is None:
            kp = _WEIGHT_FRACTION * weight * height_m
            if np.isfinite(limit):
                kp = min(max(kp, limit / _LARGEST_ERROR), limit / _LEAST_ERROR)
        if kd is None:
            kd = 2 * _DAMPING_RATIO * float(np.sqrt(kp * inertia[model.joint(joint).dofadr[0]]))
        # The file's defaults are not for this servo.
        added = spec.add_actuator(PLAIN.default, name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        added.set_to_position(kp=kp, kv=kd)
        if np.isfinite([servo.low, servo.high]).any():
            added.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
            added.forcerange = [max(servo.low, -_MOST_TORQUE), min(servo.high, _MOST_TORQUE)]
    # With implicit integration the servos' damping is stable at larger time steps. Runge-Kutta computes each step four
    # times, and the solver PGS needs many more iterations than Newton's.
    spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    if spec.option.integrator in (mujoco.mjtIntegrator.mjINT_EULER, mujoco.mjtIntegrator.mjINT_RK4):
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Models made for MJX cap the solver at few iterations, too few for other integrators and for pushes.
    spec.option.iterations = max(spec.option.iterations, _SOLVER_ITERATIONS)
    spec.option.ls_iterations = max(spec.option.ls_iterations, _LINE_SEARCH_ITERATIONS)


def _joint_inertias(model: mujoco.MjModel) -> np.ndarray:
    """Return the inertia that each joint moves, (nv,), with the other joints fixed and the trunk free.

    It is less than the diagonal of the joint-space inertia where a joint moves much of the body, as that of a waist
    does: there, the trunk yields.
    """
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    inertia = np.diag(full).copy()
    for joint in np.flatnonzero(model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)):
        trunk = slice(model.jnt_dofadr[joint], model.jnt_dofadr[joint] + 6)
        coupling = full[trunk]
        inertia -= (coupling * np.linalg.lstsq(full[trunk, trunk], coupling)[0]).sum(0)
    return np.maximum(np.nan_to_num(inertia), 0)
