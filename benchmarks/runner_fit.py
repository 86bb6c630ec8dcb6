"""The runner's MuJoCo model against OpenSim, and the fit of the numbers in runner.toml.

    python benchmarks/runner_fit.py
    python benchmarks/runner_fit.py --fit knee paths muscles contact

The first measures and writes results/runner_fit.json, docs/pictures/runner-moment-arms.png and runner-motions.png. The
second fits parts of runner.toml again, from the present numbers, and prints the result. Needs the extra `opensim`.
"""

import argparse
import copy
import itertools
import json
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mujoco
import mujoco.batch
import numpy as np
from scipy.optimize import least_squares, minimize

from measuring import RESULTS, ROOT, background_load, print_table, write_results
from runner_reference import CROSSES, NAMES, OpenSimRunner, equilibria, geometry, motions
from surefoot.bodies.runner import COORDINATE_INDICES, COORDINATES, LEG_JOINTS, make_scene
from surefoot.bodies.runner_figures import figures, fitted
from surefoot.bodies.runner_muscles import equilibrium
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_task, make_env

PARTS = ("knee", "paths", "muscles", "contact")
PICTURES = ROOT / "docs" / "pictures"
PEAK = np.array([muscle["max_isometric_force"] for muscle in figures()["muscles"]])
TEN_DEGREES = np.radians(10.01)
ANGLES = [COORDINATES.index(name) for name in ("pelvis_tilt", *LEG_JOINTS)]
TIMES_S = (0.1, 0.3, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", nargs="+", choices=PARTS, default=[])
    parser.add_argument("--poses", type=int, default=1600)
    parser.add_argument("--motions", type=int, default=48)
    parser.add_argument("--output", type=Path, default=RESULTS / "runner_fit.json")
    arguments = parser.parse_args()
    load, runner = background_load(), OpenSimRunner()
    tables = {name: geometry(runner, name) for name in NAMES}
    if "knee" in arguments.fit:
        print("knee", json.dumps(fit_knee(runner)))
    if "paths" in arguments.fit:
        for name in NAMES:
            print(name, json.dumps(fit_path(name, tables[name])))
    recorded, poses = motions(runner, arguments.motions), equilibria(runner, arguments.poses)
    if "muscles" in arguments.fit:
        for name in NAMES:
            print(name, json.dumps(fit_muscle(name, poses, recorded)))
    if "contact" in arguments.fit:
        print(json.dumps(fit_contact(recorded)))
    if arguments.fit:
        return
    lost = motions(OpenSimRunner(separate_spheres=False), arguments.motions // 2, seed=1)
    results = {
        "geometry": {name: geometry_errors(name, tables[name]) for name in NAMES},
        "forces": force_errors(poses),
        "motions": {
            "rigid tendons": motion_errors(recorded),
            "elastic tendons": motion_errors(recorded, "elastic"),
            "rigid tendons, toes lost": motion_errors(lost),
            "elastic tendons, toes lost": motion_errors(lost, "elastic"),
        },
        "toe_force": toe_forces(),
        "steps_per_cpu_second": {muscles: steps_per_cpu_second(muscles) for muscles in ("rigid", "elastic")},
    }
    write_results(arguments.output, load, {"poses": arguments.poses, "recorded_motions": arguments.motions} | results)
    report(results)
    draw_arms(tables)
    draw_motions(results["motions"])


class Planar:
    """Lengths and moment arms of the right leg's muscle paths, from the points in runner.toml."""

    def __init__(self, knee: dict[str, Any] | None = None) -> None:
        origins = {body["name"]: np.array(body["origin"]) for body in figures()["bodies"]}
        self.hip, self.ankle, self.heel = origins["femur"], origins["talus"], origins["calcn"]
        knee = knee or fitted()["knee"]
        self.centre, self.arm = np.array(knee["centre"]), np.array(knee["arm"])

    def place(self, body: str, at: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Return the place (N, 3) in the pelvis of a point of a body, at hip, knee and ankle angles (N, 3)."""
        point = np.tile(at, (len(angles), 1))
        if body == "pelvis":
            return point
        if body == "calcn":
            point, body = self.ankle + _turned(point + self.heel, angles[:, 2]), "tibia"
        if body == "tibia":
            point = self.centre + _turned(point + self.arm, angles[:, 1])
        return self.hip + _turned(point, angles[:, 0])

    def lengths(self, path: list[dict[str, Any]], angles: np.ndarray) -> np.ndarray:
        places = [self.place(point["body"], np.array(point["at"]), angles) for point in path]
        steps = [np.linalg.norm(b - a, axis=1) for a, b in itertools.pairwise(places)]
        return np.sum(steps, axis=0)

    def arms(self, path: list[dict[str, Any]], angles: np.ndarray, joints: tuple[int, ...]) -> np.ndarray:
        """Return minus the derivatives of the length by joints, (N, joints)."""
        small, columns = 1e-5, []
        for joint in joints:
            change = small * np.eye(3)[joint]
            columns.append((self.lengths(path, angles - change) - self.lengths(path, angles + change)) / (2 * small))
        return np.stack(columns, 1)


def _turned(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    x, y, z = points.T
    return np.stack([x * np.cos(angles) - y * np.sin(angles), x * np.sin(angles) + y * np.cos(angles), z], 1)


def geometry_errors(name: str, table: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return root mean square errors in mm, below and beyond a knee extension of 10 degrees."""
    planar, muscle = Planar(), fitted()["muscles"][name]
    length = planar.lengths(muscle["path"], table["angles"]) - muscle["path_excess"] - table["lengths"]
    arms = planar.arms(muscle["path"], table["angles"], CROSSES[name]) - table["arms"]
    beyond = table["angles"][:, 1] > TEN_DEGREES
    errors = {}
    for key, rows in (("up to 10 degrees", ~beyond), ("beyond", beyond)):
        if rows.any():
            errors[key] = {"length_mm": _rms(length[rows]) * 1e3, "arms_mm": (_rms(arms[rows]) * 1e3).tolist()}
    return errors


def _rms(values: np.ndarray) -> Any:
    return np.sqrt(np.nanmean(np.square(values), axis=0))


def fit_knee(runner: OpenSimRunner) -> dict[str, Any]:
    """Fit the hinge to the path of the tibia's origin in the femur and its derivative, above all from -70 degrees."""
    angles = np.radians(np.arange(-120, 26.0))
    bodies = [runner.model.getBodySet().get(name) for name in ("tibia_r", "femur_r")]
    runner.place(np.zeros(9))
    places = []
    for angle in angles:
        runner.coordinates[4].setValue(runner.state, float(angle), False)
        runner.model.realizePosition(runner.state)
        place = bodies[0].findStationLocationInAnotherFrame(runner.state, _zero(), bodies[1])
        places.append([place.get(0), place.get(1), 0.0])
    expected, weight = np.array(places), np.where(angles < np.radians(-70), 0.3, 1)[:, None]

    def residuals(parameters: np.ndarray) -> np.ndarray:
        arm = np.array([[*parameters[2:], 0.0]])
        found = np.array([*parameters[:2], 0.0]) + _turned(np.repeat(arm, len(angles), 0), angles)
        slope = np.gradient(found - expected, angles, axis=0)
        return np.concatenate([(weight * part).ravel() for part in (found - expected, slope)])

    knee = fitted()["knee"]
    result = least_squares(residuals, [*knee["centre"][:2], *knee["arm"][:2]]).x
    return {"centre": [*result[:2], 0.0], "arm": [*result[2:], 0.0]}


def _zero() -> Any:
    import opensim

    return opensim.Vec3(0)


def fit_path(name: str, table: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fit x and y of the points between the first and the last to OpenSim's lengths and applied moment arms.

    Beyond a knee extension of 10 degrees OpenSim's lengths and moment arms contradict each other; there lengths count
    less. A path that crosses a joint three times can follow the change of the moment arms at 10 degrees.
    """
    planar, muscle = Planar(), copy.deepcopy(fitted()["muscles"][name])
    path, angles = muscle["path"], table["angles"]
    hip, knee, ankle = np.degrees(angles).T
    weight = np.where((hip < -45) | (hip > 80), 0.5, 1) * np.where(knee < -90, 0.5, 1)
    weight = weight * np.where((ankle < -45) | (ankle > 30), 0.6, 1)
    length_weight = 0.5 * weight * np.where(angles[:, 1] > TEN_DEGREES, 0.3, 1)
    last = len(path) if name in ("rect_fem", "vasti") else len(path) - 1  # these end at a point that moves in OpenSim
    free = path[2 if name == "vasti" else 1 : last] if len(path) > 3 else []
    fixed = name in ("glut_max", "soleus", "tib_ant")  # paths of fixed points in OpenSim, too

    def residuals(parameters: np.ndarray) -> np.ndarray:
        for point, values in zip(free, parameters.reshape(-1, 2), strict=True):
            point["at"][:2] = values
        excess = planar.lengths(path, angles) - table["lengths"]
        muscle["path_excess"] = np.average(excess, weights=length_weight**2)
        arms = planar.arms(path, angles, CROSSES[name]) - table["arms"]
        return (
            np.concatenate([length_weight * (excess - muscle["path_excess"]), (weight[:, None] * arms).ravel()]) * 1e3
        )

    if free and not fixed:
        result = least_squares(residuals, np.ravel([point["at"][:2] for point in free]), max_nfev=100)
        residuals(result.x)
    return {"path_excess": float(muscle["path_excess"]), "path": path}


def muscle_force(parameters: np.ndarray, length: np.ndarray, speed: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Return the force of MuJoCo's muscle relative to the peak force; parameters in the order of `PARAMETERS`."""
    optimal, slack, lmin, lmax, vmax, fpmax, fvmax, scale = parameters
    values = np.empty_like(length)
    for index in range(len(length)):
        settings = np.array([0, 1, 1.0, 0, lmin, lmax, vmax, fpmax, fvmax])
        ends = np.array([slack, slack + optimal])
        gain = mujoco.mju_muscleGain(length[index], speed[index], ends, 1.0, settings)
        values[index] = -scale * (gain * activation[index] + mujoco.mju_muscleBias(length[index], ends, 1.0, settings))
    return values


PARAMETERS = ("optimal_length", "slack_length", "lmin", "lmax", "vmax", "fpmax", "fvmax", "scale")


def fit_muscle(name: str, poses: dict[str, np.ndarray], recorded: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """Fit MuJoCo's muscle to OpenSim's forces in equilibrium, and with a quarter of the weight in recorded motions.

    Lengths and speeds are those of the fitted path.
    """
    index, muscle = NAMES.index(name), fitted()["muscles"][name]
    still = ((poses["poses"], poses["speeds"], poses["activations"], poses["forces"], 0),)
    moving = (
        (motion["pose"], motion["speeds"], motion["activations"], motion["forces"], side)
        for motion in recorded
        for side in (0, 1)
    )
    groups = [np.concatenate([_samples(name, *part) for part in parts]) for parts in (still, moving)]
    groups = [group[np.isfinite(group).all(1)][::step] for group, step in zip(groups, (1, 3), strict=True)]
    weights = [
        np.full(len(group), weight / np.sqrt(len(group))) for group, weight in zip(groups, (1, 0.5), strict=True)
    ]
    (length, speed, activation, force), weight = np.concatenate(groups).T, np.concatenate(weights)
    force = force / PEAK[index]
    start = np.array([muscle[key] for key in PARAMETERS])
    optimal, slack = start[:2]
    low = np.array([0.6 * optimal, 0.85 * slack, 0, 1.1, 2, 1e-7, 1.05, 0.7])
    high = np.array([1.8 * optimal, 1.15 * slack, 0.9, 4, 30, 5, 2, 1.3])
    result = least_squares(
        lambda parameters: weight * (muscle_force(parameters, length, speed, activation) - force),
        np.clip(start, low + 1e-8, high - 1e-8),
        bounds=(low, high),
        x_scale=[0.05, 0.05, 0.3, 0.5, 3, 0.5, 0.2, 0.1],
        max_nfev=60,
    )
    return dict(zip(PARAMETERS, result.x.tolist(), strict=True))


def _samples(
    name: str, pose: np.ndarray, speeds: np.ndarray, activations: np.ndarray, forces: np.ndarray, side: int
) -> np.ndarray:
    """Return length, speed, activation and force of the right (0) or left (1) muscle, (N, 4)."""
    planar, muscle, index = Planar(), fitted()["muscles"][name], NAMES.index(name) + 9 * side
    angles, rates = (array[:, 3 + 3 * side : 6 + 3 * side] for array in (pose, speeds))
    length = planar.lengths(muscle["path"], angles) - muscle["path_excess"]
    speed = -(planar.arms(muscle["path"], angles, (0, 1, 2)) * rates).sum(1)
    return np.stack([length, speed, activations[:, index], forces[:, index]], 1)


class OneStep:
    """Error of MuJoCo's speeds 10 ms after recorded states, due to contact and limits: OpenSim's muscle torques act."""

    def __init__(self, recorded: list[dict[str, np.ndarray]]) -> None:
        torques = [np.einsum("tmj,tm->tj", motion["arms"], motion["forces"]) for motion in recorded]
        self.torques = np.concatenate([(torque[1:-1] + torque[2:]) / 2 for torque in torques])
        self.pose, self.speeds = (
            np.concatenate([motion[key][1:-1] for motion in recorded]) for key in ("pose", "speeds")
        )
        self.expected = np.concatenate([motion["speeds"][2:] for motion in recorded])
        self._scale = (self.expected - self.speeds).std(0)
        self._model = make_scene(visuals=False).compile()
        self._model.actuator_gainprm[:, 2] = self._model.actuator_biasprm[:, 2] = 0

    def error(self, values: np.ndarray) -> float:
        """Return the mean over the coordinates of the root mean square error, in standard deviations of the change."""
        contact, limit, ankle = np.split(values, [8, 13])
        if (values <= 0).any() or contact[2] >= contact[3] or limit[3] > 0.98 or ankle[3] > 0.98 or contact[5] > 0.98:
            return 9.0
        model, errors = self._model, []
        for geom in (model.geom(f"{part}_{leg}").id for part in ("heel", "toe") for leg in "rl"):
            model.geom_solref[geom], model.geom_solimp[geom] = -contact[:2], contact[2:7]
        model.opt.impratio = contact[7]
        for name in LEG_JOINTS:
            joint, values = model.joint(name).id, ankle if name.startswith("ankle") else limit
            inertia = 1 / model.dof_invweight0[joint]
            model.jnt_solref[joint] = -values[:2] / inertia
            model.jnt_solimp[joint] = [1e-4, 0.02, *values[2:]]
        for timestep in (0.005, 0.0025):
            model.opt.timestep = timestep
            batch = mujoco.batch.Batch(model, len(self.pose), 1)
            batch.reset()
            batch.bind("qpos")[:, COORDINATE_INDICES] = self.pose
            speeds = batch.bind("qvel")
            speeds[:, COORDINATE_INDICES] = self.speeds
            batch.bind("qfrc_applied")[:, COORDINATE_INDICES] = self.torques
            batch.step(nstep=round(0.01 / timestep))
            relative = np.abs(speeds[:, COORDINATE_INDICES] - self.expected) / self._scale
            errors.append(np.sqrt(np.square(np.minimum(relative, 3)).mean(0)) @ [2, 2, 2, 1, 1, 1, 1, 1, 1] / 12)
        return float(np.mean(errors))


def fit_contact(recorded: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Fit contact and joint limits by Nelder and Mead's method: the error, and the parameters."""
    contact, limits = fitted()["contact"], fitted()["limits"]
    model = make_scene(visuals=False).compile()
    start = [*np.negative(contact["solref"]), *contact["solimp"], contact["impratio"]]
    for joint in ("knee", "ankle"):
        inertia = 1 / model.dof_invweight0[model.joint(f"{joint}_r").id]
        start += [*(-inertia * np.array(limits[joint]["solref"])), *limits[joint]["solimp"][2:]]
    objective, values = OneStep(recorded), np.array(start)
    simplex = np.concatenate([[values], values * (1 + 0.15 * np.eye(len(values)))])
    found = minimize(objective.error, values, method="Nelder-Mead", options={"maxfev": 600, "initial_simplex": simplex})
    contact, limit, ankle = np.split(found.x, [8, 13])
    return {"error": found.fun, "contact": contact.tolist(), "limit": limit.tolist(), "ankle": ankle.tolist()}


def force_errors(poses: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the root mean square of the force error relative to the peak force, of MuJoCo's muscles in equilibrium."""
    model = make_scene(visuals=False).compile()
    data, found = mujoco.MjData(model), np.zeros((len(poses["poses"]), 9))
    for row, pose in enumerate(poses["poses"]):
        data.qpos[COORDINATE_INDICES], data.qvel[COORDINATE_INDICES] = pose, poses["speeds"][row]
        data.act[:] = poses["activations"][row]
        mujoco.mj_forward(model, data)
        found[row] = -data.actuator_force[:9]
    error = (found - poses["forces"]) / PEAK
    return {
        name: {"rms": _rms(error[:, i]), "bias": np.nanmean(error[:, i]), "largest": np.nanmax(np.abs(error[:, i]))}
        for i, name in enumerate(NAMES)
    }


def motion_errors(recorded: list[dict[str, np.ndarray]], muscles: str = "rigid") -> dict[str, Any]:
    """Return the mean error of the angles (rad) after `TIMES_S`, simulated from each motion's initial state."""
    errors = {}
    for timestep in (0.005, 0.001):
        options = {"muscles": muscles, "timestep_s": timestep, "visuals": False}
        env: Any = make_env(find_task("learning-to-run", options)).unwrapped
        state, curves = env._state, np.full((len(recorded), 50), np.nan)
        for row, motion in enumerate(recorded):
            env.reset(seed=0)
            env.data.qpos[COORDINATE_INDICES], env.data.qvel[COORDINATE_INDICES] = (
                motion["pose"][0],
                motion["speeds"][0],
            )
            state["act"][0] = motion["activations"][0]
            if muscles == "elastic":
                state["fibre"][0] = equilibrium(motion["lengths"][:1], state["act"])[0]
            for step in range(len(motion["pose"]) - 1):
                state["ctrl"][0] = motion["excitations"][step]
                env.simulate_action()
                found = env.data.qpos[COORDINATE_INDICES][ANGLES]
                curves[row, step + 1] = np.abs(found - motion["pose"][step + 1, ANGLES]).mean()
        mean = np.nanmean(curves[:, 1:], axis=0)
        after = {f"{time:g} s": float(mean[min(round(100 * time), 49) - 1]) for time in TIMES_S}
        errors[f"{timestep * 1e3:g} ms"] = {"error_rad": after, "curve_rad": mean.tolist()}
    return errors


def toe_forces() -> list[dict[str, float]]:
    """Return OpenSim's forces on heel and toes (N) by the heel's speed upwards, the toes being at rest."""
    import opensim

    rows = []
    for rate in (0.0, -1.0, -2.0, -2.4, -2.5, -3.0):
        row = {}
        for separate in (False, True):
            runner = OpenSimRunner(separate_spheres=separate)
            pose, speeds = np.array([-0.05, 0, 0.91, *np.zeros(6)]), np.eye(9)[5] * rate
            bodies = [runner.model.getBodySet().get(name) for name in ("toes_r", "calcn_r")]
            centre = opensim.Vec3(*figures()["contact"]["heel"]["at"])
            for _ in range(2):
                runner.place(pose, speeds)
                runner.model.realizeDynamics(runner.state)
                toes, heel = (body.findStationVelocityInGround(runner.state, centre).get(1) for body in bodies)
                speeds[2] -= toes
            force = runner.model.getForceSet().get("toe_r" if separate else "foot_r").getRecordValues(runner.state)
            row |= {"heel_m_s": heel, "toes_separate_n" if separate else "toes_n": force.get(7 if separate else 13)}
        rows.append(row)
    return rows


def steps_per_cpu_second(muscles: str) -> float:
    """Return steps of 10 ms per CPU second of the engine `batch`, 64 runners on one thread, random excitations."""
    options = {"muscles": muscles, "visuals": False}
    engine, random = BatchEngine(find_task("learning-to-run", options), 64, threads=1), np.random.default_rng(0)
    engine.reset(seed=0)
    engine.step(np.zeros((64, 18), np.float32))  # compiles
    begin = time.process_time()
    for _ in range(60):
        action = random.uniform(size=(64, 18)).astype(np.float32)
        for _ in range(5):
            engine.step(action)
    return 64 * 300 / (time.process_time() - begin)


def report(results: dict[str, Any]) -> None:
    rows = []
    for name in NAMES:
        errors, force = results["geometry"][name], results["forces"][name]
        cells = []
        for part in ("up to 10 degrees", "beyond"):
            values = errors.get(part)
            cells += (
                [f"{values['length_mm']:.2f}", " ".join(f"{x:.1f}" for x in values["arms_mm"])] if values else ["", ""]
            )
        rows.append((name, *cells, f"{100 * force['rms']:.1f}", f"{100 * force['bias']:+.1f}"))
    columns = ("muscle", "length, mm", "arms, mm", "length beyond", "arms beyond", "force, %", "bias, %")
    print_table("Root mean square errors; force in equilibrium relative to the peak force", columns, rows)
    for name, by_step in results["motions"].items():
        for step, errors in by_step.items():
            print(name, step, {key: round(value, 4) for key, value in errors["error_rad"].items()})
    print("steps per CPU second", {name: round(value) for name, value in results["steps_per_cpu_second"].items()})


def draw_arms(tables: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw moment arms at the knee against its angle, hip and ankle at 0."""
    planar, figure = Planar(), plt.figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, names in zip(axes, (("rect_fem", "vasti"), ("hamstrings", "bifemsh", "gastroc")), strict=True):
        for number, name in enumerate(names):
            table, muscle = tables[name], fitted()["muscles"][name]
            rows = np.flatnonzero((np.abs(table["angles"][:, [0, 2]]) < 1e-6).all(1))
            knee = np.degrees(table["angles"][rows, 1])
            column = CROSSES[name].index(1)
            found = planar.arms(muscle["path"], table["angles"][rows], CROSSES[name])[:, column]
            axis.plot(knee, 1e3 * table["arms"][rows, column], color=f"C{number}", label=f"{name}, OpenSim")
            axis.plot(knee, 1e3 * found, ":", color=f"C{number}", lw=2, label="MuJoCo")
        axis.axvline(10, color="0.8", lw=1, zorder=0)
        axis.set(xlabel="knee angle, degrees", ylabel="moment arm, mm")
        axis.legend(fontsize=8, frameon=False)
    figure.savefig(PICTURES / "runner-moment-arms.png", dpi=110)


def draw_motions(results: dict[str, Any]) -> None:
    """Draw the mean error of the angles against time."""
    figure = plt.figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    for color, (name, by_step) in enumerate(list(results.items())[:2]):
        for step, style in (("5 ms", "-"), ("1 ms", ":")):
            curve = np.degrees(by_step[step]["curve_rad"])
            axis.plot(10 * np.arange(1, len(curve) + 1), curve, style, color=f"C{color}", label=f"{name}, {step}")
    axis.set(xlabel="time, ms", ylabel="mean error of the angles, degrees", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(PICTURES / "runner-motions.png", dpi=110)


if __name__ == "__main__":
    main()
