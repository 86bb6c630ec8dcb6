"""The plan of a warm start: settings that the new run inherits, because the earlier networks need them."""

import functools
import operator
import typing
from collections.abc import Mapping
from typing import Any

from surefoot.algorithms.registry import ALGORITHMS, DEFAULT_ALGORITHM
from surefoot.errors import InputError
from surefoot.recipes.make import make_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.wrappers import ACTION_REPEAT, FRAME_STACK, read_wrappers
from surefoot.training.warm_start.compatibility import check_fit
from surefoot.training.warm_start.source import WarmStartSource

# Policy settings that another algorithm does not inherit: they describe the earlier critic and exploration.
_NOT_FOR_OTHERS = ("critic", "initial_std", "std_schedule", "minimum_std")


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
        if ALGORITHMS[own.algorithm].learns_std and source.policy.std == "scheduled":
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
    repeat, frame_stack = read_wrappers(source.options)
    inherited |= {f"wrappers.{ACTION_REPEAT}": repeat, f"wrappers.{FRAME_STACK}": frame_stack}
    return {name: value for name, value in inherited.items() if name not in changes}


def _inherited_symmetry(source: WarmStartSource, own: Recipe) -> str:
    """Return the value of `symmetry` that the earlier networks need, "" if the recipe's value works."""
    field = type(own.settings).model_fields.get("symmetry")
    allowed = () if field is None else typing.get_args(field.annotation)
    if "tied" in allowed and source.recipe is not None and source.recipe.symmetry == "tied":
        return "tied"
    if "averaged" in allowed and source.averaged != (own.symmetry == "averaged"):
        return "averaged" if source.averaged else "none"
    # Untied weights cannot be tied later. The weights of a policy file may be tied.
    return "none" if own.symmetry == "tied" and source.recipe is not None else ""
