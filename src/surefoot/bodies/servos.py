"""Replacement of a model's actuators by position servos."""

import dataclasses

import mujoco
import numpy as np

from surefoot.bodies.parts import BY_JOINT, driven_joints

# Default stiffness: the torque limit is reached at this error, rad (m for slides).
_FULL_TORQUE_ERROR = 0.6
# Without a torque limit, the default stiffness is this fraction of weight times standing height, N m / rad.
_WEIGHT_FRACTION = 0.5
_DAMPING_RATIO = 0.5


@dataclasses.dataclass(frozen=True)
class Servo:
    """A position servo.

    Attributes:
        kp: stiffness, N m / rad; None for the default.
        kd: damping, N m s / rad; None for the default.
        limit: largest torque, N m; inf if unknown.
    """

    kp: float | None
    kd: float | None
    limit: float


def find_servo(model: mujoco.MjModel, joint: str) -> Servo:
    """Return the gains and torque limit that a model defines for a joint."""
    number = model.joint(joint).id
    limit = float(model.jnt_actfrcrange[number, 1]) if model.jnt_actfrclimited[number] else np.inf
    kp = kd = None
    for actuator in range(model.nu):
        if not _drives(model, actuator, number):
            continue
        gear = abs(float(model.actuator_gear[actuator, 0]))
        gain, (_, stiffness, damping) = model.actuator_gainprm[actuator, 0], model.actuator_biasprm[actuator, :3]
        if model.actuator_biastype[actuator] == int(mujoco.mjtBias.mjBIAS_AFFINE) and gain > 0 and stiffness == -gain:
            kp, kd = float(gain) * gear**2, -float(damping) * gear**2
        elif (
            model.actuator_biastype[actuator] == int(mujoco.mjtBias.mjBIAS_NONE)
            and model.actuator_ctrllimited[actuator]
        ):
            limit = min(limit, abs(float(model.actuator_ctrlrange[actuator, 1] * gain)) * gear)
        if model.actuator_forcelimited[actuator]:
            limit = min(limit, float(model.actuator_forcerange[actuator, 1]) * gear)
    # A limit of zero means no limit.
    return Servo(kp, kd, limit if limit > 0 else np.inf)


def add_servos(spec: mujoco.MjSpec, model: mujoco.MjModel, servos: dict[str, Servo], height_m: float) -> None:
    """Replace all actuators of joints by position servos with the joints' names, in the order of `servos`.

    Sensors and keyframes are deleted, as they may refer to the old actuators.

    Args:
        spec: the model to change.
        model: the same model, compiled.
        servos: servo of each joint.
        height_m: standing height of the trunk.
    """
    for group in (spec.sensors, spec.keys):
        for element in list(group):
            spec.delete(element)
    replaced = [
        model.actuator(i).name for i in range(model.nu) if any(_drives(model, i, j) for j in driven_joints(model))
    ]
    for name in replaced:
        spec.delete(spec.actuator(name))
    inertia = _joint_inertias(model)
    weight = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
    for joint, servo in servos.items():
        kp = servo.kp
        if kp is None:
            finite = np.isfinite(servo.limit)
            kp = servo.limit / _FULL_TORQUE_ERROR if finite else _WEIGHT_FRACTION * weight * height_m
        kd = servo.kd
        if kd is None:
            kd = 2 * _DAMPING_RATIO * float(np.sqrt(kp * inertia[model.joint(joint).dofadr[0]]))
        added = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        added.set_to_position(kp=kp, kv=kd)
        if np.isfinite(servo.limit):
            added.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
            added.forcerange = [-servo.limit, servo.limit]
    # With implicit integration the servos' damping is stable at larger time steps.
    if spec.option.integrator == mujoco.mjtIntegrator.mjINT_EULER:
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def _drives(model: mujoco.MjModel, actuator: int, joint: int) -> bool:
    return bool(model.actuator_trntype[actuator] in BY_JOINT and model.actuator_trnid[actuator, 0] == joint)


def _joint_inertias(model: mujoco.MjModel) -> np.ndarray:
    """Return the diagonal of the joint-space inertia, (nv,)."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    return np.diag(full).copy()
