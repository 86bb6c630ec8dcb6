"""Our own tasks and their names in Gymnasium; nothing heavy is imported before one is made."""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    pass

# Where each task's class stands, and after how many actions its episodes end.
TASKS = {
    "surefoot/AnymalC-v0": ("surefoot.tasks.anymal:AnymalC", 800),
    "surefoot/AnymalCStep-v0": ("surefoot.tasks.anymal:AnymalCStep", 800),
    "surefoot/AnymalCVelocity-v0": ("surefoot.tasks.velocity.task:AnymalCVelocity", 1000),
    "surefoot/Walk-v0": ("surefoot.tasks.walk:Walk", 1000),
}


def make_task(id: str, options: dict[str, Any], seen: bool = True) -> "Task":
    """Return one of our own tasks; Gymnasium's own option `max_episode_steps` is left out.

    Args:
        id: its Gymnasium id.
        options: its own options.
        seen: whether it will be looked at; if not, it may leave out what is only there for that.

    Raises:
        ValueError, TypeError: it has no such option, or the option no such value.
    """
    module, name = TASKS[id][0].split(":")
    kind = getattr(importlib.import_module(module), name)
    own = {option: value for option, value in options.items() if option != "max_episode_steps"}
    return kind(**(own if seen else {**kind.headless_options, **own}))


def register() -> None:
    """Tell Gymnasium of our tasks, once."""
    for id, (_, limit) in TASKS.items():
        if id not in gymnasium.registry:
            gymnasium.register(
                id,
                entry_point="surefoot.tasks.task_env:TaskEnv",
                vector_entry_point="surefoot.simulation.factory:make_vector",
                max_episode_steps=limit,
                kwargs={"id": id},
            )
