"""Gymnasium's MuJoCo tasks: names and mirror image, and the simulation of many environments on the engine `batch`.

Model, weights and options are those of Gymnasium's own environment (gymnasium/envs/mujoco/*_v5.py); names of parts are
those of its models. HalfCheetah-v5, Ant-v5, Hopper-v5 and Walker2d-v5 are simulated here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.bodies.symmetry import find_partners
from surefoot.tasks.gymnasium.mujoco_observation import link_partners
from surefoot.tasks.gymnasium.task import BODIES, GymnasiumTask
from surefoot.tasks.symmetry import derive_mirror
from surefoot.tasks.task import State, Task, TaskOutput

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

Measured = Mapping[str, Any]


class MujocoTask(GymnasiumTask, Task):
    """A task that Surefoot simulates itself, on the engine `batch`.

    The measured arrays, (N, ...) each, are "qpos"; "qvel"; "displacement_m", the movement of the tracked position in
    this step, computed in double precision because positions grow without bound; "contact_force", (N, 6 (nbody - 1)),
    if the task uses contact wrenches.

    Attributes:
        tracked_size: number of coordinates of the tracked position.
        normal_velocities: whether initial velocities are drawn from a normal distribution, not a uniform one.
    """

    tracked_size = 1
    normal_velocities = False

    def __init__(self, env: Any, options: Mapping[str, Any]) -> None:
        super().__init__(env, options)
        self.model, self.frame_skip = env.model, env.frame_skip
        self.observation_space, self.action_space = env.observation_space, env.action_space

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

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        moved = state["position"] - state["position_before"]
        return {"qpos": state["qpos"], "qvel": state["qvel"], "displacement_m": moved}

    def observe_and_reward(self, measured: Measured, action: Any, xp: Any) -> TaskOutput:
        healthy, env = self.healthy(measured, xp), self.env
        positions = measured["qpos"][:, env.observation_structure["skipped_qpos"] :]
        reward_terms = {
            "forward": env._forward_reward_weight * measured["displacement_m"][:, 0] / self.timestep_s,
            "control": -env._ctrl_cost_weight * xp.sum(xp.square(action), axis=-1),
        }
        if healthy is None:
            terminated = xp.zeros(len(positions), bool)
        else:
            reward_terms["survive"] = healthy * env._healthy_reward
            terminated = ~healthy & env._terminate_when_unhealthy
        observation = xp.concatenate([positions, self.velocities(measured, xp)], axis=1)
        return TaskOutput(observation, reward_terms, terminated)

    def initial_state(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw qpos (nq,) and qvel (nv,) for a new episode, in Gymnasium's order of draws."""
        noise, nv = self.env._reset_noise_scale, self.model.nv
        qpos = self.env.init_qpos + random.uniform(-noise, noise, self.model.nq)
        change = noise * random.standard_normal(nv) if self.normal_velocities else random.uniform(-noise, noise, nv)
        return qpos, self.env.init_qvel + change

    def tracked_position(self, state: State) -> np.ndarray:
        """Return the tracked position, (N, tracked_size) float64; its change per step is the forward movement."""
        return state["qpos"][:, :1]

    def velocities(self, measured: Measured, xp: Any) -> Any:
        """Return the velocities as observed, (N, nv)."""
        return measured["qvel"]

    def healthy(self, measured: Measured, xp: Any) -> Any:
        """Whether environments are in a healthy state, (N,) bool; None if every state is."""
        return None


class HalfCheetah(MujocoTask):
    """A planar cheetah; by definition it cannot fall, and it never terminates."""

    fall = "none"
    body = BODIES["HalfCheetah"]
    normal_velocities = True


class Ant(MujocoTask):
    """A four-legged body that runs along x."""

    fall = "terminated"
    body = BODIES["Ant"]
    fields = ("qpos", "qvel", "ctrl", "xpos")
    tracked_size = 2
    normal_velocities = True
    needs_contact_forces = True

    def mirror(self) -> "Mirror | None":
        # A contact force range may be asymmetric; with positions in the observation, no mirror is defined.
        shown = not self.options.get("exclude_current_positions_from_observation", True)
        if self.body is None or not self.observation or shown or "contact_force_range" in self.options:
            return None
        model, start = self.env.model, self.env.init_qpos
        partners = find_partners(model, start, self.body)
        links = link_partners(model, start)
        return derive_mirror(self.observation, self.body.joints, {**partners, **links}) if partners else None

    def tracked_position(self, state: State) -> np.ndarray:
        return state["xpos"][:, self.model.body(self.env._main_body).id, :2]

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        return {**super().gather(state), "contact_force": state["contact_force"]}

    def healthy(self, measured: Measured, xp: Any) -> Any:
        qpos, qvel = measured["qpos"], measured["qvel"]
        low, high = self.env._healthy_z_range
        return xp.isfinite(qpos).all(1) & xp.isfinite(qvel).all(1) & (low <= qpos[:, 2]) & (qpos[:, 2] <= high)

    def observe_and_reward(self, measured: Measured, action: Any, xp: Any) -> TaskOutput:
        observation, terms, terminated = super().observe_and_reward(measured, action, xp)
        force = xp.clip(measured["contact_force"], *self.env._contact_force_range)
        if self.env._include_cfrc_ext_in_observation:
            observation = xp.concatenate([observation, force], axis=1)
        terms = {name: terms[name] for name in ("forward", "survive", "control")}  # Gymnasium's order of summation
        terms["contact"] = -self.env._contact_cost_weight * xp.sum(xp.square(force), axis=1)
        return TaskOutput(observation, terms, terminated)


class _Upright(MujocoTask):
    """A planar body that must stay upright."""

    fall = "terminated"

    def healthy(self, measured: Measured, xp: Any) -> Any:
        height, angle = measured["qpos"][:, 1], measured["qpos"][:, 2]
        return _within(height, self.env._healthy_z_range) & _within(angle, self.env._healthy_angle_range)

    def velocities(self, measured: Measured, xp: Any) -> Any:
        return xp.clip(measured["qvel"], -10, 10)


class Walker2d(_Upright):
    """A planar biped."""

    body = BODIES["Walker2d"]


class Hopper(_Upright):
    """A planar body on one leg; its whole state must stay within bounds."""

    body = BODIES["Hopper"]

    def healthy(self, measured: Measured, xp: Any) -> Any:
        state = xp.concatenate([measured["qpos"][:, 2:], measured["qvel"]], axis=1)
        return super().healthy(measured, xp) & xp.all(_within(state, self.env._healthy_state_range), axis=1)


class Swimmer(GymnasiumTask):
    """A chain of three links in a fluid; it has no feet and cannot fall."""

    fall = "none"


class Humanoid(GymnasiumTask):
    """A body with arms and legs."""

    fall = "terminated"
    body = BODIES["Humanoid"]


def _within(x: Any, bounds: tuple[float, float]) -> Any:
    return (bounds[0] < x) & (x < bounds[1])
