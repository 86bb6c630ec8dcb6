"""Muscles with elastic tendons in the running task: one call of JAX before each physics step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from surefoot.bodies.runner import COORDINATE_INDICES, MUSCLES
from surefoot.bodies.runner_muscles import advance, equilibrium, lengths_and_arms
from surefoot.tasks.task import State

_JOINTS = COORDINATE_INDICES[3:]


class ElasticMuscles:
    """Forces of `runner_muscles` for a model without muscle forces; state["fibre"], (N, 18) m, is their own state."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._peak = model.actuator_gainprm[:, 2].copy()
        seconds = model.opt.timestep
        self._advance = jax.jit(functools.partial(advance, seconds=seconds))

    def init_buffers(self, num_envs: int) -> State:
        return {"fibre": np.full((num_envs, len(MUSCLES)), 0.1)}

    def reset(self, state: State, env_indices: np.ndarray) -> None:
        """Bring fibres and tendons of some environments into equilibrium, at rest."""
        angles = state["qpos"][np.ix_(env_indices, _JOINTS)]
        state["fibre"][env_indices] = equilibrium(lengths_and_arms(angles, np)[0], state["act"][env_indices])

    def apply(self, state: State, moving: Any) -> None:
        """Advance the fibres by one physics step and write the torques of the joints."""
        strength = self._strength(state)
        arrays = (state["qpos"][:, _JOINTS], state["act"], state["fibre"], strength)
        fibre, torques = self._advance(*(jnp.asarray(array, jnp.float32) for array in arrays))
        state["fibre"][moving] = np.asarray(fibre)[moving]
        state["qfrc_applied"][:, _JOINTS] = torques

    def _strength(self, state: State) -> np.ndarray:
        """Return the scale of the muscles' forces, (N, 18) or (18,)."""
        if "actuator_gainprm" not in state:
            return np.ones(len(MUSCLES))
        return state["actuator_gainprm"][:, :, 2] / self._peak
