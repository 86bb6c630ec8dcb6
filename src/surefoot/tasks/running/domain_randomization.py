"""Domain randomization of the runner: variations that a policy for another simulator should tolerate.

Each episode draws its own. By default nothing varies.
"""

from collections.abc import Sequence

import mujoco
import numpy as np
from pydantic import Field

from surefoot.bodies.runner import BODY, LEG_JOINTS
from surefoot.tasks.options import FrictionRange, TaskOptions
from surefoot.tasks.task import State


class RandomizationOptions(TaskOptions):
    """Ranges of uniform distributions, but for `contact_stiffness`, whose logarithm is uniform."""

    muscle_strength: float = Field(0.0, ge=0, le=0.9)
    """Largest relative deviation of each muscle's force."""
    friction: FrictionRange = (0.8, 0.8)
    """Lowest and highest friction coefficient of the feet; from 0 to 5."""
    contact_stiffness: float = Field(1.0, ge=1, le=10)
    """Largest factor by which the contact of the feet is stiffer or softer; its damping ratio stays the same."""
    limit_stiffness: float = Field(0.0, ge=0, le=0.9)
    """Largest relative deviation of the stiffness of the joint limits."""
    excitation_delay_s: float = Field(0.0, ge=0, le=0.1)
    """Largest delay between an action and the excitation of the muscles, drawn in whole physics steps, s."""


class DomainRandomizer:
    """Randomization of N environments.

    Attributes:
        fields: arrays of the MuJoCo model that differ between environments.
        longest_delay: largest delay, in physics steps.
    """

    def __init__(self, options: RandomizationOptions, model: mujoco.MjModel, varies_strength: bool) -> None:
        """Make the randomization of a model.

        Args:
            options: what varies.
            model: the runner.
            varies_strength: whether the difficulty varies the strength of muscles.
        """
        self._options = options
        self._feet = [model.geom(geom).id for foot in BODY.feet for geom in foot.geoms]
        self._joints = [model.joint(joint).id for joint in LEG_JOINTS]
        self._gain, self._bias = model.actuator_gainprm[:, 2].copy(), model.actuator_biasprm[:, 2].copy()
        self._solref = model.geom_solref[self._feet].copy()
        self._limits = model.jnt_solref[self._joints].copy()
        self.longest_delay = round(options.excitation_delay_s / model.opt.timestep)
        self._strength = varies_strength or options.muscle_strength > 0
        varied = {
            "actuator_gainprm": self._strength,
            "actuator_biasprm": self._strength,
            "geom_friction": options.friction[0] < options.friction[1],
            "geom_solref": options.contact_stiffness > 1,
            "jnt_solref": options.limit_stiffness > 0,
        }
        self.fields = tuple(field for field, varies in varied.items() if varies)
        low, high = options.friction
        if low == high:
            model.geom_friction[self._feet, 0] = low

    def reset(
        self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator], strength: np.ndarray
    ) -> None:
        """Draw the variations of episodes that start in environments (K,).

        Args:
            state: arrays of all environments.
            env_indices: the environments.
            rngs: random generators of all environments.
            strength: scale of the force of each muscle by difficulty, (K, 18).
        """
        options = self._options
        for row, env in enumerate(env_indices):
            rng = rngs[env]
            if self._strength:
                scale = strength[row] * (1 + options.muscle_strength * rng.uniform(-1, 1, len(self._gain)))
                state["actuator_gainprm"][env, :, 2] = self._gain * scale
                state["actuator_biasprm"][env, :, 2] = self._bias * scale
            if "geom_friction" in self.fields:
                state["geom_friction"][env, self._feet, 0] = rng.uniform(*options.friction)
            if "geom_solref" in self.fields:
                factor = options.contact_stiffness ** rng.uniform(-1, 1)
                # Negative values of `solref` are a stiffness and a damping.
                state["geom_solref"][env, self._feet] = self._solref * [factor, np.sqrt(factor)]
            if "jnt_solref" in self.fields:
                scale = np.ones_like(self._limits)
                scale[:, 0] += options.limit_stiffness * rng.uniform(-1, 1, len(scale))
                state["jnt_solref"][env, self._joints] = self._limits * scale
            if self.longest_delay:
                state["delay"][env, 0] = rng.integers(self.longest_delay + 1)
