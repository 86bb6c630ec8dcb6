"""The search space of a sweep: settings and task options with the ranges of their values.

It comes from the algorithm (`AlgorithmSettings.search_space`), from a TOML file, or from the limits of single settings.
"""

import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Literal

import pydantic
from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from surefoot.errors import InputError
from surefoot.ranges import Range
from surefoot.recipes.files import load_toml, toml_names
from surefoot.recipes.overrides import find_setting, setting_fields
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.schedules import Schedule
from surefoot.settings import Option, Settings, validate

Space = dict[str, Range]
"""Ranges by the dotted name of a setting."""

_SHIPPED = resources.files("surefoot.studies") / "spaces"
_INSIDE = "ge", "gt", "le", "lt"


class RangeTable(Settings):
    """A range as a table of a TOML file."""

    kind: Literal["uniform", "log", "integer", "choice"]
    """uniform: a number; log: a number, uniform in its logarithm; integer: a whole number; choice: one of `values`."""
    low: float | None = None
    """Smallest value; not of a choice."""
    high: float | None = None
    """Largest value; not of a choice."""
    values: tuple[Option, ...] = Field((), max_length=1000)
    """Values of a choice."""

    @model_validator(mode="after")
    def _check(self) -> "RangeTable":
        low, high = self.low, self.high
        if self.kind == "choice":
            if len(self.values) < 2 or low is not None or high is not None:
                raise ValueError("a choice has at least two 'values' and neither 'low' nor 'high'")
        elif self.values or low is None or high is None or low >= high:
            raise ValueError(f"{self.kind} needs 'low' and, above it, 'high'")
        elif self.kind == "log" and low <= 0:
            raise ValueError("log needs a 'low' above 0")
        elif self.kind == "integer" and (low != int(low) or high != int(high)):
            raise ValueError("integer needs whole numbers")
        return self

    def range(self) -> Range:
        """Return the range; the text "none" is no value."""
        values = tuple(None if value == "none" else value for value in self.values)
        return Range(self.kind, self.low or 0.0, self.high or 0.0, values)


