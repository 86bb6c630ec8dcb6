"""Probe environments: so small that the right value and the right action are known.

Each isolates one part of a learner that can be wrong, as in Andy Jones, "Debugging RL, without the agonizing pain"
(2021). A correct learner solves each within seconds.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.policies.normaliser import prepare
from surefoot.policies.policy import Policy
from surefoot.recipes.recipe import Recipe
from surefoot.settings import validate
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.learner import Learner
from surefoot.training.loop import LEARNERS

NUM_ENVS = 16
LOW, HIGH = -1.0, 3.0  # not centred on 0, so that a missing shift or scale shows in the action
MIDDLE, HALF_RANGE = (LOW + HIGH) / 2, (HIGH - LOW) / 2

ALWAYS, NEVER = np.ones(NUM_ENVS, bool), np.zeros(NUM_ENVS, bool)
NOTHING = np.zeros(NUM_ENVS)


class Probe(Engine):
    """One observation value and one action value; a subclass defines the first observation and a step."""

    max_episode_steps = 1

    def __init__(self) -> None:
        self.info = TaskInfo(
            name="probe",
            id="probe",
            options={},
            observation_size=1,
            action_low=np.float32([LOW]),
            action_high=np.float32([HIGH]),
            max_episode_steps=self.max_episode_steps,
            reward_threshold=None,
            fall="none",
        )
        super().__init__(self.info, NUM_ENVS)

    def pack(self, *step: np.ndarray) -> np.ndarray:
        """Return the simulator output of an observation, a reward, terminated and truncated, (N,) each."""
        observation, *rest = step
        return self.layout.pack(dict(zip(self.layout.names, (observation[:, None], *rest), strict=True)), np)

    def first(self) -> np.ndarray:
        """Return the observations of new episodes, (N,)."""
        return np.ones(NUM_ENVS)

    def play(self, observation, action) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the next observation, the reward, terminated and truncated, (N,) each, after an action, (N,)."""
        raise NotImplementedError

    def begin(self, seed: int | None) -> np.ndarray:
        self.random = np.random.default_rng(seed)
        self.observation = self.first()
        return self.pack(self.observation, NOTHING, NOTHING, NOTHING)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        assert (action >= LOW).all() and (action <= HIGH).all()
        step = self.play(self.observation, action[:, 0])
        after_reset = (self.first(), NOTHING, NOTHING, NOTHING)
        observation, *rest = (np.where(finished, new, old) for new, old in zip(after_reset, step, strict=True))
        self.observation = observation
        return self.pack(observation, *rest)


class ConstantReward(Probe):
    """One step with reward 1. Value: 1."""

    def play(self, observation, action):
        return observation, np.ones(NUM_ENVS), ALWAYS, NEVER


class EndlessReward(Probe):
    """Reward 1 at every step; a time limit of one step truncates. Value: 1 / (1 - discount)."""

    def play(self, observation, action):
        return observation, np.ones(NUM_ENVS), NEVER, ALWAYS


class ObservedReward(Probe):
    """One step; the reward equals the observation, -1 or 1. Value: the observation."""

    def first(self):
        return self.random.choice([-1.0, 1.0], NUM_ENVS)

    def play(self, observation, action):
        return self.first(), observation, ALWAYS, NEVER


class DelayedReward(Probe):
    """Two steps, with observations -1 and 1; reward 1 for the second. Values: the discount and 1."""

    max_episode_steps = 2

    def first(self):
        return -np.ones(NUM_ENVS)

    def play(self, observation, action):
        second = observation > 0
        return np.ones(NUM_ENVS), second.astype(float), second, NEVER


class RewardedAction(Probe):
    """One step; reward -(action - 2)^2. Action: 2."""

    def play(self, observation, action):
        return observation, -np.square(action - 2.0), ALWAYS, NEVER


class RewardedResponse(ObservedReward):
    """One step; reward -(action - 1 - observation)^2. Action: 1 + the observation."""

    def play(self, observation, action):
        return self.first(), -np.square(action - 1.0 - observation), ALWAYS, NEVER


class DelayedResponse(RewardedResponse):
    """Two steps; the reward for the first action follows the second, whose observation holds what it will be.

    The second observation is 2 + the distance of the first action from 1 + the first observation. Action at the first
    observation: 1 + the observation.
    """

    max_episode_steps = 2

    def play(self, observation, action):
        second = observation > 1.5
        distance = np.abs(action - 1.0 - observation)
        return 2.0 + distance, np.where(second, 2.0 - observation, 0.0), second, NEVER


def train_probe(recipe: Recipe, probe: Probe, iterations: int) -> tuple[Learner, list[dict[str, float]]]:
    """Train on a probe; return the learner and the metrics of each iteration."""
    learner = LEARNERS[ALGORITHMS[recipe.algorithm].learner](recipe, probe.info, [probe])
    learner.start(0)
    metrics = []
    for iteration in range(iterations):
        values = learner.iterate((iteration + 1) / iterations)
        assert values is not None
        metrics.append(values)
    learner.close()
    return learner, metrics


def probe_recipe(algorithm: str, settings: dict[str, Any], policy: dict[str, Any]) -> Recipe:
    """Make the recipe of an algorithm for the probes."""
    data = {"task": "probe", "algorithm": algorithm, "engine": {"num_envs": NUM_ENVS}}
    return validate(Recipe, data | {"policy": policy, algorithm: settings}, "test")


def actions(policy: Policy, observations: list[float]) -> np.ndarray:
    """Return the deterministic actions for observations, (N,), in the task's units."""
    return policy.predict(np.float32(observations)[:, None])[0][:, 0]


def state_values(learner: Learner, recipe: Recipe, observations: list[float]) -> np.ndarray:
    """Return the values of observations according to PPO's critic, (N,)."""
    controller = learner.policy().controller
    observation = prepare(recipe.policy, controller.normaliser, jnp.float32(observations)[:, None])
    return np.asarray(controller.network(observation)[1])


def critic_values(learner: Learner, recipe: Recipe, observations: list[float], actions: list[float]) -> np.ndarray:
    """Return the values of actions, in the task's units, according to each of C critics, (C, N)."""
    critics = learner.state()["algorithm"].critics
    action = (jnp.float32(actions)[:, None] - MIDDLE) / HALF_RANGE
    return np.asarray(critics(jnp.float32(observations)[:, None], action))
