"""One training at a time of a study, paused at each evaluation until the study decides whether it goes on.

A `TrialRunner` is the object in a worker process (`workers.py`) or in an actor of Ray (`simulation/cluster.py`).
"""

import contextlib
import dataclasses
import queue
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surefoot.errors import InputError, NonFiniteError, RunError, SurefootError, one_line
from surefoot.evaluation.evaluate import evaluate_run
from surefoot.files import atomic_write
from surefoot.recipes.files import read_recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.training import loop
from surefoot.training.loop import Outcome
from surefoot.training.progress import Progress

LARGEST_CHECKPOINT = 64 * 2**20
"""Bytes of a checkpoint that is returned from another machine; a training with a larger one starts again there."""

_LOCK_PATIENCE_S = 30.0  # a killed process may need a moment to end
_LOCK_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class Order:
    """A training to do.

    Attributes:
        run: the run, TASK/NAME, below `root`.
        recipe: its recipe, TOML.
        episodes: held-out episodes of the evaluation at the end.
        seed: offset of their seeds.
        root: folder of all runs; None: a temporary folder of the worker, whose files travel in `files` and in reports.
        files: contents of an interrupted run, by path in its folder.
    """

    run: str
    recipe: str
    episodes: int
    seed: int
    root: str | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Report:
    """State of a training.

    Attributes:
        kind: evaluated: paused after an evaluation, until `TrialRunner.advance`; finished: trained and evaluated on
            held-out episodes; stopped: by `advance`; interrupted: by `TrialRunner.interrupt`; refused: its settings do
            not fit each other, or its numbers became infinite; failed: for another reason.
        step: environment steps.
        value: mean return of the evaluation, in training or held-out.
        result: of `evaluation.evaluate.evaluate_run`, if finished.
        seconds: wall-clock time of the training over all sessions.
        entropy: last entropy of the action distribution, None if the algorithm has none.
        error: one line, if refused or failed.
        files: contents of the run by path, if `Order.root` is None.
    """

    kind: str
    step: int = 0
    value: float | None = None
    result: dict[str, Any] | None = None
    seconds: float = 0.0
    entropy: float | None = None
    error: str = ""
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


class _Warnings(Progress):
    """Shows warnings only, with the name of the run."""

    def __init__(self, run: str) -> None:
        super().__init__(quiet=True)
        self._run = run

    def warn(self, message: str) -> None:
        """Show one line."""
        super().warn(f"{self._run}: {message}")


class TrialRunner:
    """Trains in a thread; `begin` and `advance` return at its next evaluation or at its end."""

    def __init__(self) -> None:
        self._reports: queue.Queue[Report] = queue.Queue()
        self._answers: queue.Queue[bool] = queue.Queue()
        self._interrupted = threading.Event()

    def begin(self, order: Order) -> Report:
        """Start or continue a training; return its first report."""
        threading.Thread(target=self._work, args=(order,), daemon=True).start()
        return self._reports.get()

    def advance(self, go_on: bool) -> Report:
        """Continue the paused training, or stop it; return its next report."""
        self._answers.put(go_on)
        return self._reports.get()

    def interrupt(self) -> None:
        """Let the training stop after its current iteration, with a checkpoint."""
        self._interrupted.set()

    def _work(self, order: Order) -> None:
        with contextlib.ExitStack() as stack:
            if order.root is None:
                root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="surefoot-")))
                write_files(root / order.run, order.files)
            else:
                root = Path(order.root)
            folder = RunFolder(root / order.run)
            try:
                report = self._train(order, folder)
            except (InputError, NonFiniteError) as error:
                in_use = isinstance(error, RunError)
                report = Report("failed" if in_use else "refused", error=str(error))
            except Exception as error:
                text = str(error) if isinstance(error, SurefootError) else one_line(error)
                report = Report("failed", error=text)
            self._reports.put(self._with_files(order, folder, report))

    def _train(self, order: Order, folder: RunFolder) -> Report:
        progress = _Warnings(order.run)

        def callback(step: int, metrics: dict[str, float]) -> bool:
            return self._on_metrics(order, folder, step, metrics)

        outcome = start_or_resume(folder, order.recipe, progress, callback)
        counters = outcome.counters
        done = {"step": counters.steps, "seconds": counters.seconds, "entropy": _last_entropy(folder)}
        if outcome.reason == "interrupted":
            return Report("interrupted" if self._interrupted.is_set() else "stopped", **done)
        result = evaluate_run(folder, episodes=order.episodes, seed=order.seed)
        return Report("finished", value=result["return"]["mean"], result=result, **done)

    def _on_metrics(self, order: Order, folder: RunFolder, step: int, metrics: Mapping[str, float]) -> bool:
        """Return whether the training stops."""
        if "evaluation/return" in metrics and not self._interrupted.is_set():
            report = Report("evaluated", step, metrics["evaluation/return"])
            self._reports.put(self._with_files(order, folder, report))
            return not self._answers.get()
        return self._interrupted.is_set()

    def _with_files(self, order: Order, folder: RunFolder, report: Report) -> Report:
        return report if order.root else dataclasses.replace(report, files=read_files(folder))


def _last_entropy(folder: RunFolder) -> float | None:
    rows = [row["policy/entropy"] for row in read_metrics(folder.metrics) if row.get("policy/entropy") is not None]
    return rows[-1] if rows else None


def start_or_resume(folder: RunFolder, recipe: str, progress: Progress, callback: loop.Callback) -> Outcome:
    """Train in a folder that may exist already: from its newest checkpoint, or from the start if there is none.

    Raises:
        SurefootError: as `loop.train` and `loop.resume`.
    """
    began = time.monotonic()
    while True:
        try:
            if Checkpoints(folder.checkpoints).steps():
                return loop.resume(folder, progress, callback=callback)
            # A process that was killed before the first checkpoint leaves only files that are written again.
            folder.metrics.unlink(missing_ok=True)
            folder.path.mkdir(parents=True, exist_ok=True)
            atomic_write(folder.recipe, recipe.encode())
            return loop.train(read_recipe(folder.recipe), folder, progress, callback)
        except RunError as error:
            if "in use" not in str(error) or time.monotonic() - began > _LOCK_PATIENCE_S:
                raise
            time.sleep(_LOCK_POLL_S)


def read_files(folder: RunFolder) -> dict[str, bytes]:
    """Return the files with which a run can continue and its policy be used, by path in its folder."""
    steps = Checkpoints(folder.checkpoints).steps()
    checkpoint = [folder.checkpoints / f"step-{step:012d}.safetensors" for step in steps[-1:]]
    small = [path for path in checkpoint if path.stat().st_size <= LARGEST_CHECKPOINT]
    # The checkpoint is last: metrics after it are superseded by a resume, missing ones would be lost.
    paths = [folder.recipe, folder.metrics, folder.evaluation, *sorted(folder.policy.glob("*.safetensors")), *small]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths if path.exists()}


def write_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of `read_files` into a run's folder, and remove its other checkpoints.

    Raises:
        SurefootError: the folder cannot be written.
    """
    try:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path / name, content)
    except OSError as error:
        raise SurefootError(f"cannot write '{path}': {error.strerror}") from error
    checkpoints = RunFolder(path).checkpoints
    kept = {path / name for name in files}
    if kept & set(checkpoints.glob("*.safetensors")):
        for other in set(checkpoints.glob("*.safetensors")) - kept:
            other.unlink(missing_ok=True)
