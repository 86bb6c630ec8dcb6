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
from surefoot.evaluation.episodes import EVALUATION_SEEDS
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
    """Run one episode in each of `episodes` copies, and return what was measured as plain data."""
    engine = BatchEngine(info, episodes)
    task, rows = engine.task, engine.rows
    settling, stride = round(_SETTLING_S / task.timestep_s), round(_STRIDE_S / task.timestep_s)
    observation, _ = engine.reset(seed=seed)
    going, falls = np.ones(episodes, bool), np.zeros(episodes, bool)
    returns, since = np.zeros(episodes), np.zeros(episodes, int)
    command = rows["command"].copy()
    notes: dict[str, list[np.ndarray]] = {name: [] for name in ("followed", "miss", "turn", "speed", "torque", "lift")}
    strides: list[np.ndarray] = []
    path: list[np.ndarray] = []
    lift, up = np.zeros((episodes, 4)), np.zeros((episodes, 4), int)
    while going.any():
        observation, reward, terminated, truncated, _ = engine.step(np.asarray(policy.predict(observation)[0]))
        returns += reward * going
        told, measured = task.info(rows), dict(zip(task.columns, task.gather(rows), strict=True))
        since += 1
        settled = going & ~terminated & (since > settling)
        for name, value in (("followed", command), ("miss", told["velocity_error"]), ("turn", told["yaw_error"])):
            notes[name].append(value[settled].copy())
        path.append(told["velocity"])
        whole = going & ~terminated & (since > settling + stride)
        strides.append((np.mean(path[-stride:], axis=0) - command)[whole])
        notes["speed"].append(np.abs(rows["qvel"][going, 6:]))
        notes["torque"].append(np.abs(rows["actuator_force"][going]))
        down = measured["touched"] > 0
        notes["lift"].append(lift[down & (up >= 2) & going[:, None]])
        lift = np.where(down, 0, np.maximum(lift, measured["foot_height"] - 0.03))
        up = np.where(down, 0, up + 1)
        since[(rows["command"] != command).any(1)] = 0
        command = rows["command"].copy()
        falls |= going & terminated
        going &= ~(terminated | truncated)
    kept = {name: np.concatenate(values) for name, values in notes.items()}
    found = {"episodes": episodes, "falls": int(falls.sum()), "return": summarise(returns)}
    return found | _figures(kept, np.concatenate(strides))


def _figures(kept: dict[str, np.ndarray], strides: np.ndarray) -> dict[str, Any]:
    known = figures()
    standing = (kept["followed"] == 0).all(1)
    return {
        "error": {
            "velocity_m_s": float(kept["miss"].mean()),
            "turning_rad_s": float(kept["turn"].mean()),
            "velocity_over_a_stride_m_s": float(np.hypot(*strides[:, :2].T).mean()),
            "turning_over_a_stride_rad_s": float(np.abs(strides[:, 2]).mean()),
            "velocity_when_going_m_s": float(kept["miss"][~standing].mean()),
            "turning_when_going_rad_s": float(kept["turn"][~standing].mean()),
            "velocity_when_standing_m_s": float(kept["miss"][standing].mean()) if standing.any() else None,
        },
        "commanded": {
            "speed_m_s": float(np.hypot(*kept["followed"][:, :2].T).mean()),
            "turning_rad_s": float(np.abs(kept["followed"][:, 2]).mean()),
            "standing_share": float(standing.mean()),
        },
        "joint_speed_rad_s": _spread(kept["speed"], known["speed_limit"]),
        "torque_n_m": _spread(kept["torque"], known["torque_limit"]),
        "foot_lift_m": _spread(kept["lift"], None)
        | {"mean": float(kept["lift"].mean()) if len(kept["lift"]) else None},
        "steps_per_foot_and_second": len(kept["lift"]) / max(len(kept["speed"]) * 0.02 * 4, 1e-9),
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
