"""Environments so small that the right value and the right action are known: does the whole learner find them?

Each isolates one thing that can go wrong, as in Andy Jones, "Debugging RL, without the agonizing pain" (2021).
"""

import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from surefoot.policies.normaliser import prepare
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine, pack_step
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.on_policy import OnPolicyLearner

COPIES, DISCOUNT = 16, 0.7
LOW, HIGH = -1.0, 3.0  # not centred on 0, so that a lost shift or scale shows in the action

# One recipe for all, so that the update is compiled once.
RECIPE = Recipe.model_validate(
    {
        "task": "probe",
        "engine": {"num_envs": COPIES},
        "policy": {"actor": [16], "critic": [16], "initial_std": 0.5},
        "ppo": {
            "horizon": 32,
            "epochs": 4,
            "minibatch_size": 128,
            "discount": DISCOUNT,
            "learning_rate": {"kind": "linear", "start": 1e-2, "end": 1e-4},
            "normalise_returns": False,
        },
    }
)


class Probe(Engine):
    """Copies of a probe; a subclass says what a step leads to."""

    def __init__(self) -> None:
        super().__init__(COPIES, Box(-np.inf, np.inf, (1,), np.float32), Box(LOW, HIGH, (1,), np.float32))

    def first(self) -> np.ndarray:
        """Return observations (N,) of new episodes."""
        return np.zeros(COPIES)

    def play(self, observation, action) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the next observation, the reward, terminated and truncated, (N,) each."""
        raise NotImplementedError

    def begin(self, seed: int | None) -> np.ndarray:
        self.random = np.random.default_rng(seed)
        self.observation = self.first()
        nothing = np.zeros(COPIES)
        return pack_step(self.observation[:, None], nothing, nothing, nothing)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        assert (action >= LOW).all() and (action <= HIGH).all()
        signals = self.play(self.observation, action[:, 0])
        fresh = (self.first(), *[np.zeros(COPIES)] * 3)
        observation, *rest = (np.where(finished, new, old) for new, old in zip(fresh, signals, strict=True))
        self.observation = observation
        return pack_step(observation[:, None], *rest)


ALWAYS, NEVER = np.ones(COPIES, bool), np.zeros(COPIES, bool)


class ConstantReward(Probe):
    """One step, reward 1."""

    def play(self, observation, action):
        return observation, np.ones(COPIES), ALWAYS, NEVER


class EndlessReward(Probe):
    """Reward 1 for ever, in pieces of one step that a time limit cuts."""

    def play(self, observation, action):
        return observation, np.ones(COPIES), NEVER, ALWAYS


class ObservedReward(Probe):
    """One step; the reward is what was observed, -1 or 1."""

    def first(self):
        return self.random.choice([-1.0, 1.0], COPIES)

    def play(self, observation, action):
        return self.first(), observation, ALWAYS, NEVER


class DelayedReward(Probe):
    """Two steps: observe 0, then 1; the reward, 1, comes at the end."""

    def play(self, observation, action):
        return np.ones(COPIES), observation, observation > 0.5, NEVER


class RewardedAction(Probe):
    """One step; the nearer the action to 2, the better."""

    def play(self, observation, action):
        return observation, -np.square(action - 2.0), ALWAYS, NEVER


class RewardedAnswer(ObservedReward):
    """One step; the nearer the action to 1 plus what was observed, the better."""

    def play(self, observation, action):
        return self.first(), -np.square(action - 1.0 - observation), ALWAYS, NEVER


def learn(probe: Probe, iterations: int, observations: list[float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Train, and return values and actions at `observations`, and the deviation of exploration in the task's units."""
    bounds = np.float32([LOW]), np.float32([HIGH])
    info = TaskInfo("probe", "probe", {}, 1, *bounds, None, None, "none")
    learner = OnPolicyLearner(RECIPE, info, [probe])
    learner.start(0)
    for iteration in range(iterations):
        values = learner.iterate((iteration + 1) / iterations)
    policy = learner.policy()
    learner.close()
    asked = np.float32(observations)[:, None]
    network, normaliser, _ = policy.controller
    value = np.asarray(network.value(prepare(policy.settings, normaliser, jnp.asarray(asked))))
    return value, policy.predict(asked)[0][:, 0], values["policy/std"] * (HIGH - LOW) / 2


def test_a_constant_reward_is_foretold() -> None:
    value, _, _ = learn(ConstantReward(), 40, [0.0])
    np.testing.assert_allclose(value, [1.0], atol=0.03)


def test_a_reward_that_can_be_seen_coming_is_foretold() -> None:
    value, _, _ = learn(ObservedReward(), 60, [-1.0, 1.0])
    np.testing.assert_allclose(value, [-1.0, 1.0], atol=0.05)


def test_a_reward_that_comes_later_is_discounted() -> None:
    value, _, _ = learn(DelayedReward(), 60, [0.0, 1.0])
    np.testing.assert_allclose(value, [DISCOUNT, 1.0], atol=0.05)


def test_beyond_a_time_limit_the_reward_goes_on() -> None:
    value, _, _ = learn(EndlessReward(), 80, [0.0])
    np.testing.assert_allclose(value, [1 / (1 - DISCOUNT)], atol=0.1)


def test_the_rewarded_action_is_found() -> None:
    value, action, std = learn(RewardedAction(), 60, [0.0])
    np.testing.assert_allclose(action, [2.0], atol=0.1)
    np.testing.assert_allclose(value, [-(std**2)], atol=0.05)


def test_the_action_that_an_observation_asks_for_is_found() -> None:
    value, action, std = learn(RewardedAnswer(), 100, [-1.0, 1.0])
    np.testing.assert_allclose(action, [0.0, 2.0], atol=0.15)
    np.testing.assert_allclose(value, [-(std**2)] * 2, atol=0.1)
