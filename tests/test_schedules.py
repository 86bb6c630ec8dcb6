"""Step sizes over a training, against hand-computed numbers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.schedules import adapted_to_kl, scheduled


@pytest.mark.parametrize(
    "kind, wanted",
    [
        ("linear", [1e-3, 0.775e-3, 0.55e-3, 1e-4, 1e-4]),
        ("exponential", [1e-3, 1e-3 * 0.1**0.25, 1e-3 * math.sqrt(0.1), 1e-4, 1e-4]),
        ("cosine", [1e-3, 1e-3 - 0.9e-3 * (1 - math.sqrt(0.5)) / 2, 0.55e-3, 1e-4, 1e-4]),
    ],
)
def test_a_scheduled_rate_goes_from_start_to_end_and_stays(kind: str, wanted: list[float]) -> None:
    found = [scheduled(kind, 1e-3, 1e-4, jnp.float32(progress)) for progress in (0.0, 0.25, 0.5, 1.0, 1.1)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "kl, factor", [(0.0, 1.5), (0.0049, 1.5), (0.0051, 1), (0.0199, 1), (0.0201, 1 / 1.5), (9, 1 / 1.5)]
)
def test_an_adaptive_rate_answers_the_divergence(kl: float, factor: float) -> None:
    assert adapted_to_kl(jnp.float32(1e-3), jnp.float32(kl), 0.01) == pytest.approx(1e-3 * factor, rel=1e-5)


def test_an_adaptive_rate_stays_within_its_bounds() -> None:
    assert adapted_to_kl(jnp.float32(9e-3), jnp.float32(0.0), 0.01) == pytest.approx(1e-2)
    assert adapted_to_kl(jnp.float32(1.1e-5), jnp.float32(1.0), 0.01) == pytest.approx(1e-5)
