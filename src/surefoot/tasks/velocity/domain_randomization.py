"""Domain randomization: variations of the robot and its surroundings that a policy should tolerate.

Drawn for each episode: friction of the feet, load on the trunk, strength of each motor, latency of actions. During an
episode: pushes and sensor noise.
"""

import numpy as np
from pydantic import Field

from surefoot.errors import InputError
from surefoot.tasks.options import FrictionRange, TaskOptions
from surefoot.tasks.task import State
from surefoot.tasks.velocity.hash_rng import uniform
from surefoot.tasks.velocity.robot import Robot

_STREAM, _PUSH_STREAM = 2, 3


class RandomizationOptions(TaskOptions):
    """Ranges of uniform distributions; those of legged_gym unless noted."""

    friction: FrictionRange = (0.5, 1.25)
    """Lowest and highest friction coefficient of the feet, the same for all feet of a robot; from 0 to 5."""
    base_mass: float | None = Field(None, ge=0, le=100)
    """Largest load added to or removed from the trunk, kg; default: 5 for ANYmal C, a tenth of the mass for others."""
    motor_strength: float = Field(0.1, ge=0, le=0.9)
    """Largest relative deviation of each motor's gains."""
    latency: float = Field(1.0, ge=0, le=1)
    """Largest delay of an action as a fraction of a control step, drawn in whole physics steps."""
    push_speed: float = Field(1.0, ge=0, le=5)
    """Largest change of the trunk's velocity by a push, along x and along y, m/s."""
    push_every_s: float = Field(15.0, ge=0.02, le=1e4)
    """Seconds between pushes; the first push comes at a random time within the first period."""
    noise: float = Field(1.0, ge=0, le=10)
    """Scale of the sensor noise; 1 is legged_gym's."""


class DomainRandomizer:
    """Randomization of N environments with one robot.

    Attributes:
        randomised_fields: arrays of the MuJoCo model that differ between environments.
    """

    randomised_fields = ("geom_friction", "body_mass", "body_inertia", "actuator_gainprm", "actuator_biasprm")

    def __init__(self, options: RandomizationOptions, robot: Robot) -> None:
        model, body = robot.model, robot.body
        self._options = options
        self._frame_skip = robot.frame_skip
        self._push_every = max(1, round(options.push_every_s / (robot.frame_skip * model.opt.timestep)))
        self._pushed = slice(robot.trunk_qvel.start, robot.trunk_qvel.start + 2)
        self._feet = [model.geom(geom).id for foot in body.feet for geom in foot.geoms]
        self._trunk = model.body(body.trunk).id
        self._mass = float(model.body_mass[self._trunk])
        self._load_kg = robot.load_kg if options.base_mass is None else options.base_mass
        if self._load_kg >= self._mass:
            raise InputError(f"base_mass = {self._load_kg:g}: must be less than the trunk's mass, {self._mass:.3g} kg")
        self._inertia = model.body_inertia[self._trunk].copy()
        self._gain = model.actuator_gainprm[: model.nu, 0].copy()
        self._bias = model.actuator_biasprm[: model.nu, :3].copy()
        self._compensation = np.zeros_like(self._bias)  # of the back-EMF; it is not randomised
        self._compensation[robot.servos, 2] = robot.back_emf

    def reset(self, state: State, env_indices: np.ndarray, key: np.ndarray) -> None:
        """Draw `randomised_fields` and "delay" for episodes that start in environments (K,) with random keys (K,)."""
        options = self._options
        drawn = uniform(key, _STREAM, np.zeros(len(key), np.uint32), 3 + len(self._gain), np).astype(float)
        low, high = options.friction
        friction = low + (high - low) * (drawn[:, 0] + 1) / 2
        for foot in self._feet:
            state["geom_friction"][env_indices, foot, 0] = friction
        factor = 1 + self._load_kg * drawn[:, 1] / self._mass
        state["body_mass"][env_indices, self._trunk] = self._mass * factor
        state["body_inertia"][env_indices, self._trunk] = self._inertia * factor[:, None]
        strength = 1 + options.motor_strength * drawn[:, 3:]
        servos, fixed = np.arange(len(self._gain)), self._compensation
        bias = fixed + (self._bias - fixed) * strength[:, :, None]
        state["actuator_gainprm"][env_indices[:, None], servos, 0] = self._gain * strength
        state["actuator_biasprm"][env_indices[:, None], servos, :3] = bias
        choices = int(options.latency * self._frame_skip) + 1
        state["delay"][env_indices, 0] = np.floor((drawn[:, 2] + 1) / 2 * choices)

    def push(self, state: State) -> None:
        """Push the robots whose push is due, according to their random keys "key" (N,) and step counts "step" (N,)."""
        step = state["step"].astype(np.uint32)
        # The key determines the time of the first push within the first period.
        due = np.flatnonzero((step + state["key"]) % np.uint32(self._push_every) == 0)
        if len(due) and self._options.push_speed:
            push = uniform(state["key"][due], _PUSH_STREAM, step[due], 2, np)
            state["qvel"][due, self._pushed] += self._options.push_speed * push
