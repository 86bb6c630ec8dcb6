"""Settings and task options as rows of texts: name, value, type and range, meaning; for listings and documentation."""

import dataclasses
import json
import types
import typing
from collections.abc import Collection
from operator import attrgetter
from typing import Any, Literal

from pydantic.fields import FieldInfo

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.recipes.overrides import setting_fields
from surefoot.recipes.recipe import Recipe
from surefoot.schedules import Schedule
from surefoot.settings import Settings, validate
from surefoot.tasks.catalogue import find_task, options_class
from surefoot.tasks.options import EnvOptions
from surefoot.tasks.registry import resolve

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_KINDS = {bool: "true or false", int: "integer", float: "number", str: "text", list: "list", tuple: "list"}
# Settings that the listing of one training shows in another form.
_NOT_LISTED = ("name", "task", "description", "task_options", "train_task_options")
# Arguments of Gymnasium's environments that are not options of the task.
_NOT_OPTIONS = ("self", "render_mode", "xml_file", "width", "height", "max_geom", "visual_options")


@dataclasses.dataclass(frozen=True)
class SettingRow:
    """A setting as texts.

    Attributes:
        name: dotted name.
        value: value as a text that the command line accepts; "-" for none.
        default: likewise.
        allowed: type and range.
        meaning: documentation of the setting.
        mark: "*" if the recipe sets it, "+" if the command line does, otherwise " ".
    """

    name: str
    value: str
    default: str
    allowed: str
    meaning: str
    mark: str = " "


def default_rows(model: type[Settings], prefix: str = "") -> list[SettingRow]:
    """Return the settings of a class with their defaults; `prefix` is prepended to their names."""
    defaults = [(name, field, _default(field)) for name, field in setting_fields(model)]
    return [_row(f"{prefix}{name}", field, default, default) for name, field, default in defaults]


def setting_groups(recipe: Recipe | None = None, changes: Collection[str] = ()) -> dict[str, list[SettingRow]]:
    """Return all settings in groups, by the title of the group.

    Args:
        recipe: show its values, and only settings that apply to its task and its algorithm; None: show the defaults of
            all settings of all algorithms.
        changes: dotted names of the settings that the command line sets.
    """
    if recipe is None:
        rows = [row for row in default_rows(Recipe) if row.name not in ("name", "task")]
        groups: dict[str, list[SettingRow]] = {"general": []}
    else:
        defaults = validate(Recipe, {"task": recipe.task, "algorithm": recipe.algorithm}, "defaults")
        others = {name for name in ALGORITHMS if name != recipe.algorithm}
        rows = [
            _row(name, field, attrgetter(name)(recipe), attrgetter(name)(defaults), changes)
            for name, field in setting_fields()
            if name not in _NOT_LISTED and name.partition(".")[0] not in others
        ]
        groups = {"general": [], "task options": option_rows(recipe, changes)}
    for row in rows:
        table, dot, _ = row.name.partition(".")
        groups.setdefault(table if dot else "general", []).append(row)
    return groups


def option_rows(recipe: Recipe, changes: Collection[str] = ()) -> list[SettingRow]:
    """Return the options of a recipe's task, with the recipe's values."""
    options = recipe.task_options
    without_limit = {name: value for name, value in options.items() if name != "max_episode_steps"}
    model = options_class(resolve(recipe.task)[1])
    fields = dict(setting_fields(model))
    if issubclass(model, EnvOptions):
        plain = (bool, int, float, str, tuple, list)
        fields = {n: f for n, f in fields.items() if n not in _NOT_OPTIONS and isinstance(_default(f), plain)}
    fields["max_episode_steps"] = FieldInfo(
        annotation=int | None,
        default=find_task(recipe.task, without_limit).max_episode_steps,
        description="Time limit in steps; -1: no limit.",
    )
    rows = []
    for name, field in fields.items():
        default = _default(field)
        rows.append(_row(f"task_options.{name}", field, options.get(name, default), default, changes))
    during_training = FieldInfo(annotation=str, description="An option of the task that holds only during training.")
    for name, value in recipe.train_task_options.items():
        rows.append(_row(f"train_task_options.{name}", during_training, value, None, changes))
    return rows


def _default(field: FieldInfo) -> Any:
    return "" if field.is_required() else field.get_default(call_default_factory=True)


def _row(name: str, field: FieldInfo, value: Any, default: Any, changes: Collection[str] = ()) -> SettingRow:
    value_text, default_text = _text(value), _text(default)
    if any(change == name or change.startswith(f"{name}.") for change in changes):
        mark = "+"
    else:
        mark = " " if value_text == default_text else "*"
    meaning = " ".join((field.description or "").split())
    return SettingRow(name, value_text, default_text, _allowed(field), meaning, mark)


def _allowed(field: FieldInfo) -> str:
    """Describe the type and the range of a setting: "number from 0 to 1, or none"."""
    parts = _union(field.annotation)
    kind = " or ".join(_kind(part) for part in parts if part is not type(None))
    limits = {
        name: _number(limit)
        for name in _SIGNS
        for constraint in field.metadata
        if (limit := getattr(constraint, name, None)) is not None
    }
    if {"ge", "le"} <= limits.keys():
        kind += f" from {limits['ge']} to {limits['le']}"
    elif limits:
        kind += " " + " and ".join(f"{_SIGNS[name]} {limit}" for name, limit in limits.items())
    if type(None) in parts:
        kind += ", or none" if limits else " or none"
    return kind


def _union(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union type, or the type itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _kind(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_kind, parts))
    if origin is typing.Annotated:
        return _kind(parts[0])
    if origin in (tuple, list):
        plural = "" if typing.get_origin(parts[0]) is Literal else "s"
        count = f"{len(parts)} " if origin is tuple and parts[-1] is not Ellipsis else ""
        return f"list of {count}{_kind(parts[0])}{plural}"
    if origin is dict:
        return "names with values"
    return "schedule" if kind is Schedule else _KINDS.get(kind, str(kind))


def _text(value: Any) -> str:
    """Return a value as the command line takes it; "-" for an empty text or table."""
    if isinstance(value, Schedule):
        value = value.model_dump(mode="json", exclude_defaults=value.kind != "constant")
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{name} = {json.dumps(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(json.dumps(part) if isinstance(part, str) else _text(part) for part in value) + "]"
    if value in ("", {}):
        return "-"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return _number(value) if isinstance(value, int | float) else str(value)


def _number(value: float) -> str:
    """Return a number as the command line takes it: with "_" between thousands, and no digit lost."""
    if isinstance(value, int):
        return f"{value:_}"
    short = f"{value:_g}"
    return (short if float(short) == value else repr(value)).replace("e+0", "e").replace("e-0", "e-")
