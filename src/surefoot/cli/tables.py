"""Tables, in colour on a terminal and as plain text elsewhere; that of evaluations has one row per run."""

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
_NUMBERS = 3  # the first column that is set flush right
_PLAIN_WIDTH = 1000  # nothing is folded or cut in a file


def print_evaluations(evaluations: Iterable[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """Print evaluation records, as in a run's `evaluation.json`, to `file` (standard output by default).

    A record has `task`, `run`, `episodes`, `return` and `length` (each as `summarise` returns), `falls` (a
    count or None) and may have `algorithm`; what is missing shows as a dash.
    """
    print_table(_COLUMNS, (_cells(record) for record in evaluations), file, numbers_from=_NUMBERS)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    file: TextIO | None = None,
    numbers_from: int | None = None,
) -> None:
    """Print rows of cells under the names of their columns.

    Args:
        columns: the names.
        rows: as many cells each.
        file: standard output by default.
        numbers_from: the first column that is set flush right and never folded; None: there is none.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    fancy, unicode = console.is_terminal, console.encoding.lower().startswith("utf")
    if not fancy:
        console.width = _PLAIN_WIDTH

    def written(text: str) -> str:
        return text if unicode else text.replace("±", "+-").encode("ascii", "replace").decode()

    table = Table(box=SIMPLE_HEAD if fancy else None, header_style="bold" if fancy else "", pad_edge=False)
    for index, name in enumerate(columns):
        number = numbers_from is not None and index >= numbers_from
        table.add_column(written(name), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in rows:
        table.add_row(*map(written, row))
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
