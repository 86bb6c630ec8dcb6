"""The folder of one run: its files, and the lock of the process that writes to it."""

import contextlib
import errno
import fcntl
import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from surefoot.errors import InputError, PolicyFileError, RunError, nearest

_NAME = re.compile(r"\w[\w.+=-]{0,99}")


class RunFolder:
    """A run's folder, `runs/TASK/NAME`; its properties are the paths of its files, which may not exist yet."""

    def __init__(self, path: Path | str):
        self.path = path = Path(path)  # the folder itself
        self.recipe = path / "recipe.toml"  # the complete recipe, TOML
        self.metrics = path / "metrics.jsonl"  # one JSON object per line (`runs.metrics`)
        self.checkpoints = path / "checkpoints"  # the folder of checkpoints
        self.policy = path / "policy"  # the folder of the best policy so far and its exports
        self.policy_file = self.policy / "policy.safetensors"  # the best policy so far
        self.videos = path / "videos"  # the folder of recordings
        self.evaluation = path / "evaluation.json"  # the last evaluation, JSON
        self.report = path / "report.html"  # an HTML page
        self.gait = path / "gait.json"  # the numbers of the report, JSON
        self.transfer = path / "transfer.json"  # record of the warm start, JSON
        self.failure = path / "failure"  # the folder of arrays saved at a failure

    @classmethod
    def create(cls, root: Path | str, task: str, name: str | None, default: str = "run") -> "RunFolder":
        """Make the folder of a new run.

        Args:
            root: the folder of all runs; created if missing.
            task: name of the task; characters that cannot be part of a file name become "-".
            name: the user's choice, or None.
            default: name without a choice; if it is taken, "-2", "-3" and so on are appended.

        Raises:
            RunError: the name is taken or cannot be a folder's, or the folder cannot be made.
        """
        chosen = default if name is None else name
        if not _NAME.fullmatch(chosen):
            raise RunError(f"a run cannot be called {chosen!r}; use a letter or digit, then letters, digits, _ . + = -")
        parent = Path(root) / task_folder(task)
        number = 1
        while True:
            path = parent / (chosen if number == 1 else f"{chosen}-{number}")
            try:
                parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                return cls(path)
            except OSError as error:
                if not (isinstance(error, FileExistsError) and path.exists()):
                    raise RunError(f"cannot make {str(path)!r}: {error.strerror}") from error
                if name is not None:
                    raise RunError(
                        f"run {str(path)!r} exists; choose another name or continue it with 'surefoot resume'"
                    ) from error
            number += 1

    @classmethod
    def open(cls, text: str, root: Path | str = "runs") -> "RunFolder":
        """Find the folder of an existing run, by its path or as TASK/NAME under `root`.

        Raises:
            RunError: there is no such run; the message names the nearest ones.
        """
        root = Path(root)
        candidates = [Path(text), root / text] if text else []
        try:
            for path in candidates:
                if path.is_dir() and (path / "recipe.toml").is_file():
                    return cls(path)
            existing = list_runs(root)
            others = [path for path in candidates if path.exists()]
        except OSError as error:
            raise RunError(f"cannot open run {text!r}: {error.strerror}") from error
        if others:
            raise RunError(f"{str(others[0])!r} is not a run's folder: it holds no recipe.toml")
        if not existing:
            raise RunError(f"no run {text!r}, nor any other in {str(root)!r}; start one with 'surefoot train TASK'")
        close = nearest(text, existing)
        hint = "did you mean " if close else "among the runs are "
        named = " or ".join(repr(name) for name in close) if close else ", ".join(existing[:3])
        raise RunError(f"no run {text!r}; {hint}{named}{'?' if close else ''}")

    def find_policy(self, which: str = "policy") -> Path:
        """Return the file of the best policy ("policy"), which is the last if there is no best yet, or of the "last".

        Raises:
            PolicyFileError: there is no policy yet.
        """
        if which not in ("policy", "last"):
            raise InputError(f"which = '{which}': choose from policy, last")
        last = self.policy / "last.safetensors"
        for path in (last,) if which == "last" else (self.policy_file, last):
            if path.exists():
                return path
        raise PolicyFileError(f"run {str(self.path)!r} has no policy yet; it needs its first checkpoint")

    @contextlib.contextmanager
    def lock(self) -> Iterator[Callable[[], bool]]:
        """Keep other processes from training into this folder; the lock ends with its process.

        The block receives a function that returns whether the folder is still in its place, with its recipe.

        Raises:
            RunError: another process holds the lock, or the folder cannot be written.
        """
        with lock_folder(self.path, "run") as is_there:
            yield lambda: self.recipe.exists() and is_there()


def task_folder(task: str) -> str:
    """Return the name of the folder of a task's runs: characters that cannot be part of a file name become "-"."""
    return re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task"


@contextlib.contextmanager
def lock_folder(path: Path, kind: str) -> Iterator[Callable[[], bool]]:
    """Hold the lock of a folder, a `kind` of thing in messages; yield a function: is the folder still in its place?

    Raises:
        RunError: another process holds the lock, or the folder cannot be written.
    """
    named = repr(str(path))
    try:
        folder = os.open(path, os.O_RDONLY)
        descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunError(f"cannot write to {named}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = " ".join(os.pread(descriptor, 200, 0).decode(errors="replace").split())
            raise RunError(
                f"{kind} {named} is in use{f' by {holder}' if holder else ''}; wait for it or stop it first"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise RunError(f"cannot lock {named}: {error.strerror}") from error
            warnings.warn(f"this file system has no locks; start no second process on {named}", stacklevel=4)
        with contextlib.suppress(OSError):  # the lock holds even if the disk is full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        try:
            yield lambda: os.path.samestat(os.fstat(folder), path.stat())
        finally:
            with contextlib.suppress(OSError):
                # Closing the file is not enough: a forked worker may still hold its descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
        os.close(folder)


def list_runs(root: Path | str) -> list[str]:
    """Return the runs under `root` as TASK/NAME, newest first."""
    recipes = [(recipe.stat().st_mtime, recipe) for recipe in Path(root).glob("*/*/recipe.toml")]
    return [f"{recipe.parts[-3]}/{recipe.parts[-2]}" for _, recipe in sorted(recipes, reverse=True)]
