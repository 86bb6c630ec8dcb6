"""Mirror images: one for small networks, and that of a task of ANYmal C against the simulator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from surefoot.policies.symmetry import Mirror
from surefoot.tasks.catalogue import TaskInfo, make_env


def assert_steps_are_mirrored(
    info: TaskInfo, episodes: int, steps: int, reward_atol: float, prepare: Callable[[Any, Any], None] = lambda *_: None
) -> None:
    """Assert that an environment and its mirror image stay so for some steps of random actions.

    `prepare` receives both after their reset, to mirror what a task draws by itself. The two sides of the robot differ
    slightly, so up to 2 % of the difference remains.
    """
    mirror = info.mirror
    assert mirror is not None
    one, other = (make_env(info).unwrapped for _ in range(2))
    random = np.random.default_rng(0)
    joints, signs = mirror.action_index, mirror.action_sign
    for seed in range(episodes):
        one.reset(seed=seed)
        other.reset(seed=seed)
        w, x, y, z = one.data.qpos[3:7] = np.array([0.99, 0.05, -0.08, 0.1])  # ty: ignore
        other.data.qpos[3:7] = [w, -x, y, -z]  # ty: ignore
        other.data.qpos[7:] = one.data.qpos[7:][joints] * signs  # ty: ignore
        velocity = one.data.qvel.copy()  # ty: ignore
        other.data.qvel[:] = np.r_[  # ty: ignore
            velocity[:3] * [1, -1, 1], velocity[3:6] * [-1, 1, -1], velocity[6:][joints] * signs
        ]
        prepare(one, other)
        for _ in range(steps):
            action = random.uniform(-1, 1, 12).astype(np.float32)
            observation, reward, *_ = one.step(action)
            image, image_reward, *_ = other.step(mirror.action(action))
            unlike = np.abs(observation - image).max()
            assert np.abs(mirror.observation(observation) - image).max() < 0.02 * unlike
            assert reward == pytest.approx(image_reward, abs=reward_atol)


# With offsets and signs, for 5 observation and 3 action values.
MIRROR = Mirror(
    np.array([1, 0, 2, 4, 3]),
    np.array([1, 1, -1, -1, -1], np.float32),
    np.array([0.1, -0.1, 0, 0.7, 0.7], np.float32),
    np.array([1, 0, 2]),
    np.array([-1, -1, 1], np.float32),
)
