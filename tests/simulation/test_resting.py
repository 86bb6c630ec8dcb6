"""Resting environments do not change and do not affect the others, on every engine."""

import importlib.util

import numpy as np
import pytest

from surefoot.simulation.engine import Engine
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import find_task

COPIES, STEPS = 3, 40


def run(engine: Engine, pauses: dict[int, int]) -> tuple[list[list[np.ndarray]], int]:
    """Step until each env has made `STEPS` steps; env i rests for `pauses[i]` of them whenever its episode ends.

    Returns the observations of each env, those at rest left out, and how often any env rested.
    """
    rests = 0
    action = np.full((COPIES, engine.single_action_space.shape[0]), 0.9, np.float32)
    observed: list[list[np.ndarray]] = [[] for _ in range(COPIES)]
    sim_output = engine.begin(3)
    finished, resting = np.zeros((2, COPIES), bool)
    left = np.zeros(COPIES, int)
    answer = engine._interpret(sim_output, action)
    while min(map(len, observed)) < STEPS:
        for env in np.flatnonzero(~resting):
            observed[env].append(np.array(answer.observation[env]))
        ended = np.asarray(answer.terminated | answer.truncated) & ~finished & ~resting
        left[ended] = [pauses.get(env, 0) for env in np.flatnonzero(ended)]
        finished = ended | resting
        resting = finished & (left > 0)
        left -= resting
        rests += int(resting.sum())
        sim_output = engine.advance(action, finished, resting if resting.any() else None)
        answer = engine._interpret(sim_output, action)
    return observed, rests


@pytest.mark.parametrize("name, task", [("batch", "Hopper-v5"), ("processes", "Hopper-v5"), ("envpool", "Hopper-v5")])
def test_resting_changes_no_episode(name, task):
    if name == "envpool" and importlib.util.find_spec("envpool") is None:
        pytest.skip("EnvPool is not installed")
    found = []
    for pauses in ({}, {0: 7, 2: 1}):
        engine = make_engine(name, find_task(task), COPIES, 2)
        found.append(run(engine, pauses))
        engine.close()
    (plain, _), (rested, rests) = found
    assert rests >= 8
    for one, other in zip(plain, rested, strict=True):
        for step in range(STEPS):
            np.testing.assert_array_equal(one[step], other[step])
