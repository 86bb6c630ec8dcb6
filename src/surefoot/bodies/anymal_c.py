"""ANYmal C, a quadruped of twelve joints and 52 kg, built from primitive shapes.

Masses, inertias and dimensions are in anymal_c.toml, with their source and licence.
"""

import functools
import tomllib
from importlib import resources
from typing import Any, Literal

import mujoco
import numpy as np

from surefoot.bodies.body import Body, Foot
from surefoot.bodies.loader import Pose
from surefoot.bodies.robot import Robot, TrunkHull
from surefoot.bodies.scene import new_scene

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
    joint_pairs=tuple(
        (f"L{end}_{joint}", f"R{end}_{joint}") for end in "FH" for joint in ("HAA", "HFE", "KFE")
    ),
    foot_pairs=(("LF", "RF"), ("LH", "RH")),
    speed_limit=7.5,
)  # fmt: skip

# Geom groups that viewers show and hide by default.
_SHOWN, _HIDDEN = 2, 3
# Quaternions that rotate the z axis onto another axis.
_UPRIGHT_TO = {"x": [0.5**0.5, 0, 0.5**0.5, 0], "y": [0.5**0.5, 0.5**0.5, 0, 0], "z": [1, 0, 0, 0]}
# Velocity task: 5 ms is stable with these servos. The solver's iterations are not capped: with 4 of them random actions
# made it diverge, and the cap saved no time (64 environments).
_VELOCITY_TIMESTEP_S = 0.005
# With the pose itself as target, as in legged_gym, servos of 80 N m / rad yield until the robot kneels. The targets
# that hold the pose are used instead (see tasks/velocity).
_VELOCITY_STIFFNESS, _VELOCITY_DAMPING = 80.0, 2.0
# Rotor inertia at the joint, kg m^2; not published. A shank has 0.016 about its knee: without armature, 80 N m take
# it beyond the motor's no-load speed within one physics step.
ARMATURE = 0.04
FOOT_RADIUS_M = 0.03
STANDING_POSE = (*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2)
_RED, _DARK, _GREY, _RUBBER = (0.74, 0.12, 0.11, 1), (0.13, 0.14, 0.16, 1), (0.46, 0.48, 0.51, 1), (0.06, 0.06, 0.07, 1)


@functools.lru_cache
def figures() -> dict[str, Any]:
    """Return the contents of anymal_c.toml."""
    text = resources.files("surefoot.bodies").joinpath("anymal_c.toml").read_text("utf-8")
    return tomllib.loads(text)


def add_anymal_c(
    spec: mujoco.MjSpec,
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
) -> None:
    """Add the robot to a scene: a free body "base", twelve hinges, and a position servo for each, in `JOINTS` order.

    Args:
        spec: the scene.
        base: source of the base's mass and inertia: the maker's URDF (26.4 kg) or MuJoCo Menagerie (19.2 kg).
        stiffness: of the servos, N m / rad.
        joint_damping: N m s / rad.
        servo_damping: of the servos, N m s / rad; stable at larger time steps with the `implicitfast` integrator.
        joint_friction: dry friction of the joints, N m.
        armature: reflected inertia of the rotors, kg m^2.
        touching: parts that collide with the ground; knees are spheres "LF_KNEE" and so on, of `knee_radius`.
        foot_contact: dimensions of the feet's contacts: 3 for sliding friction; 6 adds torsional and rolling friction,
            which is slower.
        motor: "servo" gives up to 80 N m at any speed; "limited" is a direct-current motor with the same limit and at
            most 120 (1 - v / 7.5) N m at speed v (rad/s), in both directions; it sets an implicit integrator.
        visuals: whether to add parts that do not collide; without them the motion is the same, and simulation is 12 %
            faster.
    """
    known = figures()
    root = spec.worldbody.add_body(name="base", pos=[0, 0, known["zero_pose_height"]])
    root.add_freejoint(name="root")
    _set_inertia(root, known["base"][base])
    bodies = {"base": root}
    for link in known["links"]:
        body = bodies[link["parent"]].add_body(name=link["name"], pos=link["pos"])
        _set_inertia(body, link)
        body.add_joint(
            name=link["joint"],
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=_axis(link["axis"]),
            range=link["range"],
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            damping=joint_damping,
            frictionloss=joint_friction,
            armature=armature,
        )
        bodies[link["name"]] = body
    for shape in known["shapes"]:
        touches = shape["type"] == "sphere" or (shape["owner"] == "base" and touching == "feet and trunk")
        if touches or visuals:
            _add_shape(bodies[shape["owner"]], shape, touches, foot_contact)
    if visuals:
        _add_decoration(root)
    if touching == "feet and knees":
        _add_knees(bodies)
    if motor == "limited":
        _add_motors(spec, stiffness, servo_damping)
    else:
        for joint in JOINTS:
            servo = _add_actuator(spec, joint, joint)
            servo.set_to_position(kp=stiffness, kv=servo_damping)
            _limit_force(servo, known["torque_limit"])


