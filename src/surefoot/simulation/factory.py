"""Choice of the engine: by name, or the fastest one that supports the task."""

import dataclasses
from typing import Any

from surefoot.errors import InputError, suggestion
from surefoot.simulation import batch, envpool
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.engine import Engine
from surefoot.simulation.envpool import EnvPoolEngine
from surefoot.simulation.processes import ProcessesEngine
from surefoot.tasks.catalogue import TaskInfo, find_task

ENGINES = {
    "auto": "the fastest one that supports the task",
    "batch": "MuJoCo tasks, on C++ threads; runs resume bit for bit",
    "envpool": "BipedalWalker and other Gymnasium tasks of EnvPool, on C++ threads; an extra",
    "processes": "any other Gymnasium environment, in worker processes",
}
"""Purpose of each engine, by name."""


def choose_engine(name: str, info: TaskInfo) -> str:
    """Resolve the name of an engine; "auto" is the fastest one that supports the task.

    Raises:
        InputError: no such engine, or it does not support the task.
    """
    if name not in ENGINES:
        raise InputError(f"unknown engine '{name}'" + suggestion(name, ENGINES))
    if name == "batch" and info.is_wrapped:
        raise InputError("engine 'batch' has no action_repeat and no frame_stack; use 'auto'")
    if name == "auto":
        if batch.supports(info):
            return "batch"
        return "envpool" if envpool.available(info) else "processes"
    if name == "batch" and not batch.supports(info):
        raise InputError(
            f"engine 'batch' cannot simulate task '{info.name}', only subclasses of surefoot.tasks.Task and "
            "HalfCheetah-v5, Ant-v5, Hopper-v5, Walker2d-v5; use 'auto'"
        )
    if name == "envpool" and not envpool.available(info):
        raise InputError(
            f"engine 'envpool' cannot simulate task '{info.name}' here: it is not installed "
            f"({envpool.INSTALL}), or does not include the task; use 'auto'"
        )
    return name


def make_engine(name: str, info: TaskInfo, num_envs: int, threads: int = 0, seed: int = 0) -> Engine:
    """Make an engine with `num_envs` environments.

    Args:
        name: one of `ENGINES`.
        info: the task.
        num_envs: number of environments.
        threads: threads or worker processes; 0: one per CPU core.
        seed: seed of the first `Engine.begin`, for simulators that are seeded at construction.

    Raises:
        InputError: as `choose_engine`.
    """
    chosen = choose_engine(name, info)
    if chosen == "batch":
        return BatchEngine(info, num_envs, threads)
    if chosen == "envpool":
        return EnvPoolEngine(info, num_envs, threads, seed)
    return ProcessesEngine(info, num_envs, threads)


def make_vector(num_envs: int, id: str, max_episode_steps: int | None = None, **options: Any) -> BatchEngine:
    """Make one of Surefoot's own tasks for `gymnasium.make_vec`; it cannot be rendered."""
    info = find_task(id, options)
    return BatchEngine(dataclasses.replace(info, max_episode_steps=max_episode_steps), num_envs)


def hint_faster(chosen: str, info: TaskInfo) -> str:
    """Return one line on how to get a faster engine for this task, or ""."""
    if chosen == "processes" and envpool.would_help(info):
        return f"engine 'envpool' would step '{info.name}' several times faster: {envpool.INSTALL}"
    return ""
