"""Schedules against numbers computed by hand."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import Field

from helpers.messages import one_line
from surefoot.errors import InputError
from surefoot.schedules import Schedule, adapted_to_kl
from surefoot.settings import Settings, validate


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("constant", [1e-3] * 5),
        ("linear", [1e-3, 0.775e-3, 0.55e-3, 1e-4, 1e-4]),
        ("exponential", [1e-3, 1e-3 * 0.1**0.25, 1e-3 * math.sqrt(0.1), 1e-4, 1e-4]),
        ("cosine", [1e-3, 1e-3 - 0.9e-3 * (1 - math.sqrt(0.5)) / 2, 0.55e-3, 1e-4, 1e-4]),
    ],
)
@pytest.mark.parametrize("until", [1.0, 0.5])
@pytest.mark.parametrize("number", [float, jnp.float32])
def test_a_schedule_goes_from_start_to_end_and_stays(kind: Any, expected: list[float], until: float, number) -> None:
    schedule = Schedule(kind=kind, start=1e-3, end=1e-4, until=until)
    values = [schedule.value(number(until * progress)) for progress in (0.0, 0.25, 0.5, 1.0, 1.1)]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


class Example(Settings):
    rate: Schedule = Field(Schedule(start=0.5), gt=0, le=1)
    """A rate."""


class Outer(Settings):
    example: Example = Example(rate=Schedule(kind="cosine", start=0.25, end=0.1))


def test_a_number_is_constant_and_a_table_keeps_defaults_for_missing_keys() -> None:
    assert Example.model_validate({"rate": 0.1}).rate == Schedule(start=0.1)
    assert Example.model_validate({"rate": {"kind": "linear"}}).rate == Schedule(kind="linear", start=0.5)
    assert Outer.model_validate({"example": {"rate": {"end": 0}}}).example.rate == Schedule(kind="cosine", start=0.25)
    assert Outer.model_validate({"example": {"rate": 1}}).example.rate == Schedule(start=1)


@pytest.mark.parametrize("schedule", [0.5, {"kind": "linear", "start": 0.5, "end": 0.1, "until": 0.5}])
def test_a_schedule_is_written_as_it_was_given(schedule: Any) -> None:
    example = Example.model_validate({"rate": schedule})
    assert example.model_dump(mode="json") == {"rate": schedule}
    assert hash(example) == hash(Example.model_validate(example.model_dump()))


@pytest.mark.parametrize(
    "rate, message",
    [
        (0, "rate = 0: input should be greater than 0"),
        ({"start": -1}, "greater than 0"),
        ({"kind": "linear", "end": 2}, "less than or equal to 1"),
        ({"kind": "linear", "end": -0.1}, "rate.end = -0.1: input should be greater than or equal to 0"),
        ({"kind": "linear", "until": 0}, "rate.until = 0: input should be greater than 0"),
        ({"kind": "exponential"}, "an exponential schedule needs a start and an end above 0"),
        ({"kind": "line"}, "did you mean 'linear'"),
        ({"stop": 1}, "unknown setting 'rate.stop'"),
        (math.nan, "finite number"),
        ("fast", "rate.start = 'fast': input should be a valid number"),
        ([1], "rate = [1]: should be a number, or a table with kind, start, end and until"),
        (True, "should be a number"),
    ],
)
def test_a_bad_schedule_is_refused_in_one_line(rate: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(Example, {"rate": rate}, "test")
    one_line(caught.value, message)


@pytest.mark.parametrize(
    "kl, factor", [(0.0, 1.5), (0.0049, 1.5), (0.0051, 1), (0.0199, 1), (0.0201, 1 / 1.5), (9, 1 / 1.5)]
)
def test_an_adaptive_rate_follows_the_kl_divergence(kl: float, factor: float) -> None:
    assert adapted_to_kl(jnp.float32(1e-3), jnp.float32(kl), 0.01) == pytest.approx(1e-3 * factor, rel=1e-5)


def test_an_adaptive_rate_stays_within_its_bounds() -> None:
    assert adapted_to_kl(jnp.float32(9e-3), jnp.float32(0.0), 0.01) == pytest.approx(1e-2)
    assert adapted_to_kl(jnp.float32(1.1e-5), jnp.float32(1.0), 0.01) == pytest.approx(1e-5)
