"""Whole episodes of a deterministic policy, to judge it apart from training."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.policies.networks import Parameters, PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Policy, act
from surefoot.policies.symmetry import Mirror
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import TaskInfo

# Seeds are apart by use: trainings draw theirs below the first of these bounds.
TRAINING_SEED_BOUND = 1_000_000_000
SELECTION_SEEDS = 1_000_000_000
CONFIRMATION_SEEDS = 1_250_000_000
EVALUATION_SEEDS = 1_500_000_000

# Where it is not known that episodes end; such a task may end them by itself.
MOST_STEPS = 10_000

_MOST_COPIES = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Episodes:
    """What E episodes came to.

    Attributes:
        returns: (E,) float64, sums of rewards.
        lengths: (E,) int64, steps.
        terminated: (E,) bool, ended by what happened, not by the time limit.
        falls: (E,) bool, or None where the task cannot tell.
        seconds: wall-clock time they took.
    """

    returns: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    falls: np.ndarray | None
    seconds: float

    def __add__(self, more: "Episodes") -> "Episodes":
        """Return these episodes and then those."""
        falls = None if self.falls is None or more.falls is None else np.concatenate([self.falls, more.falls])
        return Episodes(
            np.concatenate([self.returns, more.returns]),
            np.concatenate([self.lengths, more.lengths]),
            np.concatenate([self.terminated, more.terminated]),
            falls,
            self.seconds + more.seconds,
        )


class EpisodeRunner:
    """Copies of a task kept ready to run whole episodes.

    Every copy runs the same number of episodes, so that short episodes are not counted more often than long ones.
    """

    def __init__(
        self,
        engine: str,
        info: TaskInfo,
        episodes: int,
        settings: PolicySettings,
        threads: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        """Make copies of task `info` for rounds of `episodes` or more episodes.

        Args:
            engine: as in `make_engine`.
            info: the task.
            episodes: how many a round has at least.
            settings: the policies' networks.
            threads: as in `make_engine`.
            mirror: the policies' symmetry if they are equivariant, else None.
        """
        self.info = info
        self._most_steps = MOST_STEPS if info.max_episode_steps is None else math.inf
        self.engine = make_engine(engine, info, min(episodes, _MOST_COPIES), threads)
        self._step = jax.jit(functools.partial(_step, self.engine.interpret, settings, info, mirror))

    def run(
        self,
        parameters: Parameters,
        normaliser: Normaliser,
        episodes: int,
        seed: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Episodes | None:
        """Run `episodes` episodes from seeds `seed` on; None if `cancelled` says so on the way.

        Where it is not known that episodes end, they are broken off after `MOST_STEPS`.
        """
        start = time.perf_counter()
        copies = self.engine.num_envs
        quota = math.ceil(episodes / copies)
        returns = np.zeros((copies, quota))
        lengths = np.zeros((copies, quota), np.int64)
        terminated = np.zeros((copies, quota), bool)
        last_reward = np.zeros((copies, quota))
        done = np.zeros(copies, np.int64)  # episodes that each copy has completed
        given_up = np.zeros(copies, bool)
        frame = self.engine.begin(seed)
        answer = self._step(parameters, normaliser, frame, jnp.zeros((copies, self.info.action_size + 3)))
        rows = np.arange(copies)
        while (done < quota).any():
            if cancelled():
                return None
            host = np.asarray(answer)
            finished = ((host[:, -2] + host[:, -1]) > 0.5) | given_up
            frame = self.engine.advance(host[:, :-3], finished)
            going = ~finished & (done < quota)
            answer = self._step(parameters, normaliser, frame, answer)
            host = np.asarray(answer)
            at = (rows[going], done[going])
            returns[at] += host[going, -3]
            lengths[at] += 1
            ended = going & ((host[:, -2] + host[:, -1]) > 0.5)
            given_up[:] = False
            given_up[going] = (lengths[at] >= self._most_steps) & ~ended[going]
            ended |= given_up
            at = (rows[ended], done[ended])
            terminated[at] = host[ended, -2] > 0.5
            last_reward[at] = host[ended, -3]
            done += ended
        flat = [x.ravel()[:episodes] for x in (returns, lengths, terminated, last_reward)]
        falls = self.info.falls(flat[2], flat[3])
        return Episodes(flat[0], flat[1], flat[2], falls, time.perf_counter() - start)

    def close(self) -> None:
        """Release the copies."""
        self.engine.close()


def run_episodes(policy: Policy, engine: str, info: TaskInfo, episodes: int, seed: int) -> Episodes:
    """Run `episodes` episodes of `policy`, from seeds `seed` on."""
    evaluator = EpisodeRunner(engine, info, episodes, policy.settings, mirror=policy.mirror)
    try:
        result = evaluator.run(policy.parameters, policy.normaliser, episodes, seed)
        assert result is not None
        return result
    finally:
        evaluator.close()


def _step(interpret, settings, info, mirror, parameters, normaliser, frame, previous) -> jax.Array:
    """Read a frame and answer it: (N, A + 3), action, reward, terminated, truncated."""
    signals = interpret(frame, previous[:, :-3])
    bounds = info.action_low, info.action_high
    action = act(settings, *bounds, parameters, normaliser, signals.observation, noise=None, mirror=mirror)
    flags = jnp.stack([signals.reward, signals.terminated, signals.truncated], axis=1)
    return jnp.concatenate([action, flags.astype(jnp.float32)], axis=1)
