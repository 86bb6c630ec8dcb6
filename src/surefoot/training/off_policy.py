"""Act, remember, learn from memory, and again: the loop of off-policy algorithms."""

import functools
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ddpg
from surefoot.algorithms.exploration import Exploration, action_distance, perturbed
from surefoot.algorithms.replay import Replay
from surefoot.algorithms.rollout import pack_row
from surefoot.errors import NonFiniteError
from surefoot.policies.networks import Parameters
from surefoot.policies.normaliser import Normaliser, merge
from surefoot.policies.policy import Policy, to_bounds
from surefoot.recipes.settings import Recipe
from surefoot.runs.trees import random_from_words, random_words, unflatten_tree
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.symmetry import find_mirror
from surefoot.tasks.wrappers import wrapped_reward

# An iteration is what is logged as one line; it holds many rounds of acting and learning.
_STEPS_PER_ITERATION = 1000
_DISTANCE_STATES = 256


class OffPolicyLearner:
    """DDPG, TD3 or SAC on an engine.

    Attributes:
        info: the task.
        engine: the copies it learns from.
        steps_per_iteration: environment steps of one `iterate`.
    """

    def __init__(self, recipe: Recipe, info: TaskInfo, engine: Engine) -> None:
        self.info = info
        self.engine = engine
        self._recipe = recipe
        self._settings = settings = recipe.off_policy
        copies = engine.num_envs
        per_round = copies * settings.train_every
        self._rounds = max(1, _STEPS_PER_ITERATION // per_round)
        self._updates_per_round = round(per_round * settings.updates_per_step)
        self.steps_per_iteration = self._rounds * per_round
        self._state = ddpg.init(
            jax.random.PRNGKey(recipe.seed), info.observation_size, info.action_size, recipe.policy, settings
        )
        self._replay = Replay(settings.replay_size, copies, info.observation_size, info.action_size)
        self._exploration = Exploration(settings.exploration, copies, info.action_size, recipe.seed)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((recipe.seed, 8))))
        self._mirror = find_mirror(info) if settings.mirror else None
        self._perturbed = None
        if settings.exploration.parameter_noise:
            self._perturbed = jax.tree.map(lambda x: jnp.stack([x] * copies), self._state.actor)
        self._step = jax.jit(functools.partial(_step, engine.interpret, recipe, info))
        self._frame = np.zeros(0, np.float32)
        self._answer = np.zeros((copies, info.action_size + 2), np.float32)
        self._finished = np.ones(copies, bool)
        self._steps = 0
        self._returns = np.zeros(copies)
        self._lengths = np.zeros(copies)

    def start(self, seed: int) -> None:
        """Begin all episodes."""
        self._frame = self.engine.begin(seed)
        self._finished[:] = True
        self._answer[:, -2] = 1
        self._returns[:] = 0
        self._lengths[:] = 0

    def iterate(self, progress: float) -> dict[str, float]:
        """Act and learn for `steps_per_iteration` environment steps, and return what to log.

        Args:
            progress: how much of the training will be done after it, in [0, 1].

        Raises:
            NonFiniteError: an observation, a reward or a loss is not finite; its `arrays` hold it.
        """
        clock = time.perf_counter
        sums = jnp.zeros(len(ddpg.METRICS))
        rounds, learning, simulating = 0, 0.0, 0.0
        began = clock()
        ended: list[tuple[float, float]] = []
        for _ in range(self._rounds):
            for _ in range(self._settings.train_every):
                simulating += self._act(progress, ended)
            if self._steps > self._settings.warmup_steps and self._replay.can_sample:
                before = clock()
                sums = sums + self._learn(progress)
                learning += clock() - before
                rounds += 1
        before = clock()
        metrics = np.asarray(sums) / max(rounds, 1)
        learning += clock() - before
        if not np.isfinite(metrics).all():
            raise NonFiniteError("the loss is not finite", jax.tree.map(np.asarray, {"log": metrics}))
        values = dict(zip(ddpg.METRICS, metrics.tolist(), strict=True)) if rounds else {}
        returns, lengths = zip(*ended, strict=True) if ended else ((), ())
        values |= {
            "train/return": float(np.mean(returns)) if ended else float("nan"),
            "train/length": float(np.mean(lengths)) if ended else float("nan"),
            "train/episodes": float(len(ended)),
            "updates": float(rounds * self._updates_per_round),
            "replay/size": float(self._replay.count * self.engine.num_envs),
            "time/simulation": simulating,
            "time/update": learning,
            "time/policy": clock() - began - simulating - learning,
        }
        if self._perturbed is not None:
            values["exploration/parameter_sigma"] = self._exploration.parameter_sigma
            values["exploration/distance"] = self._exploration.distance
        return values

    def policy(self) -> Policy:
        """Return the policy as it is now."""
        return Policy(
            self.info.name,
            self.info.observation_size,
            self.info.action_low,
            self.info.action_high,
            self._recipe.policy,
            jax.tree.map(np.array, self._state.actor),
            jax.tree.map(np.array, self._state.normaliser),
            self.info.options,
        )

    @property
    def restores_episodes(self) -> bool:
        """Whether `restore` continues the very episodes that were under way."""
        return self.engine.get_state() is not None

    def state(self) -> dict[str, Any]:
        """Return everything that decides how training goes on, as a tree of arrays."""
        engine = self.engine.get_state()
        tree = {
            "ddpg": self._state,
            "replay": self._replay.state(),
            "exploration": self._exploration.state(),
            "random": random_words(self._random),
            "steps": np.int64(self._steps),
        }
        if self._perturbed is not None:
            tree["perturbed"] = self._perturbed
        if engine is not None:
            tree |= {"engine": engine, "frame": self._frame, "answer": self._answer, "finished": self._finished}
            tree |= {"returns": self._returns, "lengths": self._lengths}
        return tree

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        """Go on from what `state` returned, flattened under `prefix`.

        Episodes begin anew where the engine cannot restore its own.

        Raises:
            RunError: the arrays are of other settings.
        """
        rows = f"{prefix}/replay/rows"
        template = self.state()
        if rows in arrays:  # as many rows as there were; everything else has one shape only
            template["replay"] = {"rows": arrays[rows]}
        tree = unflatten_tree(template, arrays, prefix)
        self._state = tree["ddpg"]
        self._replay.restore(tree["replay"])
        self._exploration.restore(tree["exploration"])
        self._random = random_from_words(tree["random"])
        self._steps = int(tree["steps"])
        self._perturbed = tree.get("perturbed")
        if "engine" in tree:
            self.engine.set_state(tree["engine"])
            self._frame, self._answer, self._finished = (tree[name] for name in ("frame", "answer", "finished"))
            self._returns, self._lengths = tree["returns"], tree["lengths"]
        else:
            self._replay.cut()

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def _act(self, progress: float, ended: list[tuple[float, float]]) -> float:
        """Make one step in every copy; add what episodes came to, and return the seconds spent in the simulator."""
        size = (self.engine.num_envs, self.info.action_size)
        self._begin_episodes()
        random = None
        if self._steps < self._settings.warmup_steps:
            random = self._random.uniform(-1, 1, size).astype(np.float32)
        own_noise = None
        if self._recipe.algorithm == "sac":
            own_noise = self._random.standard_normal(size, np.float32)
        row, answer, normaliser = self._step(
            self._state.actor,
            self._perturbed,
            self._state.normaliser,
            self._exploration.draw(self._steps),
            own_noise,
            self._exploration.by_weights,
            random,
            progress,
            self._frame,
            self._answer,
        )
        self._state = self._state._replace(normaliser=normaliser)
        row, self._answer = np.asarray(row), np.asarray(answer)
        if not np.isfinite(row).all():
            raise NonFiniteError("an observation or a reward is not finite", {"row": row, "frame": self._frame})
        self._replay.add(row)
        self._count(self._answer[:, -1], ended)
        before = time.perf_counter()
        self._frame = self.engine.advance(self._answer[:, :-2], self._finished)
        simulating = time.perf_counter() - before
        self._steps += self.engine.num_envs
        return simulating

    def _count(self, reward: np.ndarray, ended: list[tuple[float, float]]) -> None:
        """Sum up rewards, and note which episodes ended at the frame just read."""
        self._lengths += ~self._finished  # the frame that follows an end is no step
        self._returns += reward
        self._finished = self._answer[:, -2] > 0.5
        for copy in np.flatnonzero(self._finished):
            ended.append((self._returns[copy], self._lengths[copy]))
            self._returns[copy] = self._lengths[copy] = 0

    def _learn(self, progress: float) -> jax.Array:
        """Make one round of updates and return the metrics."""
        settings = self._settings
        transitions = self._replay.sample(
            self._random, self._updates_per_round, settings.batch_size, settings.n_step, settings.discount
        )
        self._state, metrics = ddpg.update(
            self._state, transitions, jnp.float32(progress), self._mirror, self._recipe.policy, settings
        )
        return metrics

    def _begin_episodes(self) -> None:
        """Give episodes that begin their noise, and to those that explore by their weights, new weights."""
        if not self._finished.any():
            return
        exploration = self._exploration
        exploration.begin_episodes(self._finished)
        if self._perturbed is None:
            return
        actor, normaliser = self._state.actor, self._state.normaliser
        target = exploration.target_distance(self._steps)
        for copy in np.flatnonzero(self._finished & exploration.by_weights):
            if self._replay.count:
                states = self._replay.observations(self._random, _DISTANCE_STATES)

                def measure(sigma: float, states=states) -> float:
                    key = jax.random.PRNGKey(int(self._random.integers(2**31)))
                    return float(_distance(self._recipe.policy, actor, normaliser, states, key, sigma))

                if self._settings.exploration.parameter_rule == "bisection":
                    exploration.search(measure, target)
                else:
                    exploration.adapt(measure(exploration.parameter_sigma), target)
            key = jax.random.PRNGKey(int(self._random.integers(2**31)))
            self._perturbed = _redraw(self._perturbed, actor, int(copy), key, exploration.parameter_sigma)


