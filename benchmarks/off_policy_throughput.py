"""How many environment steps a second DDPG trains at, here and in two peers, on the same task with the same settings.

BipedalWalker-v3, one environment, one update after every step, batches of 128, actor and critic of 400 and 300 units
(`ddpg-sb3-defaults.toml`); Stable-Baselines3 and SBX add Gaussian noise of the same size and remember as much.

Heats, the better of two, say whether Stable-Baselines3 is faster with PyTorch's default number of threads or with one.
Then every round times each contender once, in turn and in a process of its own, so that whatever slows the machine down
meets them all. A time covers all of training and starts when warm-up and the first thousand updates have ended, for
those compile. Surefoot runs twice: on the engine that it chooses by itself, and on Gymnasium's own environment in a
process, which is what the peers step.

The last figures are of the update alone: how long it takes, and how long its matrix products take when nothing else is
done, in the same process one after the other, round by round.
"""

import argparse
import functools
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, busy_share, print_table, run_child, spread, told, write_results

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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender is timed (default: 3)")
    parser.add_argument("--steps", type=int, default=3_000, help="timed steps of a contender (default: 3000)")
    parser.add_argument("--heat-steps", type=int, default=1_000, help="timed steps of a heat (default: 1000)")
    parser.add_argument("--output", type=Path, default=RESULTS / "off_policy_throughput.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        order = json.loads(given.child)
        print(json.dumps(_train_peer(**order) if "peer" in order else _time_updates(**order)))
        return
    busy = busy_share()
    heats = {str(threads): _heat(threads, given.heat_steps) for threads in (None, 1)}
    threads = None if heats["None"] >= heats["1"] else 1
    contenders: dict[str, Callable[[], float]] = {
        f"surefoot, {engine}": functools.partial(_time_surefoot, engine, given.steps) for engine in ENGINES
    }
    for peer in PEERS:
        contenders[peer] = functools.partial(_time_peer, peer, threads, given.steps)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    updates = []
    for number in range(1, given.rounds + 1):
        for name, contender in contenders.items():
            rates[name].append(contender())
            print(f"round {number} of {given.rounds}: {name}: {rates[name][-1]:,.0f} steps/s", flush=True)
        updates.append(run_child([*_child({"updates": given.steps})]).answer())
    results = _summary(rates, updates) | {"heats": heats, "torch_threads": threads}
    _print(results)
    write_results(given.output, busy, {"task": TASK, "batch": BATCH, "widths": WIDTHS} | results)


def _heat(threads: int | None, steps: int) -> float:
    rate = max(_time_peer("stable-baselines3", threads, steps) for _ in range(_HEATS))
    print(f"heat: stable-baselines3, {threads or 'default'} PyTorch threads: {rate:,.0f} steps/s", flush=True)
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
    }
    return {
        "steps_per_second": {name: spread(values) for name, values in rates.items()},
        "surefoot_is_faster_by": faster,
        "update_ms": spread(round_["update_ms"] for round_ in updates),
        "products_ms": spread(round_["products_ms"] for round_ in updates),
        "share_of_arithmetic": spread(round_["products_ms"] / round_["update_ms"] for round_ in updates),
    }


def _time_surefoot(engine: str, steps: int) -> float:
    """Train by the command that users type, and read its times from the metrics of its run."""
    from surefoot.runs.metrics import read_metrics

    with tempfile.TemporaryDirectory() as root:
        command = [
            sys.executable,
            "-m",
            "surefoot.cli.main",
            "train",
            "bipedal-walker",
            "--quiet",
            "--recipe",
            str(RECIPE),
        ]
        command += ["--engine.name", engine, "--training.steps", str(WARMUP + _UNTIMED + steps)]
        run_child([*command, "--root", root, "--name", "bench"])
        rows = read_metrics(Path(root) / "bipedal-walker" / "bench" / "metrics.jsonl")
    times = [(row["step"], row["time"]) for row in rows if "steps_per_second" in row]
    timed = [pair for pair in times if pair[0] >= WARMUP + _UNTIMED]
    return (timed[-1][0] - timed[0][0]) / (timed[-1][1] - timed[0][1])


def _time_peer(peer: str, threads: int | None, steps: int) -> float:
    return run_child(_child({"peer": peer, "threads": threads, "steps": steps})).answer()["steps_per_second"]


def _child(order: dict[str, Any]) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(order)]


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
    from surefoot.algorithms.td3 import RULE
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
    state = off_policy.init(RULE, jax.random.PRNGKey(0), size, actions, recipe.policy, recipe.settings)
    update = off_policy.compiled_update(RULE)
    products = _products(turn, size, actions)
    times: dict[str, list[float]] = {"update_ms": [], "products_ms": []}
    for _ in range(1 + max(1, updates // turn)):
        began = time.perf_counter()
        state, metrics = update(state, batches, jnp.float32(0.5), settings=recipe.settings)
        jax.block_until_ready(metrics)
        between = time.perf_counter()
        products()
        times["update_ms"].append((between - began) / turn * 1e3)
        times["products_ms"].append((time.perf_counter() - between) / turn * 1e3)
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
    faster = results["surefoot_is_faster_by"]
    rows = []
    for name, rate in results["steps_per_second"].items():
        ratios = [told(faster[name][engine], 2) for engine in ENGINES] if name in PEERS else ["", ""]
        rows.append([name, told(rate), *ratios])
    columns = ("", "steps/s", "Surefoot is faster by", "on Gymnasium's environment")
    print_table(f"DDPG, {TASK}, one update a step: median (min-max)", columns, rows)
    share = results["share_of_arithmetic"]
    print(
        f"an update takes {told(results['update_ms'], 2)} ms, its products alone {told(results['products_ms'], 2)} ms: "
        f"{share['median']:.0%}"
    )


if __name__ == "__main__":
    main()
