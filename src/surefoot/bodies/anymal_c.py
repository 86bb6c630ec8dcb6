"""ANYmal C, a quadruped of twelve joints and 52 kg, built from primitive shapes.

Masses, inertias and dimensions are in anymal_c.xml, with their source and licence.
"""

from typing import Literal

import mujoco
import numpy as np

from surefoot.bodies.body import Body, Foot
from surefoot.bodies.scene import Contact, new_scene

Base = Literal["urdf", "menagerie"]
Motor = Literal["servo", "limited"]
Touching = Literal["feet", "feet and knees", "feet and trunk"]
LEGS = ("LF", "RF", "LH", "RH")
JOINTS = tuple(f"{leg}_{joint}" for leg in LEGS for joint in ("HAA", "HFE", "KFE"))

BODY = Body(
    name="ANYmal C",
    trunk="base",
    joints=JOINTS,
    feet=tuple(Foot(leg, (f"{leg}_FOOT",)) for leg in LEGS),
    joint_pairs=tuple(zip((*JOINTS[:3], *JOINTS[6:9]), (*JOINTS[3:6], *JOINTS[9:]), strict=True)),
    foot_pairs=(("LF", "RF"), ("LH", "RH")),
    speed_limit=7.5,
)

FOOT_RADIUS_M = 0.03
STANDING_POSE = np.array([*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2])
TORQUE_LIMIT = 80.0  # N m
# Torque at standstill; it falls linearly to 0 at the speed limit.
_STALL_TORQUE = 120.0
# Braking torque of the motors per speed, N m s / rad.
BACK_EMF = _STALL_TORQUE / 7.5
# Rotor inertia at the joint, kg m^2; not published. A shank has 0.016 about its knee: without armature, 80 N m take
# it beyond the motor's no-load speed within one physics step.
ARMATURE = 0.04


def make_scene(
    timestep_s: float,
    contact: Contact = "pyramidal",
    base: Base = "urdf",
    stiffness: float = 100.0,
    joint_damping: float = 1.0,
    servo_damping: float = 0.0,
    joint_friction: float = 0.1,
    armature: float = 0.0,
    touching: Touching = "feet and trunk",
    foot_contact: Literal[3, 6] = 6,
    motor: Motor = "servo",
    visuals: bool = True,
) -> mujoco.MjSpec:
    """Return a scene with the robot: a free body "base", twelve hinges, and a position servo for each, as in `JOINTS`.

    Args:
        timestep_s: see `new_scene`.
        contact: see `new_scene`.
        base: source of the base's mass and inertia: the maker's URDF (26.4 kg) or MuJoCo Menagerie (19.2 kg).
        stiffness: of the servos, N m / rad.
        joint_damping: N m s / rad.
        servo_damping: of the servos, N m s / rad; stable at larger time steps with the `implicitfast` integrator.
        joint_friction: dry friction of the joints, N m.
        armature: reflected inertia of the rotors, kg m^2.
        touching: parts that collide with the ground; knees are spheres "LF_KNEE" and so on.
        foot_contact: dimensions of the feet's contacts: 3 for sliding friction; 6 adds torsional and rolling friction,
            which is slower.
        motor: "servo" gives up to 80 N m at any speed; "limited" is a direct-current motor with the same limit and at
            most 120 (1 - v / 7.5) N m at speed v (rad/s), in both directions; it sets an implicit integrator.
        visuals: whether to add parts that do not collide; without them the motion is the same, and simulation is 12 %
            faster.
    """
    spec = new_scene(timestep_s, contact, "anymal_c.xml")
    if base == "menagerie":
        trunk = spec.body("base")
        trunk.mass, trunk.ipos = 19.2035, [0.0025, 0, 0.0502071]
        trunk.fullinertia = [0.217374, 0.639559, 0.624031, 0, 0, 0]
    for name in JOINTS:
        joint = spec.joint(name)
        joint.damping, joint.frictionloss, joint.armature = [joint_damping, 0, 0], joint_friction, armature
    if motor == "limited":
        _add_motors(spec, stiffness, servo_damping)
    else:
        for name in JOINTS:
            servo = _add_actuator(spec, name, name)
            servo.set_to_position(kp=stiffness, kv=servo_damping)
            _limit_force(servo, TORQUE_LIMIT)
    for leg in LEGS:
        spec.geom(f"{leg}_FOOT").condim = foot_contact
        if touching != "feet and knees":
            spec.delete(spec.geom(f"{leg}_KNEE"))
    for geom in list(spec.geoms):
        if geom.parent.name == "base" and touching != "feet and trunk":
            geom.conaffinity = 0
        if not (geom.conaffinity or geom.contype or visuals):
            spec.delete(geom)
    return spec


def _add_motors(spec: mujoco.MjSpec, stiffness: float, damping: float) -> None:
    """Add a direct-current motor with a position controller to each joint, as two actuators whose torques add up.

    The back-EMF brakes in proportion to the speed. The driver compensates it up to its largest voltage, which gives
    the torque at a standstill. Each torque is constant or linear in the speed, so an implicit integrator knows its
    derivative on both sides of the limit. With an explicit integrator the speed would oscillate about the no-load
    speed.
    """
    for joint in JOINTS:
        driver = _add_actuator(spec, joint, joint)
        # With a gain equal to the stiffness, MuJoCo would read the speed's coefficient as a damping ratio.
        driver.gainprm[0] = np.nextafter(stiffness, np.inf)
        driver.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        driver.biasprm[:3] = 0, -stiffness, BACK_EMF - damping
        _limit_force(driver, _STALL_TORQUE)
    for joint in JOINTS:  # after all drivers, so that the first actuators are those with controls
        brake = _add_actuator(spec, f"{joint} back-EMF", joint)
        brake.set_to_dcmotor([1, BACK_EMF], resistance=1, ctrlspec=mujoco.mjtCtrlInput.mjINPUT_NONE.value)
        spec.joint(joint).actfrclimited = mujoco.mjtLimited.mjLIMITED_TRUE
        spec.joint(joint).actfrcrange = [-TORQUE_LIMIT, TORQUE_LIMIT]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def _add_actuator(spec: mujoco.MjSpec, name: str, joint: str) -> mujoco.MjsActuator:
    return spec.add_actuator(name=name, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)


def _limit_force(actuator: mujoco.MjsActuator, limit: float) -> None:
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = [-limit, limit]
