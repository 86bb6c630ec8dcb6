"""Kill trainings at random moments, resume them, and compare their end, bit for bit, with uninterrupted ones.

For every algorithm, on engine `batch`: a run that nobody interrupts, and runs with the same settings that SIGKILL ends
again and again, each time a random moment after they started or went on, perhaps while a checkpoint is written. Equal
are: all arrays and counters of the last checkpoint, the best and the last policy, and the logged losses and returns.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import RESULTS, background_load, print_table, write_results
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics

TASK = "Hopper-v5"
_SMALL = {"policy.actor": [32], "policy.critic": [32], "engine.threads": 1, "training.evaluation_episodes": 2}
_REPLAY = {"engine.num_envs": 4, "policy.actor": [32], "policy.critic": [32]}
# By algorithm, perhaps with a suffix: settings, and environment steps in one part of a training.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "ppo": ({"engine.num_envs": 16, "ppo.horizon": 64}, 4_096),
    "ddpg": (_REPLAY | {"ddpg.learning_starts": 500}, 1_000),
    "td3": (_REPLAY | {"td3.learning_starts": 500}, 1_000),
    "sac": (_REPLAY | {"sac.learning_starts": 500}, 1_000),
    "td3-asynchronous": (
        _REPLAY | {"td3.learning_starts": 500, "training.mode": "asynchronous", "training.samplers": 2},
        1_000,
    ),
    "ars": ({"engine.num_envs": 16, "policy.actor": [], "policy.critic": []}, 4_000),
}
COMPARED = ("loss/policy", "loss/value", "train/return", "train/length", "evaluation/return")


def main() -> int:
    """Run all cases, print the table and write the JSON file; return 1 if a run ended differently."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills of each algorithm (default: 20)")
    parser.add_argument("--algorithms", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--parts", type=int, default=8, help="length of a training, in parts (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and of the first runs (default: 0)")
    parser.add_argument("--output", type=Path, default=RESULTS / "kills.json", help="JSON file (default: %(default)s)")
    arguments = parser.parse_args()
    load = background_load()
    moments, results = random.Random(arguments.seed), {}
    with tempfile.TemporaryDirectory() as cache:
        # Every process would otherwise compile the same functions again.
        cached = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        for algorithm in arguments.algorithms:
            settings = arguments.kills, arguments.parts, arguments.seed, moments, os.environ | cached
            results[algorithm] = _kill(algorithm, *settings)
            print(algorithm, results[algorithm], flush=True)
    rows = [[name, *(str(result[key]) for key in ("runs", "kills", "equal"))] for name, result in results.items()]
    print_table("", ("algorithm", "runs", "kills", "runs that ended bit for bit the same"), rows)
    write_results(arguments.output, load, {"task": TASK, "algorithms": results})
    return int(any(result["equal"] < result["runs"] for result in results.values()))


def _kill(
    algorithm: str, kills: int, parts: int, seed: int, moments: random.Random, environment: dict[str, str]
) -> dict[str, Any]:
    """Kill runs of one algorithm until there were `kills` kills in all; the last run goes on to its end."""
    result: dict[str, Any] = {"runs": 0, "kills": 0, "equal": 0, "differences": []}
    while result["kills"] < kills:
        with tempfile.TemporaryDirectory() as root:
            settings, part = CASES[algorithm]
            settings = _SMALL | settings | {"seed": seed + result["runs"], "training.steps": part * parts}
            settings |= {"training.evaluate_every": 2 * part, "training.checkpoint_every_s": 0.0}
            whole, _ = _train(algorithm, settings, Path(root) / "whole", 0, moments, environment)
            remaining = kills - result["kills"]
            killed, count = _train(algorithm, settings, Path(root) / "killed", remaining, moments, environment)
            difference = _difference(whole, killed)
        result["runs"] += 1
        result["kills"] += count
        result["equal"] += not difference
        result["differences"] += [difference] if difference else []
    return result


def _train(
    algorithm: str, settings: dict[str, Any], root: Path, most: int, moments: random.Random, environment: dict[str, str]
) -> tuple[RunFolder, int]:
    """Train in processes of which up to `most` are killed; return the run and the number of kills."""
    surefoot = [sys.executable, "-m", "surefoot.cli.main"]
    words = [word for name, value in settings.items() for word in (f"--{name}", json.dumps(value).strip('"'))]
    command = ["train", TASK, "--algorithm", algorithm.partition("-")[0], "--name", "run", "--root", str(root), *words]
    folder, killed = RunFolder(root / TASK / "run"), 0
    while True:
        before = _size(folder.metrics)
        process = subprocess.Popen([*surefoot, *command, "--quiet"], stdout=subprocess.DEVNULL, env=environment)
        if killed < most:
            # The first lines come once everything is compiled and a step of training is complete.
            while process.poll() is None and _size(folder.metrics) < before + 2:
                _pause(process, 0.01)
            _pause(process, moments.uniform(0, 2))
            process.kill()
        status = process.wait()
        if status == 0:
            return folder, killed
        if status != -9:
            raise SystemExit(f"surefoot {' '.join(command)}: exit status {status}")
        killed += 1
        command = ["resume", str(folder.path)]


def _pause(process: subprocess.Popen, seconds: float) -> None:
    """Wait, but not longer than the process lives."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _size(metrics: Path) -> int:
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def _difference(whole: RunFolder, killed: RunFolder) -> str:
    """Return the first difference between the ends of two runs, or ""."""
    (_, arrays, header), (_, others, other_header) = (Checkpoints(run.checkpoints).latest() for run in (whole, killed))
    if arrays.keys() != others.keys():
        return f"arrays: {sorted(arrays.keys() ^ others.keys())[0]}"
    for name, array in arrays.items():
        if array.tobytes() != others[name].tobytes() or array.dtype != others[name].dtype:
            return f"array {name}"
    seconds = {"seconds": 0.0}
    if header["counters"] | seconds != other_header["counters"] | seconds:
        return "counters"
    for name in ("policy.safetensors", "last.safetensors"):
        if (whole.policy / name).read_bytes() != (killed.policy / name).read_bytes():
            return name
    for name in COMPARED:
        rows = [
            [(row["step"], row[name]) for row in read_metrics(run.metrics) if name in row] for run in (whole, killed)
        ]
        if rows[0] != rows[1]:
            return f"metric {name}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
