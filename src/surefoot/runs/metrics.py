"""The metrics of a run: one JSON object per line, only ever added to, and the source of every curve."""

import contextlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surefoot.errors import RunError

_RESERVED = ("event", "step", "time")


class MetricsLog:
    """Adds lines to a metrics file; each is with the operating system before the call returns.

    A line that a crash cut short is removed when the file is next opened. While the disk is full, lines wait
    in memory and training goes on; they follow, in order, as soon as there is room.

    Args:
        path: the file, created where there is none.
        warn: told, in one line, when lines begin to wait.

    Raises:
        RunError: the file cannot be opened for writing.
    """

    def __init__(self, path: Path, warn: Callable[[str], object] = warnings.warn):
        self._path = path
        self._warn = warn
        self._waiting = b""
        self._failed = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._size = _end_of_last_line(self._descriptor)
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise RunError(f"cannot write {str(path)!r}: {error.strerror}") from error

    def append(self, step: int, **values: Any) -> None:
        """Add one row of values, such as `**{"train/return": 12.5}`, at a step; NaN and infinite become null.

        Raises:
            ValueError: a value is called `time` or `event`.
        """
        self._write({"step": int(step), "time": time.time()}, values)

    def mark(self, event: str, step: int, **values: Any) -> None:
        """Add a record of an event at a step; a "resume" supersedes every earlier row of a later step.

        Raises:
            ValueError: a value is called `time`.
        """
        self._write({"event": event, "step": int(step), "time": time.time()}, values)

    def close(self) -> None:
        """Write what still waits, and close the file."""
        if self._descriptor >= 0:
            self._flush()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, row: dict[str, Any], values: dict[str, Any]) -> None:
        for name in _RESERVED:
            if name in values:
                raise ValueError(f"a metric cannot be called {name!r}")
        row |= {name: _plain(value) for name, value in values.items()}
        self._waiting += json.dumps(row, allow_nan=False, default=str).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        try:
            if self._failed:
                # The last attempt may have left part of a line.
                os.ftruncate(self._descriptor, self._size)
            rest = memoryview(self._waiting)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if not self._failed:
                self._warn(f"metrics wait in memory: cannot write {str(self._path)!r}: {error.strerror}")
            self._failed = True
        else:
            self._size += len(self._waiting)
            self._waiting = b""
            self._failed = False


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows and events of a run as they were written, without those that a resume superseded.

    A row has `step`, `time` and its values; an event also has `event`. A last line that is still being
    written, or that a crash cut short, is left out.

    Raises:
        RunError: there is no such file, it cannot be read, or a line is not one that `MetricsLog` wrote.
    """
    named = repr(str(path))
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError as error:
        raise RunError(f"no metrics in {named}; has the run started?") from error
    except OSError as error:
        raise RunError(f"cannot read {named}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        row = None
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise RunError(f"line {number} of {named} is damaged; remove that line and try again")
        rows.append(row)
    return _without_superseded(rows)


def _without_superseded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = []
    resumed = evaluated = math.inf
    for row in reversed(rows):
        # What was trained since the checkpoint was done again; so were evaluations that it knew nothing of.
        if row["step"] > (evaluated if "evaluation/return" in row else resumed):
            continue
        if row.get("event") == "resume":
            resumed = row["step"]
            evaluated = row.get("evaluated_at", resumed)
        kept.append(row)
    return kept[::-1]


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if hasattr(value, "tolist"):  # NumPy and JAX, without importing either
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _end_of_last_line(descriptor: int, block: int = 65536) -> int:
    """Return the position after the last newline, or 0."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - block)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
