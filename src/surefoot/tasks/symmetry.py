"""The tasks whose left and right are alike, and what their mirror image is."""

from typing import Any

import numpy as np

from surefoot.errors import InputError
from surefoot.policies.symmetry import Mirror
from surefoot.tasks.catalogue import SHORT_NAMES, TaskInfo
from surefoot.tasks.walk_mirror import walk_mirror

_ANYMAL_TASKS = ("surefoot/AnymalC-v0", "surefoot/AnymalCStep-v0")
MIRRORED_TASKS = (
    *("BipedalWalker-v3", "BipedalWalkerHardcore-v3", "Ant-v5"),
    *(*_ANYMAL_TASKS, "surefoot/AnymalCVelocity-v0", "surefoot/Walk-v0"),
)

# Options of Ant-v5 that may give it another body, another observation, or a reward that favours a side.
_ANT_UNKNOWN = ("xml_file", "contact_force_range", "main_body")


def find_mirror(info: TaskInfo) -> Mirror | None:
    """Return the symmetry of a task, or None where it has none or it is not known."""
    mirror = _mirror_of_one(info)
    return mirror if mirror is None or info.frame_stack == 1 else _of_each(mirror, info.frame_stack)


def known_mirror(info: TaskInfo, setting: str) -> Mirror:
    """Return the symmetry of a task for a setting that is nothing without it.

    Args:
        info: the task.
        setting: the setting as a person would write it, such as "ppo.symmetry = 'augment'".

    Raises:
        InputError: the task has no symmetry, or it is not known.
    """
    mirror = find_mirror(info)
    if mirror is not None:
        return mirror
    if info.id in MIRRORED_TASKS:
        raise InputError(
            f"{setting}: no mirror image of task '{info.name}' is known with these options: {', '.join(info.options)}"
        )
    short = {id: name for name, id in SHORT_NAMES.items()}
    names = ", ".join(short.get(id, id) for id in MIRRORED_TASKS)
    raise InputError(f"{setting}: no mirror image of task '{info.name}' is known, only of {names}")


