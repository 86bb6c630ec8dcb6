"""The way from an action to the actuators, measured on the task itself, so that it holds for users' tasks as well."""

from typing import NamedTuple

import mujoco
import numpy as np

from surefoot.tasks.task import Task

_STEP, _FAR = 1e-3, 1e9
_TOLERANCE = 1e-6


class Control(NamedTuple):
    """The control that one action sets: offset + scale * action, clipped to a range.

    Attributes:
        actuator: name of the MuJoCo actuator.
        joint: name of the joint that it moves; "" for a tendon or a muscle.
        scale: of the action.
        offset: control of the action 0: for a servo the angle at which it holds the joint.
        control_range: least and largest control; infinite if unlimited.
        kind: "position" for a servo, "torque", or "other", such as a muscle.
        kp: stiffness of a servo, N m / rad (N / m for slides), else 0; gain of a torque, N m per unit of control.
        kd: damping of a servo or a motor, N m s / rad.
        force_range: least and largest torque, N m; infinite if unlimited.
        joint_range: least and largest angle, rad, or position, m; infinite if unlimited.
    """

    actuator: str
    joint: str
    scale: float
    offset: float
    control_range: tuple[float, float]
    kind: str
    kp: float
    kd: float
    force_range: tuple[float, float]
    joint_range: tuple[float, float]


def find_controls(task: Task, actions: int) -> list[Control] | None:
    """Return the control of each of the `actions`; None if they do not each set one control linearly."""
    offset = _controls(task, np.zeros(actions))
    # Beyond any bound, so that a task that clips its controls shows their limits.
    ends = np.sort([_controls(task, np.full(actions, far)) for far in (-_FAR, _FAR)], axis=0)
    limits = np.where(np.abs(ends) < _FAR / 1e3, ends, np.copysign(np.inf, ends)).T
    found = []
    for action in range(actions):
        step = np.zeros(actions)
        step[action] = _STEP
        above, below = (_controls(task, sign * step) - offset for sign in (1, -1))
        (moved,) = np.nonzero(above)
        if len(moved) != 1 or np.abs(above + below).max() > _TOLERANCE * _STEP:
            return None
        number = int(moved[0])
        least, largest = map(float, limits[number])
        line = _rounded(above[number] / _STEP), float(offset[number]), (least, largest)
        found.append(_describe(task.model, number, *line))
    return found


def _controls(task: Task, action: np.ndarray) -> np.ndarray:
    """Return the controls, (nu,), that an action leads to at the end of its time."""
    data = mujoco.MjData(task.model)
    state = {field: np.array(getattr(data, field))[None] for field in task.fields}
    state |= {field: np.array(getattr(task.model, field))[None] for field in task.randomised_fields}
    state |= {"ctrl": np.zeros((1, task.model.nu))} | task.init_buffers(1) | task.init_substep_buffers(1)
    task.apply_action(state, action[None])
    return state["ctrl_schedule"][0, -1] if task.per_substep_control else state["ctrl"][0]


def _describe(
    model: mujoco.MjModel, number: int, scale: float, offset: float, control_range: tuple[float, float]
) -> Control:
    line, unlimited = (scale, offset, control_range), (-np.inf, np.inf)
    actuator = model.actuator(number)
    if model.actuator_trntype[number] != mujoco.mjtTrn.mjTRN_JOINT:
        return Control(actuator.name, "", *line, "other", 0.0, 0.0, unlimited, unlimited)
    joint = model.joint(model.actuator_trnid[number, 0])
    kind, kp, kd = _gains(model, number, joint.id)
    joint_range = model.jnt_range[joint.id] if model.jnt_limited[joint.id] else unlimited
    limits = []
    if model.actuator_forcelimited[number]:
        limits.append(np.sort(model.actuator_forcerange[number] * model.actuator_gear[number, 0]))
    if model.jnt_actfrclimited[joint.id]:
        limits.append(model.jnt_actfrcrange[joint.id])
    force = (max(float(x[0]) for x in limits), min(float(x[1]) for x in limits)) if limits else unlimited
    least, largest = map(float, joint_range)
    return Control(actuator.name, joint.name, *line, kind, kp, kd, force, (least, largest))


def _gains(model: mujoco.MjModel, number: int, joint: int) -> tuple[str, float, float]:
    """Measure kind, stiffness or gain, and damping of a joint's actuators by finite differences."""
    data = mujoco.MjData(model)
    place, speed = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
    low, high = model.actuator_ctrlrange[number] if model.actuator_ctrllimited[number] else (0.0, 0.0)

    def torque(control: float, angle: float, velocity: float) -> float:
        # In the middle of the range of controls, where a servo has no error and a motor the torque 0.
        data.ctrl[number] = (low + high) / 2 + control
        data.qpos[place] = (low + high) / 2 + angle
        data.qvel[speed] = velocity
        mujoco.mj_forward(model, data)
        return float(data.qfrc_actuator[speed])

    rest = torque(0, 0, 0)
    gain = (torque(_STEP, 0, 0) - rest) / _STEP
    stiffness = -(torque(0, _STEP, 0) - rest) / _STEP
    damping = -(torque(0, 0, _STEP) - rest) / _STEP
    close = 1e-3 * abs(gain)
    if gain > 0 and abs(stiffness - gain) <= close:
        return "position", _rounded(gain), _rounded(damping)
    if abs(stiffness) <= close and abs(gain) > 0:
        return "torque", _rounded(gain), _rounded(damping)
    return "other", 0.0, 0.0


def _rounded(x: float) -> float:
    """Return a measured number without the rounding errors of finite differences."""
    return round(float(x), 6) + 0.0  # without the sign of -0.0
