"""Mapping of first-layer weights and statistics to observations by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.policies.normaliser import Normaliser, init_normaliser, merge
from surefoot.training.warm_start.compatibility import ObservationMapping

EARLIER, PRESENT = ("a", "b", "c"), ("c", "new", "a", "newer")


def test_rows_follow_their_names_and_new_rows_are_zero():
    mapping = ObservationMapping.by_name(EARLIER, PRESENT)
    weight = np.arange(10, dtype=np.float32).reshape(5, 2) + 1  # a, b, c, and two of an action
    np.testing.assert_array_equal(mapping.first_weight(weight), [[5, 6], [0, 0], [1, 2], [0, 0], [7, 8], [9, 10]])
    np.testing.assert_array_equal(mapping.first_weight(np.stack([weight, -weight]))[1], -mapping.first_weight(weight))
    assert mapping.first_weight(weight).dtype == np.float32
    assert mapping.new == ["new", "newer"] and mapping.dropped == ["b"]


def test_equal_names_change_nothing():
    weight = np.random.default_rng(0).normal(size=(3, 4))
    for mapping in (ObservationMapping.by_position(3), ObservationMapping.by_name(EARLIER, EARLIER)):
        np.testing.assert_array_equal(mapping.first_weight(weight), weight)
        assert not mapping.new and not mapping.dropped


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_an_array_that_is_not_a_first_layer_is_refused(shape):
    with pytest.raises(ValueError, match="not those of 3 values"):
        ObservationMapping.by_position(3).first_weight(np.zeros(shape))


def test_new_observations_get_their_own_statistics_from_the_first_rollout():
    random = np.random.default_rng(0)
    seen = merge(init_normaliser(3), random.normal([1, 2, 3], [1, 2, 3], (5000, 3)).astype(np.float32))
    started = ObservationMapping.by_name(EARLIER, PRESENT).statistics(seen)
    np.testing.assert_array_equal(started.mean, [seen.mean[2], 0, seen.mean[0], 0])
    np.testing.assert_array_equal(started.variance, [seen.variance[2], 1, seen.variance[0], 1])
    np.testing.assert_array_equal(started.count, [5000, 0, 5000, 0])

    rollout = random.normal([3, 700, 1, -5], [3, 90, 1, 0.01], (256, 4)).astype(np.float32)
    after = merge(started, rollout)
    alone = merge(init_normaliser(4), rollout)
    old = merge(Normaliser(started.mean, started.variance, jnp.float32(5000)), rollout)
    for found, fresh, known in zip(after[:2], alone[:2], old[:2], strict=True):
        np.testing.assert_allclose(found[jnp.array([1, 3])], fresh[jnp.array([1, 3])], rtol=1e-6)
        np.testing.assert_allclose(found[::2], known[::2], rtol=1e-6)
    np.testing.assert_array_equal(after.count, [5256, 256, 5256, 256])


def test_one_count_is_enough_without_new_observations():
    seen = Normaliser(jnp.arange(3.0), jnp.ones(3), jnp.float32(7))
    assert ObservationMapping.by_name(EARLIER, ("c", "a")).statistics(seen).count.shape == ()
    assert ObservationMapping.by_name(EARLIER, (*EARLIER, "d")).statistics(seen).count.shape == (4,)
