"""Throughput of DDPG training in environment steps per second, next to two peers with the same task and settings.

BipedalWalker-v3, one environment, one update after every step, batches of 128, actor and critic of 400 and 300 units
(`ddpg-sb3-defaults.toml`); Stable-Baselines3 and SBX use the same noise and replay size.

Heats, the better of two, determine whether Stable-Baselines3 is faster with PyTorch's default number of threads or with
one. Then each round measures every contender once, in turn, in its own process, so that other load on the machine
affects all of them. A measurement covers all of training after warm-up and the first thousand updates, which compile.
Surefoot runs twice: on its default engine, and on Gymnasium's own environment in a process, which the peers use.

The update alone is measured too, and its matrix products alone, one after the other in the same process.
"""

import functools
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from measuring import (
    ROOT,
    arguments_parser,
    background_load,
    format_spread,
    print_table,
    run_order,
    say_rate,
    spread,
    take_turns,
    train_in_child,
    write_results,
)

TASK = "BipedalWalker-v3"
RECIPE = ROOT / "benchmarks" / "ddpg-sb3-defaults.toml"
ENGINES = ("auto", "processes")
PEERS = ("stable-baselines3", "sbx")
WARMUP, BATCH, WIDTHS = 1_000, 128, (400, 300)
# What is timed starts this many steps after the warm-up.
_UNTIMED = 1_000
_HEATS = 2


def main() -> None:
    """Run the heats and the rounds, print the tables and write the JSON file."""
    parser = arguments_parser(__doc__, "off_policy_throughput.json", peers=PEERS)
    parser.add_argument("--steps", type=int, default=3_000, help="timed steps of a contender (default: 3000)")
    parser.add_argument("--heat-steps", type=int, default=1_000, help="timed steps of a heat (default: 1000)")
    arguments = parser.parse_args()
    if arguments.child:
        order = json.loads(arguments.child)
        print(json.dumps(_train_peer(**order) if "peer" in order else _time_updates(**order)))
        return
    load = background_load()
    heats = {str(threads): _heat(threads, arguments.heat_steps) for threads in (None, 1) if arguments.peers}
    threads = 1 if heats and heats["1"] > heats["None"] else None
    contenders: dict[str, Callable[[], float]] = {
        f"surefoot, {engine}": functools.partial(_time_surefoot, engine, arguments.steps) for engine in ENGINES
    }
    for peer in arguments.peers:
        contenders[peer] = functools.partial(_time_peer, peer, threads, arguments.steps)
    rates = take_turns(contenders, arguments.rounds)
    updates = [run_order(__file__, {"updates": arguments.steps}) for _ in range(arguments.rounds)]
    results = _summary(rates, updates) | {"heats": heats, "torch_threads": threads}
    _print(results)
    write_results(arguments.output, load, {"task": TASK, "batch_size": BATCH, "widths": WIDTHS} | results)


def _heat(threads: int | None, steps: int) -> float:
    rate = max(_time_peer("stable-baselines3", threads, steps) for _ in range(_HEATS))
    say_rate(f"heat: stable-baselines3, {threads or 'default'} PyTorch threads", rate)
    return rate


def _summary(rates: dict[str, list[float]], updates: list[dict[str, float]]) -> dict[str, Any]:
    ours = rates[f"surefoot, {ENGINES[0]}"]
    same = rates[f"surefoot, {ENGINES[1]}"]
    faster = {
        peer: {
            "auto": spread(a / b for a, b in zip(ours, rates[peer], strict=True)),
            "processes": spread(a / b for a, b in zip(same, rates[peer], strict=True)),
        }
        for peer in PEERS
        if peer in rates
    }
    return {
        "steps_per_second": {name: spread(values) for name, values in rates.items()},
        "speedup": faster,
        "update_ms": spread(round_["update_ms"] for round_ in updates),
        "matmul_ms": spread(round_["matmul_ms"] for round_ in updates),
        "matmul_fraction": spread(round_["matmul_ms"] / round_["update_ms"] for round_ in updates),
    }


def _time_surefoot(engine: str, steps: int) -> float:
    """Train by the command line; rates come from the run's metrics."""
    total = WARMUP + _UNTIMED + steps
    words = ("--recipe", str(RECIPE))
    _, rows = train_in_child("bipedal-walker", *words, engine__name=engine, training__steps=total)
    timed = [row for row in rows if row["step"] >= WARMUP + _UNTIMED]
    return (timed[-1]["step"] - timed[0]["step"]) / (timed[-1]["time"] - timed[0]["time"])


def _time_peer(peer: str, threads: int | None, steps: int) -> float:
    return run_order(__file__, {"peer": peer, "threads": threads, "steps": steps})["steps_per_second"]


