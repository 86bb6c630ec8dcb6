"""Tables: coloured on a terminal, plain text elsewhere."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 100
_COLUMNS = ("run", "episodes", "return, mean ± sd", "IQM", "95 % interval", "falls", "length")


def print_evaluations(evaluations: Iterable[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """Print evaluation results, one row and one line of details per run, to `file` (standard output by default).

    A result has the keys of `evaluate_policy`. Missing values are shown as a dash.
    """
    evaluations = list(evaluations)
    print_table(_COLUMNS, map(_cells, evaluations), file, numbers_from=1)
    for result in evaluations:
        print(printable(_details(result), file or sys.stdout), file=file)


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
        width: width at which cells are wrapped; None: that of the terminal, or 100 columns in files.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    fancy = console.is_terminal
    if width is not None or not fancy:
        console.width = width or PIPED_WIDTH
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
    return text.replace("±", "+-").replace("°", " degrees").encode("ascii", "replace").decode()


def _cells(result: Mapping[str, Any]) -> list[str]:
    returns: Mapping[str, Any] = result.get("return") or {}
    episodes, falls = result.get("episodes"), result.get("falls")
    interval = _number(returns.get("ci_low")) + " to " + _number(returns.get("ci_high"))
    return [
        str(result.get("run") or "-"),
        "-" if episodes is None else f"{episodes:,}",
        f"{_number(returns.get('mean'))} ± {_number(returns.get('sd'))}" if returns else "-",
        _number(returns.get("iqm")),
        interval if returns else "-",
        "-" if falls is None else f"{falls:,}",
        _number((result.get("length") or {}).get("mean"), decimals=0),
    ]


def _details(result: Mapping[str, Any]) -> str:
    algorithm = result.get("algorithm") or (result.get("trained") or {}).get("algorithm") or "-"
    details = f"{result.get('run') or '-'}: task {result.get('task') or '-'}, algorithm {algorithm}"
    if cut := result.get("cut"):
        details += f"; {cut} episodes cut off before their time limit"
    travel = result.get("travel")
    if not travel:
        return details
    speeds = f"{travel['speed_m_s']:.2f} m/s along its path, {travel['net_speed_m_s']:.2f} m/s net"
    return f"{details}; {speeds}, turns {travel['turn_deg_per_10_s']:.0f}° in 10 s"


def _number(value: float | None, decimals: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:,.{decimals if abs(value) < 1000 else 0}f}"
