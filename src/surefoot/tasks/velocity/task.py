"""A legged robot follows commanded velocities: forward, sideways, turning.

50 times a second the servos receive target angles, in rad: those that hold the robot in its standing pose, plus half
the action. (legged_gym uses the angles of the pose itself. With servos of 80 N m / rad ANYmal C then kneels,
and did not learn to walk in our trainings.) Motors of ANYmal C give up to 80 N m, less above 2.5 rad/s, and none at 7.5
rad/s. Observation, noise, commands, pushes and most reward terms are those of legged_gym (Rudin et al. 2021, arXiv
2109.11978); see `reward_terms`, `commands` and `domain_randomization`.

By default the observation has a gait clock, and feet are rewarded for following it: a trot, or alternating steps for a
biped. Training then takes far fewer steps.

Feet and knees may touch the ground. Episodes end when the trunk touches it or tilts by 70 degrees.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
import pydantic
from pydantic import Field

from surefoot.bodies import anymal_c
from surefoot.bodies.loader import load_body
from surefoot.bodies.stance import find_fault
from surefoot.tasks import rotations
from surefoot.tasks.observation import at_points, axial, per_foot, per_joint, polar, scalars, sideways
from surefoot.tasks.options import TaskOptions
from surefoot.tasks.symmetry import task_mirror
from surefoot.tasks.task import State, Task, TaskOutput
from surefoot.tasks.velocity.commands import CommandOptions, Commands
from surefoot.tasks.velocity.domain_randomization import DomainRandomizer, RandomizationOptions
from surefoot.tasks.velocity.hash_rng import uniform
from surefoot.tasks.velocity.reward_terms import RobotState, select_terms, weighted_terms
from surefoot.tasks.velocity.robot import AnymalC, Robot
from surefoot.tasks.velocity.terrain import STUCK, Curriculum, Terrain, TerrainOptions

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

ANYMAL = "anymal-c"
_MOST_ACTION = 2.0
_COS_MOST_TILT = float(np.cos(np.radians(70)))
_NOISE_STREAM, _START_STREAM = 0, 4
_LEAST_STEP_S = 1e-6
_WEIGHTS_WITHOUT_CLOCK = {"gait": 0.0, "feet_air_time": 2.0}
# Points where the ground is observed, m ahead and to the left of the trunk.
_SCAN = np.array([[x, y] for x in np.linspace(-0.8, 0.8, 9) for y in np.linspace(-0.5, 0.5, 5)])
# Distances ahead of a moving foot where the ground's rise is measured.
_AHEAD_OF_FOOT_M = (0.1, 0.2)


class ControlOptions(TaskOptions):
    """Actions, gait and rewards."""

    action_scale: float = Field(0.5, ge=0.01, le=2)
    """Joint offset of an action of 1, rad."""
    gait: Literal["trot", "free"] = "trot"
    """"trot" observes a gait clock and rewards feet that follow it; "free" has no clock."""
    gait_hz: float | None = Field(None, ge=0.5, le=5)
    """Strides per second of the clock; by default 1.75 for ANYmal C, more for smaller robots."""
    reset_noise: float = Field(1.0, ge=0, le=1)
    """Random variation of initial states: 0 for none; 1 for joints at 0.5 to 1.5 times the angles of the pose, and
    velocities up to 0.5 m/s and 0.5 rad/s."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weights of reward terms by name; they replace the default weights."""
    reward_terms: tuple[str, ...] = ()
    """Python modules with further reward terms: my_terms for all of a module, my_terms:name for one; or a list."""
    clip_reward_at_zero: bool = True
    """Whether the sum of all terms is clipped at 0 from below, so that falling early has no advantage."""
    visuals: bool = True
    """Whether ANYmal C has parts that do not collide."""

    @pydantic.field_validator("reward_terms", mode="before")
    @classmethod
    def _text_to_tuple(cls, modules: Any) -> Any:
        return (modules,) if isinstance(modules, str) else modules


# Pydantic lists the fields of the last base first.
class VelocityOptions(TerrainOptions, RandomizationOptions, CommandOptions, ControlOptions):
    """Options of velocity tracking."""

    body: str = ANYMAL
    """The robot: anymal-c, menagerie:NAME, or a path to .xml, .mjcf, .urdf or .toml."""


