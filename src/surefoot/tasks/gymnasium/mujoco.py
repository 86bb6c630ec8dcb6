"""Physics of Gymnasium's MuJoCo tasks for many environments: HalfCheetah-v5, Ant-v5, Hopper-v5, Walker2d-v5.

Model, weights and options are read from Gymnasium's own environment (gymnasium/envs/mujoco/*_v5.py). Observation,
reward and termination are pure functions of a batch.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.tasks.catalogue import TaskInfo, make_env
from surefoot.tasks.task import State, Task, TaskOutput


class Physics(NamedTuple):
    """Measurements of N environments after a step, float32.

    Attributes:
        qpos: (N, nq) generalised positions.
        qvel: (N, nv) generalised velocities.
        displacement_m: (N, 1 or 2) movement of the tracked position in this step, computed in double precision because
            positions grow without bound.
        contact_force: (N, nbody - 1, 6) contact wrenches; (N, 0, 6) if the task does not use them.
    """

    qpos: jax.Array
    qvel: jax.Array
    displacement_m: jax.Array
    contact_force: jax.Array


class MujocoTask(Task):
    """One of Gymnasium's MuJoCo tasks.

    Attributes:
        tracked_size: number of coordinates of the tracked position.
    """

    tracked_size = 1

    def __init__(self, info: TaskInfo) -> None:
        env: Any = make_env(info).unwrapped
        self.model = env.model
        self.frame_skip = env.frame_skip
        self.noise = env._reset_noise_scale
        self.initial_qpos = env.init_qpos
        self.initial_qvel = env.init_qvel
        self.forward_weight = env._forward_reward_weight
        self.control_weight = env._ctrl_cost_weight
        # Number of leading positions that the observation leaves out.
        self.skipped = env.observation_structure["skipped_qpos"]
        self.observation_space: gymnasium.spaces.Box = env.observation_space
        self.action_space = gymnasium.spaces.Box(info.action_low, info.action_high, dtype=np.float32)
        self._read_options(env)
        env.close()
        self._wrenches = self.model.nbody - 1 if self.needs_contact_forces else 0
        self.columns = {
            "qpos": self.model.nq,
            "qvel": self.model.nv,
            "displacement_m": self.tracked_size,
            "contact_force": self._wrenches * 6,
        }

    def _read_options(self, env: Any) -> None:
        """Read the options that only this task has."""
        del env

    def init_buffers(self, num_envs: int) -> State:
        return {name: np.zeros((num_envs, self.tracked_size)) for name in ("position", "position_before")}

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        for env in env_indices:
            state["qpos"][env], state["qvel"][env] = self.initial_state(rngs[env])

    def after_reset(self, state: State, env_indices: np.ndarray) -> None:
        position = self.tracked_position(state)[env_indices]
        state["position"][env_indices] = state["position_before"][env_indices] = position

    def apply_action(self, state: State, action: np.ndarray) -> None:
        state["ctrl"][:] = action
        state["position_before"][:] = state["position"]

    def post_step(self, state: State) -> None:
        state["position"][:] = self.tracked_position(state)

    def gather(self, state: State) -> Sequence[np.ndarray]:
        moved = state["position"] - state["position_before"]
        force = state["contact_force"] if self._wrenches else np.zeros((len(moved), 0))
        return state["qpos"], state["qvel"], moved, force

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        del xp  # JAX only: a single environment is Gymnasium's own
        count = len(measured["qpos"])
        force = measured["contact_force"].reshape(count, self._wrenches, 6)
        physics = Physics(measured["qpos"], measured["qvel"], measured["displacement_m"], force)
        return TaskOutput(self.observe(physics), self.reward_terms(physics, action), self.terminated(physics))

    def initial_state(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw qpos (nq,) and qvel (nv,) for a new episode, in Gymnasium's order of draws."""
        qpos = self.initial_qpos + random.uniform(-self.noise, self.noise, self.model.nq)
        return qpos, self.initial_qvel + self._velocity_noise(random)

    def _velocity_noise(self, random: np.random.Generator) -> np.ndarray:
        return random.uniform(-self.noise, self.noise, self.model.nv)

    def tracked_position(self, state: State) -> np.ndarray:
        """Return the tracked position, (N, tracked_size) float64; its change per step is the forward movement."""
        return state["qpos"][:, :1]

    @abc.abstractmethod
    def observe(self, physics: Physics) -> jax.Array:
        """Return observations (N, D)."""

    @abc.abstractmethod
    def reward_terms(self, physics: Physics, action: jax.Array) -> dict[str, jax.Array]:
        """Return the terms of the reward, (N,) each."""

    def terminated(self, physics: Physics) -> jax.Array:
        """Whether environments terminated, (N,) bool."""
        return jnp.zeros(physics.qpos.shape[0], bool)

    def _forward(self, physics: Physics) -> jax.Array:
        return self.forward_weight * physics.displacement_m[:, 0] / self.timestep_s

    def _control_cost(self, action: jax.Array) -> jax.Array:
        return self.control_weight * jnp.sum(jnp.square(action), axis=-1)


