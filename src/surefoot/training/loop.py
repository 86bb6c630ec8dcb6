"""The training loop: iterate, evaluate, save, until done, solved or interrupted."""

import contextlib
import dataclasses
import shlex
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from pydantic import Field

from surefoot.compilation_cache import use_compilation_cache
from surefoot.errors import FolderLostError, InputError, NonFiniteError, RunError, SurefootError
from surefoot.files import atomic_write, save_arrays
from surefoot.policies.files import save_policy
from surefoot.policies.policy import Policy
from surefoot.pytrees import flatten_tree, unflatten_tree
from surefoot.recipes.files import dump_recipe, read_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import MetricsLog
from surefoot.runs.trackers import make_trackers
from surefoot.runs.versions import revision, versions
from surefoot.settings import Settings, validate
from surefoot.simulation import envpool
from surefoot.simulation.engine import Engine, available_cores
from surefoot.simulation.factory import choose_engine, make_engine
from surefoot.training.cluster_off_policy import ClusterOffPolicyLearner
from surefoot.training.cluster_random_search import ClusterRandomSearchLearner
from surefoot.training.evaluator import EvaluationResult, Evaluator
from surefoot.training.interruption import stop_on_signals
from surefoot.training.learner import Learner
from surefoot.training.off_policy import OffPolicyLearner
from surefoot.training.on_policy import OnPolicyLearner
from surefoot.training.progress import Progress
from surefoot.training.random_search import RandomSearchLearner
from surefoot.training.warm_start.source import load_source
from surefoot.training.warm_start.transfer import Transfer

# The keys are values of `AlgorithmSettings.learner`.
LEARNERS: dict[str, type[Learner]] = {
    "on_policy": OnPolicyLearner,
    "off_policy": OffPolicyLearner,
    "random_search": RandomSearchLearner,
}
# Learners with samplers on a cluster.
CLUSTER_LEARNERS: dict[str, type[Learner]] = {
    "off_policy": ClusterOffPolicyLearner,
    "random_search": ClusterRandomSearchLearner,
}
# Trainings with neighbouring seeds must not share environment seeds with each other or with evaluations.
_SEED_STRIDE = 9973
_FIRST_SEEDS = 999_000_000  # the first environment's seed is below this
# The time between two checkpoints is at least this many times that of saving one; replays are large.
_LEAST_INTERVAL = 20
# Seconds until the end of a training is saved again after a failure, as on a full disk; doubled each time.
_RETRY_S = 5.0

Callback = Callable[[int, dict[str, float]], bool | None]
"""Called as `callback(step, metrics)` after every iteration and evaluation; True stops the training."""


class Counters(Settings, frozen=False, strict=True):
    """Progress of a training; part of every checkpoint."""

    steps: int = Field(0, ge=0)
    """Environment steps, summed over all environments."""
    iterations: int = Field(0, ge=0)
    """Iterations of the learner."""
    seconds: float = Field(0.0, ge=0)
    """Wall-clock time over all sessions, compilation and evaluations included."""
    evaluations: int = Field(0, ge=0)
    """Number of evaluations."""
    evaluated_at: int = Field(0, ge=0)
    """Step of the last evaluation."""
    evaluating_at: int | None = Field(None, ge=0)
    """Step of the evaluation in progress, if any."""
    best_return: float | None = None
    """Best mean return of an evaluation."""
    best_score: float | None = None
    """`EvaluationResult.score` of the saved policy."""
    last_return: float | None = None
    """Mean return of the last evaluation."""
    solved: bool = False
    """Whether `stop_at_return` was reached and confirmed."""


