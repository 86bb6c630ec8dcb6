"""Off-policy training on a cluster: samplers in Ray actors send whole episodes, and receive new weights for the next.

    repeat
        send the weights to every idle sampler, which continues until at least one of its episodes has ended
        wait for the first sampler; take the episodes of all that have finished, and send them the weights
        put the episodes into the replay
        make `utd_ratio` updates per step of them

As in Pavlov et al. 2017 (arXiv 1711.06922). No sampler waits for another one; each waits at most while the learner
updates. Results depend on the order in which episodes arrive, so that runs are not repeatable.
"""

import functools
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from surefoot.algorithms.algorithm import Metrics
from surefoot.algorithms.replay import Replay
from surefoot.algorithms.rollout import rollout_layout
from surefoot.evaluation.episodes import MAX_STEPS
from surefoot.policies.policy import Controller
from surefoot.recipes.make import make_sampler_engine
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.cluster import Actors
from surefoot.training.off_policy import STEPS_PER_ITERATION, OffPolicyLearner, mean_curricula
from surefoot.training.sampler import Sampler, Transitions

_POLL_S = 0.5  # at which a request to stop is noticed
# Observations merged into the normaliser at a time; a compiled function is for one size.
_NORMALISED_ROWS = 256


class Weights(NamedTuple):
    """Input of a sampler, the same for all."""

    controller: Controller  # the policy to act with
    steps: int  # environment steps so far
    progress: float  # fraction of the training that is done
    observations: np.ndarray | None  # (M, D), in which perturbed actors are compared; None if they are not


class Episodes(NamedTuple):
    """Output of a sampler."""

    transitions: Transitions  # whole episodes one after another, as those of one environment
    parameter_sigma: float
    distance: float  # as in `Exploration`
    curriculum: dict[str, float]
    cut_episodes: int  # as in `Engine`


