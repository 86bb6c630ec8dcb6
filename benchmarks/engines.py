"""How many steps a second each engine makes with random actions, beside Gymnasium's own vector environments.

All are used through Gymnasium's vector face, NumPy in and NumPy out; "one environment" is a plain loop over `step` and
`reset`, and "EnvPool alone" is EnvPool without Surefoot around it. Every round times each contender once, in turn and
in a process of its own. Actions are drawn beforehand.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import RESULTS, busy_share, print_table, run_child, spread, told, write_results

SUREFOOT = ("batch", "envpool", "processes")
# Fewer copies too where each has a process of its own.
CONTENDERS = {
    "BipedalWalker-v3": (
        ("envpool", 32),
        ("processes", 32),
        ("EnvPool alone", 32),
        ("one environment", 1),
        ("SyncVectorEnv", 32),
        ("AsyncVectorEnv", 32),
        ("AsyncVectorEnv", 8),
        ("AsyncVectorEnv", 2),
    ),
    "HalfCheetah-v5": (
        ("batch", 32),
        ("envpool", 32),
        ("EnvPool alone", 32),
        ("one environment", 1),
        ("AsyncVectorEnv", 32),
        ("AsyncVectorEnv", 8),
        ("AsyncVectorEnv", 2),
    ),
}
WORKERS = 2
_WARM_UP_S = 0.5
_CHECK_EVERY = 16


def main() -> None:
    """Run the rounds, print a table per task and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender is timed (default: 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long it is timed (default: 3)")
    parser.add_argument("--output", type=Path, default=RESULTS / "engines.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_time_here(**json.loads(given.child))))
        # EnvPool's threads may outlast the interpreter that they belong to.
        sys.stdout.flush()
        os._exit(0)
    busy = busy_share()
    tasks = {task: _measure(task, given.rounds, given.seconds) for task in CONTENDERS}
    write_results(given.output, busy, {"workers": WORKERS, "seconds": given.seconds, "tasks": tasks})


def _measure(task: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    contenders = CONTENDERS[task]
    rates: dict[tuple[str, int], list[float]] = {contender: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for name, copies in contenders:
            order = json.dumps({"task": task, "name": name, "copies": copies, "seconds": seconds})
            ran = run_child([sys.executable, str(Path(__file__).resolve()), "--child", order])
            rates[name, copies].append(ran.answer()["steps_per_second"])
            print(f"{task}, round {number} of {rounds}: {name}, {copies}: {rates[name, copies][-1]:,.0f}", flush=True)
    best = contenders[0]
    results = [
        {
            "engine": name,
            "copies": copies,
            "steps_per_second": spread(rates[name, copies]),
            "first_is_faster_by": spread(
                ours / theirs for ours, theirs in zip(rates[best], rates[name, copies], strict=True)
            ),
        }
        for name, copies in contenders
    ]
    rows = [
        [
            ("surefoot: " if result["engine"] in SUREFOOT else "") + result["engine"],
            str(result["copies"]),
            told(result["steps_per_second"]),
            told(result["first_is_faster_by"], 2),
        ]
        for result in results
    ]
    title = f"{task}, random actions: median (min-max)"
    print_table(title, ("", "copies", "steps/s", f"{best[0]} is faster by"), rows)
    return results


def _time_here(task: str, name: str, copies: int, seconds: float) -> dict[str, float]:
    """Time one contender in this process."""
    import numpy as np

    space, step, close = _make(task, name, copies)
    shape = (256, copies, *space.shape)
    actions = np.random.default_rng(0).uniform(space.low, space.high, shape).astype(np.float32)
    stream = itertools.cycle(actions)
    _step_for(_WARM_UP_S, step, stream)
    calls, took = _step_for(seconds, step, stream)
    close()
    return {"steps_per_second": calls * copies / took}


def _step_for(seconds: float, step: Callable[[Any], None], stream: Any) -> tuple[int, float]:
    clock = time.perf_counter
    began, calls = clock(), 0
    while clock() - began < seconds:
        for _ in range(_CHECK_EVERY):
            step(next(stream))
        calls += _CHECK_EVERY
    return calls, clock() - began


def _make(task: str, name: str, copies: int) -> tuple[Any, Callable[[Any], Any], Callable[[], Any]]:
    """Return one copy's action space, a function that steps all copies by (N, A) actions, and one that ends them."""
    import gymnasium

    if name == "one environment":
        env = gymnasium.make(task)
        env.reset(seed=0)

        def step(actions) -> None:
            _, _, terminated, truncated, _ = env.step(actions[0])
            if terminated or truncated:
                env.reset()

        return env.action_space, step, env.close
    if name == "EnvPool alone":
        import envpool

        pool = envpool.make(task, env_type="gymnasium", num_envs=copies, seed=0)
        pool.reset()
        return pool.action_space, pool.step, lambda: None
    if name in SUREFOOT:
        import surefoot

        vector = surefoot.make(task, copies, name, threads=WORKERS)
    else:
        kind = getattr(gymnasium.vector, name)
        vector = kind([lambda: gymnasium.make(task) for _ in range(copies)])
    vector.reset(seed=0)
    return vector.single_action_space, vector.step, vector.close


if __name__ == "__main__":
    main()
