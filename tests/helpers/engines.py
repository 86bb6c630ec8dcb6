"""Engines that are closed after use, and the ends of episodes in their output."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.engine import Engine, step_layout
from surefoot.tasks.catalogue import TaskInfo, find_task

AnyEngine = TypeVar("AnyEngine", bound=Engine)


@contextlib.contextmanager
def engine_of(
    make: Callable[..., AnyEngine], task: str | TaskInfo, num_envs: int, *arguments: Any, **options: Any
) -> Iterator[AnyEngine]:
    """Make an engine of class `make`, and close it in the end."""
    info = find_task(task) if isinstance(task, str) else task
    with contextlib.closing(make(info, num_envs, *arguments, **options)) as engine:
        yield engine


def ends(sim_output: np.ndarray) -> np.ndarray:
    """Return the environments whose episodes ended, (N,) bool, from a simulator output (N, K) of `step_layout`."""
    observation_size = sim_output.shape[1] - step_layout(0).size
    fields = step_layout(observation_size).unpack(sim_output)
    return np.asarray(fields["terminated"] | fields["truncated"])


def assert_state_is_restored(info: TaskInfo, steps: int) -> None:
    """Assert that an engine with another's state after `steps` steps continues like it, bit for bit."""
    one, other = BatchEngine(info, 4), BatchEngine(info, 4, threads=1)
    one.reset(seed=0)
    shape = (2 * steps, 4, info.action_size)
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    for action in actions[:steps]:
        one.step(action)
    other.set_state(one.get_state())
    for action in actions[steps:]:
        for a, b in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
