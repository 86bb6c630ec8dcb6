"""The mirror image of a task, derived from the parts of its observation and the geometry of its body."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from surefoot.bodies.symmetry import find_partners
from surefoot.errors import InputError
from surefoot.tasks.observation import Part, per_joint

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror
    from surefoot.tasks.catalogue import TaskInfo
    from surefoot.tasks.task import Task

# The partner of each joint, foot or link, and the factor, 1 or -1, from a joint's angle to its partner's.
Partners = Mapping[str, tuple[str, float]]


def task_mirror(task: "Task", qpos: np.ndarray) -> "Mirror | None":
    """Return the mirror image of a task from the parts of its observation and its body at rest at `qpos`.

    One action drives each joint of the body, in their order. Returns None if the body's two sides differ.
    """
    if task.body is None or (partners := find_partners(task.model, qpos, task.body)) is None:
        return None
    return derive_mirror(task.observation, task.body.joints, partners)


def derive_mirror(observation: Sequence[Part], joints: Sequence[str], partners: Partners) -> "Mirror":
    """Return the mirror image of observations and of actions, one action for each of `joints`."""
    from surefoot.policies.symmetry import Mirror

    index, sign = _images(observation, partners)
    action_index, action_sign = _images([per_joint("{}", joints)], partners)
    return Mirror(index, sign, np.zeros(len(index), np.float32), action_index, action_sign)


def known_mirror(info: "TaskInfo", setting: str) -> "Mirror":
    """Return the mirror image of a task for a setting that needs one, such as "ppo.symmetry = 'augment'".

    Raises:
        InputError: the task has no mirror image.
    """
    if info.mirror is None:
        options = f" with these options: {', '.join(info.options)}" if info.options else ""
        raise InputError(f"{setting}: no mirror image of task '{info.name}' is known{options}")
    return info.mirror


def stacked(mirror: "Mirror", frame_stack: int) -> "Mirror":
    """Return the mirror image of `frame_stack` observations side by side."""
    starts = np.arange(frame_stack)[:, None] * len(mirror.observation_index)
    return mirror._replace(
        observation_index=(starts + mirror.observation_index).ravel(),
        observation_sign=np.tile(mirror.observation_sign, frame_stack),
        observation_offset=np.tile(mirror.observation_offset, frame_stack),
    )


def _images(parts: Sequence[Part], partners: Partners) -> tuple[np.ndarray, np.ndarray]:
    """Return the index (D,) and the sign (D,) of each value's mirror image."""
    index: list[int] = []
    sign: list[float] = []
    for part in parts:
        start = len(index)
        places = {owner: [i for i, other in enumerate(part.owners) if other == owner] for owner in set(part.owners)}
        for i, part_sign in enumerate(part.signs):
            owner = part.owners[i] if part.owners else ""
            partner, own_sign = partners[owner] if owner else ("", 1.0)
            image = places[partner][places[owner].index(i)] if owner else part.images[i] if part.images else i
            index.append(start + image)
            sign.append(part_sign * own_sign)
    return np.array(index), np.array(sign, np.float32)
