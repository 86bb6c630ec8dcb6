"""The robot of the velocity task: its servos, what it senses, and how it stands."""

import mujoco
import numpy as np

from surefoot.bodies import anymal_c
from surefoot.bodies.scene import new_scene
from surefoot.tasks.velocity.terrain import Terrain

# 5 ms is stable with these servos, and Newton's iterations are not capped: with 4 of them random actions made the
# solver diverge, and they take no less time (64 copies, random actions).
PHYSICS_STEP_S, FRAME_SKIP = 0.005, 4
STIFFNESS, DAMPING = 80.0, 2.0
POSE = np.array([*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2])
FOOT_RADIUS_M = 0.03
# Half lengths of the box and the radius of the cylinders of which the trunk's hull is made (bodies/anymal_c.toml).
TRUNK_LENGTH_M, TRUNK_WIDTH_M, TRUNK_RADIUS_M = 0.5245, 0.07, 0.09
# How far the feet are ahead and to the side when it stands.
STANCE_M = 0.36, 0.30
# What sensors measure, each of four legs: foot and its velocity, knee, in the world; and whether the foot touches.
FEET, FEET_VELOCITY, KNEES, CONTACT = slice(0, 12), slice(12, 24), slice(24, 36), slice(36, 40)
# The maker tells nothing of the rotors; a shank has 0.02 about its knee, and some keeps it from ringing.
_ARMATURE = 0.01
_SOFT_RANGE = 0.9


def make_model(base: anymal_c.Base, motor: anymal_c.Motor, visuals: bool, terrain: Terrain | None) -> mujoco.MjModel:
    """Return the robot on its ground, with the sensors that `FEET` and the others find."""
    spec = new_scene(PHYSICS_STEP_S)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    anymal_c.add_anymal_c(
        spec,
        base,
        motor=motor,
        stiffness=STIFFNESS,
        servo_damping=DAMPING,
        joint_damping=0.0,
        joint_friction=0.0,
        armature=_ARMATURE,
        touching="feet and knees",
        foot_contact=3,
        visuals=visuals,
    )
    if terrain is not None:
        terrain.build(spec)
    sensor, kind = mujoco.mjtSensor, mujoco.mjtObj
    for leg in anymal_c.LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_GEOM, objname=f"{leg}_FOOT")
    for leg in anymal_c.LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMELINVEL, objtype=kind.mjOBJ_GEOM, objname=f"{leg}_FOOT")
    for leg in anymal_c.LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_XBODY, objname=f"{leg}_SHANK")
    for leg in anymal_c.LEGS:
        contact = spec.add_sensor(type=sensor.mjSENS_CONTACT, objtype=kind.mjOBJ_GEOM, objname=f"{leg}_FOOT")
        contact.intprm[:3] = 1, 0, 1  # whether there is any, in whatever order, of one contact
    return spec.compile()


def holding_torque(model: mujoco.MjModel) -> np.ndarray:
    """Return the torques, (12,), that hold the robot in its pose with a quarter of its weight on each foot."""
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[7:] = 1, POSE
    mujoco.mj_forward(model, data)
    share = -model.body_mass.sum() * model.opt.gravity[2] / 4
    torque = data.qfrc_bias[6:].copy()
    for leg in anymal_c.LEGS:
        foot, jacobian = model.geom(f"{leg}_FOOT"), np.zeros((3, model.nv))
        mujoco.mj_jac(model, data, jacobian, None, data.geom_xpos[foot.id], foot.bodyid[0])
        torque -= share * jacobian[2, 6:]
    return torque


def standing_height(angles: np.ndarray) -> np.ndarray:
    """Return how high a level trunk is if the lowest foot just touches the floor, (K,), for joint angles (K, 12)."""
    shoulder, hip, knee = (angles[:, joint::3] for joint in range(3))
    forward = np.array([1, 1, -1, -1])
    out = np.array([1, -1, 1, -1])
    # In the leg's own plane, down from the hip; then the shoulder turns that plane about x.
    whole = hip + knee
    down = 0.285 * np.cos(hip) + 0.31547 * np.cos(whole) + 0.08795 * forward * np.sin(whole)
    aside = out * (0.08381 + 0.1003 + 0.01305)
    return (down * np.cos(shoulder) - aside * np.sin(shoulder) + FOOT_RADIUS_M).max(1)


def soft_range(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle nine tenths of the joints' ranges, (12,) each, counted from the pose, rad."""
    ranges = model.jnt_range[1:]
    centre, half = ranges.mean(1), _SOFT_RANGE * np.ptp(ranges, axis=1) / 2
    return (centre - half - POSE).astype(np.float32), (centre + half - POSE).astype(np.float32)
