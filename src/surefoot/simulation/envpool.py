"""Gymnasium ids that EnvPool holds, stepped by its C++ threads: several times the speed of a Python loop.

EnvPool has written the tasks again in C++. Random numbers differ from Gymnasium's, and so does one corner: an
episode that terminates on the very last step of its time limit is told as truncated only.
"""

import importlib.util
import secrets
import warnings
from typing import Any

import gymnasium
import numpy as np

from surefoot.errors import EngineError, InputError
from surefoot.simulation.engine import Engine, pack
from surefoot.tasks.catalogue import TaskInfo, find_task

INSTALL = 'pip install "surefoot[envpool]"'

# The tasks that EnvPool holds and no other fast engine does; it can't be asked before it is installed.
_HELD = (
    "BipedalWalker-v3",
    "BipedalWalkerHardcore-v3",
    "LunarLanderContinuous-v3",
    "MountainCarContinuous-v0",
)
# At its speed limit EnvPool 1.2.5's pendulum turns by the speed before the limit, as Pendulum-v0 once did.
_DIFFERENT = ("Pendulum-v1",)
_NO_TIME_LIMIT = 2**31 - 1
_SEEDS = 2**31  # EnvPool takes 31 bits
_POOL_SETTINGS = {
    *("num_envs", "batch_size", "num_threads", "max_num_players", "thread_affinity_offset", "base_path"),
    *("seed", "env_seed", "gym_reset_return_info", "max_episode_steps", "reward_threshold"),
}


def installed() -> bool:
    """Tell whether EnvPool is there; `INSTALL` says how to get it."""
    return importlib.util.find_spec("envpool") is not None


def would_help(info: TaskInfo) -> bool:
    """Tell whether installing EnvPool would bring an engine for this task."""
    return not installed() and info.id in _HELD and not info.env_options


def available(info: TaskInfo) -> bool:
    """Tell whether EnvPool is installed and holds this very task, options and all."""
    return not _obstacle(info)


class EnvPoolEngine(Engine):
    """Copies of a Gymnasium task in an EnvPool, each with its own random numbers at any number of threads.

    EnvPool knows no repeated actions and no histories (`tasks.view`); both are made here, of all copies at once.
    """

    name = "envpool"

    def __init__(self, info: TaskInfo, num_envs: int, threads: int = 0, seed: int = 0) -> None:
        """Build the pool.

        Args:
            info: the task; `available(info)` must hold.
            num_envs: the number of copies, N.
            threads: how many threads step them; 0 for one per CPU core.
            seed: the seed that `begin` will be given first; any other costs a new pool.

        Raises:
            InputError: EnvPool is absent or does not hold the task.
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
        self._seen = np.zeros((num_envs, info.frame_stack, self._size), np.float32)
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
        return self._look(pack(observation, 0.0, False, False), everywhere, everywhere)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        self._check_open()
        moving = np.ones(self.num_envs, bool) if resting is None else ~resting
        if (self._ended & moving & ~finished).any():
            raise EngineError(
                "engine 'envpool' cannot go on with an episode that has ended; pass the last frame's "
                "terminated | truncated as finished"
            )
        # EnvPool begins anew by itself where an episode has ended, but has to be told where one is given up.
        given_up = moving & finished & ~self._ended
        frame = self._step(action, moving & ~given_up)
        if given_up.any():
            self._begin_some(frame, given_up)
        frame[finished, self._size] = 0.0
        for _ in range(1, self._info.action_repeat):
            going = moving & ~finished & ~self._ended
            if not going.any():
                break
            more = self._step(action, going)
            more[:, self._size] += frame[:, self._size]
            frame[going] = more[going]
        return self._look(frame, moving, finished)

    def _step(self, action: np.ndarray, moving: np.ndarray) -> np.ndarray:
        """Make one step of the copies in `moving`, (N,) bool, and leave the others as they are; their rows are 0."""
        if moving.all():
            observation, reward, terminated, truncated, _ = self._pool.step(action)
            self._ended = terminated | truncated
            return pack(observation, reward, terminated, truncated)
        frame = np.zeros((self.num_envs, self._size + 3), np.float32)
        copies = np.flatnonzero(moving).astype(np.int32)
        if len(copies):
            observation, reward, terminated, truncated, info = self._pool.step(action[copies], copies)
            copies = info["env_id"]  # they come in any order
            self._ended[copies] = terminated | truncated
            frame[copies] = pack(observation, reward, terminated, truncated)
        return frame

    def _begin_some(self, frame: np.ndarray, some: np.ndarray) -> None:
        """Begin new episodes in some copies, (N,) bool, and put what they observe first into the frame."""
        observation, info = self._pool.reset(options={"reset_mask": some})
        frame[info["env_id"]] = pack(observation, 0.0, False, False)

    def _look(self, frame: np.ndarray, moving: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Put the last observations, oldest first, in the place of the newest; where episodes begin, that is all."""
        if self._info.frame_stack == 1:
            return frame
        newest, seen = frame[:, : self._size], self._seen
        going, begun = moving & ~begun, moving & begun
        seen[going, :-1] = seen[going, 1:]
        seen[going, -1] = newest[going]
        seen[begun] = newest[begun, None]
        return np.concatenate([seen.reshape(self.num_envs, -1), frame[:, self._size :]], axis=1)

    def close_extras(self, **kwargs) -> None:
        """End the pool's threads."""
        del kwargs
        self._pool = None

    def _build(self, seed: int) -> Any:
        import envpool

        limit = find_task(self._info.name, self._info.env_options).max_episode_steps  # in steps, not in actions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the precision of its own bounds
            pool = envpool.make(
                self._info.id,
                env_type="gymnasium",
                num_envs=self.num_envs,
                num_threads=self._threads,
                seed=[(seed + copy) % _SEEDS for copy in range(self.num_envs)],
                max_episode_steps=limit or _NO_TIME_LIMIT,
                **_task_options(self._info),
            )
            _ = pool.observation_space  # makes it now, so that its first use doesn't warn
        return pool

    def _check_open(self) -> None:
        if self.closed:
            raise EngineError(f"the engine of task '{self._info.name}' is closed; make a new one")


def _obstacle(info: TaskInfo) -> str:
    """Say why EnvPool cannot run the task, "" if it can."""
    if not installed():
        return f"EnvPool is not installed; {INSTALL}"
    try:
        import envpool
    except (ImportError, OSError) as error:
        return f"EnvPool cannot be imported: {' '.join(str(error).split())}"
    if info.id in _DIFFERENT:
        return "EnvPool's moves differently from Gymnasium's; use engine 'processes'"
    if info.id not in envpool.list_all_envs():
        return "EnvPool does not hold it; use engine 'processes'"
    if not str(gymnasium.spec(info.id).entry_point).startswith("gymnasium"):
        return f"'{info.id}' is registered as somebody else's environment; use engine 'processes'"
    options = _task_options(info)
    settings = set(envpool.make_spec(info.id).config._fields) - _POOL_SETTINGS
    # Files are excluded because EnvPool looks for them among its own, whatever the name.
    foreign = [
        key for key, value in options.items() if key not in settings or not isinstance(value, bool | int | float)
    ]
    if foreign:
        return f"EnvPool has no option '{foreign[0]}' for it; use engine 'processes'"
    try:
        spec = envpool.make_spec(info.id, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
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
