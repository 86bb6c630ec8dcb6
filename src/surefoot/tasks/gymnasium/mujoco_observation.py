"""Parts of the observation of Gymnasium's MuJoCo tasks, from their models (gymnasium/envs/mujoco/*_v5.py)."""

from collections.abc import Mapping

import mujoco
import numpy as np

from surefoot.bodies.symmetry import standing
from surefoot.tasks.observation import AXES, Part, axial, per_joint, polar, quaternion
from surefoot.tasks.symmetry import Partners


def observation_parts(model: mujoco.MjModel, structure: Mapping[str, int]) -> tuple[Part, ...]:
    """Return the parts: positions, velocities and perhaps contact forces.

    Args:
        model: the task's model.
        structure: Gymnasium's `observation_structure`.
    """
    positions: list[Part] = []
    velocities: list[Part] = []
    for joint in range(model.njnt):
        position, velocity = _joint_parts(model.joint(joint).name or f"joint {joint}", model.jnt_type[joint])
        positions += position
        velocities += velocity
    parts = (*_joined(_without_first(positions, structure["skipped_qpos"])), *_joined(velocities))
    return (*parts, _wrenches(model)) if structure.get("cfrc_ext") else parts


def link_partners(model: mujoco.MjModel, qpos: np.ndarray) -> Partners:
    """Return the partner of each link: its centre of mass is the mirror image of the link's, in the pose `qpos`."""
    centre, names = standing(model, qpos).xipos[1:], _link_names(model)
    distance = np.linalg.norm((centre * [1, -1, 1])[:, None] - centre[None], axis=2)
    return {name: (names[i], 1.0) for name, i in zip(names, distance.argmin(1), strict=True)}


def _joint_parts(name: str, kind: int) -> tuple[list[Part], list[Part]]:
    """Return the parts of a joint's position and of its velocity."""
    joint = mujoco.mjtJoint
    if kind == joint.mjJNT_SLIDE:
        return [per_joint("{} position", [name])], [per_joint("{} speed", [name])]
    if kind == joint.mjJNT_HINGE:
        return [per_joint("{} angle", [name])], [per_joint("{} turning rate", [name])]
    turned, turning = quaternion(f"{name} quaternion {{}}"), axial(f"{name} {{}} turning rate")
    if kind == joint.mjJNT_BALL:
        return [turned], [turning]
    return [polar(f"{name} {{}}"), turned], [polar(f"{name} {{}} speed"), turning]


def _without_first(parts: list[Part], count: int) -> list[Part]:
    """Return the parts without their first `count` values."""
    kept = []
    for part in parts:
        cut = min(count, len(part.names))
        count -= cut
        if cut < len(part.names):
            kept.append(Part(part.names[cut:], part.signs[cut:], part.owners[cut:]))
    return kept


def _joined(parts: list[Part]) -> list[Part]:
    """Merge the parts of neighbouring joints, so that the partner of each joint is in the same part."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].owners and part.owners:
            last = joined[-1]
            joined[-1] = Part(last.names + part.names, last.signs + part.signs, last.owners + part.owners)
        else:
            joined.append(part)
    return joined


def _wrenches(model: mujoco.MjModel) -> Part:
    """Return the part of contact forces: torque and force, three values each, on every link."""
    links = _link_names(model)
    kinds = [f"{axis} {kind}" for kind in ("torque", "force") for axis in AXES]
    signs = (*axial("{}").signs, *polar("{}").signs)
    names = tuple(f"{link} {kind}" for link in links for kind in kinds)
    return Part(names, signs * len(links), owners=tuple(link for link in links for _ in kinds))


def _link_names(model: mujoco.MjModel) -> list[str]:
    return [model.body(body).name or f"body {body}" for body in range(1, model.nbody)]
