"""Gymnasium's tasks that have a body, fall rule, names or mirror image here, or a faster simulation."""

from surefoot.tasks.gymnasium import bipedal_walker, mujoco
from surefoot.tasks.gymnasium.task import GymnasiumTask

GYMNASIUM_TASKS: tuple[type[GymnasiumTask], ...] = (
    *(bipedal_walker.BipedalWalker, bipedal_walker.BipedalWalkerHardcore),
    *(mujoco.HalfCheetah, mujoco.Ant, mujoco.Walker2d, mujoco.Hopper, mujoco.Swimmer, mujoco.Humanoid),
)


def find_gymnasium_task(id: str) -> type[GymnasiumTask] | None:
    """Return the class for a Gymnasium id of any version, or None."""
    stem = id.rpartition("-v")[0]
    return next((task for task in GYMNASIUM_TASKS if task.id.rpartition("-v")[0] == stem), None)