def _step(
    interpret, recipe, info, actor, others, normaliser, noise, own_noise, by_weights, random, progress, frame, previous
) -> tuple[jax.Array, jax.Array, Normaliser]:
    """One moment of all copies in one compiled call: read the frame, decide, make the row.

    Returns:
        The row (N, D + A + 3); (N, A + 2) the actions in the task's units, whether the episode ended, and the true
        reward; and the statistics with these observations added.
    """
    signals = interpret(frame, previous[:, :-2])
    if recipe.policy.normalise_observations:
        normaliser = merge(normaliser, signals.observation)
    if random is not None:
        action = random
    else:
        action = ddpg.act(recipe.policy, actor, normaliser, signals.observation, noise, own_noise)
        if others is not None:
            one = functools.partial(ddpg.act, recipe.policy, noise=None)
            own = jax.vmap(lambda weights, x: one(weights, normaliser, x))(others, signals.observation)
            action = jnp.where(by_weights[:, None], own, action)
    started = previous[:, -2] > 0.5
    reward = wrapped_reward(recipe.wrappers, info, signals.reward, signals.terminated, started, progress)
    row = pack_row(signals.observation, action, reward, signals.terminated, signals.truncated)
    finished = (signals.terminated | signals.truncated).astype(jnp.float32)
    task_action = to_bounds(action, info.action_low, info.action_high)
    return row, jnp.concatenate([task_action, jnp.stack([finished, signals.reward], 1)], axis=1), normaliser


@functools.partial(jax.jit, static_argnums=0)
def _distance(policy, actor: Parameters, normaliser: Normaliser, states, key, sigma) -> jax.Array:
    """How far a fresh perturbation moves the actions in (M, D) states."""
    actions = (ddpg.act(policy, one, normaliser, states, None) for one in (actor, _perturbed(actor, key, sigma)))
    return action_distance(*actions)


@functools.partial(jax.jit, donate_argnums=0)
def _redraw(others: Parameters, actor: Parameters, copy, key, sigma) -> Parameters:
    """Replace the perturbed actor of one copy by a fresh perturbation."""
    return jax.tree.map(lambda all_, one: all_.at[copy].set(one), others, _perturbed(actor, key, sigma))


def _perturbed(actor: Parameters, key, sigma) -> Parameters:
    return Parameters(
        trunk=actor["trunk"],
        actor=perturbed(actor["actor"], key, sigma),
        critic=actor["critic"],
        log_std=actor["log_std"],
    )
