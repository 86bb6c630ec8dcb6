"""Throughput of augmented random search in environment steps per second, next to sb3-contrib on the same task.

BipedalWalker-v3, a linear policy with normalised observations, the same number of directions, step size and noise.
Each round measures every contender once, in turn, in its own process, and the engine with random actions in as many
environments. The first iteration compiles and is not timed. Episode lengths depend on the policy:
rates are per step.
"""

import json
import time
from typing import Any

from measuring import (
    arguments_parser,
    background_load,
    format_spread,
    print_table,
    run_order,
    spread,
    take_turns,
    train_in_child,
    write_results,
)

TASK = "BipedalWalker-v3"
PEERS = ("sb3-contrib",)
STEP_SIZE, NOISE = 0.02, 0.03


def main() -> None:
    """Run the rounds, print the table and write the JSON file."""
    parser = arguments_parser(__doc__, "ars_throughput.json", peers=PEERS)
    parser.add_argument("--directions", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300_000, help="timed steps of Surefoot (default: 300000)")
    parser.add_argument("--peer-steps", type=int, default=40_000, help="timed steps of sb3-contrib (default: 40000)")
    arguments = parser.parse_args()
    if arguments.child:
        order = json.loads(arguments.child)
        print(json.dumps(_train_peer(**order) if "directions" in order else _random_steps(**order)))
        return
    load = background_load()
    directions, steps = arguments.directions, arguments.steps
    contenders = {"surefoot": lambda: _time_surefoot(directions, steps)}
    for peer in arguments.peers:
        contenders[peer] = lambda: _child(directions=directions, steps=arguments.peer_steps)
    contenders["engine, random actions"] = lambda: _child(num_envs=2 * directions, steps=steps // 2)
    rates = take_turns(contenders, arguments.rounds)
    ours = rates["surefoot"]
    ratios = {name: spread(a / b for a, b in zip(ours, rates[name], strict=True)) for name in list(rates)[1:]}
    rows = []
    for name, values in rates.items():
        rows.append([name, format_spread(spread(values)), format_spread(ratios[name], 2) if name in ratios else ""])
    print_table(
        f"ARS, {TASK}, {arguments.directions} directions: median (min-max)", ("", "steps/s", "Surefoot /"), rows
    )
    results = {"steps_per_second": {name: spread(values) for name, values in rates.items()}, "speedup": ratios}
    write_results(arguments.output, load, {"task": TASK, "directions": arguments.directions} | results)


def _time_surefoot(directions: int, steps: int) -> float:
    """Train by the command line; rates come from the run's metrics."""
    _, rows = train_in_child(
        "bipedal-walker",
        "--algorithm=ars",
        engine__name="envpool",
        engine__num_envs=2 * directions,
        ars__directions=directions,
        ars__step_size=STEP_SIZE,
        ars__noise=NOISE,
        training__steps=steps,
        training__evaluate_every=10**9,  # a single short evaluation, after the last step, which is not timed
        training__evaluation_episodes=1,
    )
    first, last = rows[0], rows[-1]
    return (last["step"] - first["step"]) / (last["time"] - first["time"])


def _child(**order: Any) -> float:
    return run_order(__file__, order)["steps_per_second"]


def _random_steps(num_envs: int, steps: int) -> dict[str, float]:
    """Step EnvPool with random actions."""
    import numpy as np

    from surefoot.simulation.factory import make_engine
    from surefoot.tasks.catalogue import find_task

    engine = make_engine("envpool", find_task(TASK), num_envs)
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (100, num_envs, 4)).astype(np.float32)
    frame = engine.begin(0)
    began = 0.0
    for index in range(steps // num_envs + 100):
        if index == 100:
            began = time.perf_counter()
        frame = engine.advance(actions[index % 100], frame[:, -2:].max(1) > 0.5)
    return {"steps_per_second": (steps // num_envs) * num_envs / (time.perf_counter() - began)}


def _train_peer(directions: int, steps: int) -> dict[str, float]:
    """Train sb3-contrib's ARS in this process; it runs one episode at a time and is fastest with one thread."""
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
