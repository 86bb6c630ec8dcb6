"""Steps per second of each engine with random actions, next to Gymnasium's own vector environments.

All are used through Gymnasium's vector interface, NumPy in and out; "one environment" is a plain loop over `step` and
`reset`, "EnvPool alone" is EnvPool without Surefoot. Each round measures every contender once, in turn, in its own
process. Actions are drawn beforehand.
"""

import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from measuring import (
    arguments_parser,
    background_load,
    format_spread,
    print_table,
    run_order,
    say_rate,
    spread,
    take_turns,
    write_results,
)

SUREFOOT = ("batch", "envpool", "processes")
# Fewer environments too if each has its own process.
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
    parser = arguments_parser(__doc__, "engines.json")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a measurement (default: 3)")
    parser.add_argument(
        "--tasks", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="tasks to simulate (default: both)"
    )
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_time_here(**json.loads(arguments.child))))
        # EnvPool's threads may outlast the interpreter.
        sys.stdout.flush()
        os._exit(0)
    load = background_load()
    tasks = {task: _measure(task, arguments.rounds, arguments.seconds) for task in arguments.tasks}
    write_results(arguments.output, load, {"workers": WORKERS, "seconds": arguments.seconds, "tasks": tasks})


def _measure(task: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    contenders = CONTENDERS[task]

    def measure(name: str, num_envs: int) -> float:
        order = {"task": task, "name": name, "num_envs": num_envs, "seconds": seconds}
        return run_order(__file__, order)["steps_per_second"]

    rates = take_turns(
        {f"{name}, {num_envs}": functools.partial(measure, name, num_envs) for name, num_envs in contenders},
        rounds,
        lambda what, rate: say_rate(f"{task}, {what}", rate),
    )
    first = next(iter(rates.values()))
    results = [
        {
            "engine": name,
            "num_envs": num_envs,
            "steps_per_second": spread(rate),
            "speedup_of_first": spread(ours / theirs for ours, theirs in zip(first, rate, strict=True)),
        }
        for (name, num_envs), rate in zip(contenders, rates.values(), strict=True)
    ]
    rows = [
        [
            ("surefoot: " if result["engine"] in SUREFOOT else "") + result["engine"],
            str(result["num_envs"]),
            format_spread(result["steps_per_second"]),
            format_spread(result["speedup_of_first"], 2),
        ]
        for result in results
    ]
    title = f"{task}, random actions: median (min-max)"
    print_table(title, ("", "num_envs", "steps/s", f"{contenders[0][0]} is faster by"), rows)
    return results


def _time_here(task: str, name: str, num_envs: int, seconds: float) -> dict[str, float]:
    """Time one contender in this process."""
    import numpy as np

    space, step, close = _make(task, name, num_envs)
    shape = (256, num_envs, *space.shape)
    actions = np.random.default_rng(0).uniform(space.low, space.high, shape).astype(np.float32)
    stream = itertools.cycle(actions)
    _step_for(_WARM_UP_S, step, stream)
    calls, took = _step_for(seconds, step, stream)
    close()
    return {"steps_per_second": calls * num_envs / took}


def _step_for(seconds: float, step: Callable[[Any], None], stream: Any) -> tuple[int, float]:
    clock = time.perf_counter
    began, calls = clock(), 0
    while clock() - began < seconds:
        for _ in range(_CHECK_EVERY):
            step(next(stream))
        calls += _CHECK_EVERY
    return calls, clock() - began


def _make(task: str, name: str, num_envs: int) -> tuple[Any, Callable[[Any], Any], Callable[[], Any]]:
    """Return the action space of one environment, a function that steps all of them, and one that closes them."""
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

        pool = envpool.make(task, env_type="gymnasium", num_envs=num_envs, seed=0)
        pool.reset()
        return pool.action_space, pool.step, lambda: None
    if name in SUREFOOT:
        import surefoot

        vector = surefoot.make(task, num_envs, name, threads=WORKERS)
    else:
        kind = getattr(gymnasium.vector, name)
        vector = kind([lambda: gymnasium.make(task) for _ in range(num_envs)])
    vector.reset(seed=0)
    return vector.single_action_space, vector.step, vector.close


if __name__ == "__main__":
    main()
