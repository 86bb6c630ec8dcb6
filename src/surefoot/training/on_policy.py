"""The learner of on-policy algorithms: collect a rollout, update the policy, repeat."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ppo
from surefoot.algorithms.rollout import Rollout, discounted_sums, rollout_layout
from surefoot.algorithms.symmetry import Symmetry
from surefoot.packing import Layout
from surefoot.policies.networks import ActorCritic
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Controller
from surefoot.simulation.policy_step import Experience, PolicyStep
from surefoot.training.learner import Learner, diverged, not_finite


class EpisodeStats(NamedTuple):
    """Episodes in progress."""

    returns: jax.Array  # (N,) float32, sums of shaped rewards so far
    lengths: jax.Array  # (N,) float32, steps so far


class Collection(NamedTuple):
    """A rollout being collected."""

    rollout: jax.Array  # (T+1, N, K), packed by `rollout_layout`
    index: jax.Array  # () int32, steps collected
    term_sums: jax.Array  # (len(term_names),), sums of the reward's terms
    transitions: jax.Array  # (), number of transitions in these sums


class OnPolicyLearner(Learner):
    """PPO with its environments."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        info, engine = self.info, self.engine
        num_envs, settings = engine.num_envs, self._settings
        self._layout = rollout_layout(info.observation_size, info.action_size)
        self._horizon = settings.steps_per_rollout(num_envs)
        self.steps_per_iteration = num_envs * self._horizon
        key, sizes = jax.random.PRNGKey(self._recipe.seed), (info.observation_size, info.action_size)
        self._state = ppo.init(key, *sizes, num_envs, self._recipe.policy, settings, self._symmetry)
        self._episodes = EpisodeStats(jnp.zeros(num_envs), jnp.zeros(num_envs))
        decide = functools.partial(_decide, self._layout, engine.term_names, self._symmetry)
        self._step = PolicyStep(engine, info, decide, self._recipe.wrappers)
        self._sim_output = np.zeros(0, np.float32)
        self._command = self._step.first_command()

    def start(self, seed: int) -> None:
        self._sim_output = self.engine.begin(seed)
        stagger = getattr(self.engine, "stagger", None)
        if stagger:
            stagger(np.random.default_rng(seed))

    def iterate(self, progress: float) -> dict[str, float]:
        started = time.perf_counter()
        collection, simulation_s = self._collect()
        rollout = collection.rollout
        self._episodes, episodes, finite = _finished_episodes(self._layout, self._episodes, rollout)
        if not bool(finite):
            arrays = {"rollout": np.asarray(rollout)}
            raise not_finite(self._layout, self.info, arrays["rollout"], **arrays)
        collected = time.perf_counter()
        self._state, metrics = ppo.update(self._state, rollout, jnp.float32(progress), self._settings, self._symmetry)
        values = {name: float(value) for name, value in metrics.items()}
        if not np.isfinite([*values.values()]).all():
            arrays = {"rollout": np.asarray(rollout)}
            raise diverged(self._layout, self.info, arrays["rollout"], **arrays)
        values |= {name: float(value) for name, value in episodes.items()}
        values |= {
            "time/simulation": simulation_s,
            "time/policy": collected - started - simulation_s,
            "time/update": time.perf_counter() - collected,
        }
        values |= {f"curriculum/{name}": value for name, value in self.engine.curriculum_metrics().items()}
        if self.engine.cut_episodes:
            values["engine/cut_episodes"] = self.engine.cut_episodes
        if collection.transitions:
            means = np.asarray(collection.term_sums / collection.transitions).tolist()
            values |= {f"reward/{name}": mean for name, mean in zip(self.engine.term_names, means, strict=True)}
        return values

    def state(self) -> dict[str, Any]:
        engine = self.engine.get_state()
        tree = {"algorithm": self._state, "episodes": self._episodes}
        if engine is not None:
            tree |= {"engine": engine, "sim_output": self._sim_output, "command": self._command}
        return tree

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        tree = self._unflatten(self.state(), arrays, prefix)
        self._state = tree["algorithm"]
        if "engine" in tree:
            self._episodes = tree["episodes"]
            self.engine.set_state(tree["engine"])
            self._sim_output, self._command = tree["sim_output"], tree["command"]

    def _collect(self) -> tuple[Collection, float]:
        """Step all environments `horizon` times; return the rollout and the seconds spent in the simulator."""
        horizon, num_envs = self._horizon, self.engine.num_envs
        key, noise = _draw_noise(self._state.key, (horizon + 1, num_envs, self.info.action_size))
        self._state = self._state._replace(key=key)
        carry = Collection(
            rollout=jnp.zeros((horizon + 1, num_envs, self._layout.size)),
            index=jnp.zeros((), jnp.int32),
            term_sums=jnp.zeros(len(self.engine.term_names)),
            transitions=jnp.zeros(()),
        )
        arguments = self._state.network, self._state.normaliser, noise
        step, clock = self._step, time.perf_counter
        sim_output, command, simulation_s = self._sim_output, self._command, 0.0
        carry, command = step(carry, sim_output, command, *arguments)
        for _ in range(horizon):
            fields = step.unpack(command)
            before = clock()
            sim_output = self.engine.advance(fields.action, fields.finished)
            simulation_s += clock() - before
            carry, command = step(carry, sim_output, command, *arguments)
        self._sim_output, self._command = sim_output, command
        return carry, simulation_s


