"""deploy.json: the description that travels with an exported policy, and is checked wherever it is loaded."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from surefoot.deployment.controls import Control, find_controls
from surefoot.deployment.network import Network
from surefoot.errors import InputError, foreign_code
from surefoot.policies.files import Bound, Text
from surefoot.policies.policy import Policy
from surefoot.settings import Option, Scalar, Settings, validate
from surefoot.tasks.catalogue import TaskInfo, has_batch_physics, make_physics_task

FORMAT = 1
_MOST_BYTES = 4_000_000
Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Observation(Settings):
    """One value of the observation, in the task's units; the network normalises it itself."""

    name: Text
    mean: Number
    """Mean in training; only for a look at whether a robot's value is plausible."""
    std: Number
    """Standard deviation in training; as `mean`."""


class Action(Settings):
    """One value of the action, and the control that it sets: offset + scale * action, clipped to `control_range`."""

    name: Text
    low: Bound
    high: Bound
    actuator: Text | None
    """Null if the task has no MuJoCo actuators, or if an action does not set one control linearly; as all below."""
    joint: Text | None
    scale: Number | None
    offset: Number | None
    """For a servo: the angle at which the action 0 holds the joint, rad."""
    control_range: tuple[Bound, Bound] | None
    """Least and largest control; null for no limit."""
    kind: Literal["position", "torque", "other"] | None
    kp: Number | None
    """Stiffness of a servo, N m / rad, or torque per unit of control, N m."""
    kd: Number | None
    """Damping, N m s / rad."""
    torque_limits: tuple[Bound, Bound] | None
    """Least and largest torque, N m; null for no limit."""
    joint_range: tuple[Bound, Bound] | None
    """Least and largest angle, rad; null for no limit."""
    reference: Number | None
    """Angle from which the observed offset of this joint is measured, rad."""
    speed_limit: Number | None
    """No-load speed of the motor, rad/s."""


class Timing(Settings):
    """Rates of the control loop."""

    rate_hz: Annotated[float, Field(gt=0, le=1e6)] | None
    """Actions per second; null if the task does not say."""
    action_repeat: Count
    """Steps of the task per action; the rate counts actions."""
    frame_stack: Count
    """Observations in one input of the network, oldest first."""


class Deployment(Settings):
    """The contents of deploy.json."""

    kind: Literal["surefoot deployment"]
    format: Literal[1]
    surefoot: Text
    """Version that exported the policy."""
    task: Text
    task_options: dict[Text, Option]
    origin: dict[Text, Scalar | dict[Text, Text] | None]
    """Algorithm, seed, steps and versions of the training."""
    network: Hash
    """SHA-256 of the network; also in the metadata of policy.onnx and in policy.h."""
    files: dict[Text, Hash]
    """SHA-256 of each other file of the folder."""
    observation: Annotated[list[Observation], Field(min_length=1, max_length=100_000)]
    action: Annotated[list[Action], Field(min_length=1, max_length=100_000)]
    timing: Timing
    recurrent_state: list[Text]
    """Inputs and outputs of the network besides observation and action; none yet."""

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Names of the observation's values, in order."""
        return tuple(part.name for part in self.observation)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action's values, in order."""
        return tuple(part.name for part in self.action)


def describe(policy: Policy, info: TaskInfo, network: Network, rate_hz: float | None, version: str) -> Deployment:
    """Return the description of an exported policy, without files.

    Args:
        policy: the policy.
        info: its task.
        network: its exported network.
        rate_hz: actions per second, None if unknown.
        version: of Surefoot.
    """
    observation_names = info.observation_names or [f"observation {i}" for i in range(policy.observation_size)]
    action_names = info.action_names or [f"action {i}" for i in range(policy.action_size)]
    mean, variance, _ = policy.controller.normaliser
    observation = [
        Observation(name=name, mean=float(m), std=math.sqrt(v))
        for name, m, v in zip(observation_names, np.asarray(mean), np.asarray(variance), strict=True)
    ]
    bounds = zip(action_names, policy.action_low, policy.action_high, strict=True)
    controls, references = _controls(info)
    speed = info.body.speed_limit if info.body else None
    action = [
        _action(name, low, high, control, references, speed)
        for (name, low, high), control in zip(bounds, controls, strict=True)
    ]
    timing = Timing(rate_hz=rate_hz, action_repeat=info.action_repeat, frame_stack=info.frame_stack)
    fields: dict[str, Any] = {"task": policy.task, "task_options": policy.task_options, "origin": policy.origin}
    fields |= {"network": network.fingerprint(), "files": {}, "timing": timing}
    return Deployment(
        kind="surefoot deployment",
        format=FORMAT,
        surefoot=version,
        observation=observation,
        action=action,
        recurrent_state=[],
        **fields,
    )


def read_description(path: Path) -> Deployment:
    """Read a deploy.json.

    Raises:
        InputError: it is missing, too large, not JSON, or not of the schema; names are missing or not distinct.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"'{path}': {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise InputError(f"'{path}' has more than {_MOST_BYTES:,} bytes")
    try:
        contents = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not JSON: {error}") from None
    deployment = validate(Deployment, contents, f"'{path}'", "field")
    for kind, names in (("observation", deployment.observation_names), ("action", deployment.action_names)):
        if len(set(names)) != len(names):
            raise InputError(f"'{path}': two values of the {kind} have the same name")
    return deployment


def check_names(kind: str, expected: Sequence[str], stated: Sequence[str]) -> None:
    """Check that a robot's names are those of the policy, in the same order.

    Raises:
        InputError: another number, another name or another order; the message states the first difference.
    """
    if len(stated) != len(expected):
        raise InputError(f"the policy has {len(expected)} {kind} values, not {len(stated)}")
    for index, (own, other) in enumerate(zip(expected, stated, strict=True)):
        if own != other:
            order = " (the same names in another order)" if sorted(expected) == sorted(stated) else ""
            raise InputError(f"{kind} value {index} of the policy is '{own}', not '{other}'{order}")


def _controls(info: TaskInfo) -> tuple[Sequence[Control | None], Mapping[str, float]]:
    """Return the control of each action, None if unknown; and the angles from which offsets are measured."""
    unknown = [None] * info.action_size
    if not has_batch_physics(info):
        return unknown, {}
    with foreign_code(f"the controls of task '{info.name}' cannot be found"):
        task = make_physics_task(info)
        return find_controls(task, info.action_size) or unknown, task.reference_angles


def _action(
    name: str,
    low: float,
    high: float,
    control: Control | None,
    references: Mapping[str, float],
    speed_limit: float | None,
) -> Action:
    fields: dict[str, Any] = dict.fromkeys(Action.model_fields)
    fields |= {"name": name, "low": _bound(low), "high": _bound(high)}
    if control is not None:
        fields |= {"actuator": control.actuator, "scale": control.scale, "offset": control.offset}
        fields |= {"kind": control.kind, "control_range": tuple(map(_bound, control.control_range))}
        if control.kind != "other":
            fields |= {"kp": control.kp, "kd": control.kd}
        if control.joint:
            fields |= {"joint": control.joint, "speed_limit": speed_limit}
            fields["reference"] = references.get(control.joint, 0.0)
            fields["torque_limits"] = tuple(map(_bound, control.force_range))
            fields["joint_range"] = tuple(map(_bound, control.joint_range))
    return Action(**fields)


def _bound(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
