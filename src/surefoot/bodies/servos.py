"""Give joints position servos in the place of whatever drives them."""

import dataclasses

import mujoco
import numpy as np

from surefoot.bodies.parts import BY_JOINT, driven_joints

# Where nothing is stated: all of its torque is spent at this error, in rad (m for slides).
_FULL_AT = 0.6
# Without a limit of torque: at an error of 1 rad a servo holds half of the weight at the lever of the trunk's height.
_SHARE_OF_WEIGHT = 0.5
_DAMPING_RATIO = 0.5


@dataclasses.dataclass(frozen=True)
class Servo:
    """A position servo: kp in N m / rad, kd in N m s / rad (None: to be found), the largest torque in N m or inf."""

    kp: float | None
    kd: float | None
    limit: float


def find_servo(model: mujoco.MjModel, joint: str) -> Servo:
    """Return what the model knows of a joint's drive: a servo's gains, or how strong it is."""
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
    # Nothing is driven by no force at all; such a limit says that none was written down.
    return Servo(kp, kd, limit if limit > 0 else np.inf)


def add_servos(spec: mujoco.MjSpec, model: mujoco.MjModel, servos: dict[str, Servo], height_m: float) -> None:
    """Replace all drives of joints by servos, called as their joints and in the order of `servos`.

    Args:
        spec: changed; its sensors and keyframes, which may speak of other drives, go.
        model: the same, compiled, in whose `qpos0` the body is about as it stands.
        servos: by joint.
        height_m: of the trunk as it stands.
    """
    for group in (spec.sensors, spec.keys):
        for one in list(group):
            spec.delete(one)
    gone = [model.actuator(i).name for i in range(model.nu) if any(_drives(model, i, j) for j in driven_joints(model))]
    for name in gone:
        spec.delete(spec.actuator(name))
    inertia = _joint_inertias(model)
    weight = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
    for joint, servo in servos.items():
        kp = servo.kp
        if kp is None:
            finite = np.isfinite(servo.limit)
            kp = servo.limit / _FULL_AT if finite else _SHARE_OF_WEIGHT * weight * height_m
        kd = servo.kd
        if kd is None:
            kd = 2 * _DAMPING_RATIO * float(np.sqrt(kp * inertia[model.joint(joint).dofadr[0]]))
        added = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        added.set_to_position(kp=kp, kv=kd)
        if np.isfinite(servo.limit):
            added.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
            added.forcerange = [-servo.limit, servo.limit]
    # A servo's damping is stable at larger steps where it is integrated implicitly.
    if spec.option.integrator == mujoco.mjtIntegrator.mjINT_EULER:
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def _drives(model: mujoco.MjModel, actuator: int, joint: int) -> bool:
    return bool(model.actuator_trntype[actuator] in BY_JOINT and model.actuator_trnid[actuator, 0] == joint)


def _joint_inertias(model: mujoco.MjModel) -> np.ndarray:
    """Return what each degree of freedom has to turn, (nv,): the diagonal of the inertia."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    return np.diag(full).copy()
