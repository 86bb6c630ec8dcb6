"""A policy's network as one C header (C99) without dependencies beyond the standard library."""

from collections.abc import Sequence

import numpy as np

from surefoot.deployment.network import NORM_EPSILON, Activation, Dense, LayerNorm, Network, Operation, Scale

_NUMBERS_PER_LINE = 8

# Weights are stored by input, so that the innermost loop runs over neighbouring outputs and compilers vectorise it.
_FUNCTIONS = """\
static void surefoot_dense(const float *x, const float *weight, const float *bias, int inputs, int outputs, float *y)
{
    for (int o = 0; o < outputs; o++) y[o] = bias[o];
    for (int i = 0; i < inputs; i++) {
        const float value = x[i], *row = weight + (size_t)i * outputs;
        for (int o = 0; o < outputs; o++) y[o] += value * row[o];
    }
}
"""


def to_c(
    network: Network,
    fingerprint: str,
    rate_hz: float | None,
    observation_names: Sequence[str],
    action_names: Sequence[str],
    controls: Sequence[tuple[float, float]],
) -> str:
    """Return the text of policy.h.

    Args:
        network: the policy's network.
        fingerprint: its hash, `Network.fingerprint`.
        rate_hz: actions per second; None if unknown.
        observation_names: D names in order.
        action_names: A names in order.
        controls: offset and scale of each action's control; empty if unknown.
    """
    observations, actions = network.sizes
    body = _Body()
    calls = body.operations(network.inner)
    lines = _facts(network, fingerprint, rate_hz, observation_names, action_names, controls)
    outer = body.operations(network.outer, actions)
    mirrored = _mirrored(body, network, calls)
    lines += [*body.constants, _FUNCTIONS]
    lines += [
        "static void surefoot_network(const float *observation, float *output)",
        "{",
        f"    float a[{network.widest}], b[{network.widest}];",
        f"    memcpy(a, observation, {observations} * sizeof(float));",
        *calls,
        f"    memcpy(output, a, {actions} * sizeof(float));",
        "}",
        "",
        "/* Computes the action; returns 0, or -1 without an action if the observation holds a number that is not",
        "   finite. Uses no memory but the stack, and may be called by several threads. */",
        "static int surefoot_policy(const float observation[SUREFOOT_OBSERVATIONS], float action[SUREFOOT_ACTIONS])",
        "{",
        "    for (int i = 0; i < SUREFOOT_OBSERVATIONS; i++)",
        "        if (!isfinite(observation[i])) return -1;",
        f"    float a[{actions}], b[{actions}];",
        *mirrored,
        *outer,
        f"    memcpy(action, a, {actions} * sizeof(float));",
        "    (void)b;",
        "    return 0;",
        "}",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _facts(
    network: Network,
    fingerprint: str,
    rate_hz: float | None,
    observation_names: Sequence[str],
    action_names: Sequence[str],
    controls: Sequence[tuple[float, float]],
) -> list[str]:
    """Return the first lines: sizes, rate, hash, names, and controls."""
    observations, actions = network.sizes
    lines = [
        "/* A trained policy: surefoot_policy() computes the action of an observation. Written by surefoot export. */",
        "#ifndef SUREFOOT_POLICY_H",
        "#define SUREFOOT_POLICY_H",
        "",
        "#include <math.h>",
        "#include <stddef.h>",
        "#include <string.h>",
        "",
        f"#define SUREFOOT_OBSERVATIONS {observations}",
        f"#define SUREFOOT_ACTIONS {actions}",
    ]
    if rate_hz is not None:
        lines.append(f"#define SUREFOOT_RATE_HZ {rate_hz!r}")
    lines += [f'#define SUREFOOT_HASH "{fingerprint}"', ""]
    for kind, names in (("observation", observation_names), ("action", action_names)):
        quoted = ", ".join(_string(name) for name in names)
        lines += [f"static const char *const surefoot_{kind}_names[] = {{{quoted}}};", ""]
    if controls:
        lines += ["/* control = surefoot_offset + surefoot_scale * action */"]
        for name, values in zip(("offset", "scale"), zip(*controls, strict=True), strict=True):
            lines += [f"static const double surefoot_{name}[] = {{{', '.join(map(repr, values))}}};", ""]
    return lines


def _mirrored(body: "_Body", network: Network, calls: Sequence[str]) -> list[str]:
    """Return the lines that compute the network's output in `a`, averaged over mirror images if there are any."""
    observations, actions = network.sizes
    mirror = network.mirror
    if mirror is None:
        return ["    surefoot_network(observation, a);"]
    index, sign = body.integers(mirror.observation_index), body.floats(mirror.observation_sign)
    offset = body.floats(mirror.observation_offset)
    action_index, action_sign = body.integers(mirror.action_index), body.floats(mirror.action_sign)
    return [
        f"    float mirrored[{observations}];",
        f"    for (int i = 0; i < {observations}; i++)",
        f"        mirrored[i] = observation[{index}[i]] * {sign}[i] + {offset}[i];",
        "    surefoot_network(observation, a);",
        "    surefoot_network(mirrored, b);",
        f"    float mean[{actions}];",
        f"    for (int i = 0; i < {actions}; i++)",
        f"        mean[i] = (a[i] + b[{action_index}[i]] * {action_sign}[i]) * 0.5f;",
        "    memcpy(a, mean, sizeof mean);",
    ]


class _Body:
    """Constants, and the lines of operations that read and write the array `a`; `b` is for intermediate values."""

    def __init__(self) -> None:
        self.constants: list[str] = []

    def floats(self, array: np.ndarray) -> str:
        """Define a constant array; return its name."""
        return self._array("float", [_number(x) for x in np.asarray(array, np.float32).ravel()])

    def integers(self, array: np.ndarray) -> str:
        """Define a constant array of integers; return its name."""
        return self._array("int", [str(int(x)) for x in array])

    def _array(self, kind: str, texts: list[str]) -> str:
        name = f"surefoot_c{len(self.constants)}"
        rows = [", ".join(texts[at : at + _NUMBERS_PER_LINE]) for at in range(0, len(texts), _NUMBERS_PER_LINE)]
        joined = ",\n    ".join(rows)
        self.constants.append(f"static const {kind} {name}[{len(texts)}] = {{\n    {joined}\n}};")
        return name

    def operations(self, operations: Sequence[Operation], width: int = 0) -> list[str]:
        """Return the lines of operations in turn; `width` is that of `a` before, if the first one keeps it."""
        lines: list[str] = []
        for operation in operations:
            if not isinstance(operation, Activation):
                width = operation[0].shape[-1]
            lines += self._operation(operation, width)
        return lines

    def _operation(self, operation: Operation, width: int) -> list[str]:
        loop = f"    for (int i = 0; i < {width}; i++)"
        match operation:
            case Dense(weight, bias):
                w, bias_name = self.floats(weight), self.floats(bias)
                return [
                    f"    surefoot_dense(a, {w}, {bias_name}, {len(weight)}, {width}, b);",
                    f"    memcpy(a, b, {width} * sizeof(float));",
                ]
            case LayerNorm(gain, bias):
                g, bias_name = self.floats(gain), self.floats(bias)
                return [
                    "    {",
                    "        float mean = 0, variance = 0;",
                    f"    {loop} mean += a[i] / {width};",
                    f"    {loop} variance += (a[i] - mean) * (a[i] - mean) / {width};",
                    f"        const float factor = 1 / sqrtf(variance + {_number(np.float32(NORM_EPSILON))});",
                    f"    {loop} a[i] = (a[i] - mean) * factor * {g}[i] + {bias_name}[i];",
                    "    }",
                ]
            case Activation(function):
                value = {
                    "tanh": "tanhf(a[i])",
                    "relu": "a[i] > 0 ? a[i] : 0",
                    "elu": "a[i] > 0 ? a[i] : expm1f(a[i])",
                    "silu": "a[i] / (1 + expf(-a[i]))",
                }[function]
                return [f"{loop} a[i] = {value};"]
            case Scale(scale, offset, low, high):
                names = [self.floats(x) for x in (scale, offset, low, high)]
                return [
                    f"{loop} {{",
                    f"        const float x = a[i] * {names[0]}[i] + {names[1]}[i];",
                    f"        a[i] = fminf(fmaxf(x, {names[2]}[i]), {names[3]}[i]);",
                    "    }",
                ]
            case _:
                mean, scale, limit = self.floats(operation.mean), self.floats(operation.scale), _number(operation.limit)
                value = f"(a[i] - {mean}[i]) * {scale}[i]"
                return [f"{loop} a[i] = fminf(fmaxf({value}, -{limit}), {limit});"]


def _number(x: np.floating | np.ndarray) -> str:
    """Return a C constant that is exactly `x`."""
    if np.isinf(x):
        return "INFINITY" if x > 0 else "-INFINITY"
    text = np.format_float_scientific(np.float32(x), unique=True, trim="0")
    return f"{text}f"


def _string(text: str) -> str:
    """Return a C string constant; what is not ASCII is written in UTF-8, byte by byte."""
    parts = [chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode()]
    return '"' + "".join(parts) + '"'