def make_robot(base: Base = "urdf", motor: Motor = "limited", visuals: bool = True) -> Robot:
    """Return the robot of the velocity task, in a new scene with the robot's own servos (80 N m / rad, 2 N m s / rad).

    Args:
        base: see `add_anymal_c`.
        motor: see `add_anymal_c`.
        visuals: see `add_anymal_c`.
    """
    spec = new_scene(_VELOCITY_TIMESTEP_S)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    add_anymal_c(
        spec,
        base,
        motor=motor,
        stiffness=_VELOCITY_STIFFNESS,
        servo_damping=_VELOCITY_DAMPING,
        joint_damping=0.0,
        joint_friction=0.0,
        armature=ARMATURE,
        touching="feet and knees",
        foot_contact=3,
        visuals=visuals,
    )
    pose, count = np.array(STANDING_POSE), len(JOINTS)
    height_m = float(_standing_height(pose[None])[0])
    return Robot(
        spec=spec,
        body=BODY,
        pose=Pose(np.array([0, 0, height_m, 1, 0, 0, 0, *pose]), pose, height_m),
        standing_height=_standing_height,
        stiffness=np.full(count, _VELOCITY_STIFFNESS),
        torque_limit=np.full(count, figures()["torque_limit"]),
        speed_limit=np.full(count, figures()["speed_limit"]),
        sole_m=np.full(len(LEGS), FOOT_RADIUS_M),
        stance_m=(0.36, 0.30),
        trunk=TrunkHull(half_length_m=0.5245, half_width_m=0.07, radius_m=0.09),
        knees=tuple(f"{leg}_SHANK" for leg in LEGS),
        knee_radius_m=0.065,
        lateral_joints=tuple(range(0, count, 3)),
        look_height_m=0.5,
        back_emf=_back_emf() if motor == "limited" else 0.0,
    )


def _standing_height(angles: np.ndarray) -> np.ndarray:
    """Return the height of a level base whose lowest foot touches the floor, (K,) m, for joint angles (K, 12)."""
    haa, hfe, kfe = (angles[:, joint::3] for joint in range(3))
    forward = np.array([1, 1, -1, -1])
    out = np.array([1, -1, 1, -1])
    # First the height below the hip within the leg's plane, then the rotation of that plane about x by HAA.
    whole = hfe + kfe
    down = 0.285 * np.cos(hfe) + 0.31547 * np.cos(whole) + 0.08795 * forward * np.sin(whole)
    aside = out * (0.08381 + 0.1003 + 0.01305)
    return (down * np.cos(haa) - aside * np.sin(haa) + FOOT_RADIUS_M).max(1)


