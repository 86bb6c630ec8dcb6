"""Every algorithm on problems whose values and best actions are known.

Each probe runs the whole learner: engine, policy step, normaliser, storage, returns and update. Tolerances are
about twice the largest error over the seeds 0 to 4.
"""

import numpy as np
import pytest

from helpers import probes
from helpers.probes import Probe, actions, critic_values, probe_recipe, state_values, train_probe
from surefoot.recipes.recipe import Recipe

DISCOUNT = 0.7  # far from 1, so that a missing or doubled discount shows


def known_values(*iterations: int) -> pytest.MarkDecorator:
    """Parametrise a test by the probes with known values, with a number of iterations for each."""
    known = [
        (probes.ConstantReward, [1.0], [1.0]),
        (probes.ObservedReward, [-1.0, 1.0], [-1.0, 1.0]),
        (probes.DelayedReward, [-1.0, 1.0], [DISCOUNT, 1.0]),
        (probes.EndlessReward, [1.0], [1 / (1 - DISCOUNT)]),
    ]
    return pytest.mark.parametrize(
        "iterations, probe, observations, values",
        [(count, *probe) for count, probe in zip(iterations, known, strict=True)],
        ids=["constant reward", "observed reward", "delayed reward", "time limit"],
    )


# --- PPO --------------------------------------------------------------------------------------------------------------

PPO = probe_recipe(
    "ppo",
    {
        "horizon": 32,
        "epochs": 4,
        "minibatch_size": 128,
        "discount": DISCOUNT,
        "learning_rate": {"kind": "linear", "start": 1e-2, "end": 1e-4},
        "normalise_returns": False,
    },
    {"actor": [16], "critic": [16], "initial_std": 0.5},
)


@known_values(40, 60, 60, 80)
def test_ppo_learns_known_values(
    probe: type[Probe], iterations: int, observations: list[float], values: list[float]
) -> None:
    learner, _ = train_probe(PPO, probe(), iterations)
    np.testing.assert_allclose(state_values(learner, PPO, observations), values, atol=0.01)


@pytest.mark.parametrize(
    "probe, iterations, observations, best",
    [
        (probes.RewardedAction, 60, [1.0], [2.0]),
        (probes.RewardedResponse, 100, [-1.0, 1.0], [0.0, 2.0]),
    ],
    ids=["rewarded action", "rewarded response"],
)
def test_ppo_learns_known_actions(
    probe: type[Probe], iterations: int, observations: list[float], best: list[float]
) -> None:
    """The value of the stochastic policy is minus the variance of its actions."""
    learner, metrics = train_probe(PPO, probe(), iterations)
    np.testing.assert_allclose(actions(learner.policy(), observations), best, atol=0.02)
    variance = (metrics[-1]["policy/std"] * probes.HALF_RANGE) ** 2
    np.testing.assert_allclose(state_values(learner, PPO, observations), -variance, atol=0.01)


def test_ppo_learns_an_action_that_is_rewarded_later() -> None:
    learner, _ = train_probe(PPO, probes.DelayedResponse(), 100)
    np.testing.assert_allclose(actions(learner.policy(), [-1.0, 1.0]), [0.0, 2.0], atol=0.03)


# --- DDPG, TD3, SAC ---------------------------------------------------------------------------------------------------

OFF_POLICY = ["ddpg", "td3", "sac"]


def off_policy_recipe(algorithm: str, temperature: float = 0.01) -> Recipe:
    settings = {
        "learning_starts": 500,
        "utd_ratio": 0.5,
        "train_freq": 5,
        "batch_size": 64,
        "discount": DISCOUNT,
        "actor_learning_rate": 2e-3,
        "critic_learning_rate": 3e-3,
        "polyak": 0.02,
        "buffer_size": 20_000,
        "n_step": 1,
    }
    # SAC's values include a bonus for entropy; at this temperature it is less than the tolerances.
    settings |= {"temperature": temperature, "temperature_learning_rate": 0.0} if algorithm == "sac" else {}
    policy = {"actor": [32, 32], "critic": [32, 32], "normalise_observations": False}
    return probe_recipe(algorithm, settings, policy)


@known_values(4, 4, 4, 8)
@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_off_policy_critics_learn_known_values(
    algorithm: str,
    probe: type[Probe],
    iterations: int,
    observations: list[float],
    values: list[float],
) -> None:
    """Of every action: low, middle and high."""
    recipe = off_policy_recipe(algorithm)
    learner, _ = train_probe(recipe, probe(), iterations)
    for action in (probes.LOW, probes.MIDDLE, probes.HIGH):
        q = critic_values(learner, recipe, observations, [action] * len(observations))
        np.testing.assert_allclose(q, np.broadcast_to(values, q.shape), atol=0.04)


