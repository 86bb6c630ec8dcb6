"""Transfer of an earlier run's state into a new learner: the policy, and all other parts that fit the new task.

Schedules and the replay start from the beginning.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.symmetry import Symmetry
from surefoot.errors import RunError
from surefoot.files import atomic_write
from surefoot.policies.networks import ActorCritic
from surefoot.policies.normaliser import Normaliser
from surefoot.pytrees import flatten_tree, unflatten_tree
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.compatibility import check_fit, listed, shown
from surefoot.training.warm_start.source import WarmStartSource

_ORDER = ("policy", "normaliser", "optimiser", "critic", "noise scale", "replay")


class TransferredPart(NamedTuple):
    """Outcome of transferring one part."""

    taken: bool  # whether it was taken over
    detail: str  # its extent, or the reason why not


class Transfer:
    """Takes over an earlier run; implements `algorithms.algorithm.WarmStart`.

    Args:
        source: the earlier run.
        recipe: the new run's recipe.
        info: the new run's task.

    Attributes:
        parts: outcome of each part, by name; filled by `into`.

    Raises:
        RunError: the policy does not fit the new task, or its networks have another architecture.
    """

    def __init__(self, source: WarmStartSource, recipe: Recipe, info: TaskInfo) -> None:
        self.source = source
        self.policy = recipe.policy
        self.same_algorithm = source.recipe is not None and source.algorithm == recipe.algorithm
        self.acting = source.acting
        self.parts: dict[str, TransferredPart] = {}
        self._recipe = recipe
        self._mapping, self._notes = check_fit(source, recipe, info)

    def into(self, state: Any) -> Any:
        """Return the algorithm's initial state after taking over the earlier run.

        Raises:
            RunError: an array is missing, or of another shape.
        """
        mapping = self._mapping
        detail = f"observes {(mapping.index >= 0).sum()} values as before (by {mapping.matched_by})"
        for names, what in ((mapping.new, "new"), (mapping.dropped, "dropped")):
            detail += f"; {len(names)} {what}: {listed(names)}" if names else ""
        self.report("policy", True, detail)
        state = self._recipe.settings.warm_start(state, self)
        self.parts = {name: self.parts[name] for name in _ORDER if name in self.parts}
        return state

    def tree(self, template: Any, name: str, fresh: Callable[[str], bool] = lambda path: False) -> Any:
        arrays = {}
        for path, initial in flatten_tree(template, name).items():
            arrays[path] = initial if fresh(path) else self.source.array(path)
            if not fresh(path) and self._is_first_weight(path):
                try:
                    arrays[path] = self._mapping.first_weight(arrays[path])
                except ValueError as error:
                    raise self.source.error(error) from None
        try:
            return unflatten_tree(template, arrays, name)
        except RunError as error:
            raise self.source.error(error) from None

    def normaliser(self, initial: Normaliser) -> Normaliser:
        if not self.policy.normalise_observations:
            self.report("normaliser", False, "observations are not normalised")
            return initial
        source = self.source
        earlier = Normaliser(*(jnp.asarray(source.array(f"normaliser/{name}")) for name in Normaliser._fields))
        if source.recipe is not None and not self.same_algorithm:
            earlier = source.recipe.settings.acting_statistics(earlier)
        new = "; none of new values" if self._mapping.new else ""
        self.report("normaliser", True, f"of {float(earlier.count.max()):,.0f} observations{new}")
        return self._mapping.statistics(earlier)

    def takes_critic(self, *names: str) -> bool:
        earlier, algorithm, reason = self.source.recipe, self._recipe.algorithm, ""
        if earlier is None:
            reason = "a policy file has none"
        elif not self._recipe.training.from_critic:
            reason = "training.from_critic = false"
        elif not self.same_algorithm:
            reason = f"it is of {self.source.algorithm}"
        else:
            for name in (
                "policy.critic",
                "policy.critic_activation",
                "wrappers.reward_scale",
                *(f"{algorithm}.{name}" for name in names),
            ):
                there, here = (functools.reduce(getattr, name.split("."), r) for r in (earlier, self._recipe))
                if there != here:
                    reason = f"{name} is {shown(there)} there, {shown(here)} here"
        targets = "with its target networks" if self._recipe.settings.learner == "off_policy" else ""
        self.report("critic", not reason, reason or targets)
        if self.same_algorithm:
            self.report("optimiser", True, "Adam's moments" + (", except the critic's" if reason else ""))
        else:
            self.report("optimiser", False, reason if earlier is None else "it is of another algorithm")
        return not reason

    def initial_log_std(self, log_std: jax.Array, name: str) -> jax.Array | None:
        policy, from_std = self.policy, self._recipe.training.from_std
        same = self.source.algorithm == self._recipe.algorithm and policy.std != "scheduled"
        initial = None if same or policy.std == "state_dependent" else log_std
        if from_std is not None:
            initial = jnp.full_like(log_std, math.log(from_std))
        earlier = self.source.array(f"{name}/log_std")
        self._report_std(np.asarray(earlier if initial is None else initial), initial is None)
        return initial

    def parameter_sigma(self) -> float | None:
        """Return the earlier run's scale of parameter noise, or None if it has none."""
        sigma = self.source.parameter_sigma if self.same_algorithm else None
        used = self._recipe.settings.exploration.parameter_noise
        if not used or sigma is None or sigma.shape != () or not 0 < sigma < math.inf:
            return None
        self.report("noise scale", True, f"parameter noise {float(sigma):.3g}; action noise from the recipe")
        return float(sigma)

    def report(self, part: str, taken: bool, detail: str) -> None:
        self.parts[part] = TransferredPart(taken, detail)

    def check_ties(self, network: ActorCritic, symmetry: Symmetry) -> None:
        """Check that the weights of a transferred network are tied, if the new run's are.

        Raises:
            RunError: they are not.
        """
        before, after = flatten_tree(network, ""), flatten_tree(symmetry.project(network), "")
        if not all(np.allclose(before[name], after[name], rtol=1e-4, atol=1e-5) for name in before):
            raise self.source.error(
                f"its weights are not tied in pairs, as {self._recipe.algorithm}.symmetry = 'tied' needs"
            )

    def lines(self) -> Iterator[str]:
        """Yield lines for the user: the source, and the outcome of each part."""
        source = self.source
        step = "" if source.step is None else f", step {source.step:,}"
        yield f"warm start from {source.name}{step} ({source.algorithm or 'unknown algorithm'} on {source.task})"
        width = max(map(len, _ORDER))
        for name, (taken, detail) in self.parts.items():
            yield f"  {name:{width}}  {'taken over' if taken else 'not taken over'}" + (f": {detail}" if detail else "")
        yield from (f"  {note}" for note in self._notes)

    def save(self, path: Path) -> None:
        """Write the source and the outcome of each part as JSON.

        Raises:
            OSError: it cannot be written.
        """
        source, mapping = self.source, self._mapping
        record = {
            "source": source.name,
            "step": source.step,
            "algorithm": source.algorithm,
            "task": source.task,
            "task_options": source.options,
            "observations": {name: getattr(mapping, name) for name in ("matched_by", "new", "dropped")},
            "parts": {name: part._asdict() for name, part in self.parts.items()},
            "notes": self._notes,
        }
        atomic_write(path, json.dumps(record, indent=1).encode() + b"\n")

    def _is_first_weight(self, path: str) -> bool:
        """Whether an array has a row for each observation value, as first weights and their moments have."""
        heads = ("trunk",) if self.policy.trunk else ("actor", "critic", "layers")
        return any(f"/{path}".endswith(f"/{head}/0/weight") for head in heads)

    def _report_std(self, log_std: np.ndarray, taken: bool) -> None:
        std = np.maximum(np.exp(log_std), self.policy.minimum_std)
        text = f"std {std.min():.3g}" + (f" to {std.max():.3g}" if std.max() > 1.005 * std.min() else "")
        if self.policy.std == "state_dependent":
            text = "from the network"
        elif self.policy.std == "scheduled":
            same = self.source.algorithm == self._recipe.algorithm
            taken = bool(same and np.allclose(std, self.source.std.mean(), rtol=1e-3))
            text += ", the start of its schedule (--policy.std_schedule.start)"
        else:
            text += "; --training.from_std sets another" if taken else ", from the recipe"
        self.report("noise scale", taken, text)
