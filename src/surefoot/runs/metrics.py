"""The metrics of a run: one JSON object per line, append only; the source of every curve."""

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
_LARGEST = 1e300


class MetricsLog(contextlib.AbstractContextManager):
    """Appends lines to a metrics file; each has been passed to the operating system when the call returns.

    An incomplete line, left by a crash, is removed when the file is opened. While the disk is full, lines wait in
    memory and training continues; they are written, in order, as soon as there is space.

    Args:
        path: the file; created if missing.
        warn: called with one line when lines begin to wait.

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
            self._size = path.read_bytes().rfind(b"\n") + 1
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise RunError(f"cannot write {str(path)!r}: {error.strerror}") from error

    def append(self, step: int, **values: Any) -> None:
        """Append the values of a step, such as `**{"train/return": 12.5}`; NaN and infinite become null."""
        self._write({"step": int(step), "time": time.time()}, values)

    def mark(self, event: str, step: int, **values: Any) -> None:
        """Append an event at a step; "resume" supersedes all earlier records of later steps."""
        self._write({"event": event, "step": int(step), "time": time.time()}, values)

    def copy(self, path: Path) -> None:
        """Write everything so far to another file, even if this one was deleted.

        Raises:
            OSError: it cannot be written.
        """
        path.write_bytes(os.pread(self._descriptor, self._size, 0) + self._waiting)

    def close(self) -> None:
        """Write waiting lines and close the file."""
        if self._descriptor >= 0:
            self._flush()
            os.close(self._descriptor)
            self._descriptor = -1

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, record: dict[str, Any], values: dict[str, Any]) -> None:
        for name in _RESERVED:
            if name in values:
                raise ValueError(f"a metric cannot be called {name!r}")
        record |= {name: _plain(value) for name, value in values.items()}
        self._waiting += json.dumps(record, allow_nan=False, default=str).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        try:
            if self._failed:
                # The last attempt may have written part of a line.
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
    """Return the records and events of a run in order, without those that a resume superseded.

    A record has `step`, `time` and its values; an event also has `event`. An incomplete last line is left out.

    Raises:
        RunError: the file is missing or cannot be read, or a line was not written by `MetricsLog`.
    """
    named = repr(str(path))
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError as error:
        raise RunError(f"no metrics in {named}; has the run started?") from error
    except OSError as error:
        raise RunError(f"cannot read {named}: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        record = None
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
        if not _is_record(record):
            raise RunError(f"line {number} of {named} is damaged; remove that line and try again")
        records.append(record)
    return _without_superseded(records)


def _is_record(record: Any) -> bool:
    """Whether a line holds a step and numbers, or an event whose `seconds` and `evaluated_at`, if any, are numbers."""
    if not isinstance(record, dict) or not (_is_number(record.get("step")) and isinstance(record["step"], int)):
        return False
    if "event" in record:
        return isinstance(record["event"], str) and all(
            _is_number(record[name]) for name in ("seconds", "evaluated_at") if name in record
        )
    return all(value is None or _is_number(value) for value in record.values()) and record.get("seconds", 0) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _without_superseded(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    valid = []
    resumed = evaluated = math.inf
    for record in reversed(records):
        # Steps after the checkpoint are repeated, and so are evaluations that it does not contain.
        if record["step"] > (evaluated if "evaluation/return" in record else resumed):
            continue
        if record.get("event") == "resume":
            resumed = record["step"]
            evaluated = record.get("evaluated_at", resumed)
        valid.append(record)
    return valid[::-1]


def _plain(value: Any) -> Any:
    """Convert a value to JSON types."""
    if hasattr(value, "tolist"):  # NumPy and JAX, without importing either
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
