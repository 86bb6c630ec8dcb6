"""Run episodes of many changed policies at once, learn which changes pay, and again: the loop of random search."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms import ars
from surefoot.algorithms.ars_settings import ARSSettings
from surefoot.errors import NonFiniteError
from surefoot.evaluation.episodes import MAX_STEPS
from surefoot.policies.networks import ActorCritic, Layer, PolicySettings
from surefoot.policies.normaliser import Normaliser, merge
from surefoot.policies.policy import Controller, Policy, to_bounds
from surefoot.policies.symmetry import Mirror
from surefoot.pytrees import unflatten_tree, with_stored_count
from surefoot.recipes.checks import training_mirror
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.reward_shaping import wrapped_reward
from surefoot.training.artifacts import snapshot
from surefoot.training.warm_start.transfer import Transfer


class RandomSearchLearner:
    """Augmented random search on an engine.

    Every copy runs an episode of one candidate, and takes up the next when it ends; copies that find none left rest,
    which costs nothing.

    Args:
        recipe: the recipe.
        info: the task.
        engines: a single one.
        stop: asked again and again; True breaks an iteration off, and the search stays where it was before.

    Attributes:
        info: the task.
        steps_per_iteration: environment steps of the last `iterate`; 0 before the first.
    """

    def __init__(
        self, recipe: Recipe, info: TaskInfo, engines: Sequence[Engine], stop: Callable[[], bool] = lambda: False
    ) -> None:
        (engine,) = engines
        self.info = info
        self.engine = engine
        self._recipe = recipe
        self._settings: ARSSettings = recipe.settings
        self._stop = stop
        self.steps_per_iteration = 0
        key = jax.random.PRNGKey(recipe.seed)
        self._state = ars.init(key, info.observation_size, info.action_size, recipe.policy)
        self._mirror = training_mirror(recipe, info)
        self._step = jax.jit(functools.partial(_step, engine.interpret, recipe, info, self._mirror))
        self._fresh: np.ndarray | None = None  # the first frame of episodes that have just begun
        self._kept: dict[str, Any] = {}

    def start(self, seed: int) -> None:
        """Make the copies ready."""
        self._fresh = self.engine.begin(seed)
        self._keep()

    def take_over(self, transfer: Transfer) -> None:
        """Begin with what another run learnt; before `start`.

        Raises:
            RunError: it is damaged.
        """
        self._state = transfer.into(self._state)

    def iterate(self, progress: float) -> dict[str, float] | None:
        """Try all directions once, learn, and return what to log; None if it was broken off.

        Args:
            progress: how much of the training will be done after it, as far as one can tell, in [0, 1].

        Raises:
            NonFiniteError: an observation or a reward is not finite; its `arrays` hold what was found.
            EngineError: a simulator failed.
        """
        settings = self._settings
        began = time.perf_counter()
        done = jnp.float32(progress)
        noise, step_size = (jnp.float32(s.value(done)) for s in (settings.noise, settings.step_size))
        state, directions = ars.draw(self._state, settings)
        tried = self._try(state, directions, noise, self._longest(progress))
        if tried is None:
            return None
        returns, learnt, lengths, normaliser, simulating = tried
        tried_at = time.perf_counter()
        state, metrics = ars.update(state, directions, jnp.float32(learnt), step_size, settings)
        self._state = state._replace(normaliser=normaliser)
        values = dict(zip(ars.METRICS, np.asarray(metrics).tolist(), strict=True))
        if not np.isfinite(np.asarray(metrics)).all():
            raise NonFiniteError("the weights are not finite", {"returns": returns})
        self._keep()
        self.steps_per_iteration = int(lengths.sum())
        values |= {
            "train/return": float(returns.mean()),
            "train/length": float(lengths.mean()),
            "train/episodes": float(len(returns)),
            "time/simulation": simulating,
            "time/policy": tried_at - began - simulating,
            "time/update": time.perf_counter() - tried_at,
        }
        return values

    def policy(self) -> Policy:
        """Return the policy as it is now."""
        normaliser = ars.effective(self._state.normaliser, self._settings)
        return snapshot(self.info, Controller(self._state.average, normaliser, self._mirror))

    @property
    def restores_episodes(self) -> bool:
        """Whether `restore` continues with the very random numbers that the copies would have drawn."""
        return self.engine.get_state() is not None

    def state(self) -> dict[str, Any]:
        """Return everything that decides how training goes on, as a tree of arrays."""
        return {"algorithm": self._state, "steps": np.int64(self.steps_per_iteration)} | self._kept

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        """Go on from what `state` returned, flattened under `prefix`.

        Raises:
            RunError: the arrays are of other settings.
        """
        fresh = f"{prefix}/frame" in arrays
        template = {name: part for name, part in self.state().items() if name != "frame" or fresh}
        template["algorithm"] = with_stored_count(template["algorithm"], arrays, f"{prefix}/algorithm")
        tree = unflatten_tree(template, arrays, prefix)
        self._state = jax.tree.map(jnp.array, tree["algorithm"])
        self.steps_per_iteration = int(tree["steps"])
        if "engine" in tree:
            self.engine.set_state(tree["engine"])
            self._fresh = np.array(tree["frame"]) if fresh else None
            self._keep()

    def close(self) -> None:
        """Nothing is held but the engine, which is closed by who made it."""

    def _keep(self) -> None:
        """Remember the copies as they are before an iteration, for what is broken off begins again."""
        engine = self.engine.get_state()
        if engine is not None:
            self._kept = {"engine": engine} | ({} if self._fresh is None else {"frame": self._fresh})

    def _begin_episodes(self) -> np.ndarray:
        """Return the first frame of a new episode in every copy."""
        if self._fresh is not None:
            frame, self._fresh = self._fresh, None
            return frame
        copies = self.engine.num_envs
        return self.engine.advance(np.zeros((copies, self.info.action_size), np.float32), np.ones(copies, bool))

    def _longest(self, progress: float) -> int:
        """Return after how many steps an episode is broken off, if it has not ended before."""
        own = self.info.max_episode_steps or MAX_STEPS
        schedule = self._settings.rollout_length
        limits = {"start": schedule.start or own, "end": schedule.end or own}
        return round(schedule.model_copy(update=limits).value(progress))

    def _try(
        self, state: ars.ARSState, directions: list[Layer], noise: jax.Array, longest: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Normaliser, float] | None:
        """Run an episode of every candidate, of at most so many steps; None if broken off.

        Returns:
            (2 N,) true returns, (2 N,) returns to learn from, (2 N,) lengths, the statistics after it, and the seconds
            spent in the simulator.
        """
        settings, copies = self._settings, self.engine.num_envs
        returns, learnt = np.zeros((2, 2 * settings.directions))
        lengths = np.zeros(2 * settings.directions, np.int64)
        number = np.arange(copies)  # the candidate of each copy
        handed_out = copies
        weights = ars.candidates(state, directions, number, noise)
        seen = state.normaliser
        # Which copies are in an episode, which rest, and which are about to be broken off.
        flags = going, resting, last = np.zeros((3, copies), bool)
        age = np.zeros(copies, np.int64)
        answer = jnp.zeros((copies, self.info.action_size + 3))
        clock, simulating = time.perf_counter, 0.0
        frame = self._begin_episodes()
        while not self._stop():
            age[going] += 1
            last[:] = age >= longest
            seen, answer = self._step(weights, state.normaliser, seen, frame, answer, flags)
            host = np.asarray(answer)
            if not np.isfinite(host).all():
                raise NonFiniteError("an observation or a reward is not finite", {"frame": frame, "answer": host})
            at = number[going]
            returns[at] += host[going, -2]
            learnt[at] += host[going, -1]
            lengths[at] += 1
            finished = resting | (host[:, -3] > 0.5)
            age[finished] = 0
            ended = np.flatnonzero(finished & going)
            for copy in ended:
                number[copy], resting[copy] = handed_out, handed_out >= len(returns)
                handed_out += 1
            if resting.all():
                return returns, learnt, lengths, seen, simulating
            if len(ended):
                weights = ars.candidates(state, directions, np.minimum(number, len(returns) - 1), noise)
            before = clock()
            frame = self.engine.advance(host[:, :-3], finished, resting if resting.any() else None)
            simulating += clock() - before
            going[:] = ~finished  # what is just reset has earned nothing yet
        return None


def _step(
    interpret,
    recipe: Recipe,
    info: TaskInfo,
    mirror: Mirror | None,
    weights,
    normaliser,
    seen,
    frame,
    previous,
    flags,
) -> tuple[Normaliser, jax.Array]:
    """One moment of all copies in one compiled call: read the frame, note it, decide.

    Args:
        flags: (3, N) bool, as `RandomSearchLearner._try` has them.

    Returns:
        The statistics of what was seen; and (N, A + 3): the actions in the task's units, whether the episode ended, the
        true reward, the reward to learn from.
    """
    settings, policy = recipe.settings, recipe.policy
    going, resting, last = flags
    signals = interpret(frame, previous[:, :-3])
    finished = (signals.terminated | signals.truncated | last) & going
    if policy.normalise_observations:
        seen = merge(seen, signals.observation, (~resting & ~finished).astype(jnp.float32))
    used = ars.effective(seen if settings.statistics == "step" else normaliser, settings)
    decide = jax.vmap(functools.partial(_decide, policy, info, mirror, used))
    action = decide(weights, signals.observation)
    reward = wrapped_reward(recipe.wrappers, info, signals.reward, signals.terminated, ~going, previous[:, :-3])
    if settings.reward_clip:
        reward = jnp.clip(reward, -settings.reward_clip, settings.reward_clip)
    flags = jnp.stack([finished.astype(jnp.float32), signals.reward, reward], axis=1)
    return seen, jnp.concatenate([action, flags], axis=1)


def _decide(
    policy: PolicySettings, info: TaskInfo, mirror: Mirror | None, normaliser: Normaliser, actor, observation
) -> jax.Array:
    """Answer one observation (D,) by one candidate's actor with an action (A,) in the task's units."""
    network = ActorCritic(trunk=[], actor=actor, critic=[], log_std=jnp.zeros(info.action_size), settings=policy)
    return to_bounds(Controller(network, normaliser, mirror).action(observation), info.action_low, info.action_high)
