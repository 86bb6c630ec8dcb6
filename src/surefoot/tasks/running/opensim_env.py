"""The running task in OpenSim, the simulator of the contest: the same task on other physics."""

import contextlib
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from surefoot.bodies.runner import BODY, COORDINATE_INDICES, COORDINATES, LEG_JOINTS, LEGS, MUSCLES
from surefoot.bodies.runner_opensim import (
    Variation,
    crossed_joints,
    initialise,
    limit_force,
    make_opensim_model,
    opensim_coordinate,
    vary_opensim_model,
)
from surefoot.tasks.running.measurements import BODIES, POINTS, measured_widths
from surefoot.tasks.running.task import LearningToRun
from surefoot.tasks.task_env import TaskEnv

Measured = dict[str, np.ndarray]


class OpenSimRunner(TaskEnv):
    """`LearningToRun` simulated by OpenSim: resets, options, observation, reward and termination are the task's own.

    MuJoCo's data follow OpenSim's coordinates and activations, so that the environment can be rendered.

    If OpenSim's integrator fails, the episode is truncated at the last state that it computed. Then `info["failure"]`
    holds its message.
    """

    def __init__(self, task: str = "surefoot/LearningToRun-v0", render_mode: str | None = None, **options: Any) -> None:
        """Make the environment; `options` are those of the task.

        Raises:
            InputError: an option is wrong, or the file of the OpenSim model.
        """
        super().__init__(task, render_mode, **options)
        assert isinstance(self.task, LearningToRun)
        self._options = self.task.options
        model, feet = self.model, [self.model.geom(geom).id for foot in BODY.feet for geom in foot.geoms]
        self._foot, self._joints = feet[0], [model.joint(joint).id for joint in LEG_JOINTS]
        self._original = {
            "strength": model.actuator_gainprm[:, 2].copy(),
            "contact": model.geom_solref[self._foot, 0].copy(),
            "limits": model.jnt_solref[self._joints, 0].copy(),
        }
        self._widths = measured_widths(self._options.observation)
        self._failure = ""
        self._variation: Variation | None = None
        self._simulation: Any = None  # built at the first reset
        self._episodes = 0
        self.make_model()  # reports a wrong file now

    def start(self) -> None:
        options, variation = self._options, self._present_variation()
        if self._episodes % options.opensim_rebuild_every == 0 or not _equal(variation, self._variation):
            self._simulation = self._build(variation)
        self._episodes += 1
        coordinates, speeds = self.data.qpos[COORDINATE_INDICES], self.data.qvel[COORDINATE_INDICES]
        activations = self.data.act[: len(MUSCLES)]
        self._simulation.reset(coordinates, speeds, activations, options.opensim_equilibrium)
        self._failure = ""
        self._follow()

    def simulate_action(self) -> None:
        task, simulation = self.task, self._simulation
        schedule = self._state["ctrl_schedule"][0] if task.per_substep_control else self.data.ctrl[None]
        try:
            for excitations in schedule:
                simulation.advance(excitations, task.timestep_s / len(schedule))
        except (RuntimeError, FloatingPointError) as error:
            self._failure = " ".join(str(error).split())[:200]
            return
        self._follow()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self._failure:
            return observation, 0.0, False, True, info | {"failure": f"OpenSim failed: {self._failure}"}
        return observation, reward, terminated, truncated, info

    def measure(self) -> Mapping[str, np.ndarray]:
        return {**super().measure(), **self._measured}

    def make_model(self) -> Any:
        """Return the `opensim.Model` without the task's variation."""
        options = self._options
        return make_opensim_model(options.opensim_model, options.opensim_separate_spheres)

    def ground_forces(self) -> np.ndarray:
        """Return the vertical force of the ground on each foot, in the order of `LEGS`, (2,) N."""
        return self._simulation.ground_forces()

    def joint_torques(self) -> np.ndarray:
        """Return the torque of the muscles on each of `LEG_JOINTS`, (6,) N m."""
        return self._simulation.joint_torques()

    def _build(self, variation: Variation) -> "_Simulation":
        self._variation = variation
        options = self._options
        model = self.make_model()
        vary_opensim_model(model, variation)
        accuracy, step_s = options.opensim_accuracy, options.opensim_minimum_step_s
        return _Simulation(model, options.opensim_integrator, accuracy, step_s)

    def _present_variation(self) -> Variation:
        """Read from MuJoCo's model and the task's state what the task varies."""
        model, original = self.model, self._original
        obstacles = self._state["obstacles"] if "obstacles" in self._state else np.zeros((0, 3))
        return Variation(
            strength=model.actuator_gainprm[:, 2] / original["strength"],
            friction=float(model.geom_friction[self._foot, 0]),
            contact=float(model.geom_solref[self._foot, 0] / original["contact"]),
            limits=model.jnt_solref[self._joints, 0] / original["limits"],
            obstacles=obstacles.reshape(-1, 3).copy(),
        )

    def _follow(self) -> None:
        """Measure OpenSim's state and write it to MuJoCo's data."""
        self._measured = measured = {
            name: np.array([values]) for name, values in self._simulation.measure(self._widths).items()
        }
        self.data.qpos[COORDINATE_INDICES] = measured["coordinates"][0]
        self.data.qvel[COORDINATE_INDICES] = measured["speeds"][0]
        self.data.act[: len(MUSCLES)] = measured["activation"][0]
        self.data.time = self._simulation.time
        mujoco.mj_fwdPosition(self.model, self.data)
        mujoco.mj_fwdVelocity(self.model, self.data)


def _equal(first: Variation, second: Variation | None) -> bool:
    return second is not None and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


