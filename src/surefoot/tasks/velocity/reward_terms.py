"""Reward terms of velocity tracking: pure functions of the robot's state, each with its weight.

A term takes the `RobotState` of N environments and the array module, `numpy` or `jax.numpy`, and returns (N,). Weights
are per second. Terms and weights are those of legged_gym (Rudin et al. 2021, arXiv 2109.11978, with the changes for
ANYmal C on flat ground) or MuJoCo Playground (Zakka et al. 2025, arXiv 2502.08844) where possible; the others were
tuned here. Lengths, torques and power are scaled to the robot's size relative to ANYmal C.

A new term is one decorated function, in this module or in a user's own:

    @reward_term(weight=-0.5)
    def low_trunk(state, xp):
        \"\"\"Trunk below 30 cm.\"\"\"
        return xp.where(state.height < 0.3, 1.0, 0.0)

The option `reward_terms` names modules with further terms; the option `weights` changes weights.
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surefoot.errors import InputError, suggestion
from surefoot.tasks.velocity.robot import Robot

_TRACKING_VARIANCE = 0.25  # (m/s)^2, (rad/s)^2
_LONG_STEP_S = 0.5
_CLEARANCE_M = 0.08
_SOFT_LIMIT = 0.9  # fraction of a limit


class RobotState(NamedTuple):
    """State of N environments at the end of a control step, for a robot with A joints, F feet and K knees.

    Vectors are in the trunk's axes: x forward, y left, z up as the robot stands.
    """

    robot: Robot  # its limits and sizes
    velocity: Any  # (N, 3) of the trunk, m/s
    angular_velocity: Any  # (N, 3) of the trunk, rad/s
    gravity: Any  # (N, 3) unit vector that points down
    height: Any  # (N,) of the trunk above the floor, m
    clearance: Any  # (N,) of the trunk's lowest point above the ground, m
    command: Any  # (N, 3) commanded velocity forward and left, m/s, and turning rate, rad/s
    standing: Any  # (N,) bool, whether the command is to stand still
    joint_angle: Any  # (N, A) from the standing pose, rad
    joint_velocity: Any  # (N, A) rad/s
    joint_acceleration: Any  # (N, A) mean over the step, rad/s^2
    beyond_soft_limit: Any  # (N, A) distance beyond the middle 90 % of the joint range, rad
    torque: Any  # (N, A) N m
    action: Any  # (N, A)
    previous_action: Any  # (N, A)
    foot_height: Any  # (N, F) of the soles above the ground, m
    terrain_rise: Any  # (N, F) rise of the ground within 20 cm ahead of each moving foot, m; 0.0 on flat ground
    foot_speed: Any  # (N, F) along the ground, m/s
    contact: Any  # (N, F) 1 for feet on the ground, else 0
    air_time: Any  # (N, F) for feet that just landed, the time since they left the ground, else 0, s
    knee_height: Any  # (N, K) of the knees' centres above the ground, m
    stance: Any  # (N, F) 1 if the foot should be down according to the gait clock, else 0; None without a clock


Term = Callable[[RobotState, Any], Any]


@dataclasses.dataclass(frozen=True)
class RewardTerm:
    """A function of the robot's state and its weight."""

    function: Term  # (N,) from a `RobotState` and the array module
    weight: float  # reward per second and unit of the term

    @property
    def name(self) -> str:
        """Name in the option `weights` and in the metrics."""
        return self.function.__name__

    def __call__(self, state: RobotState, xp: Any) -> Any:
        """Return the unweighted term, (N,)."""
        return self.function(state, xp)


def reward_term(weight: float) -> Callable[[Term], RewardTerm]:
    """Make a function a reward term; a decorator. A term of weight 0 is off unless the option `weights` names it."""
    return lambda function: RewardTerm(function, weight)


@reward_term(weight=1.5)
def tracking_lin_vel(state: RobotState, xp: Any) -> Any:
    """Tracking of the commanded velocity: 1 at no error, 0.37 at 0.5 m/s."""
    error = state.command[:, :2] - state.velocity[:, :2]
    return xp.exp(-_squares(error, xp) / _TRACKING_VARIANCE)


