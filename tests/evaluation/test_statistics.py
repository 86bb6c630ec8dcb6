"""Summary statistics against values computed by hand, SciPy, and the nominal coverage of the interval."""

import json

import numpy as np
import pytest
import scipy.stats

from helpers.messages import one_line
from surefoot.errors import InputError
from surefoot.evaluation.statistics import bootstrap_interval, interquartile_mean, summarise, summarise_seeds


def test_summary_of_values_computed_by_hand():
    summary = summarise([8.0, 2.0, 4.0, 6.0, 100.0, 0.0, 5.0, 3.0])
    assert summary["mean"] == 16.0
    # squared deviations 64 + 196 + 144 + 100 + 7056 + 256 + 121 + 169 = 8106, over 7
    assert summary["sd"] == pytest.approx((8106 / 7) ** 0.5)
    assert summary["iqm"] == (3 + 4 + 5 + 6) / 4
    assert (summary["min"], summary["max"], summary["n"]) == (0.0, 100.0, 8)
    assert summary["ci_low"] < 16.0 < summary["ci_high"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 11, 100])
def test_interquartile_mean_is_the_trimmed_mean(count):
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25), rel=1e-12)


def test_interval_agrees_with_an_independent_bootstrap():
    values = np.random.default_rng(5).gamma(2.0, 50.0, size=40)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert bootstrap_interval(values) == pytest.approx((expected.low, expected.high), abs=0.03 * width)


def test_interval_of_two_values_is_exact():
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)


def test_interval_covers_the_true_mean_at_about_the_nominal_rate():
    rng = np.random.default_rng(0)
    trials = rng.normal(10.0, 3.0, size=(200, 25))
    intervals = np.array([bootstrap_interval(values) for values in trials])
    covered = ((intervals[:, 0] <= 10.0) & (intervals[:, 1] >= 10.0)).mean()
    # With 25 values the percentile interval contains the mean in about 93 % of cases, ± 1.8 % for 200 trials.
    assert 0.88 <= covered <= 0.98


def test_interval_is_deterministic_and_independent_of_the_chunk_size(monkeypatch):
    values = np.random.default_rng(3).normal(size=30)
    first = bootstrap_interval(values)
    assert bootstrap_interval(values) == first
    monkeypatch.setattr("surefoot.evaluation.statistics._CHUNK_VALUES", 300)
    assert bootstrap_interval(values) == first


def test_one_value_has_no_spread():
    summary = summarise([7.5])
    assert summary == {
        "mean": 7.5, "sd": 0.0, "iqm": 7.5, "ci_low": 7.5, "ci_high": 7.5, "min": 7.5, "max": 7.5, "n": 1
    }  # fmt: skip


def test_summaries_are_json_serialisable():
    summary = summarise(np.arange(5, dtype=np.float32))
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.parametrize(
    "values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]], 3.0, ["a"], [None], [[1.0], [1.0, 2.0]]]
)
def test_bad_values_raise_one_line_errors(values):
    with pytest.raises(InputError) as error:
        summarise(values)
    one_line(error.value)


def test_a_summary_of_seeds_is_json_serialisable():
    summary = summarise_seeds([np.arange(5), np.arange(3)])
    assert json.loads(json.dumps(summary)) == summary


def test_the_seed_is_the_statistical_unit():
    summary = summarise_seeds([[0.0, 2.0], [10.0, 10.0, 10.0], [4.0, 6.0]])
    assert summary["mean"] == pytest.approx((1 + 10 + 5) / 3)
    assert summary["n"] == 3 and summary["episodes"] == 7
    assert (summary["min"], summary["max"]) == (1.0, 10.0)
    # within the seeds: squared deviations 1+1, 0, 1+1 over 7 - 3 degrees of freedom
    assert summary["episode_sd"] == pytest.approx(1.0)
    assert summary["sd"] == pytest.approx(np.std([1, 10, 5], ddof=1))


def test_many_episodes_do_not_narrow_the_interval_over_seeds():
    rng = np.random.default_rng(0)
    seeds = [centre + rng.normal(size=500) for centre in (0.0, 50.0, 100.0, 150.0)]
    by_seed, by_episode = summarise_seeds(seeds), summarise(np.concatenate(seeds))
    assert by_seed["mean"] == pytest.approx(by_episode["mean"])
    assert by_seed["ci_high"] - by_seed["ci_low"] > 5 * (by_episode["ci_high"] - by_episode["ci_low"])


def test_one_seed_of_one_episode():
    summary = summarise_seeds([[3.0]])
    assert summary["ci_low"] == summary["ci_high"] == summary["mean"] == 3.0
    assert summary["episode_sd"] == 0.0


@pytest.mark.parametrize("seeds", [[], [[]], [[1.0], [float("nan")]]])
def test_bad_seeds_raise_errors(seeds):
    with pytest.raises(InputError):
        summarise_seeds(seeds)