class _Simulation:
    """A model of OpenSim, its state and its integrator."""

    def __init__(self, model: Any, integrator: str, accuracy: float, minimum_step_s: float) -> None:
        import opensim

        self._model = model
        self._state, self._excitations = initialise(model)
        self._muscles = [model.getMuscles().get(name) for name in MUSCLES]
        self._coordinates = [model.getCoordinateSet().get(opensim_coordinate(name)) for name in COORDINATES]
        self._points = [model.getBodySet().get(name) for name in POINTS]
        self._bodies = [model.getBodySet().get(name) for name in BODIES]
        self._limits = [model.getForceSet().get(limit_force(joint)) for joint in LEG_JOINTS]
        forces, parts = model.getForceSet(), ("foot", "heel", "toe")
        names = [[f"{part}_{leg}" for part in parts] for leg in LEGS]
        self._feet = [[forces.get(name) for name in foot if forces.contains(name)] for foot in names]
        self._manager = opensim.Manager(model)
        self._manager.setIntegratorMethod(getattr(opensim.Manager, f"IntegratorMethod_{integrator}"))
        self._manager.setIntegratorAccuracy(accuracy)
        if minimum_step_s:
            self._manager.setIntegratorMinimumStepSize(minimum_step_s)
        self._manager.setWriteToStorage(False)
        self._manager.setPerformAnalyses(False)
        self.time = 0.0
        self._held: list[float] = []

    def reset(self, coordinates: np.ndarray, speeds: np.ndarray, activations: np.ndarray, equilibrium: bool) -> None:
        """Start at `time` 0."""
        self._state = state = self._model.initializeState()
        self.time, self._held = 0.0, []
        for coordinate, value, speed in zip(self._coordinates, coordinates.tolist(), speeds.tolist(), strict=True):
            coordinate.setValue(state, value, False)
            coordinate.setSpeedValue(state, speed)
        for muscle, activation in zip(self._muscles, activations.tolist(), strict=True):
            muscle.setActivation(state, activation)
        if equilibrium:
            with contextlib.suppress(RuntimeError):  # there is none in some poses; fibres keep their default length
                self._model.equilibrateMuscles(state)

    def advance(self, excitations: np.ndarray, seconds: float) -> None:
        """Simulate a time with constant excitations (18,).

        Raises:
            RuntimeError: the integrator cannot continue.
            FloatingPointError: the state is not finite.
        """
        if excitations.tolist() != self._held:
            self._held = excitations.tolist()
            for function, excitation in zip(self._excitations, self._held, strict=True):
                function.setValue(excitation)
            self._manager.initialize(self._state)  # otherwise it goes on for a moment with the earlier excitations
        self.time += seconds
        self._state = self._manager.integrate(self.time)
        if not np.isfinite([coordinate.getValue(self._state) for coordinate in self._coordinates]).all():
            raise FloatingPointError("its state is not finite")

    def ground_forces(self) -> np.ndarray:
        """Return the vertical force of the ground on each foot, (2,) N."""
        self._model.realizeDynamics(self._state)
        # Values of the force on the ground come first.
        return np.array([-sum(force.getRecordValues(self._state).get(1) for force in foot) for foot in self._feet])

    def joint_torques(self) -> np.ndarray:
        """Return the torque of the muscles on each of `LEG_JOINTS`, (6,) N m."""
        state, torques = self._state, np.zeros(len(LEG_JOINTS))
        self._model.realizeDynamics(state)
        for muscle, joints in zip(self._muscles, crossed_joints(), strict=True):
            force, path = muscle.getActuation(state), muscle.getGeometryPath()
            for joint in joints:
                coordinate = self._coordinates[COORDINATES.index(LEG_JOINTS[joint])]
                torques[joint] += force * path.computeMomentArm(state, coordinate)
        return torques

    def measure(self, widths: Mapping[str, int]) -> dict[str, list[float]]:
        """Return the quantities of `measurements` that follow from the state, those in `widths` only."""
        model, state = self._model, self._state
        model.realizeAcceleration(state) if "accelerations" in widths else model.realizeDynamics(state)
        position, velocity = model.calcMassCenterPosition(state), model.calcMassCenterVelocity(state)
        points = [body.getPositionInGround(state) for body in self._points]
        measured = {
            "coordinates": [coordinate.getValue(state) for coordinate in self._coordinates],
            "speeds": [coordinate.getSpeedValue(state) for coordinate in self._coordinates],
            "positions": [point.get(axis) for point in points for axis in (0, 1)],
            "com": [part.get(axis) for part in (position, velocity) for axis in (0, 1)],
            "activation": [muscle.getActivation(state) for muscle in self._muscles],
            "limit_torque": [limit.getRecordValues(state).get(0) for limit in self._limits],
        }
        if "accelerations" in widths:
            measured["accelerations"] = [coordinate.getAccelerationValue(state) for coordinate in self._coordinates]
            measured["body_motion"] = [value for body in self._bodies for value in _motion(body, state)]
        if "fibre" in widths:
            acceleration = model.calcMassCenterAcceleration(state)
            measured["com_acceleration"] = [acceleration.get(axis) for axis in (0, 1)]
            lengths = [muscle.getFiberLength(state) for muscle in self._muscles]
            measured["fibre"] = lengths + [muscle.getFiberVelocity(state) for muscle in self._muscles]
        return measured


def _motion(body: Any, state: Any) -> list[float]:
    """Return the values of `measurements.BODY_MOTION`."""
    velocity, acceleration = body.getVelocityInGround(state), body.getAccelerationInGround(state)
    angle = body.getTransformInGround(state).R().convertRotationToBodyFixedXYZ().get(2)
    linear = [part.get(1).get(axis) for part in (velocity, acceleration) for axis in (0, 1)]
    return [*linear, angle, velocity.get(0).get(2), acceleration.get(0).get(2)]
