"""Description of an algorithm for recipes, learners, warm starts and listings."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.settings import Settings


class WarmStart(Protocol):
    """Access to an earlier run for an algorithm's `warm_start`.

    Attributes:
        settings: settings of the new run's algorithm.
        policy: its policy settings.
        same_algorithm: whether the earlier run has the same algorithm and its whole state is available; otherwise only
            the acting networks and the normaliser are.
        acting: name of the networks that act, among the earlier arrays.
    """

    settings: Any
    policy: PolicySettings
    same_algorithm: bool
    acting: str

    def tree(self, template: Any, name: str, fresh: Callable[[str], bool] = lambda path: False) -> Any:
        """Return a tree like `template` with the earlier arrays under `name`, adapted to the new observations.

        Leaves with `fresh(path)` keep their value in `template`; a path looks like "average/actor/0/weight".

        Raises:
            RunError: an array is missing, or of another shape.
        """
        ...

    def normaliser(self, initial: Normaliser) -> Normaliser:
        """Return the earlier statistics, or `initial` if observations are not normalised."""
        ...

    def takes_critic(self, *names: str) -> bool:
        """Whether the critic is transferred. The settings `names` must be equal in both runs."""
        ...

    def initial_log_std(self, log_std: jax.Array, name: str) -> jax.Array | None:
        """Return the log std to start with, or None to continue with the earlier run's.

        Args:
            log_std: the recipe's.
            name: name of the networks among the earlier arrays.
        """
        ...

    def extra(self, name: str) -> np.ndarray | None:
        """Return one of the algorithm's `warm_start_extras`, or None."""
        ...

    def report(self, part: str, taken: bool, detail: str) -> None:
        """Record for the user whether a part was transferred, and its extent or the reason why not."""
        ...


def _no_checks(name: str, settings: Any, policy: PolicySettings, num_envs: int) -> None:
    del name, settings, policy, num_envs


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """Properties of an algorithm besides its computations; `registry.ALGORITHMS` lists all of them.

    Attributes:
        description: one line for listings, with the paper.
        settings: class of its settings, which are in the recipe's table of its name.
        learner: name of the training loop that runs it, a key of `training.loop.LEARNERS`.
        warm_start: called as `warm_start(state, tools)` with the algorithm's initial state; returns the state after
            taking over an earlier run.
        check: called as `check(name, settings, policy_settings, num_envs)` with the algorithm's name; raises ValueError
            with one line for the user if these settings contradict each other.
        policy_defaults: policy settings that differ from the defaults of `PolicySettings`.
        off_policy: whether it learns from a replay; samplers may then run in parallel to it, and action costs are
            charged when transitions are sampled.
        implied_policy: returns policy settings that follow from the algorithm's own settings, given as plain data; they
            override those of the recipe.
        rule: functions of the algorithm, if its learner serves several algorithms; see `off_policy.Rule`.
        learns_std: whether it learns the action standard deviation if `policy.std` is "parameter".
        acting_statistics: called as `acting_statistics(normaliser, settings)`; the observation statistics that the
            policy acts with, if they differ from those in the state.
        starts_at_zero: whether a linear actor has zero weights before the training.
        warm_start_extras: names of arrays in the learner's state, outside the algorithm's, that `warm_start` reads.
    """

    description: str
    settings: type[Settings]
    learner: str
    warm_start: Callable[[Any, WarmStart], Any]
    check: Callable[[str, Any, PolicySettings, int], None] = _no_checks
    policy_defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    off_policy: bool = False
    implied_policy: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda settings: {}
    rule: Any = None
    learns_std: bool = False
    acting_statistics: Callable[[Normaliser, Any], Normaliser] = lambda normaliser, settings: normaliser
    starts_at_zero: bool = False
    warm_start_extras: tuple[str, ...] = ()
