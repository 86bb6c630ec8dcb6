"""Statistics over seeds in the benchmarks, against values computed by hand."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from surefoot.errors import InputError
from surefoot.evaluation.statistics import summarise

summarise_seeds = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "measuring.py"))["summarise_seeds"]


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
