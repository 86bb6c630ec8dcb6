"""Say in a few numbers how good a policy, or an algorithm over several seeds, is and how sure that is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from surefoot.errors import InputError

RESAMPLES = 10_000
CONFIDENCE = 0.95
_SEED = 2108_13264
_CHUNK_VALUES = 2_000_000  # drawn at once, so that many episodes do not need gigabytes


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half of `values` (E,).

    A quarter of the values, rounded down, is left out at each end, as `scipy.stats.trim_mean(values, 0.25)`
    does and with it the reference implementation of Agarwal et al. 2021 (arXiv 2108.13264); up to three
    values keep all.
    """
    ordered = np.sort(_checked(values))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the ends of the 95 % percentile bootstrap interval of the mean of `values` (E,).

    The random numbers are fixed: equal values give an equal interval, and two policies evaluated on the same
    seeds are resampled alike. From fewer than about ten values such an interval is too narrow.
    """
    values = _checked(values)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    rng = np.random.default_rng(_SEED)
    rows = max(1, _CHUNK_VALUES // len(values))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        drawn = rng.integers(len(values), size=(count, len(values)))
        means[start : start + count] = values[drawn].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def summarise(values: ArrayLike) -> dict[str, Any]:
    """Describe one number per episode, (E,): mean, spread, interquartile mean and how sure the mean is.

    Returns:
        `mean`; `sd`, the sample standard deviation (0 for one value); `iqm`, see `interquartile_mean`;
        `ci_low` and `ci_high`, see `bootstrap_interval`; `min`; `max`; `n`, the number of values E.

    Raises:
        InputError: no values, or one that is infinite or not a number.
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


def summarise_seeds(returns: Sequence[ArrayLike]) -> dict[str, Any]:
    """Describe an algorithm by the episodes of several independently trained seeds.

    Episodes of one trained policy say nothing of the next training run, so the seed is the unit: every number
    is that of `summarise` over the S seeds' mean returns, and the interval comes from resampling whole seeds
    (Agarwal et al. 2021, with one task as the only stratum).

    Args:
        returns: one array (E,) per seed; the lengths may differ.

    Returns:
        What `summarise` returns, of the seeds' means, with n = S; also `episodes`, how many there are in all,
        and `episode_sd`, the standard deviation of an episode around its own seed's mean (pooled; 0 where
        every seed has one episode).

    Raises:
        InputError: no seeds, or a seed without values or with one that is not finite.
    """
    seeds = [_checked(values) for values in returns]
    if not seeds:
        raise InputError("there are no seeds to summarise; give the returns of at least one run")
    episodes = sum(len(values) for values in seeds)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in seeds)
    freedom = episodes - len(seeds)
    return {
        **summarise([values.mean() for values in seeds]),
        "episodes": episodes,
        "episode_sd": float(np.sqrt(squares / freedom)) if freedom else 0.0,
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
