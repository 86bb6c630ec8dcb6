"""A policy's network as an ONNX model: input "obs" (B, D), output "action" (B, A), float32."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surefoot.deployment.network import NORM_EPSILON, Activation, Dense, LayerNorm, Network, Operation, Scale
from surefoot.errors import InputError

INSTALL = 'pip install "surefoot[onnx]"'
INPUT, OUTPUT = "obs", "action"
# Old enough for the runtimes in use; LayerNormalization is new in this operator set.
OPSET, IR_VERSION = 17, 8


def to_onnx(network: Network, properties: Mapping[str, str]) -> bytes:
    """Return the ONNX model, with `properties` as its metadata.

    Raises:
        InputError: the package onnx is not installed.
    """
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise InputError(f"ONNX is not installed; {INSTALL}") from None
    sizes = network.sizes
    graph = _Graph(helper)
    value = INPUT
    output = graph.apply(network.inner, value)
    if network.mirror is not None:
        mirror = network.mirror
        mirrored = graph.permute(value, mirror.observation_index, mirror.observation_sign)
        mirrored = graph.add("Add", mirrored, mirror.observation_offset)
        mirrored = graph.permute(graph.apply(network.inner, mirrored), mirror.action_index, mirror.action_sign)
        output = graph.add("Mul", graph.add("Add", output, mirrored), np.float32(0.5))
    graph.nodes.append(helper.make_node("Identity", [graph.apply(network.outer, output)], [OUTPUT]))
    float32 = onnx.TensorProto.FLOAT
    ends = [
        helper.make_tensor_value_info(name, float32, ["batch", size])
        for name, size in zip((INPUT, OUTPUT), sizes, strict=True)
    ]
    made = helper.make_graph(graph.nodes, "policy", ends[:1], ends[1:], list(graph.constants.values()))
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="surefoot",
    )
    helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class _Graph:
    """Nodes and constants of a graph; constants that are the same are stored once."""

    def __init__(self, helper: Any) -> None:
        self._helper = helper
        self._counter = itertools.count()
        self.nodes: list[Any] = []
        self.constants: dict[tuple[str, bytes], Any] = {}

    def add(self, kind: str, *inputs: str | np.ndarray | np.generic, **attributes: Any) -> str:
        """Add a node; return the name of its output. Arrays among its inputs become constants."""
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        output = f"v{next(self._counter)}"
        self.nodes.append(self._helper.make_node(kind, names, [output], **attributes))
        return output

    def permute(self, value: str, index: np.ndarray, sign: np.ndarray) -> str:
        """Return value[:, index] * sign."""
        return self.add("Mul", self.add("Gather", value, np.asarray(index, np.int64), axis=1), sign)

    def apply(self, operations: Sequence[Operation], value: str) -> str:
        """Add the nodes of operations; return the name of the last output."""
        for operation in operations:
            value = self._operation(operation, value)
        return value

    def _operation(self, operation: Operation, value: str) -> str:
        match operation:
            case Dense(weight, bias):
                return self.add("Gemm", value, weight, bias)
            case LayerNorm(gain, bias):
                return self.add("LayerNormalization", value, gain, bias, axis=-1, epsilon=NORM_EPSILON)
            case Activation("silu"):
                return self.add("Mul", value, self.add("Sigmoid", value))
            case Activation(function):
                return self.add(function.capitalize(), value)
            case Scale(scale, offset, low, high):
                value = self.add("Add", self.add("Mul", value, scale), offset)
                # Clip takes scalar bounds only.
                return self.add("Min", self.add("Max", value, low), high)
            case _:
                value = self.add("Mul", self.add("Sub", value, operation.mean), operation.scale)
                return self.add("Clip", value, -operation.limit, operation.limit)

    def _constant(self, array: np.ndarray | np.generic) -> str:
        from onnx import numpy_helper

        array = np.asarray(array)
        key = f"{array.dtype}{array.shape}", array.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"c{len(self.constants)}")
        return self.constants[key].name
