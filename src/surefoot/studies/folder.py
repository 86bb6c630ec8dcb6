"""The folder of a study: its description, and its runs as ordinary run folders."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from surefoot.errors import RunError, SurefootError, nearest
from surefoot.files import atomic_write
from surefoot.runs.folder import RunFolder, lock_folder

_DESCRIPTION = "study.json"
_NAME = re.compile(r"\w[\w.+=-]{0,99}")

Callback = Callable[[int, dict[str, Any]], bool | None]
"""Called with the number of a seed or of a trial that has ended, and its figures; True stops the study."""


class StudyFolder:
    """A study's folder, `studies/NAME`; its properties are the paths of its files, which may not exist yet."""

    def __init__(self, path: Path | str):
        self.path = path = Path(path)  # the folder itself
        self.description = path / _DESCRIPTION  # kind and settings of the study, JSON
        self.runs = path / "runs"  # the root of its runs: runs/TASK/NAME
        self.journal = path / "journal.log"  # Optuna's journal of a sweep
        self.results = path / "results.json"  # figures, JSON
        self.page = path / "compare.html"  # the comparison of its runs

    @classmethod
    def create(cls, root: Path | str, name: str, description: Mapping[str, Any]) -> "StudyFolder":
        """Make the folder of a new study, with its description; `description["kind"]` is "seeds" or "sweep".

        Raises:
            RunError: the name cannot be a folder's.
            SurefootError: the folder cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise RunError(f"a study cannot be called {name!r}; use a letter or digit, then letters, digits, _ . + = -")
        folder = cls(Path(root) / name)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SurefootError(f"cannot make '{folder.path}': {error.strerror}") from error
        folder.write(description)
        return folder

    @classmethod
    def open(cls, text: str, root: Path | str = "studies") -> "StudyFolder":
        """Find the folder of an existing study, by its path or by its name under `root`.

        Raises:
            RunError: there is no such study; the message names the nearest ones.
        """
        for path in (Path(text), Path(root) / text) if text else ():
            if is_study(path):
                return cls(path)
        names = [path.parent.name for path in Path(root).glob(f"*/{_DESCRIPTION}")]
        close = nearest(text, names)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise RunError(f"no study {text!r}{hint}")

    def read(self) -> dict[str, Any]:
        """Return the description.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            data = json.loads(self.description.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"cannot read '{self.description}': {error}") from error
        if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
            raise RunError(f"'{self.description}' does not describe a study: it has no text 'kind'")
        return data

    def write(self, description: Mapping[str, Any]) -> None:
        """Replace the description.

        Raises:
            SurefootError: the disk is full, or the folder cannot be written.
        """
        write_json(self.description, description)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from continuing this study; the lock ends with its process.

        Raises:
            RunError: another process holds the lock, or the folder cannot be written.
        """
        with lock_folder(self.path, "study"):
            yield

    def run_folders(self) -> list[RunFolder]:
        """Return the runs by name, those that have not started yet left out."""
        return [RunFolder(path.parent) for path in sorted(self.runs.glob("*/*/recipe.toml"))]


def is_study(path: Path) -> bool:
    """Whether a path is a study's folder."""
    return (path / _DESCRIPTION).is_file()


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically.

    Raises:
        SurefootError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise SurefootError(f"cannot write '{path}': {error.strerror}") from error