@reward_term(weight=0.75)
def tracking_ang_vel(state: RobotState, xp: Any) -> Any:
    """Tracking of the commanded turning rate: 1 at no error, 0.37 at 0.5 rad/s."""
    return xp.exp(-xp.square(state.command[:, 2] - state.angular_velocity[:, 2]) / _TRACKING_VARIANCE)


@reward_term(weight=2.0)
def gait(state: RobotState, xp: Any) -> Any:
    """Fraction of feet whose contact agrees with the gait clock; under a zero command, feet in contact."""
    if state.stance is None:
        return xp.zeros_like(state.velocity[:, 0])
    target = xp.where(state.standing[:, None], 1.0, state.stance)
    return xp.mean(1 - xp.abs(target - state.contact), axis=1)


@reward_term(weight=-2.0)
def lin_vel_z(state: RobotState, xp: Any) -> Any:
    """Vertical velocity, squared."""
    return xp.square(state.velocity[:, 2])


@reward_term(weight=-0.05)
def ang_vel_xy(state: RobotState, xp: Any) -> Any:
    """Roll and pitch rate, squared."""
    return _squares(state.angular_velocity[:, :2], xp)


@reward_term(weight=-2.0)
def orientation(state: RobotState, xp: Any) -> Any:
    """Sine of the tilt, squared."""
    return _squares(state.gravity[:, :2], xp)


@reward_term(weight=-1e-5)
def torques(state: RobotState, xp: Any) -> Any:
    """Torques, squared."""
    return _squares(state.torque, xp) / state.robot.torque_scale**2


@reward_term(weight=-1e-4)
def energy(state: RobotState, xp: Any) -> Any:
    """Absolute power of the motors, W."""
    return xp.sum(xp.abs(state.torque * state.joint_velocity), axis=1) / state.robot.power_scale


@reward_term(weight=-2.5e-7)
def dof_acc(state: RobotState, xp: Any) -> Any:
    """Joint accelerations, squared."""
    return _squares(state.joint_acceleration, xp) * state.robot.length_scale**2


@reward_term(weight=-0.01)
def action_rate(state: RobotState, xp: Any) -> Any:
    """Change of the action, squared."""
    return _squares(state.action - state.previous_action, xp)


@reward_term(weight=-1.0)
def joint_limits(state: RobotState, xp: Any) -> Any:
    """Distance of joints beyond the middle 90 % of their ranges, rad."""
    return xp.sum(state.beyond_soft_limit, axis=1)


@reward_term(weight=-0.01)
def torque_limits(state: RobotState, xp: Any) -> Any:
    """Torques beyond 90 % of the motors' limits, N m."""
    excess = xp.maximum(xp.abs(state.torque) - _SOFT_LIMIT * state.robot.torque_limit, 0)
    return xp.sum(excess, axis=1) / state.robot.torque_scale


@reward_term(weight=-0.1)
def speed_limits(state: RobotState, xp: Any) -> Any:
    """Joint speeds beyond 90 % of the motors' no-load speed, rad/s."""
    return xp.sum(xp.maximum(xp.abs(state.joint_velocity) - _SOFT_LIMIT * state.robot.speed_limit, 0), axis=1)


@reward_term(weight=-1.0)
def collision(state: RobotState, xp: Any) -> Any:
    """Number of knees on the ground."""
    return xp.sum(xp.where(state.knee_height < state.robot.knee_radius_m, 1.0, 0.0), axis=1)


@reward_term(weight=0.0)
def feet_air_time(state: RobotState, xp: Any) -> Any:
    """Time in the air minus 0.5 s, summed over the feet that land; 0 under a zero command."""
    landed = xp.where(state.air_time > 0, state.air_time - _LONG_STEP_S, 0.0)
    return xp.where(state.standing, 0.0, xp.sum(landed, axis=1))


