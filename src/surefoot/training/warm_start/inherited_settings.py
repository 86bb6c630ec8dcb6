"""Settings that a run takes from the one it starts from, because what was learnt there means nothing without them."""

import typing
from collections.abc import Mapping
from typing import Any

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.wrappers import ACTION_REPEAT, FRAME_STACK, read_view
from surefoot.training.warm_start.source import WarmStartSource, is_equivariant, is_tied

# What another algorithm has no use for: these say how the earlier one judged and explored.
_OWN = ("critic", "initial_std", "std_schedule", "minimum_std")


def adopted_algorithm(earlier: WarmStartSource, changes: Mapping[str, Any]) -> dict[str, str]:
    """Return the earlier run's algorithm as a setting, unless `changes` tell of another."""
    told = any(name.partition(".")[0] in ("algorithm", *ALGORITHMS) for name in changes)
    return {} if told or earlier.algorithm not in ALGORITHMS else {"algorithm": earlier.algorithm}


def adopted_settings(earlier: WarmStartSource, own: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the earlier settings of policy and view by dotted names, without those that `changes` name.

    Args:
        earlier: what is started from.
        own: the recipe as it is without them.
        changes: what a person asked for.
    """
    policy = earlier.policy.model_dump(mode="json")
    if earlier.algorithm == own.algorithm:
        del policy["minimum_std"]  # how much is tried at least is for each training to say
        if ALGORITHMS[own.algorithm].learns_std and earlier.policy.std == "scheduled":
            # The schedule continues from its last value.
            start = min(10.0, float(f"{earlier.std.mean():.6g}"))
            policy["std_schedule"] = earlier.policy.std_schedule.model_copy(update={"start": start}).model_dump()
    else:
        policy = {name: value for name, value in policy.items() if name not in _OWN}
        if policy["std"] != "state_dependent":
            del policy["std"]
        if "tanh_gaussian" in (policy["squash"], own.policy.squash) and policy["squash"] != "clip":
            # Both have the same deterministic action.
            policy["squash"] = "tanh_gaussian" if own.policy.squash == "tanh_gaussian" else "tanh"
    adopted = {f"policy.{name}": value for name, value in policy.items()}
    symmetry, allowed = f"{own.algorithm}.symmetry", _allowed_symmetry(own)
    if "tied" in allowed and earlier.recipe is not None and is_tied(earlier.recipe):
        adopted[symmetry] = "tied"
    elif "averaged" in allowed and earlier.equivariant != is_equivariant(own):
        adopted[symmetry] = "averaged" if earlier.equivariant else "none"
    elif allowed and own.settings.symmetry == "tied" and earlier.recipe is not None:
        adopted[symmetry] = "none"  # its weights are not tied, and a file alone does not tell
    repeat, frame_stack = read_view(earlier.options)
    adopted |= {f"wrappers.{ACTION_REPEAT}": repeat, f"wrappers.{FRAME_STACK}": frame_stack}
    return {name: value for name, value in adopted.items() if name not in changes}


def _allowed_symmetry(recipe: Recipe) -> tuple[str, ...]:
    """Values that the algorithm's `symmetry` setting may have; () if it has none."""
    field = type(recipe.settings).model_fields.get("symmetry")
    return () if field is None else typing.get_args(field.annotation)


def told(adopted: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Say which adopted settings are others than the run would have had by itself, "" if none is.

    Args:
        adopted: settings by their dotted names.
        own: the recipe without them, as plain data.
    """

    def before(dotted: str) -> Any:
        value: Any = own
        for name in dotted.split("."):
            value = value[name]
        return value

    different = {name: value for name, value in adopted.items() if value != before(name)}
    return ", ".join(f"{name} = {value!r}" for name, value in different.items())
