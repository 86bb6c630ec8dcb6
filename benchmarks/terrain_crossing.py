"""Success rate of a velocity policy on rough terrain, by kind and difficulty level.

    python benchmarks/terrain_crossing.py runs/anymal-velocity/NAME/policy/policy.safetensors --output results/NAME.json

Episodes start as in training, at the foot or on the top of a hill, on held-out seeds, with everything that the task
randomises. The command is 0.7 m/s straight ahead; the turning rate is half the heading error, in rad/s. An episode
succeeds if the robot gets 4 m ahead, half a tile, within 8 s without falling. On hills, only episodes count whose path
leads over at least half the height of the hill, since some start at an angle.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from measuring import background_load, print_table, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_policy_task
from surefoot.tasks.velocity.terrain import LEVELS, TILE_M, Terrain, riser_m

SPEED, SECONDS, DISTANCE_M = 0.7, 8.0, 4.0


def main() -> None:
    """Run the trials, print the successes and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--kinds", type=json.loads, default=list(Terrain("mixed").kinds), help="a JSON list")
    parser.add_argument("--levels", type=json.loads, default=list(range(LEVELS)), help="a JSON list, from 0 to 9")
    parser.add_argument("--episodes", type=int, default=50, help="for each kind and level (default: 50)")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    load = background_load()
    policy = load_policy(arguments.policy)
    trials = [cross(policy, kind, level, arguments.episodes) for kind in arguments.kinds for level in arguments.levels]
    successes = {(trial["terrain"], trial["level"]): f"{trial['crossed']}/{trial['episodes']}" for trial in trials}
    rows = [[kind, *(successes[kind, level] for level in arguments.levels)] for kind in arguments.kinds]
    print_table("successes by level", ("terrain", *map(str, arguments.levels)), rows)
    conditions = {"trained": policy.origin, "speed_m_s": SPEED, "seconds": SECONDS, "distance_m": DISTANCE_M}
    write_results(arguments.output, load, conditions | {"trials": trials})


def cross(policy: Policy, kind: str, level: int, episodes: int) -> dict[str, Any]:
    """Run `episodes` episodes straight ahead on one kind of terrain, one per environment."""
    options = {"terrain": kind, "level": level, "command": [SPEED, 0, 0], "heading": 1.0}
    info = find_policy_task(policy.task, dict(policy.task_options) | options)
    engine = BatchEngine(info, episodes)
    qpos = engine.state["qpos"]
    start, ahead = np.zeros((2, episodes, 2))
    fell, furthest = np.zeros(episodes, bool), np.zeros(episodes)
    last = round(SECONDS / engine.task.timestep_s)

    def on_step(step: EpisodeStep) -> bool:
        if step.number == 0:
            yaw = 2 * np.arctan2(qpos[:, 6], qpos[:, 3])
            start[:], ahead[:] = qpos[:, :2], np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
            return False
        fell[:] |= step.terminated
        distance = ((qpos[:, :2] - start) * ahead).sum(1)
        furthest[:] = np.where(fell, furthest, np.maximum(furthest, distance))
        return step.number == last

    run_episodes(policy, engine, info, episodes, EVALUATION_SEEDS, on_step)
    engine.close()
    ground = Terrain(kind)
    heights = [ground.height(*(start + way * ahead).T) for way in np.linspace(0, DISTANCE_M, 81)]
    hill_m = 0.0 if kind == "rough" else float(ground.height(np.array((level + 0.5) * TILE_M), np.array(TILE_M / 2)))
    counted = np.ptp(heights, axis=0) >= hill_m / 2 - 1e-9
    return {
        "terrain": kind,
        "level": level,
        "riser_m": round(riser_m(kind, level), 3),
        "episodes": int(counted.sum()),
        "crossed": int((counted & (furthest >= DISTANCE_M) & ~fell).sum()),
        "falls": int((counted & fell).sum()),
        "distance_m": round(float(furthest[counted].mean()), 3),
    }


if __name__ == "__main__":
    main()
