"""The recipe of the experiment of 2018, against the figures of its authors' paper and code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms import off_policy
from surefoot.algorithms.exploration import Exploration
from surefoot.recipes.files import load_recipe
from surefoot.tasks.reward_shaping import wrapped_reward

RECIPE = load_recipe("ghelfi2019")
INFO = RECIPE.evaluation_task()
# Places in their reduced state without the x of the pelvis.
SWAPPED = {1: 3, 2: 4, 5: 7, 6: 8, 9: 11, 10: 12, 19: 21, 20: 22, 23: 25, 24: 26}


def test_state_and_mirror_are_theirs():
    assert (INFO.observation_size, INFO.action_size, INFO.max_episode_steps) == (33, 18, 200)
    mirror = INFO.mirror
    assert mirror is not None
    expected = np.arange(33)
    for place, image in SWAPPED.items():
        expected[[place, image]] = image, place
    np.testing.assert_array_equal(mirror.observation_index, expected)
    np.testing.assert_array_equal(mirror.action_index, np.roll(np.arange(18), 9))
    assert (mirror.observation_sign == 1).all() and (mirror.action_sign == 1).all()


def test_networks_are_theirs():
    init = functools.partial(off_policy.init, policy=RECIPE.policy, settings=RECIPE.settings)
    state = jax.eval_shape(lambda: init(jax.random.PRNGKey(0), 33, 18))
    assert [layer["weight"].shape for layer in state.actor.actor] == [(33, 64), (64, 64), (64, 18)]
    assert [layer["weight"].shape for layer in state.critics.layers] == [(1, 51, 64), (1, 64, 32), (1, 32, 1)]
    for layers in (state.actor.actor, state.critics.layers):
        assert ["norm_gain" in layer for layer in layers] == [True, True, False]
    assert RECIPE.policy.activation_function(-1.0) == pytest.approx(np.exp(-1) - 1)
    assert RECIPE.policy.critic_activation_function(-1.0) == pytest.approx(np.tanh(-1))


def test_noise_is_theirs():
    """Per action, Ornstein-Uhlenbeck noise changes an excitation by 0.02, a tenth of their sigma of 0.2."""
    settings = RECIPE.settings.exploration
    exploration = Exploration(settings, 20_000, 18, 0)
    exploration.start_episodes(np.ones(20_000, bool))
    assert exploration.uses_parameter_noise.mean() == pytest.approx(0.3, abs=0.01)
    noise = exploration.sample(0.0)[~exploration.uses_parameter_noise]
    half_range = (INFO.action_high - INFO.action_low) / 2
    assert (noise * half_range).std() == pytest.approx(0.02, rel=0.02)
    assert settings.parameter_sigma == 0.2 and not settings.adapt_parameter_sigma


def test_rewards_are_theirs():
    """Ten times the advance and a bonus of 0.001 per 10 ms, 5 of them for one action; a fall ends with -0.2."""
    yes, no = jnp.array([True]), jnp.array([False])
    action, advance = jnp.zeros((1, 18)), jnp.array([0.1])
    reward = wrapped_reward(RECIPE.wrappers, INFO, advance, no, no, action)
    assert float(reward[0]) == pytest.approx(10 * (0.1 + 5 * 0.001))
    reward = wrapped_reward(RECIPE.wrappers, INFO, advance, yes, no, action)
    assert float(reward[0]) == pytest.approx(-2)
