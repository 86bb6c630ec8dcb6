"""Measures of a comparison: scores with intervals, improvement, profiles, time to a threshold, as plain data."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surefoot.errors import InputError
from surefoot.evaluation.statistics import summarise
from surefoot.studies import statistics
from surefoot.studies.experiments import Experiment, SeedRun

_GRID_POINTS = 120
_LEVELS = 101


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Experiments with their scores.

    Attributes:
        experiments: the experiments, in the order of the command line.
        held_out: whether scores are means over held-out episodes; otherwise they are the last evaluations in training,
            since a run was not evaluated afterwards.
        thresholds: return to reach, by task.
    """

    experiments: Sequence[Experiment]
    held_out: bool
    thresholds: Mapping[str, float]

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order of their first experiment."""
        return list(dict.fromkeys(experiment.task for experiment in self.experiments))

    def of_task(self, task: str) -> list[Experiment]:
        """Return the experiments of a task."""
        return [experiment for experiment in self.experiments if experiment.task == task]

    def score(self, run: SeedRun) -> float:
        """Return the score of a run."""
        return float(run.score if self.held_out and run.score is not None else run.returns[-1])

    def scores(self, experiment: Experiment) -> np.ndarray:
        """Return the scores of an experiment's runs, (S,)."""
        return np.array([self.score(run) for run in experiment.runs])

    def methods(self) -> dict[str, list[np.ndarray]]:
        """Return the scores of each label on every task, by label; those that lack a task are left out.

        With several tasks scores are normalised: 0 is the lowest score of a run on that task, 1 the threshold, or
        the highest score of a run without one.
        """
        normalised: dict[str, dict[str, np.ndarray]] = {}
        for task in self.tasks:
            experiments = self.of_task(task)
            every = np.concatenate([self.scores(experiment) for experiment in experiments])
            low, high = every.min(), self.thresholds.get(task, every.max())
            high = high if high > low else every.max()
            for experiment in experiments:
                scores = self.scores(experiment)
                if len(self.tasks) > 1:
                    scores = (scores - low) / (high - low if high > low else 1.0)
                normalised.setdefault(experiment.label, {})[task] = scores
        complete = {label: scores for label, scores in normalised.items() if len(scores) == len(self.tasks)}
        return {label: [scores[task] for task in self.tasks] for label, scores in complete.items()}


def compare(experiments: Sequence[Experiment], threshold: float | None = None) -> Comparison:
    """Return the comparison of experiments.

    Args:
        experiments: the experiments.
        threshold: return to reach, instead of the one at which a task counts as solved; for one task only.

    Raises:
        InputError: a threshold for several tasks, or a run has no score of the kind that the others have.
    """
    tasks = {experiment.task for experiment in experiments}
    if threshold is not None and len(tasks) > 1:
        raise InputError(f"--threshold {threshold:g} is for one task, but these runs are of {len(tasks)}")
    runs = [run for experiment in experiments for run in experiment.runs]
    held_out = all(run.score is not None for run in runs)
    for run in runs:
        if not held_out and not len(run.returns):
            raise InputError(f"run '{run.name}' was not evaluated during training, and others not afterwards")
    known = {experiment.task: experiment.threshold for experiment in experiments}
    chosen = {task: value if threshold is None else threshold for task, value in known.items()}
    return Comparison(
        experiments, held_out, {task: float(value) for task, value in chosen.items() if value is not None}
    )


def curve(experiment: Experiment, clock: str) -> dict[str, np.ndarray] | None:
    """Return the learning curve over seeds, up to the end of the shortest one.

    Args:
        experiment: its evaluations during training are interpolated linearly.
        clock: "steps" or "seconds".

    Returns:
        `x`, `iqm`, `low` and `high`, each (K,); None if a seed has no evaluation.
    """
    lines = [(getattr(run, clock), run.returns) for run in experiment.runs]
    if any(not len(x) for x, _ in lines):
        return None
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if first > last:
        return None
    grid = np.linspace(first, last, _GRID_POINTS) if last > first else np.array([first])
    values = np.array([np.interp(grid, x, y) for x, y in lines])
    iqm, low, high = statistics.curve_band(values)
    return {"x": grid, "iqm": iqm, "low": low, "high": high}


