"""Gymnasium's MuJoCo tasks: names and mirror image, and the simulation of many environments on the engine `batch`.

Model, weights and options are those of Gymnasium's own environment (gymnasium/envs/mujoco/*_v5.py); names of parts are
those of its models. HalfCheetah-v5, Ant-v5, Hopper-v5 and Walker2d-v5 are simulated here.
"""

import abc
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.bodies.body import Body, Foot
from surefoot.tasks.gymnasium.mujoco_observation import link_partners, observation_parts
from surefoot.tasks.gymnasium.task import GymnasiumTask
from surefoot.tasks.observation import Part
from surefoot.tasks.symmetry import derive_mirror, partners_in_space
from surefoot.tasks.task import State, Task, TaskOutput

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

Measured = Mapping[str, Any]


class NamedMujocoTask(GymnasiumTask):
    """A task whose names follow from its model."""

    @functools.cached_property
    def action_names(self) -> tuple[str, ...] | None:
        """The joint that each action drives."""
        model = self.env.model
        return tuple(model.joint(joint).name for joint in model.actuator_trnid[:, 0]) if self.observation else None

    def observation_parts(self) -> tuple[Part, ...]:
        structure = getattr(self.env, "observation_structure", None)  # None before v5
        return () if structure is None else observation_parts(self.env.model, structure)


