"""The model card: a README that says what an exported policy does, and what a robot must provide."""

import json
from typing import Any

from surefoot.deployment.description import Deployment
from surefoot.tasks.catalogue import TaskInfo

_CAUTION = """\
Trained in simulation. Before it runs on a robot: lift the robot, limit the torques, and compare the observations with
the means and standard deviations in `deploy.json`."""


def model_card(deployment: Deployment, info: TaskInfo, evaluation: dict[str, Any] | None, difference: float) -> str:
    """Return the model card in Markdown.

    Args:
        deployment: the description of the exported policy.
        info: its task.
        evaluation: result of an evaluation, or None.
        difference: largest difference of the exported actions from the policy's own.
    """
    origin = deployment.origin
    body = f" with the body {info.body.name}" if info.body else ""
    rate = deployment.timing.rate_hz
    lines = [
        f"# Policy for {deployment.task}",
        "",
        f"A policy for the task `{deployment.task}`{body}, trained with Surefoot {deployment.surefoot}: algorithm "
        f"{origin.get('algorithm', 'unknown')}, seed {origin.get('seed', 'unknown')}, "
        f"{_number(origin.get('steps'))} environment steps.",
        "",
        "| | |",
        "|---|---|",
        f"| observation | {len(deployment.observation)} values, not normalised (the network does that) |",
        f"| action | {len(deployment.action)} values |",
        f"| rate | {f'{rate:g} Hz' if rate else 'unknown'} |",
        f"| task options | `{json.dumps(deployment.task_options)}` |",
        f"| network | SHA-256 {deployment.network} |",
        f"| exported actions | within {difference:.1e} of the policy's own over 10,000 observations |",
    ]
    if evaluation:
        lines += [f"| return | {_returns(evaluation)} |"]
        if evaluation.get("falls") is not None:
            lines += [f"| falls | {evaluation['falls']} |"]
    lines += [
        "",
        "| file | content |",
        "|---|---|",
        "| `deploy.json` | names, order, units, gains, rate: all that a robot must agree on |",
    ]
    if "policy.onnx" in deployment.files:
        lines += ['| `policy.onnx` | input "obs" (batch, D), output "action" (batch, A), float32 |']
    lines += ["| `policy.h` | the same network in C99, without dependencies: `surefoot_policy(observation, action)` |"]
    lines += ["", "Observation, in order:", ""]
    lines += [f"{index}. {part.name}" for index, part in enumerate(deployment.observation)]
    lines += ["", "Actions, in order (control = offset + scale × action):", ""]
    lines += ["| | name | range | control | offset | scale | kp | kd |", "|---|---|---|---|---|---|---|---|"]
    for index, part in enumerate(deployment.action):
        values = [part.kind or "", *map(_number, (part.offset, part.scale, part.kp, part.kd))]
        limits = f"{_number(part.low)} to {_number(part.high)}"
        lines.append(f"| {index} | {part.name} | {limits} | {' | '.join(values)} |")
    lines += ["", _CAUTION]
    return "\n".join(lines) + "\n"


def _returns(evaluation: dict[str, Any]) -> str:
    returns = evaluation["return"]
    interval = f"95 % interval {returns['ci_low']:.1f} to {returns['ci_high']:.1f}"
    return f"{returns['mean']:.1f} over {evaluation['episodes']} held-out episodes ({interval})"


def _number(x: Any) -> str:
    if x is None:
        return ""
    return f"{x:,}" if isinstance(x, int) else f"{x:.6g}"
