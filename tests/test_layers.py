"""The floors of the house, the size of its files, and what no file may name.

A room (a package or module directly under `surefoot`) imports only rooms on lower floors, wherever in a file
the import stands: at the top, inside a function, or under `TYPE_CHECKING`.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "src" / "surefoot"
FACE = "__init__"  # `surefoot` itself
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"files", "packing", "pytrees", "settings"}),
    frozenset({"schedules"}),
    frozenset({"runs"}),
    frozenset({"bodies"}),
    frozenset({"policies"}),
    frozenset({"tasks"}),
    frozenset({"algorithms"}),
    frozenset({"simulation"}),
    frozenset({"recipes"}),
    frozenset({"evaluation"}),
    frozenset({"gait"}),
    frozenset({"reports"}),
    frozenset({"training"}),
    frozenset({"studies"}),
    frozenset({"api"}),
    frozenset({FACE}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MOST_LINES = 400


def room_of(module: str) -> str:
    """The room of a dotted module name: `surefoot.runs.folder` is in `runs`, `surefoot` is `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FACE


def from_names(node: ast.ImportFrom, package: str) -> list[str]:
    """Dotted names that a `from ... import ...` reaches; `package` is where its dots start from."""
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
    if base != "surefoot":
        return [base]
    # `from surefoot import runs` names a room, `from surefoot import train` the face.
    names = [alias.name for alias in node.names]
    return sorted({f"surefoot.{name}" if name in FLOOR_OF else "surefoot" for name in names})


def call_names(node: ast.Call) -> list[str]:
    """The module that `import_module("...")` or `__import__("...")` names, if the call is one of these."""
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
    """One line for every import in the text of `module` from another room that is not on a lower floor."""
    package = module if is_package else module.rpartition(".")[0]
    room = room_of(module)
    wrong = []
    for line, target in surefoot_imports(source, package):
        other = room_of(target)
        if other != room and FLOOR_OF.get(other, len(FLOORS)) >= FLOOR_OF.get(room, 0):
            wrong.append(f"{module}:{line} imports {target}")
    return wrong


def modules() -> list[tuple[str, Path]]:
    """Dotted name and file of every module of the package."""
    found = []
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def files_in_git() -> list[Path]:
    """Every file that is, or would be with the next `git add`, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_there_are_modules_to_check() -> None:
    assert len(modules()) > 5


def test_every_room_is_on_a_floor() -> None:
    assert {room_of(module) for module, _ in modules()} - FLOOR_OF.keys() == set()


@pytest.mark.parametrize("module, path", modules(), ids=[name for name, _ in modules()])
def test_a_room_imports_only_lower_floors(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert wrong_imports(source, module, is_package=path.name == "__init__.py") == []


def test_errors_imports_nothing_of_surefoot() -> None:
    source = (HOUSE / "errors.py").read_text(encoding="utf-8")
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
def test_the_check_sees_an_import_upwards_or_sideways(module: str, source: str) -> None:
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
def test_the_check_lets_an_import_downwards_pass(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_a_file_fits_in_the_head() -> None:
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in modules()}
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}


# Put together from pieces, so that this file does not name what it forbids.
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
def test_the_search_sees_a_forbidden_name(text: str) -> None:
    assert FORBIDDEN.search(text.encode())
