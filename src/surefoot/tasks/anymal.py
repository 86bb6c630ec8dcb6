"""ANYmal C walks, and climbs a step: the tasks of an experiment of 2023 (github.com/danimatasd/MUJOCO-AIDL).

Twelve servos are told angles 100 times a second. What is rewarded is to be fast and high: the velocity along x plus
the base's height over 0.5 m, summed over the five physics steps of an action, so that 6,036, the experiment's best, is
about 1.5 m/s for 8 s. A fall costs 100 and ends the episode.

What differs here, and can be turned back by an option: the robot faces the way it is to go (`facing`), the base is as
heavy as its maker says (`base`), contacts are of the quicker kind (`contact`), and episodes do not all begin in exactly
the same state (`reset_noise`). The observation leaves out where in the world it is.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np

from surefoot.bodies import anymal_c
from surefoot.bodies.scene import Contact, add_block, new_scene
from surefoot.tasks.options import check_choice, check_flag, check_integer, check_number
from surefoot.tasks.task import Rows, Task, TaskOutput

# Joint targets are the action in rad for HFE and KFE; the shoulder, HAA, has a shorter way to go, to each side its own.
_ACTION_SCALE = np.tile([0.6, 1.0, 1.0], 4)
_ACTION_OFFSET = np.array([0.1 * shoulder * inner for shoulder in (-1, 1, -1, 1) for inner in (1, 0, 0)])
_HEIGHT_OFFSET_M = 0.5
_FALL_REWARD = -100.0
_SPAWN_HEIGHT_M = 0.62
_HALF_TRUNK_M = 0.53
# Places where the ground can be seen: from the hind feet to a good step in front of the face.
_LOOK_AHEAD_M = np.array([-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25])
_RISE_M = 0.01  # from step to step of a curriculum
_PHYSICS_STEP_S = 0.002
_FRAME_SKIP = 5


class AnymalC(Task):
    """The task on the flat; see the module."""

    body = anymal_c.BODY
    fields = ("qpos", "qvel", "ctrl")
    frame_skip = _FRAME_SKIP
    recorded_fields = ("qpos", "qvel")
    headless_options = MappingProxyType({"visuals": False})

    def __init__(
        self,
        base: anymal_c.Base = "urdf",
        facing: Literal["forward", "backward"] = "forward",
        contact: Contact = "pyramidal",
        motor: anymal_c.Motor = "servo",
        fall_height: float = 0.3,
        reset_noise: float = 0.05,
        visuals: bool = True,
    ) -> None:
        """Build the task.

        Args:
            base: the base's mass and inertia, "urdf" (26.4 kg) or "menagerie" (19.2 kg).
            facing: "forward", or "backward", as in the experiment, where the robot walks with its back in front.
            contact: "pyramidal", or "elliptic" as in the experiment.
            motor: "servo" gives up to 80 N m at any speed; "limited" ever less from 2.5 rad/s on, nothing at 7.5, and
                brakes beyond.
            fall_height: the base's height in metres below which it has fallen; the experiment gives 0.3 and 0.45.
            reset_noise: joint angles (rad) and velocities (m/s, rad/s) begin up to this far from rest; 0 as there.
            visuals: whether the robot has parts that are only there to be seen.

        Raises:
            ValueError: an option has another value.
        """
        check_choice("base", base, anymal_c.Base)
        check_choice("contact", contact, Contact)
        check_choice("facing", facing, Literal["forward", "backward"])
        check_choice("motor", motor, anymal_c.Motor)
        check_number("fall_height", fall_height, 0, 0.6)
        check_number("reset_noise", reset_noise, 0, 0.5)
        check_flag("visuals", visuals)
        self._fall_height = fall_height
        self._noise = reset_noise
        spec = new_scene(_PHYSICS_STEP_S, contact)
        anymal_c.add_anymal_c(spec, base, motor=motor, visuals=visuals)
        self._furnish(spec)
        self.model = spec.compile()
        self._start = self.model.qpos0.copy()
        self._start[2] = _SPAWN_HEIGHT_M
        if facing == "backward":
            self._start[3:7] = 0, 0, 0, 1
        self.columns = {"qpos": 17, "qvel": 18, "advance": 1, "height": 1}
        size = len(self.observation_names)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (12,), np.float32)

    def _furnish(self, spec: mujoco.MjSpec) -> None:
        """Add what stands in the way."""

    @property
    def observation_names(self) -> tuple[str, ...]:
        """What each value of the observation is, in order."""
        axes = ("x", "y", "z")
        return (
            "base height",
            *(f"base quaternion {part}" for part in "wxyz"),
            *(f"{joint} angle" for joint in anymal_c.JOINTS),
            *(f"base velocity {axis}" for axis in axes),
            *(f"base turning rate {axis}" for axis in axes),
            *(f"{joint} velocity" for joint in anymal_c.JOINTS),
        )

    def reset(self, rows: Rows, copies: np.ndarray, randoms: Sequence[np.random.Generator]) -> None:
        for copy in copies:
            noise = randoms[copy].uniform(-self._noise, self._noise, 30)
            rows["qpos"][copy] = self._start
            rows["qpos"][copy, 7:] += noise[:12]
            rows["qvel"][copy] = noise[12:]

    def apply_action(self, rows: Rows, action: np.ndarray) -> None:
        rows["ctrl"][:] = action * _ACTION_SCALE + _ACTION_OFFSET

    def gather(self, rows: Rows) -> Sequence[np.ndarray]:
        advance = rows["qvel_trace"][:, :, 0].sum(1, keepdims=True)
        height = (rows["qpos_trace"][:, :, 2] - _HEIGHT_OFFSET_M).sum(1, keepdims=True)
        return rows["qpos"][:, 2:], rows["qvel"], advance, height

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        del action
        fell = measured["qpos"][:, 0] < self._fall_height
        terms = {
            "advance": measured["advance"][:, 0],
            "height": measured["height"][:, 0],
            "fall": xp.where(fell, _FALL_REWARD, 0.0),
        }
        return TaskOutput(xp.concatenate([measured["qpos"], measured["qvel"]], axis=1), terms, fell)


class AnymalCStep(AnymalC):
    """The same with a step in the way, as wide as the world, to be climbed and left again; or with several."""

    def __init__(
        self,
        step_height: float = 0.15,
        step_start: float = 1.5,
        step_length: float = 4.0,
        steps: int = 1,
        step_gap: float = 2.0,
        lowest_step: float | None = None,
        curriculum: bool = False,
        observe_ground: bool = False,
        **options: Any,
    ) -> None:
        """Build the task.

        Args:
            step_height: in metres.
            step_start: where it begins, in metres from the robot's place.
            step_length: how long it is, in metres.
            steps: how many there are.
            step_gap: from the end of one to the beginning of the next, in metres.
            lowest_step: if given, each episode draws its steps' heights between this and `step_height`; lower ones come
                first, so that the way becomes harder.
            curriculum: let each copy's steps grow from `lowest_step` on, as it learns to climb them. Each is a
                centimetre higher than the one before; an episode begins a centimetre below the highest that the last
                climbed, or, if it climbed none, two centimetres lower; from the top, anywhere.
            observe_ground: see how high the ground is at some places in front, beyond what the experiment's robot saw.
            **options: those of `AnymalC`.

        Raises:
            ValueError: an option has another value.
        """
        check_number("step_height", step_height, 0.001, 1)
        check_number("step_start", step_start, 0.8, 100)
        check_number("step_length", step_length, 0.1, 100)
        check_integer("steps", steps, 1, 20)
        check_number("step_gap", step_gap, 0.1, 100)
        if lowest_step is not None:
            check_number("lowest_step", lowest_step, 0, step_height)
        check_flag("curriculum", curriculum)
        if curriculum and lowest_step is None:
            raise ValueError("curriculum needs a lowest_step to begin with")
        check_flag("observe_ground", observe_ground)
        self.step_height_m = step_height
        self.step_starts_m = step_start + (step_length + step_gap) * np.arange(steps)
        self.step_ends_m = self.step_starts_m + step_length
        self._lowest_m = step_height if lowest_step is None else lowest_step
        self._sees, self._grows = observe_ground, curriculum
        super().__init__(**options)
        self._blocks = [self.model.geom(f"step {number}").id for number in range(steps)]
        if self._lowest_m < step_height:
            self.randomised_fields = ("geom_pos",)
        if self._sees:
            self.columns = {**self.columns, "ground": len(_LOOK_AHEAD_M)}

    @property
    def observation_names(self) -> tuple[str, ...]:
        """What each value of the observation is, in order."""
        seen = (f"ground height at {distance:+.2f} m" for distance in _LOOK_AHEAD_M) if self._sees else ()
        return *super().observation_names, *seen

    def init_buffers(self, count: int) -> Rows:
        height = np.zeros if self._grows else np.ones
        kept = {"step_height": self.step_height_m * height((count, len(self.step_starts_m)))}
        return kept | ({"farthest": np.zeros((count, 1))} if self._grows else {})

    def reset_curriculum(self, rows: Rows) -> None:
        if self._grows:
            rows["step_height"][:] = 0
            rows["farthest"][:] = 0

    def reset(self, rows: Rows, copies: np.ndarray, randoms: Sequence[np.random.Generator]) -> None:
        super().reset(rows, copies, randoms)
        if self._lowest_m < self.step_height_m:
            for copy in copies:
                heights = self._draw_heights(rows, copy, randoms[copy])
                rows["step_height"][copy] = heights
                rows["geom_pos"][copy, self._blocks, 2] = heights - self.step_height_m / 2  # the rest is underground

    def _draw_heights(self, rows: Rows, copy: int, random: np.random.Generator) -> np.ndarray:
        count = len(self._blocks)
        if not self._grows:
            return np.sort(random.uniform(self._lowest_m, self.step_height_m, count))
        before = rows["step_height"][copy]
        climbed = before[rows["farthest"][copy, 0] > self.step_ends_m]
        rows["farthest"][copy] = 0
        first = climbed[-1] - _RISE_M if len(climbed) else before[0] - 2 * _RISE_M
        if len(climbed) and climbed[-1] >= self.step_height_m:
            first = random.uniform(self._lowest_m, self.step_height_m)
        return np.clip(max(first, self._lowest_m) + _RISE_M * np.arange(count), None, self.step_height_m)

    def curriculum_metrics(self, rows: Rows) -> dict[str, float]:
        return {"lowest_step_m": float(rows["step_height"][:, 0].mean())} if self._grows else {}

    def post_step(self, rows: Rows) -> None:
        if self._grows:
            np.maximum(rows["farthest"], rows["qpos"][:, :1] - _HALF_TRUNK_M, out=rows["farthest"])

    def gather(self, rows: Rows) -> Sequence[np.ndarray]:
        measured = super().gather(rows)
        if not self._sees:
            return measured
        places = (rows["qpos"][:, :1] + _LOOK_AHEAD_M)[:, :, None]
        on_step = (self.step_starts_m < places) & (places < self.step_ends_m)
        return *measured, (rows["step_height"][:, None] * on_step).sum(2)

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        reading = super().observe_and_reward(measured, action, xp)
        if not self._sees:
            return reading
        return reading._replace(observation=xp.concatenate([reading.observation, measured["ground"]], axis=1))

    def crossed(self, qpos: np.ndarray) -> np.ndarray:
        """Tell which copies, at (N, 19) positions, have all of their trunk behind the last step, (N,) bool."""
        return qpos[:, 0] > self.step_ends_m[-1] + _HALF_TRUNK_M

    def _furnish(self, spec: mujoco.MjSpec) -> None:
        for number, (start, end) in enumerate(zip(self.step_starts_m, self.step_ends_m, strict=True)):
            add_block(spec, f"step {number}", (start, -50, 0), (end, 50, self.step_height_m))
