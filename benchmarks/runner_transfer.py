"""A runner's policy trained in MuJoCo, in OpenSim: metres, and the parts of which the difference is made.

    python benchmarks/runner_transfer.py runs/learning-to-run/ppo-seed0/policy/policy.safetensors

The deterministic policy runs the same held-out episodes in every simulator:

- MuJoCo: the task, also with half the physics step, and with OpenSim's loss of the toes' contact imitated
- OpenSim: the engine `opensim`
- separate contact: each sphere of a foot has its own contact force, so that the toes keep theirs while the heel rises
- consistent knee: the moving points of rectus femoris and vasti go on beyond a knee extension of 10 degrees, so that
  their moment arm is the derivative of their length there, too
- the last two together, and a more accurate integrator

The second table compares the first second of the first episode.
"""

import argparse
import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from measuring import RESULTS, background_load, print_table, write_results
from surefoot.bodies.runner import BODY, COORDINATES, LEGS
from surefoot.evaluation.episodes import EVALUATION_SEEDS
from surefoot.policies.files import load_policy
from surefoot.tasks.running.opensim_env import OpenSimRunner
from surefoot.tasks.task_env import TaskEnv
from surefoot.tasks.wrappers import split_wrappers

SIMULATORS: dict[str, dict[str, Any]] = {
    "MuJoCo": {},
    "MuJoCo, 2.5 ms": {"timestep_s": 0.0025},
    "MuJoCo, toes lose contact": {"lose_toe_contact": True},
    "OpenSim": {"opensim": True},
    "OpenSim, separate contact": {"opensim": True, "opensim_separate_spheres": True},
    "OpenSim, consistent knee": {"opensim": True, "consistent_knee": True},
    "OpenSim, both": {"opensim": True, "opensim_separate_spheres": True, "consistent_knee": True},
    "OpenSim, RungeKuttaMerson 1e-5": {
        "opensim": True,
        "opensim_integrator": "RungeKuttaMerson",
        "opensim_accuracy": 1e-5,
    },
}
_TIMES_S = (0.1, 0.2, 0.5, 1.0)
_STEP_S, _STEPS = 0.01, 1000
_WEIGHT_N = 781.24
_HEIGHT, _KNEES = COORDINATES.index("pelvis_ty"), [COORDINATES.index(f"knee_{leg}") for leg in LEGS]


@dataclasses.dataclass(frozen=True)
class Run:
    """One episode; `coordinates` are (T, 9), `ground_force` is (T,) N, both after each step of 10 ms."""

    metres: float
    seconds: float
    fell: bool
    cut: bool
    coordinates: np.ndarray
    ground_force: np.ndarray


class Variant(OpenSimRunner):
    """The runner in a changed model of OpenSim."""

    def __init__(self, consistent_knee: bool = False, **options: Any) -> None:
        self._consistent_knee = consistent_knee
        super().__init__(**options)

    def make_model(self) -> Any:
        """Return the changed model."""
        model = super().make_model()
        if self._consistent_knee:
            for leg in LEGS:
                model.getCoordinateSet().get(f"knee_angle_{leg}").setRangeMax(2.0)
        return model


