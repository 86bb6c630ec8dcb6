"""Shared fixtures of the tests of tasks."""

from collections.abc import Callable

import numpy as np
import pytest

from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import TaskInfo, make_env


@pytest.fixture
def assert_matches_single_environments() -> Callable[..., None]:
    """A check that each of three environments on the engine `batch` equals a single environment, step by step."""

    def check(info: TaskInfo, steps: int, first: float, rtol: float, atol: float, reward_rtol: float) -> None:
        num_envs = 3
        engine = BatchEngine(info, num_envs)
        envs = [make_env(info) for _ in range(num_envs)]
        found, _ = engine.reset(seed=4)
        np.testing.assert_allclose(found, [env.reset(seed=4 + i)[0] for i, env in enumerate(envs)], first, atol)
        low, high = engine.single_action_space.low, engine.single_action_space.high
        random = np.random.default_rng(0)
        ended = np.zeros(num_envs, bool)
        ends = 0
        for _ in range(steps):
            action = random.uniform(low, high, (num_envs, info.action_size)).astype(np.float32)
            found = engine.step(action)
            for i, env in enumerate(envs):
                wanted = (env.reset()[0], 0.0, False, False) if ended[i] else env.step(action[i])[:4]
                np.testing.assert_allclose(found[0][i], wanted[0], rtol, atol)
                assert found[1][i] == pytest.approx(wanted[1], rel=reward_rtol, abs=1e-5)
                assert (found[2][i], found[3][i]) == wanted[2:]
                ended[i] = wanted[2] or wanted[3]
                ends += ended[i]
        assert ends >= 3

    return check
