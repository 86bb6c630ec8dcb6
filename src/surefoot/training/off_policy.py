"""The training loop of off-policy algorithms: act, store transitions in the replay, update."""

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import off_policy
from surefoot.algorithms.algorithm import Metrics
from surefoot.algorithms.replay import Replay
from surefoot.algorithms.rollout import rollout_layout
from surefoot.errors import NonFiniteError, RunError
from surefoot.machine import available_memory, gigabytes
from surefoot.policies.normaliser import update_normaliser
from surefoot.policies.policy import Controller, action_scale
from surefoot.pytrees import random_from_words, random_words
from surefoot.training.learner import Learner, diverged
from surefoot.training.sampler import Sampler, Transitions
from surefoot.training.warm_start.transfer import Transfer

# An iteration is logged as one line; it consists of many rounds of acting and learning.
STEPS_PER_ITERATION = 1000
# Number of observations in which perturbed actors are compared.
_DISTANCE_OBSERVATIONS = 256


class OffPolicyLearner(Learner):
    """An off-policy algorithm and the samplers that act for it.

    A round consists of some steps of every environment and the corresponding updates. In synchronous mode, one
    sampler acts, then the learner updates. In asynchronous mode, the samplers act with the weights of the last round
    while the learner updates from transitions stored before; then the new ones are stored in the samplers' order. The
    update-to-data ratio is therefore the same, weights are at most one round old, and results depend on the seed only.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        recipe, info, settings = self._recipe, self.info, self._settings
        sizes = info.observation_size, info.action_size
        self._num_envs = recipe.engine.num_envs
        self._steps_per_round = settings.steps_per_round(self._num_envs)
        steps_per_round = self._num_envs * self._steps_per_round
        self._rounds = max(1, STEPS_PER_ITERATION // steps_per_round)
        self._updates_per_round = round(steps_per_round * settings.utd_ratio)
        self.steps_per_iteration = self._rounds * steps_per_round
        key = jax.random.PRNGKey(recipe.seed)
        self._state = off_policy.init(key, *sizes, recipe.policy, settings, self._symmetry)
        self._layout = rollout_layout(*sizes)
        self._replay = self._make_replay()
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((recipe.seed, 8))))
        # The replay holds actions in units of half the task's range, relative to its centre.
        centre, half_range = action_scale(info.action_low, info.action_high)
        self._action_cost_scale = recipe.wrappers.reward_scale * half_range
        self._idle_action = -centre / np.where(half_range > 0, half_range, 1)
        self._steps = 0
        self._pool = None
        self._make_samplers()

    def _make_replay(self) -> Replay:
        info = self.info
        return Replay(self._settings.buffer_size, self._num_envs, info.observation_size, info.action_size)

    def _make_samplers(self) -> None:
        self._samplers = [Sampler(self._recipe, self.info, engine, index) for index, engine in enumerate(self.engines)]
        if self._recipe.training.mode == "asynchronous":
            self._pool = ThreadPoolExecutor(len(self.engines), "surefoot-sampler")

    def notes(self) -> Iterator[str]:
        size, memory = self._replay.nbytes, available_memory()
        if memory and 2 * size > memory[0]:
            yield (
                f"the replay takes {gigabytes(size)} when it is full, and twice as much while a checkpoint is saved; "
                f"{gigabytes(memory[0])} of memory are free; lower {self._recipe.algorithm}.buffer_size"
            )
        unbounded = ~np.isfinite(self.info.action_low) | ~np.isfinite(self.info.action_high)
        if unbounded.any():
            yield (
                f"{unbounded.sum()} of {self.info.action_size} actions of '{self.info.name}' have no bounds; "
                f"{self._recipe.algorithm} keeps them within -1 and 1"
            )

    def start(self, seed: int) -> None:
        for sampler in self._samplers:
            sampler.start(seed, self._state.actor)

    def take_over(self, transfer: Transfer) -> None:
        super().take_over(transfer)
        if sigma := transfer.parameter_sigma():
            self._set_parameter_sigma(sigma)

    def _set_parameter_sigma(self, sigma: float) -> None:
        for sampler in self._samplers:
            sampler.exploration.parameter_sigma = sigma

    def iterate(self, progress: float) -> dict[str, float] | None:
        first = self._steps
        try:
            return self._iterate(progress)
        except NonFiniteError as error:
            error.ahead += self._steps - first
            raise

    def _iterate(self, progress: float) -> dict[str, float] | None:
        clock = time.perf_counter
        rounds: list[Metrics] = []
        update_s, simulation_s = 0.0, 0.0
        iteration_start = clock()
        episodes: list[tuple[float, int]] = []
        for _ in range(self._rounds):
            collected = self._start_collection(progress)
            if self._pool is None:
                simulation_s += self._store(collected(), episodes)
            update_start = clock()
            if self._steps > self._settings.learning_starts and self._replay.can_sample:
                rounds.append(self._update(progress))
            update_s += clock() - update_start
            if self._pool is not None:
                simulation_s += self._store(collected(), episodes)
        return self._metrics(rounds, episodes, iteration_start, simulation_s, update_s)

    def _metrics(
        self,
        rounds: list[Metrics],
        episodes: list[tuple[float, int]],
        iteration_start: float,
        simulation_s: float,
        update_s: float,
    ) -> dict[str, float]:
        """Return the metrics of an iteration: those of its rounds of updates, its episodes and its times.

        Raises:
            NonFiniteError: a loss is not finite.
        """
        clock = time.perf_counter
        update_start = clock()
        fetched = jax.device_get(rounds)
        update_s += clock() - update_start
        metrics = {name: float(np.mean([values[name] for values in fetched])) for name in (fetched or [{}])[0]}
        if not np.isfinite([*metrics.values()]).all():
            values, rows = np.array([*metrics.values()]), self._replay.state()["rows"]
            raise diverged(self._layout, self.info, rows, -self._replay.size, metrics=values)
        updates = len(rounds) * self._updates_per_round
        mean_return, mean_length = np.mean(episodes, 0).tolist() if episodes else (math.nan, math.nan)
        return metrics | {
            "train/return": mean_return,
            "train/length": mean_length,
            "train/episodes": float(len(episodes)),
            "updates": float(updates),
            "utd_ratio": updates / self.steps_per_iteration,
            "replay/size": float(self._replay.size),
            "time/simulation": simulation_s,
            "time/update": update_s,
            "time/policy": max(0.0, clock() - iteration_start - simulation_s - update_s),
            **self._sampler_metrics(),
        }

    def state(self) -> dict[str, Any]:
        return {
            "algorithm": self._state,
            "replay": self._replay.state(),
            "random": random_words(self._random),
            "steps": np.int64(self._steps),
            "samplers": self._sampler_state(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        template, rows = self.state(), f"{prefix}/replay/rows"
        if rows in arrays:  # the only array whose shape depends on the step
            template["replay"] = {"rows": np.empty(arrays[rows].shape, np.float32)}
        tree = self._unflatten(template, arrays, prefix)
        self._state = tree["algorithm"]
        try:
            self._replay.restore(tree["replay"])
        except ValueError as error:
            raise RunError(f"the checkpoint was saved with other settings (buffer_size): {error}") from None
        self._random = random_from_words(tree["random"])
        self._steps = int(tree["steps"])
        if not self._restore_samplers(tree["samplers"]):
            self._replay.truncate()

    def _sampler_state(self) -> Any:
        return [sampler.state() for sampler in self._samplers]

    def _restore_samplers(self, state: Any) -> bool:
        """Continue from `_sampler_state`; return whether the rows to come continue the newest ones of the replay."""
        restored = [sampler.restore(part) for sampler, part in zip(self._samplers, state, strict=True)]
        return all(restored)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_collection(self, progress: float) -> Callable[[], list[Transitions]]:
        """Start one round of all samplers; the function returned waits for their transitions."""
        observations = self._distance_observations()
        controller = Controller(self._state.actor, self._state.normaliser)
        if self._pool is not None:
            controller = _copy(controller)  # updates reuse the memory of the learner's weights
        steps = self._steps + self._num_envs * np.arange(self._steps_per_round)
        request = steps, progress, controller, observations
        if self._pool is None:
            return lambda: [sampler.collect(*request) for sampler in self._samplers]
        futures = [self._pool.submit(sampler.collect, *request) for sampler in self._samplers]
        return functools.partial(_results, futures)

    def _distance_observations(self) -> np.ndarray | None:
        """Return observations (M, D) in which samplers compare perturbed actors; None if there are none, or no need."""
        exploration = self._settings.exploration
        if not (exploration.parameter_noise and exploration.adapt_parameter_sigma and self._replay.count):
            return None
        return self._replay.observations(self._random, _DISTANCE_OBSERVATIONS)

    def _store(self, collected: list[Transitions], episodes: list[tuple[float, int]]) -> float:
        """Add a round's rows to the replay and the normaliser; return the seconds spent in the simulators."""
        rows = np.concatenate([transitions.rows for transitions in collected], axis=1)
        for row in rows:
            self._replay.add(row)
        episodes += [episode for transitions in collected for episode in transitions.episodes]
        if self._recipe.policy.normalise_observations:
            self._normalise(self._layout.read(rows, "observation"))
        self._steps += rows.shape[0] * rows.shape[1]
        return max(transitions.simulation_s for transitions in collected)

    def _normalise(self, observations: np.ndarray) -> None:
        """Add observations (..., D) to the normaliser."""
        normaliser = _update_normaliser(self._state.normaliser, observations, self._symmetry.tied)
        self._state = self._state._replace(normaliser=normaliser)

    def _update(self, progress: float) -> Metrics:
        """Make one round of updates and return the metrics."""
        settings = self._settings
        cost = self._recipe.wrappers.action_cost_at(self._steps) * self._action_cost_scale
        random, count, idle = self._random, self._updates_per_round, self._idle_action
        batches = self._replay.sample(
            random, count, settings.batch_size, settings.n_step, settings.discount, cost, idle
        )
        self._state, metrics = off_policy.update(
            self._state, batches, np.float32(progress), settings=settings, symmetry=self._symmetry
        )
        return metrics

    def _sampler_metrics(self) -> dict[str, float]:
        """Return the metrics of curriculum, engine and exploration."""
        metrics = mean_curricula([sampler.engine.curriculum_metrics() for sampler in self._samplers])
        if cut := sum(sampler.engine.cut_episodes for sampler in self._samplers):
            metrics["engine/cut_episodes"] = cut
        exploration = self._samplers[0].exploration
        if exploration.settings.parameter_noise:
            metrics["exploration/parameter_sigma"] = exploration.parameter_sigma
            if exploration.settings.adapt_parameter_sigma:
                metrics["exploration/distance"] = exploration.distance
        return metrics


def mean_curricula(curricula: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the metrics of the samplers' curricula, averaged."""
    return {
        f"curriculum/{name}": float(np.mean([values[name] for values in curricula if name in values]))
        for name in sorted(set().union(*curricula))
    }


def _results(futures: list[Future]) -> list[Transitions]:
    wait(futures)  # so that no sampler is running when the error of another ends the run
    return [future.result() for future in futures]


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


_update_normaliser = jax.jit(update_normaliser)
