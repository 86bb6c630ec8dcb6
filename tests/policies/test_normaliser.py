"""Running statistics against NumPy's, in double precision, over everything that was merged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.policies.normaliser import Normaliser, init_normaliser, merge, normalise


def merged(batches, weights=None) -> Normaliser:
    weights = weights or [None] * len(batches)
    pairs = zip(batches, weights, strict=True)
    return functools.reduce(lambda statistics, pair: merge(statistics, *pair), pairs, init_normaliser(3))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.sampled_from([1, 2, 5, 40]), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, -3.0, 1e3]),
    scale=st.sampled_from([1e-1, 1.0, 1e2]),
)
def test_merging_equals_numpy_on_the_concatenation(seed, sizes, offset, scale) -> None:
    random = np.random.default_rng(seed)
    batches = [np.float32(offset + scale * random.normal(size=(size, 3))) for size in sizes]
    everything = np.concatenate(batches).astype(np.float64)
    result = merged(batches)
    assert result.count == len(everything)
    np.testing.assert_allclose(result.mean, everything.mean(0), rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(result.variance, everything.var(0), rtol=1e-3, atol=1e-4 * scale**2)


def test_statistics_are_accurate_when_the_mean_is_far_from_zero() -> None:
    random = np.random.default_rng(0)
    batches = [np.float32(1e4 + 0.1 * random.normal(size=(16, 64, 3))) for _ in range(20)]
    everything = np.concatenate(batches).reshape(-1, 3).astype(np.float64)
    result = merged(batches)
    # Numbers near 1e4 lie 0.001 apart in single precision.
    np.testing.assert_allclose(result.mean, everything.mean(0), rtol=0, atol=2e-3)
    np.testing.assert_allclose(result.variance, everything.var(0), rtol=2e-2)


def test_many_batches_do_not_drift() -> None:
    random = np.random.default_rng(1)
    batches = np.float32(5 + 2 * random.normal(size=(2000, 32, 3)))
    step = jax.jit(merge)
    result = init_normaliser(3)
    for batch in batches:
        result = step(result, batch)
    everything = batches.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(result.mean, everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(result.variance, everything.var(0), rtol=1e-4)


def test_rows_of_weight_0_are_ignored() -> None:
    random = np.random.default_rng(2)
    batch = random.normal(size=(4, 10, 3)).astype(np.float32)
    weight = (random.random((4, 10)) < 0.5).astype(np.float32)
    weight[0, 0] = 0
    foreign = np.where(weight[..., None] > 0, batch, 50.0).astype(np.float32)
    result = merged([batch[0], foreign], [None, weight])
    everything = np.concatenate([batch[0], batch[weight > 0]]).astype(np.float64)
    assert result.count == len(everything)
    np.testing.assert_allclose(result.mean, everything.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.variance, everything.var(0), rtol=1e-3)


def test_integer_weights_count_a_row_several_times() -> None:
    batch = np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32)
    weight = np.array([0, 1, 2, 3, 0, 1], np.float32)
    result, expected = merged([batch], [weight]), merged([np.repeat(batch, weight.astype(int), axis=0)])
    for name in Normaliser._fields:
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), rtol=1e-5, err_msg=name)


def test_a_batch_of_weight_0_changes_nothing() -> None:
    before = merged([np.random.default_rng(4).normal(size=(9, 3)).astype(np.float32)])
    after = merge(before, jnp.full((5, 3), 7.0), jnp.zeros(5))
    for name in Normaliser._fields:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
    untouched = merge(init_normaliser(3), jnp.full((5, 3), 7.0), jnp.zeros(5))
    np.testing.assert_array_equal(untouched.variance, 1)


def test_normalised_observations_have_mean_0_and_std_1() -> None:
    batch = np.float32(30 + 5 * np.random.default_rng(5).normal(size=(500, 3)))
    result = np.asarray(normalise(merged([batch]), jnp.asarray(batch), clip=10.0))
    np.testing.assert_allclose(result.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(result.std(0), 1, rtol=1e-4)


def test_normalised_observations_are_clipped() -> None:
    statistics = Normaliser(jnp.array([1.0]), jnp.array([4.0]), jnp.array(10.0))
    result = normalise(statistics, jnp.array([[3.0], [1e6], [-1e6]]), clip=5.0)
    np.testing.assert_allclose(result, [[1.0], [5.0], [-5.0]], rtol=1e-6)


def test_a_constant_observation_stays_finite() -> None:
    statistics = merged([np.full((20, 3), 2.5, np.float32)])
    np.testing.assert_array_equal(statistics.variance, 0)
    np.testing.assert_array_equal(normalise(statistics, jnp.full((1, 3), 2.5), clip=10.0), 0)
    assert np.isfinite(normalise(statistics, jnp.full((1, 3), 2.6), clip=10.0)).all()
