"""Which joints and feet of a body are each other's image at the plane between left and right, by name and geometry.

The plane is that of x and z through the trunk, with x to the front and z up, as the body stands in its pose. What is
compared are places and axes there; masses are not.
"""

from collections.abc import Iterable, Sequence

import mujoco
import numpy as np

from surefoot.bodies.body import Body

_POLAR, _AXIAL = np.array([1, -1, 1]), np.array([-1, 1, -1])
_TOLERANCE = 0.02  # of the trunk's height
_ALIGNED = 0.99  # cosine
_LEAST_WIDTH_M, _LEAST_TURN = 0.01, 0.1  # rad


def standing(model: mujoco.MjModel, qpos: np.ndarray) -> mujoco.MjData:
    """Return the state of a body at rest at `qpos`, with all that follows from positions."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    return data


def is_swap(left: str, right: str) -> bool:
    """Tell whether two names differ only in their side: left and right, l_ and r_, LF and RF, RL and RR."""
    left, right = left.lower(), right.lower()
    if left != right and left.replace("left", "right") == right:
        return True
    return len(left) == len(right) and [pair for pair in zip(left, right, strict=True) if len(set(pair)) > 1] == [
        ("l", "r")
    ]


def find_facing(data: mujoco.MjData, joints: Sequence[str]) -> np.ndarray | None:
    """Return the rotation, a quaternion about the vertical, after which a body faces along x; None if it does already.

    Where its left is, the names of its joints say.
    """
    pairs = [(one, other) for one in joints for other in joints if is_swap(one, other)]
    if not pairs:
        return None
    left = np.mean([data.joint(one).xanchor - data.joint(other).xanchor for one, other in pairs], axis=0)
    angle = np.arctan2(left[0], left[1])  # from y, where left should be
    if np.hypot(*left[:2]) < _LEAST_WIDTH_M or abs(angle) < _LEAST_TURN:
        return None
    return np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])


def joint_sign(data: mujoco.MjData, trunk: str, joint: str, image: str) -> float | None:
    """Return 1 or -1: how a joint's change becomes that of its mirror image; None if it is not its image."""
    model = data.model
    one, other = model.joint(joint), model.joint(image)
    if one.type[0] != other.type[0]:
        return None
    centre = data.body(trunk).xpos
    beside = (data.joint(joint).xanchor - centre) * _POLAR + centre - data.joint(image).xanchor
    if joint == image:  # where along its axis a hinge is said to be makes no difference
        beside -= beside @ data.joint(image).xaxis * data.joint(image).xaxis
    if np.linalg.norm(beside) > _TOLERANCE * centre[2]:
        return None
    turned = (_POLAR if one.type[0] == int(mujoco.mjtJoint.mjJNT_SLIDE) else _AXIAL) * data.joint(joint).xaxis
    cosine = float(turned @ data.joint(image).xaxis)
    return float(np.sign(cosine)) if abs(cosine) > _ALIGNED else None


def find_joint_pairs(data: mujoco.MjData, trunk: str, joints: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (left, right) joints, by name; none at all if a pair of names is not a pair in space."""
    pairs = []
    for left in joints:
        named = [right for right in joints if is_swap(left, right)]
        true = [right for right in named if joint_sign(data, trunk, left, right) is not None]
        if named and len(true) != 1:
            return ()
        pairs += [(left, right) for right in true]
    met = [name for pair in pairs for name in pair]
    return tuple(pairs) if len(met) == len(set(met)) else ()


def find_foot_pairs(
    data: mujoco.MjData, trunk: str, feet: Iterable[tuple[str, tuple[str, ...]]], ends: dict[str, str | None], pairs
) -> tuple[tuple[str, str], ...]:
    """Return (left, right) feet, those that the last joints of their legs make pairs of and that stand so.

    Args:
        data: the body in its pose.
        trunk: its name.
        feet: name and geoms of each.
        ends: the last joint above each foot.
        pairs: of joints.
    """
    places = {name: foot_place(data, geoms) for name, geoms in feet}
    found = []
    for left, right in pairs:
        ones = [name for name in places if ends[name] == left]
        others = [name for name in places if ends[name] == right]
        found += [(one, other) for one in ones for other in others if _facing(data, trunk, places[one], places[other])]
    return tuple(found)


def foot_place(data: mujoco.MjData, geoms: Sequence[str]) -> np.ndarray:
    """Return the middle of a foot, (3,) in the world."""
    return np.mean([data.geom(geom).xpos for geom in geoms], axis=0)


def _facing(data: mujoco.MjData, trunk: str, one: np.ndarray, other: np.ndarray) -> bool:
    centre = data.body(trunk).xpos
    return bool(np.linalg.norm((one - centre) * _POLAR + centre - other) < _TOLERANCE * centre[2])


def mirror_joints(data: mujoco.MjData, body: Body) -> tuple[np.ndarray, np.ndarray] | None:
    """Return for each joint which one its image is and with what sign, (A,) each; None if one has no image.

    A joint without a partner, such as a waist's, may be its own image.
    """
    partner = {name: other for pair in body.joint_pairs for name, other in (pair, pair[::-1])}
    images = [partner.get(joint, joint) for joint in body.joints]
    signs = [joint_sign(data, body.trunk, image, joint) for joint, image in zip(body.joints, images, strict=True)]
    if any(sign is None for sign in signs):
        return None
    return np.array([body.joints.index(image) for image in images]), np.array(signs, np.float32)


def mirror_feet(data: mujoco.MjData, body: Body) -> np.ndarray | None:
    """Return for each foot which one its image is, (F,) int; None if one has no image."""
    partner = {name: other for pair in body.foot_pairs for name, other in (pair, pair[::-1])}
    names = [foot.name for foot in body.feet]
    places = {foot.name: foot_place(data, foot.geoms) for foot in body.feet}
    images = [partner.get(name, name) for name in names]
    if not all(_facing(data, body.trunk, places[one], places[other]) for one, other in zip(names, images, strict=True)):
        return None
    return np.array([names.index(image) for image in images])
