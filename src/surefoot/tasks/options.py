"""Options of tasks: the settings class that checks them, for a `Task` and for any Gymnasium environment."""

import inspect
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import gymnasium
import pydantic
from gymnasium.envs.registration import load_env_creator
from pydantic import Field

from surefoot.settings import Settings, named_fields, plain, validate

LIMIT = "max_episode_steps"
_VALUES = {"none": None, "inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_TEXTS = (str, Literal)
_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _check_friction(friction: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= friction[0] <= friction[1] <= 5:
        raise ValueError("must be two numbers from 0 to 5, the lower one first")
    return friction


FrictionRange = Annotated[tuple[float, float], pydantic.AfterValidator(_check_friction)]


class TaskOptions(Settings):
    """Base of a task's options: values are not converted to other types, except lists to tuples."""

    model_config = pydantic.ConfigDict(strict=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_plain(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        fields = named_fields(cls)
        return {name: _value(plain(value), fields.get(name)) for name, value in data.items()}


class EnvOptions(TaskOptions):
    """Base of the options of an environment that is not a `Task`.

    Its fields have other names than the options, which are their aliases: an option may be called "copy" or
    "model_config", as attributes of every Pydantic model are.
    """

    model_config = pydantic.ConfigDict(allow_inf_nan=True)

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        fields = type(self).model_fields.items()
        return {str(field.alias): getattr(self, name) for name, field in fields if name in self.model_fields_set} | (
            self.model_extra or {}
        )


class _TimeLimit(TaskOptions):
    max_episode_steps: int | None = Field(None, ge=-1)


def env_options_class(id: str) -> type[EnvOptions]:
    """Return a settings class made from the constructor of a registered Gymnasium environment.

    Arguments with a plain type, or else a plain default, are checked; others take any value.
    """
    spec = gymnasium.spec(id)
    try:
        creator: Any = spec.entry_point if callable(spec.entry_point) else load_env_creator(str(spec.entry_point))
    except Exception:  # a missing package, or any error of a user's module; reported when the environment is made
        return types.new_class("_Unknown", (EnvOptions,), {"extra": "allow"})
    fields: dict[str, Any] = {}
    bases = creator.__mro__[:-1] if isinstance(creator, type) else ()
    functions = [base.__init__ for base in bases if "__init__" in vars(base)] if bases else [creator]
    extra = False
    for function in functions:  # arguments that a class does not name go to its base
        parameters = _parameters(function)
        for name, parameter in parameters.items():
            default = spec.kwargs.get(name, parameter.default)
            known = name in fields or name in ("self", "render_mode") or parameter.kind not in _NAMED
            if not known and (default is not parameter.empty or not extra):
                kind = _kind(parameter.annotation, default)
                fields[name] = kind, Field(... if default is parameter.empty else default, alias=name)
        extra = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
        if not extra:
            break
    base = types.new_class("_Base", (EnvOptions,), {"extra": "allow" if extra else "forbid"})
    return pydantic.create_model(
        f"Options of {id}", __base__=base, **{f"option_{name}": field for name, field in fields.items()}
    )


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except NameError:  # an annotation that is only known to type checkers
        return inspect.signature(function).parameters


def env_options(model: type[EnvOptions], options: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return options as keyword arguments for `gymnasium.make`, checked by a class of `env_options_class`.

    Raises:
        InputError: an option is unknown or has a wrong value; the message names it.
    """
    checked = validate(model, {name: value for name, value in options.items() if name != LIMIT}, source, noun="option")
    return checked.given() | time_limit(options, source)


def time_limit(options: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the time limit among options, checked, as Gymnasium takes it: -1 for no limit."""
    if LIMIT not in options:
        return {}
    limit = validate(_TimeLimit, {LIMIT: options[LIMIT]}, source, noun="option").max_episode_steps
    return {LIMIT: -1 if limit is None else limit}


def _kind(annotation: Any, default: Any) -> Any:
    """Return the type that an argument is checked against; `Any` for one that is not plain."""
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        numeric = isinstance(default, int | float) and not isinstance(default, bool)
        annotation = float | int if numeric else type(default) if isinstance(default, bool | str) else Any
    elif default is None:
        annotation = annotation | None if isinstance(annotation, type) else annotation
    return annotation if all(part in (bool, int, float, str, type(None)) for part in _leaves(annotation)) else Any


def _leaves(annotation: Any) -> list[Any]:
    """Return the member types of unions and tuples."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, tuple):
        return [leaf for part in parts if part is not Ellipsis for leaf in _leaves(part)]
    return [origin or annotation]


def _value(value: Any, field: Any) -> Any:
    """Return the value of plain data.

    Texts such as "none" become values, unless the field allows texts; lists become tuples, unless it allows any type.
    """
    leaves = _leaves(field.annotation) if field else [Any]
    if isinstance(value, str):
        return value if any(leaf in _TEXTS for leaf in leaves) else _VALUES.get(value, value)
    if isinstance(value, dict):
        return {name: _value(part, None) for name, part in value.items()}
    if isinstance(value, list):
        parts = [_value(part, field) for part in value]
        return parts if Any in leaves else tuple(parts)
    return value
