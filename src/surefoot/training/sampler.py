"""Acting with a policy that is handed over, and noting what came of it: the half of off-policy learning that explores.

A sampler knows nothing of the learner, so that it can act beside it, in a thread or farther away.
"""

import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ddpg
from surefoot.algorithms.exploration import Exploration, action_distance, perturbed
from surefoot.algorithms.rollout import rollout_layout
from surefoot.errors import NonFiniteError
from surefoot.policies.networks import ActorCritic
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Controller, to_bounds
from surefoot.pytrees import random_from_words, random_words
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.reward_shaping import wrapped_reward


class CollectRequest(NamedTuple):
    """What a sampler is asked to do.

    Attributes:
        moments: T, how many steps each copy shall make.
        steps: environment steps made so far, of all samplers together.
        progress: how much of the training is done, in [0, 1].
        copies: copies of all samplers together.
        actor: the networks to act with.
        normaliser: the observations' statistics.
        states: (M, D) observations in which perturbed actors are compared, or None while there are none.
    """

    moments: int
    steps: int
    progress: float
    copies: int
    actor: ActorCritic
    normaliser: Normaliser
    states: np.ndarray | None


class Transitions(NamedTuple):
    """What came of it.

    Attributes:
        rows: (T, N, D + A + 3) float32, as in `rollout.pack_row`.
        episodes: the true return and the length of every episode that ended.
        simulating: seconds spent in the simulator.
    """

    rows: np.ndarray
    episodes: list[tuple[float, int]]
    simulating: float


