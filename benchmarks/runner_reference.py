"""The runner in OpenSim: muscle lengths and moment arms, forces in equilibrium, recorded motions.

Needs the extra `opensim`. Coordinates are those of `surefoot.bodies.runner`.
"""

from typing import Any

import numpy as np
import opensim

from surefoot.bodies.runner import COORDINATES, DEFAULT_POSE, MUSCLES
from surefoot.bodies.runner_figures import figures
from surefoot.bodies.runner_opensim import initialise, make_opensim_model, opensim_coordinate

NAMES = tuple(muscle["name"] for muscle in figures()["muscles"])
# Coordinates that each muscle crosses, as indices of the leg's hip, knee and ankle.
CROSSES = {
    "hamstrings": (0, 1),
    "bifemsh": (1,),
    "glut_max": (0,),
    "iliopsoas": (0,),
    "rect_fem": (0, 1),
    "vasti": (1,),
    "gastroc": (1, 2),
    "soleus": (2,),
    "tib_ant": (2,),
}
GRIDS = tuple(np.radians(np.arange(*ends)) for ends in ((-60, 121, 10.0), (-120, 26, 2.5), (-55, 41, 5.0)))


class OpenSimRunner:
    """The runner's model in OpenSim, and one state of it.

    Args:
        separate_spheres: see `make_opensim_model`.
        accuracy: of the integrator SemiExplicitEuler2.
    """

    def __init__(self, separate_spheres: bool = True, accuracy: float = 1e-3) -> None:
        self.model = model = make_opensim_model(separate_spheres=separate_spheres)
        self._accuracy = accuracy
        self._initial, self._excitations = initialise(model)
        self.muscles = [model.getMuscles().get(muscle) for muscle in MUSCLES]
        self.coordinates = [model.getCoordinateSet().get(opensim_coordinate(name)) for name in COORDINATES]
        self.state = opensim.State(self._initial)
        self._manager: Any = None

    def place(self, pose: np.ndarray, speeds: np.ndarray | None = None, activations: np.ndarray | None = None) -> None:
        """Set coordinates (9,), their speeds (0 by default) and activations (18,); fibres are not in equilibrium."""
        self.state, self._manager = opensim.State(self._initial), None
        for index, coordinate in enumerate(self.coordinates):
            coordinate.setValue(self.state, float(pose[index]), False)
            coordinate.setSpeedValue(self.state, 0.0 if speeds is None else float(speeds[index]))
        for muscle, activation in zip(self.muscles, () if activations is None else activations, strict=False):
            muscle.setActivation(self.state, float(activation))

    def step(self, excitations: np.ndarray, seconds: float = 0.01) -> None:
        """Integrate with constant excitations (18,)."""
        if self._manager is None:
            self._manager = opensim.Manager(self.model)
            self._manager.setIntegratorMethod(opensim.Manager.IntegratorMethod_SemiExplicitEuler2)
            self._manager.setIntegratorAccuracy(self._accuracy)
            self.state.setTime(0)
            self._manager.initialize(self.state)
        for function, value in zip(self._excitations, excitations, strict=True):
            function.setValue(float(value))
        self.state = self._manager.integrate(self.state.getTime() + seconds)

    def lengths_and_arms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the muscles' lengths (18,) and the moment arms with which OpenSim applies their forces (18, 9), m."""
        self.model.realizePosition(self.state)
        arms = np.zeros((len(MUSCLES), len(COORDINATES)))
        for row, muscle in enumerate(self.muscles):
            first = 3 if muscle.getName().endswith("_r") else 6
            for joint in CROSSES[muscle.getName()[:-2]]:
                coordinate = self.coordinates[first + joint]
                arms[row, first + joint] = muscle.getGeometryPath().computeMomentArm(self.state, coordinate)
        return np.array([muscle.getLength(self.state) for muscle in self.muscles]), arms

    def read(self) -> dict[str, np.ndarray]:
        """Return coordinates, speeds, activations, tendon forces (N), muscle lengths and moment arms."""
        self.model.realizeAcceleration(self.state)
        lengths, arms = self.lengths_and_arms()
        return {
            "pose": np.array([coordinate.getValue(self.state) for coordinate in self.coordinates]),
            "speeds": np.array([coordinate.getSpeedValue(self.state) for coordinate in self.coordinates]),
            "activations": np.array([muscle.getActivation(self.state) for muscle in self.muscles]),
            "forces": np.array([muscle.getActuation(self.state) for muscle in self.muscles]),
            "lengths": lengths,
            "arms": arms,
        }


