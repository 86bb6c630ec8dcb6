"""The actor side of off-policy training, which can run in its own thread: collect transitions with a given policy."""

import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.exploration import Exploration, action_distance, perturbed
from surefoot.algorithms.off_policy import act
from surefoot.algorithms.rollout import Rollout, rollout_layout
from surefoot.policies.networks import ActorCritic
from surefoot.policies.policy import Controller
from surefoot.pytrees import random_from_words, random_words
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.simulation.policy_step import Experience, PolicyStep
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.learner import not_finite

# Attributes of a sampler that describe its episodes in progress.
_EPISODE_FIELDS = ("sim_output", "command", "finished", "returns", "lengths")


class Transitions(NamedTuple):
    """T steps of N environments."""

    rows: np.ndarray  # (T, N, K) float32, packed by `rollout_layout`
    episodes: list[tuple[float, int]]  # return and length of every episode that ended, of unshaped rewards
    simulation_s: float  # seconds spent in the simulator


class Noise(NamedTuple):
    """Random numbers of one step."""

    exploration: Any  # (N, A), added to actions
    policy: Any  # (N, A) standard normal, for a stochastic actor; None for others
    random_action: Any  # (N, A) actions to take instead of the actor's, before learning starts; None after that
    perturbed: Any  # (N,) bool, environments that act with their perturbed actor


class Sampler:
    """N environments and their exploration.

    Args:
        index: index of this sampler; each has its own random numbers.

    Attributes:
        engine: the environments.
        exploration: their exploration noise.
    """

    def __init__(self, recipe: Recipe, info: TaskInfo, engine: Engine, index: int = 0) -> None:
        self.engine = engine
        self._index = index
        self._recipe = recipe
        self._info = info
        num_envs = engine.num_envs
        self.exploration = Exploration(recipe.settings.exploration, num_envs, info.action_size, recipe.seed, index)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((recipe.seed, 9, index))))
        # Action costs change during training; they are charged when transitions are sampled from the replay.
        free = recipe.wrappers.model_copy(update={"action_cost": 0.0})
        self._step = PolicyStep(engine, info, _decide, free)
        self._perturbed: ActorCritic | None = None
        self._sim_output = np.zeros(0, np.float32)
        self._command = np.asarray(self._step.first_command())
        self._pending = False  # whether the simulator has not yet run the last command
        self._simulation_s = 0.0
        self._finished = np.ones(num_envs, bool)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)

    def start(self, seed: int, actor: ActorCritic) -> None:
        """Start all episodes, once; perturbed actors start as copies of `actor`."""
        num_envs = self.engine.num_envs
        self._sim_output = self.engine.begin(seed + self._index * num_envs)
        if self._recipe.settings.exploration.parameter_noise:
            self._perturbed = jax.tree.map(lambda x: jnp.stack([x] * num_envs), actor)

    def collect(
        self, steps: np.ndarray, progress: float, controller: Controller, observations: np.ndarray | None
    ) -> Transitions:
        """Step each environment T times.

        The simulator runs the last command only when the next call comes, so that the new policy chooses the action
        after it.

        Args:
            steps: (T,) environment steps of all samplers before each.
            progress: fraction of the training that is done.
            controller: the policy to act with.
            observations: (M, D) observations in which perturbed actors are compared; None before there are any.

        Raises:
            NonFiniteError: an observation or a reward is not finite; its `arrays` hold row and simulator output.
            EngineError: a simulator failed.
        """
        rows = []
        self._simulation_s = 0.0
        episodes: list[tuple[float, int]] = []
        for step in steps:
            self._run_pending_step()
            self._start_episodes(progress, controller, observations)
            noise = self._sample_noise(step, progress)
            row, command = self._step(None, self._sim_output, self._command, controller, self._perturbed, noise)
            row, self._command = np.asarray(row), np.asarray(command)
            if not np.isfinite(row).all():
                layout = rollout_layout(self._info.observation_size, self._info.action_size)
                first, arrays = self._index * self.engine.num_envs, {"row": row, "sim_output": self._sim_output}
                raise not_finite(layout, self._info, row[None], first, step - steps[0], **arrays)
            rows.append(row)
            self._count_episodes(episodes)
            self._pending = True
        return Transitions(np.stack(rows), episodes, self._simulation_s)

    def state(self) -> dict[str, Any]:
        """Return everything that determines how the sampler continues, as a tree of arrays."""
        self._run_pending_step()
        tree: dict[str, Any] = {"exploration": self.exploration.state(), "random": random_words(self._random)}
        if self._perturbed is not None:
            tree["perturbed"] = self._perturbed
        if (engine := self.engine.get_state()) is not None:
            tree["engine"] = engine
            tree |= {name: getattr(self, f"_{name}") for name in _EPISODE_FIELDS}
        return tree

    def restore(self, tree: dict[str, Any]) -> bool:
        """Continue from `state`; return whether the episodes in progress continue too."""
        self.exploration.restore(tree["exploration"])
        self._random = random_from_words(tree["random"])
        self._perturbed = tree.get("perturbed")
        if "engine" not in tree:
            return False
        self.engine.set_state(tree["engine"])
        self._pending = False
        for name in _EPISODE_FIELDS:
            setattr(self, f"_{name}", tree[name])
        return True

    def _run_pending_step(self) -> None:
        if self._pending:
            before = time.perf_counter()
            self._sim_output = self.engine.advance(self._step.unpack(self._command).action, self._finished)
            self._simulation_s += time.perf_counter() - before
            self._pending = False

    def _sample_noise(self, steps: int, progress: float) -> Noise:
        """Sample the random numbers of one step, after `steps` environment steps."""
        size = (self.engine.num_envs, self._info.action_size)
        recipe, random = self._recipe, self._random
        exploration = self.exploration.sample(progress)
        policy = random.standard_normal(size, np.float32) if recipe.policy.squash == "tanh_gaussian" else None
        random_action = None
        # After a warm start, the inherited policy collects better transitions than random actions do.
        if steps < recipe.settings.learning_starts and not recipe.training.start_from:
            random_action = random.uniform(-1, 1, size).astype(np.float32)
        return Noise(exploration, policy, random_action, self.exploration.uses_parameter_noise)

    def _count_episodes(self, episodes: list[tuple[float, int]]) -> None:
        """Update returns and lengths by the last command, and record the episodes that ended."""
        command = self._step.unpack(self._command)
        self._lengths += ~self._finished  # the output after the end of an episode is a reset, not a step
        self._returns += command.reward
        self._finished = command.finished
        for env in np.flatnonzero(self._finished):
            episodes.append((float(self._returns[env]), int(self._lengths[env])))
            self._returns[env] = self._lengths[env] = 0

    def _start_episodes(self, progress: float, controller: Controller, observations: np.ndarray | None) -> None:
        """At episode starts, sample the kind of noise, and new perturbed actors."""
        if not self._finished.any():
            return
        exploration = self.exploration
        exploration.start_episodes(self._finished)
        if self._perturbed is None:
            return
        for env in np.flatnonzero(self._finished & exploration.uses_parameter_noise):
            if observations is not None:
                sigma = exploration.parameter_sigma
                distance = _distance(controller, observations, self._sample_key(), sigma)
                exploration.adapt(float(distance), progress)
            network, key, sigma = controller.network, self._sample_key(), exploration.parameter_sigma
            self._perturbed = _replace_actor(self._perturbed, network, int(env), key, sigma)

    def _sample_key(self) -> jax.Array:
        return jax.random.PRNGKey(int(self._random.integers(2**31)))


