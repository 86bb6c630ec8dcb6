"""How well a policy follows commanded velocities, what it asks of its motors, and how high it lifts its feet.

    python benchmarks/velocity_tracking.py POLICY.safetensors --output results/anymal-velocity.json

Whole episodes on fresh seeds, with everything that the task randomises, commands as the task draws them. Errors are
means over time of absolute values, of velocity and turning rate as they are 50 times a second, the sway of the gait
included, and of both as they are on average over a stride (0.57 s), without it; the first second after each new
command, in which the robot gets going, and what follows a fall are left out.
A foot's lift is the highest its sole comes over the ground between leaving it and coming down, if that takes at least
two steps of control. Joint speeds and torques are those at the end of each step of control.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from measuring import busy_share, print_table, write_results
from surefoot.bodies.anymal_c import figures
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.evaluation.statistics import summarise
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import TaskInfo, find_policy_task

_SETTLING_S = 1.0
_STRIDE_S = 4 / 7
_PERCENTILES = (50, 90, 95, 99, 99.9, 100)


def main() -> None:
    """Run the episodes, print a table, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first episode, among those kept for evaluations")
    parser.add_argument("--terrain", help="another terrain than the policy's own")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    busy = busy_share()
    policy = load_policy(given.policy)
    options = dict(policy.task_options) | ({"terrain": given.terrain} if given.terrain else {})
    info = find_policy_task(policy.task, options)
    found = track(policy, info, given.episodes, EVALUATION_SEEDS + given.seed)
    _print(found)
    trained = {"policy": given.policy.name, "trained": policy.origin}
    write_results(given.output, busy, {"task": info.name, "task_options": info.options} | trained | found)


def track(policy: Policy, info: TaskInfo, episodes: int, seed: int) -> dict[str, Any]:
    """Run one episode in each of `episodes` environments, and return the measures as plain data."""
    engine = BatchEngine(info, episodes)
    samples = _Samples(engine)
    result = run_episodes(policy, engine, info, episodes, seed, samples.add)
    assert result is not None
    summary = {"episodes": episodes, "falls": int(result.terminated.sum()), "return": summarise(result.returns)}
    return summary | _figures(samples.concatenated())


class _Samples:
    """Samples of velocity errors, joints and feet, collected step by step."""

    def __init__(self, engine: BatchEngine) -> None:
        self._engine = engine
        timestep_s, envs = engine.task.timestep_s, engine.num_envs
        self._settling, self._stride = round(_SETTLING_S / timestep_s), round(_STRIDE_S / timestep_s)
        self._since_command = np.zeros(envs, int)
        self._command = np.zeros((envs, 3))
        self._velocities: list[np.ndarray] = []
        self._lift, self._steps_up = np.zeros((envs, 4)), np.zeros((envs, 4), int)
        names = ("command", "velocity_error", "yaw_error", "stride_error", "speed", "torque", "lift")
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def add(self, step: EpisodeStep) -> None:
        """Add the samples of one step."""
        task, rows = self._engine.task, self._engine.state
        if step.number == 0:
            self._command = rows["command"].copy()
            return
        info, state = task.info(rows), dict(zip(task.columns, task.gather(rows), strict=True))
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
        parts["speed"].append(np.abs(rows["qvel"][step.active, 6:]))
        parts["torque"].append(np.abs(rows["actuator_force"][step.active]))
        down = state["touched"] > 0
        parts["lift"].append(self._lift[down & (self._steps_up >= 2) & step.active[:, None]])
        self._lift = np.where(down, 0, np.maximum(self._lift, state["foot_height"] - 0.03))
        self._steps_up = np.where(down, 0, self._steps_up + 1)
        self._since_command[(rows["command"] != command).any(1)] = 0
        self._command = rows["command"].copy()

    def concatenated(self) -> dict[str, np.ndarray]:
        """All samples by name."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def _figures(samples: dict[str, np.ndarray]) -> dict[str, Any]:
    known, strides = figures(), samples["stride_error"]
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
            "standing_share": float(standing.mean()),
        },
        "joint_speed_rad_s": _spread(samples["speed"], known["speed_limit"]),
        "torque_n_m": _spread(samples["torque"], known["torque_limit"]),
        "foot_lift_m": _spread(samples["lift"], None)
        | {"mean": float(samples["lift"].mean()) if len(samples["lift"]) else None},
        "steps_per_foot_and_second": len(samples["lift"]) / max(len(samples["speed"]) * 0.02 * 4, 1e-9),
    }


def _spread(values: np.ndarray, limit: float | None) -> dict[str, Any]:
    found: dict[str, Any] = (
        {} if limit is None else {"limit": limit, "share_over_limit": float((values > limit).mean())}
    )
    if values.size:
        found |= {f"p{share:g}": float(np.percentile(values, share)) for share in _PERCENTILES}
    return found


def _print(found: dict[str, Any]) -> None:
    error, lift = found["error"], found["foot_lift_m"]
    rows = [
        ("velocity, mean absolute error, m/s", f"{error['velocity_m_s']:.3f}"),
        ("turning rate, mean absolute error, rad/s", f"{error['turning_rad_s']:.3f}"),
        ("velocity, over a stride, m/s", f"{error['velocity_over_a_stride_m_s']:.3f}"),
        ("turning rate, over a stride, rad/s", f"{error['turning_over_a_stride_rad_s']:.3f}"),
        ("falls", f"{found['falls']} of {found['episodes']}"),
        ("joint speed, 99 %, rad/s", f"{found['joint_speed_rad_s']['p99']:.2f}"),
        ("torque, 99 %, N m", f"{found['torque_n_m']['p99']:.1f}"),
        ("foot lift, median, m", f"{lift['p50']:.3f}" if "p50" in lift else "none"),
        ("return", f"{found['return']['mean']:.2f}"),
    ]
    print_table("", ("velocity tracking", "measured"), rows)


if __name__ == "__main__":
    main()
