"""A runner of 80 kg that moves in a plane, driven by 18 muscles: the model of the contest "Learning to Run" in MuJoCo.

Masses, joints and the strength of muscles, with their source and licence, are in gait9dof18musc.toml; what replaces
OpenSim's muscles, knee and contact is in runner.toml.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np

from surefoot.bodies.body import Body, Foot
from surefoot.bodies.runner_figures import figures, fitted
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
_TRUNK = ("ground", "pelvis", "torso", "head")
_JOINTS = {"femur": "hip", "tibia": "knee", "talus": "ankle"}  # by the body that they move
# Colours of shapes: trunk and right leg are lighter than the left leg, which is behind them in a view from the right.
_LIGHT, _DARK, _MUSCLE_COLOUR = [0.86, 0.83, 0.77, 1], [0.6, 0.58, 0.55, 1], [0.55, 0.2, 0.18, 1]


class JointLimit(NamedTuple):
    """Torque at the ends of a joint's range (OpenSim's CoordinateLimitForce), in N m, rad and s."""

    low: float
    high: float
    stiffness: float
    damping: float
    transition: float


@functools.cache
def joint_limits() -> dict[str, JointLimit]:
    """Return the limits of "hip", "knee" and "ankle"."""
    degree = np.pi / 180
    return {
        limit["joint"]: JointLimit(
            limit["lower_limit"] * degree,
            limit["upper_limit"] * degree,
            limit["upper_stiffness"] / degree,
            limit["damping"] / degree,
            limit["transition"] * degree,
        )
        for limit in figures()["limits"]
    }


def limit_torques(angles: Any, speeds: Any, xp: Any = np) -> Any:
    """Return OpenSim's torques at the ends of the joints' ranges, N m; MuJoCo's limits are fitted to them.

    Beyond its range a joint has a spring and a damper. Both grow with the smooth step 10 x^3 - 15 x^4 + 6 x^5 over the
    transition of 10 degrees.

    Args:
        angles: of `LEG_JOINTS`, (..., 6) rad.
        speeds: of `LEG_JOINTS`, (..., 6) rad/s.
        xp: numpy or jax.numpy.
    """
    low, high, stiffness, damping, transition = np.array([joint_limits()[name[:-2]] for name in LEG_JOINTS]).T
    above, below = (xp.clip(x / transition, 0, 1) for x in (angles - high, low - angles))
    above, below = (x**3 * (10 - 15 * x + 6 * x**2) for x in (above, below))
    return stiffness * (below * (low - angles) - above * (angles - high)) - damping * (above + below) * speeds


def make_scene(timestep_s: float = 0.005, visuals: bool = True, muscle_forces: bool = True) -> mujoco.MjSpec:
    """Return a scene with the runner, in the plane y = 0, running along x.

    Controls are the excitations of `MUSCLES`, 0 to 1; their activations are `act`. Bodies are "pelvis" (with torso and
    head) and, for each leg, "femur_r", "tibia_r", "talus_r" (with calcaneus and toes). A site marks the origin of each
    of the model's parts: "pelvis", "torso", "head", "femur_r", "tibia_r", "talus_r", "calcn_r", "toes_r" and so on.

    Args:
        timestep_s: physics time step; the integrator is stable up to 0.01.
        visuals: whether to add parts that do not collide.
        muscle_forces: whether MuJoCo's muscles act. Without them their activations still follow the excitations, for
            forces of `runner_muscles`.
    """
    spec = new_scene(timestep_s, "elliptic")
    spec.option.impratio = fitted()["contact"]["impratio"]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_DISCRETE
    spec.option.gravity = _point(figures()["gravity"])
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
        for muscle in figures()["muscles"]:
            actuator = _add_muscle(spec, frames, muscle["name"], muscle["max_isometric_force"], leg)
            if not muscle_forces:
                actuator.forcelimited, actuator.forcerange = mujoco.mjtLimited.mjLIMITED_TRUE, [-1e-9, 1e-9]
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
    frames = {"ground": _Frame(pelvis, np.zeros(3), np.eye(3))}
    masses: dict[str, list[tuple[float, np.ndarray, np.ndarray]]] = {}
    bodies = {body["name"]: body for body in figures()["bodies"]}
    for leg in ("", *LEGS):
        for name, figure in bodies.items():
            if (name in _TRUNK) == bool(leg):
                continue
            frame = frames[_name(name, leg)] = _add_part(frames[_name(figure["parent"], leg)], figure, leg)
            axes = frame.axes @ _TO_MUJOCO
            inertia = axes @ np.diag(figure["inertia"]) @ axes.T
            masses.setdefault(frame.body.name, []).append((figure["mass"], frame.point(figure["com"], leg), inertia))
            for shape in fitted()["shapes"][name] if visuals else ():
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


def _name(body: str, leg: str) -> str:
    """Return the full name of a body; those of the trunk have no leg."""
    return body if body in _TRUNK or not leg else f"{body}_{leg}"


def _add_part(parent: _Frame, figure: dict[str, Any], leg: str) -> _Frame:
    """Add the site of a part, and its body and joint if it is the first part of a leg's segment; return its frame."""
    name, joint = _name(figure["name"], leg), _JOINTS.get(figure["name"])
    frame = parent._replace(origin=parent.point(figure["origin"], leg))
    if joint:
        knee = fitted()["knee"] if joint == "knee" else {"centre": figure["origin"], "arm": [0, 0, 0]}
        arm = _point(knee["arm"], leg)
        body = parent.body.add_body(name=name, pos=parent.point(knee["centre"], leg) + arm)
        limit = fitted()["limits"][joint]
        body.add_joint(
            name=f"{joint}_{leg}",
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=_AXIS,
            pos=-arm,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=joint_limits()[joint][:2],
            solref_limit=limit["solref"],
            solimp_limit=limit["solimp"],
        )
        frame = _Frame(body, np.zeros(3), np.eye(3))
    if figure["name"] == "torso":  # the lumbar joint is locked
        turn = figures()["pose"]["lumbar_extension"]
        sine, cosine = np.sin(turn), np.cos(turn)
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
    contact, fit = figures()["contact"], fitted()["contact"]
    for leg in LEGS:
        for name in ("heel", "toe"):
            frame = frames[_name(contact[name]["body"], leg)]
            frame.body.add_geom(
                name=f"{name}_{leg}",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                pos=frame.point(contact[name]["at"], leg),
                size=[contact["radius"], 0, 0],
                friction=[contact["static_friction"], 0, 0],
                solref=fit["solref"],
                solimp=fit["solimp"],
                priority=1,
                contype=0,
                conaffinity=1,
                mass=0,
                group=3,
            )