@functools.partial(jax.jit, static_argnames="size")
def _draw_noise(key: jax.Array, size: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    key, noise_key = jax.random.split(key)
    return key, jax.random.normal(noise_key, size)


def _decide(
    layout: Layout,
    term_names: Sequence[str],
    symmetry: Symmetry,
    carry: Collection,
    experience: Experience,
    network: ActorCritic,
    normaliser: Normaliser,
    noise: jax.Array,
) -> tuple[Collection, jax.Array]:
    """Sample actions (N, A) and add the step to the rollout; see `PolicyStep`.

    `noise` is (T+1, N, A), standard normal.
    """
    index = carry.index
    action = Controller(network, normaliser, symmetry.averaged).action(experience.observation, noise[index])
    row = Rollout(experience.observation, action, experience.shaped_reward, experience.terminated, experience.truncated)
    rollout = jax.lax.dynamic_update_index_in_dim(carry.rollout, layout.pack(row._asdict(), jnp), index, 0)
    carry = carry._replace(rollout=rollout, index=index + 1)
    if term_names:
        assert experience.terms is not None
        # Step 0 of a rollout is the last step of the previous rollout.
        counted = ~experience.started & (index > 0)
        sums = jnp.stack([jnp.sum(counted * experience.terms[name]) for name in term_names])
        carry = carry._replace(term_sums=carry.term_sums + sums, transitions=carry.transitions + jnp.sum(counted))
    return carry, action


@functools.partial(jax.jit, static_argnames="layout")
def _finished_episodes(
    layout: Layout, stats: EpisodeStats, packed: jax.Array
) -> tuple[EpisodeStats, dict[str, jax.Array], jax.Array]:
    """Collect statistics of the episodes in a rollout.

    Returns:
        Statistics of the episodes still in progress; means over the episodes that ended, NaN without any; whether all
        numbers of the rollout are finite, () bool.
    """
    rollout = Rollout(**layout.unpack(packed))
    finished = rollout.finished
    returns = discounted_sums(rollout.reward, finished, stats.returns, 1.0)
    steps = jnp.concatenate([jnp.zeros((1, packed.shape[1])), rollout.mask])
    lengths = discounted_sums(steps, finished, stats.lengths, 1.0)
    count = finished[1:].sum()
    metrics = {
        "train/return": jnp.sum(returns * finished[1:]) / count,
        "train/length": jnp.sum(lengths * finished[1:]) / count,
        "train/episodes": count,
    }
    return EpisodeStats(returns[-1], lengths[-1]), metrics, jnp.isfinite(packed).all()
