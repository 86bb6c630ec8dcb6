"""Learning to run: a runner of 18 muscles covers as many metres as it can in 10 s.

The task of the contest Learning to Run (NIPS 2017) in MuJoCo. Every 10 ms the muscles receive excitations from 0 to 1.
The reward is the advance of the pelvis (m) less 1e-7 times the root of the sum of the squared torques of the joint
limits (N m). An episode ends when the pelvis is below 0.65 m, or after 1,000 steps.

Metres are not comparable with the contest's: knee, muscles and contact differ, see the page of this task.

The contest's initial pose is exactly symmetric. From there a policy that is symmetric and deterministic moves both legs
alike: it falls, or hops. So by default the joints start up to 0.02 rad away from that pose (`reset_noise`). With
`observe_side` the policy observes a random sign, whose mirror image is the other sign, and can begin with one leg.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
import pydantic
from pydantic import Field

from surefoot.bodies.runner import (
    BODY,
    COORDINATE_INDICES,
    COORDINATES,
    DEFAULT_POSE,
    LEG_JOINTS,
    MUSCLES,
    limit_torques,
    make_scene,
)
from surefoot.tasks.running import contest, toe_contact
from surefoot.tasks.running.domain_randomization import DomainRandomizer, RandomizationOptions
from surefoot.tasks.running.elastic_muscles import ElasticMuscles
from surefoot.tasks.running.kinematics import SUMS, Chain, Points, chain
from surefoot.tasks.running.measurements import BODIES, POINTS, measured_widths
from surefoot.tasks.running.observations import LUMBAR_ANGLE, Observation, ObservationSet, partners
from surefoot.tasks.running.opensim_options import OpenSimOptions
from surefoot.tasks.running.toe_contact import ToeContact
from surefoot.tasks.symmetry import derive_mirror
from surefoot.tasks.task import State, Task, TaskOutput

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

CONTROL_S = 0.01
_KNEE_FREE_RAD = 0.05  # extension of a knee without a price
_JOINT_COLUMNS = [COORDINATES.index(joint) for joint in LEG_JOINTS]
_HIPS = [COORDINATES.index("hip_r"), COORDINATES.index("hip_l")]
_LEG_M = 0.85  # from the hip to the sole
_KNEES = [COORDINATES.index(joint) for joint in LEG_JOINTS if joint.startswith("knee")]
# Segment of each of BODIES, and its angle there.
_SEGMENTS = [0, 0, 6, 3, 6, 3]
_ANGLES = [LUMBAR_ANGLE, LUMBAR_ANGLE, 0.0, 0.0, 0.0, 0.0]
_X, _Y = COORDINATES.index("pelvis_tx"), COORDINATES.index("pelvis_ty")


class RewardOptions(RandomizationOptions):
    """Options of the reward; the defaults are the contest's, others are for training."""

    limit_torque_price: float = Field(1e-7, ge=0, le=1)
    """Cost per step and N m of the root of the sum of the squared torques of the joint limits."""
    forward_weight: float = Field(1.0, ge=0, le=100)
    """Reward per metre."""
    survival_bonus: float = Field(0.0, ge=0, le=1)
    """Reward per step."""
    survival_speed: float = Field(0.0, ge=0, le=20)
    """Speed of the pelvis at which the survival bonus is full, m/s; at lower speeds it is proportional to the speed. 0:
    it is always full."""
    knee_extension_price: float = Field(0.0, ge=0, le=100)
    """Cost per second and rad of each knee's extension beyond 0.05 rad."""