class Sampler:
    """N copies of a task, and how they explore.

    Args:
        recipe: the recipe.
        info: the task.
        engine: the copies.
        number: which sampler this is; each has random numbers of its own.

    Attributes:
        engine: the copies.
        exploration: their noise.
    """

    def __init__(self, recipe: Recipe, info: TaskInfo, engine: Engine, number: int = 0) -> None:
        self.engine = engine
        self._number = number
        self._recipe = recipe
        self._info = info
        copies = engine.num_envs
        settings = recipe.settings.exploration
        self.exploration = Exploration(settings, copies, info.action_size, recipe.seed, number)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((recipe.seed, 9, number))))
        # What actions cost is charged when rewards are drawn from memory, for it changes.
        free = recipe.wrappers.model_copy(update={"action_cost": 0.0})
        free_recipe = recipe.model_copy(update={"wrappers": free})
        self._step = jax.jit(functools.partial(_step, engine.interpret, free_recipe, info))
        self._perturbed: ActorCritic | None = None
        self._frame = np.zeros(0, np.float32)
        self._owing = False  # whether the simulator has not yet been told the last answer
        self._simulating = 0.0
        self._answer = np.zeros((copies, info.action_size + 2), np.float32)
        self._finished = np.ones(copies, bool)
        self._returns = np.zeros(copies)
        self._lengths = np.zeros(copies, np.int64)

    def start(self, seed: int, actor: ActorCritic) -> None:
        """Begin all episodes; `actor` is where perturbed ones start from."""
        copies = self.engine.num_envs
        self._frame = self.engine.begin(seed + self._number * copies)
        self._owing = False
        self._finished[:] = True
        self._answer[:, -2] = 1
        self._returns[:] = 0
        self._lengths[:] = 0
        if self._recipe.settings.exploration.parameter_noise:
            self._perturbed = jax.tree.map(lambda x: jnp.stack([x] * copies), actor)

    def collect(self, order: CollectRequest) -> Transitions:
        """Do what is asked.

        The simulator is told the last actions only when the next order comes, so that it works while the learner does.

        Raises:
            NonFiniteError: an observation or a reward is not finite; its `arrays` hold the row and the frame.
            EngineError: a simulator failed.
        """
        rows = []
        self._simulating = 0.0
        episodes: list[tuple[float, int]] = []
        for moment in range(order.moments):
            steps = order.steps + moment * order.copies
            self._catch_up()
            self._begin_episodes(order)
            row, answer = self._step(
                order.actor,
                self._perturbed,
                order.normaliser,
                self.exploration.draw(order.progress),
                *self._chance(steps),
                self.exploration.by_weights,
                self._frame,
                self._answer,
            )
            row, self._answer = np.asarray(row), np.asarray(answer)
            if not np.isfinite(row).all():
                raise NonFiniteError("an observation or a reward is not finite", {"row": row, "frame": self._frame})
            rows.append(row)
            self._count(self._answer[:, -1], episodes)
            self._owing = True
        return Transitions(np.stack(rows), episodes, self._simulating)

    def state(self) -> dict[str, Any]:
        """Return everything that decides what it does next, as a tree of arrays."""
        self._catch_up()
        tree: dict[str, Any] = {"exploration": self.exploration.state(), "random": random_words(self._random)}
        if self._perturbed is not None:
            tree["perturbed"] = self._perturbed
        engine = self.engine.get_state()
        if engine is not None:
            tree |= {"engine": engine, "frame": self._frame, "answer": self._answer, "finished": self._finished}
            tree |= {"returns": self._returns, "lengths": self._lengths}
        return tree

    def restore(self, tree: dict[str, Any]) -> bool:
        """Go on from what `state` returned; tell whether the very episodes go on, too."""
        self.exploration.restore(tree["exploration"])
        self._random = random_from_words(tree["random"])
        self._perturbed = tree.get("perturbed")
        if "engine" not in tree:
            return False
        self.engine.set_state(tree["engine"])
        self._owing = False
        self._frame, self._answer, self._finished = (tree[name] for name in ("frame", "answer", "finished"))
        self._returns, self._lengths = tree["returns"], tree["lengths"]
        return True

    def _catch_up(self) -> None:
        """Have the simulator make the step that it owes."""
        if not self._owing:
            return
        before = time.perf_counter()
        self._frame = self.engine.advance(self._answer[:, :-2], self._finished)
        self._simulating += time.perf_counter() - before
        self._owing = False

    def _chance(self, steps: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Draw what SAC's actor adds by itself, and the actions of the warm-up; None where there is no such thing."""
        size = (self.engine.num_envs, self._info.action_size)
        own_noise = self._random.standard_normal(size, np.float32) if self._recipe.algorithm == "sac" else None
        # Where something was learnt before, that finds more to learn from than chance does.
        if steps >= self._recipe.settings.learning_starts or self._recipe.training.start_from:
            return own_noise, None
        return own_noise, self._random.uniform(-1, 1, size).astype(np.float32)

    def _count(self, reward: np.ndarray, episodes: list[tuple[float, int]]) -> None:
        """Sum up rewards, and note which episodes ended at the frame just read."""
        self._lengths += ~self._finished  # the frame that follows an end is no step
        self._returns += reward
        self._finished = self._answer[:, -2] > 0.5
        for copy in np.flatnonzero(self._finished):
            episodes.append((float(self._returns[copy]), int(self._lengths[copy])))
            self._returns[copy] = self._lengths[copy] = 0

    def _begin_episodes(self, order: CollectRequest) -> None:
        """Give episodes that begin their noise, and to those that explore by their weights, new weights."""
        if not self._finished.any():
            return
        exploration = self.exploration
        exploration.begin_episodes(self._finished)
        if self._perturbed is None:
            return
        target = exploration.target_distance(order.progress)
        for copy in np.flatnonzero(self._finished & exploration.by_weights):
            if order.states is not None:

                def measure(sigma: float) -> float:
                    return float(_distance(order.actor, order.normaliser, order.states, self._key(), sigma))

                if exploration.settings.parameter_rule == "bisection":
                    exploration.search(measure, target)
                else:
                    exploration.adapt(measure(exploration.parameter_sigma), target)
            self._perturbed = _redraw(self._perturbed, order.actor, int(copy), self._key(), exploration.parameter_sigma)

    def _key(self) -> jax.Array:
        return jax.random.PRNGKey(int(self._random.integers(2**31)))


def _step(
    interpret, recipe, info, actor, others, normaliser, noise, own_noise, random, by_weights, frame, previous
) -> tuple[jax.Array, jax.Array]:
    """One moment of all copies in one compiled call: read the frame, decide, make the row.

    Returns:
        The row (N, D + A + 3); and (N, A + 2) the actions in the task's units, whether the episode ended, and the true
        reward.
    """
    signals = interpret(frame, previous[:, :-2])
    if random is not None:
        action = random
    else:
        action = ddpg.act(Controller(actor, normaliser), signals.observation, noise, own_noise)
        if others is not None:
            own = jax.vmap(lambda network, x: ddpg.act(Controller(network, normaliser), x, None))(
                others, signals.observation
            )
            action = jnp.where(by_weights[:, None], own, action)
    started = previous[:, -2] > 0.5
    reward = wrapped_reward(recipe.wrappers, info, signals.reward, signals.terminated, started, previous[:, :-2])
    row = rollout_layout(info.observation_size, info.action_size).pack(
        {
            "observation": signals.observation,
            "action": action,
            "reward": reward,
            "terminated": signals.terminated,
            "truncated": signals.truncated,
        },
        jnp,
    )
    finished = (signals.terminated | signals.truncated).astype(jnp.float32)
    task_action = to_bounds(action, info.action_low, info.action_high)
    return row, jnp.concatenate([task_action, jnp.stack([finished, signals.reward], 1)], axis=1)


@jax.jit
def _distance(actor: ActorCritic, normaliser: Normaliser, states, key, sigma) -> jax.Array:
    """How far a fresh perturbation moves the actions in (M, D) states."""
    actions = (ddpg.act(Controller(one, normaliser), states, None) for one in (actor, _perturbed(actor, key, sigma)))
    return action_distance(*actions)


@functools.partial(jax.jit, donate_argnums=0)
def _redraw(others: ActorCritic, actor: ActorCritic, copy, key, sigma) -> ActorCritic:
    """Replace the perturbed actor of one copy by a fresh perturbation."""
    return jax.tree.map(lambda all_, one: all_.at[copy].set(one), others, _perturbed(actor, key, sigma))


def _perturbed(actor: ActorCritic, key, sigma) -> ActorCritic:
    return dataclasses.replace(actor, actor=perturbed(actor.actor, key, sigma))
