"""One training from start to stop: iterate, evaluate, keep, and leave in good order."""

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
from surefoot.runs.trackers import Tracker, make_trackers
from surefoot.runs.versions import revision, versions
from surefoot.simulation.engine import Engine, available_cores
from surefoot.simulation.factory import choose_engine, hint_faster, make_engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.artifacts import ArtifactWriter
from surefoot.training.evaluator import EvaluationResult, Evaluator
from surefoot.training.interruption import Interruption
from surefoot.training.progress import Progress
from surefoot.training.registry import make_learner
from surefoot.training.warm_start.source import load_source
from surefoot.training.warm_start.transfer import Transfer

# Copies of neighbouring seeds must not share random numbers, and none may reach the seeds of evaluations.
_SEEDS_APART = 9973
# A checkpoint may take this many times less than what lies between it and the next; replays are large.
_SHARE = 20


@dataclasses.dataclass
class Counters:
    """Where a training stands; kept in every checkpoint.

    Attributes:
        steps: environment steps made, all copies together.
        iterations: iterations of the algorithm.
        seconds: wall-clock time of training, compiling and evaluating included, over all its sessions.
        evaluations: how many evaluations were made.
        evaluated_at: the step of the last one.
        next_evaluation: the step at which the next is due.
        next_snapshot: the step at which the next policy is kept, if any are.
        best_return: the best mean return of an evaluation.
        best_score: that of the policy kept, by as many episodes as it had (`EvaluationResult.score`).
        last_return: that of the last one.
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
    """How a training ended.

    Attributes:
        folder: the run's folder.
        counters: where it stands.
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
    return _Training(recipe, folder, progress or Progress(quiet=True)).run(resumed=False)


def resume(folder: RunFolder, progress: Progress | None = None, steps: int | None = None) -> Outcome:
    """Go on with a run from its newest checkpoint.

    Args:
        folder: the run's folder.
        progress: where to show how it goes.
        steps: train until so many environment steps instead of what the recipe says, which is changed; a run that
            had solved its task before goes on, too.

    Raises:
        SurefootError: the run cannot be continued, or as `train`.
    """
    recipe = read_recipe(folder.recipe)
    if steps is not None:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": steps})})
    return _Training(recipe, folder, progress or Progress(quiet=True)).run(resumed=True, other_steps=steps is not None)


