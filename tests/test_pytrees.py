"""Pytrees as named arrays: exact round trips, and errors of one line."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers.messages import one_line
from surefoot.errors import RunError
from surefoot.files import load_arrays, save_arrays
from surefoot.pytrees import flatten_tree, unflatten_tree


class State(NamedTuple):
    parameters: dict
    optimiser: object
    key: jax.Array
    counts: tuple
    nothing: None = None


def state() -> State:
    parameters = {"layers": [{"weight": jnp.ones((2, 3)), "bias": jnp.zeros(3)}], "log_std": jnp.float32(0.5)}
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(parameters)
    counts = (np.arange(4, dtype=np.uint64), np.float64(0.25), 7, 0.5, True, jnp.array([True, False]))
    return State(parameters, optimiser, jax.random.key(3), counts)


def leaves(tree):
    unkeyed = (jax.random.key_data(x) if jnp.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key) else x
               for x in jax.tree.leaves(tree))  # fmt: skip
    return [np.asarray(leaf) for leaf in unkeyed]


def test_a_training_state_is_restored_exactly_from_disk(tmp_path):
    before = state()
    save_arrays(tmp_path / "a.safetensors", flatten_tree(before, "learner"), {})
    arrays, _ = load_arrays(tmp_path / "a.safetensors")
    after = unflatten_tree(state(), arrays, "learner")
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        assert isinstance(a, jax.Array) == isinstance(b, jax.Array)
        assert isinstance(a, jax.Array) or type(a) is type(b)
    for a, b in zip(leaves(after), leaves(before), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert jax.random.uniform(after.key) == jax.random.uniform(before.key)


def test_names_are_the_paths_of_leaves():
    assert set(flatten_tree({"actor": [jnp.zeros(2), (jnp.ones(1),)]}, "policy")) == {
        "policy/actor/0",
        "policy/actor/1/0",
    }
    assert set(flatten_tree(jnp.zeros(2), "noise")) == {"noise"}
    assert flatten_tree({}, "empty") == {}


def test_shapes_are_a_sufficient_template():
    tree = {"w": jnp.arange(3.0), "key": jax.random.key(1)}
    back = unflatten_tree(jax.eval_shape(lambda: tree), flatten_tree(tree, "t"), "t")
    assert isinstance(back["w"], jax.Array)
    assert back["w"].tolist() == [0, 1, 2]
    assert jax.random.key_data(back["key"]).tolist() == jax.random.key_data(tree["key"]).tolist()


def test_restored_arrays_share_no_memory():
    arrays = {"t/a": np.zeros(3), "t/b": np.zeros(3, np.float32)}
    back = unflatten_tree({"a": np.ones(3), "b": jnp.ones(3)}, arrays, "t")
    arrays["t/a"][:] = arrays["t/b"][:] = 9
    assert back["a"].tolist() == back["b"].tolist() == [0, 0, 0]


def test_arrays_with_other_prefixes_are_ignored():
    arrays = flatten_tree({"a": jnp.zeros(1)}, "actor") | flatten_tree({"a": jnp.ones(1)}, "actor2")
    assert unflatten_tree({"a": jnp.zeros(1)}, arrays, "actor2")["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop("t/b"), "'t/b' is missing; "),
        (lambda arrays: arrays.clear(), "'t/a' is missing .and 1 more."),
        (lambda arrays: arrays.update({"t/c": np.zeros(1)}), "'t/c' is not expected"),
        (lambda arrays: arrays.update({"t": np.zeros(1)}), "'t' is not expected"),
        (lambda arrays: arrays.update({"t/b": np.zeros(3, np.int32)}), r"int32\[3\], not int32\[2\]"),
        (lambda arrays: arrays.update({"t/b": np.zeros(2, np.int64)}), r"int64\[2\], not int32\[2\]"),
        (lambda arrays: arrays.update({"t/a": np.zeros((), np.float32)}), r"float32\[\], not float32\[1\]"),
    ],
)
def test_arrays_that_do_not_match_the_template_are_refused_in_one_line(change, words):
    template = {"a": jnp.zeros(1), "b": np.zeros(2, np.int32)}
    arrays = flatten_tree(template, "t")
    change(arrays)
    with pytest.raises(RunError, match=words) as error:
        unflatten_tree(template, arrays, "t")
    one_line(error.value)


def test_two_leaves_with_the_same_name_are_refused():
    with pytest.raises(ValueError, match="'t/a/b'"):
        flatten_tree({"a": {"b": jnp.zeros(1)}, "a/b": jnp.ones(1)}, "t")