def _decide(
    carry: None, experience: Experience, controller: Controller, perturbed_actors: ActorCritic | None, noise: Noise
) -> tuple[jax.Array, jax.Array]:
    """Return the step's rows (N, K), packed by `rollout_layout`, and the actions (N, A)."""
    del carry
    observation = experience.observation
    if noise.random_action is not None:
        action = noise.random_action
    else:
        action = act(controller, observation, noise.exploration, noise.policy)
        if perturbed_actors is not None:
            perturbed_action = jax.vmap(lambda network, x: act(controller._replace(network=network), x, None))(
                perturbed_actors, observation
            )
            action = jnp.where(noise.perturbed[:, None], perturbed_action, action)
    rollout = Rollout(observation, action, experience.shaped_reward, experience.terminated, experience.truncated)
    return rollout_layout(observation.shape[-1], action.shape[-1]).pack(rollout._asdict(), jnp), action


@jax.jit
def _distance(controller: Controller, observations: jax.Array, key: jax.Array, sigma: jax.Array) -> jax.Array:
    """Distance, in M observations (M, D), of a policy from a perturbed one."""
    other = controller._replace(network=_perturb(controller.network, key, sigma))
    return action_distance(act(controller, observations, None), act(other, observations, None))


@functools.partial(jax.jit, donate_argnums=0)
def _replace_actor(
    actors: ActorCritic, actor: ActorCritic, env: jax.Array, key: jax.Array, sigma: jax.Array
) -> ActorCritic:
    """Replace the perturbed actor of one environment by a new one."""
    return jax.tree.map(lambda x, new: x.at[env].set(new), actors, _perturb(actor, key, sigma))


def _perturb(actor: ActorCritic, key: jax.Array, sigma: jax.Array) -> ActorCritic:
    return dataclasses.replace(actor, actor=perturbed(actor.actor, key, sigma))