class LearningToRunOptions(RewardOptions, OpenSimOptions):
    """Options of `LearningToRun`."""

    observation: ObservationSet = "reduced"
    """Observation set: "contest" (41 values), "reduced" (33), "full" (67) or "everything" (143), with activations."""
    activations: bool = True
    """Whether the activations of the 18 muscles are observed, in addition to "contest", "reduced" and "full"."""
    pelvis_x: bool = False
    """Whether "reduced" and "full" have the x of the pelvis, which makes them 34 and 68 values."""
    observe_side: bool = False
    """Whether a sign is observed that each episode draws, and that tells a symmetric policy with which leg to begin."""
    fall_height: float = Field(0.65, ge=0, le=0.9)
    """Height of the pelvis below which the runner has fallen, m."""
    reset_noise: float = Field(0.02, ge=0, le=0.5)
    """Largest deviation of initial joint angles from the contest's pose, rad. That pose is symmetric, see above."""
    reset_stride: float = Field(0.0, ge=0, le=1)
    """Largest angle by which one thigh starts ahead of the contest's pose and the other behind it, rad."""
    reset_speed: float = Field(0.0, ge=0, le=10)
    """Largest initial speed forward, m/s."""
    standing_starts: float = Field(0.0, ge=0, le=1)
    """Fraction of episodes that start without stride and speed."""
    initial_activation: float = Field(0.05, ge=0, le=1)
    """Activation of all muscles at the start."""
    difficulty: int = Field(0, ge=0, le=3)
    """The contest's difficulty: 0 without obstacles, 1 with obstacles, 2 and 3 also with two weakened muscles."""
    max_obstacles: int = Field(3, ge=1, le=contest.MOST_OBSTACLES)
    """Number of obstacles from difficulty 1 on; the contest's rounds had 3 and 10."""
    weaken_gluteus: bool = False
    """Whether difficulty 2 weakens `glut_max_l` instead of `iliopsoas_l`, as did a wrong number in the contest's
    code."""
    muscles: Literal["rigid", "elastic"] = "rigid"
    """Tendons: "rigid" are those of MuJoCo's muscles, fitted to OpenSim; "elastic" are OpenSim's own law, which follows
    OpenSim's motions about twice as closely and takes about a fifth more time."""
    timestep_s: float = Field(0.005, ge=0.0005, le=0.01)
    """Physics time step, s; it must divide 0.01 s."""
    lose_toe_contact: bool = False
    """Whether a foot's toes have no contact while its heel, still in contact, rises faster than 0.444 m/s: an error of
    OpenSim, imitated to prepare a policy for it."""
    visuals: bool = True
    """Whether the runner has parts that do not collide."""

    @pydantic.field_validator("timestep_s")
    @classmethod
    def _check_timestep(cls, timestep_s: float) -> float:
        steps = CONTROL_S / timestep_s
        if abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"must divide {CONTROL_S:g} s, the time of a step of the task")
        return timestep_s


