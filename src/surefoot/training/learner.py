"""The interface between a learner and the training loop, and the parts that all learners share."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.symmetry import Symmetry
from surefoot.errors import NonFiniteError
from surefoot.packing import Layout
from surefoot.policies.normaliser import symmetrise
from surefoot.policies.policy import Controller, Policy
from surefoot.pytrees import unflatten_tree
from surefoot.recipes.make import training_mirror
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.transfer import Transfer

_CHECKED_STEPS = 1024  # of all environments at a time; a replay may fill half of the memory
_LARGE_REWARD = 1e6


class Learner(abc.ABC):
    """An algorithm together with the environments it collects experience from.

    The loop calls `take_over` if the recipe asks for a warm start, then `start`, then `iterate` until the end, and then
    `close`. To resume, it calls `start`, then `restore`, before iterating.

    Args:
        recipe: all settings.
        info: the task that the policy is evaluated on.
        engines: one for each sampler, with equal numbers of environments; the caller closes them.
        stop: polled during long iterations; once it returns True, `iterate` may return None.

    Attributes:
        info: the task.
        engines: the environments.
        steps_per_iteration: environment steps of one `iterate`; if iterations differ, of the last one, 0 at first.

    Raises:
        InputError: the recipe uses the task's symmetry, but none is known.
    """

    steps_per_iteration = 0
    _state: Any  # of the algorithm, with the fields `average` and `normaliser`

    def __init__(
        self, recipe: Recipe, info: TaskInfo, engines: Sequence[Engine], stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.info = info
        self.engines = engines
        self._recipe = recipe
        self._settings: Any = recipe.settings
        self._stop = stop
        self._symmetry = Symmetry(recipe.symmetry, training_mirror(recipe, info))

    @property
    def engine(self) -> Engine:
        """The environments of a learner with a single sampler."""
        (engine,) = self.engines
        return engine

    def take_over(self, transfer: Transfer) -> None:
        """Initialise from an earlier run; before `start`.

        Raises:
            RunError: the earlier run's arrays are damaged.
        """
        state = transfer.into(self._state)
        transfer.check_ties(state.average, self._symmetry)
        if self._symmetry.tied:
            state = state._replace(normaliser=symmetrise(state.normaliser, self._symmetry.tied))
        self._state = state

    @abc.abstractmethod
    def start(self, seed: int) -> None:
        """Begin an episode in every environment."""

    @abc.abstractmethod
    def iterate(self, progress: float) -> dict[str, float] | None:
        """Collect experience, update the policy, and return the metrics; None if interrupted by `stop`.

        Args:
            progress: fraction of the training done after this iteration, in [0, 1].

        Raises:
            NonFiniteError: an observation, a reward or a loss is not finite; its `arrays` hold it.
            EngineError: a simulator failed.
        """

    def notes(self) -> Iterator[str]:
        """Yield warnings for the user before a training; by default there are none."""
        yield from ()

    def policy(self) -> Policy:
        """Return a copy of the current policy."""
        normaliser = self._settings.acting_statistics(self._state.normaliser)
        return snapshot(self.info, Controller(self._state.average, normaliser, self._symmetry.averaged))

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything that determines how training continues, as a tree of arrays.

        The algorithm's own state is in it under the key "algorithm", for warm starts.
        """

    @abc.abstractmethod
    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        """Continue from `state`, flattened under `prefix` by `pytrees.flatten_tree`.

        New episodes start if the engine cannot restore its own.

        Raises:
            RunError: the arrays were saved with other settings.
        """

    def _unflatten(self, template: dict[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
        """Return a tree like `template`, a changed `state`, with the stored arrays."""
        state = template["algorithm"]
        count = arrays.get(f"{prefix}/algorithm/normaliser/count")
        if count is not None and count.shape == state.normaliser.mean.shape:
            # One count per value instead of one for all, because some were new at a warm start.
            normaliser = state.normaliser._replace(count=jnp.zeros(count.shape))
            template = template | {"algorithm": state._replace(normaliser=normaliser)}
        return unflatten_tree(template, arrays, prefix)

    @property
    def restores_episodes(self) -> bool:
        """Whether `restore` continues the episodes that were in progress, bit for bit."""
        return all(engine.get_state() is not None for engine in self.engines)

    def close(self) -> None:  # noqa: B027 (only some learners hold resources)
        """Release threads and other resources, but not the engines."""


def snapshot(info: TaskInfo, controller: Controller) -> Policy:
    """Return a policy with a copy of the arrays, which later updates do not change."""
    return Policy(info.name, info.action_low, info.action_high, jax.tree.map(np.array, controller), info.options)


def too_large(packed: np.ndarray) -> np.ndarray:
    """Return whether the square of each value is not finite."""
    with np.errstate(over="ignore"):
        return ~np.isfinite(np.square(packed))


def diverged(layout: Layout, info: TaskInfo, packed: np.ndarray, ahead: int = 0, **arrays: Any) -> NonFiniteError:
    """Return the error of a loss that is not finite, which names the value that is too large, or the largest reward.

    Args:
        layout: fields of the steps.
        info: the task, for the names of the values.
        packed: (T, N, K), the steps learned from.
        ahead: environment steps of this iteration before these; negative if they are older.
        **arrays: saved for the user.
    """
    for start in range(0, len(packed), _CHECKED_STEPS):
        part = packed[start : start + _CHECKED_STEPS]
        if too_large(part).any():
            return not_finite(layout, info, part, ahead=ahead + start * packed.shape[1], **arrays)
    largest = float(np.abs(layout.read(packed, "reward")).max(initial=0))
    hint = "; lower wrappers.reward_scale" if largest > _LARGE_REWARD else ""
    return NonFiniteError(f"the loss is not finite (rewards of up to {largest:.3g} in size{hint})", arrays)


def not_finite(
    layout: Layout, info: TaskInfo, packed: np.ndarray, first_env: int = 0, ahead: int = 0, **arrays: Any
) -> NonFiniteError:
    """Return the error that names the first value that is not finite in packed steps of a learner, or not its square.

    An observation or reward is named before an action, which may follow from it.

    Args:
        layout: their fields.
        info: the task, for the names of the values.
        packed: (T, N, K).
        first_env: number of the first environment.
        ahead: environment steps of this iteration before these.
        **arrays: saved for the user.
    """
    wrong, large = ~np.isfinite(packed), too_large(packed)
    causes = np.ones(packed.shape[-1], bool)
    if "action" in layout.names:
        causes[layout.columns("action")] = False
    step, env, column = np.argwhere(
        next(mask for mask in (wrong & causes, large & causes, wrong, large) if mask.any())
    )[0]
    field = next(name for name in layout.names if column < layout.columns(name).stop)
    index = column - layout.columns(field).start
    names = {"observation": info.observation_names, "action": info.action_names}
    which = f"{field} {index}" if field in names else f"the {field.replace('_', ' ')}"
    named = names.get(field)
    text = f"{which} ('{named[index]}')" if named else which
    value = packed[step, env, column]
    message = f"{text} of environment {first_env + env} is {value:g}" + (", too large" if np.isfinite(value) else "")
    return NonFiniteError(message, arrays, ahead + step * packed.shape[1])
