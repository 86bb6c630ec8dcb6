"""What a quadruped that follows a commanded velocity is paid for: named terms, each a pure function of a moment.

Each function takes a `Moment` of N copies and the array module, `numpy` or `jax.numpy`, and returns (N,). `WEIGHTS` has
what each counts per second; those of legged_gym (Rudin et al. 2021, arXiv 2109.11978, with the changes for ANYmal C on
the flat) or MuJoCo Playground (Zakka et al. 2025, arXiv 2502.08844) where they fit, the rest tuned here.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from surefoot.tasks.options import check_number

_TRACKING_VARIANCE = 0.25  # (m/s)^2, (rad/s)^2
_LONG_STEP_S = 0.5
_CLEARANCE_M = 0.08
_KNEE_RADIUS_M = 0.065
_SOFT_LIMIT = 0.9  # of the whole


class Moment(NamedTuple):
    """What N copies do at the end of a step of control; x is forward, y to the left, z up, as the trunk sees it.

    Attributes:
        velocity: (N, 3) of the trunk, m/s.
        rate: (N, 3) at which the trunk turns, rad/s.
        gravity: (N, 3), where down is, of length 1.
        command: (N, 3), the velocity forward and to the left and the rate of turning that were to be followed.
        standing: (N,) bool, whether the command is to stand.
        joint: (N, 12) angles, from the default pose, rad.
        joint_velocity: (N, 12), rad/s.
        joint_acceleration: (N, 12), mean over the step, rad/s^2.
        beyond: (N, 12), how far joints are into the last tenth of their ranges, rad.
        torque: (N, 12), N m.
        torque_limit: what a motor gives at most, N m.
        speed_limit: at which it gives nothing, rad/s.
        action: (N, 12).
        action_before: (N, 12).
        foot_height: (N, 4), of the soles above the ground, m.
        rise: (N, 4) or 0, how much higher than below the feet the ground is within 20 cm of where they move, m.
        foot_speed: (N, 4), along the ground, m/s.
        contact: (N, 4), 1 where a foot touches the ground, else 0.
        air_time: (N, 4), where a foot has just come down, how long it had been up, else 0, s.
        knee_height: (N, 4), of the knees' centres above the ground, m.
        stance: (N, 4), 1 where the gait wants a foot on the ground, else 0; None if the gait is free.
    """

    velocity: Any
    rate: Any
    gravity: Any
    command: Any
    standing: Any
    joint: Any
    joint_velocity: Any
    joint_acceleration: Any
    beyond: Any
    torque: Any
    torque_limit: float
    speed_limit: float
    action: Any
    action_before: Any
    foot_height: Any
    rise: Any
    foot_speed: Any
    contact: Any
    air_time: Any
    knee_height: Any
    stance: Any


def tracking_lin_vel(moment: Moment, xp: Any) -> Any:
    """1 at the commanded velocity along the ground, 0.37 if that is missed by 0.5 m/s."""
    miss = moment.command[:, :2] - moment.velocity[:, :2]
    return xp.exp(-_squares(miss, xp) / _TRACKING_VARIANCE)


def tracking_ang_vel(moment: Moment, xp: Any) -> Any:
    """1 at the commanded rate of turning, 0.37 if that is missed by 0.5 rad/s."""
    return xp.exp(-xp.square(moment.command[:, 2] - moment.rate[:, 2]) / _TRACKING_VARIANCE)


def gait(moment: Moment, xp: Any) -> Any:
    """The share of feet that are where the gait wants them, up or down; all are to be down if standing is wanted."""
    if moment.stance is None:
        return xp.zeros_like(moment.velocity[:, 0])
    wanted = xp.where(moment.standing[:, None], 1.0, moment.stance)
    return xp.mean(1 - xp.abs(wanted - moment.contact), axis=1)


def lin_vel_z(moment: Moment, xp: Any) -> Any:
    """Going up or down, squared."""
    return xp.square(moment.velocity[:, 2])


def ang_vel_xy(moment: Moment, xp: Any) -> Any:
    """Rolling and pitching, squared."""
    return _squares(moment.rate[:, :2], xp)


def orientation(moment: Moment, xp: Any) -> Any:
    """Leaning: the sine of the tilt, squared."""
    return _squares(moment.gravity[:, :2], xp)


def torques(moment: Moment, xp: Any) -> Any:
    """Torques, squared."""
    return _squares(moment.torque, xp)


def energy(moment: Moment, xp: Any) -> Any:
    """Power of the motors, in either direction, W."""
    return xp.sum(xp.abs(moment.torque * moment.joint_velocity), axis=1)


def dof_acc(moment: Moment, xp: Any) -> Any:
    """Accelerations of the joints, squared."""
    return _squares(moment.joint_acceleration, xp)


def action_rate(moment: Moment, xp: Any) -> Any:
    """How far actions move from one to the next, squared."""
    return _squares(moment.action - moment.action_before, xp)


def joint_limits(moment: Moment, xp: Any) -> Any:
    """How far joints are into the last tenth of their ranges."""
    return xp.sum(moment.beyond, axis=1)


def torque_limits(moment: Moment, xp: Any) -> Any:
    """How far torques are into the last tenth of what motors can give."""
    return xp.sum(xp.maximum(xp.abs(moment.torque) - _SOFT_LIMIT * moment.torque_limit, 0), axis=1)


def speed_limits(moment: Moment, xp: Any) -> Any:
    """How far joints' speeds are beyond nine tenths of that at which motors give nothing."""
    return xp.sum(xp.maximum(xp.abs(moment.joint_velocity) - _SOFT_LIMIT * moment.speed_limit, 0), axis=1)


