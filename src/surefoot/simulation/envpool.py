"""Engine `envpool`: Gymnasium ids that EnvPool includes, on its C++ threads; several times faster than a Python loop.

EnvPool reimplements the tasks. Random numbers differ from Gymnasium's. An episode that terminates at the last step of
its time limit is reported as truncated only.
"""

import importlib.util
import secrets
import warnings
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from surefoot.errors import EngineError, InputError
from surefoot.simulation.engine import Engine, pack_step
from surefoot.tasks.catalogue import TaskInfo, find_task

INSTALL = 'pip install "surefoot[envpool]"'

# Tasks that only EnvPool simulates fast; needed to recommend it before it is installed.
_HELD = (
    "BipedalWalker-v3",
    "BipedalWalkerHardcore-v3",
    "LunarLanderContinuous-v3",
    "MountainCarContinuous-v0",
)
# At the speed limit, EnvPool 1.2.5 moves the pendulum with its unclipped speed, as in Pendulum-v0.
_DIFFERENT_PHYSICS = ("Pendulum-v1",)
_NO_TIME_LIMIT = 2**31 - 1
_SEEDS = 2**31  # EnvPool's seeds have 31 bits
_POOL_SETTINGS = {
    *("num_envs", "batch_size", "num_threads", "max_num_players", "thread_affinity_offset", "base_path"),
    *("seed", "env_seed", "gym_reset_return_info", "max_episode_steps", "reward_threshold"),
}


def installed() -> bool:
    """Whether EnvPool is installed; `INSTALL` is the command to install it."""
    return importlib.util.find_spec("envpool") is not None


def would_help(info: TaskInfo) -> bool:
    """Whether this task would run on EnvPool if it were installed."""
    return not installed() and info.id in _HELD and not info.env_options


def available(info: TaskInfo) -> bool:
    """Whether EnvPool is installed and includes this task with these options."""
    return not _obstacle(info)


