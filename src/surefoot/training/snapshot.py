"""A copy of the policy during a training."""

import jax
import numpy as np

from surefoot.policies.policy import Controller, Policy
from surefoot.tasks.catalogue import TaskInfo


def snapshot(info: TaskInfo, controller: Controller) -> Policy:
    """Return a policy with a copy of the arrays, which later updates do not change."""
    return Policy(info.name, info.action_low, info.action_high, jax.tree.map(np.array, controller), info.options)
