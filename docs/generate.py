"""Fill the generated parts of the documentation: option tables, settings, command help, recipes, example files.

python docs/generate.py            # rewrite
python docs/generate.py --check    # exit status 1 if a page is out of date

A generated part stands between `<!-- generated: KIND ARGUMENTS -->` and `<!-- end generated -->`; KIND is one of the
functions in `KINDS`.
"""

import argparse
import difflib
import functools
import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from surefoot.algorithms import registry
from surefoot.algorithms.registry import ALGORITHMS
from surefoot.cli.arguments import make_parser
from surefoot.cli.main import COMMANDS
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.recipe import Recipe
from surefoot.schedules import Schedule
from surefoot.settings import Settings
from surefoot.tasks.catalogue import find_task, short_names, task_options
from surefoot.tasks.velocity.reward_terms import TERMS

DOCS = Path(__file__).resolve().parent
REGISTRY = Path(registry.__file__)
_PART = re.compile(r"(<!-- generated: ([^\n]*?) -->\n).*?(<!-- end generated -->)", re.DOTALL)
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_TYPES = {bool: "bool", int: "int", float: "float", str: "str", type(None): "none", Schedule: "schedule"}
_LANGUAGES = {".py": "python", ".xml": "xml", ".toml": "toml", ".diff": "diff"}


def main() -> int:
    check, stale = "--check" in sys.argv, []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        filled = _PART.sub(lambda part: part[1] + generate(part[2]) + part[3], text)
        if filled != text:
            stale.append(page)
            if not check:
                page.write_text(filled)
    for page in stale:
        print(f"{'out of date' if check else 'written'}: {page.relative_to(DOCS.parent)}")
    return int(check and bool(stale))


def generate(order: str) -> str:
    """Return the text of one part, with a newline at its end."""
    kind, *arguments = order.split()
    return KINDS[kind](*arguments) + "\n"


def settings(path: str = "") -> str:
    """Return the table of a settings class, `ppo` or `td3.exploration`; those nested in it have tables of their own."""
    model = _model(path)
    return _settings_table(model, f"{path}." if path else "")


def differences(name: str, base: str) -> str:
    """Return the table of settings whose defaults in one algorithm differ from those in another, or are new."""
    fields, others = _fields(_model(name)), _fields(_model(base))
    changed = [key for key, field in fields.items() if key not in others or _default(others[key]) != _default(field)]
    rows = [(f"`{name}.{key}`", _type(fields[key]), _default(fields[key]), _text(fields[key])) for key in changed]
    return _table(("setting", "type", "default", "meaning"), rows)


def options(task: str) -> str:
    """Return the table of a task's options."""
    return _settings_table(task_options(task), "task_options.")


def command_help(name: str = "") -> str:
    """Return what `surefoot NAME --help` prints."""
    parser, commands = make_parser(COMMANDS)
    chosen = commands[name] if name else parser
    chosen.formatter_class = functools.partial(argparse.RawDescriptionHelpFormatter, width=100)
    return f"```text\n{chosen.format_help().rstrip()}\n```"


def recipes(task: str = "") -> str:
    """Return the table of the recipes that come with Surefoot, of one task or of all."""
    loaded = [load_recipe(name) for name in recipe_names()]
    rows = [
        (f"`{recipe.name}`", f"`{recipe.task}`", recipe.algorithm.upper(), _first_sentence(recipe.description))
        for recipe in loaded
        if not task or recipe.task == task
    ]
    return _table(("recipe", "task", "algorithm", "description"), rows)


def tasks() -> str:
    """Return the table of the tasks that have short names."""
    rows = []
    for name, identifier in short_names().items():
        info = find_task(name)
        threshold = "" if info.reward_threshold is None else f"{info.reward_threshold:g}"
        shape = f"{info.observation_size} → {len(info.action_low)}"
        rows.append((f"`{name}`", f"`{identifier}`", shape, str(info.max_episode_steps or ""), threshold))
    return _table(("short name", "Gymnasium id", "observation → action", "steps per episode", "solved at"), rows)


