"""ANYmal C follows a commanded velocity: forward, sideways, turning.

Fifty times a second twelve servos (80 N m / rad, 2 N m s / rad) are told angles: those that hold the robot in a
standing pose, plus half the action, in rad. (legged_gym tells them the pose itself, in which such servos give way until
the robot kneels; from there nothing is learnt on a small computer.) A motor gives up to 80 N m, less from 2.5 rad/s on,
nothing at 7.5 rad/s. Observation, noise, commands, pushes, and most terms of the reward are those of legged_gym (Rudin
et al. 2021, arXiv 2109.11978); see `tasks.reward_terms`, `tasks.commands` and `tasks.randomisation`.

By default a clock is observed whose beat a trot should follow; training then finds a gait in far fewer steps.

Feet and knees touch the ground. The trunk need not, for an episode ends as soon as it would.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np

from surefoot.bodies import anymal_c
from surefoot.bodies.scene import new_scene
from surefoot.errors import suggestion
from surefoot.tasks.anymal import limit_torque
from surefoot.tasks.chance import uniform
from surefoot.tasks.commands import Commands
from surefoot.tasks.options import check_choice, check_flag, check_number
from surefoot.tasks.physics import PhysicsTask, Reading, Rows
from surefoot.tasks.randomisation import Randomisation, Variation
from surefoot.tasks.reward_terms import Moment, merged_weights, weighted_terms

# 5 ms is stable with these servos, which 8 ms is not; Newton's iterations are not capped, for with 4 of them
# random actions made the solver diverge, and it takes no longer (64 copies, random actions).
_PHYSICS_STEP_S, _FRAME_SKIP = 0.005, 4
_STIFFNESS, _DAMPING = 80.0, 2.0
# The maker tells nothing of the rotors; the shank has 0.02 about the knee, and some keeps it from ringing.
_ARMATURE = 0.01
_POSE = np.array([*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2])
_MOST_ACTION = 2.0
_FOOT_RADIUS_M = 0.03
# Half lengths of the box and the radius of the cylinders of which the trunk's hull is made (bodies/anymal_c.toml).
_TRUNK_LENGTH_M, _TRUNK_WIDTH_M, _TRUNK_RADIUS_M = 0.5245, 0.07, 0.09
_COS_MOST_TILT = float(np.cos(np.radians(70)))
_SOFT_RANGE = 0.9
_USE_OF_NOISE, _USE_OF_START = 0, 4  # of chance
_LEAST_STEP_S = 1e-6
_WEIGHTS_WITHOUT_CLOCK = {"gait": 0.0, "feet_air_time": 2.0}

# What sensors measure, each of four legs: foot and its velocity, knee, in the world; and whether the foot touches.
_FEET, _FEET_VELOCITY, _KNEES, _CONTACT = slice(0, 12), slice(12, 24), slice(24, 36), slice(36, 40)
_HEIGHTS = {"height": 1, "foot_height": 4, "knee_height": 4, "foot_velocity": 12}
# What is kept from step to step and read: name and width.
_REMEMBERED = {
    **{"joint": 12, "velocity_before": 12, "action": 12, "action_before": 12},
    **{"command": 3, "followed": 3, "touched": 4, "air_time": 4, "phase": 1},
}


class AnymalCVelocity(PhysicsTask):
    """The task; see the module."""

    frame_skip = _FRAME_SKIP
    watches = True
    rederives = True
    unseen = MappingProxyType({"looks": False})

    def __init__(
        self,
        base: anymal_c.Base = "urdf",
        motor: Literal["limited", "servo"] = "limited",
        action_scale: float = 0.5,
        gait: Literal["trot", "free"] = "trot",
        gait_hz: float = 1.75,
        start_spread: float = 1.0,
        weights: Mapping[str, float] | None = None,
        floor: bool = True,
        looks: bool = True,
        **options: Any,
    ) -> None:
        """Build the task.

        Args:
            base: the base's mass and inertia, "urdf" (26.4 kg) or "menagerie" (19.2 kg).
            motor: "limited" gives ever less from 2.5 rad/s on, and nothing at 7.5; "servo" up to 80 N m at any speed.
            action_scale: how many rad an action of 1 is.
            gait: "trot" observes a clock and rewards feet that keep to it; "free" has none.
            gait_hz: strides a second.
            start_spread: how unlike episodes begin: 0 all alike; 1 with joints at 0.5 to 1.5 times the angles of the
                pose, and up to 0.5 m/s and 0.5 rad/s.
            weights: of terms of the reward, instead of those in `reward_terms.WEIGHTS`.
            floor: whether the sum of all terms is never less than 0, so that falling early pays nothing.
            looks: whether the robot has parts that are only there to be seen.
            **options: those of `Commands` and `Randomisation`.

        Raises:
            ValueError: an option has another value.
            TypeError: there is no such option.
        """
        check_choice("base", base, anymal_c.Base)
        check_choice("motor", motor, Literal["limited", "servo"])
        check_number("action_scale", action_scale, 0.01, 2)
        check_choice("gait", gait, Literal["trot", "free"])
        check_number("gait_hz", gait_hz, 0.5, 5)
        check_number("start_spread", start_spread, 0, 1)
        check_flag("floor", floor)
        check_flag("looks", looks)
        self.commands, randomisation = _sorted_options(options, Commands, Randomisation)
        self.weights = merged_weights(weights, _WEIGHTS_WITHOUT_CLOCK if gait == "free" else {})
        self._scale, self._clocked, self._spread, self._floor = action_scale, gait == "trot", start_spread, floor
        self._limited = motor == "limited"
        self._noise = randomisation.noise
        self.model = _make_model(base, looks)
        self._rest = _POSE + _holding_torque(self.model) / _STIFFNESS
        self._variation = Variation(randomisation, self.model, _FRAME_SKIP)
        self.fields = ("qpos", "qvel", "ctrl", "sensordata", "actuator_force")
        self.expanded = self._variation.expanded + (("actuator_forcerange",) if self._limited else ())
        self._command_steps = max(1, round(self.commands.command_every_s / self.timestep_s))
        self._turn = 2 * np.pi * gait_hz * self.timestep_s
        ranges = self.model.jnt_range[1:]
        centre, half = ranges.mean(1), _SOFT_RANGE * np.ptp(ranges, axis=1) / 2
        self._soft_range = (centre - half - _POSE).astype(np.float32), (centre + half - _POSE).astype(np.float32)
        self._torque_limit = anymal_c.figures()["torque_limit"]
        self._noise_scale = self._noise * np.array(_noise_amplitudes(), np.float32)
        self.columns = {"chance": 3, "quat": 4, "qvel": 18, "torque": 12, **_HEIGHTS, **_REMEMBERED}
        size = len(self.observation_names)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-_MOST_ACTION, _MOST_ACTION, (12,), np.float32)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """What each value of the observation is, in order."""
        return (
            *(f"base velocity {axis}" for axis in "xyz"),
            *(f"base turning rate {axis}" for axis in "xyz"),
            *(f"gravity {axis}" for axis in "xyz"),
            *("command forward", "command left", "command turning left"),
            *(f"{joint} offset" for joint in anymal_c.JOINTS),
            *(f"{joint} velocity" for joint in anymal_c.JOINTS),
            *(f"{joint} last action" for joint in anymal_c.JOINTS),
            *(f"{leg} foot contact" for leg in anymal_c.LEGS),
            *(("clock sine", "clock cosine") if self._clocked else ()),
        )

    def remember(self, count: int) -> Rows:
        widths = _REMEMBERED | {"target": 12, "up": 4, "delay": 1, "substep": 1}
        kept = {name: np.zeros((count, width)) for name, width in widths.items()}
        return kept | {"key": np.zeros(count, np.uint32), "step": np.zeros(count, np.int32)}

    def begin(self, rows: Rows, copies: np.ndarray, randoms: Sequence[np.random.Generator]) -> None:
        key = np.array([randoms[copy].integers(2**32, dtype=np.uint32) for copy in copies], np.uint32)
        start = np.zeros(len(copies), np.uint32)
        rows["key"][copies], rows["step"][copies] = key, start
        for name in (*_REMEMBERED, "up", "substep"):
            rows[name][copies] = 0
        self._variation.begin(rows, copies, key)
        drawn = self._spread * uniform(key, _USE_OF_START, start, 18, np)
        angles = _POSE * (1 + 0.5 * drawn[:, :12])
        rows["qpos"][copies, :2] = 0
        rows["qpos"][copies, 2] = _standing_height(angles)
        rows["qpos"][copies, 3:7] = 1, 0, 0, 0
        rows["qpos"][copies, 7:] = angles
        rows["qvel"][copies] = 0
        rows["qvel"][copies, :6] = 0.5 * drawn[:, 12:]
        rows["target"][copies] = self._rest
        rows["joint"][copies] = angles - _POSE
        rows["command"][copies] = rows["followed"][copies] = self.commands.draw(key, start)
        if self._clocked:
            rows["phase"][copies, 0] = np.pi * uniform(key, _USE_OF_START, start + np.uint32(1), 1, np)[:, 0]

    def command(self, rows: Rows, action: np.ndarray) -> None:
        rows["followed"][:] = rows["command"]
        rows["velocity_before"][:] = rows["qvel"][:, 6:]
        rows["action_before"][:] = rows["action"]
        rows["action"][:] = action
        rows["ctrl"][:] = rows["target"]
        rows["target"][:] = self._rest + self._scale * rows["action"]
        rows["substep"][:] = 0
        self._variation.push(rows)
        self._act(rows)

    def watch(self, rows: Rows) -> None:
        rows["substep"] += 1
        if rows["substep"][0, 0] < _FRAME_SKIP:
            self._act(rows)

    def _act(self, rows: Rows) -> None:
        """Tell servos what reaches them just now, and motors what they can give."""
        np.copyto(rows["ctrl"], rows["target"], where=rows["substep"] == rows["delay"])
        if self._limited:
            limit_torque(rows)

    def after(self, rows: Rows) -> None:
        rows["step"] += 1
        rows["joint"][:] = rows["qpos"][:, 7:] - _POSE
        # As in legged_gym a foot counts as down if it was so at this step or the last: single misses are overlooked.
        contact = rows["sensordata"][:, _CONTACT] > 0
        down = contact | (rows["touched"] > 0)
        rows["touched"][:] = contact
        rows["up"] += self.timestep_s
        landed = down & (rows["up"] > self.timestep_s + _LEAST_STEP_S)
        rows["air_time"][:] = np.where(landed, rows["up"], 0)
        rows["up"][down] = 0
        if self._clocked:
            rows["phase"][:] = (rows["phase"] + self._turn) % (2 * np.pi)
        due = np.flatnonzero(rows["step"] % self._command_steps == 0)
        if len(due):
            rows["command"][due] = self.commands.draw(rows["key"][due], rows["step"][due] // self._command_steps)

    def measure(self, rows: Rows) -> Sequence[np.ndarray]:
        key = rows["key"]
        chance = np.stack([key >> np.uint32(16), key & np.uint32(0xFFFF), rows["step"]], axis=1)
        qpos, sensed = rows["qpos"], rows["sensordata"]
        heights = qpos[:, 2:3], sensed[:, _FEET][:, 2::3], sensed[:, _KNEES][:, 2::3], sensed[:, _FEET_VELOCITY]
        remembered = (rows[name] for name in _REMEMBERED)
        return chance, qpos[:, 3:7], rows["qvel"], rows["actuator_force"], *heights, *remembered

    def read(self, measured: Mapping[str, Any], action: Any, xp: Any) -> Reading:
        del action  # remembered, so that it is none where an episode begins
        moment, upright, clearance = self._moment(measured, xp)
        terms = weighted_terms(moment, self.weights, self.timestep_s, xp)
        if self._floor:
            terms["floor"] = xp.maximum(-sum(terms.values(), xp.zeros_like(upright)), 0.0)
        fell = (clearance < 0) | (upright < _COS_MOST_TILT)
        return Reading(self._observe(measured, moment, xp), terms, fell)

    def describe(self, rows: Rows) -> dict[str, np.ndarray]:
        rotation = _rotation(rows["qpos"][:, 3:7], np)
        velocity = np.einsum("nij,ni->nj", rotation, rows["qvel"][:, :3])
        miss = rows["followed"] - np.c_[velocity[:, :2], rows["qvel"][:, 5]]
        return {
            "command": rows["command"].copy(),
            "velocity_error": np.hypot(miss[:, 0], miss[:, 1]),
            "yaw_error": np.abs(miss[:, 2]),
        }

    def _moment(self, measured: Mapping[str, Any], xp: Any) -> tuple[Moment, Any, Any]:
        """Return the moment, the cosine of the tilt, and how high the trunk's lowest point is over the ground, m."""
        rotation = _rotation(measured["quat"], xp)
        qvel, feet = measured["qvel"], measured["foot_velocity"]
        down = -rotation[:, 2]
        side = xp.abs(down)
        reach = _TRUNK_LENGTH_M * side[:, 0] + _TRUNK_WIDTH_M * side[:, 1]
        clearance = measured["height"][:, 0] - reach - _TRUNK_RADIUS_M * xp.sqrt(1 - xp.minimum(side[:, 0] ** 2, 1))
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
            torque_limit=self._torque_limit,
            action=measured["action"],
            action_before=measured["action_before"],
            foot_height=measured["foot_height"] - _FOOT_RADIUS_M,
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
        exact = xp.concatenate(parts, axis=1)
        if not self._noise:
            return exact
        high, low, step = (measured["chance"][:, i].astype(xp.uint32) for i in range(3))
        key = high * np.uint32(0x10000) + low
        noisy = len(self._noise_scale)
        noise = self._noise_scale * uniform(key, _USE_OF_NOISE, step, noisy, xp)
        return xp.concatenate([exact[:, :noisy] + noise, exact[:, noisy:]], axis=1)


