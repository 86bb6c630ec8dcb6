"""Left-right pairs of joints and feet, from names and geometry.

The mirror plane is the x-z plane through the trunk in the standing pose, x forward and z up. Positions and axes are
compared, masses are not.
"""

from collections.abc import Iterable, Sequence

import mujoco
import numpy as np

from surefoot.bodies.body import Body

_POLAR, _AXIAL = np.array([1, -1, 1]), np.array([-1, 1, -1])
_TOLERANCE = 0.02  # fraction of the distance from the trunk to the farthest part
_ALIGNED = 0.99  # cosine
_LEAST_WIDTH_M, _LEAST_TURN = 0.01, 0.1  # rad


def standing(model: mujoco.MjModel, qpos: np.ndarray) -> mujoco.MjData:
    """Return the state at rest at `qpos`, with forward kinematics computed."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    return data


def is_swap(left: str, right: str) -> bool:
    """Whether two names differ only in their side: left and right, l_ and r_, LF and RF, RL and RR."""
    left, right = left.lower(), right.lower()
    if left != right and left.replace("left", "right") == right:
        return True
    return len(left) == len(right) and [pair for pair in zip(left, right, strict=True) if len(set(pair)) > 1] == [
        ("l", "r")
    ]


def find_facing(data: mujoco.MjData, joints: Sequence[str]) -> np.ndarray | None:
    """Return the quaternion about the vertical that turns a robot to face along x; None if it already does.

    The left side is that of the joints with left names.
    """
    pairs = [(a, b) for a in joints for b in joints if is_swap(a, b)]
    if not pairs:
        return None
    left = np.mean([data.joint(a).xanchor - data.joint(b).xanchor for a, b in pairs], axis=0)
    angle = np.arctan2(left[0], left[1])  # from the y axis, which points left
    if np.hypot(*left[:2]) < _LEAST_WIDTH_M or abs(angle) < _LEAST_TURN:
        return None
    return np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])


def joint_sign(data: mujoco.MjData, trunk: str, joint: str, image: str) -> float | None:
    """Return the sign of a joint's motion in its mirror image, 1 or -1; None if `image` is not its image."""
    model = data.model
    source, target = model.joint(joint), model.joint(image)
    if source.type[0] != target.type[0]:
        return None
    centre = data.body(trunk).xpos
    offset = (data.joint(joint).xanchor - centre) * _POLAR + centre - data.joint(image).xanchor
    if joint == image:  # the position of a hinge along its own axis is arbitrary
        offset -= offset @ data.joint(image).xaxis * data.joint(image).xaxis
    if np.linalg.norm(offset) > _tolerance_m(data, trunk):
        return None
    axis = (_POLAR if source.type[0] == int(mujoco.mjtJoint.mjJNT_SLIDE) else _AXIAL) * data.joint(joint).xaxis
    cosine = float(axis @ data.joint(image).xaxis)
    return float(np.sign(cosine)) if abs(cosine) > _ALIGNED else None


def find_joint_pairs(data: mujoco.MjData, trunk: str, joints: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (left, right) joints by name; empty if the geometry of any pair disagrees with its names."""
    pairs = []
    for left in joints:
        named = [right for right in joints if is_swap(left, right)]
        matching = [right for right in named if joint_sign(data, trunk, left, right) is not None]
        if named and len(matching) != 1:
            return ()
        pairs += [(left, right) for right in matching]
    names = [name for pair in pairs for name in pair]
    return tuple(pairs) if len(names) == len(set(names)) else ()


def find_foot_pairs(
    data: mujoco.MjData, trunk: str, feet: Iterable[tuple[str, tuple[str, ...]]], ends: dict[str, str | None], pairs
) -> tuple[tuple[str, str], ...]:
    """Return (left, right) feet whose last joints, `ends`, are one of `pairs` and whose positions are mirror images."""
    places = {name: foot_place(data, geoms) for name, geoms in feet}
    foot_pairs = []
    for left, right in pairs:
        left_feet = [name for name in places if ends[name] == left]
        right_feet = [name for name in places if ends[name] == right]
        foot_pairs += [(a, b) for a in left_feet for b in right_feet if _are_images(data, trunk, places[a], places[b])]
    return tuple(foot_pairs)


def foot_place(data: mujoco.MjData, geoms: Sequence[str]) -> np.ndarray:
    """Return the centre of a foot in the world frame, (3,)."""
    return np.mean([data.geom(geom).xpos for geom in geoms], axis=0)


def _are_images(data: mujoco.MjData, trunk: str, first: np.ndarray, second: np.ndarray) -> bool:
    centre = data.body(trunk).xpos
    return bool(np.linalg.norm((first - centre) * _POLAR + centre - second) < _tolerance_m(data, trunk))


def _tolerance_m(data: mujoco.MjData, trunk: str) -> float:
    body = data.body(trunk)
    own = data.model.body_rootid[data.model.geom_bodyid] == data.model.body_rootid[body.id]
    return _TOLERANCE * float(np.linalg.norm(data.geom_xpos[own] - body.xpos, axis=1).max())


def find_partners(model: mujoco.MjModel, qpos: np.ndarray, body: Body) -> dict[str, tuple[str, float]] | None:
    """Return the mirror image of each joint and foot, and the sign of a joint's angle in its image.

    A joint without a partner, such as a waist, may be its own image. Returns None if any joint or foot has no image
    in the standing pose `qpos`.
    """
    data = standing(model, qpos)
    swaps = {name: image for pair in (*body.joint_pairs, *body.foot_pairs) for name, image in (pair, pair[::-1])}
    partners = {}
    for joint in body.joints:
        image = swaps.get(joint, joint)
        sign = joint_sign(data, body.trunk, image, joint)
        if sign is None:
            return None
        partners[joint] = image, sign
    places = {foot.name: foot_place(data, foot.geoms) for foot in body.feet}
    for foot, place in places.items():
        image = swaps.get(foot, foot)
        if not _are_images(data, body.trunk, place, places[image]):
            return None
        partners[foot] = image, 1.0
    return partners