class _Steps(NamedTuple):
    """One step of every environment in EnvPool: observation (N, D), reward, terminated and truncated (N,)."""

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class EnvPoolEngine(Engine):
    """Environments of a Gymnasium task in EnvPool, each with its own random numbers at any number of threads.

    EnvPool has no action repeat and no frame stack (`tasks.wrappers`); this class adds both.
    """

    name = "envpool"

    def __init__(self, info: TaskInfo, num_envs: int, threads: int = 0, seed: int = 0) -> None:
        """Build the pool.

        Args:
            info: the task; `available(info)` must hold.
            num_envs: number of environments, N.
            threads: number of threads; 0: one per CPU core.
            seed: seed of the first `begin`; any other seed needs a new pool.

        Raises:
            InputError: EnvPool is not installed or does not include the task.
        """
        if obstacle := _obstacle(info):
            raise InputError(f"engine 'envpool' cannot run task '{info.name}': {obstacle}")
        super().__init__(
            num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, (info.observation_size,), np.float32),
            gymnasium.spaces.Box(info.action_low, info.action_high, dtype=np.float32),
        )
        self._info = info
        self._threads = min(threads, num_envs)
        self._size = info.observation_size // info.frame_stack
        self._stack = np.zeros((num_envs, info.frame_stack, self._size), np.float32)
        self._ended = np.zeros(num_envs, bool)
        self._seed = seed
        self._pool = self._build(seed)
        self._untouched = True

    def begin(self, seed: int | None) -> np.ndarray:
        self._check_open()
        seed = secrets.randbits(31) if seed is None else seed
        if not self._untouched or seed != self._seed:
            self._pool = None  # EnvPool seeds at construction only; the old threads end first
            self._pool = self._build(seed)
            self._seed = seed
        self._untouched = False
        self._ended = np.zeros(self.num_envs, bool)
        observation, _ = self._pool.reset()
        everywhere = np.ones(self.num_envs, bool)
        return self._pack(_Steps(observation, *np.zeros((3, self.num_envs))), everywhere, everywhere)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        self._check_open()
        moving = np.ones(self.num_envs, bool) if resting is None else ~resting
        if (self._ended & moving & ~finished).any():
            raise EngineError(
                "engine 'envpool' cannot continue an episode that has ended; pass terminated | truncated of the last "
                "step as finished"
            )
        # EnvPool resets by itself after an episode has ended, but not before.
        abandoned = moving & finished & ~self._ended
        steps = self._step(action, moving & ~abandoned)
        if abandoned.any():
            self._reset_some(steps, abandoned)
        steps.reward[finished] = 0
        for _ in range(1, self._info.action_repeat):
            going = moving & ~finished & ~self._ended
            if not going.any():
                break
            more = self._step(action, going)
            more.reward[:] += steps.reward
            for total, part in zip(steps, more, strict=True):
                total[going] = part[going]
        return self._pack(steps, moving, finished)

    def _step(self, action: np.ndarray, moving: np.ndarray) -> _Steps:
        """Step the environments in `moving`, (N,) bool; the rows of the others are 0."""
        if moving.all():
            *steps, _ = self._pool.step(action)
            result = _Steps(*(np.array(part, np.float32) for part in steps))
        else:
            observation = np.zeros((self.num_envs, self._size), np.float32)
            result = _Steps(observation, *np.zeros((3, self.num_envs), np.float32))
            envs = np.flatnonzero(moving).astype(np.int32)
            if not len(envs):
                return result
            *steps, info = self._pool.step(action[envs], envs)
            for part, values in zip(result, steps, strict=True):
                part[info["env_id"]] = values  # they come in any order
        self._ended[moving] = (result.terminated[moving] > 0) | (result.truncated[moving] > 0)
        return result

    def _reset_some(self, steps: _Steps, some: np.ndarray) -> None:
        """Reset some environments, (N,) bool, and write their first observations into `steps`."""
        observation, info = self._pool.reset(options={"reset_mask": some})
        steps.observation[info["env_id"]] = observation
        for part in steps[1:]:
            part[info["env_id"]] = 0

    def _pack(self, steps: _Steps, moving: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Pack steps into simulator output, with the last observations stacked, oldest first."""
        if self._info.frame_stack == 1:
            return pack_step(*steps)
        stack, newest = self._stack, steps.observation
        going, begun = moving & ~begun, moving & begun
        stack[going, :-1] = stack[going, 1:]
        stack[going, -1] = newest[going]
        stack[begun] = newest[begun, None]
        return pack_step(stack.reshape(self.num_envs, -1), *steps[1:])

    def close_extras(self, **kwargs) -> None:
        """Stop the pool's threads."""
        del kwargs
        self._pool = None

    def _build(self, seed: int) -> Any:
        import envpool

        limit = find_task(self._info.name, self._info.env_options).max_episode_steps  # before action repeat
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the precision of the bounds
            pool = envpool.make(
                self._info.id,
                env_type="gymnasium",
                num_envs=self.num_envs,
                num_threads=self._threads,
                seed=[(seed + env) % _SEEDS for env in range(self.num_envs)],
                max_episode_steps=limit or _NO_TIME_LIMIT,
                **_task_options(self._info),
            )
            _ = pool.observation_space  # created now, so that its first use does not warn
        return pool

    def _check_open(self) -> None:
        if self.closed:
            raise EngineError(f"the engine of task '{self._info.name}' is closed; make a new one")


def _obstacle(info: TaskInfo) -> str:
    """Return the reason why EnvPool cannot run the task, "" if it can."""
    if not installed():
        return f"EnvPool is not installed; {INSTALL}"
    try:
        import envpool
    except (ImportError, OSError) as error:
        return f"EnvPool cannot be imported: {' '.join(str(error).split())}"
    if info.id in _DIFFERENT_PHYSICS:
        return "EnvPool's version moves differently from Gymnasium's; use engine 'processes'"
    if info.id not in envpool.list_all_envs():
        return "EnvPool does not include it; use engine 'processes'"
    if not str(gymnasium.spec(info.id).entry_point).startswith("gymnasium"):
        return f"'{info.id}' is not Gymnasium's own environment; use engine 'processes'"
    options = _task_options(info)
    settings = set(envpool.make_spec(info.id).config._fields) - _POOL_SETTINGS
    # Text options name files, which EnvPool looks up among its own.
    foreign = [
        key for key, value in options.items() if key not in settings or not isinstance(value, bool | int | float)
    ]
    if foreign:
        return f"EnvPool has no option '{foreign[0]}' for it; use engine 'processes'"
    try:
        spec = envpool.make_spec(info.id, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the precision of the bounds
            observation, action = spec.observation_space, spec.action_space
    except (TypeError, ValueError, AssertionError) as error:
        return f"EnvPool refuses its options: {str(error).splitlines()[0]}"
    if (
        observation.shape != (info.observation_size // info.frame_stack,)
        or action.shape != (info.action_size,)
        or not np.allclose(action.low, info.action_low)
        or not np.allclose(action.high, info.action_high)
    ):
        return "EnvPool's observation or action differs from Gymnasium's; use engine 'processes'"
    return ""


def _task_options(info: TaskInfo) -> dict[str, Any]:
    return {key: value for key, value in info.env_options.items() if key != "max_episode_steps"}