def _make_model(base: anymal_c.Base, looks: bool) -> mujoco.MjModel:
    spec = new_scene(_PHYSICS_STEP_S)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    anymal_c.add_anymal_c(
        spec,
        base,
        stiffness=_STIFFNESS,
        servo_damping=_DAMPING,
        joint_damping=0.0,
        joint_friction=0.0,
        armature=_ARMATURE,
        touching="feet and knees",
        foot_contact=3,
        looks=looks,
    )
    sensor, kind = mujoco.mjtSensor, mujoco.mjtObj
    for leg in anymal_c.LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_GEOM, objname=f"{leg}_FOOT")
    for leg in anymal_c.LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMELINVEL, objtype=kind.mjOBJ_GEOM, objname=f"{leg}_FOOT")
    for leg in anymal_c.LEGS:
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_XBODY, objname=f"{leg}_SHANK")
    for leg in anymal_c.LEGS:
        contact = spec.add_sensor(type=sensor.mjSENS_CONTACT, objtype=kind.mjOBJ_GEOM, objname=f"{leg}_FOOT")
        contact.intprm[:3] = 1, 0, 1  # whether there is any, in whatever order, of one contact
    return spec.compile()


def _holding_torque(model: mujoco.MjModel) -> np.ndarray:
    """Return the torques, (12,), that hold the robot in its pose with a quarter of its weight on each foot."""
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[7:] = 1, _POSE
    mujoco.mj_forward(model, data)
    share = -model.body_mass.sum() * model.opt.gravity[2] / 4
    torque = data.qfrc_bias[6:].copy()
    for leg in anymal_c.LEGS:
        foot, jacobian = model.geom(f"{leg}_FOOT"), np.zeros((3, model.nv))
        mujoco.mj_jac(model, data, jacobian, None, data.geom_xpos[foot.id], foot.bodyid[0])
        torque -= share * jacobian[2, 6:]
    return torque


