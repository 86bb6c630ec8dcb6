"""Fill the generated parts of the documentation: option tables, settings, command help, recipes, example files.

python docs/generate.py            # rewrite
python docs/generate.py --check    # exit status 1 if a page is out of date

A generated part stands between `<!-- generated: KIND ARGUMENTS -->` and `<!-- end generated -->`; KIND is one of the
functions in `KINDS`.
"""

import argparse
import difflib
import functools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from surefoot.algorithms import registry
from surefoot.cli.arguments import make_parser
from surefoot.cli.listing import first_sentence
from surefoot.cli.main import COMMANDS
from surefoot.cli.setting_rows import SettingRow, default_rows
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import find_task, options_class
from surefoot.tasks.registry import short_names
from surefoot.tasks.velocity.reward_terms import TERMS

DOCS = Path(__file__).resolve().parent
REGISTRY = Path(registry.__file__)
_PART = re.compile(r"(<!-- generated: ([^\n]*?) -->\n).*?(<!-- end generated -->)", re.DOTALL)
_LANGUAGES = {".py": "python", ".c": "c", ".xml": "xml", ".toml": "toml", ".diff": "diff"}


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


def settings(table: str = "") -> str:
    """Return the table of the settings in `ppo` or `td3.exploration`; those of tables within it are left out."""
    return _settings_table(row for row in default_rows(Recipe) if row.name.rpartition(".")[0] == table)


def differences(name: str, base: str) -> str:
    """Return the table of settings whose defaults in one algorithm differ from those in another, or are new."""
    rows = {row.name: row for row in default_rows(Recipe)}
    others = {key: rows.get(key.replace(name, base, 1)) for key in rows}
    own = [row for key, row in rows.items() if key.rpartition(".")[0] == name]
    return _settings_table(row for row in own if (other := others[row.name]) is None or other.default != row.default)


def options(task: str) -> str:
    """Return the table of a task's options."""
    return _settings_table(default_rows(options_class(short_names()[task]), "task_options."))


def command_help(name: str = "") -> str:
    """Return the output of `surefoot NAME --help`."""
    parser, commands = make_parser(COMMANDS)
    chosen = commands[name] if name else parser
    chosen.formatter_class = functools.partial(argparse.RawDescriptionHelpFormatter, width=100)
    return f"```text\n{chosen.format_help().rstrip()}\n```"


def recipes(task: str = "") -> str:
    """Return the table of the recipes that come with Surefoot, of one task or of all."""
    loaded = [load_recipe(name) for name in recipe_names()]
    rows = [
        (f"`{recipe.name}`", f"`{recipe.task}`", recipe.algorithm.upper(), first_sentence(recipe.description))
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
        (f"`{term.name}`", f"{term.weight:g}", first_sentence(term.function.__doc__ or "")) for term in TERMS.values()
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
    first = "from surefoot.algorithms.algorithm import AlgorithmSettings\n"
    text = registry.replace(first, f"from surefoot.algorithms.{module} import {record}\n{first}")
    return text.replace("\n}\n", f'\n    "{module}": {record},\n}}\n')


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


def _settings_table(rows: Iterable[SettingRow]) -> str:
    cells = [
        (f"`{row.name}`", row.allowed, "" if row.default == "-" else f"`{row.default}`", row.meaning) for row in rows
    ]
    return _table(("setting", "type", "default", "meaning"), cells)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
