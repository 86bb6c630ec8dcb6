"""EnvPool's own tasks, such as WalkerWalk-v1, as Gymnasium environments with flat observations."""

import importlib.util
import re
from typing import Any

import gymnasium
import numpy as np

from surefoot.errors import InputError

NO_TIME_LIMIT = 2**31 - 1  # Gymnasium limits the episodes
SEEDS = 2**31  # EnvPool takes 31 bits


def installed() -> bool:
    """Whether EnvPool is installed."""
    return importlib.util.find_spec("envpool") is not None


def envpool_ids() -> list[str]:
    """Return EnvPool's ids; empty if it cannot be imported."""
    try:
        import envpool
    except (ImportError, OSError):
        return []
    return envpool.list_all_envs()


def register(id: str) -> bool:
    """Register a task of EnvPool with Gymnasium; return whether EnvPool includes it."""
    if id not in envpool_ids():
        return False
    import envpool

    spec = envpool.make_spec(id)
    limit, threshold = spec.config.max_episode_steps, getattr(spec, "reward_threshold", None)
    entry = f"{__name__}:EnvPoolEnv"
    gymnasium.register(id, entry, threshold, max_episode_steps=limit, kwargs={"envpool_id": id})
    return True


def flat_space(space: gymnasium.Space) -> gymnasium.Space:
    """Return the space of `flat_observations`; spaces other than named numbers and vectors are unchanged."""
    if isinstance(space, gymnasium.spaces.Dict):
        parts = _observed(space.spaces).values()
        if all(isinstance(part, gymnasium.spaces.Box) and len(part.shape) <= 1 for part in parts):
            size = sum(int(np.prod(part.shape)) for part in parts if part.shape is not None)
            return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
    return space


def flat_observations(observation: Any, num_envs: int) -> np.ndarray:
    """Return the observations of N environments as one array (N, D); named parts are concatenated in order."""
    parts = _observed(observation).values() if isinstance(observation, dict) else [observation]
    return np.concatenate([np.asarray(part, np.float32).reshape(num_envs, -1) for part in parts], axis=1)


def _observed(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that a policy observes, without the privileged state of the simulator."""
    return {"state": parts["state"]} if "state" in parts and "privileged_state" in parts else parts


class EnvPoolEnv(gymnasium.Env):
    """One environment of a task in EnvPool; the options are EnvPool's.

    Raises:
        InputError: the task is MyoSuite's, and the installed EnvPool starts its episodes in other states.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, envpool_id: str, render_mode: str | None = None, **options: Any) -> None:
        import envpool

        spec = envpool.make_spec(envpool_id, **options)
        if type(spec).__name__.startswith("MyoSuite"):
            if _numbers(envpool.__version__) < (1, 2, 6):
                raise InputError(
                    f"task '{envpool_id}' needs EnvPool 1.2.6 or newer and therefore Python 3.12; EnvPool "
                    f"{envpool.__version__} starts its episodes in a wrong state"
                )
            # Walking tasks end before their time limit only if the pelvis is below 0.8 m or turns by more than 53
            # degrees (myosuite/envs/myo/myobase/walk_v0.py).
            if re.search("Leg.*Walk", envpool_id):
                self.fall = "terminated"
        self.observation_space = flat_space(spec.observation_space)
        self.action_space = spec.action_space
        if isinstance(spec.action_space, gymnasium.spaces.Box):
            low, high = (bound.astype(np.float32) for bound in (spec.action_space.low, spec.action_space.high))
            self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.render_mode = render_mode
        self._id = envpool_id
        self._options = options | {"max_episode_steps": NO_TIME_LIMIT, "num_envs": 1, "num_threads": 1}
        if render_mode:
            self._options |= {"render_mode": render_mode, "render_width": 640, "render_height": 480}
        if isinstance(spec.observation_space, gymnasium.spaces.Dict):
            parts = _observed(spec.observation_space.spaces).items()
            self.observation_names = [f"{name} {i}" for name, part in parts for i in range(int(np.prod(part.shape)))]
        self._pool: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; EnvPool seeds at construction only."""
        import envpool

        super().reset(seed=seed)
        if self._pool is None or seed is not None:
            seed = int(self.np_random.integers(SEEDS)) if seed is None else seed % SEEDS
            self._pool = envpool.make(self._id, env_type="gymnasium", seed=seed, **self._options)
        observation, _ = self._pool.reset()
        return flat_observations(observation, 1)[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act."""
        observation, reward, terminated, truncated, _ = self._pool.step(np.asarray(action, np.float32)[None])
        return flat_observations(observation, 1)[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Any:
        """Return a picture, (height, width, 3) uint8."""
        return self._pool.render()[0]

    def close(self) -> None:
        """Stop the pool's thread."""
        self._pool = None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
