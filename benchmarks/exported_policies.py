"""Shipped policies, exported, in a control loop outside Surefoot, next to Surefoot's own evaluation.

    python benchmarks/exported_policies.py

Every policy in results/ is exported. ONNX Runtime computes its actions in docs/howto/examples/run_policy.py, which
steps one environment on the held-out seeds of `surefoot evaluate`. The C header is compiled (cc -O2) and timed on
10,000 observations of the policy's normaliser; so is ONNX Runtime, one observation at a time.
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import surefoot
from measuring import RESULTS, background_load, print_table, write_results
from surefoot.evaluation.episodes import EVALUATION_SEEDS
from surefoot.tasks.catalogue import find_policy_task, make_env

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "howto" / "examples"))
from run_policy import Controller, run_episode

OBSERVATIONS = 10_000
_SOURCE = '#include "policy.h"\nint act(const float *o, float *a) { return surefoot_policy(o, a); }\n'
# Calls the policy for all observations, so that Python's calls are not timed.
_SOURCE += (
    "void act_all(const float *o, float *a, int n)\n"
    "{ for (int i = 0; i < n; i++) surefoot_policy(o + i * SUREFOOT_OBSERVATIONS, a + i * SUREFOOT_ACTIONS); }\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", type=Path, nargs="*", help="default: all in results/")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--output", type=Path, default=RESULTS / "exported_policies.json")
    arguments = parser.parse_args()
    load, results = background_load(), {}
    for path in arguments.policies or sorted(RESULTS.glob("*.safetensors")):
        results[path.stem] = measure(path, arguments.episodes)
        write_results(arguments.output, load, {"episodes": arguments.episodes, "policies": results})
    columns = ("policy", "return", "exported", "difference", "C, us", "ONNX, us", "C differs by")
    rows = [
        (
            name,
            f"{row['return']:,.1f}",
            f"{row['exported_return']:,.1f}",
            f"{row['change']:+.2%}",
            f"{row['c_us']:.1f}",
            f"{row['onnx_us']:.1f}",
            f"{row['c_difference']:.1e}",
        )
        for name, row in results.items()
    ]
    print_table("Exported policies", columns, rows)


def measure(path: Path, episodes: int) -> dict[str, Any]:
    """Return the returns of policy and export, the time of an action, and the largest differences of actions."""
    policy = surefoot.load(path)
    info = find_policy_task(policy.task, policy.task_options)
    own = surefoot.evaluate(path, episodes)["return"]["mean"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        surefoot.export(policy, folder)
        loaded = surefoot.load_exported(folder, info.observation_names, info.action_names)
        names = loaded.deployment.observation_names, loaded.deployment.action_names
        env, controller, rng = make_env(info), Controller(folder, *names), np.random.default_rng(0)
        runs = [run_episode(env, controller, EVALUATION_SEEDS + i, 0, 0.0, rng) for i in range(episodes)]
        env.close()
        mean, variance, _ = policy.controller.normaliser
        normal = rng.standard_normal((OBSERVATIONS, policy.observation_size))
        observations = np.asarray(np.asarray(mean) + np.sqrt(np.asarray(variance)) * normal, np.float32)
        c_actions, c_us = act_in_c(folder, observations, policy.action_size)
        start = time.perf_counter()
        onnx_actions = np.array([controller.act(observation) for observation in observations])
        onnx_us = (time.perf_counter() - start) / OBSERVATIONS * 1e6
    expected, _ = policy.predict(observations)
    size = np.maximum(1, np.abs(expected))
    exported = float(np.mean([run[0] for run in runs]))
    return {
        "return": own,
        "exported_return": exported,
        "change": exported / own - 1,
        "c_us": c_us,
        "onnx_us": onnx_us,
        "c_difference": float((np.abs(c_actions - expected) / size).max()),
        "onnx_difference": float((np.abs(onnx_actions - expected) / size).max()),
    }


def act_in_c(folder: Path, observations: np.ndarray, actions: int) -> tuple[np.ndarray, float]:
    """Return the actions of policy.h, (B, A), and the microseconds per action."""
    (folder / "act.c").write_text(_SOURCE)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", "act.so", "act.c", "-lm"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "act.so"))
    result = np.zeros((len(observations), actions), np.float32)
    pointers = observations.ctypes.data_as(ctypes.c_void_p), result.ctypes.data_as(ctypes.c_void_p)
    start = time.perf_counter()
    library.act_all(*pointers, len(observations))
    return result, (time.perf_counter() - start) / len(observations) * 1e6


if __name__ == "__main__":
    main()
