"""Act, remember, learn from memory, and again: the loop of off-policy algorithms."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ddpg
from surefoot.algorithms.ddpg_settings import DDPGSettings
from surefoot.algorithms.ddpg_state import init
from surefoot.algorithms.replay import Replay
from surefoot.algorithms.symmetry import Symmetry
from surefoot.errors import InputError, NonFiniteError, RunError
from surefoot.policies.normaliser import symmetrise, update_normaliser
from surefoot.policies.policy import Controller, Policy
from surefoot.pytrees import random_from_words, random_words, unflatten_tree, with_stored_count
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.symmetry import known_mirror
from surefoot.training.artifacts import snapshot
from surefoot.training.sampler import CollectRequest, Sampler, Transitions
from surefoot.training.warm_start.transfer import Transfer

# An iteration is what is logged as one line; it holds many rounds of acting and learning.
_STEPS_PER_ITERATION = 1000
_DISTANCE_STATES = 256


class OffPolicyLearner:
    """DDPG, TD3 or SAC, and the samplers that act for it.

    A round is `train_freq` steps of every copy, and the updates that belong to them. Synchronous, one sampler acts,
    then the learner learns. Asynchronous, the samplers act with the weights that the last round left while the learner
    learns from what was remembered before; when both are done, the rows are remembered in the samplers' order. So the
    ratio of updates to steps is the same, no sampler is more than one round behind, and the same seed learns the same.

    Args:
        recipe: the recipe.
        info: the task.
        engines: one for each sampler, of as many copies each.

    Attributes:
        info: the task.
        steps_per_iteration: environment steps of one `iterate`.
    """

    def __init__(
        self, recipe: Recipe, info: TaskInfo, engines: Sequence[Engine], stop: Callable[[], bool] = lambda: False
    ) -> None:
        del stop  # an iteration is short
        self.info = info
        self._recipe = recipe
        self._settings: DDPGSettings = recipe.settings
        settings = self._settings
        self._copies = sum(engine.num_envs for engine in engines)
        per_round = self._copies * settings.train_freq
        self._rounds = max(1, _STEPS_PER_ITERATION // per_round)
        self._updates_per_round = round(per_round * settings.utd_ratio)
        self.steps_per_iteration = self._rounds * per_round
        self._symmetry = Symmetry("augment", info.mirror) if settings.mirror else Symmetry()
        if settings.tied:
            mirror = known_mirror(info, f"{recipe.algorithm}.tied = true")
            if mirror.observation_offset.any() and not recipe.policy.normalise_observations:
                raise InputError(f"{recipe.algorithm}.tied = true needs policy.normalise_observations = true")
            self._symmetry = Symmetry("tied", mirror)
        self._state = init(
            jax.random.PRNGKey(recipe.seed),
            info.observation_size,
            info.action_size,
            recipe.policy,
            settings,
            self._symmetry,
        )
        self._replay = Replay(settings.buffer_size, self._copies, info.observation_size, info.action_size)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((recipe.seed, 8))))
        # Actions are remembered in units of half the task's range, from its middle on.
        low, high = np.float32(info.action_low), np.float32(info.action_high)
        bounded = np.isfinite(high - low)
        half = np.where(bounded, (high - low) / 2, 1)
        self._cost_of_action = recipe.wrappers.reward_scale * half
        self._idle = -np.where(bounded, (low + high) / 2, 0) / half
        self._samplers = [Sampler(recipe, info, engine, number) for number, engine in enumerate(engines)]
        self._pool = None
        if recipe.training.mode == "asynchronous":
            self._pool = ThreadPoolExecutor(len(engines), "surefoot-sampler")
        self._steps = 0

    def start(self, seed: int) -> None:
        """Begin all episodes."""
        for sampler in self._samplers:
            sampler.start(seed, self._state.actor)

    def take_over(self, transfer: Transfer) -> None:
        """Begin with what another run learnt; before `start`.

        Raises:
            RunError: it is damaged.
        """
        self._state = transfer.into(self._state)
        transfer.check_ties(self._state.actor, self._symmetry)
        if self._symmetry.tied:
            self._state = self._state._replace(normaliser=symmetrise(self._state.normaliser, self._symmetry.tied))
        sigma = ddpg.earlier_parameter_sigma(transfer)
        for sampler in self._samplers:
            sampler.exploration.parameter_sigma = sigma or sampler.exploration.parameter_sigma

    def iterate(self, progress: float) -> dict[str, float]:
        """Act and learn for `steps_per_iteration` environment steps, and return what to log.

        Args:
            progress: how much of the training will be done after it, in [0, 1].

        Raises:
            NonFiniteError: an observation, a reward or a loss is not finite; its `arrays` hold it.
            EngineError: a simulator failed.
        """
        clock = time.perf_counter
        learnt: list[jax.Array] = []
        learning, simulating = 0.0, 0.0
        began = clock()
        episodes: list[tuple[float, int]] = []
        for _ in range(self._rounds):
            wait_for = self._send_out(progress)
            if self._pool is None:
                simulating += self._remember(wait_for(), episodes)
            before = clock()
            if self._steps > self._settings.learning_starts and self._replay.can_sample:
                learnt.append(self._learn(progress))
            learning += clock() - before
            if self._pool is not None:
                simulating += self._remember(wait_for(), episodes)
        before = clock()
        rounds = len(learnt)
        metrics = np.mean(jax.device_get(learnt), axis=0) if learnt else np.zeros(0)
        learning += clock() - before
        if not np.isfinite(metrics).all():
            raise NonFiniteError("the loss is not finite", {"log": metrics})
        updates = rounds * self._updates_per_round
        returns, lengths = zip(*episodes, strict=True) if episodes else ((), ())
        values = dict(zip(ddpg.METRICS, metrics.tolist(), strict=True)) if rounds else {}
        values |= {
            "train/return": float(np.mean(returns)) if episodes else float("nan"),
            "train/length": float(np.mean(lengths)) if episodes else float("nan"),
            "train/episodes": float(len(episodes)),
            "updates": float(updates),
            "utd_ratio": updates / self.steps_per_iteration,
            "replay/size": float(self._replay.count * self._copies),
            "time/simulation": simulating,
            "time/update": learning,
            "time/policy": max(0.0, clock() - began - simulating - learning),
        }
        harder = [sampler.engine.curriculum_metrics() for sampler in self._samplers]
        for name in sorted(set().union(*harder)):
            values[f"curriculum/{name}"] = float(np.mean([one[name] for one in harder if name in one]))
        exploration = self._samplers[0].exploration
        if exploration.settings.parameter_noise:
            values["exploration/parameter_sigma"] = exploration.parameter_sigma
            values["exploration/distance"] = exploration.distance
        return values

    def policy(self) -> Policy:
        """Return the policy as it is now."""
        return snapshot(self.info, Controller(self._state.average, self._state.normaliser))

    @property
    def restores_episodes(self) -> bool:
        """Whether `restore` continues the very episodes that were under way."""
        return all(sampler.engine.get_state() is not None for sampler in self._samplers)

    def state(self) -> dict[str, Any]:
        """Return everything that decides how training goes on, as a tree of arrays."""
        return {
            "algorithm": self._state,
            "replay": self._replay.state(),
            "random": random_words(self._random),
            "steps": np.int64(self._steps),
            "samplers": [sampler.state() for sampler in self._samplers],
        }

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        """Go on from what `state` returned, flattened under `prefix`.

        Episodes begin anew where the engine cannot restore its own.

        Raises:
            RunError: the arrays are of other settings.
        """
        rows = f"{prefix}/replay/rows"
        template = self.state()
        template["algorithm"] = with_stored_count(template["algorithm"], arrays, f"{prefix}/algorithm")
        if rows in arrays:  # as many rows as there were; everything else has one shape only
            template["replay"] = {"rows": arrays[rows]}
        tree = unflatten_tree(template, arrays, prefix)
        self._state = tree["algorithm"]
        try:
            self._replay.restore(tree["replay"])
        except ValueError as error:
            raise RunError(f"the checkpoint is of other settings (buffer_size): {error}") from None
        self._random = random_from_words(tree["random"])
        self._steps = int(tree["steps"])
        exact = True
        for sampler, one in zip(self._samplers, tree["samplers"], strict=True):
            exact &= sampler.restore(one)
        if not exact:
            self._replay.cut()

    def close(self) -> None:
        """End the samplers' threads; the engines are closed by who made them."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _send_out(self, progress: float) -> Callable[[], list[Transitions]]:
        """Have all samplers act for one round; what is returned waits for them."""
        states = None
        if self._settings.exploration.parameter_noise and self._replay.count:
            states = self._replay.observations(self._random, _DISTANCE_STATES)
        order = CollectRequest(
            self._settings.train_freq,
            self._steps,
            progress,
            self._copies,
            self._state.actor,
            self._state.normaliser,
            states,
        )
        if self._pool is None:
            return lambda: [sampler.collect(order) for sampler in self._samplers]
        # The learner gives its own weights away to be overwritten by the next.
        order = order._replace(actor=_copy(order.actor), normaliser=_copy(order.normaliser))
        futures = [self._pool.submit(sampler.collect, order) for sampler in self._samplers]
        return functools.partial(_gather, futures)

    def _remember(self, collected: list[Transitions], episodes: list[tuple[float, int]]) -> float:
        """Add a round's rows to the replay and to the statistics; return the seconds spent in the simulators."""
        rows = np.concatenate([one.rows for one in collected], axis=1)
        for row in rows:
            self._replay.add(row)
        for one in collected:
            episodes.extend(one.episodes)
        if self._recipe.policy.normalise_observations:
            self._state = self._state._replace(
                normaliser=_update_normaliser(
                    self._state.normaliser, rows[..., : self.info.observation_size], self._symmetry.tied
                )
            )
        self._steps += rows.shape[0] * rows.shape[1]
        return max(one.simulating for one in collected)

    def _learn(self, progress: float) -> jax.Array:
        """Make one round of updates and return the metrics."""
        settings = self._settings
        transitions = self._replay.sample(
            self._random,
            self._updates_per_round,
            settings.batch_size,
            settings.n_step,
            settings.discount,
            self._recipe.wrappers.action_cost_at(self._steps) * self._cost_of_action,
            self._idle,
        )
        self._state, metrics = ddpg.update(self._state, transitions, np.float32(progress), self._symmetry, settings)
        return metrics


def _gather(futures: list[Future]) -> list[Transitions]:
    wait(futures)  # all of them, so that none acts on while an error of another ends the run
    return [future.result() for future in futures]


@jax.jit
def _copy(tree):
    return jax.tree.map(jnp.copy, tree)


_update_normaliser = jax.jit(update_normaliser)
