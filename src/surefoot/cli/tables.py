"""Tables: coloured on a terminal, plain text elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_COLUMNS = (
    "run",
    "task",
    "algorithm",
    "episodes",
    "return, mean ± sd",
    "IQM",
    "95 % interval",
    "falls",
    "length",
)
_FIRST_NUMBER = 3
_PLAIN_WIDTH = 1000  # so that lines are not wrapped in files


def print_evaluations(evaluations: Iterable[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """Print evaluation results, one row per run, to `file` (standard output by default).

    A result has the keys of `evaluate_policy`. Missing values are shown as a dash.
    """
    print_table(_COLUMNS, (_cells(result) for result in evaluations), file, numbers_from=_FIRST_NUMBER)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    file: TextIO | None = None,
    numbers_from: int | None = None,
    width: int | None = None,
) -> None:
    """Print a table.

    Args:
        columns: column headings.
        rows: cells, as many per row as there are columns.
        file: standard output by default.
        numbers_from: index of the first column of numbers, which are right-aligned and not wrapped; None: no numbers.
        width: width at which cells are wrapped; None: that of the terminal, or no wrapping in files.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    fancy = console.is_terminal
    if width is not None or not fancy:
        console.width = width or _PLAIN_WIDTH
    table = Table(box=SIMPLE_HEAD if fancy else None, header_style="bold" if fancy else "", pad_edge=False)
    for index, name in enumerate(columns):
        number = numbers_from is not None and index >= numbers_from
        table.add_column(
            printable(name, console.file), justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    for row in rows:
        table.add_row(*(printable(cell, console.file) for cell in row))
    console.print(table)


def printable(text: str, file: Any) -> str:
    """Return a text with characters that the encoding of `file` has."""
    if (getattr(file, "encoding", None) or "utf-8").lower().startswith("utf"):
        return text
    return text.replace("±", "+-").encode("ascii", "replace").decode()


def _cells(result: Mapping[str, Any]) -> list[str]:
    returns: Mapping[str, Any] = result.get("return") or {}
    episodes, falls = result.get("episodes"), result.get("falls")
    interval = _number(returns.get("ci_low")) + " to " + _number(returns.get("ci_high"))
    return [
        str(result.get("run") or "-"),
        str(result.get("task") or "-"),
        str(result.get("algorithm") or (result.get("trained") or {}).get("algorithm") or "-"),
        "-" if episodes is None else f"{episodes:,}",
        f"{_number(returns.get('mean'))} ± {_number(returns.get('sd'))}" if returns else "-",
        _number(returns.get("iqm")),
        interval if returns else "-",
        "-" if falls is None else f"{falls:,}",
        _number((result.get("length") or {}).get("mean"), decimals=0),
    ]


def _number(value: float | None, decimals: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:,.{decimals if abs(value) < 1000 else 0}f}"