class MujocoTask(NamedMujocoTask, Task):
    """A task that Surefoot simulates itself, on the engine `batch`.

    `observe`, `reward_terms` and `terminated` take the arrays of `gather`, (N, ...) each: "qpos"; "qvel";
    "displacement_m", the movement of the tracked position in this step, computed in double precision because positions
    grow without bound; "contact_force", (N, 6 (nbody - 1)), if the task uses contact wrenches.

    Attributes:
        tracked_size: number of coordinates of the tracked position.
    """

    tracked_size = 1

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
        observation = self.observe(measured, xp)
        return TaskOutput(observation, self.reward_terms(measured, action, xp), self.terminated(measured, xp))

    def initial_state(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw qpos (nq,) and qvel (nv,) for a new episode, in Gymnasium's order of draws."""
        noise = self.env._reset_noise_scale
        qpos = self.env.init_qpos + random.uniform(-noise, noise, self.model.nq)
        return qpos, self.env.init_qvel + self._velocity_noise(random)

    def _velocity_noise(self, random: np.random.Generator) -> np.ndarray:
        noise = self.env._reset_noise_scale
        return random.uniform(-noise, noise, self.model.nv)

    def tracked_position(self, state: State) -> np.ndarray:
        """Return the tracked position, (N, tracked_size) float64; its change per step is the forward movement."""
        return state["qpos"][:, :1]

    @abc.abstractmethod
    def observe(self, measured: Measured, xp: Any) -> Any:
        """Return observations (N, D)."""

    @abc.abstractmethod
    def reward_terms(self, measured: Measured, action: Any, xp: Any) -> dict[str, Any]:
        """Return the terms of the reward, (N,) each."""

    def terminated(self, measured: Measured, xp: Any) -> Any:
        """Whether environments terminated, (N,) bool."""
        return xp.zeros(len(measured["qpos"]), bool)

    def _positions(self, measured: Measured) -> Any:
        """Return the positions that are observed."""
        return measured["qpos"][:, self.env.observation_structure["skipped_qpos"] :]

    def _forward(self, measured: Measured) -> Any:
        return self.env._forward_reward_weight * measured["displacement_m"][:, 0] / self.timestep_s

    def _control_cost(self, action: Any, xp: Any) -> Any:
        return self.env._ctrl_cost_weight * xp.sum(xp.square(action), axis=-1)


class HalfCheetah(MujocoTask):
    """A planar cheetah; by definition it cannot fall, and it never terminates."""

    id = "HalfCheetah-v5"
    short_name = "half-cheetah"
    fall = "none"
    body = Body(
        name="HalfCheetah",
        trunk="torso",
        joints=("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"),
        feet=(Foot("fore", ("ffoot",)), Foot("hind", ("bfoot",))),
    )

    def _velocity_noise(self, random: np.random.Generator) -> np.ndarray:
        return self.env._reset_noise_scale * random.standard_normal(self.model.nv)

    def observe(self, measured: Measured, xp: Any) -> Any:
        return xp.concatenate([self._positions(measured), measured["qvel"]], axis=1)

    def reward_terms(self, measured: Measured, action: Any, xp: Any) -> dict[str, Any]:
        return {"forward": self._forward(measured), "control": -self._control_cost(action, xp)}


class Ant(MujocoTask):
    """A four-legged body that runs along x.

    Legs 1 to 4 stand at (x, y) = (+, +), (-, +), (-, -) and (+, -). So leg 1 is the left fore leg, in
    spite of the names in the model's file.
    """

    id = "Ant-v5"
    short_name = "ant"
    fall = "terminated"
    body = Body(
        name="Ant",
        trunk="torso",
        joints=("hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3"),
        feet=(
            Foot("LF", ("left_ankle_geom",)),
            Foot("RF", ("fourth_ankle_geom",)),
            Foot("LH", ("right_ankle_geom",)),
            Foot("RH", ("third_ankle_geom",)),
        ),
        joint_pairs=(("hip_1", "hip_4"), ("ankle_1", "ankle_4"), ("hip_2", "hip_3"), ("ankle_2", "ankle_3")),
        foot_pairs=(("LF", "RF"), ("LH", "RH")),
    )
    fields = ("qpos", "qvel", "ctrl", "xpos")
    tracked_size = 2
    needs_contact_forces = True

    def mirror(self) -> "Mirror | None":
        # A contact force range may be asymmetric; with positions in the observation, no mirror is defined.
        shown = not self.options.get("exclude_current_positions_from_observation", True)
        if self.body is None or not self.observation or shown or "contact_force_range" in self.options:
            return None
        model, start = self.env.model, self.env.init_qpos
        partners = partners_in_space(model, start, self.body)
        if partners is None:
            return None
        return derive_mirror(self.observation, self.body.joints, {**partners, **link_partners(model, start)})

    def _velocity_noise(self, random: np.random.Generator) -> np.ndarray:
        return self.env._reset_noise_scale * random.standard_normal(self.model.nv)

    @functools.cached_property
    def _main_body(self) -> int:
        return self.model.body(self.env._main_body).id

    def tracked_position(self, state: State) -> np.ndarray:
        return state["xpos"][:, self._main_body, :2]

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        return {**super().gather(state), "contact_force": state["contact_force"]}

    def _contact_force(self, measured: Measured, xp: Any) -> Any:
        return xp.clip(measured["contact_force"], *self.env._contact_force_range)

    def _healthy(self, measured: Measured, xp: Any) -> Any:
        qpos, qvel = measured["qpos"], measured["qvel"]
        low, high = self.env._healthy_z_range
        return xp.isfinite(qpos).all(1) & xp.isfinite(qvel).all(1) & (low <= qpos[:, 2]) & (qpos[:, 2] <= high)

    def observe(self, measured: Measured, xp: Any) -> Any:
        parts = [self._positions(measured), measured["qvel"]]
        if self.env._include_cfrc_ext_in_observation:
            parts.append(self._contact_force(measured, xp))
        return xp.concatenate(parts, axis=1)

    def reward_terms(self, measured: Measured, action: Any, xp: Any) -> dict[str, Any]:
        contact = xp.sum(xp.square(self._contact_force(measured, xp)), axis=1)
        return {
            "forward": self._forward(measured),
            "survive": self._healthy(measured, xp) * self.env._healthy_reward,
            "control": -self._control_cost(action, xp),
            "contact": -self.env._contact_cost_weight * contact,
        }

    def terminated(self, measured: Measured, xp: Any) -> Any:
        return ~self._healthy(measured, xp) & self.env._terminate_when_unhealthy


class _Upright(MujocoTask):
    """A planar body that must stay upright."""

    fall = "terminated"

    def healthy(self, measured: Measured, xp: Any) -> Any:
        """Whether environments are within the healthy ranges, (N,) bool."""
        del xp
        height, angle = measured["qpos"][:, 1], measured["qpos"][:, 2]
        return _within(height, self.env._healthy_z_range) & _within(angle, self.env._healthy_angle_range)

    def observe(self, measured: Measured, xp: Any) -> Any:
        return xp.concatenate([self._positions(measured), xp.clip(measured["qvel"], -10, 10)], axis=1)

    def reward_terms(self, measured: Measured, action: Any, xp: Any) -> dict[str, Any]:
        return {
            "forward": self._forward(measured),
            "control": -self._control_cost(action, xp),
            "survive": self.healthy(measured, xp) * self.env._healthy_reward,
        }

    def terminated(self, measured: Measured, xp: Any) -> Any:
        return ~self.healthy(measured, xp) & self.env._terminate_when_unhealthy


class Walker2d(_Upright):
    """A planar biped."""

    id = "Walker2d-v5"
    body = Body(
        name="Walker2d",
        trunk="torso",
        joints=("thigh_joint", "leg_joint", "foot_joint", "thigh_left_joint", "leg_left_joint", "foot_left_joint"),
        feet=(Foot("left", ("foot_left_geom",)), Foot("right", ("foot_geom",))),
        joint_pairs=(
            ("thigh_left_joint", "thigh_joint"),
            ("leg_left_joint", "leg_joint"),
            ("foot_left_joint", "foot_joint"),
        ),
        foot_pairs=(("left", "right"),),
    )


class Hopper(_Upright):
    """A planar body on one leg; its whole state must stay within bounds."""

    id = "Hopper-v5"
    body = Body(
        name="Hopper",
        trunk="torso",
        joints=("thigh_joint", "leg_joint", "foot_joint"),
        feet=(Foot("foot", ("foot_geom",)),),
    )

    def healthy(self, measured: Measured, xp: Any) -> Any:
        state = xp.concatenate([measured["qpos"][:, 2:], measured["qvel"]], axis=1)
        return super().healthy(measured, xp) & xp.all(_within(state, self.env._healthy_state_range), axis=1)


class Swimmer(NamedMujocoTask):
    """A chain of three links in a fluid; it has no feet and cannot fall."""

    id = "Swimmer-v5"
    fall = "none"


_LEG, _ARM = ("hip_x", "hip_z", "hip_y", "knee"), ("shoulder1", "shoulder2", "elbow")


class Humanoid(GymnasiumTask):
    """A body with arms and legs."""

    id = "Humanoid-v5"
    fall = "terminated"
    body = Body(
        name="Humanoid",
        trunk="torso",
        joints=(
            *("abdomen_y", "abdomen_z", "abdomen_x"),
            *(f"{side}_{joint}" for limb in (_LEG, _ARM) for side in ("right", "left") for joint in limb),
        ),
        feet=(Foot("left", ("left_foot",)), Foot("right", ("right_foot",))),
        joint_pairs=tuple((f"left_{joint}", f"right_{joint}") for joint in (*_LEG, *_ARM)),
        foot_pairs=(("left", "right"),),
    )


def _within(x: Any, bounds: tuple[float, float]) -> Any:
    return (bounds[0] < x) & (x < bounds[1])