def _add_muscle(
    spec: mujoco.MjSpec, frames: dict[str, _Frame], name: str, peak_force: float, leg: str
) -> mujoco.MjsActuator:
    """Add and return a muscle: its path, and a MuJoCo muscle whose parameters were fitted to OpenSim's forces.

    Args:
        spec: the scene.
        frames: frames of all parts.
        name: of the muscle, without its leg.
        peak_force: isometric, N.
        leg: "r" or "l".
    """
    muscle, full_name = fitted()["muscles"][name], f"{name}_{leg}"
    tendon = spec.add_tendon(name=full_name, width=0.01, rgba=_MUSCLE_COLOUR)
    for index, point in enumerate(muscle["path"]):
        frame, site = frames[_name(point["body"], leg)], f"{full_name} {index}"
        frame.body.add_site(name=site, pos=frame.point(point["at"], leg), size=[0.005] * 3, group=4)
        tendon.wrap_site(site)
    actuator = spec.add_actuator(name=full_name, target=full_name, trntype=mujoco.mjtTrn.mjTRN_TENDON)
    actuator.set_to_muscle(
        timeconst=[0.01, 0.04],
        tausmooth=0,
        range=[0, 1],
        force=peak_force * muscle["scale"],
        **{name: muscle[name] for name in ("lmin", "lmax", "vmax", "fpmax", "fvmax")},
    )
    # MuJoCo derives the lengths of tendon and fibre from the path's lengths at the two ends of `range`.
    slack = muscle["slack_length"] + muscle["path_excess"]
    actuator.lengthrange = [slack, slack + muscle["optimal_length"]]
    actuator.ctrllimited, actuator.ctrlrange = mujoco.mjtLimited.mjLIMITED_TRUE, [0, 1]
    return actuator
