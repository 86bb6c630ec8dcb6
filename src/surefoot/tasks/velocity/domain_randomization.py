"""What differs from robot to robot and from day to day, so that a policy learns to bear it.

Drawn anew for each episode: the ground's grip, the load on the trunk, the strength of each motor, the time a command
takes to arrive. Within an episode: pushes, and the noise of the sensors.
"""

import dataclasses
from collections.abc import Sequence

import mujoco
import numpy as np

from surefoot.bodies.anymal_c import BODY
from surefoot.tasks.options import check_number, check_numbers
from surefoot.tasks.task import State
from surefoot.tasks.velocity.hash_rng import uniform

_USE, _USE_OF_PUSHES = 2, 3  # of chance


@dataclasses.dataclass(frozen=True)
class RandomizationSettings:
    """How far things are off; all is uniform. Ranges not said otherwise are legged_gym's."""

    friction: Sequence[float] = (0.5, 1.25)
    """The least and the most friction of the feet on the ground, the same for all four."""
    base_mass: float = 5.0
    """Up to so many kg are added to the trunk or taken away, spread as its own mass is."""
    motor_strength: float = 0.1
    """By how much of its gains each motor may be too weak or too strong."""
    latency: float = 1.0
    """How late an action arrives at most, in steps of control, by whole steps of physics."""
    push_speed: float = 1.0
    """How much a push changes the trunk's velocity at most, along x and along y, m/s."""
    push_every_s: float = 15.0
    """How long from push to push; the first comes at any time before."""
    noise: float = 1.0
    """Sensor noise: 0 for none, 1 for legged_gym's, 0.5 for half as much, and so on."""

    def __post_init__(self) -> None:
        check_numbers("friction", self.friction, 2, 0, 5)
        if self.friction[0] > self.friction[1]:
            raise ValueError(f"friction is {self.friction!r}; the least comes first")
        for name, most in (
            ("base_mass", 10),
            ("motor_strength", 0.9),
            ("latency", 1),
            ("push_speed", 5),
            ("noise", 10),
        ):
            check_number(name, getattr(self, name), 0, most)
        check_number("push_every_s", self.push_every_s, 0.02, 1e4)


class DomainRandomizer:
    """The randomisation of copies of one model.

    Attributes:
        randomised_fields: the arrays of the model that differ from copy to copy.
    """

    def __init__(self, settings: RandomizationSettings, model: mujoco.MjModel, frame_skip: int) -> None:
        self._settings = settings
        self._frame_skip = frame_skip
        self._push_every = max(1, round(settings.push_every_s / (frame_skip * model.opt.timestep)))
        self._feet = [model.geom(geom).id for foot in BODY.feet for geom in foot.geoms]
        self._trunk = model.body(BODY.trunk).id
        self._mass = float(model.body_mass[self._trunk])
        self._inertia = model.body_inertia[self._trunk].copy()
        # A servo's gain is the first of these numbers, a direct-current motor's are its controller's.
        limited = model.actuator_gaintype[0] == int(mujoco.mjtGain.mjGAIN_DCMOTOR)
        self._gains = slice(4, 7) if limited else slice(0, 1)
        self._gain = model.actuator_gainprm[:, self._gains].copy()
        self._bias = model.actuator_biasprm[:, :3].copy()
        self.randomised_fields = (
            *("geom_friction", "body_mass", "body_inertia"),
            *("actuator_gainprm", "actuator_biasprm"),
        )

    def begin(self, state: State, env_indices: np.ndarray, key: np.ndarray) -> None:
        """Draw the `randomised_fields` and "delay" of new episodes with these keys (K,)."""
        settings = self._settings
        drawn = uniform(key, _USE, np.zeros(len(key), np.uint32), 3 + len(self._gain), np).astype(float)
        least, most = settings.friction
        friction = least + (most - least) * (drawn[:, 0] + 1) / 2
        for foot in self._feet:
            state["geom_friction"][env_indices, foot, 0] = friction
        share = 1 + settings.base_mass * drawn[:, 1] / self._mass
        state["body_mass"][env_indices, self._trunk] = self._mass * share
        state["body_inertia"][env_indices, self._trunk] = self._inertia * share[:, None]
        strength = 1 + settings.motor_strength * drawn[:, 3:]
        state["actuator_gainprm"][env_indices, :, self._gains] = self._gain * strength[:, :, None]
        state["actuator_biasprm"][env_indices, :, :3] = self._bias * strength[:, :, None]
        choices = int(settings.latency * self._frame_skip) + 1
        state["delay"][env_indices, 0] = np.floor((drawn[:, 2] + 1) / 2 * choices)

    def push(self, state: State) -> None:
        """Push the copies whose time has come, by "key" (N,) and "step" (N,), the steps made."""
        step = state["step"].astype(np.uint32)
        # Where in the first period an episode's first push comes.
        turn = np.flatnonzero((step + state["key"]) % np.uint32(self._push_every) == 0)
        if len(turn) and self._settings.push_speed:
            blow = uniform(state["key"][turn], _USE_OF_PUSHES, step[turn], 2, np)
            state["qvel"][turn, :2] += self._settings.push_speed * blow
