"""The training loop of random search: evaluate many candidates, update, repeat."""

import functools
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ars
from surefoot.errors import NonFiniteError
from surefoot.evaluation.episodes import MAX_STEPS
from surefoot.policies.networks import ActorCritic, Layer
from surefoot.policies.normaliser import Normaliser, merge
from surefoot.policies.policy import Controller
from surefoot.policies.symmetry import Mirror
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.policy_step import Experience, PolicyStep
from surefoot.training.learner import Learner, not_finite


class EnvStatus(NamedTuple):
    """Status of N environments in a search, (N,) bool each."""

    running: Any  # in an episode; its reset is over
    resting: Any  # without a candidate, because all have been started
    expiring: Any  # at the last step of the rollout length


class CandidateResults(NamedTuple):
    """Results of one episode of each of C candidates: (C,) returns and lengths in steps."""

    returns: np.ndarray  # of unshaped rewards
    shaped_returns: np.ndarray  # of shaped rewards
    lengths: np.ndarray
    normaliser: Normaliser  # statistics of the observations after them
    simulation_s: float  # seconds spent in the simulator


class RandomSearchLearner(Learner):
    """Augmented random search on an engine.

    Each environment runs an episode of one candidate and takes the next one when it ends. When no candidate is left, it
    rests, at no cost. `stop` is polled at every step; an interrupted iteration is discarded.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        info, recipe = self.info, self._recipe
        key = jax.random.PRNGKey(recipe.seed)
        self._state = ars.init(key, info.observation_size, info.action_size, recipe.policy)
        self._initial_output: np.ndarray | None = None  # simulator output of episodes that have just started
        self._make_samplers()

    def _make_samplers(self) -> None:
        recipe = self._recipe
        decide = functools.partial(_decide, recipe, self._symmetry.averaged)
        self._step = PolicyStep(self.engine, self.info, decide, recipe.wrappers)

    def start(self, seed: int) -> None:
        self._initial_output = self.engine.begin(seed)

    def iterate(self, progress: float) -> dict[str, float] | None:
        settings = self._settings
        iteration_start = time.perf_counter()
        done = jnp.float32(progress)
        noise, step_size = (jnp.float32(x.value(done)) for x in (settings.noise, settings.step_size))
        state, directions = ars.sample_directions(self._state, settings)
        engine_state, initial_output = self._engine_state(), self._initial_output
        candidates = np.arange(2 * settings.directions)
        results = self.run_candidates(candidates, state, directions, noise, self._rollout_length(progress))
        if results is None:
            if engine_state is not None:
                self.engine.set_state(engine_state)
            self._initial_output = initial_output
            return None
        update_start = time.perf_counter()
        state, updated = ars.update(state, directions, jnp.float32(results.shaped_returns), step_size, settings)
        self._state = state._replace(normaliser=results.normaliser)
        metrics = {name: float(value) for name, value in jax.device_get(updated).items()}
        if not np.isfinite([*metrics.values()]).all():
            largest = np.abs(results.shaped_returns).max()
            message = f"the weights are not finite (returns of candidates of up to {largest:.3g} in size)"
            raise NonFiniteError(message, {"returns": results.returns})
        self.steps_per_iteration = int(results.lengths.sum())
        if cut := sum(engine.cut_episodes for engine in self.engines):
            metrics["engine/cut_episodes"] = cut
        return metrics | {
            "train/return": float(results.returns.mean()),
            "train/length": float(results.lengths.mean()),
            "train/episodes": float(len(results.returns)),
            "time/simulation": results.simulation_s,
            "time/policy": update_start - iteration_start - results.simulation_s,
            "time/update": time.perf_counter() - update_start,
        }

    def state(self) -> dict[str, Any]:
        tree = {"algorithm": self._state, "steps": np.int64(self.steps_per_iteration)}
        if (engine := self._engine_state()) is not None:
            tree["engine"] = engine
            if self._initial_output is not None:
                tree["initial_output"] = self._initial_output
        return tree

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        template = self.state()
        if f"{prefix}/initial_output" not in arrays:
            template.pop("initial_output", None)
        tree = self._unflatten(template, arrays, prefix)
        self._state = tree["algorithm"]
        self.steps_per_iteration = int(tree["steps"])
        if "engine" in tree:
            self.engine.set_state(tree["engine"])
            self._initial_output = tree.get("initial_output")

    def _engine_state(self) -> dict[str, np.ndarray] | None:
        return self.engine.get_state()

    def _rollout_length(self, progress: float) -> int:
        """Return the number of steps after which an episode is truncated."""
        own = self.info.max_episode_steps or MAX_STEPS
        schedule = self._settings.rollout_length
        ends = {"start": schedule.start or own, "end": schedule.end or own}
        return round(schedule.model_copy(update=ends).value(progress))

    def run_candidates(
        self,
        candidates: np.ndarray,
        state: ars.ARSState,
        directions: list[Layer],
        noise: jax.Array,
        max_steps: int,
        normaliser: Normaliser | None = None,
    ) -> CandidateResults | None:
        """Run an episode, of at most `max_steps`, of each candidate with an index in `candidates`, (C,).

        Returns None if interrupted. `state` is that before the update; observations are added to the statistics of
        `normaliser`, by default those of `state`.
        """
        num_envs, count = self.engine.num_envs, len(candidates)
        returns, shaped_returns = np.zeros((2, count))
        lengths = np.zeros(count, np.int64)
        position = np.arange(num_envs)  # of each environment's candidate
        started = num_envs
        actors = ars.candidate_actors(state, directions, candidates[np.minimum(position, count - 1)], noise)
        normaliser = jax.tree.map(jnp.copy, normaliser or state.normaliser)
        running, resting = np.zeros(num_envs, bool), position >= count
        age = np.zeros(num_envs, np.int64)
        packed = self._step.first_command()
        simulation_s = 0.0
        limit = self._settings.reward_clip or np.inf
        sim_output, self._initial_output = self._initial_output, None
        if sim_output is None:
            sim_output = self.engine.advance(np.zeros((num_envs, self.info.action_size), np.float32), ~running)
        while not self._stop():
            age[running] += 1
            status = EnvStatus(running, resting, age >= max_steps)
            normaliser, packed = self._step(normaliser, sim_output, packed, actors, state.normaliser, status)
            if not np.isfinite(np.asarray(packed)).all():
                arrays = {"sim_output": sim_output, "command": np.asarray(packed)}
                ahead = int(lengths.sum())
                raise not_finite(self._step.layout, self.info, arrays["command"][None], ahead=ahead, **arrays)
            command = self._step.unpack(packed)
            active = position[running]
            returns[active] += command.reward[running]
            shaped_returns[active] += np.clip(command.shaped_reward[running], -limit, limit)
            lengths[active] += 1
            finished = resting | ((command.finished | status.expiring) & running)
            age[finished] = 0
            ended = np.flatnonzero(finished & running)
            for env in ended:
                position[env], resting[env] = started, started >= count
                started += 1
            if resting.all():
                return CandidateResults(returns, shaped_returns, lengths, normaliser, simulation_s)
            if len(ended):
                actors = ars.candidate_actors(state, directions, candidates[np.minimum(position, count - 1)], noise)
            simulation_start = time.perf_counter()
            sim_output = self.engine.advance(command.action, finished, resting if resting.any() else None)
            simulation_s += time.perf_counter() - simulation_start
            running = ~finished  # the step after the end of an episode is a reset, without a reward
        return None


def _decide(
    recipe: Recipe,
    mirror: Mirror | None,
    merged: Normaliser,
    experience: Experience,
    actors: list[Layer],
    normaliser: Normaliser,
    status: EnvStatus,
) -> tuple[Normaliser, jax.Array]:
    """Return the statistics of all observations so far, and the actions (N, A); see `PolicyStep`.

    `actors` are those of the environments' candidates, layers with a new first axis; `normaliser` holds the statistics
    at the start of the iteration, `merged` those of all observations before.
    """
    settings, policy = recipe.settings, recipe.policy
    finished = (experience.terminated | experience.truncated | status.expiring) & status.running
    if policy.normalise_observations:
        merged = merge(merged, experience.observation, (~status.resting & ~finished).astype(jnp.float32))
    used = settings.acting_statistics(merged if settings.statistics == "step" else normaliser)

    def act(actor: list[Layer], observation: jax.Array) -> jax.Array:
        action_size = actor[-1]["bias"].shape[-1]
        network = ActorCritic(trunk=[], actor=actor, critic=[], log_std=jnp.zeros(action_size), settings=policy)
        return Controller(network, used, mirror).action(observation)

    return merged, jax.vmap(act)(actors, experience.observation)
