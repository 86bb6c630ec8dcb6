"""Compatibility of an earlier policy with a new recipe: networks, actions and observations."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from surefoot.policies.normaliser import Normaliser
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.source import WarmStartSource

# Policy settings in which two runs may differ and yet have the same actor.
_MAY_DIFFER = ("critic", "observation_clip", "squash", "std", "initial_std", "std_schedule", "minimum_std")
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
        """Map first-layer weights, (..., D' + K, O) to (..., D + K, O): zero for new values; the last K rows stay.

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


def shown(value: Any) -> str:
    """Return a setting's value as written in a recipe."""
    return repr(list(value) if isinstance(value, tuple) else value)


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    first = ", ".join(names[:_MOST_LISTED])
    return first + (f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else "")