class _Training:
    """One session of one run."""

    def __init__(self, recipe: Recipe, folder: RunFolder, progress: Progress) -> None:
        self._began = time.perf_counter()
        self.recipe = recipe
        self.settings = recipe.training
        self.folder = folder
        self.progress = progress
        self.counters = Counters()
        self.info: TaskInfo = recipe.evaluation_task()
        self.engine_name = choose_engine(recipe.engine.name, self.info)
        self.trackers: list[Tracker] = []
        self._keeper = ArtifactWriter(recipe, folder, self.progress)
        self.checkpoints = Checkpoints(folder.checkpoints, self.settings.keep_checkpoints, progress.warn)
        self._interruption = Interruption()
        self._ending = False
        self._beside = self.settings.mode == "asynchronous"
        self._judge = Evaluator(self.engine_name, self.info, recipe, self._must_stop)
        self._session_start = 0.0
        self._saved_at = time.perf_counter()
        self._saving = 0.0

    def run(self, resumed: bool, other_steps: bool = False) -> Outcome:
        with contextlib.ExitStack() as closing:
            engines = self._make_engines(closing)
            self.learner = make_learner(self.recipe, self.info, engines, self._must_stop)
            closing.callback(self.learner.close)
            closing.callback(self._end)
            closing.enter_context(self.folder.lock())
            self._start_trackers(closing)
            self.metrics = closing.enter_context(MetricsLog(self.folder.metrics, self.progress.warn))
            closing.enter_context(self._interruption)
            closing.enter_context(warnings.catch_warnings())
            warnings.showwarning = lambda message, *_, **__: self.progress.warn(str(message))
            self._start(resumed)
            if other_steps:
                self.counters.solved &= self.counters.steps >= self.settings.steps
                self._keeper.keep_recipe()
            try:
                reason = self._loop()
            except NonFiniteError as error:
                self._tell_failure(error)
                raise
            except SurefootError:
                self._keep_policy("last")
                raise
            self._checkpoint()
            self._keep_policy("last")
            self.metrics.mark(reason, self.counters.steps, seconds=self._seconds())
            return Outcome(self.folder, self.counters, reason)

    def _make_engines(self, closing: contextlib.ExitStack) -> list[Engine]:
        """Make an engine for each sampler; each is closed with `closing`."""
        settings, samplers = self.recipe.engine, self.settings.samplers
        info = self.recipe.training_task()
        threads = settings.threads or (available_cores() if samplers > 1 else 0)
        engines = []
        for number in range(samplers):
            copies = settings.num_envs // samplers
            seed = self._engine_seed() + number * copies
            engine = make_engine(self.engine_name, info, copies, -(-threads // samplers), seed)
            closing.callback(engine.close)
            engines.append(engine)
        return engines

    def _start_trackers(self, closing: contextlib.ExitStack) -> None:
        """Start the trackers, once nobody else can train this run: they go on where they were."""
        shown = self.recipe.model_dump(mode="json")
        self.trackers = make_trackers(list(self.settings.trackers), self.folder.path, shown, self.progress.warn)
        for tracker in self.trackers:
            closing.callback(tracker.close)

    def _end(self) -> None:
        """Break off what is judged beside the training."""
        self._ending = True
        self._judge.close()

    def _must_stop(self) -> bool:
        return self._ending or self._interruption.requested()

    def _start(self, resumed: bool) -> None:
        # Always begin, so that what a checkpoint cannot restore (a simulator's inside) starts in a defined way.
        seed = self._engine_seed()
        if not resumed:
            self.counters.next_evaluation = self.settings.evaluate_every
            if self.settings.start_from:
                self._take_over()
            self.learner.start(seed)
            self._greet()
            self.metrics.mark("start", 0, versions=versions(), revision=revision(), engine=self.engine_name)
            self._checkpoint()
            return
        step, arrays, header = self.checkpoints.latest()
        self.learner.start((seed + _SEEDS_APART // 2 + step) % 999_000_000)
        self._warn_of_other_versions(header.get("versions", {}))
        known = {field.name for field in dataclasses.fields(Counters)}
        if not isinstance(header.get("counters"), dict) or not set(header["counters"]) <= known:
            raise RunError(f"checkpoint of step {step} in '{self.folder.path}' is of another version of Surefoot")
        self.counters = Counters(**header["counters"])
        self.learner.restore(arrays, "learner")
        self._session_start = self.counters.seconds
        self._greet()
        if not self.learner.restores_episodes:
            self.progress.warn(f"engine '{self.engine_name}' cannot give its inner state; episodes begin anew")
        told = {"versions": versions(), "revision": revision(), "engine": self.engine_name}
        self.metrics.mark("resume", self.counters.steps, evaluated_at=self.counters.evaluated_at, **told)

    def _take_over(self) -> None:
        """Initialise from an earlier run; show and save what was taken over."""
        source = load_source(self.settings.start_from, self.folder.path.parent.parent, self.progress.warn)
        transfer = Transfer(source, self.recipe, self.info)
        self.learner.take_over(transfer)
        for line in transfer.lines():
            self.progress.say(line)
        try:
            transfer.save(self.folder.transfer)
        except OSError as error:
            self.progress.warn(f"the record of the warm start could not be saved: {error.strerror or error}")

    def _greet(self) -> None:
        recipe, steps = self.recipe, self.counters.steps
        start = f", from step {steps:,}" if steps else ""
        self.progress.say(f"'{recipe.task}' by {recipe.algorithm} (recipe {recipe.name}) in {self.folder.path}{start}")
        hint = hint_faster(self.engine_name, self.info) if recipe.engine.name == "auto" else ""
        if hint:
            self.progress.say(hint)

    def _loop(self) -> str:
        counters, settings = self.counters, self.settings
        self.progress.start(settings.steps, counters.steps)
        while not self._must_stop():
            done = counters.steps >= settings.steps
            self._conclude(self._judge.verdict(wait=done))
            last = done and counters.evaluated_at < counters.steps
            due = counters.steps >= counters.next_evaluation
            if (due or last) and not self._judge.busy:
                self._evaluate()
                if done or not self._beside:
                    continue  # the verdict may solve it, come later, or never if interrupted
            if counters.solved:
                return "solved"
            if done:
                return "finished"
            self._iterate()
            # 0 means after every iteration, whatever it takes.
            pause = settings.checkpoint_every_s and max(settings.checkpoint_every_s, _SHARE * self._saving)
            if time.perf_counter() - self._saved_at >= pause:
                self._checkpoint()
        return "interrupted"

    def _iterate(self) -> None:
        counters = self.counters
        began = time.perf_counter()
        after = counters.steps + self.learner.steps_per_iteration
        values = self.learner.iterate(min(1.0, after / self.settings.steps))
        if values is None:  # broken off
            return
        counters.steps += self.learner.steps_per_iteration
        counters.iterations += 1
        values["steps_per_second"] = self.learner.steps_per_iteration / (time.perf_counter() - began)
        self._log(values, counters.steps)
        self._keep_snapshot()
        self.progress.update(counters.steps, values, counters.last_return)

    def _keep_snapshot(self) -> None:
        """Keep the policy as it is now, if one is due."""
        every = self.settings.snapshot_every
        if every and self.counters.steps >= self.counters.next_snapshot:
            self._keep_policy(f"step-{self.counters.steps:012d}")
            self.counters.next_snapshot = (self.counters.steps // every + 1) * every

    def _evaluate(self) -> None:
        """Judge the present policy: at once, or beside the training if it is asynchronous."""
        arguments = self.learner.policy(), self.counters.steps, self.counters.evaluations
        if self._beside:
            self._judge.begin(*arguments)
        else:
            self._conclude(self._judge.judge(*arguments))

    def _conclude(self, verdict: EvaluationResult | None) -> None:
        """Note what an evaluation found, and keep its policy if it is the best; None was broken off, and is due."""
        if verdict is None:
            return
        counters, settings = self.counters, self.settings
        counters.solved = verdict.solved
        counters.evaluations += 1
        counters.evaluated_at = verdict.step
        counters.next_evaluation = (verdict.step // settings.evaluate_every + 1) * settings.evaluate_every
        counters.last_return = verdict.mean
        best = counters.best_return
        counters.best_return = verdict.mean if best is None else max(best, verdict.mean)
        if verdict.solved or counters.best_score is None or verdict.score > counters.best_score:
            counters.best_score = verdict.score
            self._keeper.keep_policy("policy", verdict.policy, verdict.step)
        self._log(verdict.values, verdict.step)
        self.progress.evaluated(verdict.step, verdict.mean, verdict.confirmed)

    def _log(self, values: dict[str, Any], step: int) -> None:
        self.counters.seconds = self._seconds()
        self.metrics.append(step, seconds=round(self.counters.seconds, 3), **values)
        for tracker in self.trackers:
            tracker.log(step, values)

    def _seconds(self) -> float:
        return self._session_start + time.perf_counter() - self._began

    def _checkpoint(self) -> None:
        began = time.perf_counter()
        self.counters.seconds = self._seconds()
        header = {"counters": dataclasses.asdict(self.counters), "versions": versions()}
        self.checkpoints.save(self.counters.steps, flatten_tree(self.learner.state(), "learner"), header)
        self._saving = time.perf_counter() - began
        self._saved_at = time.perf_counter()

    def _keep_policy(self, name: str) -> None:
        self._keeper.keep_policy(name, self.learner.policy(), self.counters.steps)

    def _tell_failure(self, error: NonFiniteError) -> None:
        """Write what was not finite where the user can look at it, and say so in the error."""
        where = self._keeper.keep_failure(error, self.counters.steps)
        self.metrics.mark("failure", self.counters.steps, error=str(error))
        error.args = (f"{error}; the run stopped at step {self.counters.steps}, its last checkpoint is kept{where}",)

    def _warn_of_other_versions(self, then: dict[str, str]) -> None:
        now = versions()
        changed = [f"{name} {then[name]} -> {now.get(name)}" for name in then if then[name] != now.get(name)]
        if changed:
            self.progress.warn("versions have changed, so figures may differ in the last bits: " + ", ".join(changed))

    def _engine_seed(self) -> int:
        return self.recipe.seed * _SEEDS_APART
