"""Choose an engine by name, or the fastest one that knows the task."""

from surefoot.errors import InputError, suggestion
from surefoot.simulation import batch, envpool
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.engine import Engine
from surefoot.simulation.envpool import EnvPoolEngine
from surefoot.simulation.processes import ProcessesEngine
from surefoot.tasks.catalogue import TaskInfo

ENGINES = ("auto", "batch", "envpool", "processes")


def choose_engine(name: str, info: TaskInfo) -> str:
    """Return the engine that `name` stands for: itself, or for "auto" the fastest that can simulate the task.

    Raises:
        InputError: no such engine, or it cannot simulate the task.
    """
    if name not in ENGINES:
        raise InputError(f"unknown engine '{name}'" + suggestion(name, ENGINES))
    if name == "batch" and info.sees_otherwise:
        raise InputError("engine 'batch' has no action_repeat and no frame_stack; use 'auto'")
    if name == "auto":
        if batch.supports(info):
            return "batch"
        return "envpool" if envpool.available(info) else "processes"
    if name == "batch" and not batch.supports(info):
        raise InputError(
            f"engine 'batch' does not know task '{info.name}', only {', '.join(batch.MUJOCO_TASKS)}; use 'auto'"
        )
    if name == "envpool" and not envpool.available(info):
        raise InputError(
            f"engine 'envpool' cannot simulate task '{info.name}' here: it is not installed "
            f"({envpool.INSTALL}), or does not hold the task; use 'auto'"
        )
    return name


def make_engine(name: str, info: TaskInfo, num_envs: int, threads: int = 0, seed: int = 0) -> Engine:
    """Make `num_envs` copies of a task.

    Args:
        name: one of `ENGINES`.
        info: the task.
        num_envs: how many copies.
        threads: threads or worker processes; 0: one per CPU.
        seed: for simulators that want it at construction.

    Raises:
        InputError: as `choose_engine`.
    """
    chosen = choose_engine(name, info)
    if chosen == "batch":
        return BatchEngine(info, num_envs, threads)
    if chosen == "envpool":
        return EnvPoolEngine(info, num_envs, threads, seed)
    return ProcessesEngine(info, num_envs, threads)


def hint_faster(chosen: str, info: TaskInfo) -> str:
    """Say how to get a faster engine for this task, or "" when there is none to be had."""
    if chosen == "processes" and envpool.would_help(info):
        return f"engine 'envpool' would step '{info.name}' several times faster: {envpool.INSTALL}"
    return ""
