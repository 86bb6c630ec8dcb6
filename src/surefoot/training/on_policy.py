"""Collect a rollout, learn from it, and again: the loop of on-policy algorithms."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ppo
from surefoot.algorithms.rollout import Rollout, discounted_sums, rollout_layout
from surefoot.algorithms.symmetry import Symmetry
from surefoot.errors import NonFiniteError
from surefoot.policies.normaliser import symmetrise
from surefoot.policies.policy import Controller, Policy, to_bounds
from surefoot.pytrees import unflatten_tree, with_stored_count
from surefoot.recipes.checks import training_mirror
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.reward_shaping import wrapped_reward
from surefoot.training.snapshot import snapshot
from surefoot.training.warm_start.transfer import Transfer


class EpisodeStats(NamedTuple):
    """Returns and lengths of the episodes under way.

    Attributes:
        returns: (N,) float32, rewards so far.
        lengths: (N,) float32, steps so far.
    """

    returns: jax.Array
    lengths: jax.Array


class OnPolicyLearner:
    """PPO on an engine.

    Raises:
        InputError: a symmetry is asked for, and the task has none that is known.

    Attributes:
        info: the task.
        engine: the copies it learns from.
        steps_per_iteration: environment steps of one `iterate`.
    """

    def __init__(
        self, recipe: Recipe, info: TaskInfo, engines: Sequence[Engine], stop: Callable[[], bool] = lambda: False
    ) -> None:
        del stop  # an iteration is short
        (engine,) = engines
        self.info = info
        self.engine = engine
        self._recipe = recipe
        self._symmetry = Symmetry(recipe.settings.symmetry, training_mirror(recipe, info))
        self.steps_per_iteration = engine.num_envs * recipe.settings.horizon
        self._state = ppo.init(
            jax.random.PRNGKey(recipe.seed),
            info.observation_size,
            info.action_size,
            engine.num_envs,
            recipe.policy,
            recipe.settings,
            self._symmetry,
        )
        self._tally = EpisodeStats(jnp.zeros(engine.num_envs), jnp.zeros(engine.num_envs))
        self._step = jax.jit(
            functools.partial(_step, engine.interpret, engine.term_names, recipe, info, self._symmetry.averaged),
            donate_argnums=0,
        )
        self._frame = np.zeros(0, np.float32)
        self._answer: jax.Array = jnp.zeros((engine.num_envs, info.action_size + 1))

    def start(self, seed: int) -> None:
        """Begin all episodes."""
        self._frame = self.engine.begin(seed)
        stagger = getattr(self.engine, "stagger", None)
        if stagger:
            stagger(np.random.default_rng(seed))

    def take_over(self, transfer: Transfer) -> None:
        """Begin with what another run learnt; before `start`.

        Raises:
            RunError: it is damaged.
        """
        self._state = transfer.into(self._state)
        transfer.check_ties(self._state.network, self._symmetry)
        if self._symmetry.tied:
            self._state = self._state._replace(normaliser=symmetrise(self._state.normaliser, self._symmetry.tied))

    def iterate(self, progress: float) -> dict[str, float]:
        """Collect one rollout, learn from it, and return what to log.

        Args:
            progress: how much of the training will be done after it, in [0, 1].

        Raises:
            NonFiniteError: an observation, a reward or a loss is not finite; its `arrays` hold the rollout.
        """
        began = time.perf_counter()
        rows, paid, simulating = self._collect()
        self._tally, episodes = _summarise(self._tally, rows, self.info.observation_size, self.info.action_size)
        finite = bool(episodes["finite"])
        collected = time.perf_counter()
        if not finite:
            raise NonFiniteError("an observation or a reward is not finite", {"rows": np.asarray(rows)})
        self._state, metrics = ppo.update(
            self._state, rows, jnp.float32(progress), self._recipe.settings, self._symmetry
        )
        values = {name: float(value) for name, value in metrics.items()}
        if not np.isfinite([*values.values()]).all():
            raise NonFiniteError("the loss is not finite", {"rows": np.asarray(rows)})
        ended = time.perf_counter()
        count = float(episodes["count"])
        values |= {
            "train/return": float(episodes["return"]) / count if count else float("nan"),
            "train/length": float(episodes["length"]) / count if count else float("nan"),
            "train/episodes": count,
            "time/simulation": simulating,
            "time/policy": collected - began - simulating,
            "time/update": ended - collected,
        }
        values |= {f"curriculum/{name}": value for name, value in self.engine.curriculum_metrics().items()}
        earned = np.asarray(paid)
        return values | {
            f"reward/{name}": float(sum_ / earned[-1])
            for name, sum_ in zip(self.engine.term_names, earned, strict=False)
            if earned[-1]
        }

    def policy(self) -> Policy:
        """Return the policy as it is now."""
        return snapshot(self.info, Controller(self._state.average, self._state.normaliser, self._symmetry.averaged))

    @property
    def restores_episodes(self) -> bool:
        """Whether `restore` continues the very episodes that were under way."""
        return self.engine.get_state() is not None

    def state(self) -> dict[str, Any]:
        """Return everything that decides how training goes on, as a tree of arrays."""
        engine = self.engine.get_state()
        tree = {"algorithm": self._state, "tally": self._tally}
        if engine is not None:
            tree |= {"engine": engine, "frame": self._frame, "answer": self._answer}
        return tree

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        """Go on from what `state` returned, flattened under `prefix`.

        Episodes begin anew where the engine cannot restore its own.

        Raises:
            RunError: the arrays are of other settings.
        """
        template = self.state()
        template["algorithm"] = with_stored_count(template["algorithm"], arrays, f"{prefix}/algorithm")
        tree = unflatten_tree(template, arrays, prefix)
        self._state = jax.tree.map(jnp.array, tree["algorithm"])
        if "engine" in tree:
            self._tally = jax.tree.map(jnp.array, tree["tally"])
            self.engine.set_state(tree["engine"])
            self._frame = np.array(tree["frame"])
            self._answer = jnp.array(tree["answer"])

    def close(self) -> None:
        """Nothing is held but the engine, which is closed by who made it."""

    def _collect(self) -> tuple[jax.Array, jax.Array, float]:
        """Step the copies `horizon` times.

        Returns:
            (T+1, N, D + A + 3) rows; the sums of the reward's terms and, last, the number of steps they were earned in;
            and the seconds spent in the simulator.
        """
        state = self._state
        horizon, copies = self._recipe.settings.horizon, self.engine.num_envs
        size = (horizon + 1, copies, self.info.action_size)
        key, noise = _draw(state.key, size)
        self._state = state = state._replace(key=key)
        width = self.info.observation_size + self.info.action_size + 3
        paid = jnp.zeros(len(self.engine.term_names) + 1)
        carry = (jnp.zeros((*size[:2], width)), jnp.zeros((), jnp.int32), paid)
        step, advance, clock = self._step, self.engine.advance, time.perf_counter
        frame, answer = self._frame, self._answer
        simulating = 0.0
        carry, answer = step(carry, state.network, state.normaliser, noise, frame, answer)
        for _ in range(horizon):
            host = np.asarray(answer)
            before = clock()
            frame = advance(host[:, :-1], host[:, -1] > 0.5)
            simulating += clock() - before
            carry, answer = step(carry, state.network, state.normaliser, noise, frame, answer)
        self._frame, self._answer = frame, answer
        return carry[0], carry[2], simulating


@functools.partial(jax.jit, static_argnames="size")
def _draw(key: jax.Array, size: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    key, use = jax.random.split(key)
    return key, jax.random.normal(use, size)


def _step(interpret, term_names, recipe, info, mirror, carry, network, normaliser, noise, frame, previous):
    """One moment of all copies in one compiled call: read the frame, decide, note the row.

    Returns the carry (rows, index, paid), and (N, A + 1): actions in the task's units, and whether the episode ended.
    """
    rows, index, paid = carry
    signals = interpret(frame, previous[:, :-1])
    sample = Controller(network, normaliser, mirror).action(signals.observation, noise[index])
    started = previous[:, -1] > 0.5
    reward = wrapped_reward(recipe.wrappers, info, signals.reward, signals.terminated, started, previous[:, :-1])
    row = rollout_layout(info.observation_size, info.action_size).pack(
        Rollout(signals.observation, sample, reward, signals.terminated, signals.truncated)._asdict(), jnp
    )
    finished = (signals.terminated | signals.truncated).astype(jnp.float32)
    action = to_bounds(sample, info.action_low, info.action_high)
    answer = jnp.concatenate([action, finished[:, None]], axis=1)
    if term_names:
        real = ~started & (index > 0)  # the first moment of a rollout is the last of the one before
        paid += jnp.stack([jnp.sum(real * signals.terms[name]) for name in term_names] + [jnp.sum(real)])
    return (jax.lax.dynamic_update_index_in_dim(rows, row, index, 0), index + 1, paid), answer


@functools.partial(jax.jit, static_argnames=("observation_size", "action_size"))
def _summarise(
    tally: EpisodeStats, rows: jax.Array, observation_size: int, action_size: int
) -> tuple[EpisodeStats, dict[str, jax.Array]]:
    """Sum up the episodes that ended in a rollout, and tell whether all of it is finite."""
    rollout = Rollout(**rollout_layout(observation_size, action_size).unpack(rows))
    finished = rollout.finished
    returns = discounted_sums(rollout.reward, finished, tally.returns, 1.0)
    steps = jnp.concatenate([jnp.zeros((1, rows.shape[1])), (~finished[:-1]).astype(jnp.float32)])
    lengths = discounted_sums(steps, finished, tally.lengths, 1.0)
    ended = finished[1:]
    return EpisodeStats(returns[-1], lengths[-1]), {
        "count": ended.sum(),
        "return": jnp.sum(returns * ended),
        "length": jnp.sum(lengths * ended),
        "finite": jnp.isfinite(rows).all(),
    }
