"""Print evaluations as a table, one row per run, in colour on a terminal and as plain text elsewhere."""

from collections.abc import Iterable, Mapping
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
_NUMBERS = 3  # the first column that is set flush right
_PLAIN_WIDTH = 1000  # nothing is folded or cut in a file


def print_evaluations(evaluations: Iterable[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """Print evaluation records, as in a run's `evaluation.json`, to `file` (standard output by default).

    A record has `task`, `run`, `episodes`, `return` and `length` (each as `summarise` returns), `falls` (a
    count or None) and may have `algorithm`; what is missing shows as a dash.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    fancy, unicode = console.is_terminal, console.encoding.lower().startswith("utf")
    if not fancy:
        console.width = _PLAIN_WIDTH
    table = Table(box=SIMPLE_HEAD if fancy else None, header_style="bold" if fancy else "", pad_edge=False)
    for index, name in enumerate(_COLUMNS):
        justify = "right" if index >= _NUMBERS else "left"
        table.add_column(
            name if unicode else name.replace("±", "+-"),
            justify=justify,
            no_wrap=index >= _NUMBERS,
            overflow="fold",
        )
    for record in evaluations:
        cells = _cells(record)
        table.add_row(*cells if unicode else [cell.replace("±", "+-") for cell in cells])
    console.print(table)


def _cells(record: Mapping[str, Any]) -> list[str]:
    returns: Mapping[str, Any] = record.get("return") or {}
    episodes, falls = record.get("episodes"), record.get("falls")
    interval = _number(returns.get("ci_low")) + " to " + _number(returns.get("ci_high"))
    return [
        str(record.get("run") or "-"),
        str(record.get("task") or "-"),
        str(record.get("algorithm") or "-"),
        "-" if episodes is None else f"{episodes:,}",
        f"{_number(returns.get('mean'))} ± {_number(returns.get('sd'))}" if returns else "-",
        _number(returns.get("iqm")),
        interval if returns else "-",
        "-" if falls is None else f"{falls:,}",
        _number((record.get("length") or {}).get("mean"), decimals=0),
    ]


def _number(value: float | None, decimals: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:,.{decimals if abs(value) < 1000 else 0}f}"
