"""The deterministic action of a policy as a list of elementary operations, from which other formats are written."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from surefoot.policies.networks import ActorCritic, Layer
from surefoot.policies.policy import Policy, action_scale
from surefoot.policies.symmetry import Mirror

NORM_EPSILON = 1e-5
_VARIANCE_EPSILON = 1e-8  # of `policies.normaliser.normalise`


class Standardise(NamedTuple):
    """clip((x - mean) * scale, -limit, limit); mean and scale are (N,)."""

    mean: np.ndarray
    scale: np.ndarray
    limit: np.ndarray  # ()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.mean) * self.scale, -self.limit, self.limit)


class Dense(NamedTuple):
    """x @ weight + bias; weight is (I, O), bias (O,)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight + self.bias


class LayerNorm(NamedTuple):
    """Layer normalisation with variance + 1e-5; gain and bias are (N,)."""

    gain: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        return centred / np.sqrt(variance + np.float32(NORM_EPSILON)) * self.gain + self.bias


class Activation(NamedTuple):
    """An activation function: "tanh", "relu", "elu" or "silu"."""

    function: str

    def __call__(self, x: np.ndarray) -> np.ndarray:
        match self.function:
            case "tanh":
                return np.tanh(x)
            case "relu":
                return np.maximum(x, 0)
            case "elu":
                return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
            case _:
                # A sigmoid by tanh, which does not overflow.
                return x * (0.5 + 0.5 * np.tanh(0.5 * x))


class Scale(NamedTuple):
    """clip(x * scale + offset, low, high); all are (N,). Bounds may be infinite."""

    scale: np.ndarray
    offset: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x * self.scale + self.offset, self.low, self.high)


Operation = Standardise | Dense | LayerNorm | Activation | Scale


class Network(NamedTuple):
    """From raw observations (B, D) to actions (B, A) in the task's units, float32.

    Attributes:
        inner: operations on the observation; on its mirror image as well if there is a mirror.
        mirror: of a policy averaged over mirror images: its outputs are (inner(o) + M inner(M o)) / 2. Else None.
        outer: operations on the result.
    """

    inner: tuple[Operation, ...]
    mirror: Mirror | None
    outer: tuple[Operation, ...]

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Compute actions (B, A) for observations (B, D) in NumPy."""
        output = _apply(self.inner, observation)
        if self.mirror is not None:
            mirror: Any = self.mirror  # of NumPy arrays
            output = (output + mirror.action(_apply(self.inner, mirror.observation(observation)))) * np.float32(0.5)
        return _apply(self.outer, output)

    def in_double(self, observation: np.ndarray) -> np.ndarray:
        """Compute actions (B, A) for observations (B, D) in double precision."""
        inner, outer = ([_double(operation) for operation in part] for part in (self.inner, self.outer))
        return Network(tuple(inner), self.mirror, tuple(outer))(observation.astype(np.float64))

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of observation and action dimensions, D and A."""
        first = self.inner[0]
        last = self.outer[-1]
        assert isinstance(first, Standardise | Dense) and isinstance(last, Scale)
        return len(first[0]), len(last.scale)

    @property
    def widest(self) -> int:
        """Largest number of values between two operations."""
        return max(max(array.shape) for array in self.arrays() if array.ndim)

    def arrays(self) -> Iterator[np.ndarray]:
        """The arrays of all operations, in order."""
        for operation in (*self.inner, *(self.mirror or ()), *self.outer):
            if isinstance(operation, np.ndarray):
                yield operation
            else:
                yield from (field for field in operation if isinstance(field, np.ndarray))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the operations and their numbers, in hexadecimal."""
        digest = hashlib.sha256()
        for part in self:
            for operation in part or ():
                name = getattr(operation, "function", type(operation).__name__)
                digest.update(f"{name};".encode())
        for array in self.arrays():
            digest.update(f"{array.dtype.name}{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def export_network(policy: Policy) -> Network:
    """Return the operations of a policy's deterministic action."""
    network, normaliser, mirror = policy.controller
    settings = network.settings
    inner: list[Operation] = []
    if settings.normalise_observations:
        variance = np.asarray(normaliser.variance, np.float64)
        scale = _float32(1 / np.sqrt(variance + _VARIANCE_EPSILON))
        inner.append(Standardise(_float32(normaliser.mean), scale, _float32(settings.observation_clip)))
    inner += _layers(network)
    if settings.squash == "tanh":
        inner.append(Activation("tanh"))
    centre, half = action_scale(policy.action_low, policy.action_high)
    outer: list[Operation] = [Scale(half, centre, policy.action_low, policy.action_high)]
    if settings.squash == "tanh_gaussian":
        outer.insert(0, Activation("tanh"))
    return Network(tuple(inner), mirror, tuple(outer))


def _double(operation: Operation) -> Operation:
    if isinstance(operation, Activation):
        return operation
    return type(operation)(*(np.asarray(field, np.float64) for field in operation))


def _apply(operations: Sequence[Operation], x: np.ndarray) -> np.ndarray:
    for operation in operations:
        x = operation(x)
    return x


def _layers(network: ActorCritic) -> Iterator[Operation]:
    settings = network.settings
    for layer in (*network.trunk, *network.actor[:-1]):
        yield _dense(layer)
        if "norm_gain" in layer:
            yield LayerNorm(_float32(layer["norm_gain"]), _float32(layer["norm_bias"]))
        yield Activation(settings.activation)
    last = _dense(network.actor[-1])
    if settings.std == "state_dependent":  # the other half is the standard deviation
        actions = len(last.bias) // 2
        last = Dense(np.ascontiguousarray(last.weight[:, :actions]), last.bias[:actions])
    yield last


def _dense(layer: Layer) -> Dense:
    """Return a linear layer, with its batch normalisation folded into weight and bias."""
    weight, bias = (np.asarray(layer[name], np.float64) for name in ("weight", "bias"))
    if "batch_gain" in layer:
        mean, variance, gain, shift = (
            np.asarray(layer[f"batch_{name}"], np.float64) for name in ("mean", "variance", "gain", "bias")
        )
        scale = gain / np.sqrt(variance + NORM_EPSILON)
        weight, bias = weight * scale, (bias - mean) * scale + shift
    return Dense(_float32(weight), _float32(bias))


def _float32(x) -> np.ndarray:
    return np.asarray(x, np.float32)
