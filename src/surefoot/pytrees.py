"""Conversion of JAX pytrees to named arrays and back, and of random states to arrays."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.errors import RunError


def flatten_tree(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """Return the leaves of a pytree as NumPy arrays, named by their path: `prefix/field/0/weight`.

    Leaves are arrays, NumPy or Python numbers, or JAX random keys; a tree of one leaf is named `prefix`.

    Raises:
        ValueError: two leaves would get the same name.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, leaf in _named_leaves(tree, prefix):
        if name in arrays:
            raise ValueError(f"two leaves of the tree are called {name!r}")
        arrays[name] = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return arrays


def unflatten_tree(template: Any, arrays: Mapping[str, np.ndarray], prefix: str) -> Any:
    """Return a pytree like `template` whose leaves are the arrays that `flatten_tree` named.

    Each leaf has the type of its template: NumPy array or number, Python number, random key or JAX array. The template
    may hold `jax.ShapeDtypeStruct`. Arrays whose names do not start with `prefix` are ignored.

    Raises:
        RunError: an array is missing or not expected, or has another shape or type than its template.
    """
    named = _named_leaves(template, prefix)
    names = {name for name, _ in named}
    stored = {name for name in arrays if name == prefix or name.startswith(prefix + "/")}
    for text, difference in (("is missing", names - stored), ("is not expected", stored - names)):
        if difference:
            others = f" (and {len(difference) - 1} more)" if len(difference) > 1 else ""
            raise RunError(f"array {min(difference)!r} {text}{others}; it was saved with other settings")
    leaves = [_like(leaf, arrays[name], name) for name, leaf in named]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(template), leaves)


def random_words(random: np.random.Generator) -> np.ndarray:
    """Return a PCG64 generator's state as (6,) uint64."""
    state = random.bit_generator.state
    words = [*divmod(state["state"]["state"], 2**64), *divmod(state["state"]["inc"], 2**64)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def random_from_words(words: np.ndarray) -> np.random.Generator:
    """Return the generator with the state of `random_words`."""
    generator = np.random.Generator(np.random.PCG64())
    high, low, high_inc, low_inc, has, integer = (int(word) for word in words)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": high_inc << 64 | low_inc},
        "has_uint32": has,
        "uinteger": integer,
    }
    return generator


def _named_leaves(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [
        ("/".join([prefix, jax.tree_util.keystr(path, simple=True, separator="/")]) if path else prefix, leaf)
        for path, leaf in paths
    ]


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _implementation(key: Any) -> Any:
    """Return the random generator of a key, which may be a `ShapeDtypeStruct`."""
    result = []
    jax.eval_shape(lambda traced: result.append(jax.random.key_impl(traced)), key)
    return result[0]


def _like(leaf: Any, array: np.ndarray, name: str) -> Any:
    """Convert `array` to the type of `leaf`; their shapes and dtypes must agree."""
    expected = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    if not hasattr(expected, "dtype"):
        expected = np.asarray(expected)
    if array.shape != expected.shape or array.dtype != expected.dtype:
        stored, wanted = (f"{x.dtype}{list(x.shape)}" for x in (array, expected))
        raise RunError(f"array {name!r} is {stored}, not {wanted}; it was saved with other settings")
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.array(array), impl=_implementation(leaf))
    if isinstance(leaf, np.ndarray):
        return array.copy()
    if isinstance(leaf, np.generic):
        return array[()]
    if isinstance(leaf, bool | int | float):
        return array.item()
    return jnp.array(array)
