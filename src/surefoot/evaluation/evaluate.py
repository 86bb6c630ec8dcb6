"""Evaluate a policy on held-out episodes: statistics, and everything needed to repeat the evaluation."""

import json
import platform
from typing import Any

import numpy as np

from surefoot.errors import InputError, check_range
from surefoot.evaluation.episodes import EVALUATION_SEEDS, MAX_SEED, Episodes, run_episodes
from surefoot.evaluation.statistics import summarise
from surefoot.evaluation.travel import measure_travel
from surefoot.files import atomic_write
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import read_recipe
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.runs.versions import revision
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import find_policy_task

_MAX_EPISODES = 1_000_000


def evaluate_policy(
    policy: Policy,
    episodes: int = 100,
    seed: int = 0,
    engine: str = "auto",
    task: str | None = None,
    run: str = "",
    task_options: dict[str, Any] | None = None,
    trusted: bool = False,
) -> dict[str, Any]:
    """Evaluate the deterministic policy on held-out episodes: no training ever uses their seeds.

    Args:
        episodes: number of episodes, 1 to 1,000,000.
        seed: offset of the seeds, 0 to 100,000,000.
        engine: as in `simulation.factory.make_engine`.
        task: a task with the same spaces to evaluate on; None: the policy's own.
        run: label of the policy in tables.
        task_options: task options that differ from the policy's own.
        trusted: as in `tasks.catalogue.find_policy_task`.

    Returns:
        Plain data: the task, statistics of returns and lengths, `measure_travel`, number of falls (None if the task
        cannot detect them) and of episodes that a failure of the simulator cut, the seeds, and all returns.

    Raises:
        InputError: a number is out of range, or the policy does not fit the task.
    """
    check_range("episodes", episodes, 1, _MAX_EPISODES, whole=True)
    check_range("seed", seed, 0, MAX_SEED, whole=True)
    info = find_policy_task(policy.task, policy.task_options, instead=task, changes=task_options, trusted=trusted)
    if (info.observation_size, info.action_size) != (policy.observation_size, policy.action_size):
        raise InputError(
            f"the policy takes {policy.observation_size} observations and returns {policy.action_size} actions; task "
            f"'{info.name}' has {info.observation_size} and {info.action_size}"
        )
    first, engine = EVALUATION_SEEDS + seed, choose_engine(engine, info)
    result = run_episodes(policy, engine, info, episodes, first)
    assert result is not None
    return {
        "task": info.name,
        "task_options": info.options,
        "run": run,
        "engine": engine,
        "episodes": episodes,
        "return": summarise(result.returns),
        "length": summarise(result.lengths),
        "travel": measure_travel(policy, info, first, episodes, engine),
        "terminated": int(result.terminated.sum()),
        "cut": _cut(result, info.max_episode_steps),
        "falls": None if result.falls is None else int(np.sum(result.falls)),
        "reward_threshold": info.reward_threshold,
        "seeds": [first, first + min(episodes, 100) - 1],
        "seconds": round(result.seconds, 3),
        "trained": policy.origin,
        "revision": revision(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "returns": [round(float(x), 4) for x in result.returns],
    }


def _cut(result: Episodes, limit: int | None) -> int:
    """Return the number of episodes that ended before their time limit without the task's termination."""
    return 0 if limit is None else int(np.sum(~result.terminated & (result.lengths < limit)))


def evaluate_run(folder: RunFolder, which: str = "policy", **options: Any) -> dict[str, Any]:
    """Evaluate a policy of a run as `evaluate_policy` does; on its own task, write the run's evaluation.json.

    The engine `opensim` is another simulator, so its result is not written.

    `which` is "policy", the best by the evaluations during training or the last if there was none yet; or "last".
    """
    recipe = read_recipe(folder.recipe)
    policy = load_policy(path := folder.find_policy(which))
    options["trusted"] = recipe.names(policy.task, policy.task_options)
    result = evaluate_policy(policy, run=f"{folder.path.parent.name}/{folder.path.name}", **options)
    rows = [row for row in read_metrics(folder.metrics) if "seconds" in row]
    result |= {
        "which": path.stem,
        "algorithm": recipe.algorithm,
        "recipe": recipe.name,
        "training_seed": recipe.seed,
        "training_steps": rows[-1]["step"] if rows else 0,
        "training_seconds": rows[-1]["seconds"] if rows else 0.0,
    }
    if not (options.get("task") or options.get("task_options") or result["engine"] == "opensim"):
        atomic_write(folder.evaluation, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return result


def read_evaluation(folder: RunFolder, which: str) -> dict[str, Any] | None:
    """Return the last evaluation of a run's policy, "policy" or "last"; None if there is none that can be read."""
    try:
        result = json.loads(folder.evaluation.read_bytes())
        return result if result["which"] == which else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