def collision(moment: Moment, xp: Any) -> Any:
    """How many knees are so low that they, or what is below them, lie on the ground."""
    return xp.sum(xp.where(moment.knee_height < _KNEE_RADIUS_M, 1.0, 0.0), axis=1)


def feet_air_time(moment: Moment, xp: Any) -> Any:
    """For each foot that comes down, how long it was up, less half a second; nothing when standing is wanted."""
    landed = xp.where(moment.air_time > 0, moment.air_time - _LONG_STEP_S, 0.0)
    return xp.where(moment.standing, 0.0, xp.sum(landed, axis=1))


def feet_clearance(moment: Moment, xp: Any) -> Any:
    """How far feet that move are from 8 cm over the ground, and over what rises ahead, more the faster they move."""
    miss = moment.foot_height - moment.rise - _CLEARANCE_M
    return xp.sum(xp.abs(miss) * xp.sqrt(moment.foot_speed), axis=1)


def feet_slip(moment: Moment, xp: Any) -> Any:
    """How fast feet slide that touch the ground, squared."""
    return xp.sum(xp.square(moment.foot_speed) * moment.contact, axis=1)


def stand_still(moment: Moment, xp: Any) -> Any:
    """How far joints are from the default pose when standing is wanted."""
    return xp.where(moment.standing, xp.sum(xp.abs(moment.joint), axis=1), 0.0)


def pose(moment: Moment, xp: Any) -> Any:
    """How far the shoulders, which swing legs outwards, are from the default pose, squared."""
    return _squares(moment.joint[:, ::3], xp)


TERMS: dict[str, Callable[[Moment, Any], Any]] = {
    term.__name__: term
    for term in (
        *(tracking_lin_vel, tracking_ang_vel, gait, lin_vel_z, ang_vel_xy, orientation, torques, energy, dof_acc),
        *(action_rate, joint_limits, torque_limits, speed_limits, collision, feet_air_time, feet_clearance, feet_slip),
        *(stand_still, pose),
    )
}

WEIGHTS: dict[str, float] = {
    "tracking_lin_vel": 1.5,
    "tracking_ang_vel": 0.75,
    "gait": 2.0,
    "lin_vel_z": -2.0,
    "ang_vel_xy": -0.05,
    "orientation": -2.0,
    "torques": -1e-5,
    "energy": -1e-4,
    "dof_acc": -2.5e-7,
    "action_rate": -0.01,
    "joint_limits": -1.0,
    "torque_limits": -0.01,
    "speed_limits": -0.1,
    "collision": -1.0,
    "feet_air_time": 0.0,
    "feet_clearance": -0.5,
    "feet_slip": -0.1,
    "stand_still": -0.1,
    "pose": -0.25,
}


def merged_weights(changes: Any, otherwise: Mapping[str, float]) -> dict[str, float]:
    """Return `WEIGHTS` with those of `otherwise`, and then with a person's `changes`; what is 0 is left out.

    Raises:
        ValueError: a change is of an unknown term, or no number.
    """
    if changes is None:
        changes = {}
    if not isinstance(changes, Mapping):
        raise ValueError(f"weights is {changes!r}; it must be a table of numbers by the terms' names")
    for name, weight in changes.items():
        if name not in TERMS:
            raise ValueError(f"weights has no term {name!r}; the terms are {', '.join(TERMS)}")
        check_number(f"weights.{name}", weight, -1e6, 1e6)
    return {name: float(weight) for name, weight in {**WEIGHTS, **otherwise, **changes}.items() if weight}


def weighted_terms(moment: Moment, weights: Mapping[str, float], timestep_s: float, xp: Any) -> dict[str, Any]:
    """Return each term times its weight and the length of the step, (N,) each."""
    return {name: TERMS[name](moment, xp) * np.float32(weight * timestep_s) for name, weight in weights.items()}


def _squares(x: Any, xp: Any) -> Any:
    return xp.sum(xp.square(x), axis=1)
