"""Sweeps: many short trainings with settings that Optuna proposes, then the best settings on new seeds.

`run_sweep` is the only process that talks to Optuna. Worker processes, or actors of Ray, train one trial after another
and pause at each evaluation until it has decided whether the trial goes on.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surefoot.errors import InputError, SurefootError
from surefoot.evaluation.statistics import summarise
from surefoot.files import atomic_write
from surefoot.machine import available_memory
from surefoot.recipes.files import dump_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.folder import RunFolder, task_folder
from surefoot.settings import validate
from surefoot.simulation.engine import available_cores
from surefoot.studies.folder import Callback, StudyFolder, write_json
from surefoot.studies.processes import describe_split, split_cores
from surefoot.studies.search_space import known_values, suggest
from surefoot.studies.statistics import probability_of_improvement
from surefoot.studies.sweep_plan import SweepPlan
from surefoot.studies.trial_book import DIRECTIONS, TrialBook
from surefoot.studies.trials import Order, Report, TrialRunner, read_files, write_files
from surefoot.studies.workers import LocalWorkers, RayWorkers, Workers
from surefoot.training.interruption import stop_on_signals
from surefoot.training.progress import Progress

FIRST_NEW_SEED = 10_000
"""First training seed of the best settings on new seeds; trials have smaller ones."""

_TRIAL_EPISODES = 50_000_000  # offset of the held-out episodes of trials; those of `surefoot evaluate` stay unused
_DEATHS_TOLERATED = 2  # of workers in one training
_FIRST_FAILURES = 3  # trials that fail at the start before the sweep gives up
_MEMORY_PER_WORKER = 1.2e9  # bytes
_POLL_S = 0.5


@dataclasses.dataclass
class SweepOptions:
    """Limits of a sweep, and the machines that it runs on.

    Attributes:
        trials: number of trials in all.
        minutes: no trial begins after this time.
        workers: trainings at the same time; 0: one per core, as far as the memory reaches.
        new_seeds: training seeds for the best settings and for the recipe that the sweep began with.
        address: Ray cluster as in `engine.address`; None: this machine without Ray.
    """

    trials: int = 30
    minutes: float | None = None
    workers: int = 0
    new_seeds: int = 5
    address: str | None = None


@dataclasses.dataclass
class _Job:
    """A training of the sweep: a trial, or the best settings with a new seed."""

    run: str
    recipe: Recipe
    number: int | None = None
    deaths: int = 0


def run_sweep(
    folder: StudyFolder,
    plan: SweepPlan,
    options: SweepOptions,
    progress: Progress,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Run a sweep until its budget is spent, or continue one that was stopped or killed.

    Args:
        folder: from `open_sweep`, as the plan.
        plan: recipe, search space and objectives.
        options: limits and machines.
        progress: shows each trial.
        callback: called as `callback(trial, figures)` at the end of every trial; True stops the sweep.

    Returns:
        The contents of `results.json`, described in the guide on sweeps; "interrupted" is true after a request to stop.

    Raises:
        SurefootError: another process continues the study, the first trials all fail, or the cluster is lost.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.lock())
        sweep = _Sweep(folder, plan, options, progress, callback)
        sweep.workers = _make_workers(options, progress)
        stack.callback(sweep.workers.close)
        stack.enter_context(stop_on_signals(sweep.stop, progress.interrupted))
        sweep.try_settings()
        sweep.confirm()
        return sweep.results()


def _make_workers(options: SweepOptions, progress: Progress) -> Workers:
    """Start the workers and say how the cores are shared."""
    if options.address is not None:
        workers = RayWorkers(options.address, options.workers, TrialRunner)
        progress.say(f"{len(workers.pids)} trainings at a time on the Ray cluster '{options.address}', one core each")
        return workers
    memory = available_memory()
    fitting = max(1, int(memory[0] // _MEMORY_PER_WORKER)) if memory else available_cores()
    shares = split_cores(options.workers or min(available_cores(), fitting))
    progress.say(f"trainings: {describe_split(shares)}")
    return LocalWorkers(shares)


class _Sweep:
    """A sweep in progress."""

    workers: Workers

    def __init__(
        self,
        folder: StudyFolder,
        plan: SweepPlan,
        options: SweepOptions,
        progress: Progress,
        callback: Callback | None,
    ) -> None:
        self._folder, self._plan, self._options, self._progress = folder, plan, options, progress
        self._callback = callback
        self._base, space = plan.base, plan.ranges
        self._book = TrialBook(folder.journal, space, plan.objectives, plan.seed, plan.pruning)
        self._book.first(known_values(space, self._base))
        self._unfinished = collections.deque(self._book.unfinished())
        self._failures = 0  # in a row, since the start
        self._began = time.monotonic()
        self.stop = threading.Event()

    def try_settings(self) -> None:
        """Run the trials."""
        done = len(self._book.trials) - len(self._unfinished)
        where = f"study '{self._plan.name}' in {self._folder.path}"
        self._progress.say(
            f"{where}: {done} of {self._options.trials} trials done, {len(self._unfinished)} to continue"
        )
        if self._plan.pareto:
            self._progress.say("no pruning with several objectives: a low return may still be on the Pareto front")
        self._work(self._next_trial, self._goes_on, self._end_trial)

    def _next_trial(self) -> _Job | None:
        """Return an interrupted trial, or a new one; None if the budget is spent."""
        while True:
            if self._unfinished:
                number, settings = self._book.again(self._unfinished.popleft())
            elif self.stop.is_set() or self._late() or len(self._book.trials) >= self._options.trials:
                return None
            else:
                number, settings = self._book.ask()
            name = f"trial-{number:04d}"
            try:
                recipe = self._recipe(settings, name, self._base.seed + number)
            except InputError as error:
                self._refuse(number, str(error))
                continue
            return _Job(f"{task_folder(self._base.task)}/{name}", recipe, number)

    def _late(self) -> bool:
        minutes = self._options.minutes
        return minutes is not None and time.monotonic() - self._began > 60 * minutes

    def _recipe(self, settings: Mapping[str, Any], name: str, seed: int) -> Recipe:
        """Return the base recipe with settings.

        Raises:
            InputError: they do not fit each other.
        """
        return validate(Recipe, replaced(self._base, {**settings, "name": name, "seed": seed}), "settings")

    def _goes_on(self, job: _Job, report: Report) -> bool:
        """Record an evaluation of a trial; return whether the trial goes on."""
        assert job.number is not None and report.value is not None
        index = report.step // self._base.training.evaluate_every
        if not self._book.report(job.number, index, report.value):
            return True
        fraction = report.step / self._base.training.steps
        self._progress.say(f"trial {job.number}: pruned at {fraction:.0%}, return {report.value:.1f}")
        self._call_back(job.number)
        return False

    def _end_trial(self, job: _Job, report: Report) -> None:
        number = job.number
        assert number is not None
        if report.kind == "stopped":  # pruned
            return
        if report.kind == "finished":
            values, notes = self._values(report)
            self._book.complete(number, values, notes)
            best = self._book.best()[0]
            mark = "the best so far" if best.number == number else f"best {best.values[0]:.1f} by trial {best.number}"
            self._progress.say(f"trial {number}: return {values[0]:.1f} in {report.seconds:.0f} s; {mark}")
            self._call_back(number)
            self._failures = 0
        elif report.kind == "refused":
            self._refuse(number, report.error)
        else:
            self._book.fail(number, report.error)
            self._progress.warn(f"trial {number} failed: {report.error}")
            self._call_back(number)
            self._failures += 1
            if self._failures >= _FIRST_FAILURES and not self._book.count("COMPLETE"):
                raise SurefootError(f"the first {self._failures} trials failed; the last one: {report.error}")

    def _refuse(self, number: int, error: str) -> None:
        self._book.refuse(number, error)
        self._progress.say(f"trial {number}: {error}")
        self._call_back(number)

    def _call_back(self, number: int) -> None:
        """Call back with a trial that has ended."""
        if self._callback is not None:
            (trial,) = (trial for trial in self._book.trials if trial.number == number)
            values = dict(zip(self._plan.objectives, trial.values or (), strict=False))
            settings = suggest(trial, self._plan.ranges)
            if self._callback(number, {"state": trial.state.name.lower(), "values": values, "settings": settings}):
                self.stop.set()

    def _values(self, report: Report) -> tuple[list[float], dict[str, Any]]:
        """Return the values of a trial's objectives, and what is noted with it."""
        assert report.result is not None
        returns = report.result["return"]
        known = {"return": returns[self._plan.average], "time": report.seconds, "entropy": report.entropy}
        notes = {"mean": returns["mean"], "iqm": returns["iqm"], "seconds": round(report.seconds, 3)}
        notes |= {"steps": report.step, "falls": report.result["falls"], "entropy": report.entropy}
        values = [known[name] for name in self._plan.objectives]
        return [float("nan") if value is None else value for value in values], notes

    def confirm(self) -> None:
        """Write the best settings as a recipe; train it and the recipe of the start with new seeds."""
        best = self._book.best()
        if not best or self.stop.is_set():
            return
        try:
            atomic_write(self._folder.path / "best.toml", dump_recipe(self._best_recipe()).encode())
        except OSError as error:
            raise SurefootError(f"cannot write '{self._folder.path}': {error.strerror}") from error
        jobs = collections.deque(job for job in self._confirmation_jobs() if self._confirmed(job.run) is None)
        if not jobs:
            return
        self._progress.say(f"{len(jobs)} trainings with new seeds: the best settings, and the recipe of the start")

        def ended(job: _Job, report: Report) -> None:
            if report.kind != "finished":
                self._progress.warn(f"{job.run}: {report.error}")
            else:
                self._progress.say(f"{job.run}: return {report.value:.1f} in {report.seconds:.0f} s")

        self._work(lambda: jobs.popleft() if jobs else None, lambda job, report: True, ended)

    def _best_recipe(self) -> Recipe:
        best = self._book.best()[0]
        description = (
            f"Best of {self._book.count('COMPLETE')} complete trials of the sweep '{self._plan.name}' on "
            f"{self._base.task}: trial {best.number}, with a return of {best.values[0]:.1f} by one seed."
        )
        changes = {**suggest(best, self._plan.ranges), "name": f"{self._plan.name}-best"[:100]}
        return validate(Recipe, replaced(self._base, {**changes, "description": description}), "settings")

    def _confirmation_jobs(self) -> list[_Job]:
        best, task = self._book.best()[0], task_folder(self._base.task)
        candidates = {f"trial-{best.number:04d}": self._best_recipe(), "start": self._base}
        if _same(*candidates.values()):
            del candidates["start"]
        return [
            _Job(f"{task}/{name}-seed{seed}", validate(Recipe, replaced(recipe, {"seed": seed}), "settings"))
            for seed in range(FIRST_NEW_SEED, FIRST_NEW_SEED + self._options.new_seeds)
            for name, recipe in candidates.items()
        ]

    def _confirmed(self, run: str) -> float | None:
        """Return the held-out return of a run of `confirm`, None if it is not finished."""
        try:
            data = json.loads(RunFolder(self._folder.runs / run).evaluation.read_bytes())
            return float(data["return"][self._plan.average])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _work(
        self,
        pull: Callable[[], _Job | None],
        goes_on: Callable[[_Job, Report], bool],
        ended: Callable[[_Job, Report], None],
    ) -> None:
        """Let the workers train the jobs of `pull` until it returns None and all have ended, or until the stop."""
        running: dict[int, _Job] = {}
        again: collections.deque[_Job] = collections.deque()
        asked = False
        while True:
            free = [] if self.stop.is_set() else [index for index in self.workers.idle if index not in running]
            for index in free:
                if (job := again.popleft() if again else pull()) is None:
                    break
                running[index] = job
                self.workers.call(index, "begin", self._order(job))
            if not running and (self.stop.is_set() or not again):
                return
            for result in self.workers.results(_POLL_S):
                job = running.pop(result.index, None)
                if job is None:
                    continue
                report = self._lost(job) if result.died else result.value
                if report is None:
                    again.append(job)
                    continue
                if report.files:
                    write_files(self._folder.runs / job.run, report.files)
                if report.kind == "evaluated":
                    running[result.index] = job
                    self.workers.call(result.index, "advance", goes_on(job, report))
                elif report.kind != "interrupted":
                    ended(job, report)
            if self.stop.is_set() and not asked:
                asked = True
                if not self.workers.interrupt():
                    return

    def _lost(self, job: _Job) -> Report | None:
        """Count the death of a worker; return the end of the job after several, None if it is tried again."""
        job.deaths += 1
        return None if job.deaths <= _DEATHS_TOLERATED else Report("failed", error=f"{job.deaths} workers died in it")

    def _order(self, job: _Job) -> Order:
        trial = job.number is not None
        folder = RunFolder(self._folder.runs / job.run)
        order = functools.partial(
            Order,
            job.run,
            dump_recipe(job.recipe),
            self._plan.episodes if trial else max(100, self._plan.episodes),
            _TRIAL_EPISODES if trial else 0,
        )
        if self._options.address is None:
            return order(root=str(self._folder.runs))
        return order(files=read_files(folder) if folder.recipe.exists() else {})

    def results(self) -> dict[str, Any]:
        """Write and return the results so far."""
        plan, book = self._plan, self._book
        best = book.best()
        states = {name: book.count(name.upper()) for name in ("complete", "pruned", "fail", "running")}
        data: dict[str, Any] = {
            "kind": "sweep",
            "name": plan.name,
            "task": self._base.task,
            "algorithm": self._base.algorithm,
            "objectives": {name: DIRECTIONS[name] for name in plan.objectives},
            "average": plan.average,
            "trials": states,
            "interrupted": self.stop.is_set(),
            "best": [self._described(trial) for trial in best[: 1 if not plan.pareto else None]],
        }
        if best:
            data["new_seeds"] = self._confirmation()
        write_json(self._folder.results, data)
        return data

    def _confirmation(self) -> dict[str, Any]:
        """Return the held-out returns of the best settings and of the recipe of the start, over new seeds."""
        returns: dict[str, list[float]] = {}
        for job in self._confirmation_jobs():
            if (value := self._confirmed(job.run)) is not None:
                name = job.run.partition("/")[2].rpartition("-")[0]
                returns.setdefault("start" if name == "start" else "best", []).append(value)
        confirmed: dict[str, Any] = {name: summarise(values) | {"values": values} for name, values in returns.items()}
        if len(returns) == 2:
            ours, theirs = (np.array(returns[name]) for name in ("best", "start"))
            confirmed["probability_of_improvement"] = dataclasses.asdict(probability_of_improvement([ours], [theirs]))
        return confirmed

    def _described(self, trial: Any) -> dict[str, Any]:
        settings = suggest(trial, self._plan.ranges)
        values = dict(zip(self._plan.objectives, trial.values, strict=True))
        return {"trial": trial.number, "values": values, "settings": settings}


def _same(*recipes: Recipe) -> bool:
    """Whether recipes train alike."""
    data = [recipe.model_dump(mode="json", exclude={"name", "description"}) for recipe in recipes]
    return all(other == data[0] for other in data)
