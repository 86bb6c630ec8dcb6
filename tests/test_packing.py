"""Packing of named fields into one array."""

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.packing import Layout

LAYOUT = Layout(observation=3, reward="scalar", terminated="flag")
FIELDS = {
    "observation": np.arange(6, dtype=np.float32).reshape(2, 3),
    "reward": np.array([0.5, -1.0], np.float32),
    "terminated": np.array([True, False]),
}


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_packed_fields_are_read_back(xp) -> None:
    packed = LAYOUT.pack(FIELDS, xp)
    np.testing.assert_array_equal(packed, [[0, 1, 2, 0.5, 1], [3, 4, 5, -1, 0]])
    for name, value in LAYOUT.unpack(packed).items():
        np.testing.assert_array_equal(value, FIELDS[name])
    assert LAYOUT.unpack(packed)["terminated"].dtype == bool


def test_writing_changes_only_the_named_fields() -> None:
    packed = LAYOUT.pack(FIELDS, np)
    LAYOUT.write(packed, {"reward": [7, 8], "observation": 0})
    np.testing.assert_array_equal(packed, [[0, 0, 0, 7, 1], [0, 0, 0, 8, 0]])


def test_columns_and_size() -> None:
    assert LAYOUT.size == 5
    assert LAYOUT.columns("reward") == slice(3, 4)
    assert LAYOUT.names == ("observation", "reward", "terminated")


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        LAYOUT.pack({"observation": FIELDS["observation"]}, np)
