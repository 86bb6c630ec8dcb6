"""Import order of the packages, length of functions, and names that no file may contain.

A room (a package or module directly under `surefoot`) imports only rooms of lower layers, wherever in a file the import
stands: at the top, inside a function, or under `TYPE_CHECKING`.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "surefoot"
API = "__init__"  # `surefoot` itself
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"compilation_cache", "errors", "machine"}),
    frozenset({"files", "packing", "pytrees", "settings"}),
    frozenset({"ranges", "schedules"}),
    frozenset({"runs"}),
    frozenset({"bodies"}),
    frozenset({"policies"}),
    frozenset({"tasks"}),
    frozenset({"algorithms"}),
    frozenset({"simulation"}),
    frozenset({"recipes"}),
    frozenset({"evaluation"}),
    frozenset({"gait"}),
    frozenset({"deployment"}),
    frozenset({"reports", "live"}),
    frozenset({"training"}),
    frozenset({"studies"}),
    frozenset({"api"}),
    frozenset({API}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
LONGEST_FUNCTION = 80  # lines, the docstring included


def room_of(module: str) -> str:
    """The room of a dotted module name: `surefoot.runs.folder` is in `runs`, `surefoot` is `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else API


def from_names(node: ast.ImportFrom, package: str) -> list[str]:
    """Dotted names that a `from ... import ...` reaches; `package` is the one that its dots refer to."""
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
    if base != "surefoot":
        return [base]
    # `from surefoot import runs` names a room, `from surefoot import train` the API.
    names = [alias.name for alias in node.names]
    return sorted({f"surefoot.{name}" if name in LAYER_OF else "surefoot" for name in names})


def call_names(node: ast.Call) -> list[str]:
    """The module that a call of `import_module("...")` or `__import__("...")` imports; [] for other calls."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if function not in {"import_module", "__import__"} or not node.args:
        return []
    name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    return [name] if isinstance(name, str) else []


def surefoot_imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that the text of a module in `package` imports from surefoot."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                line, names = node.lineno, [alias.name for alias in node.names]
            case ast.ImportFrom():
                line, names = node.lineno, from_names(node, package)
            case ast.Call():
                line, names = node.lineno, call_names(node)
            case _:
                continue
        yield from ((line, name) for name in names if name.split(".")[0] == "surefoot")


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """One line for every import in the text of `module` from another room that is not of a lower layer."""
    package = module if is_package else module.rpartition(".")[0]
    room = room_of(module)
    wrong = []
    for line, target in surefoot_imports(source, package):
        other = room_of(target)
        if other != room and LAYER_OF.get(other, len(LAYERS)) >= LAYER_OF.get(room, 0):
            wrong.append(f"{module}:{line} imports {target}")
    return wrong


def modules() -> list[tuple[str, Path]]:
    """Dotted name and file of every module of the package."""
    result = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        result.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return result


def files_in_git() -> list[Path]:
    """All files of the repository, including those that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_there_are_modules_to_check() -> None:
    assert len(modules()) > 5


def test_every_room_has_a_layer() -> None:
    assert {room_of(module) for module, _ in modules()} - LAYER_OF.keys() == set()


@pytest.mark.parametrize("module, path", modules(), ids=[name for name, _ in modules()])
def test_a_room_imports_only_lower_layers(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert wrong_imports(source, module, is_package=path.name == "__init__.py") == []


def test_errors_imports_nothing_of_surefoot() -> None:
    source = (PACKAGE / "errors.py").read_text(encoding="utf-8")
    assert list(surefoot_imports(source, "surefoot")) == []


@pytest.mark.parametrize(
    "module, source",
    [
        ("surefoot.policies.policy", "import surefoot.training.loop"),
        ("surefoot.policies.policy", "from surefoot.tasks.catalogue import find_task"),
        ("surefoot.policies.policy", "from surefoot import tasks"),
        ("surefoot.policies.policy", "from surefoot import train"),
        ("surefoot.policies.policy", "import surefoot"),
        ("surefoot.policies.policy", "from ..tasks import catalogue"),
        ("surefoot.policies.policy", "from .. import tasks"),
        ("surefoot.policies.policy", "from surefoot.simulation import engine"),
        ("surefoot.policies.policy", "from surefoot.attic import chest"),
        ("surefoot.policies.policy", "def act():\n    from surefoot.cli.main import main\n"),
        ("surefoot.policies.policy", "if TYPE_CHECKING:\n    from surefoot.recipes import settings\n"),
        ("surefoot.policies.policy", "import importlib\nimportlib.import_module('surefoot.studies')"),
        ("surefoot.errors", "from surefoot.runs import folder"),
        ("surefoot.studies", "from surefoot import train"),
        ("surefoot", "from surefoot.cli.main import main"),
    ],
)
def test_an_import_of_the_same_or_a_higher_layer_is_detected(module: str, source: str) -> None:
    assert len(wrong_imports(source, module, is_package=module in {"surefoot", "surefoot.studies"})) == 1


@pytest.mark.parametrize(
    "module, source",
    [
        ("surefoot.training.loop", "from surefoot.simulation.engine import Engine"),
        ("surefoot.training.loop", "from . import collect\nfrom .collect import rollouts"),
        ("surefoot.training.loop", "from surefoot import errors, runs"),
        ("surefoot.training.loop", "import surefootless\nfrom numpy import random"),
        ("surefoot.cli.main", "from surefoot import train"),
        ("surefoot.__main__", "from surefoot.cli.main import main"),
    ],
)
def test_an_import_of_a_lower_layer_is_allowed(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


@pytest.mark.parametrize("module, path", modules(), ids=[name for name, _ in modules()])
def test_no_function_is_too_long(module: str, path: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lines = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, functions)
    }
    assert {name: count for name, count in lines.items() if count > LONGEST_FUNCTION} == {}


# Assembled from pieces, so that this file does not contain the forbidden names.
PLACES = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + r"me/\w", "/opt/py" + "pi"]
HOSTS = ["py" + "pi", "python" + "hosted", "npm" + "js", "deb.de" + "bian"]
FORBIDDEN = re.compile(rf"(?<![\w.~-])(?:{'|'.join(PLACES)})|\b(?:{'|'.join(HOSTS)})\.org\b".encode())


def test_no_file_names_a_machine_path_or_a_package_host() -> None:
    found = {}
    for path in files_in_git():
        if match := FORBIDDEN.search(path.read_bytes()):
            found[str(path.relative_to(ROOT))] = match.group().decode()
    assert found == {}


@pytest.mark.parametrize("text", ["see /wo" + "rk/main", "https://py" + "pi.org/p/x", "'/ro" + "ot/.cache'"])
def test_a_forbidden_name_is_detected(text: str) -> None:
    assert FORBIDDEN.search(text.encode())
