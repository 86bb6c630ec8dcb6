"""Random search on a cluster: samplers in Ray actors run the candidates of an iteration.

Each call runs one candidate in each of a sampler's environments, from seeds that depend on the iteration and the
candidates only. So the results depend neither on the samplers' speed nor on deaths: a call that was lost is repeated.
Another number of samplers changes the rounding of the normaliser's statistics only.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.ars import ARSState
from surefoot.policies.networks import Layer
from surefoot.policies.normaliser import Normaliser, combine, init_normaliser
from surefoot.recipes.make import make_sampler_engine
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.cluster import Actors
from surefoot.training.random_search import CandidateResults, RandomSearchLearner

_POLL_S = 0.5  # at which a request to stop is noticed
_SEEDS = 990_000_000  # those of evaluations are larger


class CandidateSampler:
    """Runs candidates; the object in an actor."""

    def __init__(self, recipe: Recipe) -> None:
        info = recipe.evaluation_task()
        self._learner = RandomSearchLearner(recipe, info, [make_sampler_engine(recipe)])
        self._size = info.observation_size

    def run(self, shared: tuple[Any, ...], candidates: np.ndarray, seed: int) -> CandidateResults | None:
        """Run candidates in environments with the seeds `seed`, `seed` + 1, ...

        `shared` holds the other arguments of `RandomSearchLearner.run_candidates`. The normaliser of the results holds
        the statistics of these episodes alone.
        """
        self._learner.start(seed)
        return self._learner.run_candidates(candidates, *shared, normaliser=init_normaliser(self._size))


class ClusterRandomSearchLearner(RandomSearchLearner):
    """Augmented random search whose candidates run on a cluster."""

    def _make_samplers(self) -> None:
        recipe = self._recipe
        self._deaths = 0
        samplers = recipe.training.samplers
        self._num_envs = recipe.engine.num_envs // samplers
        self._actors = Actors(recipe.engine.address, samplers, functools.partial(CandidateSampler, recipe))

    def start(self, seed: int) -> None:
        del seed  # seeds follow from the state's key

    def close(self) -> None:
        self._actors.close()

    def iterate(self, progress: float) -> dict[str, float] | None:
        metrics = super().iterate(progress)
        return metrics and metrics | {"cluster/deaths": float(self._deaths)}

    def _engine_state(self) -> None:
        return None

    def run_candidates(
        self,
        candidates: np.ndarray,
        state: ARSState,
        directions: list[Layer],
        noise: jax.Array,
        max_steps: int,
        normaliser: Normaliser | None = None,
    ) -> CandidateResults | None:
        actors = self._actors
        shared = actors.share((*jax.device_get((state, directions, noise)), max_steps))
        # Each candidate has its own seed, for any number of environments.
        words = np.asarray(state.key).tolist()
        seed = int(np.random.SeedSequence(words).generate_state(1)[0]) % _SEEDS
        parts = np.split(candidates, range(self._num_envs, len(candidates), self._num_envs))
        waiting = list(range(len(parts)))
        running: dict[int, int] = {}
        results: dict[int, CandidateResults] = {}
        while len(results) < len(parts):
            for sampler in actors.idle[: len(waiting)]:
                part = running[sampler] = waiting.pop(0)
                actors.call(sampler, "run", shared, parts[part], seed + int(parts[part][0]))
            for sampler, value, died in actors.results(_POLL_S):
                part = running.pop(sampler)
                if died:
                    self._deaths += 1
                    waiting.insert(0, part)
                else:
                    results[part] = value
            if self._stop():
                return None
        return _joined([results[part] for part in range(len(parts))], normaliser or state.normaliser)


def _joined(parts: list[CandidateResults], normaliser: Normaliser) -> CandidateResults:
    """Join the results of consecutive candidates, and add their statistics to a normaliser."""
    for part in parts:
        normaliser = combine(normaliser, jax.tree.map(jnp.asarray, part.normaliser))
    return CandidateResults(
        np.concatenate([part.returns for part in parts]),
        np.concatenate([part.shaped_returns for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        normaliser,
        sum(part.simulation_s for part in parts),
    )
