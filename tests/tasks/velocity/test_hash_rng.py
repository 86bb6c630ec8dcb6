"""Counter-based random numbers: same bits everywhere, uniform and independent."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from surefoot.tasks.velocity.hash_rng import hashed, uniform


def test_the_hash_agrees_with_the_paper() -> None:
    """Jarzynski and Olano's `pcg_hash` in Python integers."""

    def plain(x: int) -> int:
        state = (x * 747796405 + 2891336453) % 2**32
        word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737 % 2**32
        return (word >> 22) ^ word

    bits = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    assert hashed(np.array(bits, np.uint32)).tolist() == [plain(x) for x in bits]


def test_jax_and_numpy_give_the_same_bits() -> None:
    key, count = np.array([1, 2**32 - 1, 77], np.uint32), np.array([0, 5, 2**20], np.uint32)
    compiled = jax.jit(lambda key, count: uniform(key, 3, count, 50, jnp))
    np.testing.assert_array_equal(uniform(key, 3, count, 50, np), compiled(key, count))


def test_numbers_are_uniform_and_uncorrelated() -> None:
    keys = np.random.default_rng(0).integers(2**32, size=200, dtype=np.uint32)
    drawn = np.stack([uniform(keys, 1, np.full(200, step, np.uint32), 6, np) for step in range(100)])
    assert drawn.min() >= -1 and drawn.max() < 1
    assert stats.kstest(drawn.ravel(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    other = uniform(keys, 2, np.zeros(200, np.uint32), 6, np)
    pairs = [
        (drawn[:-1], drawn[1:]),
        (drawn[:, :-1], drawn[:, 1:]),
        (drawn[:, :, :-1], drawn[:, :, 1:]),
        (drawn[0], other),
    ]
    for first, second in pairs:  # between steps, keys, positions and streams
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(first.size)


def test_keys_do_not_affect_each_other() -> None:
    keys, counts = np.array([5, 6, 7], np.uint32), np.array([1, 2, 3], np.uint32)
    together = uniform(keys, 0, counts, 4, np)
    for i in range(3):
        np.testing.assert_array_equal(together[i], uniform(keys[i : i + 1], 0, counts[i : i + 1], 4, np)[0])
        np.testing.assert_array_equal(together[i, :2], uniform(keys[i : i + 1], 0, counts[i : i + 1], 2, np)[0])
