"""The interface between a learner and the training loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from surefoot.policies.policy import Policy
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.transfer import Transfer


class Learner(Protocol):
    """An algorithm together with the environments it collects experience from; the base of all learners.

    The loop calls `take_over` if the recipe asks for a warm start, then `start`, then `iterate` until the end, and then
    `close`. To resume, it calls `start`, then `restore`, before iterating.

    Args:
        recipe: all settings.
        info: the task that the policy is evaluated on.
        engines: one for each sampler; the caller closes them.
        stop: polled during long iterations; once it returns True, `iterate` may return None.

    Attributes:
        steps_per_iteration: environment steps of one `iterate`; if iterations differ, of the last one, 0 at first.
    """

    steps_per_iteration: int

    def __init__(self, recipe: Recipe, info: TaskInfo, engines: Sequence[Engine], stop: Callable[[], bool]) -> None: ...

    def take_over(self, transfer: Transfer) -> None:
        """Initialise from an earlier run; before `start`.

        Raises:
            RunError: the earlier run's arrays are damaged.
        """
        ...

    def start(self, seed: int) -> None:
        """Begin an episode in every environment."""
        ...

    def iterate(self, progress: float) -> dict[str, float] | None:
        """Collect experience, update the policy, and return the metrics; None if interrupted by `stop`.

        Args:
            progress: fraction of the training done after this iteration, in [0, 1].

        Raises:
            NonFiniteError: an observation, a reward or a loss is not finite.
            EngineError: a simulator failed.
        """
        ...

    def policy(self) -> Policy:
        """Return a copy of the current policy."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that determines how training continues, as a tree of arrays.

        The algorithm's own state is in it under the key "algorithm", for warm starts.
        """
        ...

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        """Continue from `state`, flattened under `prefix` by `pytrees.flatten_tree`.

        New episodes start if the engine cannot restore its own.

        Raises:
            RunError: the arrays were saved with other settings.
        """
        ...

    @property
    def restores_episodes(self) -> bool:
        """Whether `restore` continues the episodes that were in progress, bit for bit."""
        ...

    def close(self) -> None:
        """Release threads and other resources, but not the engines; by default there are none."""
