"""A runner of 80 kg that moves in a plane, driven by 18 muscles: the model of the contest "Learning to Run" in MuJoCo.

Masses, joints, muscles and their source and licence are in runner.toml.
"""

import functools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from surefoot.bodies.body import Body, Foot
from surefoot.bodies.scene import new_scene

LEGS = ("r", "l")
LEG_JOINTS = tuple(f"{joint}_{leg}" for leg in LEGS for joint in ("hip", "knee", "ankle"))
# Coordinates in the order of the contest: angles of the pelvis (leaning back is positive), the hip (flexion), the knee
# (extension) and the ankle (dorsiflexion) in rad; position of the pelvis in m.
COORDINATES = ("pelvis_tilt", "pelvis_tx", "pelvis_ty", *LEG_JOINTS)
# Index of each coordinate in MuJoCo's `qpos` and `qvel`: slides come before the rotation, so that their axes are fixed.
COORDINATE_INDICES = np.array([2, 0, 1, 3, 4, 5, 6, 7, 8])
DEFAULT_POSE = np.array([-0.05, 0, 0.91, 0, 0, 0, 0, 0, 0])  # the contest's start, in the order of COORDINATES
_MUSCLE_NAMES = ("hamstrings", "bifemsh", "glut_max", "iliopsoas", "rect_fem", "vasti", "gastroc", "soleus", "tib_ant")
MUSCLES = tuple(f"{muscle}_{leg}" for leg in LEGS for muscle in _MUSCLE_NAMES)
LIMITS = tuple(f"{joint} limit" for joint in LEG_JOINTS)  # tendons; their length is the joint's angle
GRAVITY = 9.80665  # m/s^2

BODY = Body(
    name="Runner",
    trunk="pelvis",
    joints=LEG_JOINTS,
    feet=(Foot("L", ("heel_l", "toe_l")), Foot("R", ("heel_r", "toe_r"))),
    joint_pairs=tuple(zip(LEG_JOINTS[3:], LEG_JOINTS[:3], strict=True)),
    foot_pairs=(("L", "R"),),
)

_TO_MUJOCO = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # from x forward, y up, z right to x forward, y left, z up
_AXIS = [0, -1, 0]  # of OpenSim's rotations about z
# Colours of shapes: trunk and right leg are lighter than the left leg, which is behind them in a view from the right.
_LIGHT, _DARK, _MUSCLE_COLOUR = [0.86, 0.83, 0.77, 1], [0.6, 0.58, 0.55, 1], [0.55, 0.2, 0.18, 1]


@functools.cache
def figures() -> dict[str, Any]:
    """Return the content of runner.toml."""
    return tomllib.loads(Path(__file__).with_name("runner.toml").read_text(encoding="utf-8"))


def make_scene(timestep_s: float = 0.005, visuals: bool = True) -> mujoco.MjSpec:
    """Return a scene with the runner, in the plane y = 0, running along x.

    Controls are the excitations of `MUSCLES`, 0 to 1; their activations are `act`. Bodies are "pelvis" (with torso and
    head) and, for each leg, "femur_r", "tibia_r", "talus_r" (with calcaneus and toes). A site marks the origin of each
    of the model's parts: "pelvis", "torso", "head", "femur_r", "tibia_r", "talus_r", "calcn_r", "toes_r" and so on.
    The tendons are `MUSCLES`, then `LIMITS`.

    Args:
        timestep_s: physics time step; the integrator is stable up to 0.01.
        visuals: whether to add parts that do not collide.
    """
    spec = new_scene(timestep_s, "elliptic")
    spec.option.impratio = figures()["contact"]["impratio"]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_DISCRETE
    spec.option.gravity = [0, 0, -GRAVITY]
    pelvis = spec.worldbody.add_body(name="pelvis")
    for name, kind, axis in (
        ("pelvis_tx", mujoco.mjtJoint.mjJNT_SLIDE, [1, 0, 0]),
        ("pelvis_ty", mujoco.mjtJoint.mjJNT_SLIDE, [0, 0, 1]),
        ("pelvis_tilt", mujoco.mjtJoint.mjJNT_HINGE, _AXIS),
    ):
        pelvis.add_joint(name=name, type=kind, axis=axis)
    frames = _add_parts(spec, pelvis, visuals)
    _add_contact_spheres(frames)
    for leg in LEGS:
        for name in figures()["muscles"]:
            _add_muscle(spec, frames, name, leg)
    _add_limits(spec)
    return spec


def _point(position: Sequence[float], leg: str = "") -> np.ndarray:
    """Return a position or axis of OpenSim's frame, given for the right side, in MuJoCo's frame."""
    x, y, z = position
    return _TO_MUJOCO @ [x, y, -z if leg == "l" else z]


class _Frame(NamedTuple):
    """The frame of a part: its MuJoCo body, and its origin and axes (columns) there."""

    body: mujoco.MjsBody
    origin: np.ndarray
    axes: np.ndarray

    def point(self, position: Sequence[float], leg: str = "") -> np.ndarray:
        return self.origin + self.axes @ _point(position, leg)


