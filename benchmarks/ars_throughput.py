"""How many environment steps a second augmented random search makes, here and in sb3-contrib, on the same task.

BipedalWalker-v3, a linear policy with normalised observations, the same number of directions, step size and noise.
Every round times each contender once, in turn and in a process of its own, and then how many steps the engine makes
with random actions, with as many copies. A search's first iteration is not timed, for it compiles. Both searches meet
bodies that are learning: an episode's length is the policy's doing, so times are per step.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import RESULTS, busy_share, print_table, run_child, spread, told, write_results

TASK = "BipedalWalker-v3"
STEP_SIZE, NOISE = 0.02, 0.03


def main() -> None:
    """Run the rounds, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender is timed (default: 3)")
    parser.add_argument("--directions", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300_000, help="timed steps of Surefoot (default: 300000)")
    parser.add_argument("--peer-steps", type=int, default=40_000, help="timed steps of sb3-contrib (default: 40000)")
    parser.add_argument("--output", type=Path, default=RESULTS / "ars_throughput.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        order = json.loads(given.child)
        print(json.dumps(_train_peer(**order) if "directions" in order else _random_steps(**order)))
        return
    busy = busy_share()
    rates: dict[str, list[float]] = {"surefoot": [], "sb3-contrib": [], "engine, random actions": []}
    for number in range(1, given.rounds + 1):
        rates["surefoot"].append(_time_surefoot(given.directions, given.steps))
        rates["engine, random actions"].append(_child(copies=2 * given.directions, steps=given.steps // 2))
        rates["sb3-contrib"].append(_child(directions=given.directions, steps=given.peer_steps))
        told_now = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in rates.items())
        print(f"round {number} of {given.rounds}: {told_now} steps/s", flush=True)
    ours = rates["surefoot"]
    ratios = {name: spread(a / b for a, b in zip(ours, rates[name], strict=True)) for name in list(rates)[1:]}
    rows = []
    for name, values in rates.items():
        rows.append([name, told(spread(values)), told(ratios[name], 2) if name in ratios else ""])
    print_table(f"ARS, {TASK}, {given.directions} directions: median (min-max)", ("", "steps/s", "Surefoot /"), rows)
    results = {"steps_per_second": {name: spread(values) for name, values in rates.items()}, "surefoot_per": ratios}
    write_results(given.output, busy, {"task": TASK, "directions": given.directions} | results)


def _time_surefoot(directions: int, steps: int) -> float:
    """Train by the command that users type, and read its times from the metrics of its run."""
    from surefoot.runs.metrics import read_metrics

    with tempfile.TemporaryDirectory() as root:
        command = [
            sys.executable,
            "-m",
            "surefoot.cli.main",
            "train",
            "bipedal-walker",
            "--algorithm",
            "ars",
            "--quiet",
        ]
        settings = {
            "engine.name": "envpool",
            "engine.num_envs": 2 * directions,
            "ars.directions": directions,
            "ars.step_size": STEP_SIZE,
            "ars.noise": NOISE,
            "training.steps": steps,
            # One short evaluation comes after the last step, and is not timed.
            "training.evaluate_every": 10**9,
            "training.evaluation_episodes": 1,
        }
        command += [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
        run_child([*command, "--root", root, "--name", "bench"])
        rows = read_metrics(Path(root) / "bipedal-walker" / "bench" / "metrics.jsonl")
    times = [(row["step"], row["time"]) for row in rows if "steps_per_second" in row]
    return (times[-1][0] - times[0][0]) / (times[-1][1] - times[0][1])


def _child(**order: Any) -> float:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(order)]
    return run_child(command).answer()["steps_per_second"]


def _random_steps(copies: int, steps: int) -> dict[str, float]:
    """Step EnvPool by random actions, for as many vector steps as it takes."""
    import numpy as np

    from surefoot.simulation.factory import make_engine
    from surefoot.tasks.catalogue import find_task

    engine = make_engine("envpool", find_task(TASK), copies)
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (100, copies, 4)).astype(np.float32)
    frame = engine.begin(0)
    began = 0.0
    for moment in range(steps // copies + 100):
        if moment == 100:
            began = time.perf_counter()
        frame = engine.advance(actions[moment % 100], frame[:, -2:].max(1) > 0.5)
    return {"steps_per_second": (steps // copies) * copies / (time.perf_counter() - began)}


def _train_peer(directions: int, steps: int) -> dict[str, float]:
    """Train sb3-contrib's ARS in this process; it runs one episode after the other, and wants one thread."""
    import torch
    from sb3_contrib import ARS
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    env = VecNormalize(make_vec_env(TASK, n_envs=1, seed=0), norm_reward=False)
    model = ARS("LinearPolicy", env, n_delta=directions, learning_rate=STEP_SIZE, delta_std=NOISE, seed=0, device="cpu")
    began = time.perf_counter()
    model.learn(steps)
    return {"steps_per_second": model.num_timesteps / (time.perf_counter() - began)}


if __name__ == "__main__":
    main()
