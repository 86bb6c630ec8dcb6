"""Policy files: safetensors with a JSON description of a fixed schema. Nothing is unpickled."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from pydantic import Field

from surefoot.errors import InputError, PolicyFileError, RunError
from surefoot.files import load_arrays, save_arrays
from surefoot.policies.networks import PolicySettings, init_actor, init_actor_critic
from surefoot.policies.normaliser import init_normaliser
from surefoot.policies.policy import Controller, Policy
from surefoot.policies.symmetry import Mirror
from surefoot.settings import Option, Scalar, Settings, validate

FORMAT = 1
_MOST_PARAMETERS = 200_000_000

_LARGEST = float(np.finfo(np.float32).max)
# JSON has no infinity; None means no bound.
Bound = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)] | None
Text = Annotated[str, Field(max_length=1000)]
Index = Annotated[int, Field(ge=0, lt=1_000_000)]
Sign = Literal[-1, 1]


class _MirrorDescription(Settings):
    """The symmetry of a policy averaged over mirror images; the fields of `Mirror`."""

    observation_index: list[Index]
    observation_sign: list[Sign]
    observation_offset: list[Annotated[float, Field(ge=-1e6, le=1e6)]]
    action_index: list[Index]
    action_sign: list[Sign]


class _Description(Settings):
    """Header of a policy file."""

    kind: Literal["surefoot policy"]
    format: int
    task: Annotated[str, Field(min_length=1, max_length=200)]
    task_options: dict[Text, Option]
    observation_size: int = Field(ge=1, le=1_000_000)
    action_low: list[Bound] = Field(min_length=1, max_length=100_000)
    action_high: list[Bound] = Field(min_length=1, max_length=100_000)
    policy: PolicySettings
    origin: dict[Text, Scalar | dict[Text, Text] | None]
    # Only in files of mirror-averaged policies.
    mirror: _MirrorDescription | None = None


def save_policy(policy: Policy, path: Path | str) -> None:
    """Write a policy to one file, atomically.

    Raises:
        PolicyFileError: `load_policy` would refuse the file; nothing is written.
        OSError: the file cannot be written.
    """
    network, normaliser, mirror = policy.controller
    header = {
        "kind": "surefoot policy",
        "format": FORMAT,
        "task": policy.task,
        "task_options": policy.task_options,
        "observation_size": policy.observation_size,
        "action_low": [float(x) if math.isfinite(x) else None for x in policy.action_low],
        "action_high": [float(x) if math.isfinite(x) else None for x in policy.action_high],
        "policy": policy.settings.model_dump(mode="json"),
        "origin": policy.origin,
    }
    if mirror is not None:
        header["mirror"] = {name: [_plain(x) for x in values] for name, values in mirror._asdict().items()}
    # JAX computes in float64 if the user asks for it (JAX_ENABLE_X64).
    tree = {"parameters": network, "normaliser": normaliser}
    arrays = {name: np.asarray(leaf, np.float32) for name, leaf in _arrays(tree).items()}
    _policy(f"cannot save {path}", arrays, header)
    save_arrays(Path(path), arrays, header)


def load_policy(path: Path | str) -> Policy:
    """Read a policy file.

    Raises:
        PolicyFileError: the file is missing, damaged, not a policy, or of another version or shape.
    """
    try:
        arrays, header = load_arrays(Path(path))
    except RunError as error:
        raise PolicyFileError(str(error)) from None
    return _policy(str(path), arrays, header)


def _policy(source: str, arrays: dict[str, np.ndarray], header: dict[str, Any]) -> Policy:
    """Return the policy of a file; PolicyFileError, beginning with `source`, if arrays or header are invalid."""
    if header.get("kind") != "surefoot policy":
        raise PolicyFileError(f"{source}: not a policy file")
    if header.get("format") != FORMAT:
        found = str(header.get("format"))[:40]
        raise PolicyFileError(f"{source}: policy format {found!r}; this version reads format {FORMAT}")
    try:
        description = validate(_Description, header, source)
    except InputError as error:
        raise PolicyFileError(str(error)) from None
    low = np.array([-math.inf if x is None else x for x in description.action_low], np.float32)
    high = np.array([math.inf if x is None else x for x in description.action_high], np.float32)
    if len(low) != len(high) or not (low <= high).all():
        raise PolicyFileError(f"{source}: the action bounds do not fit each other")
    controller = _controller(source, description, len(low), arrays)
    return Policy(description.task, low, high, controller, dict(description.task_options), dict(description.origin))


def _mirror(source: str, description: _Description, action_size: int) -> Mirror | None:
    """Return the mirror of the description, if any; PolicyFileError if it is invalid."""
    fields = description.mirror
    if fields is None:
        return None
    for name, values in fields:
        size = description.observation_size if name.startswith("observation") else action_size
        if len(values) != size:
            raise PolicyFileError(f"{source}: mirror.{name} holds {len(values)} numbers, not {size}")
        if name.endswith("index") and max(values) >= size:
            raise PolicyFileError(f"{source}: mirror.{name} holds {max(values)}; the largest index is {size - 1}")
    mirror = Mirror(*(np.array(values, int if name.endswith("index") else np.float32) for name, values in fields))
    if not mirror.is_involution():
        raise PolicyFileError(f"{source}: invalid mirror: mirroring twice does not restore the original")
    return mirror


def _controller(source: str, description: _Description, action_size: int, arrays: dict[str, np.ndarray]) -> Controller:
    """Return network, normaliser and mirror; PolicyFileError if arrays or mirror do not match the description."""
    settings, size = description.policy, description.observation_size
    if sum(array.size for array in arrays.values()) > _MOST_PARAMETERS:
        raise PolicyFileError(f"{source}: too large for a policy")
    mirror = _mirror(source, description, action_size)

    # Only algorithms with a state-value critic save it.
    init = init_actor_critic if any(name.startswith("parameters/critic/") for name in arrays) else init_actor
    template = {
        "parameters": jax.eval_shape(lambda: init(jax.random.PRNGKey(0), size, action_size, settings)),
        "normaliser": jax.eval_shape(lambda: init_normaliser(size)),
    }
    expected = _arrays(template)
    if expected.keys() != arrays.keys():
        odd = sorted(expected.keys() ^ arrays.keys())[0]
        raise PolicyFileError(f"{source}: array '{odd[:80]}' is {'missing' if odd in expected else 'not known'}")
    for name, leaf in expected.items():
        array = arrays[name]
        shapes = (leaf.shape, (size,)) if name == "normaliser/count" else (leaf.shape,)
        if array.shape not in shapes or array.dtype != np.float32:
            raise PolicyFileError(f"{source}: array '{name}' is {array.dtype} {array.shape}, not float32 {leaf.shape}")
        if not np.isfinite(array).all():
            raise PolicyFileError(f"{source}: array '{name}' holds numbers that are not finite")
        if name.endswith(("variance", "normaliser/count")) and (array < 0).any():
            raise PolicyFileError(f"{source}: array '{name}' holds negative numbers")
    tree = jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in expected])
    return Controller(tree["parameters"], tree["normaliser"], mirror)


def _arrays(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of a tree by path, in JAX's order."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _plain(x: np.number) -> int | float:
    """Return a number for JSON, whole ones as integers."""
    return int(x) if x == int(x) else float(x)
