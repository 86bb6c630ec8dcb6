"""Check of standing: simulate a second at rest in the standing pose."""

import math
from collections.abc import Iterable

import mujoco
import numpy as np

from surefoot.bodies import parts
from surefoot.bodies.body import Body
from surefoot.bodies.loader import Pose
from surefoot.bodies.model_file import quiet_mujoco
from surefoot.bodies.symmetry import standing

_SECONDS, _MOST_STEPS = 1.0, 2000
_LEAST_HEIGHT, _LEAST_UPRIGHT = 0.65, 0.8  # fraction of the standing height; cosine of the tilt
_MOST_GAP = 0.03  # between sole and floor, fraction of the standing height
_MOST_SLIDE = 0.3  # of every foot along the floor, fraction of the standing height
_MOST_OVERLAP_M = 0.005
_LOOSE, _RUNAWAY = 0.5, 1.0  # rad (m for slides), of joints without and with a servo


def find_fault(model: mujoco.MjModel, body: Body, pose: Pose, ctrl: np.ndarray | None = None) -> str | None:
    """Return why a body does not stand, in one line; None if it does.

    It stands if, after a second at rest, its trunk is up, its feet are on the ground and have not slid away, and no
    joint has left its place.
    `ctrl` replaces the servos' targets of the pose, if given.
    """
    with quiet_mujoco():  # unstable physics are reported below
        fault = _find_fault(model, body, pose, pose.ctrl if ctrl is None else ctrl)
    return fault and f"it does not stand: {fault}"


def _find_fault(model: mujoco.MjModel, body: Body, pose: Pose, ctrl: np.ndarray) -> str | None:
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT):
        return "its file disables contacts"
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_GRAVITY) or model.opt.gravity[2] >= 0:
        return "its file has no gravity that pulls it down"
    data = standing(model, pose.qpos)
    data.ctrl[:] = ctrl
    upright = data.body(body.trunk).xmat.reshape(3, 3).copy()
    soles = {foot.name: data.geom(foot.geoms[0]).xpos[:2].copy() for foot in body.feet}
    mujoco.mj_step(model, data, nstep=min(_MOST_STEPS, math.ceil(_SECONDS / model.opt.timestep)))
    if not np.isfinite(data.qpos).all() or any(warning.number for warning in data.warning):
        return "its simulation becomes unstable within a second" + _overlap(standing(model, pose.qpos))
    mujoco.mj_forward(model, data)
    moved = _moved_joints(data, body, pose.qpos)
    loose = [joint for joint, way in moved.items() if way > _LOOSE and joint not in _servos(model)]
    if loose:
        return f"nothing moves {_listed('joint', loose)}"
    floor = parts.known_floor(model, body.trunk)
    trunk = data.body(body.trunk)
    height = trunk.xpos[2] - parts.floor_height(data, floor)
    tilt = float((trunk.xmat.reshape(3, 3) @ upright.T)[2, 2])
    if height < _LEAST_HEIGHT * pose.height_m:
        return f"its trunk sank from {pose.height_m:.2g} to {max(height, 0):.2g} m within a second"
    if tilt < _LEAST_UPRIGHT:
        return f"it tilted by {np.degrees(np.arccos(np.clip(tilt, -1, 1))):.0f} degrees within a second"
    if runaways := [joint for joint, way in moved.items() if way > _RUNAWAY]:
        farthest = max(runaways, key=lambda joint: moved[joint])
        unit = "m" if model.joint(farthest).type[0] == int(mujoco.mjtJoint.mjJNT_SLIDE) else "rad"
        return f"{_listed('joint', runaways)} moved by {moved[farthest]:.2g} {unit} within a second"
    above = parts.clearances(data, floor, body.trunk)
    on_floor = {int(geom) for contact in data.contact if floor in contact.geom for geom in contact.geom}
    touching = {model.geom(geom).name for geom in on_floor if geom >= 0}  # a soft body has no geoms
    gaps = {foot.name: min(above[model.geom(geom).id] for geom in foot.geoms) for foot in body.feet}
    apart = [foot.name for foot in body.feet if not touching.intersection(foot.geoms)]  # margins touch before shapes do
    lifted = [foot for foot in apart if gaps[foot] > _MOST_GAP * pose.height_m]
    if lifted:
        resting = touching - {model.geom(floor).name, *(geom for foot in body.feet for geom in foot.geoms)}
        rest = f"; it rested on {_listed('part', sorted(resting))}" if resting else ""
        return f"{_listed('foot', lifted, 'feet')} ended {100 * max(gaps.values()):.0f} cm above the ground{rest}"
    slid = min(float(np.linalg.norm(data.geom(f.geoms[0]).xpos[:2] - soles[f.name])) for f in body.feet)
    if slid > _MOST_SLIDE * pose.height_m:
        return f"it slid by {slid:.2g} m within a second"
    return None


def _overlap(data: mujoco.MjData) -> str:
    """Return the two parts that overlap most in the pose, as a remark; "" if none do."""
    deepest = min(data.contact, key=lambda contact: contact.dist, default=None)
    if deepest is None or deepest.dist > -_MOST_OVERLAP_M:
        return ""
    first, second = (data.model.geom(int(geom)).name for geom in deepest.geom)
    return f"; in its pose, '{first}' and '{second}' overlap by {-100 * deepest.dist:.2g} cm"


def _servos(model: mujoco.MjModel) -> set[str]:
    return {model.actuator(i).name for i in range(model.nu)}


def _moved_joints(data: mujoco.MjData, body: Body, start: np.ndarray) -> dict[str, float]:
    """Return the distance of each joint of the robot from its place in `start`, rad (m for slides)."""
    model, moved = data.model, {}
    for joint in range(model.njnt):
        place, kind = model.jnt_qposadr[joint], model.jnt_type[joint]
        if not parts.is_below(model, model.jnt_bodyid[joint], body.trunk):
            continue
        if kind in parts.HINGES:
            moved[model.joint(joint).name] = abs(float(data.qpos[place] - start[place]))
        elif kind == int(mujoco.mjtJoint.mjJNT_BALL):
            cosine = abs(data.qpos[place : place + 4] @ start[place : place + 4])
            moved[model.joint(joint).name] = float(2 * np.arccos(min(cosine, 1)))
    return moved


def _listed(noun: str, names: Iterable[str], plural: str = "") -> str:
    """Return "its joint 'a'" or "its joints 'a', 'b' and 3 more"."""
    names = list(names)
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"its {noun if len(names) == 1 else plural or noun + 's'} {shown}{more}"
