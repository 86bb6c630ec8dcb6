"""Engine `envpool`: Gymnasium ids that EnvPool includes, on its C++ threads; several times faster than a Python loop.

EnvPool reimplements the tasks. Random numbers differ from Gymnasium's. An episode that terminates at the last step of
its time limit is reported as truncated only.
"""

import secrets
import warnings
from typing import Any

import gymnasium
import numpy as np

from surefoot.errors import EngineError, InputError
from surefoot.simulation.engine import Engine, step_layout
from surefoot.tasks.catalogue import TaskInfo, find_task
from surefoot.tasks.envpool_env import NO_TIME_LIMIT, SEEDS, EnvPoolEnv, flat_observations, flat_space, installed

INSTALL = 'pip install "surefoot[envpool]"'

# Tasks that only EnvPool simulates fast; needed to recommend it before it is installed.
_HELD = "BipedalWalker-v3", "BipedalWalkerHardcore-v3", "LunarLanderContinuous-v3", "MountainCarContinuous-v0"
# At the speed limit, EnvPool 1.2.5 moves the pendulum with its unclipped speed, as in Pendulum-v0.
_DIFFERENT_PHYSICS = ("Pendulum-v1",)
_POOL_SETTINGS = {
    *("num_envs", "batch_size", "num_threads", "max_num_players", "thread_affinity_offset", "base_path"),
    *("seed", "env_seed", "gym_reset_return_info", "max_episode_steps", "reward_threshold"),
}


def hint(info: TaskInfo) -> str:
    """Return one line on how to get this faster engine for a task, or ""."""
    if installed() or info.id not in _HELD or info.env_options:
        return ""
    return f"engine 'envpool' would step '{info.name}' several times faster: {INSTALL}"


class EnvPoolEngine(Engine):
    """Environments of a Gymnasium task in EnvPool, each with its own random numbers at any number of threads.

    EnvPool has no action repeat and no frame stack (`tasks.wrappers`); this class adds both.
    """

    name = "envpool"

    def __init__(self, info: TaskInfo, num_envs: int, threads: int = 0) -> None:
        """Make `num_envs` environments on `threads` threads (0: one per CPU core).

        Raises:
            InputError: EnvPool is not installed or does not include the task.
        """
        if reason := obstacle(info):
            raise InputError(f"engine 'envpool' cannot simulate task '{info.name}': {reason}; use 'auto'")
        super().__init__(info, num_envs)
        self._threads = min(threads, num_envs)
        # One step of EnvPool, before action repeat and frame stack.
        self._step_layout = step_layout(info.observation_size // info.frame_stack)
        self._stack = np.zeros((num_envs, info.frame_stack, info.observation_size // info.frame_stack), np.float32)
        self._ended = np.zeros(num_envs, bool)
        self._pool: Any = None

    def begin(self, seed: int | None) -> np.ndarray:
        self._check_open()
        self._pool = None  # EnvPool seeds at construction only; the old threads end first
        self._pool = self._build(secrets.randbits(31) if seed is None else seed)
        everywhere = np.ones(self.num_envs, bool)
        self._ended = ~everywhere
        return self._stacked(self._reset(everywhere), everywhere, everywhere)

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
            steps[abandoned] = self._reset(abandoned)[abandoned]
        total = self._step_layout.read(steps, "reward")
        total[finished] = 0
        for _ in range(1, self._info.action_repeat):
            going = moving & ~finished & ~self._ended
            if not going.any():
                break
            more = self._step(action, going)
            self._step_layout.read(more, "reward")[:] += total
            steps[going] = more[going]
        return self._stacked(steps, moving, finished)

    def _step(self, action: np.ndarray, moving: np.ndarray) -> np.ndarray:
        """Step the environments in `moving`, (N,) bool; the rows of the others are 0."""
        steps = np.zeros((self.num_envs, self._step_layout.size), np.float32)
        envs = np.flatnonzero(moving).astype(np.int32)
        if len(envs):
            observation, *parts, info = self._pool.step(action[envs], envs)
            parts = [flat_observations(observation, len(envs)), *parts]
            fields = dict(zip(self._step_layout.names, parts, strict=True))
            steps[info["env_id"]] = self._step_layout.pack(fields, np)  # they come in any order
            self._ended[info["env_id"]] = fields["terminated"] | fields["truncated"]
        return steps

    def _reset(self, envs: np.ndarray) -> np.ndarray:
        """Reset the environments in `envs`, (N,) bool; return their first observations as steps with reward 0."""
        steps = np.zeros((self.num_envs, self._step_layout.size), np.float32)
        observation, info = self._pool.reset(options={"reset_mask": envs})
        first = flat_observations(observation, len(info["env_id"]))
        steps[info["env_id"], self._step_layout.columns("observation")] = first
        return steps

    def _stacked(self, steps: np.ndarray, moving: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Return steps with the last observations stacked, oldest first."""
        if self._info.frame_stack == 1:
            return steps
        fields = self._step_layout.unpack(steps)
        stack, newest = self._stack, fields["observation"]
        going, begun = moving & ~begun, moving & begun
        stack[going, :-1] = stack[going, 1:]
        stack[going, -1] = newest[going]
        stack[begun] = newest[begun, None]
        return self.layout.pack(fields | {"observation": stack.reshape(self.num_envs, -1)}, np)

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
                seed=[(seed + env) % SEEDS for env in range(self.num_envs)],
                max_episode_steps=limit or NO_TIME_LIMIT,
                **_task_options(self._info),
            )
            _ = pool.observation_space  # created now, so that its first use does not warn
        return pool


def obstacle(info: TaskInfo) -> str:
    """Return the reason why EnvPool cannot run the task, "" if it can."""
    if not installed():
        return f"EnvPool is not installed; {INSTALL}"
    try:
        import envpool
    except (ImportError, OSError) as error:
        return f"EnvPool cannot be imported: {' '.join(str(error).split())}"
    if info.id in _DIFFERENT_PHYSICS:
        return "EnvPool's version moves differently from Gymnasium's"
    if info.id not in envpool.list_all_envs():
        return "EnvPool does not include it"
    if not str(gymnasium.spec(info.id).entry_point).startswith(("gymnasium", EnvPoolEnv.__module__)):
        return f"'{info.id}' is not Gymnasium's own environment"
    options = _task_options(info)
    settings = set(envpool.make_spec(info.id).config._fields) - _POOL_SETTINGS
    # Text options name files, which EnvPool looks up among its own.
    foreign = [
        key for key, value in options.items() if key not in settings or not isinstance(value, bool | int | float)
    ]
    if foreign:
        return f"EnvPool has no option '{foreign[0]}' for it"
    try:
        spec = envpool.make_spec(info.id, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the precision of the bounds
            observation, action = flat_space(spec.observation_space), spec.action_space
    except (TypeError, ValueError, AssertionError) as error:
        return f"EnvPool refuses its options: {str(error).splitlines()[0]}"
    if (
        observation.shape != (info.observation_size // info.frame_stack,)
        or action.shape != (info.action_size,)
        or not np.allclose(action.low, info.action_low)
        or not np.allclose(action.high, info.action_high)
    ):
        return "EnvPool's observation or action differs from Gymnasium's"
    return ""


def _task_options(info: TaskInfo) -> dict[str, Any]:
    return {key: value for key, value in info.env_options.items() if key != "max_episode_steps"}
