"""Compatibility of an earlier policy with a new recipe: inherited settings, networks, actions and observations."""

import dataclasses
import functools
import operator
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.registry import ALGORITHMS, DEFAULT_ALGORITHM
from surefoot.errors import InputError
from surefoot.policies.normaliser import Normaliser
from surefoot.recipes.make import make_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.wrappers import wrapper_options
from surefoot.training.warm_start.source import WarmStartSource

# Policy settings in which two runs may differ and yet have the same actor.
_CRITIC = "critic", "critic_activation"
_MAY_DIFFER = (*_CRITIC, "observation_clip", "squash", "std", "initial_std", "std_schedule", "minimum_std")
# Policy settings that another algorithm does not inherit: they describe the earlier critic and exploration.
_NOT_FOR_OTHERS = (*_CRITIC, "initial_std", "std_schedule", "minimum_std")
_MOST_LISTED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationMapping:
    """Place of each of D new observation values among D' earlier ones."""

    index: np.ndarray  # (D,) int; -1: the value is new, and has no influence at first
    earlier_size: int  # D'
    matched_by: str  # "name" or "position"
    new: Sequence[str] = ()  # names of the new values
    dropped: Sequence[str] = ()  # names of the earlier values that are not used any more

    @classmethod
    def by_name(cls, earlier: Sequence[str], present: Sequence[str]) -> "ObservationMapping":
        """Map values of the same name."""
        places = {name: place for place, name in enumerate(earlier)}
        index = np.array([places.get(name, -1) for name in present], int)
        new = [name for name in present if name not in places]
        return cls(index, len(earlier), "name", new, [name for name in earlier if name not in present])

    @classmethod
    def by_position(cls, size: int) -> "ObservationMapping":
        """Map each of `size` values to itself."""
        return cls(np.arange(size), size, "position")

    def first_weight(self, weight: np.ndarray) -> np.ndarray:
        """Map first-layer weights, (..., D' + K, O) to (..., D + K, O): zero for new values; the last K rows are kept.

        Raises:
            ValueError: there are fewer than D' rows.
        """
        if weight.ndim < 2 or weight.shape[-2] < self.earlier_size:
            raise ValueError(f"weights {weight.shape} are not those of {self.earlier_size} values")
        observed = np.where(self.index[:, None] < 0, 0, weight[..., self.index, :]).astype(weight.dtype)
        return np.concatenate([observed, weight[..., self.earlier_size :, :]], axis=-2)

    def statistics(self, normaliser: Normaliser) -> Normaliser:
        """Map statistics. New values start with mean 0, variance 1 and count 0.

        With the count of the other values, their statistics would hardly change during the first millions of steps.
        """
        counts = jnp.broadcast_to(normaliser.count, normaliser.mean.shape)
        mean, variance, count = (
            jnp.where(self.index < 0, initial, values[self.index])
            for values, initial in ((normaliser.mean, 0.0), (normaliser.variance, 1.0), (counts, 0.0))
        )
        return Normaliser(mean, variance, count[0] if bool((count == count[0]).all()) else count)


def check_fit(source: WarmStartSource, recipe: Recipe, info: TaskInfo) -> tuple[ObservationMapping, list[str]]:
    """Match an earlier policy with a new run.

    Returns:
        The mapping of observations, and notes for the user.

    Raises:
        RunError: its networks have another architecture, or the task has other actions or observations.
    """
    _check_networks(source, recipe)
    observations, actions = source.sizes
    if actions != info.action_size:
        raise source.error(f"it has {actions} actions, '{info.name}' has {info.action_size}")
    earlier_names, names, notes = (), info.observation_names, []
    task = source.find_task()
    if task and (task.observation_size, task.action_size) == source.sizes:
        earlier_names = task.observation_names
        if task.action_names and info.action_names and task.action_names != info.action_names:
            changed = f"{listed(task.action_names)} are now {listed(info.action_names)}"
            notes.append(f"note: actions are matched by position: {changed}")
    if earlier_names and names:
        mapping = ObservationMapping.by_name(earlier_names, names)
        if len(mapping.new) == len(names):
            raise source.error(f"its task and '{info.name}' have no observation value in common")
        return mapping, notes
    if observations != info.observation_size:
        raise source.error(
            f"it observes {observations} values, '{info.name}' has {info.observation_size}, and "
            f"'{source.task if names else info.name}' does not name its own"
        )
    return ObservationMapping.by_position(info.observation_size), notes