class SpaceFile(Settings):
    """A search space as a TOML file."""

    name: str = Field("sweep", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Name of the sweep."""
    description: str = ""
    """Purpose of the sweep, and the source of its ranges."""
    task: str | None = None
    """Task, if it is not given on the command line."""
    recipe: str | None = None
    """Recipe that holds all other settings; none: the task's own, or the defaults."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings that differ from the recipe in all trials."""
    space: dict[str, Any]
    """Ranges by setting, as dotted names or as nested tables."""

    def fixed(self) -> dict[str, Any]:
        """Return `settings` by dotted name."""
        return dict(_flat(self.settings, lambda table: False))

    def ranges(self, source: str) -> Space:
        """Return `space` by dotted name.

        Raises:
            InputError: a range is not valid.
        """
        tables = dict(_flat(self.space, lambda table: "kind" in table))
        return {name: validate(RangeTable, table, f"{source}: {name}").range() for name, table in tables.items()}


def _flat(tables: Mapping[str, Any], is_leaf: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, dict) and not is_leaf(value):
            yield from _flat(value, is_leaf, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def space_names() -> list[str]:
    """Return the names of the shipped search spaces."""
    return toml_names(_SHIPPED)


def load_space(name: str) -> SpaceFile:
    """Read a search space by the name of a shipped one, or by the path of a TOML file.

    Raises:
        InputError: there is no such file, or it is not valid.
    """
    return validate(SpaceFile, *load_toml(name, _SHIPPED, "search space"))


def default_space(recipe: Recipe) -> Space:
    """Return the search space that the recipe's algorithm states beside its settings."""
    return {f"{recipe.algorithm}.{name}": range for name, range in recipe.settings.search_space.items()}


def named_space(names: Sequence[str], recipe: Recipe) -> Space:
    """Return the search space of single settings: the algorithm's range, or the limits of the setting.

    Raises:
        InputError: there is no such setting, or it has no limits on both sides.
    """
    known, fields = default_space(recipe), dict(setting_fields())
    space: Space = {}
    for name in names:
        setting = find_setting(name, fields)
        range = known.get(setting) or (_limits(fields[setting]) if setting in fields else None)
        if range is None:
            raise InputError(
                f"--search {name}: this setting has no limits on both sides; give its range in a --space file"
            )
        space[setting] = range
    return space


def _limits(field: FieldInfo) -> Range | None:
    """Return the range that a setting's type and limits allow."""
    kinds = typing.get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) != 1:
        return None
    if typing.get_origin(kinds[0]) is Literal:
        return Range("choice", values=typing.get_args(kinds[0]))
    if kinds[0] is bool:
        return Range("choice", values=(False, True))
    limits = {name: getattr(part, name) for part in field.metadata for name in _INSIDE if hasattr(part, name)}
    if not {"ge", "le"} <= limits.keys():
        return None
    if kinds[0] is int:
        return Range("integer", limits["ge"], limits["le"])
    return Range("uniform", limits["ge"], limits["le"]) if kinds[0] in (float, Schedule) else None


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def fitted(space: Space, recipe: Recipe) -> Space:
    """Return the space with settings that exist, each end of a range tried in the recipe.

    A range of a schedule that is not constant is that of its start.

    Raises:
        InputError: there is no such setting, or one of the values is not allowed.
    """
    if not space:
        raise InputError(f"the search space is empty; '{recipe.algorithm}' states none")
    fields = dict(setting_fields())
    fitted: Space = {}
    for name, range in space.items():
        setting = find_setting(name, fields)
        if setting.partition(".")[0] in ("task", "algorithm", "seed", "name", "description"):
            raise InputError(f"'{setting}' is not for a search space; start one sweep for each")
        for value in range.ends:
            _check_value(recipe, setting, int(value) if range.kind == "integer" else value)
        schedule = _value(recipe, setting)
        moving = isinstance(schedule, Schedule) and schedule.kind != "constant" and range.kind != "choice"
        fitted[f"{setting}.start" if moving else setting] = range
    return fitted


def _check_value(recipe: Recipe, setting: str, value: Any) -> None:
    """Check one value against the setting's own limits; rules that join several settings are checked in each trial."""
    data = replaced(recipe, {setting: value})
    try:
        changed = Recipe.model_validate(data)
    except pydantic.ValidationError as error:
        if error.errors()[0]["loc"]:  # empty for a rule of the whole recipe
            validate(Recipe, data, "search space")
        return
    if setting.startswith(("task_options.", "train_task_options.")):
        changed.evaluation_task()
        changed.training_task()


def _value(recipe: Recipe, setting: str) -> Any:
    """Return the recipe's value of a setting; None if it has none."""
    value: Any = recipe
    for part in setting.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def known_values(space: Space, recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's own values as parameters of Optuna, without those outside of their range."""
    values = {name: _value(recipe, name) for name in space}
    values = {name: value.start if isinstance(value, Schedule) else value for name, value in values.items()}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: _parameter(space[name], value) for name, value in values.items() if value in space[name]}


def _parameter(range: Range, value: Any) -> Any:
    """Return a value as Optuna stores it: lists and tables as texts."""
    return json.dumps(value) if range.kind == "choice" and isinstance(value, list | dict) else value


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Return a trial's value of every setting; an Optuna trial that has values already keeps them."""
    values: dict[str, Any] = {}
    for name, range in space.items():
        if range.kind == "choice":
            parameters = [_parameter(range, value) for value in range.values]
            values[name] = range.values[parameters.index(trial.suggest_categorical(name, parameters))]
        elif range.kind == "integer":
            values[name] = trial.suggest_int(name, int(range.low), int(range.high))
        else:
            values[name] = trial.suggest_float(name, range.low, range.high, log=range.kind == "log")
    return values


def dump_space(space: Space) -> dict[str, dict[str, Any]]:
    """Return a space as plain data, as in a TOML file."""
    return {
        name: {"kind": range.kind, "values": [_written(value) for value in range.values]}
        if range.kind == "choice"
        else {"kind": range.kind, "low": range.low, "high": range.high}
        for name, range in space.items()
    }


def _written(value: Any) -> Any:
    return "none" if value is None else value


def parse_space(tables: Mapping[str, Any], source: str) -> Space:
    """Return the space of `dump_space`.

    Raises:
        InputError: a range is not valid.
    """
    return {name: validate(RangeTable, table, f"{source}: {name}").range() for name, table in tables.items()}
