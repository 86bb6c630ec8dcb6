"""Success of an ANYmal policy at crossing steps of several heights.

    python benchmarks/step_crossing.py runs/anymal-step/NAME/policy/policy.safetensors --output results/NAME.json

For each height, 100 held-out episodes. An episode crosses if the whole robot passes the step within 8 s and does not
fall before or after.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import surefoot
from measuring import background_load, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS, EpisodeStep, run_episodes
from surefoot.evaluation.statistics import summarise
from surefoot.policies.policy import Policy
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.anymal import AnymalCStep
from surefoot.tasks.catalogue import find_task

_OWN = ("step_height", "step_start", "step_length", "lowest_step")
HEIGHTS_M = (0.05, 0.10, 0.15, 0.175, 0.20, 0.225, 0.25, 0.275, 0.30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--heights", type=json.loads, default=list(HEIGHTS_M), help="a JSON list, in metres")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    load = background_load()
    policy = surefoot.load(arguments.policy)
    trials = [cross(policy, height, arguments.episodes) for height in arguments.heights]
    write_results(arguments.output, load, {"trained": policy.origin, "episodes": arguments.episodes, "trials": trials})
    table = Table("step, m", "crossed", "fell", "return")
    for trial in trials:
        table.add_row(
            f"{trial['step_height_m']:.3f}",
            str(trial["crossed"]),
            str(trial["falls"]),
            f"{trial['return']['mean']:,.0f}",
        )
    Console().print(table)


def cross(policy: Policy, height_m: float, episodes: int) -> dict:
    """Run `episodes` episodes towards a step, one per environment."""
    options = {name: value for name, value in (policy.task_options or {}).items() if name not in _OWN}
    info = find_task("anymal-step", options | {"step_height": height_m})
    engine = BatchEngine(info, episodes)
    task = engine.task
    assert isinstance(task, AnymalCStep)
    crossed = np.zeros(episodes, bool)

    def on_step(step: EpisodeStep) -> None:
        crossed[:] |= step.active & task.crossed(engine.state["qpos"])

    result = run_episodes(policy, engine, info, episodes, EVALUATION_SEEDS, on_step)
    assert result is not None
    return {
        "step_height_m": height_m,
        "crossed": int((crossed & ~result.terminated).sum()),
        "falls": int(result.terminated.sum()),
        "return": summarise(result.returns),
    }


if __name__ == "__main__":
    main()