def _check_networks(source: WarmStartSource, recipe: Recipe) -> None:
    """Make sure that the new actor has the architecture of the earlier one, and the same deterministic action."""
    there, here = source.policy, recipe.policy
    if source.averaged != (recipe.symmetry == "averaged"):
        forms = "is averaged with its mirror image", "is not"
        earlier, new = forms if source.averaged else forms[::-1]
        algorithm = recipe.algorithm if hasattr(recipe.settings, "symmetry") else source.algorithm
        raise source.error(f"its policy {earlier}, the new one {new} ({algorithm}.symmetry)")
    different = [
        name
        for name in type(here).model_fields
        if name not in _MAY_DIFFER and getattr(there, name) != getattr(here, name)
    ]
    # Without exploration, "tanh" and "tanh_gaussian" give the same actions, and so do all kinds of std but one.
    if (there.squash == "clip") != (here.squash == "clip"):
        different.append("squash")
    if (there.std == "state_dependent") != (here.std == "state_dependent"):
        different.append("std")
    if different:
        name = different[0]
        raise source.error(
            f"policy.{name} is {shown(getattr(there, name))} there, {shown(getattr(here, name))} here; the networks "
            "must have the same form"
        )


def plan(source: WarmStartSource, recipe: Recipe, base: str | None, changes: Mapping[str, Any]) -> tuple[Recipe, str]:
    """Complete a recipe with the settings that it inherits from the source of its warm start.

    Those are the architecture of the networks, the observation wrappers and, if the user chose neither a base recipe
    nor an algorithm, the algorithm. The user's `changes`, by dotted names, take precedence.

    Returns:
        The complete recipe, and the inherited settings that differ from `recipe`'s as text, "" if none does.

    Raises:
        InputError: the source does not fit the task.
    """
    algorithm = {} if base else _inherited_algorithm(source, changes)
    try:
        own = make_recipe(recipe.task, base, {**changes, **algorithm}) if algorithm else recipe
        inherited = algorithm | _inherited_settings(source, own, changes)
        complete = make_recipe(recipe.task, base, {**changes, **inherited})
    except InputError as error:
        raise source.error(error) from None
    check_fit(source, complete, complete.evaluation_task())
    before = own.model_dump(mode="json") | {"algorithm": recipe.algorithm}
    different = [
        f"{name} = {value!r}"
        for name, value in inherited.items()
        if value != functools.reduce(operator.getitem, name.split("."), before)
    ]
    return complete, ", ".join(different)


def _inherited_algorithm(source: WarmStartSource, changes: Mapping[str, Any]) -> dict[str, str]:
    """Return the earlier algorithm as a setting, unless `changes` choose one or it is the default."""
    chosen = any(name.partition(".")[0] in ("algorithm", *ALGORITHMS) for name in changes)
    if chosen or source.algorithm not in ALGORITHMS or source.algorithm == DEFAULT_ALGORITHM:
        return {}
    return {"algorithm": source.algorithm}


def _inherited_settings(source: WarmStartSource, own: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the earlier settings of policy, symmetry and wrappers by dotted names, except those in `changes`."""
    policy = source.policy.model_dump(mode="json")
    if source.algorithm == own.algorithm:
        del policy["minimum_std"]  # not inherited
        if own.settings.learns_std and source.policy.std == "scheduled":
            # The schedule continues from its last value.
            start = min(10.0, float(f"{source.std.mean():.6g}"))
            policy["std_schedule"] = source.policy.std_schedule.model_copy(update={"start": start}).model_dump()
    else:
        policy = {name: value for name, value in policy.items() if name not in _NOT_FOR_OTHERS}
        if policy["std"] != "state_dependent":
            del policy["std"]
        if "tanh_gaussian" in (policy["squash"], own.policy.squash) and policy["squash"] != "clip":
            # Both have the same deterministic action.
            policy["squash"] = "tanh_gaussian" if own.policy.squash == "tanh_gaussian" else "tanh"
    inherited = {f"policy.{name}": value for name, value in policy.items()}
    if symmetry := _inherited_symmetry(source, own):
        inherited[f"{own.algorithm}.symmetry"] = symmetry
    inherited |= {f"wrappers.{name}": value for name, value in wrapper_options(source.options)}
    return {name: value for name, value in inherited.items() if name not in changes}


def _inherited_symmetry(source: WarmStartSource, own: Recipe) -> str:
    """Return the value of `symmetry` that the earlier networks need, or the recipe's if that works; "" without any."""
    field = type(own.settings).model_fields.get("symmetry")
    allowed = () if field is None else typing.get_args(field.annotation)
    if "tied" in allowed and source.recipe is not None and source.recipe.symmetry == "tied":
        return "tied"
    if "averaged" in allowed and source.averaged != (own.symmetry == "averaged"):
        return "averaged" if source.averaged else "none"
    # Untied weights cannot be tied later. The weights of a policy file may be tied.
    untied = own.symmetry == "tied" and source.recipe is not None
    return ("none" if untied else own.symmetry) if allowed else ""


def shown(value: Any) -> str:
    """Return a setting's value as written in a recipe."""
    return repr(list(value) if isinstance(value, tuple) else value)


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    first = ", ".join(names[:_MOST_LISTED])
    return first + (f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else "")