class AnymalCVelocityOptions(TerrainOptions, RandomizationOptions, CommandOptions, ControlOptions):
    """Options of velocity tracking with ANYmal C."""

    base: anymal_c.Base = "urdf"
    """Mass and inertia of the base: "urdf" (26.4 kg) or "menagerie" (19.2 kg)."""
    motor: anymal_c.Motor = "limited"
    """"limited" gives less torque from 2.5 rad/s on and none at 7.5; "servo" gives up to 80 N m at any speed."""


class Velocity(Task):
    """Velocity tracking with any legged robot; see the module.

    Attributes:
        robot: the simulated robot.
        commands: its commands.
        terms: reward terms.
    """

    fall = "terminated"
    Options = VelocityOptions
    headless_options = MappingProxyType({"visuals": False})
    module_options = ("reward_terms",)
    per_substep_control = True
    changes_model_constants = True
    fields = ("qpos", "qvel", "ctrl", "sensordata", "qfrc_actuator")

    def __init__(self, options: Any) -> None:
        """Build the task.

        Raises:
            InputError: the robot cannot be loaded, or does not fit the other options.
        """
        super().__init__(options)
        self._terrain = None if options.terrain == "flat" else Terrain(options.terrain)
        self._curriculum = None if self._terrain is None else Curriculum(self._terrain, options.level)
        self.robot = robot = self._make_robot()
        self.model, self.frame_skip = robot.model, robot.frame_skip
        self.body = robot.body
        self.commands = Commands(options, robot.facing)
        self._randomizer = DomainRandomizer(options, robot)
        self.randomised_fields = self._randomizer.randomised_fields
        self._clock = options.gait == "trot"
        self._trot = robot.trot() if self._clock else None
        self.terms = select_terms(options.weights, options.reward_terms, {} if self._clock else _WEIGHTS_WITHOUT_CLOCK)
        self._target = robot.holding_targets()
        self._soft_range = robot.soft_range()
        self._command_steps = max(1, round(options.command_every_s / self.timestep_s))
        self._phase_step = 2 * np.pi * (options.gait_hz or robot.gait_hz) * self.timestep_s
        hull = robot.trunk
        # Points on the axes of the trunk's cylinders; the trunk's lowest point is below one of them.
        self._under = np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 1)]) * [hull.half_length_m, hull.half_width_m]
        self._under += hull.centre[:2]
        actions, feet = len(self.body.joints), len(self.body.feet)
        self.action_space = gymnasium.spaces.Box(-_MOST_ACTION, _MOST_ACTION, (actions,), np.float32)
        # Widths of the arrays that are kept from step to step and read by `observe_and_reward`.
        self._kept = {
            **dict.fromkeys(("joint_angle", "previous_joint_velocity", "action", "previous_action"), actions),
            **{"command": 3, "tracked_command": 3, "contact": feet, "air_time": feet, "phase": 1},
        }
        self._define_observation()

    def _make_robot(self) -> Robot:
        if self.options.body == ANYMAL:
            return AnymalC("urdf", "limited", self.options.visuals, self._terrain)
        return Robot(load_body(self.options.body), self._terrain)

    def _define_observation(self) -> None:
        """Set the parts of the observation and the noise of each value."""
        options, joints = self.options, self.robot.body.joints
        feet = [foot.name for foot in self.robot.body.feet]
        # The noise is legged_gym's.
        noisy = [
            (polar("base velocity {}"), 0.1),
            (axial("base turning rate {}"), 0.2),
            (polar("gravity {}"), 0.05),
            (scalars("command forward"), 0.0),
            (sideways("command left", "command turning left"), 0.0),
            (per_joint("{} offset", joints), 0.01),
            (per_joint("{} velocity", joints), 1.5),
            (per_joint("{} last action", joints), 0.0),
            (per_foot("{} foot contact", feet), 0.0),
        ]
        if self._clock:
            noisy.append((sideways("clock sine", "clock cosine"), 0.0))  # the mirror shifts the phase by half a stride
        if options.observe_heights:
            noisy.append((at_points("ground at {:.1f}, {:.2f}", _SCAN), options.height_noise))
        self.observation = tuple(part for part, _ in noisy)
        amplitudes = [amplitude for part, amplitude in noisy for _ in part.names]
        self._noise_scale = options.noise * np.array(amplitudes, np.float32)

    def mirror(self) -> "Mirror | None":
        return task_mirror(self, self.robot.stand.qpos)

    @property
    def reference_angles(self) -> Mapping[str, float]:
        return dict(zip(self.robot.body.joints, map(float, self.robot.pose), strict=True))

    def fault(self) -> str | None:
        ctrl = self.robot.stand.ctrl.copy()
        ctrl[self.robot.servos] = self._target
        return find_fault(self.model, self.robot.body, self.robot.stand, ctrl)

    def init_buffers(self, num_envs: int) -> State:
        widths = self._kept | {"target": self._kept["action"], "airborne": self._kept["contact"], "delay": 1}
        widths |= self.commands.buffers
        widths |= {} if self._curriculum is None else self._curriculum.buffers
        buffers = {name: np.zeros((num_envs, width)) for name, width in widths.items()}
        return buffers | {"key": np.zeros(num_envs, np.uint32), "step": np.zeros(num_envs, np.int32)}

    def reset_curriculum(self, state: State) -> None:
        if self._curriculum is not None:
            self._curriculum.clear(state)

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        robot, joints = self.robot, len(self.robot.pose)
        key = np.array([rngs[env].integers(2**32, dtype=np.uint32) for env in env_indices], np.uint32)
        start = np.zeros(len(env_indices), np.uint32)
        state["key"][env_indices], state["step"][env_indices] = key, start
        for name in (*self._kept, "airborne"):
            state[name][env_indices] = 0
        self._randomizer.reset(state, env_indices, key)
        drawn = self.options.reset_noise * uniform(key, _START_STREAM, start, joints + 6, np)
        angles = np.clip(robot.pose * (1 + 0.5 * drawn[:, :joints]), *robot.joint_range)
        self._place(state, env_indices, robot.standing_height(angles))
        state["qpos"][env_indices, robot.joint_qpos] = angles
        state["qvel"][env_indices] = 0
        state["qvel"][env_indices, robot.trunk_qvel] = 0.5 * drawn[:, joints:]
        state["target"][env_indices] = self._target
        state["joint_angle"][env_indices] = angles - robot.pose
        self.commands.assign(state, env_indices, start)
        state["tracked_command"][env_indices] = state["command"][env_indices]
        if self._clock:
            half = uniform(key, _START_STREAM, start + np.uint32(1), 1, np)[:, 0]
            state["phase"][env_indices, 0] = np.pi * half

    def _place(self, state: State, env_indices: np.ndarray, height: np.ndarray) -> None:
        """Place level trunks at the curriculum's start positions, `height` (K,) m above the ground below the feet."""
        position, facing = np.zeros((len(env_indices), 3)), np.zeros(len(env_indices))
        position[:, 2] = height
        if self._curriculum is not None and self._terrain is not None:
            position[:, :2], facing = self._curriculum.reset(state, env_indices, state["key"][env_indices])
            forward, side = self.robot.stance_m
            x, y = np.array([[1, 1, -1, -1, 0], [1, -1, 1, -1, 0]]) * [[forward], [side]]
            cos, sin = np.cos(facing)[:, None], np.sin(facing)[:, None]
            ground = self._terrain.height(position[:, :1] + cos * x - sin * y, position[:, 1:2] + sin * x + cos * y)
            position[:, 2] += ground.max(1)
        self.robot.place(state, env_indices, position, facing)

    def apply_action(self, state: State, action: np.ndarray) -> None:
        robot = self.robot
        state["tracked_command"][:] = state["command"]
        state["previous_joint_velocity"][:] = state["qvel"][:, robot.joint_qvel]
        state["previous_action"][:] = state["action"]
        state["action"][:] = action
        previous = state["target"].copy()
        state["target"][:] = self._target + self.options.action_scale * state["action"]
        arrived = np.arange(self.frame_skip) >= state["delay"]
        if len(robot.pose) < self.model.nu:  # other joints are held
            state["ctrl_schedule"][:] = robot.stand.ctrl
        schedule = np.where(arrived[:, :, None], state["target"][:, None], previous[:, None])
        state["ctrl_schedule"][:, :, robot.servos] = schedule
        self._randomizer.push(state)

    def post_step(self, state: State) -> None:
        robot = self.robot
        state["step"] += 1
        state["joint_angle"][:] = state["qpos"][:, robot.joint_qpos] - robot.pose
        # As in legged_gym a foot counts as down if it touched the ground at this step or the previous one.
        contact = robot.foot_contact(state)
        down = contact | (state["contact"] > 0)
        state["contact"][:] = contact
        state["airborne"] += self.timestep_s
        landed = down & (state["airborne"] > self.timestep_s + _LEAST_STEP_S)
        state["air_time"][:] = np.where(landed, state["airborne"], 0)
        state["airborne"][down] = 0
        if self._clock:
            state["phase"][:] = (state["phase"] + self._phase_step) % (2 * np.pi)
        if self._curriculum is not None:
            pose = robot.position(state), robot.facing(state)
            self._curriculum.update(state, *pose, robot.velocity(state), self.timestep_s)
        due = np.flatnonzero(state["step"] % self._command_steps == 0)
        if len(due):
            self.commands.assign(state, due, state["step"][due] // self._command_steps)
        self.commands.steer(state)

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        robot, key = self.robot, state["key"]
        random = np.stack([key >> np.uint32(16), key & np.uint32(0xFFFF), state["step"]], axis=1)
        position, orientation = robot.position(state), robot.orientation(state)
        feet, foot_velocity, knees = robot.foot_position(state), robot.foot_velocity(state), robot.knee_position(state)
        foot_height, knee_height, ground = feet[..., 2], knees[..., 2], {}
        if self._terrain is not None:
            below_feet = self._terrain.height(feet[..., 0], feet[..., 1])
            foot_height = foot_height - below_feet
            knee_height = knee_height - self._terrain.height(knees[..., 0], knees[..., 1])
            rotation = rotations.matrices(orientation, np)
            ground["ground_under_trunk"] = self._ground_at(
                position, rotation[:, 0, :2], rotation[:, 1, :2], self._under
            )
            ground["terrain_rise"] = np.maximum(self._ground_ahead(feet, foot_velocity) - below_feet, 0)
            ground["progress"] = state["progress"]
        if self.options.observe_heights:
            ground["scan"] = position[:, 2:] - self._ground_around(position, orientation)
        return {
            "random": random,
            "orientation": orientation,
            "velocity": robot.velocity(state),
            "angular_velocity": robot.angular_velocity(state),
            "joint_velocity": state["qvel"][:, robot.joint_qvel],
            "torque": state["qfrc_actuator"][:, robot.joint_qvel],
            "height": position[:, 2],
            "foot_height": foot_height,
            "knee_height": knee_height,
            "foot_velocity": foot_velocity[..., :2],
            **{name: state[name] for name in self._kept},
            **ground,
        }

    def _ground_around(self, position: np.ndarray, orientation: np.ndarray) -> np.ndarray:
        """Return the heights of the ground around robots, (N, points), in a level frame that turns with them."""
        if self._terrain is None:
            return np.zeros((len(position), len(_SCAN)))
        rotation = rotations.matrices(orientation, np)
        ahead = rotation[:, :2, 0] / np.maximum(np.hypot(rotation[:, 0, 0], rotation[:, 1, 0]), 1e-6)[:, None]
        return self._ground_at(position, ahead * [1, -1], ahead[:, ::-1], _SCAN)

    def _ground_ahead(self, feet: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return the highest ground just ahead of feet, (N, F) m, from positions and velocities (N, F, 3)."""
        assert self._terrain is not None
        vx, vy = velocity[..., 0], velocity[..., 1]
        speed = np.maximum(np.hypot(vx, vy), 1e-6)
        ways = np.array(_AHEAD_OF_FOOT_M)[:, None, None]
        return self._terrain.height(feet[..., 0] + ways * vx / speed, feet[..., 1] + ways * vy / speed).max(0)

    def _ground_at(self, position: np.ndarray, x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return heights (N, P) at points (P, 2) ahead and to the left; `x`, `y` (N, 2) rotate them into the world."""
        assert self._terrain is not None
        return self._terrain.height(position[:, :1] + x @ points.T, position[:, 1:2] + y @ points.T)

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        del action  # measured["action"] is 0 at the start of an episode
        robot_state = self._robot_state(measured, xp)
        terms = weighted_terms(self.terms, robot_state, self.timestep_s, xp)
        upright = -robot_state.gravity[:, 2]
        if self.options.clip_reward_at_zero:
            terms["clip_reward_at_zero"] = xp.maximum(-sum(terms.values(), xp.zeros_like(upright)), 0.0)
        fell = (robot_state.clearance < self.robot.fall_clearance_m) | (upright < _COS_MOST_TILT)
        if self.options.terminate_when_stuck and self._terrain is not None:
            fell |= measured["progress"][:, 0] < STUCK
        return TaskOutput(self._observe(measured, robot_state, xp), terms, fell)

    def curriculum_metrics(self, state: State) -> dict[str, float]:
        return {} if self._curriculum is None else self._curriculum.metrics(state)

    def info(self, state: State) -> dict[str, np.ndarray]:
        rotation = rotations.matrices(self.robot.orientation(state), np)
        velocity = np.einsum("nij,ni->nj", rotation, self.robot.velocity(state))
        achieved = np.c_[velocity[:, :2], self.robot.angular_velocity(state)[:, 2]]
        error = state["tracked_command"] - achieved
        return {
            "command": state["command"].copy(),
            "velocity": achieved,
            "velocity_error": np.hypot(error[:, 0], error[:, 1]),
            "yaw_error": np.abs(error[:, 2]),
        }

    def _robot_state(self, measured: Mapping[str, Any], xp: Any) -> RobotState:
        """Return the quantities of the reward terms, in the trunk's axes."""
        robot = self.robot
        rotation = rotations.matrices(measured["orientation"], xp)
        gravity = -rotation[:, 2]
        under = (
            measured["height"] - gravity[:, :2] @ np.float32(self._under.T) - measured.get("ground_under_trunk", 0.0)
        )
        if robot.trunk.centre[2]:
            under = under - gravity[:, 2:] * robot.trunk.centre[2]
        radius = robot.trunk.radius_m * xp.sqrt(1 - xp.minimum(xp.square(gravity[:, 0]), 1))
        low, high = self._soft_range
        joint, command = measured["joint_angle"], measured["tracked_command"]
        foot_velocity = measured["foot_velocity"]
        return RobotState(
            robot=robot,
            velocity=xp.einsum("nij,ni->nj", rotation, measured["velocity"]),
            angular_velocity=measured["angular_velocity"],
            gravity=gravity,
            height=measured["height"][:, 0],
            clearance=xp.min(under, axis=1) - radius,
            command=command,
            standing=xp.all(command == 0, axis=1),
            joint_angle=joint,
            joint_velocity=measured["joint_velocity"],
            joint_acceleration=(measured["joint_velocity"] - measured["previous_joint_velocity"]) / self.timestep_s,
            beyond_soft_limit=xp.maximum(low - joint, 0) + xp.maximum(joint - high, 0),
            torque=measured["torque"],
            action=measured["action"],
            previous_action=measured["previous_action"],
            foot_height=measured["foot_height"] - np.float32(robot.sole_m),
            terrain_rise=measured.get("terrain_rise", 0.0),
            foot_speed=xp.sqrt(xp.square(foot_velocity[:, 0::2]) + xp.square(foot_velocity[:, 1::2])),
            contact=xp.where(measured["contact"] > 0, 1.0, 0.0),
            air_time=measured["air_time"],
            knee_height=measured["knee_height"],
            stance=self._stance(measured["phase"], xp) if self._clock else None,
        )

    def _stance(self, phase: Any, xp: Any) -> Any:
        """Return the feet that should be on the ground according to the gait clock, (N, F)."""
        first = xp.where(xp.sin(phase) >= 0, 1.0, 0.0)
        return xp.where(self._trot, first, 1 - first)

    def _observe(self, measured: Mapping[str, Any], robot_state: RobotState, xp: Any) -> Any:
        """Return the observation with sensor noise, (N, D)."""
        trunk = [robot_state.velocity, robot_state.angular_velocity, robot_state.gravity, measured["command"]]
        joints = [robot_state.joint_angle, robot_state.joint_velocity, robot_state.action]
        parts = [*trunk, *joints, robot_state.contact]
        if self._clock:
            # The clock is observed only while the robot should move.
            moving = xp.where(xp.any(measured["command"] != 0, axis=1), 1.0, 0.0)[:, None]
            parts += [moving * xp.sin(measured["phase"]), moving * xp.cos(measured["phase"])]
        if self.options.observe_heights:
            parts.append(xp.clip(measured["scan"] - self.robot.look_height_m, -1, 1))
        exact = xp.concatenate(parts, axis=1)
        if not self._noise_scale.any():
            return exact
        high, low, step = (measured["random"][:, i].astype(xp.uint32) for i in range(3))
        key = high * np.uint32(0x10000) + low
        return exact + self._noise_scale * uniform(key, _NOISE_STREAM, step, exact.shape[1], xp)


class AnymalCVelocity(Velocity):
    """Velocity tracking with ANYmal C, whose base and motors can be chosen."""

    Options = AnymalCVelocityOptions

    def _make_robot(self) -> Robot:
        return AnymalC(self.options.base, self.options.motor, self.options.visuals, self._terrain)