class HalfCheetah(MujocoTask):
    """A planar cheetah; it never terminates."""

    def _velocity_noise(self, random: np.random.Generator) -> np.ndarray:
        return self.noise * random.standard_normal(self.model.nv)

    def observe(self, physics: Physics) -> jax.Array:
        return jnp.concatenate([physics.qpos[:, self.skipped :], physics.qvel], axis=1)

    def reward_terms(self, physics: Physics, action: jax.Array) -> dict[str, jax.Array]:
        return {"forward": self._forward(physics), "control": -self._control_cost(action)}


class _Upright(MujocoTask):
    """A planar body that must stay upright: Hopper and Walker2d."""

    def _read_options(self, env: Any) -> None:
        self.healthy_reward = env._healthy_reward
        self.ends_when_unhealthy = env._terminate_when_unhealthy
        self.height_range_m = env._healthy_z_range
        self.angle_range_rad = env._healthy_angle_range

    def healthy(self, physics: Physics) -> jax.Array:
        """Whether environments are within the healthy ranges, (N,) bool."""
        height, angle = physics.qpos[:, 1], physics.qpos[:, 2]
        return _within(height, self.height_range_m) & _within(angle, self.angle_range_rad)

    def observe(self, physics: Physics) -> jax.Array:
        return jnp.concatenate([physics.qpos[:, self.skipped :], jnp.clip(physics.qvel, -10, 10)], axis=1)

    def reward_terms(self, physics: Physics, action: jax.Array) -> dict[str, jax.Array]:
        return {
            "forward": self._forward(physics),
            "control": -self._control_cost(action),
            "survive": self.healthy(physics) * self.healthy_reward,
        }

    def terminated(self, physics: Physics) -> jax.Array:
        return ~self.healthy(physics) & self.ends_when_unhealthy


class Walker2d(_Upright):
    """A planar biped."""


class Hopper(_Upright):
    """A planar body on one leg; its whole state must stay within bounds."""

    def _read_options(self, env: Any) -> None:
        super()._read_options(env)
        self.state_range = env._healthy_state_range

    def healthy(self, physics: Physics) -> jax.Array:
        state = jnp.concatenate([physics.qpos[:, 2:], physics.qvel], axis=1)
        return super().healthy(physics) & jnp.all(_within(state, self.state_range), axis=1)


class Ant(MujocoTask):
    """A four-legged body in space."""

    fields = ("qpos", "qvel", "ctrl", "xpos")
    tracked_size = 2
    needs_contact_forces = True

    def _read_options(self, env: Any) -> None:
        self.healthy_reward = env._healthy_reward
        self.ends_when_unhealthy = env._terminate_when_unhealthy
        self.height_range_m = env._healthy_z_range
        self.contact_weight = env._contact_cost_weight
        self.contact_range = env._contact_force_range
        self.observes_contact_forces = env._include_cfrc_ext_in_observation
        self.main_body = env.model.body(env._main_body).id

    def _velocity_noise(self, random: np.random.Generator) -> np.ndarray:
        return self.noise * random.standard_normal(self.model.nv)

    def tracked_position(self, state: State) -> np.ndarray:
        return state["xpos"][:, self.main_body, :2]

    def _contact_force(self, physics: Physics) -> jax.Array:
        return jnp.clip(physics.contact_force, *self.contact_range).reshape(len(physics.qpos), -1)

    def _healthy(self, physics: Physics) -> jax.Array:
        height = physics.qpos[:, 2]
        finite = jnp.isfinite(physics.qpos).all(1) & jnp.isfinite(physics.qvel).all(1)
        low, high = self.height_range_m
        return finite & (low <= height) & (height <= high)

    def observe(self, physics: Physics) -> jax.Array:
        parts = [physics.qpos[:, self.skipped :], physics.qvel]
        if self.observes_contact_forces:
            parts.append(self._contact_force(physics))
        return jnp.concatenate(parts, axis=1)

    def reward_terms(self, physics: Physics, action: jax.Array) -> dict[str, jax.Array]:
        return {
            "forward": self._forward(physics),
            "survive": self._healthy(physics) * self.healthy_reward,
            "control": -self._control_cost(action),
            "contact": -self.contact_weight * jnp.sum(jnp.square(self._contact_force(physics)), axis=1),
        }

    def terminated(self, physics: Physics) -> jax.Array:
        return ~self._healthy(physics) & self.ends_when_unhealthy


def _within(x: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    return (bounds[0] < x) & (x < bounds[1])