def geometry(runner: OpenSimRunner, name: str) -> dict[str, np.ndarray]:
    """Return hip, knee, ankle angles (N, 3), lengths (N,) and moment arms (N, joints) of a right muscle on `GRIDS`."""
    joints, muscle = CROSSES[name], NAMES.index(name)
    mesh = np.meshgrid(*(GRIDS[joint] for joint in joints), indexing="ij")
    angles = np.zeros((mesh[0].size, 3))
    angles[:, joints] = np.stack([part.ravel() for part in mesh], 1)
    crossed, path, rows = [runner.coordinates[3 + joint] for joint in joints], runner.muscles[muscle], []
    runner.place(np.zeros(9))
    for angle in angles:
        for index, coordinate in enumerate(runner.coordinates[3:6]):
            coordinate.setValue(runner.state, float(angle[index]), False)
        runner.model.realizePosition(runner.state)
        arms = [path.getGeometryPath().computeMomentArm(runner.state, coordinate) for coordinate in crossed]
        rows.append([path.getLength(runner.state), *arms])
    table = np.array(rows)
    return {"angles": angles, "lengths": table[:, 0], "arms": table[:, 1:]}


def equilibria(runner: OpenSimRunner, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return poses, speeds, activations and forces of the right leg's muscles in equilibrium, 70 % of them moving.

    Angles: hip -25 to 90, knee -115 to 5, ankle -35 to 22 degrees; activations 0.02 to 1. A force is NaN if OpenSim
    finds no equilibrium.
    """
    random = np.random.default_rng(seed)
    poses, speeds = np.zeros((count, 9)), np.zeros((count, 9))
    poses[:, 2] = 2
    poses[:, 3:6] = np.radians(random.uniform([-25, -115, -35], [90, 5, 22], (count, 3)))
    speeds[:, 3:6] = random.normal(0, 4, (count, 3)) * (random.random((count, 1)) < 0.7)
    activations, forces = random.uniform(0.02, 1, (count, 18)), np.full((count, 9), np.nan)
    for row in range(count):
        runner.place(poses[row], speeds[row], activations[row])
        runner.model.realizeVelocity(runner.state)
        for index, muscle in enumerate(runner.muscles[:9]):
            try:
                muscle.computeEquilibrium(runner.state)
            except RuntimeError:
                continue
            runner.model.realizeDynamics(runner.state)
            forces[row, index] = muscle.getActuation(runner.state)
    return {"poses": poses, "speeds": speeds, "activations": activations, "forces": forces}


def motions(runner: OpenSimRunner, count: int, steps: int = 50, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Record motions of up to `steps` steps of 10 ms with random excitations: from near the contest's pose, standing or
    moving, and from strides. Each holds the arrays of `OpenSimRunner.read` and the excitations, (T, ...)."""
    random, recorded = np.random.default_rng(seed), []
    while len(recorded) < count:
        pose, speeds = _start(runner, random, stride=len(recorded) % 2 == 1)
        runner.place(pose, speeds, random.uniform(0.02, 0.4, 18))
        try:
            runner.model.equilibrateMuscles(runner.state)
        except RuntimeError:
            continue
        rows = []
        for step in range(steps):
            if step % 5 == 0 and (step == 0 or random.random() < 0.6):
                strong = random.random(18) < random.uniform(0.15, 0.6, 18)
                excitations = np.where(strong, random.uniform(0.3, 1, 18), random.uniform(0, 0.1, 18))
            rows.append(runner.read() | {"excitations": excitations})
            runner.step(excitations)
            if runner.coordinates[2].getValue(runner.state) < 0.55:
                break
        recorded.append({name: np.array([row[name] for row in rows]) for name in rows[0]})
    return recorded


def _start(runner: OpenSimRunner, random: np.random.Generator, stride: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return pose and speeds; the lowest foot of a stride is up to 3 cm in the floor."""
    pose, speeds = DEFAULT_POSE.copy(), np.zeros(9)
    pose[[0, 3, 4, 5, 6, 7, 8]] += random.normal(0, 0.05, 7)
    speeds[1] = random.uniform(0, 3)
    if not stride:
        return pose, speeds
    low, high = (-0.5, -1.5, -0.2), (1.0, 0.0, 0.2)
    pose[3:] = random.uniform(low * 2, high * 2)
    speeds[0], speeds[3:] = random.normal(0, 1), random.normal(0, 3, 6)
    runner.place(pose)
    runner.model.realizePosition(runner.state)
    centre = opensim.Vec3(*figures()["contact"]["heel"]["at"])
    bodies = [runner.model.getBodySet().get(name) for name in ("calcn_r", "toes_r", "calcn_l", "toes_l")]
    lowest = min(body.findStationLocationInGround(runner.state, centre).get(1) for body in bodies)
    pose[2] += figures()["contact"]["radius"] - lowest - random.uniform(0, 0.03)
    return pose, speeds
