"""Whole episodes of a deterministic policy: the one loop behind evaluation, gait recording, video and benchmarks."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium
import jax
import numpy as np

from surefoot.policies.policy import Controller, Policy
from surefoot.simulation.engine import Engine
from surefoot.simulation.factory import make_engine
from surefoot.simulation.policy_step import Experience, PolicyStep
from surefoot.tasks.catalogue import TaskInfo

# Each use has its own range of seeds; training seeds are drawn below the first bound.
TRAINING_SEED_BOUND = 1_000_000_000
SELECTION_SEEDS = 1_000_000_000
CONFIRMATION_SEEDS = 1_250_000_000
EVALUATION_SEEDS = 1_500_000_000

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
    """One step of N environments, as passed to `on_step`.

    Attributes:
        number: steps since the start; each reset counts as one, and the first reset is number 0.
        episode: (N,) index of each environment's current episode.
        length: (N,) steps of that episode; 0 after a reset.
        total: (N,) float64, sum of its rewards.
        active: (N,) bool, whether the step belongs to a requested episode; False after a reset, and for environments
            that have completed their episodes.
        finished: (N,) bool, whether the step was the last of its episode.
        reward: (N,).
        terminated: (N,) bool.
        truncated: (N,) bool.
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
    """An engine and a compiled policy step kept ready for repeated rounds of episodes."""

    def __init__(self, engine: str, info: TaskInfo, episodes: int, threads: int = 0) -> None:
        """Make environments of task `info` for rounds of at least `episodes` episodes.

        Args:
            engine: as in `make_engine`.
            info: the task.
            episodes: minimum number of episodes of a round.
            threads: as in `make_engine`.
        """
        self.info = info
        self.engine = make_engine(engine, info, min(episodes, _MAX_ENVS), threads)
        self._player = _EnginePlayer(self.engine, info)

    def run(
        self,
        controller: Controller,
        episodes: int,
        seed: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Episodes | None:
        """Run `episodes` episodes from seed `seed` on; None if `cancelled` returned True, which ends the round."""
        self._player.controller = jax.device_put(controller)
        return _run(self._player, self.info, episodes, seed, lambda _: cancelled())

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
    """Run whole episodes of a policy.

    An engine runs the same number of episodes in each environment, so that short episodes are not counted more often
    than long ones; environment i starts from seed + i. A Gymnasium environment runs one episode after another, episode
    i from seed + i. Episodes of a task without a known time limit are cut off after `MAX_STEPS`.

    Args:
        policy: the policy; engines need a `Policy`.
        env: the environments; or the name of an engine, which is then made and closed here.
        info: the task of `env`.
        episodes: number of episodes.
        seed: the first seed.
        on_step: called after every step and every reset; True stops.

    Returns:
        The results, or None if `on_step` stopped the episodes.
    """
    if isinstance(env, gymnasium.Env):
        return _run(_EnvPlayer(env, policy), info, episodes, seed, on_step)
    assert isinstance(policy, Policy)
    engine = make_engine(env, info, min(episodes, _MAX_ENVS)) if isinstance(env, str) else env
    try:
        player = _EnginePlayer(engine, info)
        player.controller = jax.device_put(policy.controller)
        return _run(player, info, episodes, seed, on_step)
    finally:
        if engine is not env:
            engine.close()


class _EnginePlayer:
    """An engine's environments and a policy in one compiled function."""

    controller: Controller

    def __init__(self, engine: Engine, info: TaskInfo) -> None:
        self.num_envs = engine.num_envs
        self._engine = engine
        self._step = PolicyStep(engine, info, _decide)
        self._command = self._step.first_command()

    def start(self, seed: int) -> dict[str, Any]:
        """Reset all environments; return the reward and flags of the reset."""
        return self._act(self._engine.begin(seed), self._step.first_command())

    def advance(self, finished: np.ndarray) -> dict[str, Any]:
        """Step all environments, resetting the finished ones; return the reward and flags of the step."""
        return self._act(self._engine.advance(self._step.unpack(self._command).action, finished), self._command)

    def _act(self, sim_output: np.ndarray, command: jax.Array) -> dict[str, Any]:
        _, self._command = self._step((), sim_output, command, self.controller)
        fields = self._step.unpack(self._command)
        return {"reward": fields.reward, "terminated": fields.terminated, "truncated": fields.truncated}


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

    def advance(self, finished: np.ndarray) -> dict[str, Any]:
        """Step the environment, or reset it with the next seed if its episode has finished."""
        if finished[0]:
            return self._reset()
        observation = np.array(self._observation, np.float32)
        action = np.asarray(self._policy.predict(self._observation)[0])
        self._observation, reward, terminated, truncated, info = self._env.step(action)
        outcome = {"reward": np.array([float(reward)]), "info": info}
        outcome |= {"terminated": np.array([bool(terminated)]), "truncated": np.array([bool(truncated)])}
        return outcome | {"action": action[None], "observation": observation[None]}

    def _reset(self) -> dict[str, Any]:
        self._observation, info = self._env.reset(seed=self._next_seed)
        self._next_seed += 1
        return {"reward": np.zeros(1), "terminated": np.zeros(1, bool), "truncated": np.zeros(1, bool), "info": info}


def _run(
    player: _EnginePlayer | _EnvPlayer, info: TaskInfo, episodes: int, seed: int, on_step: OnStep
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
            falls = info.falls(terminated.ravel(), last_reward.ravel())
            return Episodes(
                returns.ravel()[:episodes],
                lengths.ravel()[:episodes],
                terminated.ravel()[:episodes],
                None if falls is None else falls[:episodes],
                time.perf_counter() - started,
            )
        outcome = player.advance(finished)
        number += 1
        length = np.where(finished, 0, length + 1)
        total = np.where(finished, 0.0, total + outcome["reward"])
        active = ~finished & (episode < quota)
        cut_off = active & (length >= max_steps)
        finished = outcome["terminated"] | outcome["truncated"] | cut_off
        over = active & finished
        at = envs[over], episode[over]
        returns[at], lengths[at] = total[over], length[over]
        terminated[at], last_reward[at] = outcome["terminated"][over], outcome["reward"][over]
    return None


def _decide(carry: Any, experience: Experience, controller: Controller) -> tuple[Any, jax.Array]:
    """Return the deterministic actions, (N, A); see `PolicyStep`."""
    return carry, controller.action(experience.observation)
