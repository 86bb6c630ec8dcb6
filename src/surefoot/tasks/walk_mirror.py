"""The mirror image of walking, for bodies from elsewhere whose left and right are alike."""

import numpy as np

from surefoot.policies.symmetry import Mirror
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.walk import Walk


def walk_mirror(info: TaskInfo) -> Mirror | None:
    """Return the symmetry of one observation of `tasks.walk`, or None if the body's left and right differ.

    Height; gravity and velocity, polar vectors; turning rate, an axial one; angle, velocity and last action of each
    joint; contact of each foot.
    """
    options = {name: value for name, value in info.env_options.items() if name != "max_episode_steps"}
    parts = Walk(**options).mirror_parts()
    if parts is None:
        return None
    joints, signs, feet = parts
    count = len(joints)
    starts = 10 + count * np.arange(3)
    index = np.r_[0:10, (starts[:, None] + joints).ravel(), 10 + 3 * count + feet]
    polar, axial = [1, -1, 1], [-1, 1, -1]
    sign = np.r_[1, polar, polar, axial, np.tile(signs, 3), np.ones(len(feet))].astype(np.float32)
    return Mirror(index, sign, np.zeros(len(index), np.float32), joints, signs)
