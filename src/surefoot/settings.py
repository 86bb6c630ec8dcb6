"""The base of all settings: typed, frozen, validated, every field documented beside its definition."""

import math
import re
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic.fields import FieldInfo

from surefoot.errors import InputError, alternatives, nearest, suggestion

Model = TypeVar("Model", bound="Settings")
# A value in a table with arbitrary names; integers are limited to what all file formats can hold.
Scalar = bool | Annotated[int, pydantic.Field(ge=-(2**63), lt=2**63)] | float | str
_DEEPEST = 8  # lists within lists


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value of an option as data that all file formats can hold; None, inf and nan become texts.

    Raises:
        ValueError: the value is of another type, or too deep.
    """
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return str(value).lower()
    if isinstance(value, bool | str | float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, list | tuple) and depth < _DEEPEST:
        return [plain(part, depth + 1) for part in value]
    if isinstance(value, Mapping) and depth < _DEEPEST and all(isinstance(name, str) for name in value):
        return {name: plain(part, depth + 1) for name, part in value.items()}
    raise ValueError("should be true or false, a number, a text, none, or a list or table of these")


# The value of a task option.
Option = Annotated[Any, pydantic.BeforeValidator(plain)]


class Settings(pydantic.BaseModel):
    """Immutable settings without unknown fields."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _complete_tables(cls, data: Any) -> Any:
        """Complete a partial table with the field's default."""
        if not isinstance(data, dict):
            return data
        complete = merged({name: field.default for name, field in named_fields(cls).items()}, data)
        return {name: complete[name] for name in data}

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Refuse true and false as numbers; Pydantic would take them for 1 and 0."""
        if _holds_boolean(value) and _takes_only_numbers(cls, str(info.field_name)):
            raise ValueError("should be a number")
        return value


def _takes_only_numbers(model: type[Settings], name: str) -> bool:
    """Whether a field takes numbers, but neither true and false nor any value."""
    kinds = _kinds(model.model_fields[name].annotation)
    return bool(kinds & {int, float}) and not kinds & {bool, Any}


def _kinds(annotation: Any) -> set[Any]:
    """Return the types of the values of an annotation, also those inside lists, tables and unions."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return {type(part) for part in parts}
    if typing.get_origin(annotation) is Annotated:
        parts = parts[:1]
    return set().union(*map(_kinds, parts)) if parts else {annotation}


def _holds_boolean(value: Any) -> bool:
    """Whether a value is true or false, or a list or table that holds one."""
    if isinstance(value, Mapping | list | tuple):
        return any(map(_holds_boolean, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, bool)


def named_fields(model: type[Settings]) -> dict[str, FieldInfo]:
    """Return the fields of a settings class by the names that users give them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def merged(defaults: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return `data`, completed with values of `defaults`, also inside tables."""
    both = defaults | data
    for name, value in data.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, Settings):
            both[name] = merged(dict(default), value)
    return both


def validate(model: type[Model], data: Any, source: str, noun: str = "setting") -> Model:
    """Return `data` as settings of type `model`.

    Raises:
        InputError: the first error, with `source`, the field, its value, and the allowed values.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        raise InputError(f"{source}: {_explain(model, error, noun)}") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply") from None


def _explain(model: type[Settings], error: pydantic.ValidationError, noun: str) -> str:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"].startswith("bool") and path[-1] == "bool":  # `Scalar` is tried as a boolean first
        path.pop()
        first["msg"] = "should be true or false, a number, a text, or a list or table of these"
    while len(path) > 1 and path[-1] in ("bool", "int", "float", "str"):  # a member of a union
        path.pop()
    field = _short(".".join(path))
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        names = named_fields(owner) if owner else ()
        hint = suggestion if noun == "setting" else alternatives  # settings are too many to list
        return f"unknown {noun} '{field}'" + hint(path[-1][:80], names)
    if first["type"] == "missing":
        return f"{noun} '{field}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = first["input"]
    if first["type"] == "literal_error" and isinstance(given, str):
        allowed = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        message += suggestion(given, allowed) if nearest(given, allowed) else ""
    elif first["type"] in ("model_type", "model_attributes_type"):
        message = "holds several settings; name one of them" if field else "settings have names; give NAME = VALUE"
    if not field:
        return message
    return f"{field} = {_short(_written(given))}: {message}"


def _model_at(model: type[Settings], path: list[str]) -> type[Settings] | None:
    """Return the settings class at a path of field names in `model`, None if there is none."""
    for name in path:
        field = named_fields(model).get(name)
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, Settings)]
        if not nested:
            return None
        model = nested[0]
    return model


def _written(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # Python does not print whole numbers of thousands of digits
        return "a very large value"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 100 else text[:97] + "..."
