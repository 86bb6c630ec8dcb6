"""What there is to choose from: every setting of a recipe; tasks, recipes, engines and algorithms."""

import json
import math
import re
import types
import typing
from typing import Any, Literal, TextIO

from pydantic.fields import FieldInfo

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.cli.tables import print_table
from surefoot.errors import InputError
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.overrides import setting_fields
from surefoot.schedules import Schedule
from surefoot.simulation.factory import ENGINES, choose_engine
from surefoot.tasks.catalogue import find_task, short_names

_USES = {
    "auto": "the fastest one that knows the task",
    "batch": "MuJoCo tasks, on C++ threads; a run resumes bit for bit",
    "envpool": "BipedalWalker and other Gymnasium tasks that EnvPool holds, on C++ threads; an extra",
    "processes": "any other Gymnasium environment, in worker processes",
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "none"}


def print_settings(file: TextIO | None = None) -> None:
    """Print every setting of a recipe: dotted name, what it may be, default, and what it is."""
    rows = [
        (f"--{name}", _allowed(field), _default(field), _first_sentence(field.description or ""))
        for name, field in setting_fields()
        if name not in ("name", "task")  # the arguments of `train` say these
    ]
    print_table(("setting", "may be", "default", "what it is"), rows, file)
    print("\nA schedule is a number, or is given by its parts:", file=file)
    parts = [
        (f"--NAME.{name}", _allowed(field), _default(field), field.description or "")
        for name, field in Schedule.model_fields.items()
    ]
    print_table(("part", "may be", "default", "what it is"), parts, file)


def print_catalogue(file: TextIO | None = None) -> None:
    """Print the tasks that have short names, the recipes, the engines and the algorithms."""
    tasks = [(name, id, *_task_details(name)) for name, id in short_names().items()]
    print_table(("task", "Gymnasium id", "engine", "solved at"), tasks, file)
    print("or any other Gymnasium id with flat observations and continuous actions\n", file=file)
    recipes = [(name, load_recipe(name)) for name in recipe_names()]
    rows = [(name, recipe.task, _first_sentence(recipe.description)) for name, recipe in recipes]
    print_table(("recipe", "task", "what it is"), rows, file)
    print(file=file)
    print_table(("engine", "what it is for"), [(name, _USES.get(name, "")) for name in ENGINES], file)
    print(file=file)
    algorithms = [(name, algorithm.description) for name, algorithm in ALGORITHMS.items()]
    print_table(("algorithm", "what it is"), algorithms, file)


def _task_details(name: str) -> tuple[str, str]:
    """Return the engine that the task would use here, and its own threshold."""
    try:
        info = find_task(name)
        threshold = "-" if info.reward_threshold is None else f"{info.reward_threshold:g}"
        return choose_engine("auto", info), threshold
    except InputError as error:  # a package that this task needs is not installed
        return f"none: {error}", "-"


def _allowed(field: FieldInfo) -> str:
    """Say in words what a setting may be."""
    words = _kind(field.annotation)
    limits = []
    for sign, text in _SIGNS.items():
        for constraint in field.metadata:
            limit = getattr(constraint, sign, None)
            if limit is not None:
                limits.append(f"{text} {_number(limit)}")
    return f"{words} {' and '.join(limits)}" if limits else words


def _kind(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_kind, parts))
    if origin is typing.Annotated:
        return _kind(parts[0])
    if origin is tuple:
        return f"list of {_kind(parts[0])}" if typing.get_origin(parts[0]) is Literal else f"list of {_kind(parts[0])}s"
    if kind is Schedule:
        return "schedule"
    if origin is dict:
        return "names with values"
    return _KINDS.get(kind, str(kind))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Schedule):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {json.dumps(part)}" for name, part in value.items()) + "}"
    if field.is_required() or value in ("", {}):
        return "-"
    if value is None:
        return "none"
    if type(value) in (int, float) and math.isfinite(value):
        return _number(value)
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    # With "_" between thousands a number can be copied to the command line.
    return f"{value:_}" if isinstance(value, int) else f"{value:g}"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<! al\.)(?<=\.) (?=[A-Z])", " ".join(text.split()))[0]