def _add_motors(spec: mujoco.MjSpec, stiffness: float, damping: float) -> None:
    """Add a direct-current motor with a position controller to each joint, as two actuators whose torques add up.

    The back-EMF brakes in proportion to the speed. The driver compensates it up to its largest voltage, which gives
    the torque at a standstill. Both torques are linear in the speed or constant, so that an implicit integrator has
    the right slope on both sides of the limit. An explicit integrator overshoots the no-load speed and rings.
    """
    known = figures()
    back_emf = _back_emf()
    for joint in JOINTS:
        driver = _add_actuator(spec, joint, joint)
        # With a gain equal to the stiffness, MuJoCo would read the speed's coefficient as a damping ratio.
        driver.gainprm[0] = np.nextafter(stiffness, np.inf)
        driver.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        driver.biasprm[:3] = 0, -stiffness, back_emf - damping
        _limit_force(driver, known["stall_torque"])
    for joint in JOINTS:  # after all drivers, so that the first actuators are those with controls
        brake = _add_actuator(spec, f"{joint} back-EMF", joint)
        brake.set_to_dcmotor([1, back_emf], resistance=1, ctrlspec=mujoco.mjtCtrlInput.mjINPUT_NONE.value)
        spec.joint(joint).actfrclimited = mujoco.mjtLimited.mjLIMITED_TRUE
        spec.joint(joint).actfrcrange = [-known["torque_limit"], known["torque_limit"]]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def _back_emf() -> float:
    """Return the motors' braking torque per speed, N m s / rad."""
    return figures()["stall_torque"] / figures()["speed_limit"]


def _add_actuator(spec: mujoco.MjSpec, name: str, joint: str) -> mujoco.MjsActuator:
    return spec.add_actuator(name=name, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)


def _limit_force(actuator: mujoco.MjsActuator, limit: float) -> None:
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = [-limit, limit]


def _add_knees(bodies: dict[str, mujoco.MjsBody]) -> None:
    for leg in LEGS:
        bodies[f"{leg}_SHANK"].add_geom(
            name=f"{leg}_KNEE",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[figures()["knee_radius"], 0, 0],
            contype=0,
            conaffinity=1,
            group=_HIDDEN,
        )


def _set_inertia(body: mujoco.MjsBody, link: dict[str, Any]) -> None:
    body.mass = link["mass"]
    body.ipos = link["com"]
    body.fullinertia = link["inertia"]
    body.explicitinertial = True


def _axis(name: str) -> list[int]:
    return [int(name == axis) for axis in "xyz"]


def _add_shape(body: mujoco.MjsBody, shape: dict[str, Any], touches: bool, foot_contact: int) -> None:
    """Add one part to its link."""
    geom = body.add_geom(
        type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape['type'].upper()}"),
        size=[*shape["size"], 0, 0][:3],
        pos=shape["pos"],
        contype=0,
        conaffinity=int(touches),
        group=_SHOWN,
        rgba=_colour(shape),
    )
    if "axis" in shape:
        geom.quat = _UPRIGHT_TO[shape["axis"]]
    if shape["type"] == "sphere":
        # Contact parameters of Menagerie; through its priority, the foot's friction applies instead of the ground's.
        geom.name = shape["part"]
        geom.priority = 1
        geom.condim = foot_contact
        geom.friction = [0.8, 0.02, 0.01]
        geom.solimp = [0.015, 1, 0.031, 0.5, 2]


def _colour(shape: dict[str, Any]) -> tuple[float, float, float, float]:
    if shape["type"] == "sphere":
        return _RUBBER
    if shape["owner"] == "base":
        return _RED if shape["part"] == "base" else _DARK
    return _GREY if shape["type"] == "box" or shape["part"].endswith("FOOT") else _DARK


def _add_decoration(root: mujoco.MjsBody) -> None:
    """Add a handle, a battery, lamps and cameras, which do not collide."""

    def add(kind: mujoco.mjtGeom, size: list[float], pos: list[float], colour, axis: str = "z") -> None:
        quat = _UPRIGHT_TO[axis]
        root.add_geom(type=kind, size=size, pos=pos, quat=quat, rgba=colour, contype=0, conaffinity=0, group=_SHOWN)

    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    add(box, [0.16, 0.075, 0.02], [0.06, 0, 0.105], _DARK)
    add(box, [0.26, 0.05, 0.012], [0, 0, -0.1], _DARK)
    for side in (-1, 1):
        capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
        add(capsule, [0.012, 0.1, 0], [0.05, 0.07 * side, 0.14], _GREY, "x")
        add(cylinder, [0.022, 0.006, 0], [0.527, 0.055 * side, 0.03], (0.9, 0.93, 0.96, 1), "x")
        add(cylinder, [0.022, 0.006, 0], [-0.527, 0.055 * side, 0.03], (0.9, 0.93, 0.96, 1), "x")
    for end in (-1, 1):
        add(box, [0.006, 0.03, 0.02], [0.527 * end, 0, -0.02], _GREY)
