"""Throughput of PPO training in environment steps per second, next to two peers with the same task and settings.

HalfCheetah-v5 at Stable-Baselines3's defaults: 8 environments, minibatches of 64, 10 epochs, two 64-64 tanh networks,
nothing normalised but advantages (`sb3-defaults.toml`). These defaults mean 2048 steps per environment and 16384
transitions per update; 2048 transitions per update are measured too.

Heats, the better of two each, determine the faster configuration of a peer: environments in one process or in eight,
one PyTorch thread or the default. Then each round measures every contender once, in turn, in its own process, so that
other load on the machine affects all of them. A measurement covers all of training after the first iteration, which
compiles. The second rate is that of the first 100,000 steps, imports and compilation included, computed from the end of
the first iteration and the rate after it. Surefoot's steps include resets, one in a thousand.
"""

import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from measuring import (
    ROOT,
    arguments_parser,
    background_load,
    format_spread,
    print_table,
    run_child,
    spread,
    take_turns,
    train_in_child,
    write_results,
)

TASK = "HalfCheetah-v5"
NUM_ENVS = 8
PEERS = ("stable-baselines3", "sbx")
# The faster contender makes more steps, so that it is measured for long enough.
SUREFOOT_FACTOR = 8
# The cost of the start is spread over the same number of steps for all.
WHOLE_STEPS = 100_000
_HEATS = 2


def main() -> None:
    """Run the heats and the rounds, print the tables and write the JSON file."""
    parser = arguments_parser(__doc__, "ppo_throughput.json", peers=PEERS)
    parser.add_argument(
        "--steps", type=int, default=16384, help="timed steps of a peer, at least an update (default: 16384)"
    )
    parser.add_argument("--heat-steps", type=int, default=4096, help="timed steps of a heat (default: 4096)")
    parser.add_argument(
        "--transitions",
        type=int,
        nargs="+",
        choices=(16384, 2048),
        default=[16384, 2048],
        help="transitions per update, of all environments together (default: both)",
    )
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_train_peer(**json.loads(arguments.child))))
        return
    load = background_load()
    heats = {peer: _heats(peer, arguments.heat_steps) for peer in arguments.peers}
    chosen = {peer: max(heats[peer], key=lambda heat: heat["steps_per_second"]) for peer in heats}
    readings = {}
    for transitions in arguments.transitions:
        readings[str(transitions)] = _measure(transitions, arguments.rounds, arguments.steps, chosen)
        _print(transitions, readings[str(transitions)])
    results = {"task": TASK, "num_envs": NUM_ENVS, "whole_steps": WHOLE_STEPS, "heats": heats, "transitions": readings}
    write_results(arguments.output, load, results)


def _heats(peer: str, steps: int) -> list[dict[str, Any]]:
    """Time each way to run a peer; the work per step is the same at any number of transitions per update."""
    ways = [{"environments": kind, "torch_threads": None} for kind in ("DummyVecEnv", "SubprocVecEnv")]
    if peer == "stable-baselines3":  # SBX learns with JAX, which has no such setting
        ways += [way | {"torch_threads": 1} for way in ways]
    rates: list[list[float]] = [[] for _ in ways]
    for _ in range(_HEATS):
        for way, timed in zip(ways, rates, strict=True):
            result = _time_peer(peer, way, 2048, steps)
            _say(f"heat: {peer}, {_describe(way)}", result)
            timed.append(result["steps_per_second"])
    return [way | {"steps_per_second": max(timed), "heats": timed} for way, timed in zip(ways, rates, strict=True)]


def _measure(transitions: int, rounds: int, steps: int, chosen: dict[str, dict[str, Any]]) -> dict[str, Any]:
    contenders = {"surefoot": functools.partial(_time_surefoot, transitions, steps * SUREFOOT_FACTOR)}
    for peer, way in chosen.items():
        contenders[peer] = functools.partial(_time_peer, peer, way, transitions, steps)
    results = take_turns(contenders, rounds, lambda what, result: _say(f"{transitions} transitions, {what}", result))
    summary: dict[str, Any] = {}
    for name, timed in results.items():
        summary[name] = {field: spread(result[field] for result in timed) for field in timed[0]}
        if name in chosen:
            summary[name]["run_as"] = _describe(chosen[name])
            summary[name]["speedup"] = {
                field: spread(
                    ours[field] / theirs[field] for ours, theirs in zip(results["surefoot"], timed, strict=True)
                )
                for field in ("steps_per_second", "steps_per_second_with_start")
            }
    return summary


