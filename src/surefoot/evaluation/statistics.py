"""Summary statistics of returns, of one policy or of several training seeds, with confidence intervals."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from surefoot.errors import InputError

_RESAMPLES = 10_000
_SEED = 2108_13264
_CHUNK_VALUES = 2_000_000  # values resampled together; limits the memory for many episodes


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half of `values` (E,).

    A quarter of the values, rounded down, is cut at each end, as in `scipy.stats.trim_mean(values, 0.25)` and the
    reference implementation of Agarwal et al. 2021 (arXiv 2108.13264).
    """
    ordered = np.sort(_checked(values))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval, low and high, of the mean of `values` (E,).

    The random seed is fixed: equal values give equal intervals, and policies evaluated on the same seeds are
    resampled alike. The interval is too narrow for fewer than about ten values.
    """
    values = _checked(values)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    rng = np.random.default_rng(_SEED)
    chunk = max(1, _CHUNK_VALUES // len(values))
    means = np.empty(_RESAMPLES)
    for start in range(0, _RESAMPLES, chunk):
        count = min(chunk, _RESAMPLES - start)
        indices = rng.integers(len(values), size=(count, len(values)))
        means[start : start + count] = values[indices].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def summarise(values: ArrayLike) -> dict[str, Any]:
    """Summarise one value per episode, (E,).

    Returns:
        `mean`; `sd`, the sample standard deviation (0 for one value); `iqm`, from `interquartile_mean`;
        `ci_low` and `ci_high`, from `bootstrap_interval`; `min`; `max`; `n`, the number of values E.

    Raises:
        InputError: there are no values, or one is not finite.
    """
    values = _checked(values)
    low, high = bootstrap_interval(values)
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "iqm": interquartile_mean(values),
        "ci_low": low,
        "ci_high": high,
        "min": float(values.min()),
        "max": float(values.max()),
        "n": len(values),
    }


def summarise_seeds(returns: Iterable[ArrayLike]) -> dict[str, Any]:
    """Summarise an algorithm over S independent training seeds.

    Episodes of one policy do not show the variation between trainings. Therefore the statistics are those of
    `summarise` over the mean return of each seed, and the interval resamples whole seeds (Agarwal et al. 2021, with one
    task as the only stratum).

    Args:
        returns: one array (E,) per seed; the lengths may differ.

    Returns:
        `summarise` of the seeds' means, with n = S; also `episodes`, the number of episodes of all seeds, and
        `episode_sd`, the pooled standard deviation of returns around their seed's mean (0 if every seed has one
        episode).

    Raises:
        InputError: there are no seeds, or a seed has no values or one that is not finite.
    """
    seeds = [summarise(values) for values in returns]
    total = summarise([seed["mean"] for seed in seeds])
    squares = sum(seed["sd"] ** 2 * (seed["n"] - 1) for seed in seeds)
    episodes = sum(seed["n"] for seed in seeds)
    degrees_of_freedom = episodes - len(seeds)
    return total | {
        "episodes": episodes,
        "episode_sd": (squares / degrees_of_freedom) ** 0.5 if degrees_of_freedom else 0.0,
    }


def _checked(values: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError("the values to summarise must be numbers, one per episode") from None
    if array.ndim != 1:
        raise InputError(f"the values to summarise must be a list of numbers, not of shape {array.shape}")
    if not len(array):
        raise InputError("there are no values to summarise; run at least one episode")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"value {bad} to summarise is {array[bad]}; every return must be a finite number")
    return array