class EpisodeSampler:
    """A sampler that returns whole episodes; the object in an actor."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._info = recipe.evaluation_task()
        self._engine = make_sampler_engine(recipe)
        self._layout = rollout_layout(self._info.observation_size, self._info.action_size)
        self._rows: list[list[np.ndarray]] = [[] for _ in range(self._engine.num_envs)]  # of unfinished episodes
        self._sampler: Sampler | None = None

    def collect(self, weights: Weights, index: int, seed: int, parameter_sigma: float) -> Episodes:
        """Step all environments until an episode ends; return all that have ended.

        A task without a time limit has episodes of up to `MAX_STEPS` steps here; they go on in the next one.

        Args:
            weights: the policy, and what noise depends on.
            index: as in `Sampler`; the last three arguments count at the first call only.
            seed: of the first environment of sampler 0.
            parameter_sigma: standard deviation of parameter noise.
        """
        sampler = self._sampler
        if sampler is None:
            self._sampler = sampler = Sampler(self._recipe, self._info, self._engine, index)
            sampler.start(seed, weights.controller.network)
            sampler.exploration.parameter_sigma = parameter_sigma
        steps = np.array([weights.steps])
        ended: list[np.ndarray] = []
        episodes: list[tuple[float, int]] = []
        simulation_s = 0.0
        while not ended:
            part = sampler.collect(steps, weights.progress, weights.controller, weights.observations)
            ended += self._ended(part.rows[0])
            episodes += part.episodes
            simulation_s += part.simulation_s
        transitions = Transitions(np.concatenate(ended)[:, None], episodes, simulation_s)
        exploration = sampler.exploration
        engine = self._engine
        return Episodes(
            transitions,
            exploration.parameter_sigma,
            exploration.distance,
            engine.curriculum_metrics(),
            engine.cut_episodes,
        )

    def _ended(self, step: np.ndarray) -> list[np.ndarray]:
        """Add one step of all environments, (N, K), and return the rows (T, K) of episodes that ended there."""
        finished = self._layout.read(step, "terminated") | self._layout.read(step, "truncated")
        ended = []
        for env, row in enumerate(step):
            rows = self._rows[env]
            rows.append(row)
            if finished[env]:
                ended.append(np.stack(rows))
                rows.clear()
            elif len(rows) > MAX_STEPS + (self._info.max_episode_steps or 0):
                piece = np.stack(rows)
                self._layout.write(piece[-1], {"truncated": 1})
                ended.append(piece)
                rows[:] = [row]
        return ended


class ClusterOffPolicyLearner(OffPolicyLearner):
    """An off-policy algorithm whose samplers are on a cluster."""

    @property
    def restores_episodes(self) -> bool:
        return False

    def _make_replay(self) -> Replay:
        # Episodes follow one another, as those of one environment.
        return Replay(self._settings.buffer_size, 1, self.info.observation_size, self.info.action_size)

    def _make_samplers(self) -> None:
        recipe = self._recipe
        self._count = recipe.training.samplers
        self._seed = 0
        # Samplers started so far; each has its own random numbers.
        self._started = 0
        self._indices: list[int | None] = [None] * self._count
        self._due = 0.0  # updates that steps in the replay still ask for
        self._deaths = 0
        self._parameter_sigma = np.full(self._count, recipe.settings.exploration.parameter_sigma)
        self._distance = np.full(self._count, np.nan)
        self._curricula: list[dict[str, float]] = [{}] * self._count
        self._cut = [0] * self._count
        self._unnormalised = np.zeros((0, self.info.observation_size), np.float32)
        self._actors = Actors(recipe.engine.address, self._count, functools.partial(EpisodeSampler, recipe))

    def start(self, seed: int) -> None:
        self._seed = seed

    def _set_parameter_sigma(self, sigma: float) -> None:
        self._parameter_sigma[:] = sigma

    def close(self) -> None:
        self._actors.close()

    def _iterate(self, progress: float) -> dict[str, float] | None:
        clock = time.perf_counter
        rounds: list[Metrics] = []
        update_s, waited_s = 0.0, 0.0
        iteration_start = clock()
        episodes: list[tuple[float, int]] = []
        first = self._steps
        while self._steps - first < STEPS_PER_ITERATION and not self._stop():
            self._send_weights(progress)
            wait_start = clock()
            collected = self._receive()
            waited_s += clock() - wait_start
            for transitions in collected:
                self._store([transitions], episodes)
                if self._steps > self._settings.learning_starts:
                    self._due += len(transitions.rows) * self._settings.utd_ratio
            self._send_weights(progress)
            update_start = clock()
            while self._due >= self._updates_per_round and self._replay.can_sample and not self._stop():
                rounds.append(self._update(progress))
                self._due -= self._updates_per_round
            update_s += clock() - update_start
        self.steps_per_iteration = self._steps - first
        if not self.steps_per_iteration:
            return None
        return self._metrics(rounds, episodes, iteration_start, waited_s, update_s)

    def _send_weights(self, progress: float) -> None:
        """Send the current weights to all idle samplers."""
        idle = self._actors.idle
        if not idle:
            return
        controller = jax.device_get(Controller(self._state.actor, self._state.normaliser))
        shared = self._actors.share(Weights(controller, self._steps, progress, self._distance_observations()))
        for sampler in idle:
            index = self._indices[sampler]
            if index is None:
                index = self._indices[sampler] = self._started
                self._started += 1
            self._actors.call(sampler, "collect", shared, index, self._seed, float(self._parameter_sigma[sampler]))

    def _receive(self) -> list[Transitions]:
        """Wait for the first sampler, and return the transitions of all that have finished."""
        collected = []
        for sampler, value, died in self._actors.results(_POLL_S):
            if died:
                self._deaths += 1
                self._indices[sampler] = None
                continue
            collected.append(value.transitions)
            self._parameter_sigma[sampler], self._distance[sampler] = value.parameter_sigma, value.distance
            self._curricula[sampler], self._cut[sampler] = value.curriculum, value.cut_episodes
        return collected

    def _normalise(self, observations: np.ndarray) -> None:
        rows = np.concatenate([self._unnormalised, observations.reshape(-1, observations.shape[-1])])
        whole = len(rows) - len(rows) % _NORMALISED_ROWS
        for start in range(0, whole, _NORMALISED_ROWS):
            super()._normalise(rows[start : start + _NORMALISED_ROWS])
        self._unnormalised = rows[whole:]

    def _sampler_state(self) -> Any:
        # The scales of parameter noise have the names of a training without a cluster, for warm starts.
        scales = [{"exploration": {"parameter_sigma": np.float64(sigma)}} for sigma in self._parameter_sigma]
        counts = {"started": np.int64(self._started), "due": np.float64(self._due), "deaths": np.int64(self._deaths)}
        return [*scales, counts]

    def _restore_samplers(self, state: Any) -> bool:
        *scales, counts = state
        self._parameter_sigma = np.array([float(part["exploration"]["parameter_sigma"]) for part in scales])
        self._started, self._deaths = int(counts["started"]), int(counts["deaths"])
        self._due = float(counts["due"])
        return True  # the replay ends with an episode

    def _sampler_metrics(self) -> dict[str, float]:
        metrics = {"cluster/deaths": float(self._deaths)}
        if cut := sum(self._cut):
            metrics["engine/cut_episodes"] = cut
        exploration = self._settings.exploration
        if exploration.parameter_noise:
            metrics["exploration/parameter_sigma"] = float(np.mean(self._parameter_sigma))
            if exploration.adapt_parameter_sigma and np.isfinite(self._distance).any():
                metrics["exploration/distance"] = float(np.nanmean(self._distance))
        return metrics | mean_curricula(self._curricula)
