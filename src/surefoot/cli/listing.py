"""The listings of `surefoot list` and of `surefoot train --settings`."""

import dataclasses
import inspect
import json
import math
import re
import shlex
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal, TextIO

import gymnasium
from gymnasium.envs.registration import load_env_creator
from pydantic.fields import FieldInfo

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.cli.tables import print_table, printable
from surefoot.errors import InputError, PolicyFileError
from surefoot.policies.files import load_policy
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.overrides import setting_fields
from surefoot.recipes.recipe import Recipe
from surefoot.schedules import Schedule
from surefoot.settings import Settings, validate
from surefoot.simulation.factory import ENGINES, choose_engine
from surefoot.tasks.catalogue import TaskInfo, canonical_name, find_task, short_names, task_options

_ENGINE_USES = {
    "auto": "the fastest one that supports the task",
    "batch": "MuJoCo tasks, on C++ threads; runs resume bit for bit",
    "envpool": "BipedalWalker and other Gymnasium tasks of EnvPool, on C++ threads; an extra",
    "processes": "any other Gymnasium environment, in worker processes",
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_KINDS = {bool: "true or false", int: "integer", float: "number", str: "text", type(None): "none"}
# Settings that the listing of one training shows in other form.
_NOT_LISTED = ("description", "task_options", "train_task_options")
_PIPED_WIDTH = 100
_KIND_COLUMN = 46
# Arguments of Gymnasium's environments that are not options of the task.
_NOT_OPTIONS = ("self", "render_mode", "xml_file", "width", "height", "max_geom", "visual_options")


@dataclasses.dataclass(frozen=True)
class SettingRow:
    """One line of a listing of settings.

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


def setting_groups(recipe: Recipe | None = None, changes: Collection[str] = ()) -> dict[str, list[SettingRow]]:
    """Return all settings in groups, by the title of the group.

    Args:
        recipe: show its values, and only settings that apply to its task and its algorithm; None: show the defaults of
            all settings of all algorithms.
        changes: dotted names of the settings that the command line sets.
    """
    defaults = None
    if recipe is not None:
        defaults = validate(Recipe, {"task": recipe.task, "algorithm": recipe.algorithm}, "defaults")
    groups: dict[str, list[SettingRow]] = {}
    for name, field in setting_fields():
        table = name.partition(".")[0]
        if name in ("name", "task") or (recipe and (name in _NOT_LISTED or _is_other_algorithm(table, recipe))):
            continue
        default = _get(defaults, name) if defaults else field.get_default(call_default_factory=True)
        row = _row(name, field, _get(recipe, name) if recipe else default, default, changes)
        groups.setdefault(table if "." in name else "general", []).append(row)
    if recipe is not None:
        groups = {"general": groups.pop("general"), "task options": option_rows(recipe, changes), **groups}
    return groups


def option_rows(recipe: Recipe, changes: Collection[str] = ()) -> list[SettingRow]:
    """Return the options of a recipe's task, with the recipe's values."""
    info = recipe.evaluation_task()
    model = task_options(recipe.task)
    rows = []
    if model is not None and issubclass(model, Settings):
        for name, field in setting_fields(model):
            default = field.get_default(call_default_factory=True)
            value = recipe.task_options.get(name, default)
            rows.append(_row(f"task_options.{name}", field, value, default, changes))
    else:
        rows += _gymnasium_options(info, recipe.task_options, changes)
    others = {name: value for name, value in recipe.task_options.items() if name != "max_episode_steps"}
    default = find_task(recipe.task, others).max_episode_steps
    limit = recipe.task_options.get("max_episode_steps", default)
    time_limit = FieldInfo(annotation=int | None, description="Time limit in steps; -1: no limit.")
    rows.append(_row("task_options.max_episode_steps", time_limit, limit, default, changes))
    during_training = FieldInfo(annotation=str, description="An option of the task that holds only during training.")
    for name, value in recipe.train_task_options.items():
        rows.append(_row(f"train_task_options.{name}", during_training, value, None, changes))
    return rows


def print_settings(
    recipe: Recipe | None = None, changes: Collection[str] = (), file: TextIO | None = None, width: int | None = None
) -> None:
    """Print settings in groups, wrapped to the terminal or to 100 columns; the arguments are those of `setting_groups`.

    Each entry is `--NAME VALUE`, its type and range, its default if the value differs, and its meaning.
    """
    file = file or sys.stdout
    width = width or _width(file)
    if recipe is not None:
        title = f"Settings of training '{recipe.task}' with {recipe.algorithm}, recipe '{recipe.name}'"
        lines = textwrap.wrap(f"{title}: {recipe.description}" if recipe.description else f"{title}.", width)
        lines += ["", "*  set by the recipe", "+  set on the command line"]
    else:
        lines = textwrap.wrap(
            "All settings with their defaults. The settings of one training: surefoot train TASK --settings", width
        )
    for title, rows in setting_groups(recipe, changes).items():
        lines += ["", title, *_entries(rows, width)]
    lines += ["", "A schedule is a number, or is given by its parts:"]
    parts = [_row(f"NAME.{name}", field, *2 * (_default(field),), ()) for name, field in Schedule.model_fields.items()]
    lines += _entries(parts, width)
    if recipe is None:
        lines += ["", "Options of a task: surefoot list TASK"]
    for line in lines:
        print(printable(line, file), file=file)


def print_catalogue(file: TextIO | None = None) -> None:
    """Print the tasks with short names, the recipes, the engines and the algorithms."""
    tasks = [(name, id, *_engine_and_threshold(name)) for name, id in short_names().items()]
    print_table(("task", "Gymnasium id", "engine", "solved at"), tasks, file)
    print("or any other Gymnasium id with flat observations and continuous actions", file=file)
    print("options, recipes and policies of a task: surefoot list TASK\n", file=file)
    recipes = [(name, load_recipe(name)) for name in recipe_names()]
    rows = [(name, recipe.task, _first_sentence(recipe.description)) for name, recipe in recipes]
    print_table(("recipe", "task", "description"), rows, file)
    print(file=file)
    print_table(("engine", "use"), [(name, _ENGINE_USES.get(name, "")) for name in ENGINES], file)
    print(file=file)
    algorithms = [(name, algorithm.description) for name, algorithm in ALGORITHMS.items()]
    print_table(("algorithm", "description"), algorithms, file)


def print_task(name: str, file: TextIO | None = None, width: int | None = None) -> None:
    """Print a task's description, recipes, shipped policies and options.

    Raises:
        InputError: there is no such task.
    """
    file = file or sys.stdout
    name = canonical_name(name)
    recipe = validate(Recipe, {"task": name}, f"task '{name}'")
    info = recipe.evaluation_task()
    for line in _describe(info):
        print(printable(line, file), file=file)
    recipes = [load_recipe(other) for other in recipe_names()]
    own = [(r.name, r.algorithm, f"{r.training.steps:,}", r.description) for r in recipes if r.task == name]
    if own:
        print(file=file)
        print_table(("recipe", "algorithm", "steps", "description"), own, file, width=width or _width(file))
        default = f"surefoot train {name}"
        print(f"{default} uses recipe {name if name in recipe_names() else 'default'}", file=file)
    policies = list(_shipped_policies(name))
    if policies:
        print(file=file)
        print_table(("policy", "algorithm", "steps"), policies, file)
    print("\noptions", file=file)
    for line in _entries(option_rows(recipe), width or _width(file)):
        print(printable(line, file), file=file)
    if task_options(name) is None:
        print(f"The documentation of {info.id} describes its options.", file=file)


def _describe(info: TaskInfo) -> list[str]:
    engine, threshold = _engine_and_threshold(info.name)
    limit = "no time limit" if info.max_episode_steps is None else f"at most {info.max_episode_steps:,} steps"
    return [
        f"{info.name} ({info.id})" if info.name != info.id else info.name,
        f"{info.observation_size} observations, {info.action_size} actions, {limit}, engine {engine}"
        + (f", solved at {threshold}" if threshold != "-" else ""),
        {"none": "falls are not detected", "reward": "a fall ends the episode with a large negative reward"}.get(
            info.fall, "a fall ends the episode"
        ),
    ]


def _shipped_policies(name: str) -> Iterable[tuple[str, str, str]]:
    """Yield path, algorithm and steps of the policies in the source tree's results folder; an installation has none."""
    folder = Path(__file__).resolve().parents[3] / "results"
    for path in sorted(folder.glob("*.safetensors")):
        try:
            policy = load_policy(path)
            if canonical_name(policy.task) != name:
                continue
        except (PolicyFileError, InputError):
            continue
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        steps = policy.origin.get("steps")
        yield str(shown), str(policy.origin.get("algorithm", "-")), f"{steps:,}" if isinstance(steps, int) else "-"


def _gymnasium_options(info: TaskInfo, options: dict[str, Any], changes: Collection[str]) -> list[SettingRow]:
    """Return the keyword arguments of a Gymnasium environment that have plain defaults."""
    spec = gymnasium.spec(info.id.rpartition(":")[2])  # the module before the colon has been imported
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(str(spec.entry_point))
    rows = []
    for name, parameter in inspect.signature(creator).parameters.items():
        default = spec.kwargs.get(name, parameter.default)
        if name in _NOT_OPTIONS or not isinstance(default, bool | int | float | str | tuple | list):
            continue
        kind = bool if isinstance(default, bool) else type(default)
        field = FieldInfo(annotation=kind)
        rows.append(_row(f"task_options.{name}", field, options.get(name, default), default, changes))
    return rows


def _is_other_algorithm(table: str, recipe: Recipe) -> bool:
    return table in ALGORITHMS and table != recipe.algorithm


def _get(settings: Any, name: str) -> Any:
    """Return the value of a dotted name."""
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def _row(name: str, field: FieldInfo, value: Any, default: Any, changes: Collection[str]) -> SettingRow:
    if any(change == name or change.startswith(f"{name}.") for change in changes):
        mark = "+"
    else:
        mark = " " if _text(value) == _text(default) else "*"
    meaning = " ".join((field.description or "").split())
    return SettingRow(f"--{name}", _text(value), _text(default), _allowed(field), meaning, mark)


def _entries(rows: Iterable[SettingRow], width: int) -> list[str]:
    """Return the lines of settings, wrapped to `width` columns."""
    lines = []
    for row in rows:
        head = f"{row.mark} {row.name}" + ("" if row.value == "-" else f" {shlex.quote(row.value)}")
        kind = row.allowed + ("" if row.value == row.default else f"; default {row.default}")
        indent = " " * _KIND_COLUMN
        wrapped = textwrap.wrap(kind, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        if len(head) < _KIND_COLUMN and wrapped:
            wrapped[0] = f"{head:<{_KIND_COLUMN}}{wrapped[0].strip()}"
        else:
            wrapped.insert(0, head)
        meaning = textwrap.wrap(row.meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines += wrapped + meaning
    return lines


def _width(file: TextIO) -> int:
    """Columns of the terminal, or 100 if the output is no terminal."""
    return max(60, shutil.get_terminal_size().columns) if file.isatty() else _PIPED_WIDTH


def _engine_and_threshold(name: str) -> tuple[str, str]:
    """Return the engine that "auto" stands for on this machine, and the return at which the task counts as solved."""
    try:
        info = find_task(name)
        threshold = "-" if info.reward_threshold is None else f"{info.reward_threshold:g}"
        return choose_engine("auto", info), threshold
    except InputError as error:  # a package of the task is not installed
        return f"none: {error}", "-"


def _allowed(field: FieldInfo) -> str:
    """Describe the type and the range of a setting."""
    limits = []
    for sign, text in _SIGNS.items():
        for constraint in field.metadata:
            limit = getattr(constraint, sign, None)
            if limit is not None:
                limits.append(f"{text} {_number(limit)}")
    kind = _kind(field.annotation)
    return f"{kind} {' and '.join(limits)}" if limits else kind


def _kind(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_kind, parts))
    if origin is typing.Annotated:
        return _kind(parts[0])
    if origin in (tuple, list):
        if origin is tuple and parts[-1] is not Ellipsis:
            return f"list of {len(parts)} {_kind(parts[0])}s"
        return f"list of {_kind(parts[0])}" if typing.get_origin(parts[0]) is Literal else f"list of {_kind(parts[0])}s"
    if kind is Schedule:
        return "schedule"
    if origin is dict:
        return "names with values"
    if kind in (tuple, list):
        return "list"
    return _KINDS.get(kind, str(kind))


def _default(field: FieldInfo) -> Any:
    return "" if field.is_required() else field.get_default(call_default_factory=True)


def _text(value: Any) -> str:
    """Return a value as the command line takes it; "-" for empty values."""
    if isinstance(value, Schedule):
        value = value.model_dump(mode="json", exclude_defaults=value.kind != "constant")
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{name} = {json.dumps(part)}" for name, part in value.items()) + "}"
    if value in ("", {}) or repr(value) == "PydanticUndefined":
        return "-"
    if value is None:
        return "none"
    if type(value) in (int, float) and math.isfinite(value):
        return _number(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _number(value: float) -> str:
    # The command line accepts "_" between thousands.
    return f"{value:_}" if isinstance(value, int) else f"{value:g}"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<! al\.)(?<=\.) (?=[A-Z])", " ".join(text.split()))[0]
