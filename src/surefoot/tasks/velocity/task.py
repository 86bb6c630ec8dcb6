"""ANYmal C follows a commanded velocity: forward, sideways, turning.

Fifty times a second twelve servos (80 N m / rad, 2 N m s / rad) are told angles: those that hold the robot in a
standing pose, plus half the action, in rad. (legged_gym tells them the pose itself, in which such servos give way until
the robot kneels; from there nothing is learnt on a small computer.) A motor gives up to 80 N m, less from 2.5 rad/s on,
nothing at 7.5 rad/s. Observation, noise, commands, pushes, and most terms of the reward are those of legged_gym (Rudin
et al. 2021, arXiv 2109.11978); see `tasks.reward_terms`, `tasks.commands` and `tasks.randomisation`.

By default a clock is observed whose beat a trot should follow; training then finds a gait in far fewer steps.

Feet and knees touch the ground. The trunk need not, for an episode ends as soon as it would.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np

from surefoot.bodies import anymal_c
from surefoot.tasks import rotations
from surefoot.tasks.observation import Part, at_points, axial, per_foot, per_joint, polar, scalars, sideways
from surefoot.tasks.options import check_choice, check_flag, check_number, sorted_options
from surefoot.tasks.symmetry import task_mirror
from surefoot.tasks.task import State, Task, TaskOutput
from surefoot.tasks.velocity import robot
from surefoot.tasks.velocity.commands import Commands
from surefoot.tasks.velocity.domain_randomization import DomainRandomizer, RandomizationSettings
from surefoot.tasks.velocity.hash_rng import uniform
from surefoot.tasks.velocity.reward_terms import Moment, merged_weights, weighted_terms
from surefoot.tasks.velocity.terrain import STUCK, Curriculum, Terrain, TerrainSettings

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

_MOST_ACTION = 2.0
_COS_MOST_TILT = float(np.cos(np.radians(70)))
_USE_OF_NOISE, _USE_OF_START = 0, 4  # of chance
_LEAST_STEP_S = 1e-6
_WEIGHTS_WITHOUT_CLOCK = {"gait": 0.0, "feet_air_time": 2.0}

# legged_gym's noise of velocity, turning rate, gravity, command, joint angles and velocities.
_NOISE = [*[0.1] * 3, *[0.2] * 3, *[0.05] * 3, *[0.0] * 3, *[0.01] * 12, *[1.5] * 12]
# Where the ground is looked at from the trunk, m ahead and to the left: for the trunk's own sake, and to be observed.
_UNDER = np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 1)]) * [robot.TRUNK_LENGTH_M, robot.TRUNK_WIDTH_M]
_SCAN = np.array([[x, y] for x in np.linspace(-0.8, 0.8, 9) for y in np.linspace(-0.5, 0.5, 5)])
# Where a moving foot will be next, m.
_AHEAD_OF_FOOT_M = (0.1, 0.2)
_HEIGHTS = {"height": 1, "foot_height": 4, "knee_height": 4, "foot_velocity": 12}
# What is kept from step to step and read: name and width.
_REMEMBERED = {
    **{"joint": 12, "velocity_before": 12, "action": 12, "action_before": 12},
    **{"command": 3, "followed": 3, "touched": 4, "air_time": 4, "phase": 1},
}


class AnymalCVelocity(Task):
    """The task; see the module."""

    fall = "terminated"
    takes_keywords = True
    body = anymal_c.BODY
    action_names = anymal_c.JOINTS
    frame_skip = robot.FRAME_SKIP
    per_substep_control = True
    changes_model_constants = True
    headless_options = MappingProxyType({"visuals": False})

    def __init__(
        self,
        base: anymal_c.Base = "urdf",
        motor: anymal_c.Motor = "limited",
        action_scale: float = 0.5,
        gait: Literal["trot", "free"] = "trot",
        gait_hz: float = 1.75,
        reset_noise: float = 1.0,
        weights: Mapping[str, float] | None = None,
        clip_reward_at_zero: bool = True,
        visuals: bool = True,
        **options: Any,
    ) -> None:
        """Build the task.

        Args:
            base: the base's mass and inertia, "urdf" (26.4 kg) or "menagerie" (19.2 kg).
            motor: "limited" gives ever less from 2.5 rad/s on, nothing at 7.5, and brakes beyond; "servo" up to 80 N m
                at any speed.
            action_scale: how many rad an action of 1 is.
            gait: "trot" observes a clock and rewards feet that keep to it; "free" has none.
            gait_hz: strides a second.
            reset_noise: how unlike episodes begin: 0 all alike; 1 with joints at 0.5 to 1.5 times the angles of the
                pose, and up to 0.5 m/s and 0.5 rad/s.
            weights: of terms of the reward, instead of those in `reward_terms.WEIGHTS`.
            clip_reward_at_zero: whether the sum of all terms is never less than 0, so that falling early pays nothing.
            visuals: whether the robot has parts that are only there to be seen.
            **options: those of `Commands`, `RandomizationSettings` and `TerrainSettings`.

        Raises:
            ValueError: an option has another value.
            TypeError: there is no such option.
        """
        check_choice("base", base, anymal_c.Base)
        check_choice("motor", motor, anymal_c.Motor)
        check_number("action_scale", action_scale, 0.01, 2)
        check_choice("gait", gait, Literal["trot", "free"])
        check_number("gait_hz", gait_hz, 0.5, 5)
        check_number("reset_noise", reset_noise, 0, 1)
        check_flag("clip_reward_at_zero", clip_reward_at_zero)
        check_flag("visuals", visuals)
        self.commands, randomisation, ground = sorted_options(options, Commands, RandomizationSettings, TerrainSettings)
        self._terrain = None if ground.terrain == "flat" else Terrain(ground.terrain)
        self._curriculum = None if self._terrain is None else Curriculum(self._terrain, ground.level)
        self._stuck_ends = ground.terminate_when_stuck and self._terrain is not None
        self._looks_down = ground.observe_heights
        self.weights = merged_weights(weights, _WEIGHTS_WITHOUT_CLOCK if gait == "free" else {})
        self._scale, self._clocked, self._spread, self._clip_at_zero = (
            action_scale,
            gait == "trot",
            reset_noise,
            clip_reward_at_zero,
        )
        self.model = robot.make_model(base, motor, visuals, self._terrain)
        self._rest = robot.POSE + robot.holding_torque(self.model) / robot.STIFFNESS
        self._variation = DomainRandomizer(randomisation, self.model, robot.FRAME_SKIP)
        self.fields = ("qpos", "qvel", "ctrl", "sensordata", "actuator_force")
        self.randomised_fields = self._variation.randomised_fields
        self._command_steps = max(1, round(self.commands.command_every_s / self.timestep_s))
        self._turn = 2 * np.pi * gait_hz * self.timestep_s
        self._soft_range = robot.soft_range(self.model)
        self._limits = tuple(anymal_c.figures()[name] for name in ("torque_limit", "speed_limit"))
        self._lay_out(randomisation.noise, ground.height_noise)

    def _lay_out(self, noise: float, height_noise: float) -> None:
        """Say what is measured, observed and done, and how noisy the sensors are."""
        self.columns = {"chance": 3, "quat": 4, "qvel": 18, "torque": 12, **_HEIGHTS, **_REMEMBERED}
        if self._terrain is not None:
            self.columns |= {"under_trunk": len(_UNDER), "rise": 4, "progress": 1}
        if self._looks_down:
            self.columns["scan"] = len(_SCAN)
        self.observation = self._observation_parts()
        size, scan = len(self.observation_names), len(_SCAN) if self._looks_down else 0
        amplitudes = [*_NOISE, *[0.0] * (size - scan - len(_NOISE)), *[height_noise] * scan]
        self._noise_scale = noise * np.array(amplitudes, np.float32)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-_MOST_ACTION, _MOST_ACTION, (12,), np.float32)

    def _observation_parts(self) -> tuple[Part, ...]:
        joints = anymal_c.JOINTS
        clock = (sideways("clock sine", "clock cosine"),)  # half a period apart when the diagonal pairs change places
        return (
            polar("base velocity {}"),
            axial("base turning rate {}"),
            polar("gravity {}"),
            scalars("command forward"),
            sideways("command left", "command turning left"),
            per_joint("{} offset", joints),
            per_joint("{} velocity", joints),
            per_joint("{} last action", joints),
            per_foot("{} foot contact", anymal_c.LEGS),
            *(clock if self._clocked else ()),
            *((at_points("ground at {:.1f}, {:.2f}", _SCAN),) if self._looks_down else ()),
        )

    def mirror(self) -> "Mirror | None":
        qpos = self.model.qpos0.copy()
        qpos[2], qpos[7:] = 1, robot.POSE
        return task_mirror(self, qpos)

    def init_buffers(self, num_envs: int) -> State:
        widths = _REMEMBERED | {"target": 12, "up": 4, "delay": 1}
        widths |= self.commands.remembered
        widths |= {} if self._curriculum is None else self._curriculum.remembered
        kept = {name: np.zeros((num_envs, width)) for name, width in widths.items()}
        return kept | {"key": np.zeros(num_envs, np.uint32), "step": np.zeros(num_envs, np.int32)}

    def reset_curriculum(self, state: State) -> None:
        if self._curriculum is not None:
            self._curriculum.reset_curriculum(state)

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        key = np.array([rngs[env].integers(2**32, dtype=np.uint32) for env in env_indices], np.uint32)
        start = np.zeros(len(env_indices), np.uint32)
        state["key"][env_indices], state["step"][env_indices] = key, start
        for name in (*_REMEMBERED, "up"):
            state[name][env_indices] = 0
        self._variation.begin(state, env_indices, key)
        drawn = self._spread * uniform(key, _USE_OF_START, start, 18, np)
        angles = robot.POSE * (1 + 0.5 * drawn[:, :12])
        state["qpos"][env_indices, 7:] = angles
        self._place(state, env_indices, robot.standing_height(angles))
        state["qvel"][env_indices] = 0
        state["qvel"][env_indices, :6] = 0.5 * drawn[:, 12:]
        state["target"][env_indices] = self._rest
        state["joint"][env_indices] = angles - robot.POSE
        self.commands.give(state, env_indices, start)
        state["followed"][env_indices] = state["command"][env_indices]
        if self._clocked:
            state["phase"][env_indices, 0] = np.pi * uniform(key, _USE_OF_START, start + np.uint32(1), 1, np)[:, 0]

    def _place(self, state: State, env_indices: np.ndarray, height: np.ndarray) -> None:
        """Put trunks so high over the ground under their feet, level, where the curriculum wants them."""
        if self._curriculum is None or self._terrain is None:
            state["qpos"][env_indices, :7] = 0, 0, 0, 1, 0, 0, 0
            state["qpos"][env_indices, 2] = height
            return
        place, facing = self._curriculum.begin(state, env_indices, state["key"][env_indices])
        ahead, aside = np.cos(facing)[:, None], np.sin(facing)[:, None]
        x, y = np.array([[1, 1, -1, -1, 0], [1, -1, 1, -1, 0]]) * [[robot.STANCE_M[0]], [robot.STANCE_M[1]]]
        ground = self._terrain.height(place[:, :1] + ahead * x - aside * y, place[:, 1:] + aside * x + ahead * y)
        state["qpos"][env_indices, :2] = place
        state["qpos"][env_indices, 2] = height + ground.max(1)
        state["qpos"][env_indices, 3:7] = 0
        state["qpos"][env_indices, 3], state["qpos"][env_indices, 6] = np.cos(facing / 2), np.sin(facing / 2)

    def apply_action(self, state: State, action: np.ndarray) -> None:
        state["followed"][:] = state["command"]
        state["velocity_before"][:] = state["qvel"][:, 6:]
        state["action_before"][:] = state["action"]
        state["action"][:] = action
        before = state["target"].copy()
        state["target"][:] = self._rest + self._scale * state["action"]
        arrived = np.arange(robot.FRAME_SKIP) >= state["delay"]
        state["ctrl_schedule"][:] = np.where(arrived[:, :, None], state["target"][:, None], before[:, None])
        self._variation.push(state)

    def post_step(self, state: State) -> None:
        state["step"] += 1
        state["joint"][:] = state["qpos"][:, 7:] - robot.POSE
        # As in legged_gym a foot counts as down if it was so at this step or the last: single misses are overlooked.
        contact = state["sensordata"][:, robot.CONTACT] > 0
        down = contact | (state["touched"] > 0)
        state["touched"][:] = contact
        state["up"] += self.timestep_s
        landed = down & (state["up"] > self.timestep_s + _LEAST_STEP_S)
        state["air_time"][:] = np.where(landed, state["up"], 0)
        state["up"][down] = 0
        if self._clocked:
            state["phase"][:] = (state["phase"] + self._turn) % (2 * np.pi)
        if self._curriculum is not None:
            self._curriculum.after(state, self.timestep_s)
        due = np.flatnonzero(state["step"] % self._command_steps == 0)
        if len(due):
            self.commands.give(state, due, state["step"][due] // self._command_steps)
        self.commands.steer(state)

    def gather(self, state: State) -> Sequence[np.ndarray]:
        key = state["key"]
        chance = np.stack([key >> np.uint32(16), key & np.uint32(0xFFFF), state["step"]], axis=1)
        qpos, sensed = state["qpos"], state["sensordata"]
        feet, knees = sensed[:, robot.FEET], sensed[:, robot.KNEES]
        foot_height, knee_height, ground = feet[:, 2::3], knees[:, 2::3], []
        if self._terrain is not None:
            below = self._terrain.height(feet[:, 0::3], feet[:, 1::3])
            foot_height = foot_height - below
            knee_height = knee_height - self._terrain.height(knees[:, 0::3], knees[:, 1::3])
            rotation = rotations.matrices(qpos[:, 3:7], np)
            ground.append(self._ground_at(qpos, rotation[:, 0, :2], rotation[:, 1, :2], _UNDER))
            ground.append(np.maximum(self._ground_ahead(feet, sensed[:, robot.FEET_VELOCITY]) - below, 0))
            ground.append(state["progress"])
        if self._looks_down:
            ground.append(qpos[:, 2:3] - self._ground_around(qpos))
        heights = qpos[:, 2:3], foot_height, knee_height, sensed[:, robot.FEET_VELOCITY]
        remembered = (state[name] for name in _REMEMBERED)
        return chance, qpos[:, 3:7], state["qvel"], state["actuator_force"], *heights, *remembered, *ground

    def _ground_around(self, qpos: np.ndarray) -> np.ndarray:
        """Return the heights of the ground around the robot, (N, points), in a level frame that turns with it."""
        if self._terrain is None:
            return np.zeros((len(qpos), len(_SCAN)))
        rotation = rotations.matrices(qpos[:, 3:7], np)
        ahead = rotation[:, :2, 0] / np.maximum(np.hypot(rotation[:, 0, 0], rotation[:, 1, 0]), 1e-6)[:, None]
        return self._ground_at(qpos, ahead * [1, -1], ahead[:, ::-1], _SCAN)

    def _ground_ahead(self, feet: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return how high the ground is just ahead of feet, (N, 4), by their places and velocities, (N, 12)."""
        assert self._terrain is not None
        vx, vy = velocity[:, 0::3], velocity[:, 1::3]
        speed = np.maximum(np.hypot(vx, vy), 1e-6)
        ways = np.array(_AHEAD_OF_FOOT_M)[:, None, None]
        return self._terrain.height(feet[:, 0::3] + ways * vx / speed, feet[:, 1::3] + ways * vy / speed).max(0)

    def _ground_at(self, qpos: np.ndarray, x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return heights at points ahead and to the left, whose world's x and y are those of these (N, 2) products."""
        assert self._terrain is not None
        return self._terrain.height(qpos[:, :1] + x @ points.T, qpos[:, 1:2] + y @ points.T)

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        del action  # remembered, so that it is none where an episode begins
        moment, upright, clearance = self._moment(measured, xp)
        terms = weighted_terms(moment, self.weights, self.timestep_s, xp)
        if self._clip_at_zero:
            terms["clip_reward_at_zero"] = xp.maximum(-sum(terms.values(), xp.zeros_like(upright)), 0.0)
        fell = (clearance < 0) | (upright < _COS_MOST_TILT)
        if self._stuck_ends:
            fell |= measured["progress"][:, 0] < STUCK
        return TaskOutput(self._observe(measured, moment, xp), terms, fell)

    def curriculum_metrics(self, state: State) -> dict[str, float]:
        return {} if self._curriculum is None else self._curriculum.curriculum_metrics(state)

    def info(self, state: State) -> dict[str, np.ndarray]:
        rotation = rotations.matrices(state["qpos"][:, 3:7], np)
        velocity = np.einsum("nij,ni->nj", rotation, state["qvel"][:, :3])
        achieved = np.c_[velocity[:, :2], state["qvel"][:, 5]]
        miss = state["followed"] - achieved
        return {
            "command": state["command"].copy(),
            "velocity": achieved,
            "velocity_error": np.hypot(miss[:, 0], miss[:, 1]),
            "yaw_error": np.abs(miss[:, 2]),
        }

    def _moment(self, measured: Mapping[str, Any], xp: Any) -> tuple[Moment, Any, Any]:
        """Return the moment, the cosine of the tilt, and how high the trunk's lowest point is over the ground, m."""
        rotation = rotations.matrices(measured["quat"], xp)
        qvel, feet = measured["qvel"], measured["foot_velocity"]
        down = -rotation[:, 2]
        # The hull's lowest point is under one of these points on the axes of its cylinders.
        height = measured["height"] - down[:, :2] @ np.float32(_UNDER.T) - measured.get("under_trunk", 0.0)
        round_ = robot.TRUNK_RADIUS_M * xp.sqrt(1 - xp.minimum(xp.square(down[:, 0]), 1))
        clearance = xp.min(height, axis=1) - round_
        low, high = self._soft_range
        joint, followed = measured["joint"], measured["followed"]
        moment = Moment(
            velocity=xp.einsum("nij,ni->nj", rotation, qvel[:, :3]),
            rate=qvel[:, 3:6],
            gravity=down,
            command=followed,
            standing=xp.all(followed == 0, axis=1),
            joint=joint,
            joint_velocity=qvel[:, 6:],
            joint_acceleration=(qvel[:, 6:] - measured["velocity_before"]) / self.timestep_s,
            beyond=xp.maximum(low - joint, 0) + xp.maximum(joint - high, 0),
            torque=measured["torque"],
            torque_limit=self._limits[0],
            speed_limit=self._limits[1],
            action=measured["action"],
            action_before=measured["action_before"],
            foot_height=measured["foot_height"] - robot.FOOT_RADIUS_M,
            rise=measured.get("rise", 0.0),
            foot_speed=xp.sqrt(xp.square(feet[:, 0::3]) + xp.square(feet[:, 1::3])),
            contact=xp.where(measured["touched"] > 0, 1.0, 0.0),
            air_time=measured["air_time"],
            knee_height=measured["knee_height"],
            stance=self._stance(measured["phase"], xp) if self._clocked else None,
        )
        return moment, -down[:, 2], clearance

    def _stance(self, phase: Any, xp: Any) -> Any:
        """Return which feet a trot has on the ground: left fore and right hind in one half, the others in the other."""
        first = xp.where(xp.sin(phase) >= 0, 1.0, 0.0)
        return xp.concatenate([first, 1 - first, 1 - first, first], axis=1)

    def _observe(self, measured: Mapping[str, Any], moment: Moment, xp: Any) -> Any:
        """Return what the sensors say, (N, D), with their noise."""
        parts = [moment.velocity, moment.rate, moment.gravity, measured["command"], moment.joint]
        parts += [moment.joint_velocity, moment.action, moment.contact]
        if self._clocked:
            # A clock that stands while the robot shall.
            going = xp.where(xp.any(measured["command"] != 0, axis=1), 1.0, 0.0)[:, None]
            parts += [going * xp.sin(measured["phase"]), going * xp.cos(measured["phase"])]
        if self._looks_down:
            parts.append(xp.clip(measured["scan"] - 0.5, -1, 1))
        exact = xp.concatenate(parts, axis=1)
        if not self._noise_scale.any():
            return exact
        high, low, step = (measured["chance"][:, i].astype(xp.uint32) for i in range(3))
        return exact + self._noise_scale * uniform(
            high * np.uint32(0x10000) + low, _USE_OF_NOISE, step, exact.shape[1], xp
        )