def main() -> None:
    """Run all episodes, print the tables and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", help="policy file")
    parser.add_argument("--episodes", type=int, default=10, help="episodes in each simulator (default: 10)")
    parser.add_argument("--processes", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--simulators", nargs="+", choices=SIMULATORS, default=list(SIMULATORS))
    parser.add_argument("--output", type=Path, default=RESULTS / "runner_transfer.json")
    arguments = parser.parse_args()
    load = background_load()
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        futures = {
            name: [pool.submit(play, arguments.policy, name, episode) for episode in range(arguments.episodes)]
            for name in arguments.simulators
        }
        runs = {name: [future.result() for future in found] for name, found in futures.items()}
    results = {name: summary(found) for name, found in runs.items()}
    first = {name: first_second(found[0]) for name, found in runs.items()}
    steps = load_policy(arguments.policy).origin.get("steps")
    extent = {"policy": Path(arguments.policy).name, "trained_steps": steps, "episodes": arguments.episodes}
    write_results(arguments.output, load, extent | {"simulators": results, "first_second": first})
    print_table(
        f"{arguments.episodes} episodes of at most 10 s",
        ("", "metres, mean ± sd", "seconds", "falls", "cut", "largest knee angle, rad"),
        [
            [
                name,
                f"{result['metres']:.1f} ± {result['metres_sd']:.1f}",
                f"{result['seconds']:.1f}",
                str(result["falls"]),
                str(result["cut"]),
                f"{result['knee_max_rad']:.2f}",
            ]
            for name, result in results.items()
        ],
    )
    print_table(
        "The first second: pelvis x / y (m), right knee (rad); peak ground force (body weights)",
        ("", *(f"{time} s" for time in _TIMES_S), "peak force"),
        [
            [name, *("{:.2f} / {:.2f}, {:.2f}".format(*pose) for pose in values["poses"]), f"{values['peak']:.1f}"]
            for name, values in first.items()
        ],
    )


def play(path: str, simulator: str, episode: int) -> Run:
    """Run one episode."""
    policy = load_policy(path)
    own, wrappers = split_wrappers(policy.task_options)
    changes = dict(SIMULATORS[simulator])
    kind = Variant if changes.pop("opensim", False) else TaskEnv
    env = kind(task="surefoot/LearningToRun-v0", **own, **changes)
    observation, _ = env.reset(seed=EVALUATION_SEEDS + episode)
    metres, coordinates, forces = 0.0, [], []
    for step in range(_STEPS):
        if step % wrappers.get("action_repeat", 1) == 0:
            action = np.asarray(policy.predict(observation)[0])
        observation, reward, fell, cut, _ = env.step(action)
        metres += reward
        coordinates.append(np.array(env.measure()["coordinates"][0]))
        forces.append(ground_force(env))
        if fell or cut:
            break
    return Run(metres, (step + 1) * _STEP_S, fell, cut, np.array(coordinates), np.array(forces))


def ground_force(env: TaskEnv) -> float:
    """Return the vertical force of the floor on both feet, N."""
    if isinstance(env, OpenSimRunner):
        return float(env.ground_forces().sum())
    feet = [env.model.geom(geom).id for foot in BODY.feet for geom in foot.geoms]
    total, force = 0.0, np.zeros(6)
    for index, contact in enumerate(env.data.contact):
        if set(contact.geom) & set(feet):
            mujoco.mj_contactForce(env.model, env.data, index, force)
            total += abs(float((contact.frame.reshape(3, 3).T @ force[:3])[2]))
    return total


def summary(runs: list[Run]) -> dict[str, float]:
    """Return the statistics of some episodes."""
    metres = [run.metres for run in runs]
    return {
        "metres": float(np.mean(metres)),
        "metres_sd": float(np.std(metres, ddof=1)) if len(metres) > 1 else 0.0,
        "metres_of_episodes": [round(value, 3) for value in metres],
        "seconds": float(np.mean([run.seconds for run in runs])),
        "falls": sum(run.fell for run in runs),
        "cut": sum(run.cut for run in runs),
        "knee_max_rad": max(float(run.coordinates[:, _KNEES].max()) for run in runs),
    }


def first_second(run: Run) -> dict[str, Any]:
    """Return pelvis x and y and the right knee at `_TIMES_S`, and the largest force in the first second."""
    at = [min(round(time / _STEP_S), len(run.coordinates)) - 1 for time in _TIMES_S]
    poses = run.coordinates[at][:, [COORDINATES.index("pelvis_tx"), _HEIGHT, _KNEES[0]]]
    peak = float(run.ground_force[: round(1 / _STEP_S)].max()) / _WEIGHT_N
    return {"poses": np.round(poses, 4).tolist(), "peak": round(peak, 2)}


if __name__ == "__main__":
    main()
