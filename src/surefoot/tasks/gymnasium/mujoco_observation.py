"""Parts of the observation of Gymnasium's MuJoCo tasks, from their models (gymnasium/envs/mujoco/*_v5.py)."""

import itertools
from collections.abc import Iterable, Mapping

import mujoco
import numpy as np

from surefoot.bodies.symmetry import standing
from surefoot.tasks.observation import AXES, Part, axial, per_joint, polar, quaternion
from surefoot.tasks.symmetry import Partners


def observation_parts(model: mujoco.MjModel, structure: Mapping[str, int]) -> tuple[Part, ...]:
    """Return positions, velocities and perhaps contact forces; `structure` is Gymnasium's `observation_structure`."""
    joints = [_joint_parts(model.joint(i).name or f"joint {i}", model.jnt_type[i]) for i in range(model.njnt)]
    positions, velocities = (_joined(part for pair in joints for part in pair[kind]) for kind in (0, 1))
    skipped = structure["skipped_qpos"]
    parts = Part(positions.names[skipped:], positions.signs[skipped:], positions.owners[skipped:]), velocities
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


def _joined(parts: Iterable[Part]) -> Part:
    """Merge parts into one, so that the partner of each joint is in the same part."""
    columns = [(part.names, part.signs, part.owners or ("",) * len(part.names)) for part in parts]
    return Part(*(tuple(itertools.chain(*column)) for column in zip(*columns, strict=True)))


def _wrenches(model: mujoco.MjModel) -> Part:
    """Return the part of contact forces: torque and force, three values each, on every link."""
    links = _link_names(model)
    kinds = [f"{axis} {kind}" for kind in ("torque", "force") for axis in AXES]
    signs = (*axial("{}").signs, *polar("{}").signs)
    names = tuple(f"{link} {kind}" for link in links for kind in kinds)
    return Part(names, signs * len(links), owners=tuple(link for link in links for _ in kinds))


def _link_names(model: mujoco.MjModel) -> list[str]:
    return [model.body(body).name or f"body {body}" for body in range(1, model.nbody)]
