"""Statistics over training seeds: interquartile means, probability of improvement, profiles, time to a threshold.

After Agarwal et al. 2021 (arXiv 2108.13264). A training seed is the unit: its score is the mean return of its policy.
Intervals are 95 % percentile intervals of SciPy's bootstrap. It resamples whole seeds, within each task (stratified).
The random seed is fixed, so equal scores give equal intervals. With fewer than about five seeds they are too narrow.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

Scores = Sequence[np.ndarray]
"""Scores of one method: one array per task, (S,), with one score per seed."""

FEW_SEEDS = 5
_RESAMPLES = 10_000
_CURVE_RESAMPLES = 2_000
_BATCH = 500  # resamples computed together; limits the memory for pairs of seeds and for curves
_SEED = 2108_13264


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; the interval is None if a task has only one seed."""

    value: float
    low: float | None = None
    high: float | None = None


def interquartile_mean(scores: Scores) -> Estimate:
    """Return the mean of the middle half of the scores of all tasks.

    A quarter, rounded down, is cut at each end: nothing of three seeds, one seed at each end of five.
    """
    return _estimate(scores, lambda *samples, axis: stats.trim_mean(np.concatenate(samples, axis), 0.25, axis))


def probability_of_improvement(ours: Scores, theirs: Scores) -> Estimate:
    """Return the probability that a seed of one method scores more than a seed of another, mean over tasks.

    Ties count half, as in the Mann-Whitney statistic. `ours` and `theirs` hold the same tasks in the same order.
    """
    tasks = len(ours)

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        pairs = zip(samples[:tasks], samples[tasks:], strict=True)
        return np.mean([_wins(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)) for x, y in pairs], axis=0)

    return _estimate([*ours, *theirs], statistic)


def performance_profile(scores: Scores, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fraction of seeds that score more than each of `levels` (K,), and its interval: three arrays (K,)."""
    above = [(task[:, None] > levels).astype(float) for task in scores]
    return _band(above, lambda *samples, axis: np.concatenate(samples, axis).mean(axis))


def curve_band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the interquartile mean over seeds of curves (S, K) at each point, and its interval: three arrays (K,)."""
    return _band([values], lambda values, axis: stats.trim_mean(values, 0.25, axis))


@dataclasses.dataclass(frozen=True)
class TimeToThreshold:
    """First evaluation at or above a threshold, over seeds; a seed that never reaches it counts as infinitely late.

    Attributes:
        reached: number of seeds that reach it.
        seeds: number of seeds.
        median: median over seeds; None if half of the seeds or more do not reach it.
        first: the first seed's time; None if there is none.
        last: the last seed's time; None if a seed does not reach it.
    """

    reached: int
    seeds: int
    median: float | None
    first: float | None
    last: float | None


def time_to_threshold(times: Sequence[np.ndarray], returns: Sequence[np.ndarray], threshold: float) -> TimeToThreshold:
    """Return when seeds first reach a threshold; `times` and `returns` hold one array (E,) of evaluations per seed."""
    first = []
    for time, value in zip(times, returns, strict=True):
        above = np.flatnonzero(value >= threshold)
        first.append(float(time[above[0]]) if above.size else np.inf)
    median = float(np.median(first))
    times_reached = [time for time in first if np.isfinite(time)]
    everyone = len(times_reached) == len(first)
    return TimeToThreshold(
        len(times_reached),
        len(first),
        median if np.isfinite(median) else None,
        min(times_reached, default=None),
        max(times_reached) if everyone and times_reached else None,
    )


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the fraction of pairs (..., S, T) in which ours is greater, ties as half."""
    difference = ours[..., :, None] - theirs[..., None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-2, -1))


def _estimate(samples: Scores, statistic: Callable[..., np.ndarray]) -> Estimate:
    value = float(statistic(*samples, axis=0))
    if min(map(len, samples)) < 2:
        return Estimate(value)
    low, high = _interval(samples, statistic, _RESAMPLES)
    return Estimate(value, float(low), float(high))


def _band(samples: Scores, statistic: Callable[..., np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a statistic over the first axis of the samples (S, K), and its interval; the value itself for one seed."""
    value = np.asarray(statistic(*samples, axis=0))
    if min(map(len, samples)) < 2:
        return value, value, value
    return value, *_interval(samples, statistic, _CURVE_RESAMPLES)


def _interval(samples: Scores, statistic: Callable[..., np.ndarray], resamples: int) -> tuple[np.ndarray, np.ndarray]:
    result = stats.bootstrap(
        tuple(samples),
        statistic,
        n_resamples=resamples,
        batch=_BATCH,
        vectorized=True,
        axis=0,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    return result.confidence_interval.low, result.confidence_interval.high
