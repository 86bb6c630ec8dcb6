"""ANYmal C walks, and climbs a step: the tasks of an experiment of 2023 (github.com/danimatasd/MUJOCO-AIDL).

Twelve position servos receive target angles at 100 Hz. The reward is the velocity along x plus the base's height above
0.5 m, summed over the five physics steps of an action. The experiment's best return, 6,036, corresponds to about 1.5
m/s for 8 s. A fall costs 100 and ends the episode.

Differences from the experiment, each undone by an option: the robot faces its direction of travel (`facing`), the base
has the mass its maker states (`base`), friction cones are pyramidal (`contact`), and initial states are randomised
(`reset_noise`). The observation leaves out the position in the world.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import mujoco
import numpy as np
from pydantic import Field, model_validator

from surefoot.bodies import anymal_c
from surefoot.bodies.scene import Contact, add_block
from surefoot.tasks.observation import axial, per_joint, polar, quaternion, scalars
from surefoot.tasks.options import TaskOptions
from surefoot.tasks.symmetry import task_mirror
from surefoot.tasks.task import State, Task, TaskOutput

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

# Joint targets are the action in rad for HFE and KFE; the range of HAA is smaller, and differs between the sides.
_ACTION_SCALE = np.tile([0.6, 1.0, 1.0], 4)
_ACTION_OFFSET = np.array([0.1 * shoulder * inner for shoulder in (-1, 1, -1, 1) for inner in (1, 0, 0)])
_HEIGHT_OFFSET_M = 0.5
_FALL_REWARD = -100.0
_SPAWN_HEIGHT_M = 0.62
_HALF_TRUNK_M = 0.53
# Points along x at which the ground's height is observed: from the hind feet to well ahead of the front feet.
_GROUND_POINTS_M = np.array([-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25])
_FRAME_SKIP = 5
_UNDERGROUND_M = 0.3  # on blocks of 2 cm policies fall; see docs/results/experiments/2026-anymal-step.md
_RISE_M = 0.01  # height difference between neighbouring steps of a curriculum
_RANDOM_STARTS = 0.5  # fraction of a curriculum's episodes that start below the height reached


class AnymalCOptions(TaskOptions):
    """Options of `AnymalC`."""

    base: anymal_c.Base = "urdf"
    """Mass and inertia of the base: "urdf" (26.4 kg) or "menagerie" (19.2 kg)."""
    facing: Literal["forward", "backward"] = "forward"
    """Direction in which the robot faces at the start; "backward" as in the experiment."""
    contact: Contact = "pyramidal"
    """Friction cone: "pyramidal", or "elliptic" as in the experiment."""
    motor: anymal_c.Motor = "servo"
    """Torque: "servo" gives up to 80 N m at any speed; "limited" gives less above 2.5 rad/s and 0 at 7.5 rad/s."""
    fall_height: float = Field(0.3, ge=0, le=0.6)
    """Height of the base (m) below which the robot has fallen; the experiment uses 0.3 and 0.45."""
    reset_noise: float = Field(0.05, ge=0, le=0.5)
    """Largest deviation of initial joint angles (rad) and velocities (m/s, rad/s) from rest; the experiment uses 0."""
    visuals: bool = True
    """Whether the robot has geometry that is only visual."""


class AnymalC(Task):
    """ANYmal C runs on flat ground."""

    fall = "terminated"
    Options = AnymalCOptions
    headless_options = MappingProxyType({"visuals": False})
    body = anymal_c.BODY
    frame_skip = _FRAME_SKIP
    recorded_fields = ("qpos", "qvel")
    observation = (
        scalars("base height"),
        quaternion("base quaternion {}"),
        per_joint("{} angle", anymal_c.JOINTS),
        polar("base velocity {}"),
        axial("base turning rate {}"),
        per_joint("{} velocity", anymal_c.JOINTS),
    )

    def __init__(self, options: AnymalCOptions) -> None:
        super().__init__(options)
        spec = anymal_c.make_scene(
            0.002,
            options.contact,
            options.base,
            armature=anymal_c.ARMATURE if options.motor == "limited" else 0.0,
            motor=options.motor,
            visuals=options.visuals,
        )
        self.add_obstacles(spec)
        self.model = spec.compile()
        self._start = self.model.qpos0.copy()
        self._start[2] = _SPAWN_HEIGHT_M
        if options.facing == "backward":
            self._start[3:7] = 0, 0, 0, 1

    def add_obstacles(self, spec: mujoco.MjSpec) -> None:
        """Add obstacles to the scene."""

    def mirror(self) -> "Mirror | None":
        if self.options.facing == "backward":
            return None  # facing backward, w is 0, and mirroring would flip the sign of the quaternion
        return task_mirror(self, self._start)

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        size = self.options.reset_noise
        for env in env_indices:
            noise = rngs[env].uniform(-size, size, 30)
            state["qpos"][env] = self._start
            state["qpos"][env, 7:] += noise[:12]
            state["qvel"][env] = noise[12:]

    def apply_action(self, state: State, action: np.ndarray) -> None:
        state["ctrl"][:] = action * _ACTION_SCALE + _ACTION_OFFSET

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        weight = _FRAME_SKIP / self.frame_skip  # the reward is the same at a finer physics step
        advance = weight * state["qvel_trace"][:, :, 0].sum(1)
        height = weight * (state["qpos_trace"][:, :, 2] - _HEIGHT_OFFSET_M).sum(1)
        return {"qpos": state["qpos"][:, 2:], "qvel": state["qvel"], "advance": advance, "height": height}

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        fallen = measured["qpos"][:, 0] < self.options.fall_height
        reward_terms = {
            "advance": measured["advance"][:, 0],
            "height": measured["height"][:, 0],
            "fall": xp.where(fallen, _FALL_REWARD, 0.0),
        }
        return TaskOutput(xp.concatenate([measured["qpos"], measured["qvel"]], axis=1), reward_terms, fallen)


class AnymalCStepOptions(AnymalCOptions):
    """Options of `AnymalCStep`."""

    step_height: float = Field(0.15, ge=0.001, le=1)
    """Height of the steps, m."""
    step_start: float = Field(1.5, ge=0.8, le=100)
    """Distance from the robot's start to the first step, m."""
    step_length: float = Field(4.0, ge=0.1, le=100)
    """Length of each step, m."""
    steps: int = Field(1, ge=1, le=20)
    """Number of steps."""
    step_gap: float = Field(2.0, ge=0.1, le=100)
    """Distance from the end of one step to the start of the next, m."""
    lowest_step: float | None = Field(None, ge=0)
    """If given, each episode draws the steps' heights between this and `step_height`, in rising order."""
    curriculum: bool = False
    """Whether the steps of each environment grow from `lowest_step` with its success. Each step is 1 cm higher than the
    one before. Half of the episodes start 1 cm below the environment's level, the others at a random height below that.
    The level rises to the highest step climbed. It falls if an episode that started at it ends on a lower step."""
    observe_ground: bool = False
    """Whether heights of the ground at eight points along x are observed; the experiment observes none."""

    @model_validator(mode="after")
    def _heights_fit(self) -> Self:
        if self.lowest_step is not None and self.lowest_step > self.step_height:
            raise ValueError(f"lowest_step = {self.lowest_step:g} must not exceed step_height = {self.step_height:g}")
        if self.curriculum and self.lowest_step is None:
            raise ValueError("curriculum needs a lowest_step to begin with")
        return self