@pytest.mark.parametrize(
    "probe, observations, best",
    [
        (probes.RewardedAction, [1.0], [2.0]),
        (probes.RewardedResponse, [-1.0, 1.0], [0.0, 2.0]),
        (probes.DelayedResponse, [-1.0, 1.0], [0.0, 2.0]),
    ],
    ids=["rewarded action", "rewarded response", "delayed response"],
)
@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_off_policy_actors_learn_known_actions(
    algorithm: str, probe: type[Probe], observations: list[float], best: list[float]
) -> None:
    """The best action's value is 0."""
    recipe = off_policy_recipe(algorithm)
    learner, _ = train_probe(recipe, probe(), 8)
    np.testing.assert_allclose(actions(learner.policy(), observations), best, atol=0.2)
    q = critic_values(learner, recipe, observations, best)
    np.testing.assert_allclose(q, np.zeros(q.shape), atol=0.05)


def test_sac_values_include_the_entropy_bonus() -> None:
    """If all actions earn the same, the policy with most entropy is uniform over a range of 2: entropy log 2.

    The first action earns no bonus, as in the paper's Q.
    """
    recipe = off_policy_recipe("sac", temperature=0.5)
    learner, _ = train_probe(recipe, probes.EndlessReward(), 8)
    expected = (1 + DISCOUNT * 0.5 * np.log(2)) / (1 - DISCOUNT)
    q = critic_values(learner, recipe, [1.0], [probes.MIDDLE])
    np.testing.assert_allclose(q, np.full(q.shape, expected), atol=0.1)


# --- ARS --------------------------------------------------------------------------------------------------------------
# It has no critic; its policy here is linear without a bias, so the best weight is 1 / 2 (in units of half the range)
# on each of these probes.


def ars_recipe(normalise: bool = False) -> Recipe:
    settings = {
        "directions": 16,
        "top_directions": 8,
        "step_size": {"kind": "linear", "start": 0.1, "end": 0.01},
        "noise": {"kind": "linear", "start": 0.1, "end": 0.01},
    }
    return probe_recipe("ars", settings, {"actor": [], "critic": [], "normalise_observations": normalise})


@pytest.mark.parametrize(
    "probe, observations, best",
    [
        (probes.RewardedAction, [1.0], [2.0]),
        (probes.RewardedResponse, [-1.0, 1.0], [0.0, 2.0]),
        (probes.DelayedResponse, [-1.0, 1.0], [0.0, 2.0]),
    ],
    ids=["rewarded action", "rewarded response", "delayed response"],
)
def test_ars_learns_known_actions(probe: type[Probe], observations: list[float], best: list[float]) -> None:
    """The return of its candidates rises to the known optimum, 0."""
    learner, metrics = train_probe(ars_recipe(), probe(), 60)
    np.testing.assert_allclose(actions(learner.policy(), observations), best, atol=0.05)
    assert metrics[0]["train/return"] < -0.5
    assert -0.05 < metrics[-1]["train/return"] <= 0.0


@pytest.mark.parametrize(
    "probe, expected, length",
    [(probes.ConstantReward, 1.0, 1.0), (probes.DelayedReward, 1.0, 2.0), (probes.EndlessReward, 1.0, 1.0)],
    ids=["constant reward", "delayed reward", "time limit"],
)
def test_ars_returns_and_lengths_are_known(probe: type[Probe], expected: float, length: float) -> None:
    """Returns are not discounted, and end at a time limit."""
    learner, metrics = train_probe(ars_recipe(), probe(), 2)
    for values in metrics:
        assert (values["train/return"], values["train/length"], values["train/episodes"]) == (expected, length, 32.0)
    np.testing.assert_allclose(actions(learner.policy(), [1.0]), [probes.MIDDLE])  # no candidate is better than another


def test_ars_normalises_by_the_statistics_of_the_observations() -> None:
    """Half of them are -1 and half 1: mean 0, variance 1."""
    learner, _ = train_probe(ars_recipe(normalise=True), probes.RewardedResponse(), 60)
    policy = learner.policy()
    statistics = policy.controller.normaliser
    np.testing.assert_allclose(statistics.mean, [0.0], atol=0.1)  # of 1,920 episodes: standard error 0.023
    np.testing.assert_allclose(statistics.variance, [1.0], atol=0.02)
    np.testing.assert_allclose(actions(policy, [-1.0, 1.0]), [0.0, 2.0], atol=0.1)
