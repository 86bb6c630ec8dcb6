"""The base of all algorithms: settings, and properties used by recipes, learners, warm starts and listings."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax

from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.ranges import Range
from surefoot.settings import Settings

Metrics = dict[str, jax.Array]


class WarmStart(Protocol):
    """Access to an earlier run, for `AlgorithmSettings.warm_start`.

    Attributes:
        policy: policy settings of the new run.
        same_algorithm: whether the earlier run has the same algorithm and its whole state is available; otherwise only
            the acting networks and the normaliser are.
        acting: name of the networks that act, among the earlier arrays.
    """

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
        """Return the log std to start with, or None to continue with that of the earlier networks `name`."""
        ...

    def report(self, part: str, taken: bool, detail: str) -> None:
        """Record for the user whether a part was transferred, and its extent or the reason why not."""
        ...


class AlgorithmSettings(Settings):
    """Settings of an algorithm; an algorithm is a subclass, listed in `registry.ALGORITHMS`.

    The first sentence of its docstring, with the paper, describes it in listings.
    """

    learner: ClassVar[str]
    """Training loop that runs it, a key of `training.loop.LEARNERS`."""
    policy_defaults: ClassVar[dict[str, Any]] = {}
    """Policy settings whose defaults differ from those of `PolicySettings`."""
    allowed_policies: ClassVar[dict[str, tuple[Any, ...]]] = {"batch_norm": (False,), "squash": ("clip", "tanh")}
    """Allowed values of some policy settings."""
    search_space: ClassVar[dict[str, Range]] = {}
    """Ranges that a sweep searches by default; names are relative to the algorithm's table."""
    default_num_envs: ClassVar[int] = 32
    """Default of `engine.num_envs`."""
    learns_std: ClassVar[bool] = False
    """Whether it learns the action standard deviation if `policy.std` is "parameter"."""
    starts_at_zero: ClassVar[bool] = False
    """Whether a linear actor has zero weights before the training."""

    @staticmethod
    def implied_policy(settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return defaults of policy settings that depend on the algorithm's `settings`, given as plain data."""
        del settings
        return {}

    def check(self, name: str, policy: PolicySettings, num_envs: int) -> None:
        """Check that the settings fit each other; `name` is the algorithm's.

        Raises:
            ValueError: they do not; the message is one line for the user.
        """
        del num_envs
        for setting, allowed in self.allowed_policies.items():
            value = getattr(policy, setting)
            if value not in allowed:
                choices = " or ".join(map(_toml, allowed))
                raise ValueError(f"policy.{setting} = {_toml(value)} is not for '{name}'; it needs {choices}")

    def warm_start(self, state: Any, tools: WarmStart) -> Any:
        """Return the algorithm's initial state after taking over an earlier run."""
        raise NotImplementedError

    def acting_statistics(self, normaliser: Normaliser) -> Normaliser:
        """Return the observation statistics that the policy acts with, if they differ from those in the state."""
        return normaliser


def _toml(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value).replace("True", "true").replace("False", "false")
