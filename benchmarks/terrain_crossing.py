"""Over what ground a policy that follows commanded velocities gets.

    python benchmarks/terrain_crossing.py runs/anymal-velocity/NAME/policy/policy.safetensors --output results/NAME.json

For each kind of terrain and each level, copies begin where training has them begin, at the foot of a hill or on its
top, on seeds that training never used, and are told to go straight ahead at 0.7 m/s and to turn back by half the angle,
in rad/s, by which they have turned away, with everything that the task randomises. One crosses if it comes 4 m ahead,
half a tile, within 8 s, and does not fall in that time. Of hills only those episodes count in which that way leads over
at least half the height of the hill, for some begin askew.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from measuring import busy_share, print_table, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_policy_task
from surefoot.tasks.velocity.terrain import LEVELS, TILE_M, Terrain, riser_m

SPEED, SECONDS, WAY_M = 0.7, 8.0, 4.0


def main() -> None:
    """Run the trials, print a table of those that cross, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--kinds", type=json.loads, default=list(Terrain("mixed").kinds), help="a JSON list")
    parser.add_argument("--levels", type=json.loads, default=list(range(LEVELS)), help="a JSON list, from 0 to 9")
    parser.add_argument("--episodes", type=int, default=50, help="for each kind and level (default: 50)")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    busy = busy_share()
    policy = load_policy(given.policy)
    trials = [cross(policy, kind, level, given.episodes) for kind in given.kinds for level in given.levels]
    share = {(trial["terrain"], trial["level"]): f"{trial['crossed']}/{trial['episodes']}" for trial in trials}
    rows = [[kind, *(share[kind, level] for level in given.levels)] for kind in given.kinds]
    print_table("who crosses, by level", ("terrain", *map(str, given.levels)), rows)
    told = {"trained": policy.origin, "speed_m_s": SPEED, "seconds": SECONDS, "way_m": WAY_M}
    write_results(given.output, busy, told | {"trials": trials})


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
    heights = [ground.height(*(start + way * ahead).T) for way in np.linspace(0, WAY_M, 81)]
    hill_m = 0.0 if kind == "rough" else float(ground.height(np.array((level + 0.5) * TILE_M), np.array(TILE_M / 2)))
    counted = np.ptp(heights, axis=0) >= hill_m / 2 - 1e-9
    return {
        "terrain": kind,
        "level": level,
        "riser_m": round(riser_m(kind, level), 3),
        "episodes": int(counted.sum()),
        "crossed": int((counted & (furthest >= WAY_M) & ~fell).sum()),
        "falls": int((counted & fell).sum()),
        "way_m": round(float(furthest[counted].mean()), 3),
    }


if __name__ == "__main__":
    main()