def _train_peer(peer: str, threads: int | None, steps: int) -> dict[str, float]:
    """Train a peer in this process."""
    import gymnasium
    import numpy as np
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    if threads:
        torch.set_num_threads(threads)
    if peer == "sbx":
        from sbx import DDPG
    else:
        from stable_baselines3 import DDPG

    class Clock(BaseCallback):
        """Notes when the steps that are timed begin."""

        began = 0.0

        def _on_step(self) -> bool:
            if self.num_timesteps == WARMUP + _UNTIMED:
                self.began = time.perf_counter()
            return True

    clock = Clock()
    model = DDPG(
        "MlpPolicy",
        gymnasium.make(TASK),
        batch_size=BATCH,
        buffer_size=100_000,
        learning_starts=WARMUP,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(4), np.full(4, 0.1)),
        policy_kwargs={"net_arch": list(WIDTHS)},
        seed=0,
        device="cpu",
    )
    model.learn(WARMUP + _UNTIMED + steps, callback=clock)
    return {"steps_per_second": steps / (time.perf_counter() - clock.began)}


def _time_updates(updates: int) -> dict[str, float]:
    """Time updates, and the products of as many, in turns of a hundred; return the median of both."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from surefoot.algorithms import off_policy
    from surefoot.algorithms.replay import Batch
    from surefoot.recipes.files import read_recipe

    recipe = read_recipe(RECIPE)
    size, actions, turn = 24, 4, 100
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    batches = Batch(
        normal(turn, BATCH, size),
        np.tanh(normal(turn, BATCH, actions)),
        normal(turn, BATCH),
        normal(turn, BATCH, size),
        np.full((turn, BATCH), 0.99, np.float32),
    )
    state = off_policy.init(jax.random.PRNGKey(0), size, actions, recipe.policy, recipe.settings)
    products = _products(turn, size, actions)
    times: dict[str, list[float]] = {"update_ms": [], "matmul_ms": []}
    for _ in range(1 + max(1, updates // turn)):
        began = time.perf_counter()
        state, metrics = off_policy.update(state, batches, jnp.float32(0.5), settings=recipe.settings)
        jax.block_until_ready(metrics)
        between = time.perf_counter()
        products()
        times["update_ms"].append((between - began) / turn * 1e3)
        times["matmul_ms"].append((time.perf_counter() - between) / turn * 1e3)
    return {name: spread(values[1:])["median"] for name, values in times.items()}  # the first turn compiles


def _products(turn: int, size: int, actions: int) -> Callable[[], None]:
    """Return a function that computes the matrix products of `turn` updates of DDPG, and nothing else."""
    import jax
    import jax.numpy as jnp

    actor, critic = (size, *WIDTHS, actions), (size + actions, *WIDTHS, 1)
    forward = {"x": "bi,ij->bj", "weights": "bi,bj->ij", "input": "bj,ij->bi"}

    def layers(widths: tuple[int, ...], *kinds: str) -> list[tuple[str, int, int]]:
        return [(kind, i, j) for kind in kinds for i, j in itertools.pairwise(widths)]

    # Target actor and critic; the critic's loss and its slope; the actor's loss and its slope through the critic. The
    # slope by the input of the first layer is needed only of the critic, for the actor.
    work = [
        *layers(actor, "x"),
        *layers(critic, "x"),
        *layers(critic, "x", "weights"),
        *layers(critic[1:], "input"),
        *layers(actor, "x"),
        *layers(critic, "x", "input"),
        *layers(actor, "weights"),
        *layers(actor[1:], "input"),
    ]
    shapes = {"x": lambda i, j: ((BATCH, i), (i, j)), "weights": lambda i, j: ((BATCH, i), (BATCH, j))}
    shapes["input"] = lambda i, j: ((BATCH, j), (i, j))
    keys = jax.random.split(jax.random.PRNGKey(1), 2 * len(work))
    operands = []
    for number, (kind, i, j) in enumerate(work):
        left, right = shapes[kind](i, j)
        operands.append((jax.random.normal(keys[2 * number], left), jax.random.normal(keys[2 * number + 1], right)))

    @jax.jit
    def run(operands):
        def step(results, _):
            # What came out before enters what comes next, so that no product can be left out or moved out of the loop.
            return [
                jnp.einsum(forward[kind], left + 1e-20 * result[0, 0], right)
                for (kind, _, _), (left, right), result in zip(work, operands, results, strict=True)
            ], None

        first = [jnp.einsum(forward[kind], *pair) for (kind, _, _), pair in zip(work, operands, strict=True)]
        return jax.lax.scan(step, first, length=turn)[0]

    return lambda: jax.block_until_ready(run(operands)) and None


def _print(results: dict[str, Any]) -> None:
    faster = results["speedup"]
    rows = []
    for name, rate in results["steps_per_second"].items():
        ratios = [format_spread(faster[name][engine], 2) for engine in ENGINES] if name in PEERS else ["", ""]
        rows.append([name, format_spread(rate), *ratios])
    columns = ("", "steps/s", "Surefoot is faster by", "on Gymnasium's environment")
    print_table(f"DDPG, {TASK}, one update a step: median (min-max)", columns, rows)
    fraction = results["matmul_fraction"]
    update, matmul = (format_spread(results[name], 2) for name in ("update_ms", "matmul_ms"))
    print(f"an update takes {update} ms, its products alone {matmul} ms: {fraction['median']:.0%}")


if __name__ == "__main__":
    main()
