"""The training loop: iterate, evaluate, save, until done, solved or interrupted."""

import contextlib
import dataclasses
import time
import warnings
from typing import Any

from surefoot.errors import NonFiniteError, RunError, SurefootError
from surefoot.pytrees import flatten_tree
from surefoot.recipes.files import read_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import MetricsLog
from surefoot.runs.trackers import make_trackers
from surefoot.runs.versions import revision, versions
from surefoot.simulation.engine import Engine, available_cores
from surefoot.simulation.factory import choose_engine, hint_faster, make_engine
from surefoot.training.artifacts import ArtifactWriter
from surefoot.training.evaluator import EvaluationResult, Evaluator
from surefoot.training.interruption import Interruption
from surefoot.training.learner import Learner
from surefoot.training.progress import Progress
from surefoot.training.registry import make_learner
from surefoot.training.warm_start.source import load_source
from surefoot.training.warm_start.transfer import Transfer

# Trainings with neighbouring seeds must not share environment seeds, neither with each other nor with evaluations.
_SEED_STRIDE = 9973
_LARGEST_SEED = 999_000_000
# The time between two checkpoints is at least this many times that of saving one; replays are large.
_LEAST_INTERVAL = 20


@dataclasses.dataclass
class Counters:
    """Progress of a training; part of every checkpoint.

    Attributes:
        steps: environment steps, summed over all environments.
        iterations: iterations of the learner.
        seconds: wall-clock time over all sessions, compilation and evaluations included.
        evaluations: number of evaluations.
        evaluated_at: step of the last evaluation.
        next_evaluation: step at which the next one is due.
        next_snapshot: step at which the next snapshot is due, if any are.
        best_return: best mean return of an evaluation.
        best_score: `EvaluationResult.score` of the saved policy.
        last_return: mean return of the last evaluation.
        solved: whether `stop_at_return` was reached and confirmed.
    """

    steps: int = 0
    iterations: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    evaluated_at: int = 0
    next_evaluation: int = 0
    next_snapshot: int = 0
    best_return: float | None = None
    best_score: float | None = None
    last_return: float | None = None
    solved: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a training.

    Attributes:
        folder: the run's folder.
        counters: its progress.
        reason: "finished", "solved" or "interrupted".
    """

    folder: RunFolder
    counters: Counters
    reason: str


def train(recipe: Recipe, folder: RunFolder, progress: Progress | None = None) -> Outcome:
    """Train by `recipe` into the new run folder `folder`.

    Raises:
        SurefootError: a wrong setting, a failed simulator, or numbers that are not finite.
    """
    with contextlib.ExitStack() as stack:
        session = _Session(recipe, folder, progress or Progress(quiet=True), stack)
        session.start()
        return session.run()


def resume(folder: RunFolder, progress: Progress | None = None, steps: int | None = None) -> Outcome:
    """Continue a run from its newest checkpoint.

    Args:
        folder: the run's folder.
        progress: display of the progress.
        steps: replaces the recipe's `training.steps`; a run that had solved its task continues, too.

    Raises:
        SurefootError: the run cannot be continued, or as `train`.
    """
    recipe = read_recipe(folder.recipe)
    if steps is not None:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": steps})})
    with contextlib.ExitStack() as stack:
        session = _Session(recipe, folder, progress or Progress(quiet=True), stack)
        session.restore()
        if steps is not None:
            session.counters.solved &= session.counters.steps >= steps
            session.artifacts.save_recipe()
        return session.run()


class _Log:
    """The metrics file and the trackers of a run, with the wall-clock time over all sessions.

    Attributes:
        seconds_before: wall-clock time of earlier sessions.
    """

    def __init__(
        self, recipe: Recipe, folder: RunFolder, progress: Progress, stack: contextlib.ExitStack, began: float
    ) -> None:
        self._began = began
        self.seconds_before = 0.0
        shown = recipe.model_dump(mode="json")
        self._trackers = make_trackers(list(recipe.training.trackers), folder.path, shown, progress.warn)
        for tracker in self._trackers:
            stack.callback(tracker.close)
        self._metrics = stack.enter_context(MetricsLog(folder.metrics, progress.warn))

    @property
    def seconds(self) -> float:
        """Wall-clock time over all sessions."""
        return self.seconds_before + time.perf_counter() - self._began

    def values(self, values: dict[str, Any], step: int) -> None:
        """Log metrics."""
        self._metrics.append(step, seconds=round(self.seconds, 3), **values)
        for tracker in self._trackers:
            tracker.log(step, values)

    def event(self, event: str, step: int, **details: Any) -> None:
        """Log an event."""
        self._metrics.mark(event, step, **details)


class _Session:
    """One process's part of a run.

    Attributes:
        counters: progress of the run.
        artifacts: writes policies and failures.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, progress: Progress, stack: contextlib.ExitStack) -> None:
        began = time.perf_counter()
        self.counters = Counters()
        self.artifacts = ArtifactWriter(recipe, folder, progress)
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._interruption = Interruption()
        self._info = recipe.evaluation_task()
        self._engine_name = choose_engine(recipe.engine.name, self._info)
        self._checkpoints = Checkpoints(folder.checkpoints, recipe.training.keep_checkpoints, progress.warn)
        self._saved_at, self._saving_s = began, 0.0
        # Contexts close in reverse order.
        stop = self._interruption.requested
        self._learner: Learner = make_learner(recipe, self._info, self._make_engines(stack), stop)
        stack.callback(self._learner.close)
        self._evaluator = Evaluator(self._engine_name, self._info, recipe, stop)
        stack.callback(self._evaluator.close)
        stack.enter_context(folder.lock())
        self._log = _Log(recipe, folder, progress, stack, began)
        stack.enter_context(self._interruption)
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = lambda message, *_, **__: progress.warn(str(message))

    def start(self) -> None:
        """Start a new run."""
        self.counters.next_evaluation = self._recipe.training.evaluate_every
        if self._recipe.training.start_from:
            self._warm_start()
        self._learner.start(self._first_seed)
        self._log_start()
        self._log.event("start", 0, versions=versions(), revision=revision(), engine=self._engine_name)
        self._save_checkpoint()

    def restore(self) -> None:
        """Continue from the newest checkpoint."""
        step, arrays, header = self._checkpoints.latest()
        # Simulators whose state cannot be saved also restart from a defined seed.
        self._learner.start((self._first_seed + _SEED_STRIDE // 2 + step) % _LARGEST_SEED)
        self._warn_of_other_versions(header.get("versions", {}))
        known = {field.name for field in dataclasses.fields(Counters)}
        if not isinstance(header.get("counters"), dict) or not set(header["counters"]) <= known:
            raise RunError(
                f"checkpoint of step {step} in '{self._folder.path}' was saved by another version of Surefoot"
            )
        self.counters = Counters(**header["counters"])
        self._learner.restore(arrays, "learner")
        self._log.seconds_before = self.counters.seconds
        self._log_start()
        if not self._learner.restores_episodes:
            self._progress.warn(f"engine '{self._engine_name}' cannot restore its state; new episodes begin")
        origin = {"versions": versions(), "revision": revision(), "engine": self._engine_name}
        self._log.event("resume", self.counters.steps, evaluated_at=self.counters.evaluated_at, **origin)

    def run(self) -> Outcome:
        """Train until done, solved or interrupted, and leave the run folder complete."""
        try:
            reason = self._loop()
        except NonFiniteError as error:
            self._record_failure(error)
            raise
        except SurefootError:
            self._save_policy("last")
            raise
        self._save_checkpoint()
        self._save_policy("last")
        self._log.event(reason, self.counters.steps, seconds=self._log.seconds)
        return Outcome(self._folder, self.counters, reason)

    def _make_engines(self, stack: contextlib.ExitStack) -> list[Engine]:
        """Make an engine for each sampler."""
        settings, samplers = self._recipe.engine, self._recipe.training.samplers
        info = self._recipe.training_task()
        threads = settings.threads or (available_cores() if samplers > 1 else 0)
        num_envs = settings.num_envs // samplers
        engines = []
        for number in range(samplers):
            seed = self._first_seed + number * num_envs
            engine = make_engine(self._engine_name, info, num_envs, -(-threads // samplers), seed)
            stack.callback(engine.close)
            engines.append(engine)
        return engines

    def _warm_start(self) -> None:
        """Initialise the learner from an earlier run; show and save the list of transferred parts."""
        source = load_source(self._recipe.training.start_from, self._folder.path.parent.parent, self._progress.warn)
        transfer = Transfer(source, self._recipe, self._info)
        self._learner.take_over(transfer)
        for line in transfer.lines():
            self._progress.say(line)
        try:
            transfer.save(self._folder.transfer)
        except OSError as error:
            self._progress.warn(f"the record of the warm start could not be saved: {error.strerror or error}")

    def _log_start(self) -> None:
        recipe, steps = self._recipe, self.counters.steps
        start = f", from step {steps:,}" if steps else ""
        self._progress.say(
            f"'{recipe.task}' by {recipe.algorithm} (recipe {recipe.name}) in {self._folder.path}{start}"
        )
        hint = hint_faster(self._engine_name, self._info) if recipe.engine.name == "auto" else ""
        if hint:
            self._progress.say(hint)

    def _loop(self) -> str:
        counters, settings = self.counters, self._recipe.training
        asynchronous = settings.mode == "asynchronous"
        self._progress.start(settings.steps, counters.steps)
        while not self._interruption.requested():
            done = counters.steps >= settings.steps
            self._record_evaluation(self._evaluator.result(wait=done))
            last = done and counters.evaluated_at < counters.steps
            due = counters.steps >= counters.next_evaluation
            if (due or last) and not self._evaluator.busy:
                arguments = self._learner.policy(), counters.steps, counters.evaluations
                if asynchronous:
                    self._evaluator.submit(*arguments)
                else:
                    self._record_evaluation(self._evaluator.evaluate(*arguments))
                if done or not asynchronous:
                    continue  # the result may end the training, or the evaluation was cancelled
            if counters.solved:
                return "solved"
            if done:
                return "finished"
            self._iterate()
            # 0: after every iteration, even if saving takes long.
            interval = settings.checkpoint_every_s and max(
                settings.checkpoint_every_s, _LEAST_INTERVAL * self._saving_s
            )
            if time.perf_counter() - self._saved_at >= interval:
                self._save_checkpoint()
        return "interrupted"

    def _iterate(self) -> None:
        counters, settings, learner = self.counters, self._recipe.training, self._learner
        began = time.perf_counter()
        values = learner.iterate(min(1.0, (counters.steps + learner.steps_per_iteration) / settings.steps))
        if values is None:  # interrupted
            return
        counters.steps += learner.steps_per_iteration
        counters.iterations += 1
        values["steps_per_second"] = learner.steps_per_iteration / (time.perf_counter() - began)
        self._log.values(values, counters.steps)
        if settings.snapshot_every and counters.steps >= counters.next_snapshot:
            self._save_policy(f"step-{counters.steps:012d}")
            counters.next_snapshot = (counters.steps // settings.snapshot_every + 1) * settings.snapshot_every
        self._progress.update(counters.steps, values, counters.last_return)

    def _record_evaluation(self, result: EvaluationResult | None) -> None:
        """Log an evaluation and save its policy if it is the best so far; None: unfinished or cancelled."""
        if result is None:
            return
        counters, every = self.counters, self._recipe.training.evaluate_every
        counters.solved = result.solved
        counters.evaluations += 1
        counters.evaluated_at = result.step
        counters.next_evaluation = (result.step // every + 1) * every
        counters.last_return = result.mean
        best = counters.best_return
        counters.best_return = result.mean if best is None else max(best, result.mean)
        if result.solved or counters.best_score is None or result.score > counters.best_score:
            counters.best_score = result.score
            self.artifacts.save_policy("policy", result.policy, result.step)
        self._log.values(result.values, result.step)
        self._progress.evaluated(result.step, result.mean, result.confirmed)

    def _save_checkpoint(self) -> None:
        began = time.perf_counter()
        self.counters.seconds = self._log.seconds
        header = {"counters": dataclasses.asdict(self.counters), "versions": versions()}
        self._checkpoints.save(self.counters.steps, flatten_tree(self._learner.state(), "learner"), header)
        self._saved_at = time.perf_counter()
        self._saving_s = self._saved_at - began

    def _save_policy(self, name: str) -> None:
        self.artifacts.save_policy(name, self._learner.policy(), self.counters.steps)

    def _record_failure(self, error: NonFiniteError) -> None:
        """Save the arrays that are not finite, and name their file in the error."""
        where = self.artifacts.save_failure(error, self.counters.steps)
        self._log.event("failure", self.counters.steps, error=str(error))
        error.args = (f"{error}; the run stopped at step {self.counters.steps}, its last checkpoint is kept{where}",)

    def _warn_of_other_versions(self, then: dict[str, str]) -> None:
        now = versions()
        changed = [f"{name} {then[name]} -> {now.get(name)}" for name in then if then[name] != now.get(name)]
        if changed:
            self._progress.warn("versions have changed; results may differ in the last bits: " + ", ".join(changed))

    @property
    def _first_seed(self) -> int:
        """Seed of the first environment."""
        return self._recipe.seed * _SEED_STRIDE
