"""The listings of `surefoot list` and of `surefoot train --settings`."""

import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.cli.setting_rows import SettingRow, default_rows, option_rows, setting_groups
from surefoot.cli.tables import PIPED_WIDTH, print_table, printable
from surefoot.errors import InputError, PolicyFileError
from surefoot.policies.files import load_policy
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.recipe import Recipe
from surefoot.schedules import Schedule
from surefoot.settings import validate
from surefoot.simulation.factory import ENGINES, choose_engine
from surefoot.studies.search_space import load_space, space_names
from surefoot.tasks.catalogue import TaskInfo, find_task, options_class
from surefoot.tasks.options import EnvOptions
from surefoot.tasks.registry import resolve, short_names

_KIND_COLUMN = 46


def print_settings(
    recipe: Recipe | None = None, changes: Collection[str] = (), file: TextIO | None = None, width: int | None = None
) -> None:
    """Print the settings of `setting_groups`, wrapped to the terminal or to 100 columns."""
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
    lines += _entries(default_rows(Schedule, "NAME."), width)
    if recipe is None:
        lines += ["", "Options of a task: surefoot list TASK"]
    for line in lines:
        print(printable(line, file), file=file)


def print_catalogue() -> None:
    """Print the tasks with short names, the recipes, the engines and the algorithms."""
    tasks = [(name, id, *_engine_and_threshold(name)) for name, id in short_names().items()]
    print_table(("task", "Gymnasium id", "engine", "solved at"), tasks)
    print("or any other Gymnasium id with flat observations and continuous actions")
    print("options, recipes and policies of a task: surefoot list TASK\n")
    recipes = [(name, load_recipe(name)) for name in recipe_names()]
    rows = [(name, recipe.task, first_sentence(recipe.description)) for name, recipe in recipes]
    print_table(("recipe", "task", "description"), rows)
    print()
    print_table(("engine", "use"), ENGINES.items())
    print()
    spaces = [(name, load_space(name)) for name in space_names()]
    rows = [(name, space.recipe or "-", first_sentence(space.description)) for name, space in spaces]
    print_table(("search space", "recipe", "description"), rows)
    print()
    algorithms = [(name, first_sentence(algorithm.__doc__ or "")) for name, algorithm in ALGORITHMS.items()]
    print_table(("algorithm", "description"), algorithms)


def print_task(
    name: str, file: TextIO | None = None, width: int | None = None, options: Mapping[str, Any] | None = None
) -> None:
    """Print a task's description, recipes, shipped policies and options; some options may be changed.

    Raises:
        InputError: there is no such task.
    """
    file = file or sys.stdout
    name = resolve(name)[0]
    recipe = validate(Recipe, {"task": name, "task_options": dict(options or {})}, f"task '{name}'")
    info = recipe.evaluation_task()
    for line in _describe(info):
        print(printable(line, file), file=file)
    recipes = [load_recipe(other) for other in recipe_names()]
    own = [(r.name, r.algorithm, f"{r.training.steps:,}", r.description) for r in recipes if r.task == name]
    if own:
        print(file=file)
        print_table(("recipe", "algorithm", "steps", "description"), own, file, width=width)
        default = f"surefoot train {name}"
        print(f"{default} uses recipe {name if name in recipe_names() else 'default'}", file=file)
    policies = list(_shipped_policies(name))
    if policies:
        print(file=file)
        print_table(("policy", "algorithm", "steps"), policies, file)
    print("\noptions", file=file)
    for line in _entries(option_rows(recipe), width or _width(file)):
        print(printable(line, file), file=file)
    if issubclass(options_class(info.id), EnvOptions):
        print(f"The documentation of {info.id} describes its options.", file=file)


def _describe(info: TaskInfo) -> list[str]:
    engine, threshold = _engine_and_threshold(info.name)
    limit = "no time limit" if info.max_episode_steps is None else f"at most {info.max_episode_steps:,} steps"
    solved = f", solved at {threshold}" if threshold != "-" else ""
    falls = {"none": "falls are not detected", "reward": "a fall ends the episode with a large negative reward"}
    return [
        f"{info.name} ({info.id})" if info.name != info.id else info.name,
        f"{info.observation_size} observations, {info.action_size} actions, {limit}, engine {engine}{solved}",
        falls.get(info.fall, "a fall ends the episode"),
        *([f"{info.body.name}: {info.fault}"] if info.body and info.fault else []),
    ]


def _shipped_policies(name: str) -> Iterable[tuple[str, str, str]]:
    """Yield path, algorithm and steps of the policies in results/, which only the source tree has."""
    folder = Path(__file__).resolve().parents[3] / "results"
    for path in sorted(folder.glob("*.safetensors")):
        try:
            policy = load_policy(path)
            if resolve(policy.task)[0] != name:
                continue
        except (PolicyFileError, InputError):
            continue
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        steps = policy.origin.get("steps")
        yield str(shown), str(policy.origin.get("algorithm", "-")), f"{steps:,}" if isinstance(steps, int) else "-"


def _entries(rows: Iterable[SettingRow], width: int) -> list[str]:
    """Return the lines of settings, wrapped to `width` columns."""
    lines = []
    for row in rows:
        head = f"{row.mark} --{row.name}" + ("" if row.value == "-" else f" {shlex.quote(row.value)}")
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
    """Columns of the terminal, or 100 if the output is not a terminal."""
    return max(60, shutil.get_terminal_size().columns) if file.isatty() else PIPED_WIDTH


def _engine_and_threshold(name: str) -> tuple[str, str]:
    """Return the engine that "auto" selects on this machine, and the return at which the task counts as solved."""
    try:
        info = find_task(name)
        threshold = "-" if info.reward_threshold is None else f"{info.reward_threshold:g}"
        return choose_engine("auto", info), threshold
    except InputError as error:  # a package of the task is not installed
        return f"none: {error}", "-"


def first_sentence(text: str) -> str:
    """Return the first sentence of a text on one line; "et al." does not end a sentence."""
    return re.split(r"(?<! al\.)(?<=\.) (?=[A-Z])", " ".join(text.split()))[0]
