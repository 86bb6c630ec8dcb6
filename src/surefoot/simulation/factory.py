"""Choice of the engine: by name, or the fastest one that supports the task."""

from typing import Any

import gymnasium

from surefoot.errors import InputError, check_range, suggestion
from surefoot.simulation import batch, cluster, envpool, opensim
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.engine import MOST_ENVS, MOST_THREADS, Engine
from surefoot.simulation.envpool import EnvPoolEngine
from surefoot.simulation.opensim import OpenSimEngine, make_opensim_env
from surefoot.simulation.processes import ProcessesEngine
from surefoot.tasks.catalogue import TaskInfo, find_task, make_env

ENGINES = {
    "auto": "the fastest one that supports the task",
    "batch": "MuJoCo tasks, on C++ threads; runs resume bit for bit",
    "envpool": "BipedalWalker and other Gymnasium tasks of EnvPool, on C++ threads; an extra",
    "processes": "any other Gymnasium environment, in worker processes",
    "opensim": "learning-to-run in its original simulator, OpenSim, in worker processes; an extra",
    "cluster": "samplers with one of these engines each, on one machine or many, by Ray; an extra",
}
"""Purpose of each engine, by name."""
_FASTEST_FIRST = "batch", "envpool", "processes"
_OBSTACLES = {"batch": batch.obstacle, "envpool": envpool.obstacle, "opensim": opensim.obstacle}


def choose_engine(name: str, info: TaskInfo) -> str:
    """Resolve the name of an engine; "auto" is the fastest one that supports the task.

    Raises:
        InputError: no such engine, or it does not support the task.
    """
    if name not in ENGINES:
        raise InputError(f"unknown engine '{name}'" + suggestion(name, ENGINES))
    if name == "auto":
        return next(engine for engine in _FASTEST_FIRST if engine not in _OBSTACLES or not _OBSTACLES[engine](info))
    if name == "cluster" and (reason := cluster.obstacle()):
        raise InputError(f"engine 'cluster': {reason}")
    if name in _OBSTACLES and (reason := _OBSTACLES[name](info)):
        raise InputError(f"engine '{name}' cannot simulate task '{info.name}': {reason}; use 'auto'")
    return name


def make_engine(name: str, info: TaskInfo, num_envs: int, threads: int = 0) -> Engine:
    """Make an engine, one of `ENGINES`, with `num_envs` environments.

    `threads` is the number of threads or worker processes; 0: one per CPU core.

    Raises:
        InputError: as `choose_engine`; or a number is out of range.
    """
    check_range("num_envs", num_envs, 1, MOST_ENVS, whole=True)
    check_range("threads", threads, 0, MOST_THREADS, whole=True)
    if name == "cluster":
        raise InputError("engine 'cluster' is for training only; choose another, such as 'auto'")
    engines = {
        "batch": BatchEngine,
        "envpool": EnvPoolEngine,
        "processes": ProcessesEngine,
        "opensim": OpenSimEngine,
    }
    return engines[choose_engine(name, info)](info, num_envs, threads)


def make_single_env(name: str, info: TaskInfo, **kwargs: Any) -> gymnasium.Env:
    """Make one environment of a task in the simulator of an engine, one of `ENGINES`; `kwargs` as for `make_env`."""
    return make_opensim_env(info, **kwargs) if name == "opensim" else make_env(info, **kwargs)


def make_vector(num_envs: int, task: str, max_episode_steps: int | None = None, **options: Any) -> BatchEngine:
    """Make one of Surefoot's own tasks for `gymnasium.make_vec`; it cannot be rendered."""
    return BatchEngine(find_task(task, options | {"max_episode_steps": max_episode_steps}), num_envs)
