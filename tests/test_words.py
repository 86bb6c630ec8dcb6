"""The text of the project keeps to the words of the field.

Docstrings, comments, messages, recipes and pages are searched for the marks of an earlier, private English. Each mark
stands beside the words to write instead.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(path for folder in ("src", "tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "src/surefoot/recipes").rglob("*.toml"))

# Marks anywhere in prose.
MARKS = {
    r"\b[Tt]ells? (?:whether|which|how|what|apart)\b": "whether, reports",
    r"\b(?:whoever|whatever|whichever)\b": "the thing itself",
    r"\b(?:anew|afresh)\b": "again",
    r"\bso many\b": "N",
    r"\bfor ever\b": "indefinitely",
    r"\bbeside other work\b": "on a shared core",
    r"\blearnt\b": "learned",
    r"\bof its own\b": "its own",
    r"\bon the way\b": "during training",
    r"\bc(?:o|a)mes? to \d": "reaches",
    r"\bcopies of (?:a|the|one) (?:task|environment)s?\b": "environments",
    r"\b(?:parallel|all|N|other) copies\b": "environments",
    r"\bjudge[ds]?\b": "evaluate",
    r"\band the like\b": "the things themselves",
    r"\bpolicy (?:sees|knows)\b": "observes",
    r"\b(?:pays? (?:for|off)|earns? (?:nothing|a little))\b": "a cost, a reward",
    r"\bhanded out\b": "passed, received",
    r"\bits beat\b": "the gait clock",
}
# Marks at the start of a docstring.
OPENINGS = {
    r"(?:What|How|Where|Who) (?!to\b)": "a noun",
    r"Return (?:what|how|where|which|whether it)\b": "Return the ...",
    r"Tell\b": "Whether ...",
}


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of fields (a string after an assignment) among them."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            for statement in node.body:
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        yield statement.lineno, text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every other string with a space in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def marks(text: str, patterns: dict[str, str]) -> list[str]:
    """The marks in a text, each with the words to write instead."""
    text = re.sub(r"`[^`]*`", "", text)
    return [f"'{m.group()}' (write: {better})" for p, better in patterns.items() for m in re.finditer(p, text)]


def faults(path: Path) -> list[str]:
    """One line for each mark in a file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        lines = enumerate(source.splitlines(), 1)
        return [f"{line}: {mark}" for line, text in lines for mark in marks(text, MARKS)]
    tree = ast.parse(source)
    opened = {(line, m) for line, text in docstrings(tree) for m in marks_at_start(text)}
    spoken = {
        (line, m) for line, text in (*messages(tree), *docstrings(tree), *comments(source)) for m in marks(text, MARKS)
    }
    return [f"{line}: {mark}" for line, mark in sorted(opened | spoken)]


def marks_at_start(text: str) -> list[str]:
    """The marks with which a docstring opens."""
    return [f"'{text[:30]}' (write: {better})" for p, better in OPENINGS.items() if re.match(p, text)]


@pytest.mark.parametrize("path", [*CODE, *PAGES, *RECIPES], ids=lambda path: str(path.relative_to(ROOT)))
def test_text_keeps_to_the_words_of_the_field(path: Path) -> None:
    if path == Path(__file__):
        pytest.skip("this file names the marks")
    assert faults(path) == []


@pytest.mark.parametrize(
    "source, count",
    [
        ('"""What is kept."""', 1),
        ('def f():\n    """Tell whether it fell."""', 2),  # as an opening and as a phrase
        ("x = 1  # drawn anew", 1),
        ('raise ValueError("a run has learnt nothing")', 1),
        ('class A:\n    x: int = 1\n    """How it goes."""', 1),
        ("x = 1  # the policy sees the stairs, and falling earns nothing", 2),
    ],
)
def test_the_search_sees_a_mark(source: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert len(faults(path)) == count


def test_plain_english_passes(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        'def f():\n    """Return the mean return over `whatever` episodes."""\n    # Adam with weight decay\n'
    )
    assert faults(path) == []