def reward_terms() -> str:
    """Return the table of the reward terms of velocity tracking."""
    rows = [
        (f"`{term.name}`", f"{term.weight:g}", _first_sentence(term.function.__doc__ or "")) for term in TERMS.values()
    ]
    return _table(("term", "weight", "meaning"), rows)


def registry_diff(module: str, record: str) -> str:
    """Return the change to the registry that adds an algorithm, as a diff."""
    before = REGISTRY.read_text()
    lines = difflib.unified_diff(
        before.splitlines(),
        with_algorithm(before, module, record).splitlines(),
        "registry.py",
        "registry.py",
        "",
        "",
        1,
    )
    return "```diff\n" + "\n".join(line.rstrip() for line in lines) + "\n```"


def with_algorithm(registry: str, module: str, record: str) -> str:
    """Return the registry's source with one more algorithm, called as its module."""
    first = "from surefoot.algorithms.algorithm import Algorithm\n"
    text = registry.replace(first, f"from surefoot.algorithms.{module} import {record}\n{first}")
    return re.sub(r"^(ALGORITHMS\b.*)\}$", rf'\1, "{module}": {record}}}', text, flags=re.MULTILINE)


def file(name: str) -> str:
    """Return a file of the documentation in a fenced block."""
    path = DOCS / name
    return f"```{_LANGUAGES[path.suffix]}\n{path.read_text().rstrip()}\n```"


KINDS = {
    "settings": settings,
    "differences": differences,
    "options": options,
    "help": command_help,
    "recipes": recipes,
    "tasks": tasks,
    "reward_terms": reward_terms,
    "registry_diff": registry_diff,
    "file": file,
}


def _model(path: str) -> type[Settings]:
    model: type[Settings] = Recipe
    for name in path.split(".") if path else []:
        model = _nested(model.model_fields[name]) if name not in ALGORITHMS else ALGORITHMS[name].settings
    return model


def _nested(field: FieldInfo) -> Any:
    """Return the settings class that a field holds, or None."""
    kinds = [field.annotation, *typing.get_args(field.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def _fields(model: type[Settings]) -> dict[str, FieldInfo]:
    return {name: field for name, field in model.model_fields.items() if not _is_table(field)}


def _is_table(field: FieldInfo) -> bool:
    """Whether a field holds settings that are set one by one, and not a value such as a schedule."""
    nested = _nested(field)
    return nested not in (None, Schedule) and field.annotation in (nested, nested | None)


def _settings_table(model: type[Settings], prefix: str) -> str:
    rows = [
        (f"`{prefix}{name}`", _type(field), _default(field), _text(field)) for name, field in _fields(model).items()
    ]
    return _table(("setting", "type", "default", "meaning"), rows)


def _type(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(constraint, name):g}"
        for name, sign in _SIGNS.items()
        for constraint in field.metadata
        if getattr(constraint, name, None) is not None
    ]
    return " ".join([_kind(field.annotation), ", ".join(limits)]).strip()


def _kind(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_kind, parts)))
    if origin is typing.Annotated:
        return _kind(parts[0])
    if origin in (tuple, list):
        return f"list of {_kind(parts[0])}"
    if origin is dict:
        return "table"
    return _TYPES.get(kind, kind.__name__ if isinstance(kind, type) else str(kind))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None:
        return "none"
    if isinstance(value, int):
        return f"`{value:_}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, Schedule):
        value = value.model_dump(mode="json")
        if isinstance(value, dict):
            return "`{ " + ", ".join(f"{name} = {json.dumps(part)}" for name, part in value.items()) + " }`"
        return f"`{value:g}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`" if value not in ("", {}, ()) else ""


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _first_sentence(text: str) -> str:
    return re.split(r"(?<! al\.)(?<=\.) (?=[A-Z])", " ".join(text.split()))[0]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
