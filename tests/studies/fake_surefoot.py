"""Stands for `surefoot` in child processes: leaves the files of a short training, without learning anything.

The first training of seed 1 kills the process that started it, and ends at the SIGTERM that follows. That of seed 3
fails.
"""

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    command, *words = sys.argv[1:]
    option = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    if command == "train":
        option |= {name.removeprefix("--"): value for name, value in itertools.pairwise(words)}
        folder = Path(option["root"]) / words[0] / option["name"]
    else:
        folder = Path(words[0])
    seed = int(folder.name.rpartition("-")[2])
    with (folder.parents[2] / "calls").open("a") as file:
        file.write(f"{command} {seed}\n")
    if command == "evaluate":
        returns = {"mean": 1.0 * seed, "ci_low": 0.0, "ci_high": 9.0, "n": 2}
        result = {
            "episodes": int(option["episodes"]),
            "which": "policy",
            "return": returns,
            "falls": 0,
            "seeds": [5, 6],
        }
        (folder / "evaluation.json").write_text(json.dumps(result | {"length": returns, "returns": [1.0 * seed] * 2}))
        return
    train(folder, seed, command)


def train(folder: Path, seed: int, command: str) -> None:
    if seed == 3:
        sys.exit(1)
    rows = [{"step": 50, "seconds": 1.0, "evaluation/return": 1.0 * seed}, {"step": 100, "seconds": 2.0}]
    if command == "train":
        for name in ("checkpoints", "policy"):
            (folder / name).mkdir(parents=True)
        recipe = folder.parents[2] / "recipe.toml"
        (folder / "recipe.toml").write_text(recipe.read_text().replace("seed = 0", f"seed = {seed}"))
        (folder / "checkpoints" / "step-0.safetensors").touch()
        (folder / "policy" / "policy.safetensors").touch()
    with (folder / "metrics.jsonl").open("a") as file:
        if (command, seed) == ("train", 1):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
            file.write(json.dumps(rows[0] | {"time": time.time()}) + "\n")
            file.flush()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        for row in [*rows, {"step": 100, "event": "finished", "seconds": 2.0}]:
            file.write(json.dumps(row | {"time": time.time()}) + "\n")


main()
