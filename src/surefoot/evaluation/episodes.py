"""Whole episodes of a deterministic policy: the one loop behind evaluation, gait recording, video and benchmarks."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium
import jax
import numpy as np

from surefoot.compilation_cache import use_compilation_cache
from surefoot.policies.policy import Controller, Policy
from surefoot.simulation.engine import Engine
from surefoot.simulation.factory import make_engine
from surefoot.simulation.policy_step import Experience, PolicyStep
from surefoot.tasks.catalogue import TaskInfo

# Each use has its own range of seeds; those of trainings, one per environment, are below the first one.
SELECTION_SEEDS = 1_000_000_000
CONFIRMATION_SEEDS = 1_250_000_000
EVALUATION_SEEDS = 1_500_000_000
MAX_SEED = 100_000_000  # largest offset that a user can give

# Episodes of tasks without a known time limit are cut off here.
MAX_STEPS = 10_000

_MAX_ENVS = 100


class Actor(Protocol):
    """Any deterministic policy with the `predict` of `surefoot.policies.policy.Policy`."""

    def predict(self, observation: np.ndarray) -> Sequence[Any]:
        """Return a sequence whose first element is the action, (A,)."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Episodes:
    """Results of E episodes.

    Attributes:
        returns: (E,) float64, sums of rewards.
        lengths: (E,) int64, steps.
        terminated: (E,) bool, ended by the task rather than by the time limit.
        falls: (E,) bool, or None if the task cannot detect falls.
        seconds: wall-clock duration.
    """

    returns: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    falls: np.ndarray | None
    seconds: float

    def __add__(self, other: "Episodes") -> "Episodes":
        """Concatenate the results of two sets of episodes."""
        falls = None if self.falls is None or other.falls is None else np.concatenate([self.falls, other.falls])
        return Episodes(
            np.concatenate([self.returns, other.returns]),
            np.concatenate([self.lengths, other.lengths]),
            np.concatenate([self.terminated, other.terminated]),
            falls,
            self.seconds + other.seconds,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class EpisodeStep:
    """One step of N environments, as passed to `on_step`; arrays are (N,).

    Attributes:
        number: steps since the start; each reset counts as one, and the first reset is number 0.
        episode: index of each environment's current episode.
        length: steps of that episode; 0 after a reset.
        total: float64, sum of its rewards.
        active: whether the step belongs to a requested episode; False after a reset, and for environments that have
            completed their episodes.
        finished: whether the step was the last of its episode.
        action: (N, A) of this step; None from an engine.
        observation: (N, D) before the action; None from an engine.
        info: the `info` of a Gymnasium environment; empty from an engine.
    """

    number: int
    episode: np.ndarray
    length: np.ndarray
    total: np.ndarray
    active: np.ndarray
    finished: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    action: np.ndarray | None = None
    observation: np.ndarray | None = None
    info: dict[str, Any] = dataclasses.field(default_factory=dict)


OnStep = Callable[[EpisodeStep], bool | None]
"""Called after every step; True stops the episodes."""


class EpisodeRunner:
    """An engine and a compiled policy step, kept ready for repeated rounds of episodes."""

    def __init__(self, engine: str | Engine, info: TaskInfo, episodes: int, threads: int = 0) -> None:
        """Make environments of task `info` as `make_engine` does, for rounds of at least `episodes` episodes."""
        use_compilation_cache()
        self.info = info
        most = min(episodes, _MAX_ENVS)
        self.engine = make_engine(engine, info, most, threads) if isinstance(engine, str) else engine
        self.num_envs = self.engine.num_envs
        self._step = PolicyStep(self.engine, info, _decide)
        self._command = self._step.first_command()
        self._controller: Any = None

    def run(
        self, controller: Controller, episodes: int, seed: int, on_step: OnStep = lambda _: None
    ) -> Episodes | None:
        """Run `episodes` episodes from seed `seed` on; None if `on_step` stopped them."""
        self._controller = jax.device_put(controller)
        return _run(self, self.info, episodes, seed, on_step)

    def start(self, seed: int) -> dict[str, Any]:
        """Reset all environments; return the reward and flags of the reset."""
        return self._act(self.engine.begin(seed), self._step.first_command())

    def advance(self, finished: np.ndarray, resting: np.ndarray) -> dict[str, Any]:
        """Step all environments, resetting the finished ones but for `resting`; return the reward and flags."""
        action = self._step.unpack(self._command).action
        return self._act(self.engine.advance(action, finished, resting), self._command)

    def _act(self, sim_output: np.ndarray, command: jax.Array) -> dict[str, Any]:
        _, self._command = self._step((), sim_output, command, self._controller)
        fields = self._step.unpack(self._command)
        return {"reward": fields.reward, "terminated": fields.terminated, "truncated": fields.truncated}

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


def run_episodes(
    policy: Actor,
    env: Engine | gymnasium.Env | str,
    info: TaskInfo,
    episodes: int,
    seed: int,
    on_step: OnStep = lambda _: None,
) -> Episodes | None:
    """Run whole episodes of a policy; None if `on_step` stopped them.

    An engine runs the same number of episodes in each environment, so that short episodes are not counted more often
    than long ones; environment i starts from seed + i. A Gymnasium environment runs one episode after another, episode
    i from seed + i.

    Args:
        policy: on an engine, one of Surefoot's.
        env: the environment or engine of task `info`, or the name of an engine to make.
        episodes: number of episodes.
        seed: the first seed.
        on_step: called after every step and every reset; True stops.
    """
    if isinstance(env, gymnasium.Env):
        return _run(_EnvPlayer(env, policy), info, episodes, seed, on_step)
    assert isinstance(policy, Policy)
    runner = EpisodeRunner(env, info, episodes)
    try:
        return runner.run(policy.controller, episodes, seed, on_step)
    finally:
        if isinstance(env, str):
            runner.close()


class _EnvPlayer:
    """One Gymnasium environment and a policy."""

    num_envs = 1

    def __init__(self, env: gymnasium.Env, policy: Actor) -> None:
        self._env, self._policy = env, policy
        self._observation, self._next_seed = np.zeros(0), 0

    def start(self, seed: int) -> dict[str, Any]:
        """Reset the environment."""
        self._next_seed = seed
        return self._reset()

    def advance(self, finished: np.ndarray, resting: np.ndarray) -> dict[str, Any]:
        """Step the environment, or reset it with the next seed if its episode has finished."""
        del resting
        if finished[0]:
            return self._reset()
        observation = np.array(self._observation, np.float32)
        action = np.asarray(self._policy.predict(self._observation)[0])
        self._observation, reward, terminated, truncated, info = self._env.step(action)
        step = _one_step(reward, terminated, truncated, info)
        return step | {"action": action[None], "observation": observation[None]}

    def _reset(self) -> dict[str, Any]:
        self._observation, info = self._env.reset(seed=self._next_seed)
        self._next_seed += 1
        return _one_step(0.0, False, False, info)


def _one_step(reward: Any, terminated: Any, truncated: Any, info: dict[str, Any]) -> dict[str, Any]:
    step = {"reward": np.array([float(reward)]), "info": info}
    return step | {"terminated": np.array([bool(terminated)]), "truncated": np.array([bool(truncated)])}


def _run(
    player: EpisodeRunner | _EnvPlayer, info: TaskInfo, episodes: int, seed: int, on_step: OnStep
) -> Episodes | None:
    """Run `episodes` episodes, the same number in each environment; None if `on_step` returned True."""
    started = time.perf_counter()
    envs = np.arange(player.num_envs)
    quota = math.ceil(episodes / len(envs))
    max_steps = MAX_STEPS if info.max_episode_steps is None else math.inf
    returns, last_reward = np.zeros((2, len(envs), quota))
    lengths, terminated = np.zeros((len(envs), quota), np.int64), np.zeros((len(envs), quota), bool)
    episode, length, total = np.zeros(len(envs), np.int64), np.zeros(len(envs), np.int64), np.zeros(len(envs))
    active = finished = np.zeros(len(envs), bool)
    number, outcome = 0, player.start(seed)
    while not on_step(EpisodeStep(number, episode, length, total, active, finished, **outcome)):
        episode = episode + finished
        if (episode >= quota).all():
            results = returns, lengths, terminated, last_reward
            returns, lengths, terminated, last_reward = (array.ravel()[:episodes] for array in results)
            falls = info.falls(terminated, last_reward)
            return Episodes(returns, lengths, terminated, falls, time.perf_counter() - started)
        resting = finished & (episode >= quota)  # they have completed their episodes
        outcome = player.advance(finished, resting)
        number += 1
        length = np.where(finished, 0, length + 1)
        total = np.where(finished, 0.0, total + outcome["reward"])
        active = ~finished & (episode < quota)
        cut_off = active & (length >= max_steps)
        finished = resting | outcome["terminated"] | outcome["truncated"] | cut_off
        over = active & finished
        at = envs[over], episode[over]
        returns[at], lengths[at] = total[over], length[over]
        terminated[at], last_reward[at] = outcome["terminated"][over], outcome["reward"][over]
    return None


def _decide(carry: Any, experience: Experience, controller: Controller) -> tuple[Any, jax.Array]:
    """Return the deterministic actions, (N, A); see `PolicyStep`."""
    return carry, controller.action(experience.observation)
