"""The entry point of `gymnasium.make_vec` for our own tasks: the `batch` engine."""

import dataclasses
from typing import Any

from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_task


def make_vector(num_envs: int, id: str, max_episode_steps: int | None = None, **options: Any) -> BatchEngine:
    """Make `num_envs` copies of one of our own tasks on `mujoco.batch`; they cannot be drawn."""
    info = find_task(id, options)
    return BatchEngine(dataclasses.replace(info, max_episode_steps=max_episode_steps), num_envs)