class AnymalCStep(AnymalC):
    """ANYmal C climbs up and down one or several steps of unlimited width."""

    Options = AnymalCStepOptions
    options: AnymalCStepOptions

    def __init__(self, options: AnymalCStepOptions) -> None:
        self.step_starts_m = options.step_start + (options.step_length + options.step_gap) * np.arange(options.steps)
        self.step_ends_m = self.step_starts_m + options.step_length
        self._lowest_m = options.step_height if options.lowest_step is None else options.lowest_step
        super().__init__(options)
        self._blocks = [self.model.geom(f"step {number}").id for number in range(options.steps)]
        if self._lowest_m < options.step_height:
            self.randomised_fields = ("geom_pos",)
        if options.observe_ground:
            names = (f"ground height at {distance:+.2f} m" for distance in _GROUND_POINTS_M)
            self.observation = (*self.observation, scalars(*names))

    def init_buffers(self, num_envs: int) -> State:
        height = np.zeros if self.options.curriculum else np.ones
        buffers = {"step_height": self.options.step_height * height((num_envs, self.options.steps))}
        if self.options.curriculum:
            buffers |= {name: np.zeros((num_envs, 1)) for name in ("farthest", "level")}
        return buffers

    def reset_curriculum(self, state: State) -> None:
        if self.options.curriculum:
            for name in ("step_height", "farthest", "level"):
                state[name][:] = 0

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        super().reset(state, env_indices, rngs)
        highest = self.options.step_height
        if self._lowest_m < highest:
            for env in env_indices:
                heights = self._draw_heights(state, env, rngs[env])
                state["step_height"][env] = heights
                state["geom_pos"][env, self._blocks, 2] = heights - (highest + _UNDERGROUND_M) / 2

    def _draw_heights(self, state: State, env: int, rng: np.random.Generator) -> np.ndarray:
        """Return the heights of an environment's steps for a new episode, m."""
        lowest, highest, count = self._lowest_m, self.options.step_height, self.options.steps
        if not self.options.curriculum:
            return np.sort(rng.uniform(lowest, highest, count))
        before, level = state["step_height"][env], state["level"][env, 0]
        climbed = before[state["farthest"][env, 0] > self.step_ends_m]
        reached = climbed[-1] if len(climbed) else before[0] - _RISE_M
        started_at_level = before[0] >= level - _RISE_M
        state["level"][env] = level = reached if started_at_level else max(level, reached)
        state["farthest"][env] = 0
        first = level - _RISE_M
        if rng.random() < _RANDOM_STARTS:
            first = rng.uniform(lowest, max(first, lowest))
        return np.clip(max(first, lowest) + _RISE_M * np.arange(count), None, highest)

    def curriculum_metrics(self, state: State) -> dict[str, float]:
        return {"level_m": float(state["level"].mean())} if self.options.curriculum else {}

    def post_step(self, state: State) -> None:
        if self.options.curriculum:
            np.maximum(state["farthest"], state["qpos"][:, :1] - _HALF_TRUNK_M, out=state["farthest"])

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        measured = super().gather(state)
        if not self.options.observe_ground:
            return measured
        points = (state["qpos"][:, :1] + _GROUND_POINTS_M)[:, :, None]
        on_step = (self.step_starts_m < points) & (points < self.step_ends_m)
        return {**measured, "ground": (state["step_height"][:, None] * on_step).sum(2)}

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        output = super().observe_and_reward(measured, action, xp)
        if not self.options.observe_ground:
            return output
        return output._replace(observation=xp.concatenate([output.observation, measured["ground"]], axis=1))

    def crossed(self, qpos: np.ndarray) -> np.ndarray:
        """Whether the whole trunk is beyond the last step, (N,) bool, at positions (N, 19)."""
        return qpos[:, 0] > self.step_ends_m[-1] + _HALF_TRUNK_M

    def add_obstacles(self, spec: mujoco.MjSpec) -> None:
        height = self.options.step_height
        for number, (start, end) in enumerate(zip(self.step_starts_m, self.step_ends_m, strict=True)):
            add_block(spec, f"step {number}", (start, -50, -_UNDERGROUND_M), (end, 50, height))
