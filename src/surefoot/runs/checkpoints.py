"""The newest few checkpoints of a run; an old one is removed only after a new one is complete."""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import RunError
from surefoot.files import load_arrays, read_header, save_arrays

_NAME = re.compile(r"step-(\d{12,})\.safetensors")


class Checkpoints:
    """A folder of checkpoints, one file per step.

    Only the process that holds the run's lock may save; any process may read.

    Args:
        folder: created by the first `save`.
        keep: number of checkpoints kept, at least 1.
        warn: called with one line for each checkpoint that could not be saved or read.
    """

    def __init__(self, folder: Path, keep: int = 3, warn: Callable[[str], object] = warnings.warn):
        if keep < 1:
            raise ValueError(f"keep is {keep}; at least 1 checkpoint must be kept")
        self.folder = folder
        self.keep = keep
        self._warn = warn
        self._swept = False

    def path(self, step: int) -> Path:
        """Return the file of a step's checkpoint."""
        return self.folder / f"step-{step:012d}.safetensors"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        matches = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*.safetensors"))
        return sorted(int(match[1]) for match in matches if match)

    def save(self, step: int, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bool:
        """Save one checkpoint; once it can be opened again, remove those it replaces.

        Those are the ones beyond the newest `keep`, and those of later steps, from before a resume.

        Returns:
            Whether it was saved. If not, for example because the disk is full, the others are intact.

        Raises:
            ValueError, TypeError: an array or the header is of a type that cannot be saved.
        """
        if step < 0:
            raise ValueError(f"step is {step}; it cannot be negative")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            save_arrays(self.path(step), arrays, header)
            _, shapes = read_header(self.path(step))
        except (OSError, RunError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._warn(f"no checkpoint at step {step}, the earlier ones are kept: {reason}")
            return False
        if shapes.keys() != arrays.keys():
            self._warn(f"no checkpoint at step {step}, the earlier ones are kept: the file changed while written")
            return False
        self._remove_replaced(step)
        return True

    def latest(self, wanted: Callable[[str], bool] | None = None) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
        """Return step, arrays and header of the newest checkpoint that can be read; warn of newer ones.

        Args:
            wanted: whether to read the array of a name; None: read all.

        Raises:
            RunError: there is none.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, *load_arrays(self.path(step), wanted)
            except RunError as error:
                self._warn(f"checkpoint of step {step} is skipped: {error}")
        which = "can be read" if steps else "was saved"
        raise RunError(f"no checkpoint in {str(self.folder)!r} {which}; start the run again")

    def _remove_replaced(self, saved: int) -> None:
        steps = self.steps()
        upto = [step for step in steps if step <= saved]
        for step in [*upto[: -self.keep], *steps[len(upto) :]]:
            try:
                self.path(step).unlink(missing_ok=True)
            except OSError as error:
                self._warn(f"cannot remove the old checkpoint of step {step}: {error.strerror}")

    def _sweep(self) -> None:
        """Remove, once, temporary files of a process that was killed while saving."""
        if not self._swept:
            for path in self.folder.glob(".step-*.tmp"):
                path.unlink(missing_ok=True)
            self._swept = True
