"""Whether what an earlier run learnt fits a new task, and which of its observation values are which."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from surefoot.errors import RunError
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.warm_start.observation_mapping import Columns
from surefoot.training.warm_start.source import WarmStartSource, is_equivariant

# Settings of the networks in which two runs may differ and yet have the same actor.
_FREE = ("critic", "observation_clip", "squash", "std", "initial_std", "std_schedule", "minimum_std")
_MOST_NAMED = 4


def check_networks(earlier: WarmStartSource, recipe: Recipe) -> None:
    """Make sure that the new actor has the form of the earlier one, and acts alike.

    Raises:
        RunError: it has not; names both.
    """
    there, here = earlier.policy, recipe.policy
    different = [
        name for name in type(here).model_fields if name not in _FREE and getattr(there, name) != getattr(here, name)
    ]
    # Without exploration, what is squashed is what is brought within bounds by tanh.
    if (there.squash == "clip") != (here.squash == "clip"):
        different.append("squash")
    if (there.std == "state_dependent") != (here.std == "state_dependent"):
        different.append("std")
    if earlier.equivariant != is_equivariant(recipe):
        forms = ("its mirror image too", "no mirror image")
        there, here = forms if earlier.equivariant else forms[::-1]
        algorithm = recipe.algorithm if hasattr(recipe.settings, "symmetry") else earlier.algorithm
        raise RunError(
            f"cannot start from '{earlier.source}': it acts through {there} there, {here} here ({algorithm}.symmetry)"
        )
    if different:
        name = different[0]
        raise RunError(
            f"cannot start from '{earlier.source}': policy.{name} is {shown(getattr(there, name))} there, "
            f"{shown(getattr(here, name))} here; the networks must be of one form"
        )


class Names(NamedTuple):
    """Names of a task's values.

    Attributes:
        observation: D names, or None if unknown.
        action: A names, or None.
    """

    observation: tuple[str, ...] | None
    action: tuple[str, ...] | None


def names_here(info: TaskInfo) -> Names:
    """Return the names of a task's values."""
    return Names(info.observation_names, info.action_names)


def names_there(earlier: WarmStartSource, info: TaskInfo) -> Names:
    """Find the names of what the earlier policy saw and did."""
    task = earlier.find_task()
    if task is None or (task.observation_size, task.action_size) != (earlier.observation_size, earlier.action_size):
        return Names(None, None)
    return names_here(task)


def check_actions(earlier: WarmStartSource, info: TaskInfo, there: Names, here: Names) -> Iterator[str]:
    """Make sure that there are as many actions as before, and yield what else is to be said of them."""
    if earlier.action_size != info.action_size:
        raise RunError(
            f"cannot start from '{earlier.source}': it acts by {earlier.action_size} values, '{info.name}' by "
            f"{info.action_size}"
        )
    if there.action and here.action and there.action != here.action:
        yield f"note: actions are taken in their order: {listed(there.action)} are now {listed(here.action)}"


def match_columns(
    earlier: WarmStartSource, info: TaskInfo, there: Names, here: Names
) -> tuple[Columns, str, list[str], list[str]]:
    """Find each observation value among the earlier ones; also by what, and the names of new ones and of lost ones."""
    if there.observation and here.observation:
        columns = Columns.by_name(there.observation, here.observation)
        if columns.new.all():
            raise RunError(
                f"cannot start from '{earlier.source}': nothing that it sees is among what '{info.name}' shows"
            )
        new = [here.observation[place] for place in np.flatnonzero(columns.new)]
        return columns, "name", new, [there.observation[place] for place in columns.dropped]
    if earlier.observation_size != info.observation_size:
        nameless = info.name if not here.observation else earlier.task
        raise RunError(
            f"cannot start from '{earlier.source}': it sees {earlier.observation_size} values, '{info.name}' shows "
            f"{info.observation_size}, and '{nameless}' does not name its own"
        )
    return Columns.by_position(info.observation_size), "position", [], []


def shown(value: Any) -> str:
    """Write a setting's value as a recipe has it."""
    return repr(list(value) if isinstance(value, tuple) else value)


def listed(names: Sequence[str]) -> str:
    """Write the first few names, and how many more there are."""
    first = ", ".join(names[:_MOST_NAMED])
    return first + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
