"""A policy as one file: safetensors whose header carries a description of a closed form. Nothing is unpickled."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from pydantic import Field

from surefoot.errors import InputError, PolicyFileError, RunError
from surefoot.files import load_arrays, save_arrays
from surefoot.policies.networks import PolicySettings, init_actor, init_actor_critic
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Policy
from surefoot.policies.symmetry import Mirror
from surefoot.settings import Option, Scalar, Settings, validate

FORMAT = 1
_MOST_PARAMETERS = 200_000_000

_LARGEST = float(np.finfo(np.float32).max)
# JSON has no infinity; None stands for no bound.
Bound = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)] | None
Text = Annotated[str, Field(max_length=1000)]
Place = Annotated[int, Field(ge=0, lt=1_000_000)]
Sign = Literal[-1, 1]


class _MirrorDescription(Settings):
    """The symmetry of an equivariant policy; the fields are those of `Mirror`."""

    observation_index: list[Place]
    observation_sign: list[Sign]
    observation_offset: list[Annotated[float, Field(ge=-1e6, le=1e6)]]
    action_index: list[Place]
    action_sign: list[Sign]


class _Description(Settings):
    """What a policy file says of itself."""

    kind: Literal["surefoot policy"]
    format: int
    task: Annotated[str, Field(min_length=1, max_length=200)]
    task_options: dict[Text, Option]
    observation_size: int = Field(ge=1, le=1_000_000)
    action_low: list[Bound] = Field(min_length=1, max_length=100_000)
    action_high: list[Bound] = Field(min_length=1, max_length=100_000)
    policy: PolicySettings
    origin: dict[Text, Scalar | dict[Text, Text] | None]
    # Only in files of equivariant policies: versions that know of none refuse those, and read all others.
    mirror: _MirrorDescription | None = None


def save_policy(policy: Policy, path: Path | str) -> None:
    """Write a policy to one file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    description = {
        "kind": "surefoot policy",
        "format": FORMAT,
        "task": policy.task,
        "task_options": policy.task_options,
        "observation_size": policy.observation_size,
        "action_low": [_bound(x) for x in policy.action_low],
        "action_high": [_bound(x) for x in policy.action_high],
        "policy": policy.settings.model_dump(mode="json"),
        "origin": policy.origin,
    }
    if policy.mirror is not None:
        description["mirror"] = {name: [_plain(x) for x in values] for name, values in policy.mirror._asdict().items()}
    tree = {"parameters": policy.parameters, "normaliser": policy.normaliser}
    save_arrays(Path(path), {name: np.asarray(leaf) for name, leaf in _arrays(tree).items()}, description)


def load_policy(path: Path | str) -> Policy:
    """Read a policy file.

    Raises:
        PolicyFileError: the file is missing, is no policy, is damaged, or is of another version or shape; one line.
    """
    path = Path(path)
    try:
        arrays, header = load_arrays(path)
    except RunError as error:
        raise PolicyFileError(str(error)) from None
    if header.get("kind") != "surefoot policy":
        raise PolicyFileError(f"{path}: not a policy file")
    if header.get("format") != FORMAT:
        raise PolicyFileError(
            f"{path}: policy format {str(header.get('format'))[:40]!r}; this version reads format {FORMAT}"
        )
    try:
        description = validate(_Description, header, str(path))
    except InputError as error:
        raise PolicyFileError(str(error)) from None
    low = np.array([-math.inf if x is None else x for x in description.action_low], np.float32)
    high = np.array([math.inf if x is None else x for x in description.action_high], np.float32)
    if len(low) != len(high) or not (low < high).all():
        raise PolicyFileError(f"{path}: the action bounds do not fit each other")
    mirror = _mirror(path, description, len(low))
    parameters, normaliser = _restore(path, description, len(low), arrays)
    return Policy(
        description.task,
        description.observation_size,
        low,
        high,
        description.policy,
        parameters,
        normaliser,
        dict(description.task_options),
        dict(description.origin),
        mirror,
    )


def _mirror(path: Path, description: _Description, action_size: int) -> Mirror | None:
    """Return the symmetry that a file describes, if any, once it fits the policy and is one."""
    found = description.mirror
    if found is None:
        return None
    for name, values in found:
        size = description.observation_size if name.startswith("observation") else action_size
        if len(values) != size:
            raise PolicyFileError(f"{path}: mirror.{name} holds {len(values)} numbers, not {size}")
        if name.endswith("index") and max(values) >= size:
            raise PolicyFileError(f"{path}: mirror.{name} holds {max(values)}, which is no place among {size}")
    mirror = Mirror(
        np.array(found.observation_index),
        np.array(found.observation_sign, np.float32),
        np.array(found.observation_offset, np.float32),
        np.array(found.action_index),
        np.array(found.action_sign, np.float32),
    )
    if not mirror.undoes_itself():
        raise PolicyFileError(f"{path}: the mirror is none: what it has mirrored twice is not as it was")
    return mirror


def _restore(path: Path, description: _Description, action_size: int, arrays: dict[str, np.ndarray]):
    settings, size = description.policy, description.observation_size
    if sum(array.size for array in arrays.values()) > _MOST_PARAMETERS:
        raise PolicyFileError(f"{path}: too large to be a policy")

    # Only algorithms whose critic judges states have it in the policy's file.
    init = init_actor_critic if any(name.startswith("parameters/critic/") for name in arrays) else init_actor

    def make():
        parameters = init(jax.random.PRNGKey(0), size, action_size, settings)
        vector = jax.numpy.zeros(size)
        return {"parameters": parameters, "normaliser": Normaliser(vector, vector, jax.numpy.zeros(()))}

    template = jax.eval_shape(make)
    expected = _arrays(template)
    if expected.keys() != arrays.keys():
        odd = sorted(expected.keys() ^ arrays.keys())[0]
        raise PolicyFileError(f"{path}: array '{odd[:80]}' is {'missing' if odd in expected else 'not known'}")
    for name, wanted in expected.items():
        shapes = (wanted.shape, (size,)) if name == "normaliser/count" else (wanted.shape,)
        if arrays[name].shape not in shapes or arrays[name].dtype != np.float32:
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise PolicyFileError(f"{path}: array '{name}' is {found}, not float32 {wanted.shape}")
        if not np.isfinite(arrays[name]).all():
            raise PolicyFileError(f"{path}: array '{name}' holds numbers that are not finite")
    for name in arrays:
        if name.endswith(("variance", "normaliser/count")) and (arrays[name] < 0).any():
            raise PolicyFileError(f"{path}: array '{name}' holds negative numbers")
    tree = jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in expected])
    return tree["parameters"], tree["normaliser"]


def _arrays(tree: dict[str, Any]) -> dict[str, Any]:
    """Name every leaf by its place, in the order in which JAX flattens the tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _bound(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _plain(x: np.number) -> int | float:
    """Return a number as JSON holds it, a whole one without a point."""
    return int(x) if x == int(x) else float(x)