def _sorted_options(options: Mapping[str, Any], *kinds: type) -> list[Any]:
    """Make one of each dataclass from those of the options that are its fields."""
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    for name in options:
        if name not in names:
            raise TypeError(f"there is no option '{name}'" + suggestion(name, names))
    return [
        kind(**{field.name: options[field.name] for field in dataclasses.fields(kind) if field.name in options})
        for kind in kinds
    ]


def _noise_amplitudes() -> list[float]:
    """Return legged_gym's, of velocity, turning rate, gravity, command, joint angles, joint velocities."""
    return [*[0.1] * 3, *[0.2] * 3, *[0.05] * 3, *[0.0] * 3, *[0.01] * 12, *[1.5] * 12]


def _standing_height(angles: np.ndarray) -> np.ndarray:
    """Return how high a level trunk is if the lowest foot just touches the floor, (K,), for joint angles (K, 12)."""
    shoulder, hip, knee = (angles[:, joint::3] for joint in range(3))
    forward = np.array([1, 1, -1, -1])
    out = np.array([1, -1, 1, -1])
    # In the leg's own plane, down from the hip; then the shoulder turns that plane about x.
    whole = hip + knee
    down = 0.285 * np.cos(hip) + 0.31547 * np.cos(whole) + 0.08795 * forward * np.sin(whole)
    aside = out * (0.08381 + 0.1003 + 0.01305)
    return (down * np.cos(shoulder) - aside * np.sin(shoulder) + _FOOT_RADIUS_M).max(1)


def _rotation(quat: Any, xp: Any) -> Any:
    """Return the matrices, (N, 3, 3), that turn the trunk's directions into the world's."""
    w, x, y, z = (quat[:, i] for i in range(4))
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return xp.stack([xp.stack(row, axis=1) for row in rows], axis=1)
