"""Velocity tracking errors of a policy, the load of its motors, and the lift of its feet; for any robot.

    python benchmarks/velocity_tracking.py POLICY.safetensors --output results/anymal-velocity.json

Whole episodes on held-out seeds, with the task's randomization and its commands. Errors are time averages of absolute
values: of velocity and turning rate 50 times a second, which includes the sway of the gait, and of both averaged over a
stride, which does not. The first second after each new command and the time after a fall are left out.
The lift of a foot is the largest height of its sole over the ground during a swing of at least two control steps. Joint
speeds and torques are those at the end of each control step.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from measuring import background_load, print_table, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.evaluation.statistics import summarise
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import TaskInfo, find_policy_task
from surefoot.tasks.velocity.robot import Robot

_SETTLING_S = 1.0
_PERCENTILES = (50, 90, 95, 99, 99.9, 100)


def main() -> None:
    """Run the episodes, print a table, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode within the evaluation range")
    parser.add_argument("--terrain", help="replaces the policy's own terrain")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    load = background_load()
    policy = load_policy(arguments.policy)
    options = dict(policy.task_options) | ({"terrain": arguments.terrain} if arguments.terrain else {})
    info = find_policy_task(policy.task, options)
    measures = track(policy, info, arguments.episodes, EVALUATION_SEEDS + arguments.seed)
    _print(measures)
    trained = {"policy": arguments.policy.name, "trained": policy.origin}
    write_results(arguments.output, load, {"task": info.name, "task_options": info.options} | trained | measures)


def track(policy: Policy, info: TaskInfo, episodes: int, seed: int) -> dict[str, Any]:
    """Run one episode in each of `episodes` environments, and return the measures as plain data."""
    engine = BatchEngine(info, episodes)
    samples = _Samples(engine)
    result = run_episodes(policy, engine, info, episodes, seed, samples.add)
    assert result is not None
    summary = {"episodes": episodes, "falls": int(result.terminated.sum()), "return": summarise(result.returns)}
    return summary | _figures(samples.concatenated(), engine.task.robot)


class _Samples:
    """Samples of velocity errors, joints and feet, collected step by step."""

    def __init__(self, engine: BatchEngine) -> None:
        self._engine = engine
        timestep_s, envs, robot = engine.task.timestep_s, engine.num_envs, engine.task.robot
        self._settling, self._stride = round(_SETTLING_S / timestep_s), round(1 / (robot.gait_hz * timestep_s))
        self._since_command = np.zeros(envs, int)
        self._command = np.zeros((envs, 3))
        self._velocities: list[np.ndarray] = []
        feet = len(robot.body.feet)
        self._lift, self._steps_up = np.zeros((envs, feet)), np.zeros((envs, feet), int)
        names = ("command", "velocity_error", "yaw_error", "stride_error", "speed", "torque", "lift")
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def add(self, step: EpisodeStep) -> None:
        """Add the samples of one step."""
        task, state = self._engine.task, self._engine.state
        if step.number == 0:
            self._command = state["command"].copy()
            return
        info, measured = task.info(state), task.gather(state)
        command, parts = self._command, self._parts
        self._since_command += 1
        valid = step.active & ~step.terminated
        settled = valid & (self._since_command > self._settling)
        parts["command"].append(command[settled])
        for name in ("velocity_error", "yaw_error"):
            parts[name].append(info[name][settled].copy())
        self._velocities.append(info["velocity"])
        settled_stride = valid & (self._since_command > self._settling + self._stride)
        parts["stride_error"].append((np.mean(self._velocities[-self._stride :], axis=0) - command)[settled_stride])
        parts["speed"].append(np.abs(measured["joint_velocity"][step.active]))
        parts["torque"].append(np.abs(measured["torque"][step.active]))
        down = measured["contact"] > 0
        parts["lift"].append(self._lift[down & (self._steps_up >= 2) & step.active[:, None]])
        self._lift = np.where(down, 0, np.maximum(self._lift, measured["foot_height"] - task.robot.sole_m))
        self._steps_up = np.where(down, 0, self._steps_up + 1)
        self._since_command[(state["command"] != command).any(1)] = 0
        self._command = state["command"].copy()

    def concatenated(self) -> dict[str, np.ndarray]:
        """All samples by name."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def _figures(samples: dict[str, np.ndarray], robot: Robot) -> dict[str, Any]:
    strides = samples["stride_error"]
    standing = (samples["command"] == 0).all(1)
    return {
        "error": {
            "velocity_m_s": float(samples["velocity_error"].mean()),
            "turning_rad_s": float(samples["yaw_error"].mean()),
            "velocity_over_a_stride_m_s": float(np.hypot(*strides[:, :2].T).mean()),
            "turning_over_a_stride_rad_s": float(np.abs(strides[:, 2]).mean()),
            "velocity_when_going_m_s": float(samples["velocity_error"][~standing].mean()),
            "turning_when_going_rad_s": float(samples["yaw_error"][~standing].mean()),
            "velocity_when_standing_m_s": float(samples["velocity_error"][standing].mean()) if standing.any() else None,
        },
        "commanded": {
            "speed_m_s": float(np.hypot(*samples["command"][:, :2].T).mean()),
            "turning_rad_s": float(np.abs(samples["command"][:, 2]).mean()),
            "standing_fraction": float(standing.mean()),
        },
        "joint_speed_rad_s": _spread(samples["speed"], robot.speed_limit),
        "torque_n_m": _spread(samples["torque"], robot.torque_limit),
        "foot_lift_m": _spread(samples["lift"], None)
        | {"mean": float(samples["lift"].mean()) if len(samples["lift"]) else None},
        "steps_per_foot_and_second": len(samples["lift"])
        / max(len(samples["speed"]) * 0.02 * len(robot.body.feet), 1e-9),
    }


def _spread(values: np.ndarray, limit: np.ndarray | float | None) -> dict[str, Any]:
    """Return percentiles of values, and the fraction over the limit, (A,) or of all joints, if it is known."""
    summary: dict[str, Any] = {}
    if limit is not None and np.isfinite(limit).all():
        summary = {"limit": float(np.max(limit)), "fraction_over_limit": float((values > limit).mean())}
    if values.size:
        summary |= {f"p{rank:g}": float(np.percentile(values, rank)) for rank in _PERCENTILES}
    return summary


def _print(measures: dict[str, Any]) -> None:
    error, lift = measures["error"], measures["foot_lift_m"]
    rows = [
        ("velocity, mean absolute error, m/s", f"{error['velocity_m_s']:.3f}"),
        ("turning rate, mean absolute error, rad/s", f"{error['turning_rad_s']:.3f}"),
        ("velocity, over a stride, m/s", f"{error['velocity_over_a_stride_m_s']:.3f}"),
        ("turning rate, over a stride, rad/s", f"{error['turning_over_a_stride_rad_s']:.3f}"),
        ("falls", f"{measures['falls']} of {measures['episodes']}"),
        ("joint speed, 99 %, rad/s", f"{measures['joint_speed_rad_s']['p99']:.2f}"),
        ("torque, 99 %, N m", f"{measures['torque_n_m']['p99']:.1f}"),
        ("foot lift, median, m", f"{lift['p50']:.3f}" if "p50" in lift else "none"),
        ("return", f"{measures['return']['mean']:.2f}"),
    ]
    print_table("", ("velocity tracking", "measured"), rows)


if __name__ == "__main__":
    main()
