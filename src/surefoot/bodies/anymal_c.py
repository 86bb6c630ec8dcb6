"""ANYmal C, a quadruped of twelve joints and 52 kg, of primitive shapes.

The figures stand in anymal_c.toml, with their source and licence.
"""

import functools
import tomllib
from importlib import resources
from typing import Any, Literal

import mujoco

from surefoot.bodies.body import Body, Foot

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

# Of the motors' supply; any will do, for torque and speed alone decide what it feeds.
_VOLTAGE = 48.0
# The groups of geoms that every viewer draws, and that none draws unless told to.
_PICTURED, _HIDDEN = 2, 3
# Rotations, as quaternions, that turn what stands along z to lie along an axis.
_UPRIGHT_TO = {"x": [0.5**0.5, 0, 0.5**0.5, 0], "y": [0.5**0.5, 0.5**0.5, 0, 0], "z": [1, 0, 0, 0]}
_RED, _DARK, _GREY, _RUBBER = (0.74, 0.12, 0.11, 1), (0.13, 0.14, 0.16, 1), (0.46, 0.48, 0.51, 1), (0.06, 0.06, 0.07, 1)


@functools.lru_cache
def figures() -> dict[str, Any]:
    """Return the figures of anymal_c.toml."""
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
    """Add the robot to a scene: a free base called "base", twelve hinges, a position servo for each, in `JOINTS` order.

    Feet and trunk, or what `touching` says, touch the ground; the other parts are there to be seen.

    Args:
        spec: the scene.
        base: whose mass and inertia of the base: those of the maker's URDF (26.4 kg), or of MuJoCo Menagerie (19.2 kg).
        stiffness: of the servos, N m / rad.
        joint_damping: N m s / rad.
        servo_damping: of the servos, N m s / rad; with the `implicitfast` integrator it is stable at larger time steps.
        joint_friction: of a joint that turns, N m.
        armature: inertia of the rotors behind their gears, kg m^2.
        touching: what touches the ground; knees do so as spheres called "LF_KNEE" and so on, of `knee_radius`.
        foot_contact: 3 for feet that grip, 6 if they resist turning and rolling too, which takes longer.
        motor: "servo" for up to 80 N m at any speed; "limited" for a direct-current motor behind the same limit, that
            gives no more than 120 (1 - v / 7.5) N m at a speed v (rad/s), forwards and backwards alike.
        visuals: whether to add what is only there to be seen; it moves the same without, in an eighth less time.
    """
    known = figures()
    root = spec.worldbody.add_body(name="base", pos=[0, 0, known["zero_pose_height"]])
    root.add_freejoint(name="root")
    _weigh(root, known["base"][base])
    bodies = {"base": root}
    for link in known["links"]:
        body = bodies[link["parent"]].add_body(name=link["name"], pos=link["pos"])
        _weigh(body, link)
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
        _add_looks(root)
    if touching == "feet and knees":
        _add_knees(bodies)
    for joint in JOINTS:
        _add_servo(spec, joint, stiffness, servo_damping, motor)


def _add_servo(spec: mujoco.MjSpec, joint: str, stiffness: float, damping: float, motor: Motor) -> None:
    known = figures()
    servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    if motor == "limited":
        servo.set_to_dcmotor(
            motorconst=[0, 0],
            resistance=0,
            nominal=[_VOLTAGE, known["stall_torque"], known["speed_limit"]],
            saturation=[known["torque_limit"], 0, 0],
            controller=[stiffness, 0, damping, 0, 0, _VOLTAGE],
            ctrlspec=mujoco.mjtCtrlInput.mjINPUT_POS.value,
        )
    else:
        servo.set_to_position(kp=stiffness, kv=damping)
        servo.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        servo.forcerange = [-known["torque_limit"], known["torque_limit"]]


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


def _weigh(body: mujoco.MjsBody, link: dict[str, Any]) -> None:
    body.mass = link["mass"]
    body.ipos = link["com"]
    body.fullinertia = link["inertia"]
    body.explicitinertial = True


def _axis(name: str) -> list[int]:
    return [int(name == axis) for axis in "xyz"]


def _add_shape(body: mujoco.MjsBody, shape: dict[str, Any], touches: bool, foot_contact: int) -> None:
    """Add one part, that touches the ground or does not."""
    geom = body.add_geom(
        type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape['type'].upper()}"),
        size=[*shape["size"], 0, 0][:3],
        pos=shape["pos"],
        contype=0,
        conaffinity=int(touches),
        group=_PICTURED,
        rgba=_colour(shape),
    )
    if "axis" in shape:
        geom.quat = _UPRIGHT_TO[shape["axis"]]
    if shape["type"] == "sphere":
        # Menagerie's feet: they alone decide how they slide, and in six dimensions resist turning and rolling too.
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


def _add_looks(root: mujoco.MjsBody) -> None:
    """Add what is only to be seen: a handle, a battery, lamps and eyes at the two faces."""

    def add(kind: mujoco.mjtGeom, size: list[float], pos: list[float], colour, axis: str = "z") -> None:
        quat = _UPRIGHT_TO[axis]
        root.add_geom(type=kind, size=size, pos=pos, quat=quat, rgba=colour, contype=0, conaffinity=0, group=_PICTURED)

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
