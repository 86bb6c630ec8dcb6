"""The trials of a sweep in Optuna: which settings to try next, which trials to prune, which are best.

Optuna's journal is the only record. Everything that is written there can be repeated after a kill: the sampler of each
trial has its own seed, a trial that is still running keeps its parameters, and a value that is reported twice counts
once. So with one worker, a sweep that was killed and continued asks for the same trials as one that was not.
"""

import contextlib
import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.errors import InputError, RunError
from surefoot.studies.search_space import Space, suggest

if TYPE_CHECKING:
    import optuna

INSTALL = 'pip install "surefoot[sweep]"'
STUDY = "sweep"
"""Name of the study in Optuna's journal."""

DIRECTIONS = {"return": "maximize", "time": "minimize", "entropy": "maximize"}
"""Objectives and their direction in Optuna."""

RANDOM_TRIALS = 10
"""Trials with random settings before the sampler learns from them."""

_PRUNING_TRIALS = 5  # complete ones, before others are pruned
_PRUNING_FROM = 3  # evaluation of a trial at which it may be pruned


def require_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        InputError: it is not.
    """
    if not importlib.util.find_spec("optuna"):
        raise InputError(f"a sweep needs Optuna; {INSTALL}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log and its warnings of experimental features and of repeated reports."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_study(journal: Path, objectives: Sequence[str] = ()) -> "optuna.Study":
    """Open the study in a journal; with `objectives`, make it if there is none.

    Raises:
        InputError: Optuna is not installed.
        RunError: there is no study, or the journal is damaged.
    """
    require_optuna()
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    if not objectives and not journal.exists():
        raise RunError(f"there is no sweep in '{journal.parent}': it has no {journal.name}")
    try:
        with _quiet():
            storage = JournalStorage(JournalFileBackend(str(journal)))
            if not objectives:
                return optuna.load_study(study_name=STUDY, storage=storage)
            directions = [DIRECTIONS[name] for name in objectives]
            return optuna.create_study(study_name=STUDY, storage=storage, directions=directions, load_if_exists=True)
    except (ValueError, KeyError, OSError) as error:
        raise RunError(f"'{journal}' is damaged: {error}") from error


def repair(journal: Path) -> None:
    """Remove what a killed process left in a journal: an incomplete last line and Optuna's lock.

    Only for the process that holds the study's own lock.
    """
    if not journal.exists():
        return
    content = journal.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)
    for path in journal.parent.glob(f"{journal.name}.lock*"):
        path.unlink(missing_ok=True)


class TrialBook:
    """The trials of one sweep; used by one process.

    Args:
        journal: Optuna's journal.
        space: the search space.
        objectives: names of `DIRECTIONS`; the first is "return".
        seed: of the sampler.
        pruning: whether trials with poor learning curves are pruned; not with several objectives.
    """

    def __init__(self, journal: Path, space: Space, objectives: Sequence[str], seed: int, pruning: bool) -> None:
        repair(journal)
        self._study = open_study(journal, objectives)
        import optuna

        self._space, self._objectives, self._seed = space, objectives, seed
        self._pruning = pruning and len(objectives) == 1
        self._study.pruner = optuna.pruners.MedianPruner(_PRUNING_TRIALS, _PRUNING_FROM)
        self._trials: dict[int, optuna.Trial] = {}

    @property
    def trials(self) -> "list[optuna.trial.FrozenTrial]":
        """All trials that have begun."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]

    def count(self, state: str) -> int:
        """Return the number of trials in a state of Optuna, such as COMPLETE."""
        return sum(trial.state.name == state for trial in self.trials)

    def first(self, parameters: Mapping[str, Any]) -> None:
        """Try these parameters first, unless there are trials already; missing ones are sampled."""
        if not self._study.get_trials(deepcopy=False):
            with _quiet():
                self._study.enqueue_trial(dict(parameters))

    def unfinished(self) -> list[int]:
        """Return the numbers of the trials that were interrupted."""
        return [trial.number for trial in self.trials if trial.state.name == "RUNNING"]

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Begin a new trial; return its number and its settings."""
        self._study.sampler = self._sampler(len(self.trials))
        with _quiet():
            return self._settings(self._study.ask())

    def again(self, number: int) -> tuple[int, dict[str, Any]]:
        """Continue an interrupted trial; return its number and its settings."""
        import optuna

        self._study.sampler = self._sampler(number)
        with _quiet():
            (trial,) = (trial for trial in self.trials if trial.number == number)
            return self._settings(optuna.Trial(self._study, trial._trial_id))

    def _settings(self, trial: "optuna.Trial") -> tuple[int, dict[str, Any]]:
        self._trials[trial.number] = trial
        return trial.number, suggest(trial, self._space)

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        import optuna

        with _quiet():
            seed = (self._seed * 100_003 + number) % 2**32
            return optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed, constant_liar=True)

    def report(self, number: int, evaluation: int, value: float) -> bool:
        """Record an evaluation during a trial; return whether the trial is pruned, which ends it.

        Args:
            number: the trial.
            evaluation: number of the evaluation, equal for all trials at the same fraction of the training.
            value: mean return.
        """
        if len(self._objectives) > 1:
            return False
        trial = self._trials[number]
        with _quiet():
            trial.report(value, evaluation)
            pruned = self._pruning and trial.should_prune()
        if pruned:
            self._tell(number, "PRUNED")
        return pruned

    def complete(self, number: int, values: Sequence[float], notes: Mapping[str, Any]) -> None:
        """End a trial with the values of its objectives."""
        self._note(number, notes)
        self._tell(number, "COMPLETE", values)

    def refuse(self, number: int, error: str) -> None:
        """End a trial as the worst: its settings do not fit each other, or its numbers became infinite."""
        self._note(number, {"error": error})
        self._tell(number, "PRUNED" if len(self._objectives) == 1 else "FAIL")

    def fail(self, number: int, error: str) -> None:
        """End a trial that failed for another reason; the sampler learns nothing from it."""
        self._note(number, {"error": error})
        self._tell(number, "FAIL")

    def _note(self, number: int, notes: Mapping[str, Any]) -> None:
        for name, value in notes.items():
            self._trials[number].set_user_attr(name, value)

    def _tell(self, number: int, state: str, values: Sequence[float] | None = None) -> None:
        import optuna

        with _quiet():
            self._study.tell(self._trials.pop(number), values, optuna.trial.TrialState[state])

    def best(self) -> "list[optuna.trial.FrozenTrial]":
        """Return the best trial; with several objectives the Pareto front, the highest return first."""
        if not self.count("COMPLETE"):
            return []
        with _quiet():
            return sorted(self._study.best_trials, key=lambda trial: -trial.values[0])
