"""Shipped policies at the physics step of their task and at half of it.

    python benchmarks/half_step.py

For every policy in results/ on a MuJoCo task: return, distance and falls over held-out episodes; the largest torque and
the mean over episodes of the largest joint speed, measured at every physics step. Latency is off, because it is drawn
in physics steps. Changes of means over episodes have 95 % bootstrap intervals.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

import surefoot
from measuring import RESULTS, background_load, print_table, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.policies.policy import Policy
from surefoot.simulation import batch
from surefoot.tasks.catalogue import TaskInfo, find_task, has_batch_physics
from surefoot.tasks.task import Task

LIMIT = 0.05  # of return, distance, peak torque and peak speed
COMPARED = ("return", "distance_m", "torque_peak_nm", "speed_peak_rad_s")
_RESAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", type=Path, nargs="*", help="default: all in results/")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--output", type=Path, default=RESULTS / "half_step.json")
    arguments = parser.parse_args()
    load, results = background_load(), {}
    for path in arguments.policies or sorted(RESULTS.glob("*.safetensors")):
        policy = surefoot.load(path)
        info = task_of(policy)
        # The motion of elastic muscles is not recorded.
        if has_batch_physics(info) and not batch.make_physics_task(info).has_substep_forces:
            full, half = (measure(policy, info, divisor, arguments.episodes) for divisor in (1, 2))
            intervals = change_intervals(full.pop("episodes"), half.pop("episodes"))
            results[path.stem] = {"full": full, "half": half, "change": changes(full, half), "interval": intervals}
            print(path.stem, json.dumps(results[path.stem]["change"]), json.dumps(intervals), flush=True)
    write_results(arguments.output, load, {"episodes": arguments.episodes, "limit": LIMIT, "policies": results})
    rows = []
    for name, result in results.items():
        for run in (result["full"], result["half"]):
            values = [f"{run[key]:,.1f}" for key in COMPARED]
            rows.append((name, f"{run['step_ms']:g}", *values, str(run["falls"]), f"{run['reversals']:.2f}"))
    columns = ("policy", "step, ms", *COMPARED, "falls", "reversals")
    print_table("Physics step of the task, and half of it", columns, rows)


def task_of(policy: Policy) -> TaskInfo:
    """Return the task that a policy was trained on, without latency."""
    options = dict(policy.task_options or {})
    if policy.task == "anymal-velocity":
        options["latency"] = 0.0
    return find_task(policy.task, options)


def measure(policy: Policy, info: TaskInfo, divisor: int, episodes: int) -> dict[str, Any]:
    """Return the measures of held-out episodes, one per environment, at the physics step divided by `divisor`.

    Speeds and torques are those of the joints that motors or muscles move. "reversals" is the fraction of physics steps
    at which the acceleration of the most restless joint changes its sign. "episodes" holds the values of each episode,
    (E,).
    """
    engine = finer_engine(info, divisor, episodes)
    task = engine.task
    dofs = motor_dofs(task)
    traces = record_physics_steps(engine)
    speed, torque, reversals = (np.zeros((episodes, len(dofs))) for _ in range(3))
    start, place = np.zeros((episodes, 2)), np.zeros((episodes, 2))
    before = np.zeros((episodes, 2, len(dofs)))
    steps = np.zeros(episodes)

    def on_step(step: EpisodeStep) -> None:
        position = engine.state["qpos"][:, :2]
        if step.number == 0:
            start[:] = position
        if not traces["qvel_trace"]:  # after the reset
            return
        active = step.active
        v, force = (np.concatenate(trace, axis=1)[active][:, :, dofs] for trace in traces.values())
        speed[active] = np.maximum(speed[active], np.abs(v).max(1))
        torque[active] = np.maximum(torque[active], np.abs(force).max(1))
        v = np.concatenate([before[active], v], axis=1)
        rise = np.sign(np.diff(v, axis=1))
        reversals[active] += (rise[:, 1:] != rise[:, :-1]).mean(1)
        before[active] = v[:, -2:]
        steps[active] += 1
        place[active] = position[active]
        for trace in traces.values():
            trace.clear()

    outcome = run_episodes(policy, engine, info, episodes, EVALUATION_SEEDS, on_step)
    engine.close()
    assert outcome is not None and outcome.falls is not None
    by_episode = {
        "return": outcome.returns,
        "distance_m": np.linalg.norm(place - start, axis=1),
        "speed_peak_rad_s": speed.max(1),
    }
    return {
        "step_ms": 1000 * float(task.model.opt.timestep),
        **{name: float(values.mean()) for name, values in by_episode.items()},
        "falls": int(outcome.falls.sum()),
        "torque_peak_nm": float(torque.max()),
        "reversals": float((reversals / steps[:, None]).mean(0).max()),
        "episodes": by_episode,
    }


def finer_engine(info: TaskInfo, divisor: int, num_envs: int) -> batch.BatchEngine:
    """Return environments of a task at its physics step divided by `divisor`, with the motion at every physics step."""

    def make_finer(info: TaskInfo) -> Task:
        task = make_task(info)
        task.model.opt.timestep /= divisor
        task.frame_skip *= divisor
        task.recorded_fields = tuple(dict.fromkeys((*task.recorded_fields, "qvel", "qfrc_actuator")))
        if "qpos" not in task.fields:
            task.fields = (*task.fields, "qpos")
        return task

    make_task, batch.make_physics_task = batch.make_physics_task, make_finer
    try:
        return batch.BatchEngine(info, num_envs)
    finally:
        batch.make_physics_task = make_task


def record_physics_steps(engine: batch.BatchEngine) -> dict[str, list[np.ndarray]]:
    """Return lists to which each step of the task adds its speeds and torques, (N, physics steps, nv) each.

    An action that is repeated makes several steps of the task.
    """
    traces: dict[str, list[np.ndarray]] = {"qvel_trace": [], "qfrc_actuator_trace": []}
    step = engine._step

    def recorded_step(moving: np.ndarray | None) -> None:
        step(moving)
        for name, trace in traces.items():
            trace.append(engine.state[name].copy())

    engine._step = recorded_step
    return traces


def motor_dofs(task: Task) -> np.ndarray:
    """Return the degrees of freedom that motors, or muscles, move."""
    data = mujoco.MjData(task.model)
    mujoco.mj_forward(task.model, data)
    rows = zip(data.moment_rowadr, data.moment_rownnz, strict=True)
    used = np.concatenate([np.arange(start, start + count) for start, count in rows])
    return np.unique(data.moment_colind[used][np.abs(data.actuator_moment[used]) > 1e-9])


def changes(full: dict[str, Any], half: dict[str, Any]) -> dict[str, float]:
    """Return the relative change of each measure by halving the physics step."""
    return {key: half[key] / full[key] - 1 for key in COMPARED}


def change_intervals(full: dict[str, np.ndarray], half: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Return the 95 % bootstrap interval of the relative change of each mean over episodes, (E,)."""
    random = np.random.default_rng(0)
    intervals = {}
    for key, values in full.items():
        before, after = (x[random.integers(len(x), size=(_RESAMPLES, len(x)))].mean(1) for x in (values, half[key]))
        intervals[key] = np.quantile(after / before - 1, [0.025, 0.975]).tolist()
    return intervals


if __name__ == "__main__":
    main()
