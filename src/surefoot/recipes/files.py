"""Recipes as TOML files: shipped with Surefoot, or the user's own."""

import json
import os
import stat
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from surefoot.algorithms.registry import DEFAULT_ALGORITHM
from surefoot.errors import InputError, suggestion
from surefoot.files import parse_toml
from surefoot.recipes.recipe import Recipe
from surefoot.settings import validate

_TUNED = resources.files("surefoot.recipes") / "tuned"
_LARGEST_FILE = 65_536  # a complete recipe takes 3 kB


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return toml_names(_TUNED)


def load_recipe(name: str) -> Recipe:
    """Read a recipe by the name of a shipped one, or by the path of a TOML file.

    Raises:
        InputError: there is no such recipe, or it is not valid.
    """
    return validate(Recipe, *load_toml(name, _TUNED, "recipe"))


def read_recipe(path: Path) -> Recipe:
    """Read the recipe in a TOML file.

    Raises:
        InputError: the file cannot be read, or is not a valid recipe.
    """
    return validate(Recipe, *_read_toml(path, "recipe"))


def toml_names(folder: Traversable) -> list[str]:
    """Return the names of the TOML files in a folder of the package, without ".toml"."""
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_toml(name: str, shipped: Traversable, kind: str) -> tuple[dict[str, Any], str]:
    """Read a TOML file by its name in a folder of the package, or by its path; return its tables and its source.

    Raises:
        InputError: there is no such `kind` of file, or it cannot be read, or is no TOML.
    """
    names = toml_names(shipped)
    if name in names:
        source = f"{kind} '{name}'"
        return _parse((shipped / f"{name}.toml").read_bytes(), source), source
    path = Path(name)
    if path.suffix != ".toml" and not os.path.exists(name):  # os.path.exists accepts any text, unlike Path
        hint = suggestion(name, names, command="surefoot list")
        raise InputError(f"unknown {kind} '{name}'{hint} (or a path to a .toml file)")
    return _read_toml(path, kind)


def _read_toml(path: Path, kind: str) -> tuple[dict[str, Any], str]:
    source = " ".join(str(path).split())
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{source}: not a file; name the .toml file itself")
        if status.st_size > _LARGEST_FILE:
            raise InputError(f"{source}: too large to be a {kind}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from None
    except ValueError as error:  # not a valid file name
        raise InputError(f"{source}: {error}") from None
    return _parse(content, source), source


def default_recipe(task: str, algorithm: str = DEFAULT_ALGORITHM) -> Recipe:
    """Return the shipped recipe of a task and algorithm if there is one, else the defaults."""
    name = task if algorithm == DEFAULT_ALGORITHM else f"{task}-{algorithm}"
    if name in recipe_names():
        return load_recipe(name)
    return validate(Recipe, {"name": "default", "task": task, "algorithm": algorithm}, f"task '{task}'")


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe with all its settings as TOML."""
    return "\n".join(_table((), recipe.model_dump(mode="json", exclude_none=True))).lstrip("\n") + "\n"


def _table(path: tuple[str, ...], data: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a table, its values before its inner tables."""
    tables = {name: value for name, value in data.items() if isinstance(value, dict)}
    if path:
        yield from ("", f"[{'.'.join(map(_key, path))}]")
    yield from (f"{_key(name)} = {_toml(value)}" for name, value in data.items() if name not in tables)
    for name, table in tables.items():
        yield from _table((*path, name), table)


def _parse(content: bytes, source: str) -> dict[str, Any]:
    try:
        return parse_toml(content.decode("utf-8-sig"))  # editors of Windows write a byte order mark
    except UnicodeDecodeError:
        raise InputError(f"{source}: not a text file in UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise InputError(f"{source}: not valid TOML: {str(error)[:200]}") from None


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    # JSON and TOML have the same form of integers, booleans and texts, except for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