def profiles(comparison: Comparison) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Return levels of the score (K,), and by method the fraction of runs above each, with its interval."""
    methods = comparison.methods()
    if not methods:
        return np.zeros(0), {}
    every = np.concatenate([task for scores in methods.values() for task in scores])
    margin = 0.02 * (every.max() - every.min() or 1.0)
    levels = np.linspace(every.min() - margin, every.max() + margin, _LEVELS)
    return levels, {label: statistics.performance_profile(scores, levels) for label, scores in methods.items()}


def measure(comparison: Comparison) -> dict[str, Any]:
    """Return all figures of a comparison, as plain data."""
    return {
        "scores": "held-out episodes" if comparison.held_out else "last evaluation in training",
        "thresholds": dict(comparison.thresholds),
        "experiments": [_measure_experiment(comparison, experiment) for experiment in comparison.experiments],
        "improvement": _improvement(comparison),
        "over_tasks": _over_tasks(comparison),
        "profiles": _profiles(comparison),
        "settings": differing_settings(comparison.experiments),
    }


def _measure_experiment(comparison: Comparison, experiment: Experiment) -> dict[str, Any]:
    scores, runs = comparison.scores(experiment), experiment.runs
    threshold = comparison.thresholds.get(experiment.task)
    times = None
    if threshold is not None and all(len(run.returns) for run in runs):
        returns = [run.returns for run in runs]
        times = {
            clock: dataclasses.asdict(
                statistics.time_to_threshold([getattr(run, clock) for run in runs], returns, threshold)
            )
            for clock in ("steps", "seconds")
        }
    curves = {clock: curve(experiment, clock) for clock in ("steps", "seconds")}
    return {
        "label": experiment.label,
        "task": experiment.task,
        "algorithm": experiment.algorithm,
        "n": len(runs),
        "iqm": dataclasses.asdict(statistics.interquartile_mean([scores])),
        "mean": float(scores.mean()),
        "worst": float(scores.min()),
        "best": float(scores.max()),
        "in_training": _in_training(runs),
        "seconds": float(np.median([run.total_seconds for run in runs])),
        "steps": float(np.median([run.total_steps for run in runs])),
        "time_to_threshold": times,
        "runs": [
            {
                "name": run.name,
                "seed": run.seed,
                "score": comparison.score(run),
                "episodes": run.episodes if comparison.held_out else None,
                "falls": run.falls if comparison.held_out else None,
                "steps": run.total_steps,
                "seconds": run.total_seconds,
            }
            for run in runs
        ],
        "curves": {
            clock: values and {name: array.round(6).tolist() for name, array in values.items()}
            for clock, values in curves.items()
        },
    }


def _in_training(runs: Sequence[SeedRun]) -> dict[str, Any] | None:
    """Return the mean over seeds of the mean of all evaluations in training, a measure of the speed of learning."""
    means = [float(run.returns.mean()) for run in runs if len(run.returns)]
    if len(means) < len(runs):
        return None
    return {name: summarise(means)[name] for name in ("mean", "ci_low", "ci_high")}


def _improvement(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the probability of improvement of each method over each other one, the likelier direction of a pair."""
    pairs = []
    for (label, ours), (other, theirs) in itertools.combinations(comparison.methods().items(), 2):
        estimate = statistics.probability_of_improvement(ours, theirs)
        names = label, other
        if estimate.value < 0.5:
            names, estimate = names[::-1], statistics.probability_of_improvement(theirs, ours)
        pairs.append({"of": names[0], "over": names[1]} | dataclasses.asdict(estimate))
    return pairs


def _over_tasks(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the interquartile mean of each method over all tasks, normalised; [] for one task."""
    if len(comparison.tasks) < 2:
        return []
    methods = comparison.methods().items()
    return [{"label": label} | dataclasses.asdict(statistics.interquartile_mean(scores)) for label, scores in methods]


def _profiles(comparison: Comparison) -> dict[str, Any]:
    levels, found = profiles(comparison)
    names = "fraction", "low", "high"
    return {
        "levels": levels.tolist(),
        "methods": {
            label: {name: array.tolist() for name, array in zip(names, arrays, strict=True)}
            for label, arrays in found.items()
        },
    }


def differing_settings(experiments: Sequence[Experiment]) -> dict[str, list[Any]]:
    """Return the settings that differ, with their value in each experiment; None where there is none."""
    known = [experiment.settings for experiment in experiments]
    if len(known) < 2 or not all(known):
        return {}
    names = dict.fromkeys(name for settings in known for name in settings)
    values = {name: [settings.get(name) for settings in known] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}