def _time_surefoot(transitions: int, steps: int) -> dict[str, float]:
    """Train by the command line; rates come from the run's metrics."""
    iterations = 1 + math.ceil(steps / transitions)
    finished, rows = train_in_child(
        "half-cheetah",
        "--recipe",
        str(ROOT / "benchmarks" / "sb3-defaults.toml"),
        ppo__horizon=transitions // NUM_ENVS,
        training__steps=iterations * transitions,
        training__evaluate_every=10**12,  # a single short evaluation, after the last step, which is not timed
        training__evaluation_episodes=1,
    )
    return _rates([row["time"] for row in rows], transitions, finished.began)


def _time_peer(peer: str, way: dict[str, Any], transitions: int, steps: int) -> dict[str, float]:
    order = {
        "peer": peer,
        "environments": way["environments"],
        "torch_threads": way["torch_threads"],
        "transitions": transitions,
        "iterations": 1 + math.ceil(steps / transitions),
    }
    finished = run_child([sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(order)])
    return _rates(finished.result()["iterations_ended"], transitions, finished.began)


def _rates(ended: list[float], transitions: int, began: float) -> dict[str, float]:
    """Turn the times at which iterations ended, in seconds since 1970, into steps per second."""
    rate = (len(ended) - 1) * transitions / (ended[-1] - ended[0])
    start_s = ended[0] - began
    return {
        "steps_per_second": rate,
        "steps_per_second_with_start": WHOLE_STEPS / (start_s + (WHOLE_STEPS - transitions) / rate),
        "start_s": start_s,
        "timed_s": ended[-1] - ended[0],
    }


def _train_peer(
    peer: str, environments: str, torch_threads: int | None, transitions: int, iterations: int
) -> dict[str, Any]:
    """Train a peer in this process and return when its iterations ended; only numbers that differ are set."""
    import torch
    from stable_baselines3.common import vec_env
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    if torch_threads:
        torch.set_num_threads(torch_threads)
    if peer == "sbx":
        from sbx import PPO
    else:
        from stable_baselines3 import PPO

    class Clock(BaseCallback):
        """Notes when each rollout starts, which is when the iteration before it has ended."""

        def __init__(self) -> None:
            super().__init__()
            self.started: list[float] = []

        def _on_rollout_start(self) -> None:
            self.started.append(time.time())

        def _on_step(self) -> bool:
            return True

    envs = make_vec_env(TASK, NUM_ENVS, seed=0, vec_env_cls=getattr(vec_env, environments))
    try:
        clock = Clock()
        model = PPO("MlpPolicy", envs, n_steps=transitions // NUM_ENVS, seed=0, device="cpu")
        model.learn(iterations * transitions, callback=clock)
        return {"iterations_ended": [*clock.started[1:], time.time()]}
    finally:
        envs.close()


def _describe(way: dict[str, Any]) -> str:
    threads = way["torch_threads"]
    return way["environments"] + (f", {threads} PyTorch thread" if threads else ", default threads")


def _say(what: str, result: dict[str, float]) -> None:
    print(f"{what}: {result['steps_per_second']:,.0f} steps/s over {result['timed_s']:.1f} s", flush=True)


def _print(transitions: int, summary: dict[str, Any]) -> None:
    rows = []
    for name, figures in summary.items():
        ratios = figures.get("speedup")
        rows.append(
            [
                f"{name} ({figures['run_as']})" if ratios else name,
                format_spread(figures["steps_per_second"]),
                format_spread(ratios["steps_per_second"], 2) if ratios else "",
                format_spread(figures["steps_per_second_with_start"]),
                format_spread(figures["start_s"], 1),
            ]
        )
    columns = (
        "",
        "steps/s",
        "Surefoot is faster by",
        f"steps/s over the first {WHOLE_STEPS:,}",
        "start and first iteration, s",
    )
    print_table(f"PPO, {TASK}, {transitions} transitions per update: median (min-max)", columns, rows)


if __name__ == "__main__":
    main()