class LearningToRun(Task):
    """A planar body moved by 18 muscles runs."""

    fall = "terminated"
    Options = LearningToRunOptions
    options: LearningToRunOptions
    headless_options = MappingProxyType({"visuals": False})
    body = BODY
    action_names = MUSCLES

    def __init__(self, options: LearningToRunOptions) -> None:
        super().__init__(options)
        self._observed = Observation(options.observation, options.activations, options.pelvis_x, options.observe_side)
        self.observation = (self._observed.part,)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (len(MUSCLES),), np.float32)
        self._varied = list(contest.VARIED_IN_THE_CONTEST if options.weaken_gluteus else contest.VARIED)
        spec = make_scene(options.timestep_s, options.visuals, muscle_forces=options.muscles == "rigid")
        obstacles = contest.add_obstacles(spec, options.max_obstacles) if options.difficulty else []
        self.model = spec.compile()
        self.frame_skip = round(CONTROL_S / options.timestep_s)
        self._obstacle_bodies = [self.model.body(name).id for name in obstacles]
        self._obstacle_geoms = [self.model.geom(name).id for name in obstacles]
        self._randomizer = DomainRandomizer(options, self.model, options.difficulty >= 2)
        self.randomised_fields = self._randomizer.fields + (("body_pos", "geom_size") if obstacles else ())
        self._elastic = ElasticMuscles(self.model) if options.muscles == "elastic" else None
        self._toe_contact = ToeContact(self.model) if options.lose_toe_contact else None
        self.has_substep_forces = bool(self._elastic or self._toe_contact)
        if self._toe_contact and toe_contact.FIELD not in self.randomised_fields:
            self.randomised_fields += (toe_contact.FIELD,)
        self.per_substep_control = self._randomizer.longest_delay > 0
        self._widths = measured_widths(options.observation)
        self._choose_fields()

    def _choose_fields(self) -> None:
        """Set the arrays of `MjData` that the observation set needs."""
        fields = ["qpos", "qvel", "ctrl", "act"]
        if "accelerations" in self._widths:
            fields.append("qacc")
            self._bodies = Points(self.model, BODIES)
        if "fibre" in self._widths:
            fields += ["actuator_length", "actuator_velocity"]
            low, high = self.model.actuator_lengthrange.T
            first, last = self.model.actuator_gainprm[:, :2].T
            self._tendon_length = low - first * (high - low) / (last - first)
        if self._elastic:
            fields.append("qfrc_applied")
        self.fields = tuple(fields)
        self._points, self._centre = Points(self.model, POINTS), Points(self.model, None)

    def mirror(self) -> "Mirror | None":
        return derive_mirror(self.observation, MUSCLES, partners())

    def init_buffers(self, num_envs: int) -> State:
        widths = {"x_before": 1, "advance": 1, "strength": 2, "side": 1}
        if self._obstacle_bodies:
            widths["obstacles"] = 3 * len(self._obstacle_bodies)
        if self.per_substep_control:
            # Actions of the present and of earlier steps.
            steps = 1 + -(-self._randomizer.longest_delay // self.frame_skip)
            widths |= {"delay": 1, "actions": steps * len(MUSCLES)}
        buffers = {name: np.zeros((num_envs, width)) for name, width in widths.items()}
        return buffers | (self._elastic.init_buffers(num_envs) if self._elastic else {})

    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        options, level = self.options, self.options.difficulty
        muscles = np.ones((len(env_indices), len(MUSCLES)))
        state["qvel"][env_indices] = 0
        for row, env in enumerate(env_indices):
            state["side"][env] = rngs[env].choice([-1, 1])
            moving = rngs[env].random() >= options.standing_starts
            stride = moving * rngs[env].uniform(-options.reset_stride, options.reset_stride)
            state["qpos"][env, COORDINATE_INDICES] = self._initial_pose(rngs[env], stride)
            state["qvel"][env, COORDINATE_INDICES[_X]] = moving * rngs[env].uniform(0, options.reset_speed)
            if self._obstacle_bodies:
                self._place_obstacles(state, env, contest.draw_obstacles(rngs[env], level, options.max_obstacles))
            state["strength"][env] = contest.draw_strength(rngs[env], level)
            muscles[row, self._varied] = state["strength"][env]
        state["ctrl"][env_indices] = state["act"][env_indices] = options.initial_activation
        state["x_before"][env_indices] = state["advance"][env_indices] = 0
        if self.per_substep_control:
            state["actions"][env_indices] = options.initial_activation
        self._randomizer.reset(state, env_indices, rngs, muscles)
        if self._elastic:
            self._elastic.reset(state, env_indices)

    def _initial_pose(self, rng: np.random.Generator, stride: float) -> np.ndarray:
        """Return the coordinates at the start of an episode, (9,), with the right thigh `stride` rad ahead."""
        options, pose = self.options, DEFAULT_POSE.copy()
        pose[_JOINT_COLUMNS] += rng.uniform(-options.reset_noise, options.reset_noise, len(LEG_JOINTS))
        pose[_HIPS] += stride, -stride
        pose[_Y] -= _LEG_M * (1 - np.cos(stride))
        return pose

    def _place_obstacles(self, state: State, env: int, obstacles: np.ndarray) -> None:
        state["obstacles"][env] = obstacles.ravel()
        state["body_pos"][env, self._obstacle_bodies, 0] = obstacles[:, 0]
        state["body_pos"][env, self._obstacle_bodies, 2] = obstacles[:, 1]
        state["geom_size"][env, self._obstacle_geoms, 0] = obstacles[:, 2]

    def apply_action(self, state: State, action: np.ndarray) -> None:
        state["x_before"][:] = self._coordinates(state["qpos"])[:, _X : _X + 1]
        if not self.per_substep_control:
            state["ctrl"][:] = action
            return
        recent = state["actions"].reshape(len(action), -1, len(MUSCLES))
        recent[:, 1:] = recent[:, :-1].copy()
        recent[:, 0] = action
        # In physics step s the excitation of the action arrives that was chosen `delay` physics steps before.
        steps_ago = np.ceil((state["delay"] - np.arange(self.frame_skip)) / self.frame_skip)
        chosen = np.maximum(steps_ago, 0).astype(int)
        state["ctrl_schedule"][:] = recent[np.arange(len(action))[:, None], chosen]

    def apply_substep_forces(self, state: State, moving: Any) -> None:
        if self._elastic:
            self._elastic.apply(state, moving)
        if self._toe_contact:
            self._toe_contact.update(state, self._coordinates(state["qpos"]), self._coordinates(state["qvel"]))

    def post_step(self, state: State) -> None:
        state["advance"][:] = self._coordinates(state["qpos"])[:, _X : _X + 1] - state["x_before"]

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        """Return the quantities of `measurements`.

        Accelerations and fibres are those of the last physics step, which MuJoCo computes at its start.
        """
        coordinates, speeds = self._coordinates(state["qpos"]), self._coordinates(state["qvel"])
        accelerations = self._coordinates(state["qacc"]) if "accelerations" in self._widths else None
        segments = chain(coordinates, speeds, accelerations)
        x = coordinates[:, _X]
        count = len(self._obstacle_bodies)
        obstacles = state["obstacles"].reshape(len(x), count, 3) if count else np.zeros((len(x), 1, 3))
        obstacle = contest.next_obstacle(obstacles, x) if count else np.tile(contest.NO_OBSTACLE, (len(x), 1))
        measured = {
            "coordinates": coordinates,
            "speeds": speeds,
            "positions": self._points.positions(coordinates, segments),
            "com": np.concatenate(
                [self._centre.positions(coordinates, segments), self._centre.velocities(speeds, segments)], axis=1
            ),
            "activation": state["act"][:, : len(MUSCLES)],
            "limit_torque": limit_torques(coordinates[:, _JOINT_COLUMNS], speeds[:, _JOINT_COLUMNS]),
            "advance": state["advance"],
            "strength": state["strength"],
            "side": state["side"],
            "obstacle": obstacle,
        }
        if accelerations is not None:
            measured["accelerations"] = accelerations
            measured["body_motion"] = self._body_motion(coordinates, speeds, accelerations, segments)
        if "fibre" in self._widths:
            assert accelerations is not None
            measured["com_acceleration"] = self._centre.accelerations(accelerations, segments)
            fibre = state["actuator_length"] - self._tendon_length
            measured["fibre"] = np.concatenate([fibre, state["actuator_velocity"]], axis=1)
        return measured

    def _coordinates(self, joints: np.ndarray) -> np.ndarray:
        """Return an array like `qpos` or `qvel` in the order of `COORDINATES`, (N, 9)."""
        return joints[:, COORDINATE_INDICES]

    def _body_motion(
        self, coordinates: np.ndarray, speeds: np.ndarray, accelerations: np.ndarray, segments: Chain
    ) -> np.ndarray:
        """Return velocity, acceleration, angle, turning rate and its derivative of `BODIES`, (N, 42)."""
        turning = [(array @ SUMS)[:, _SEGMENTS] for array in (coordinates, speeds, accelerations)]
        turning[0] += _ANGLES
        velocity = self._bodies.velocities(speeds, segments).reshape(len(speeds), len(BODIES), 2)
        acceleration = self._bodies.accelerations(accelerations, segments).reshape(len(speeds), len(BODIES), 2)
        motion = np.concatenate([velocity, acceleration, np.stack(turning, axis=2)], axis=2)
        return motion.reshape(len(speeds), -1)

    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        del action
        options, coordinates = self.options, measured["coordinates"]
        advance = measured["advance"][:, 0]
        load = xp.sqrt(xp.square(measured["limit_torque"]).sum(1))
        terms = {"forward": options.forward_weight * advance, "limit_torque": -options.limit_torque_price * load}
        if options.survival_bonus:
            full = options.survival_speed * CONTROL_S
            paid = xp.clip(advance / full, 0, 1) if full else xp.ones_like(advance)
            terms["survival"] = options.survival_bonus * paid
        if options.knee_extension_price:
            extension = xp.maximum(coordinates[:, _KNEES] - _KNEE_FREE_RAD, 0).sum(1)
            terms["knee_extension"] = -options.knee_extension_price * CONTROL_S * extension
        return TaskOutput(self._observed.observe(measured, xp), terms, coordinates[:, _Y] < options.fall_height)

    def info(self, state: State) -> dict[str, np.ndarray]:
        return {"distance_m": self._coordinates(state["qpos"])[:, _X]}
