"""Compatibility of an earlier policy with a new recipe: networks, actions and observations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.observation_mapping import ObservationMapping
from surefoot.training.warm_start.source import WarmStartSource, symmetry_of

# Policy settings in which two runs may differ and yet have the same actor.
_MAY_DIFFER = ("critic", "observation_clip", "squash", "std", "initial_std", "std_schedule", "minimum_std")
_MOST_LISTED = 4


class Fit(NamedTuple):
    """Match between the values of an earlier policy and those of a new task.

    Attributes:
        mapping: from new observation values to earlier ones.
        matched_by: "name" or "position".
        new: names of the observation values that the earlier policy does not have.
        dropped: names of its observation values that the task does not have.
        notes: lines for the user.
    """

    mapping: ObservationMapping
    matched_by: str
    new: list[str]
    dropped: list[str]
    notes: list[str]


def check_fit(source: WarmStartSource, recipe: Recipe, info: TaskInfo) -> Fit:
    """Match an earlier policy with a new run.

    Raises:
        RunError: its networks have another architecture, or the task has other actions or observations.
    """
    _check_networks(source, recipe)
    if source.action_size != info.action_size:
        raise source.error(f"it has {source.action_size} actions, '{info.name}' has {info.action_size}")
    task = source.find_task()
    sizes = source.observation_size, source.action_size
    if task is None or (task.observation_size, task.action_size) != sizes:
        return _match_observations(source, info, None)
    fit = _match_observations(source, info, task.observation_names)
    if task.action_names and info.action_names and task.action_names != info.action_names:
        names = f"{listed(task.action_names)} are now {listed(info.action_names)}"
        fit.notes.append(f"note: actions are matched by position: {names}")
    return fit


def _check_networks(source: WarmStartSource, recipe: Recipe) -> None:
    """Make sure that the new actor has the architecture of the earlier one, and the same deterministic action."""
    there, here = source.policy, recipe.policy
    if source.averaged != (symmetry_of(recipe) == "averaged"):
        forms = "is averaged with its mirror image", "is not"
        earlier, new = forms if source.averaged else forms[::-1]
        has_symmetry = "symmetry" in type(recipe.settings).model_fields
        setting = f"{recipe.algorithm if has_symmetry else source.algorithm}.symmetry"
        raise source.error(f"its policy {earlier}, the new one {new} ({setting})")
    different = [
        name
        for name in type(here).model_fields
        if name not in _MAY_DIFFER and getattr(there, name) != getattr(here, name)
    ]
    # Without exploration, "tanh" and "tanh_gaussian" act alike, and so do all kinds of std but one.
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


def _match_observations(source: WarmStartSource, info: TaskInfo, earlier_names: Sequence[str] | None) -> Fit:
    names = info.observation_names
    if earlier_names and names:
        mapping = ObservationMapping.by_name(earlier_names, names)
        if mapping.new.all():
            raise source.error(f"its task and '{info.name}' have no observation value in common")
        new = [names[place] for place in np.flatnonzero(mapping.new)]
        dropped = [earlier_names[place] for place in mapping.dropped]
        return Fit(mapping, "name", new, dropped, [])
    if source.observation_size != info.observation_size:
        nameless = info.name if not names else source.task
        raise source.error(
            f"it observes {source.observation_size} values, '{info.name}' has {info.observation_size}, and "
            f"'{nameless}' does not name its own"
        )
    return Fit(ObservationMapping.by_position(info.observation_size), "position", [], [], [])


def shown(value: Any) -> str:
    """Return a setting's value as written in a recipe."""
    return repr(list(value) if isinstance(value, tuple) else value)


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    first = ", ".join(names[:_MOST_LISTED])
    return first + (f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else "")