@reward_term(weight=-0.5)
def feet_clearance(state: RobotState, xp: Any) -> Any:
    """Height error of moving feet, times the square root of their speed; the target is 8 cm above the ground ahead."""
    length_scale = state.robot.length_scale
    error = state.foot_height - state.terrain_rise - _CLEARANCE_M * length_scale
    return xp.sum(xp.abs(error) * xp.sqrt(state.foot_speed), axis=1) / length_scale


@reward_term(weight=-0.1)
def feet_slip(state: RobotState, xp: Any) -> Any:
    """Speed of feet in contact with the ground, squared."""
    return xp.sum(xp.square(state.foot_speed) * state.contact, axis=1)


@reward_term(weight=-0.1)
def stand_still(state: RobotState, xp: Any) -> Any:
    """Distance of joints from the standing pose under a zero command, rad."""
    return xp.where(state.standing, xp.sum(xp.abs(state.joint_angle), axis=1), 0.0)


@reward_term(weight=-0.25)
def pose(state: RobotState, xp: Any) -> Any:
    """Distance from the standing pose of the joints that move legs sideways, squared."""
    return _squares(state.joint_angle[:, list(state.robot.lateral_joints)], xp)


TERMS: dict[str, RewardTerm] = {term.name: term for term in list(globals().values()) if isinstance(term, RewardTerm)}


def select_terms(
    weights: Mapping[str, float], modules: Iterable[str] = (), defaults: Mapping[str, float] | None = None
) -> tuple[RewardTerm, ...]:
    """Return the reward terms whose weight is not 0, also those of `modules` ("my_terms" or "my_terms:name").

    Weights that a user sets replace `defaults`, which replace the terms' own.

    Raises:
        InputError: a term or module does not exist.
    """
    terms = dict(TERMS)
    for module in modules:
        for term in load_terms(module):
            if term.name in TERMS:
                raise InputError(f"reward_terms: '{module}' has a term '{term.name}', which Surefoot already has")
            terms[term.name] = term
    for name in weights:
        if name not in terms:
            raise InputError(f"weights has no term '{name}'" + suggestion(name, terms))
    changed = {**(defaults or {}), **weights}
    chosen = (dataclasses.replace(term, weight=float(changed.get(name, term.weight))) for name, term in terms.items())
    return tuple(term for term in chosen if term.weight)


def load_terms(source: str) -> list[RewardTerm]:
    """Import a user's reward terms, "my_terms" for all of a module or "my_terms:name" for one.

    Modules are also found in the current folder.

    Raises:
        InputError: the module cannot be imported, or has no such term.
    """
    module, _, name = source.partition(":")
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        contents = vars(importlib.import_module(module))
    except Exception as error:  # a user's module may raise anything
        raise InputError(f"reward_terms: module '{module}' cannot be imported: {error}") from error
    finally:
        sys.path.remove(folder)
    terms = {term.name: term for term in contents.values() if isinstance(term, RewardTerm)}
    if name and name not in terms:
        raise InputError(f"reward_terms: '{module}' has no term '{name}'" + suggestion(name, terms))
    if name:
        return [terms[name]]
    own = [term for term in terms.values() if TERMS.get(term.name) is not term]  # a module may import Surefoot's, too
    if not own:
        raise InputError(f"reward_terms: '{module}' has no function with @reward_term")
    return own


def weighted_terms(terms: Iterable[RewardTerm], state: RobotState, timestep_s: float, xp: Any) -> dict[str, Any]:
    """Return each term times its weight and the length of the step, (N,) each.

    Raises:
        InputError: a term returns something else.
    """
    values = {}
    for term in terms:
        value = term(state, xp)
        shape = getattr(value, "shape", None)
        if shape != state.height.shape:
            raise InputError(f"reward term '{term.name}' has shape {shape}, not {state.height.shape}")
        values[term.name] = value * np.float32(term.weight * timestep_s)
    return values


def _squares(x: Any, xp: Any) -> Any:
    return xp.sum(xp.square(x), axis=1)