def _add_parts(spec: mujoco.MjSpec, pelvis: mujoco.MjsBody, visuals: bool) -> dict[str, _Frame]:
    """Add the bodies, joints, sites, shapes and masses of all parts; return the parts' frames."""
    frames = {"": _Frame(pelvis, np.zeros(3), np.eye(3))}
    masses: dict[str, list[tuple[float, np.ndarray, np.ndarray]]] = {}
    for leg in ("", *LEGS):
        for name, part in figures()["leg" if leg else "trunk"].items():
            full_name = f"{name}_{leg}" if leg else name
            carrier = part.get("carrier", "")
            carrier = f"{carrier}_{leg}" if carrier in figures()["leg"] else carrier
            frame = frames[full_name] = _add_part(frames[carrier], full_name, part, leg)
            axes = frame.axes @ _TO_MUJOCO
            inertia = axes @ np.diag(part["inertia"]) @ axes.T
            masses.setdefault(frame.body.name, []).append((part["mass"], frame.point(part["com"], leg), inertia))
            for shape in part["shapes"] if visuals else ():
                frame.body.add_geom(
                    type=mujoco.mjtGeom.mjGEOM_CAPSULE,
                    fromto=np.concatenate([frame.point(shape["from"], leg), frame.point(shape["to"], leg)]),
                    size=[shape["radius"], 0, 0],
                    rgba=_DARK if leg == "l" else _LIGHT,
                    contype=0,
                    conaffinity=0,
                    group=2,
                )
    for name, parts in masses.items():
        _set_inertia(spec.body(name), parts)
    return frames


def _add_part(carrier: _Frame, name: str, part: dict[str, Any], leg: str) -> _Frame:
    """Add the site of a part, and its body and joint if it has a joint; return its frame."""
    frame = carrier._replace(origin=carrier.point(part.get("position", [0, 0, 0]), leg))
    if "joint" in part:
        pivot = _point(part.get("pivot", [0, 0, 0]), leg)
        body = carrier.body.add_body(name=name, pos=frame.origin + pivot)
        body.add_joint(name=f"{part['joint']}_{leg}", type=mujoco.mjtJoint.mjJNT_HINGE, axis=_AXIS, pos=-pivot)
        frame = _Frame(body, np.zeros(3), np.eye(3))
    sine, cosine = np.sin(part.get("turn", 0)), np.cos(part.get("turn", 0))
    frame = frame._replace(axes=frame.axes @ [[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, frame.axes.ravel())
    frame.body.add_site(name=name, pos=frame.origin, quat=quaternion, group=4)
    return frame


def _set_inertia(body: mujoco.MjsBody, parts: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> None:
    """Set the mass of a body to the sum of its parts', given as mass, centre of mass, and inertia about it."""
    mass = sum(part[0] for part in parts)
    centre = sum(part[0] * part[1] for part in parts) / mass
    inertia = np.zeros((3, 3))
    for part_mass, position, part_inertia in parts:
        arm = position - centre
        inertia += part_inertia + part_mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    body.explicitinertial = True
    body.mass, body.ipos = mass, centre
    body.fullinertia = inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def _add_contact_spheres(frames: dict[str, _Frame]) -> None:
    """Add the spheres "heel_r", "toe_r", "heel_l" and "toe_l"."""
    contact = figures()["contact"]
    for leg in LEGS:
        for name, part in contact["spheres"].items():
            frame = frames[f"{part}_{leg}"]
            frame.body.add_geom(
                name=f"{name}_{leg}",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                pos=frame.point(contact["position"], leg),
                size=[contact["radius"], 0, 0],
                friction=[contact["friction"], 0, 0],
                solref=contact["solref"],
                solimp=contact["solimp"],
                priority=1,
                contype=0,
                conaffinity=1,
                mass=0,
                group=3,
            )


def _add_muscle(spec: mujoco.MjSpec, frames: dict[str, _Frame], name: str, leg: str) -> None:
    """Add a muscle: its path, and a MuJoCo muscle whose parameters were fitted to OpenSim's forces in equilibrium."""
    muscle, full_name = figures()["muscles"][name], f"{name}_{leg}"
    tendon = spec.add_tendon(name=full_name, width=0.008, rgba=_MUSCLE_COLOUR)
    for index, (part, *position) in enumerate(muscle["path"]):
        frame = frames[part if part in figures()["trunk"] else f"{part}_{leg}"]
        site = f"{full_name} {index}"
        frame.body.add_site(name=site, pos=frame.point(position, leg), size=[0.005] * 3, group=4)
        tendon.wrap_site(site)
    actuator = spec.add_actuator(name=full_name, target=full_name, trntype=mujoco.mjtTrn.mjTRN_TENDON)
    actuator.set_to_muscle(
        timeconst=[0.01, 0.04],
        tausmooth=0,
        range=[0, 1],
        force=muscle["peak_force"] * muscle["scale"],
        **{name: muscle[name] for name in ("lmin", "lmax", "vmax", "fpmax", "fvmax")},
    )
    # MuJoCo derives the lengths of tendon and fibre from the path's lengths at the two ends of `range`.
    slack = muscle["slack_length"] + muscle["path_excess"]
    actuator.lengthrange = [slack, slack + muscle["optimal_length"]]
    actuator.ctrllimited, actuator.ctrlrange = mujoco.mjtLimited.mjLIMITED_TRUE, [0, 1]


def _add_limits(spec: mujoco.MjSpec) -> None:
    """Add the springs that limit the joints, as tendons with a range without force."""
    limits = figures()["limits"]
    for name, joint in zip(LIMITS, LEG_JOINTS, strict=True):
        low, high = limits[joint.split("_")[0]]
        springlength = [low - limits["slack"], high + limits["slack"]]
        tendon = spec.add_tendon(name=name, stiffness=[limits["stiffness"], 0, 0], springlength=springlength)
        tendon.wrap_joint(joint, 1)