def _mirror_of_one(info: TaskInfo) -> Mirror | None:
    """Return the symmetry of a single observation."""
    if info.id in ("BipedalWalker-v3", "BipedalWalkerHardcore-v3"):
        return _biped()
    if info.id == "Ant-v5":
        known = not any(name in info.options for name in _ANT_UNKNOWN)
        if known and info.options.get("exclude_current_positions_from_observation", True):
            return _ant(info.options.get("include_cfrc_ext_in_observation", True))
    if info.id in _ANYMAL_TASKS and info.options.get("facing") != "backward":
        return _anymal(info.observation_size // info.frame_stack - 35)
    if info.id == "surefoot/AnymalCVelocity-v0":
        return _velocity(info.options)
    return walk_mirror(info) if info.id == "surefoot/Walk-v0" else None


def _of_each(mirror: Mirror, frame_stack: int) -> Mirror:
    """Mirror each of the observations that are seen at once."""
    size = len(mirror.observation_index)
    starts = np.arange(frame_stack)[:, None] * size
    return mirror._replace(
        observation_index=(starts + mirror.observation_index).ravel(),
        observation_sign=np.tile(mirror.observation_sign, frame_stack),
        observation_offset=np.tile(mirror.observation_offset, frame_stack),
    )


def _biped() -> Mirror:
    """Seen from the side, a walker is the same when its two legs change places.

    The observation (gymnasium/envs/box2d/bipedal_walker.py): hull 0 to 3, first leg 4 to 8, second leg 9 to 13, lidar
    14 to 23; the action: first leg 0 and 1, second leg 2 and 3.

    Each hip counts its angle from the pose in which its leg is made, 0.05 rad behind or in front, so that the angles of
    equal poses are 0.1 rad apart. So are the hips' stops, which no mirror can put right.
    """
    observation = np.r_[0:4, 9:14, 4:9, 14:24]
    offset = np.zeros(24, np.float32)
    offset[[4, 9]] = 0.1, -0.1
    return Mirror(observation, np.ones(24, np.float32), offset, np.array([2, 3, 0, 1]), np.ones(4, np.float32))


def _ant(contact_forces: bool) -> Mirror:
    """An ant runs along x, so its mirror is the plane of x and z: y changes its sign.

    So does what turns about x or z, while what turns about y stays: a rotation is an axial vector.

    The model (gymnasium/envs/mujoco/assets/ant.xml) has its legs, in order, at (x, y) = (+, +), (-, +), (-, -) and
    (+, -), so that the first changes places with the fourth and the second with the third. Hips turn about z: their
    sign changes. Ankles turn about (-1, 1, 0), (1, 1, 0), (-1, 1, 0) and (1, 1, 0), each the axial image of its
    partner's axis, (x, y, z) to (-x, y, -z): their sign stays.

    The observation (gymnasium/envs/mujoco/ant_v5.py): height 0, quaternion w x y z 1 to 4, hip and ankle of each leg 5
    to 12; velocity 13 to 15, turning rate 16 to 18, of the joints 19 to 26; torque and force, xyz each, on the torso
    27 to 32 and on three bodies of each leg 33 to 104. The action: hip and ankle of the legs 4, 1, 2, 3.
    """
    joints = np.array([6, 7, 4, 5, 2, 3, 0, 1])
    polar, axial, joint = [1, -1, 1], [-1, 1, -1], [-1, 1]
    index = np.r_[0:5, 5 + joints, 13:19, 19 + joints]
    sign = np.array([1, 1, *axial, *joint * 4, *polar, *axial, *joint * 4], np.float32)
    if contact_forces:
        index = np.r_[index, 27:33, 87:105, 69:87, 51:69, 33:51]
        sign = np.r_[sign, np.tile(np.array([*axial, *polar], np.float32), 13)]
    offset = np.zeros(len(index), np.float32)
    return Mirror(index, sign, offset, np.array([2, 3, 0, 1, 6, 7, 4, 5]), np.array(joint * 4, np.float32))


# How the joints of a leg, HAA, HFE and KFE, change in a mirror: the first turns about x, the others about y.
_ANYMAL_LEG = [-1, 1, 1]
_ANYMAL_JOINTS = np.r_[3:6, 0:3, 9:12, 6:9]  # legs LF, RF, LH, RH


def _anymal(ground: int) -> Mirror:
    """ANYmal goes along x, so its mirror is the plane of x and z, as the ant's.

    The robot is only nearly its own image: cables and computers shift its centre of mass by 0.2 mm.

    The observation (`tasks.anymal`): height 0, quaternion w x y z 1 to 4, joints 5 to 16; velocity 17 to 19, turning
    rate 20 to 22, of the joints 23 to 34, and maybe heights of the ground straight in front. Seen backwards it has no
    mirror: at w = 0 the quaternion's sign would jump.
    """
    polar, axial, joints = [1, -1, 1], [-1, 1, -1], _ANYMAL_LEG * 4
    index = np.r_[0:5, 5 + _ANYMAL_JOINTS, 17:23, 23 + _ANYMAL_JOINTS, 35 : 35 + ground]
    sign = np.array([1, 1, *axial, *joints, *polar, *axial, *joints, *[1] * ground], np.float32)
    return Mirror(index, sign, np.zeros(len(index), np.float32), _ANYMAL_JOINTS, np.array(joints, np.float32))


def _velocity(options: dict[str, Any]) -> Mirror:
    """In the same mirror, commands to the left and turning left change their signs.

    The observation (`tasks.velocity`): velocity 0 to 2, turning rate 3 to 5, gravity 6 to 8, command 9 to 11, joints 12
    to 23, their velocities 24 to 35, the last action 36 to 47, feet LF, RF, LH, RH 48 to 51; then maybe sine and cosine
    of the clock, whose other half it is when diagonal pairs of legs change places; and maybe the ground at nine places
    along x, at each of them five from right to left.
    """
    polar, axial, joints = [1, -1, 1], [-1, 1, -1], _ANYMAL_LEG * 4
    feet, clock = [49, 48, 51, 50], options.get("gait", "trot") == "trot"
    index = np.r_[0:12, 12 + _ANYMAL_JOINTS, 24 + _ANYMAL_JOINTS, 36 + _ANYMAL_JOINTS, feet]
    sign = np.array([*polar, *axial, *polar, 1, -1, -1, *joints * 3, 1, 1, 1, 1], np.float32)
    if clock:
        index, sign = np.r_[index, 52, 53], np.r_[sign, -1, -1].astype(np.float32)
    if options.get("observe_heights"):
        ground = len(index) + np.arange(45).reshape(9, 5)[:, ::-1].ravel()
        index, sign = np.r_[index, ground], np.r_[sign, np.ones(45, np.float32)]
    return Mirror(index, sign, np.zeros(len(index), np.float32), _ANYMAL_JOINTS, np.array(joints, np.float32))
