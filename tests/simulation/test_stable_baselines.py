"""An engine as a vector environment of Stable-Baselines3, beside a loop over Gymnasium."""

import sys
import types
from typing import Any

import numpy as np
import pytest

import surefoot
from surefoot.errors import InputError
from surefoot.tasks.catalogue import find_task, make_env


class VecEnv:
    """The parts of Stable-Baselines3's base class that its algorithms and the engine's class use."""

    def __init__(self, num_envs, observation_space, action_space) -> None:
        self.num_envs, self.observation_space, self.action_space = num_envs, observation_space, action_space
        self._reset_seeds()
        self.render_mode = self.get_attr("render_mode")[0]

    def _reset_seeds(self) -> None:
        self._seeds: list[int | None] = [None] * self.num_envs

    def _get_indices(self, indices: Any) -> Any:
        return range(self.num_envs) if indices is None else [indices] if isinstance(indices, int) else indices

    def get_attr(self, name: str, indices: Any = None) -> list[Any]:
        raise NotImplementedError

    def seed(self, seed: int) -> None:
        self._seeds = [seed + env for env in range(self.num_envs)]

    def step(self, actions):
        self.step_async(actions)  # ty: ignore
        return self.step_wait()  # ty: ignore


@pytest.fixture(autouse=True)
def stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable-Baselines3, or a stand-in if it is not installed."""
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        for name in ("stable_baselines3", "stable_baselines3.common", "stable_baselines3.common.vec_env"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["stable_baselines3.common.vec_env"].VecEnv = VecEnv  # ty: ignore


@pytest.mark.parametrize(
    "engine, task, options, rtol",
    [
        ("batch", "Hopper-v5", {"max_episode_steps": 30}, 1e-4),
        ("batch", "anymal-velocity", {"max_episode_steps": 15}, 1e-4),
        ("processes", "Pendulum-v1", {"max_episode_steps": 7}, 1e-6),
    ],
)
def test_it_equals_single_environments_that_restart_at_once(engine: str, task: str, options: dict, rtol) -> None:
    env = surefoot.make_sb3(task, num_envs=3, engine=engine, threads=1, **options)
    info = find_task(task, options)
    singles = [make_env(info) for _ in range(3)]
    env.seed(5)
    observations = env.reset()
    random, ends = np.random.default_rng(0), 0
    for i, single in enumerate(singles):
        np.testing.assert_allclose(observations[i], single.reset(seed=5 + i)[0], rtol, 1e-5)
    for _ in range(45):
        actions = random.uniform(-1, 1, (3, info.action_size)).astype(np.float32)
        observations, rewards, dones, infos = env.step(actions)
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, _ = single.step(actions[i])
            assert dones[i] == (terminated or truncated)
            assert rewards[i] == pytest.approx(reward, rel=1e-3, abs=1e-4)
            if dones[i]:
                ends += 1
                np.testing.assert_allclose(infos[i]["terminal_observation"], observation, rtol, 1e-5)
                assert infos[i]["TimeLimit.truncated"] == (truncated and not terminated)
                observation = single.reset()[0]
            np.testing.assert_allclose(observations[i], observation, rtol, 1e-5)
    assert ends >= 3
    env.close()


def test_it_says_how_to_install_stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    with pytest.raises(InputError, match="pip install stable-baselines3"):
        surefoot.make_sb3("Pendulum-v1", engine="processes")
