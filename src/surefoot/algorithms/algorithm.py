"""The record by which recipes, learners and listings know an algorithm."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from surefoot.settings import Settings


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """Everything about an algorithm that is not its arithmetic; `registry.ALGORITHMS` lists all of them.

    Attributes:
        description: one line for listings, with the paper.
        settings: class of its settings, which stand in the recipe's table of its name.
        learner: name of the training loop that runs it, a key of `training.registry.LEARNERS`.
        check: called as `check(name, settings, policy_settings, num_envs)` with the algorithm's name; raises ValueError
            with one line for the user if these settings contradict each other.
        policy_defaults: policy settings that differ from the defaults of `PolicySettings`.
        off_policy: whether it learns from a replay; samplers may then run beside the learner, and action costs are
            charged when transitions are sampled.
        learns_std: whether it learns the action standard deviation if `policy.std` is "parameter".
    """

    description: str
    settings: type[Settings]
    learner: str
    check: Callable[[str, Any, Any, int], None]
    policy_defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    off_policy: bool = False
    learns_std: bool = False
