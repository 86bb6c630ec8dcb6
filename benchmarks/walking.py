"""Speed and turn of policies of the task `walk`, one row for each.

    python benchmarks/walking.py runs/walk/go1 runs/walk/h1 --output results/walking.json

Whole episodes of 20 s on held-out seeds. Net speed: distance from start to end over the time. Path speed: length of the
path over the time, sampled twice a second to leave out the sway of the gait. Turn: change of the heading over 20 s.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from measuring import background_load, print_table, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.policies.files import load_policy
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks import rotations
from surefoot.tasks.catalogue import find_policy_task
from surefoot.tasks.walk import Walk

_SAMPLE_S, _EPISODE_S = 0.5, 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    load, results = background_load(), {}
    for run in arguments.runs:
        folder = RunFolder.open(run)
        progress = [row for row in read_metrics(folder.metrics) if "steps_per_second" in row]
        trained = {"steps": progress[-1]["step"], "minutes": progress[-1]["seconds"] / 60}
        results[folder.path.name] = trained | measure(folder.policy_file, arguments.episodes)
    columns = ("net_speed_m_s", "path_speed_m_s", "turn_deg", "largest_turn_deg")
    print_table(
        "Walking",
        ("run", *columns, "falls", "return"),
        [
            (name, *(f"{row[key]:.2f}" for key in columns), str(row["falls"]), f"{row['return']:,.0f}")
            for name, row in results.items()
        ],
    )
    write_results(arguments.output, load, {"episodes": arguments.episodes, "runs": results})


def measure(policy_file: Path, episodes: int) -> dict[str, Any]:
    """Return mean net and path speed, mean and largest absolute turn, falls and mean return of held-out episodes."""
    policy = load_policy(policy_file)
    info = find_policy_task(policy.task, policy.task_options)
    engine = BatchEngine(info, episodes)
    task = engine.task
    assert isinstance(task, Walk)
    every = round(_SAMPLE_S / task.timestep_s)
    root = int(task.model.joint(task.model.body(task.body.trunk).jntadr[0]).qposadr[0])
    front = rotations.matrices(task.pose.qpos[None, root + 3 : root + 7], np)[0, 0]  # in the trunk's own axes
    start, previous, end, path = np.zeros((4, episodes, 2))
    heading, turn = np.zeros((2, episodes))

    def on_step(step: EpisodeStep) -> None:
        qpos = engine.state["qpos"]
        position, ahead = qpos[:, root : root + 2], rotations.matrices(qpos[:, root + 3 : root + 7], np) @ front
        facing = np.arctan2(ahead[:, 1], ahead[:, 0])
        if step.number == 0:
            start[:], previous[:], end[:], heading[:] = position, position, position, facing
            return
        active = step.active
        turn[active] += np.angle(np.exp(1j * (facing - heading)))[active]
        heading[:], end[active] = facing, position[active]
        if step.number % every == 0:
            path[active, 0] += np.linalg.norm(position - previous, axis=1)[active]
            previous[:] = position

    outcome = run_episodes(policy, engine, info, episodes, EVALUATION_SEEDS, on_step)
    engine.close()
    assert outcome is not None and outcome.falls is not None
    seconds = outcome.lengths * task.timestep_s
    degrees = np.abs(np.degrees(turn)) * _EPISODE_S / seconds
    return {
        "body": task.body.name,
        "return": float(outcome.returns.mean()),
        "falls": int(outcome.falls.sum()),
        "seconds": float(seconds.mean()),
        "net_speed_m_s": float((np.linalg.norm(end - start, axis=1) / seconds).mean()),
        "path_speed_m_s": float((path[:, 0] / seconds).mean()),
        "turn_deg": float(degrees.mean()),
        "largest_turn_deg": float(degrees.max()),
    }


if __name__ == "__main__":
    main()