class _Header(Settings):
    """The header of a checkpoint."""

    counters: Counters
    versions: dict[str, str] = Field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a training."""

    folder: RunFolder  # the run's folder
    counters: Counters  # its progress
    reason: str  # "finished", "solved" or "interrupted"


def train(
    recipe: Recipe, folder: RunFolder, progress: Progress | None = None, callback: Callback | None = None
) -> Outcome:
    """Train by `recipe` into the new run folder `folder`.

    Raises:
        SurefootError: a wrong setting, a failed simulator, or numbers that are not finite.
    """
    with contextlib.ExitStack() as stack:
        session = _Session(recipe, folder, progress, callback, stack)
        session.start()
        return session.run()


def resume(
    folder: RunFolder, progress: Progress | None = None, steps: int | None = None, callback: Callback | None = None
) -> Outcome:
    """Continue a run from its newest checkpoint that can be used.

    Args:
        folder: the run's folder.
        progress: display of the progress.
        steps: replaces the recipe's `training.steps`; a run that had solved its task continues, too.
        callback: as in `surefoot.train`.

    Raises:
        SurefootError: the run cannot be continued, or as `train`.
    """
    recipe = read_recipe(folder.recipe)
    if steps is not None:
        recipe = validate(Recipe, replaced(recipe, {"training.steps": steps}), "settings")
    with contextlib.ExitStack() as stack:
        session = _Session(recipe, folder, progress, callback, stack)
        session.restore()
        if steps is not None:
            session.counters.solved &= session.counters.steps >= steps
            session.save_recipe()
        return session.run()


class _Session:
    """One process's part of a run."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress | None,
        callback: Callback | None,
        stack: contextlib.ExitStack,
    ) -> None:
        if jax.config.read("jax_enable_x64"):
            raise InputError("Surefoot trains in float32; unset JAX_ENABLE_X64 or jax.config's 'jax_enable_x64'")
        if callback is not None and not callable(callback):
            raise InputError(f"callback = {callback!r}: give a function of step and metrics")
        use_compilation_cache()
        self._began = self._saved_at = time.perf_counter()
        self._saving_s, self._seconds_before = 0.0, 0.0
        self.counters = Counters()
        self._recipe = recipe
        self._folder = folder
        self._progress = progress or Progress(quiet=True)
        self._callback = callback
        self._stop = threading.Event()
        self._best: Policy | None = None  # unless it was saved by an earlier session
        self._info = recipe.evaluation_task()
        self._engine_name = choose_engine(recipe.engine.name, self._info)
        self._checkpoints = Checkpoints(folder.checkpoints, recipe.training.keep_checkpoints, self._progress.warn)
        # Contexts close in reverse order.
        stack.callback(self._progress.stop)
        learners = CLUSTER_LEARNERS if self._engine_name == "cluster" else LEARNERS
        learner = learners[recipe.settings.learner]
        self._learner = learner(recipe, self._info, self._make_engines(stack), self._stop.is_set)
        stack.callback(self._learner.close)
        simulator = choose_engine(recipe.engine.simulator, self._info)
        self._evaluator = Evaluator(simulator, self._info, recipe, self._stop.is_set)
        stack.callback(self._evaluator.close)
        self._folder_is_there = stack.enter_context(folder.lock())
        shown = recipe.model_dump(mode="json")
        self._trackers = make_trackers(list(recipe.training.trackers), folder.path, shown, self._progress.warn)
        for tracker in self._trackers:
            stack.callback(tracker.close)
        self._metrics = stack.enter_context(MetricsLog(folder.metrics, self._progress.warn))
        stack.enter_context(stop_on_signals(self._stop, self._progress.interrupted))
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = lambda message, *_, **__: self._progress.warn(str(message))

    def start(self) -> None:
        """Start a new run."""
        if self._recipe.training.start_from:
            self._warm_start()
        self._learner.start(self._first_seed)
        self._say_start("start")
        if not self._save_checkpoint():
            raise RunError("the training did not start, because its first checkpoint could not be saved")

    def restore(self) -> None:
        """Continue from the newest checkpoint that can be used."""
        self._checkpoints.latest(use=self._use_checkpoint)
        self._seconds_before = self.counters.seconds
        self._say_start("resume", evaluated_at=self.counters.evaluated_at)
        if not self._learner.restores_episodes:
            self._progress.warn(f"engine '{self._engine_name}' cannot restore its state; new episodes begin")

    def _use_checkpoint(self, step: int, arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
        """Restore counters, learner and an evaluation in progress.

        Raises:
            InputError: a counter or an array is wrong or of other settings.
        """
        checked = validate(_Header, header, "header")
        counters = checked.counters
        evaluations = counters.evaluations, counters.evaluated_at, counters.evaluating_at or 0
        if counters.steps != step or max(counters.iterations, *evaluations) > step:
            raise RunError(f"its counters do not fit step {step}")
        # Simulators whose state cannot be saved also restart from a defined seed.
        self._learner.start((self._first_seed + _SEED_STRIDE // 2 + step) % _FIRST_SEEDS)
        self._check_sizes(arrays)
        try:
            self._learner.restore(arrays, "learner")
            if counters.evaluating_at is not None:
                policy = self._learner.policy()
                policy.controller = unflatten_tree(policy.controller, arrays, "evaluation")
                self._evaluator.start(policy, counters.evaluating_at, counters.evaluations)
        except (ValueError, TypeError, OverflowError, LookupError) as error:
            raise RunError(f"its arrays are damaged ({error})") from error
        now = versions()
        changed = [f"{name} {old} -> {now.get(name)}" for name, old in checked.versions.items() if old != now.get(name)]
        if changed:
            self._progress.warn("versions have changed; results may differ in the last bits: " + ", ".join(changed))
        self.counters = counters

    def _check_sizes(self, arrays: dict[str, np.ndarray]) -> None:
        """Check that a checkpoint's policy fits the task, which may have changed since."""
        names = (f"learner/algorithm/{name}" for name in ("normaliser/mean", "average/log_std"))
        then = [arrays[name].size for name in names if name in arrays]
        now = [self._info.observation_size, self._info.action_size]
        if len(then) == 2 and then != now:
            raise RunError(
                f"the policy of '{self._folder.path}' takes {then[0]} observations and returns {then[1]} actions; task "
                f"'{self._info.name}' now has {now[0]} and {now[1]}"
            )

    def run(self) -> Outcome:
        """Train until done, solved or interrupted, and leave the run folder complete."""
        try:
            reason = self._loop()
            if not self._folder_is_there():
                raise self._move_beside()
        except NonFiniteError as error:
            self._record_failure(error)
            raise
        except SurefootError:
            self._save_policies()
            raise
        if not self._save_end():
            reason = "interrupted"
        self._log_event(reason, seconds=self._seconds)
        return Outcome(self._folder, self.counters, reason)

    def save_recipe(self) -> None:
        """Replace the recipe file, after a setting was changed on resume."""
        with self._warn_if_not_saved(self._folder.recipe):
            atomic_write(self._folder.recipe, dump_recipe(self._recipe).encode())

    def _make_engines(self, stack: contextlib.ExitStack) -> list[Engine]:
        """Make an engine for each sampler in this process."""
        if self._engine_name == "cluster":
            return []
        settings, samplers = self._recipe.engine, self._recipe.training.samplers
        info = self._recipe.training_task()
        threads = settings.threads or (available_cores() if samplers > 1 else 0)
        num_envs = settings.num_envs // samplers
        engines = []
        for _ in range(samplers):
            engine = make_engine(self._engine_name, info, num_envs, -(-threads // samplers))
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
        with self._warn_if_not_saved(self._folder.transfer):
            transfer.save(self._folder.transfer)

    def _say_start(self, event: str, **details: Any) -> None:
        """Show and log the start of a session."""
        recipe, steps = self._recipe, self.counters.steps
        start = f", from step {steps:,}" if steps else ""
        self._progress.say(
            f"'{recipe.task}' by {recipe.algorithm} (recipe {recipe.name}) in {self._folder.path}{start}"
        )
        if recipe.engine.name == "auto" and self._engine_name == "processes" and (hint := envpool.hint(self._info)):
            self._progress.say(hint)
        for note in self._learner.notes():
            self._progress.warn(note)
        self._log_event(event, **details, versions=versions(), revision=revision(), engine=self._engine_name)

    def _loop(self) -> str:
        counters, settings = self.counters, self._recipe.training
        self._progress.start(settings.steps, counters.steps)
        while not self._stop.is_set() and self._folder_is_there():
            done = counters.steps >= settings.steps
            evaluated = max(counters.evaluated_at, counters.evaluating_at or 0)
            due = counters.steps // settings.evaluate_every > evaluated // settings.evaluate_every
            if counters.evaluating_at is not None and (due or done or settings.mode == "synchronous"):
                # An asynchronous result is used at the next evaluation step, so that the training does not depend on
                # speed.
                self._record_evaluation(self._evaluator.result())
            elif counters.solved:
                return "solved"
            elif due or (done and evaluated < counters.steps):
                self._evaluator.start(self._learner.policy(), counters.steps, counters.evaluations)
                counters.evaluating_at = counters.steps
            elif done:
                return "finished"
            else:
                self._iterate()
                every = settings.checkpoint_every_s
                # 0: after every iteration, even if saving takes long.
                interval = every and max(every, _LEAST_INTERVAL * self._saving_s)
                if time.perf_counter() - self._saved_at >= interval and self._folder_is_there():
                    self._save_checkpoint()
        return "interrupted"

    def _iterate(self) -> None:
        counters, settings, learner = self.counters, self._recipe.training, self._learner
        began = time.perf_counter()
        values = learner.iterate(min(1.0, (counters.steps + learner.steps_per_iteration) / settings.steps))
        if values is None:  # interrupted
            return
        before = counters.steps
        counters.steps += learner.steps_per_iteration
        counters.iterations += 1
        values["steps_per_second"] = learner.steps_per_iteration / (time.perf_counter() - began)
        self._log(values, counters.steps)
        every = settings.snapshot_every
        if every and (counters.iterations == 1 or counters.steps // every > before // every):
            self._save_policy(f"step-{counters.steps:012d}", learner.policy(), counters.steps)
        self._progress.update(counters.steps, values, counters.last_return)

    def _record_evaluation(self, result: EvaluationResult | None) -> None:
        """Log an evaluation and save its policy if it is the best so far; None: cancelled."""
        if result is None:
            return
        counters = self.counters
        counters.solved = result.solved
        counters.evaluations += 1
        counters.evaluated_at, counters.evaluating_at = result.step, None
        counters.last_return = result.mean
        best = counters.best_return
        counters.best_return = result.mean if best is None else max(best, result.mean)
        if result.solved or counters.best_score is None or result.score > counters.best_score:
            counters.best_score, self._best = result.score, result.policy
            self._save_policy("policy", result.policy, result.step)
        self._log(result.values, result.step)
        confirmed = "" if result.confirmed is None else f", confirmed {result.confirmed:.1f}"
        self._progress.say(f"step {result.step:,}: evaluated return {result.mean:.1f}{confirmed}")

    @property
    def _seconds(self) -> float:
        """Wall-clock time over all sessions."""
        return self._seconds_before + time.perf_counter() - self._began

    def _log(self, values: dict[str, Any], step: int) -> None:
        self._metrics.append(step, seconds=round(self._seconds, 3), **values)
        for tracker in self._trackers:
            tracker.log(step, values)
        if self._callback is not None and self._callback(step, dict(values)) is True:
            self._stop.set()

    def _log_event(self, event: str, **details: Any) -> None:
        self._metrics.mark(event, self.counters.steps, **details)

    @contextlib.contextmanager
    def _warn_if_not_saved(self, path: Path) -> Iterator[None]:
        """Turn a failed write, as on a full disk, into a warning."""
        try:
            yield
        except OSError as error:
            self._progress.warn(f"'{path}' could not be saved: {error.strerror or error}")

    def _save_checkpoint(self) -> bool:
        """Save a checkpoint; return whether that succeeded."""
        began = time.perf_counter()
        self.counters.seconds = self._seconds
        arrays = flatten_tree(self._learner.state(), "learner")
        if self._evaluator.policy is not None:
            arrays |= flatten_tree(self._evaluator.policy.controller, "evaluation")
        header = {"counters": self.counters.model_dump(), "versions": versions()}
        saved = self._checkpoints.save(self.counters.steps, arrays, header)
        self._saved_at = time.perf_counter()
        self._saving_s = self._saved_at - began
        return saved

    def _save_policy(self, name: str, policy: Policy, steps: int) -> bool:
        """Save a policy, trained for `steps` environment steps, as `policy/NAME.safetensors`; return the success."""
        recipe, path = self._recipe, self._folder.policy / f"{name}.safetensors"
        policy.origin = {"algorithm": recipe.algorithm, "recipe": recipe.name, "seed": recipe.seed, "steps": steps}
        policy.origin["versions"] = versions()
        with self._warn_if_not_saved(path):
            self._folder.policy.mkdir(exist_ok=True)
            save_policy(policy, path)
            return True
        return False

    def _save_policies(self) -> bool:
        """Save the last policy, and the best one if it was found in this session; return the success."""
        best = self._best is None or self._save_policy("policy", self._best, self._best.origin["steps"])
        return self._save_policy("last", self._learner.policy(), self.counters.steps) and best

    def _save_end(self) -> bool:
        """Save everything; if the disk is full, wait for space. False: interrupted before that."""
        pause = _RETRY_S
        while not (self._save_checkpoint() and self._save_policies()):
            if self._stop.is_set():
                return False
            self._progress.warn(f"the end of the training waits in memory; next try in {pause:.0f} s, Ctrl-C gives up")
            self._stop.wait(pause)
            pause = min(2 * pause, 60 * _RETRY_S)
        return True

    def _move_beside(self) -> FolderLostError:
        """Save all that is in memory in a new folder beside the run's; return the error that ends the run."""
        lost = self._folder.path
        task, name = lost.parent.name, f"{lost.name}-rescued"
        try:
            self._folder = folder = RunFolder.create(lost.parent.parent, task, None, name)
        except RunError:
            self._folder = folder = RunFolder.create(tempfile.gettempdir(), task, None, name)
        self._checkpoints = Checkpoints(folder.checkpoints, self._checkpoints.keep, self._progress.warn)
        self.save_recipe()
        with self._warn_if_not_saved(folder.metrics):
            self._metrics.copy(folder.metrics)
        if self._best is None:
            self.counters.best_score = None  # so that the next evaluation saves its policy
        self._save_checkpoint()
        path = shlex.quote(str(folder.path))
        return FolderLostError(
            f"'{lost}' was deleted or moved while it trained; the training stopped at step {self.counters.steps:,} and "
            f"all that was in memory is in '{folder.path}'; continue with: surefoot resume {path}"
        )

    def _record_failure(self, error: NonFiniteError) -> None:
        """Save the arrays that are not finite, and add their file to the error."""
        steps = self.counters.steps
        path = self._folder.failure / f"step-{steps:012d}.safetensors"
        where = f", and its arrays are in {path}"
        try:
            self._folder.failure.mkdir(exist_ok=True)
            save_arrays(path, error.arrays, {"error": str(error), "step": steps})
        except OSError as problem:
            where = f"; its arrays could not be saved: {problem.strerror}"
        self._log_event("failure", error=str(error))
        error.args = (f"{error}, at step {steps + error.ahead:,}; the last checkpoint is kept{where}",)

    @property
    def _first_seed(self) -> int:
        """Seed of the first environment."""
        return self._recipe.seed * _SEED_STRIDE
