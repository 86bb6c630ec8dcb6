"""An engine as a vector environment of Stable-Baselines3."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from surefoot.errors import InputError
from surefoot.simulation.engine import Engine


def as_vec_env(engine: Engine) -> Any:
    """Return an engine as a `stable_baselines3.common.vec_env.VecEnv`, which resets finished episodes in the same step.

    Raises:
        InputError: Stable-Baselines3 is not installed.
    """
    try:
        from stable_baselines3.common.vec_env import VecEnv
    except ImportError as error:
        raise InputError("Stable-Baselines3 is not installed; pip install stable-baselines3") from error

    class EngineVecEnv(VecEnv):
        """The environments of an engine."""

        def __init__(self) -> None:
            super().__init__(engine.num_envs, engine.single_observation_space, engine.single_action_space)
            self._actions = np.zeros(engine.action_space.shape or (), np.float32)

        def reset(self) -> np.ndarray:
            seed = self._seeds[0]
            self._reset_seeds()
            return engine.reset(seed=seed)[0]

        def step_async(self, actions: np.ndarray) -> None:
            self._actions = actions

        def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
            observation, reward, terminated, truncated, _ = engine.step(self._actions)
            done = terminated | truncated
            infos: list[dict[str, Any]] = [{} for _ in done]
            if done.any():
                started = engine.restart(done)
                for env in np.flatnonzero(done):
                    infos[env]["terminal_observation"] = observation[env]
                    infos[env]["TimeLimit.truncated"] = bool(truncated[env] and not terminated[env])
                observation = np.where(done[:, None], started, observation)
            return observation, reward, done, infos

        def close(self) -> None:
            engine.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            default = (None,) if attr_name == "render_mode" else ()
            return [getattr(engine, attr_name, *default) for _ in self._get_indices(indices)]

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError(f"'{attr_name}' cannot be set for single environments of an engine")

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            raise AttributeError(f"an engine has no method '{method_name}' for single environments")

        def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
            return [False for _ in self._get_indices(indices)]

        def get_images(self) -> Sequence[Any]:
            return [None] * engine.num_envs

    return EngineVecEnv()
