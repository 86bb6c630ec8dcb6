"""Starting from what an earlier run learnt: its policy, and all else of its learner that fits the new task.

Observation values are found again by their names where both tasks name them (`tasks.columns`). A value that was not
there before starts without any influence, so that the body acts exactly as it did; one that is no more is left out.
Schedules start anew, and so does the replay.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ars
from surefoot.algorithms.ars import ARSState
from surefoot.algorithms.ddpg_state import DDPGState
from surefoot.algorithms.ppo import PPOState
from surefoot.algorithms.registry import ALGORITHMS
from surefoot.algorithms.symmetric_networks import tied
from surefoot.errors import RunError
from surefoot.files import atomic_write
from surefoot.policies.networks import Parameters
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.symmetry import Mirror
from surefoot.pytrees import flatten_tree, unflatten_tree
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.compatibility import (
    check_actions,
    check_networks,
    listed,
    match_columns,
    names_here,
    names_there,
    shown,
)
from surefoot.training.warm_start.source import WarmStartSource

# PPO's statistics of returns count for no more than so many steps, that a task that pays more is soon followed.
_MOST_RETURNS = 100_000.0
_ORDER = ("policy", "normaliser", "optimiser", "critic", "noise scale", "replay")


class Part(NamedTuple):
    """What became of one part of what there was.

    Attributes:
        taken: whether it was taken over.
        detail: how much of it, or why not.
    """

    taken: bool
    detail: str


class Transfer:
    """Takes an earlier run's learning into the state of a new learner.

    Args:
        earlier: what was learnt.
        recipe: the new run's.
        info: the new run's task.

    Attributes:
        columns: which observation values are which.
        parts: what was taken over, by name; filled by `into_ppo`, `into_ddpg` or `into_ars`.
        parameter_sigma: the scale at which weight noise goes on, or None.

    Raises:
        RunError: the policy cannot serve the new task, or its networks are of another form.
    """

    def __init__(self, earlier: WarmStartSource, recipe: Recipe, info: TaskInfo) -> None:
        self.earlier = earlier
        self._recipe = recipe
        self._whole = earlier.recipe is not None and earlier.algorithm == recipe.algorithm
        check_networks(earlier, recipe)
        here, there = names_here(info), names_there(earlier, info)
        self._notes = list(check_actions(earlier, info, there, here))
        self.columns, self._by, self._new, self._dropped = match_columns(earlier, info, there, here)
        self.parts: dict[str, Part] = {}
        self.parameter_sigma: float | None = None

    def into_ppo(self, state: PPOState) -> PPOState:
        """Return the state with which PPO starts."""
        critic, log_std = self._judge_critic(f"{self._recipe.algorithm}.normalise_returns"), self._find_log_std(state)

        def fresh(name: str) -> bool:
            return (not critic and "/critic/" in name) or (log_std is not None and name.endswith("/log_std"))

        def networks(template: Parameters, source: str) -> Parameters:
            return self._tree(template if log_std is None else template | {"log_std": log_std}, source, fresh)

        parameters = networks(state.parameters, "parameters" if self._whole else self.earlier.acting)
        state = state._replace(
            parameters=parameters,
            average=jax.tree.map(jnp.copy, parameters),
            normaliser=self._normaliser(state.normaliser),
        )
        self._note_policy()
        self.parts["noise scale"] = self._describe_std(np.asarray(parameters["log_std"]), log_std is None)
        if not self._whole:
            return state
        state = state._replace(
            average=networks(state.average, "average"), optimizer=self._moments(state.optimizer, fresh)
        )
        if critic and self._recipe.settings.normalise_returns:
            # The values are in units of these.
            statistics: Normaliser = self._tree(state.return_statistics, "return_statistics")
            count = jnp.minimum(statistics.count, _MOST_RETURNS)
            state = state._replace(return_statistics=statistics._replace(count=count))
        return state

    def into_ddpg(self, state: DDPGState) -> DDPGState:
        """Return the state with which DDPG, TD3 or SAC starts."""
        name, policy = self._recipe.algorithm, self._recipe.policy
        own = not self._whole and policy.std != "state_dependent"  # nothing acts by its deviation
        source = "actor" if self._whole else self.earlier.acting
        actor = self._tree(state.actor, source, lambda name: own and name.endswith("/log_std"))
        state = state._replace(
            actor=actor,
            average=jax.tree.map(jnp.copy, actor),
            target_actor=jax.tree.map(jnp.copy, actor),
            normaliser=self._normaliser(state.normaliser),
        )
        self._note_policy()
        critic = self._judge_critic(f"{name}.critics", f"{name}.critic_action_layer")
        self.parts["noise scale"] = Part(False, "as the recipe has it")
        self.parts["replay"] = Part(False, "begins empty; the policy fills it, no warm-up at random")
        if not self._whole:
            return state
        names = ["average", "target_actor", "actor_moments"]
        names += ["critics", "target_critics", "critic_moments"] if critic else []
        if getattr(self._recipe.settings, "temperature_learning_rate", 0):
            names += ["log_temperature", "temperature_moments"]
            self.parts["noise scale"] = Part(True, "the temperature")
        elif self._recipe.settings.exploration.parameter_noise and self.earlier.parameter_sigma:
            self.parameter_sigma = self.earlier.parameter_sigma
            self.parts["noise scale"] = Part(
                True, f"of weights {self.parameter_sigma:.3g}; of actions as the recipe has it"
            )
        return state._replace(**{one: self._tree(getattr(state, one), one) for one in names})

    def into_ars(self, state: ARSState) -> ARSState:
        """Return the state with which random search starts."""

        def fresh(name: str) -> bool:
            return name.endswith("/log_std")

        acting = self.earlier.acting
        parameters = self._tree(state.parameters, "parameters" if self._whole else acting, fresh)
        average = self._tree(state.average, acting, fresh)
        self._note_policy()
        return state._replace(parameters=parameters, average=average, normaliser=self._normaliser(state.normaliser))

    def check_ties(self, parameters: Parameters, mirror: Mirror) -> None:
        """Make sure that what was taken over is symmetric by its weights.

        Raises:
            RunError: it is not.
        """
        before = flatten_tree(parameters, "")
        after = flatten_tree(tied(parameters, mirror, self._recipe.policy), "")
        if not all(np.allclose(before[name], after[name], rtol=1e-4, atol=1e-5) for name in before):
            raise RunError(
                f"cannot start from '{self.earlier.source}': its weights are not tied in pairs, as they are to be here "
                f"({self._recipe.algorithm}.{'symmetry' if hasattr(self._recipe.settings, 'symmetry') else 'tied'})"
            )

    def lines(self) -> Iterator[str]:
        """Say what was taken over and what was not, for people."""
        earlier = self.earlier
        step = "" if earlier.step is None else f", step {earlier.step:,}"
        yield f"starts from {earlier.source}{step} ({earlier.algorithm or 'unknown algorithm'} on {earlier.task})"
        yield from (
            f"  {name:{len('noise scale')}}  {_said(self.parts[name])}" for name in _ORDER if name in self.parts
        )
        yield from (f"  {note}" for note in self._notes)

    def keep(self, path: Path) -> None:
        """Write the same as JSON.

        Raises:
            OSError: it cannot be written.
        """
        earlier = self.earlier
        record = {
            "source": earlier.source,
            "step": earlier.step,
            "algorithm": earlier.algorithm,
            "task": earlier.task,
            "task_options": earlier.options,
            "columns": {"matched_by": self._by, "new": self._new, "dropped": self._dropped},
            "parts": {name: self.parts[name]._asdict() for name in _ORDER if name in self.parts},
            "notes": self._notes,
        }
        atomic_write(path, json.dumps(record, indent=1).encode() + b"\n")

    def _tree(self, template: Any, source: str, fresh: Callable[[str], bool] = lambda name: False) -> Any:
        """Return a tree like `template` with the earlier arrays under `source`; where `fresh`, with its own."""
        arrays = {}
        for name, own in flatten_tree(template, source).items():
            arrays[name] = own if fresh(name) else self.earlier.array(name)
            if not fresh(name) and self._sees(name):
                try:
                    arrays[name] = self.columns.rows(arrays[name])
                except ValueError as error:
                    raise RunError(f"cannot start from '{self.earlier.source}': {error}") from None
        try:
            return unflatten_tree(template, arrays, source)
        except RunError as error:
            raise RunError(f"cannot start from '{self.earlier.source}': {error}") from None

    def _sees(self, name: str) -> bool:
        """Tell whether an array has a row for each observation value, as first weights and their moments have."""
        heads = ("trunk",) if self._recipe.policy.trunk else ("actor", "critic", "layers")
        return any(f"/{name}".endswith(f"/{head}/0/weight") for head in heads)

    def _moments(self, optimizer: Any, fresh: Callable[[str], bool]) -> Any:
        """Take over Adam's moments, wherever they are in the chain."""
        source = next((name for name in self.earlier.arrays if name.startswith("optimizer/") and "/mu/" in name), "")
        at = next(place for place, part in enumerate(optimizer) if hasattr(part, "mu"))
        adam = self._tree(optimizer[at], source.partition("/mu/")[0] or "optimizer", fresh)
        return (*optimizer[:at], adam, *optimizer[at + 1 :])

    def _normaliser(self, own: Normaliser) -> Normaliser:
        if not self._recipe.policy.normalise_observations:
            self.parts["normaliser"] = Part(False, "observations are not normalised")
            return own
        earlier = self.earlier
        found = Normaliser(*(jnp.asarray(earlier.array(f"normaliser/{name}")) for name in Normaliser._fields))
        if earlier.recipe is not None and earlier.algorithm == "ars" and not self._whole:
            found = ars.effective(found, earlier.recipe.settings)
        self.parts["normaliser"] = Part(
            True, f"of {float(found.count.max()):,.0f} observations" + "; of none for new values" * bool(self._new)
        )
        return self.columns.statistics(found)

    def _judge_critic(self, *names: str) -> bool:
        """Tell whether the critic is taken over; `names` are the settings by which critics differ."""
        reason = ""
        if not self._recipe.training.from_critic:
            reason = "training.from_critic = false"
        elif self.earlier.recipe is None:
            reason = "only a policy is there"
        elif not self._whole:
            reason = f"it is of {self.earlier.algorithm}"
        else:
            for name in ("policy.critic", "wrappers.reward_scale", *names):
                there, here = _setting(self.earlier.recipe, name), _setting(self._recipe, name)
                if there != here:
                    reason = f"{name} is {shown(there)} there, {shown(here)} here"
        taken = not reason
        self.parts["critic"] = Part(taken, reason or "with its targets" * ALGORITHMS[self._recipe.algorithm].off_policy)
        if self._whole:
            self.parts["optimiser"] = Part(True, "Adam's moments" + ("" if taken else ", but the critic's"))
        else:
            self.parts["optimiser"] = Part(
                False, reason if self.earlier.recipe is None else "it is of another algorithm"
            )
        return taken

    def _find_log_std(self, state: PPOState) -> jax.Array | None:
        """Return the log deviation that PPO starts with, or None where it takes over the earlier one."""
        policy, start = self._recipe.policy, self._recipe.training.from_std
        if start is not None:
            return jnp.full_like(state.parameters["log_std"], math.log(start))
        same = self.earlier.algorithm == "ppo" and policy.std != "scheduled"
        return None if same or policy.std == "state_dependent" else state.parameters["log_std"]

    def _describe_std(self, log_std: np.ndarray, taken: bool) -> Part:
        policy = self._recipe.policy
        if policy.std == "state_dependent":
            return Part(taken, "the network's own")
        std = np.maximum(np.exp(log_std), policy.minimum_std)
        text = f"std {std.min():.3g}" + (f" to {std.max():.3g}" if std.max() > 1.005 * std.min() else "")
        if policy.std == "scheduled":
            taken = self.earlier.algorithm == "ppo" and np.allclose(std, self.earlier.std.mean(), rtol=1e-3)
            return Part(taken, f"{text}, where its schedule starts; --policy.std_schedule.start starts it elsewhere")
        if not taken:
            return Part(False, f"{text}, as the recipe has it")
        return Part(True, f"{text}; --training.from_std starts with another")

    def _note_policy(self) -> None:
        kept = int((~self.columns.new).sum())
        how = "by their names" if self._by == "name" else "in their order"
        new = f"; {len(self._new)} new: {listed(self._new)}" if self._new else ""
        dropped = f"; {len(self._dropped)} no more: {listed(self._dropped)}" if self._dropped else ""
        text = f"sees {kept} values as before ({how}){new}{dropped}"
        self.parts["policy"] = Part(True, text)


def with_stored_count(state: Any, arrays: Any, prefix: str) -> Any:
    """Return a learner's state, as a template, with as many counts of observations as are stored."""
    count = arrays.get(f"{prefix}/normaliser/count")
    if count is None or count.shape != state.normaliser.mean.shape:
        return state
    return state._replace(normaliser=state.normaliser._replace(count=jnp.zeros(count.shape)))


def _setting(recipe: Recipe, dotted: str) -> Any:
    value: Any = recipe
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def _said(part: Part) -> str:
    return ("taken over" if part.taken else "not taken over") + (f": {part.detail}" if part.detail else "")
