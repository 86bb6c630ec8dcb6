"""The newest few checkpoints of a run; an old one is removed only after a new one is complete."""

import json
import re
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import InputError, RunError
from surefoot.files import load_arrays, read_header, save_arrays, why_not_written

_SUMS = "checksums"
_UNKNOWN_AT_FIRST = "exploration/distance"
_NEVER_NEGATIVE = ("variance", "count")
_NAME = re.compile(r"step-(\d{12,})\.safetensors")


class Checkpoints:
    """A folder of checkpoints, one file per step.

    Only the process that holds the run's lock may save; any process may read.

    Args:
        folder: created by the first `save`, in an existing one.
        keep: number of checkpoints kept, at least 1.
        warn: called with one line for each checkpoint that could not be saved or read.
    """

    def __init__(self, folder: Path, keep: int = 3, warn: Callable[[str], object] = warnings.warn):
        if keep < 1:
            raise ValueError(f"keep is {keep}; at least 1 checkpoint must be kept")
        self.folder = folder
        self.keep = keep
        self._warn = warn

    def path(self, step: int) -> Path:
        """Return the file of a step's checkpoint."""
        return self.folder / f"step-{step:012d}.safetensors"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        matches = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*.safetensors"))
        return sorted(int(match[1]) for match in matches if match)

    def save(self, step: int, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bool:
        """Save one checkpoint and, once it can be opened, remove those it replaces.

        It replaces all but the newest `keep`, and those of later steps, which are from before a resume.

        Returns:
            Whether it was saved. If not, for example because the disk is full, the earlier ones are intact.

        Raises:
            ValueError, TypeError: an array or the header is of a type that cannot be saved.
        """
        if step < 0:
            raise ValueError(f"step is {step}; it cannot be negative")
        try:
            self.folder.mkdir(exist_ok=True)
            for path in self.folder.glob(".step-*.tmp"):  # of a process that was killed while saving
                path.unlink(missing_ok=True)
            save_arrays(self.path(step), arrays, {**header, _SUMS: _checksums(arrays, header)})
            read_header(self.path(step))
        except (OSError, RunError) as error:
            size = sum(array.nbytes for array in arrays.values())
            reason = why_not_written(error, self.path(step), size) if isinstance(error, OSError) else error
            self._warn(f"no checkpoint at step {step}, the earlier ones are kept: {reason}")
            return False
        self._remove_replaced(step)
        return True

    def latest(
        self,
        wanted: Callable[[str], bool] | None = None,
        use: Callable[[int, dict[str, np.ndarray], dict[str, Any]], object] = lambda *_: None,
    ) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
        """Return step, arrays and header of the newest valid checkpoint; warn of newer, invalid ones.

        Args:
            wanted: called with the name of each array; whether to read it. None: read all.
            use: called with step, arrays and header; if it raises `InputError`, the previous checkpoint is tried.

        Raises:
            RunError: there is none.
        """
        refusals: list[str] = []
        for step in reversed(self.steps()):
            try:
                arrays, header = load_arrays(self.path(step), wanted)
                _check_values(arrays, header)
                use(step, arrays, header)
            except InputError as error:
                refusals.append(f"checkpoint of step {step} is skipped: {error}")
                continue
            for refusal in refusals:
                self._warn(refusal)
            return step, arrays, header
        if refusals:
            raise RunError(f"no checkpoint in {str(self.folder)!r} can be used; {refusals[0]}")
        raise RunError(f"no checkpoint in {str(self.folder)!r} was saved; start the run again")

    def _remove_replaced(self, saved: int) -> None:
        steps = self.steps()
        upto = [step for step in steps if step <= saved]
        for step in [*upto[: -self.keep], *steps[len(upto) :]]:
            try:
                self.path(step).unlink(missing_ok=True)
            except OSError as error:
                self._warn(f"cannot remove the old checkpoint of step {step}: {error.strerror}")


def _checksums(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> dict[str, int]:
    """Return a checksum of each array, and under the name "" that of the header."""
    flat = {name: np.ascontiguousarray(array).reshape(-1).view(np.uint8) for name, array in arrays.items()}
    sums = {name: zlib.crc32(array.data) for name, array in flat.items()}
    return sums | {"": zlib.crc32(json.dumps(header, sort_keys=True).encode())}


def _check_values(arrays: Mapping[str, np.ndarray], header: dict[str, Any]) -> None:
    """Raise a RunError if contents differ from the checksums or a number is impossible; remove the checksums."""
    stored = header.pop(_SUMS, None)
    for name, value in _checksums(arrays, header).items():
        if not isinstance(stored, dict) or stored.get(name) != value:
            raise RunError(f"array '{name[:100]}' has changed since it was saved" if name else "its header has changed")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not name.endswith(_UNKNOWN_AT_FIRST) and not np.isfinite(array).all():
            raise RunError(f"array '{name[:100]}' holds numbers that are not finite")
        if (array.dtype.kind == "i" or name.endswith(_NEVER_NEGATIVE) or "/nu/" in name) and (array < 0).any():
            raise RunError(f"array '{name[:100]}' holds negative numbers")
