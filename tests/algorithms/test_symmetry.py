"""Tied networks: symmetric by their weights at any time, and equal in learning to augmented batches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from surefoot.algorithms import off_policy
from surefoot.algorithms.critics import ActionLayer, init_critics
from surefoot.algorithms.off_policy import OffPolicySettings
from surefoot.algorithms.replay import Batch
from surefoot.algorithms.sac import SACSettings
from surefoot.algorithms.symmetry import INITIAL_SCALE, Symmetry
from surefoot.algorithms.td3 import DDPGSettings, TD3Settings
from surefoot.policies.networks import PolicySettings, init_actor, init_actor_critic
from surefoot.policies.normaliser import init_normaliser, merge, normalise, symmetrise, update_normaliser
from surefoot.policies.symmetry import Mirror

# Two legs of two values each, one value that changes its sign, one that does not; two actions that change places.
MIRROR = Mirror(
    np.array([2, 3, 0, 1, 4, 5]),
    np.float32([1, -1, 1, -1, -1, 1]),
    np.zeros(6, np.float32),
    np.array([1, 0]),
    np.float32([-1, -1]),
)
TIED = Symmetry("tied", MIRROR)
SHAPES: list[dict[str, Any]] = [
    {},
    {"trunk": (10,)},
    {"layer_norm": True, "activation": "relu"},
    {"batch_norm": True},
    {"std": "state_dependent"},
    {"actor": (), "critic": ()},
]
MODELS: dict[str, type[OffPolicySettings]] = {"ddpg": DDPGSettings, "td3": TD3Settings, "sac": SACSettings}


def shape(**changes: Any) -> PolicySettings:
    return PolicySettings(**{"actor": (8, 6), "critic": (8, 4), "normalise_observations": False} | changes)


def observations(count: int = 7, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, 6)), jnp.float32)


@pytest.mark.parametrize("changes", SHAPES)
def test_tied_networks_are_symmetric(changes: dict) -> None:
    policy = shape(**changes)
    plain = init_actor_critic(jax.random.PRNGKey(1), 6, 2, policy)
    plain = dataclasses.replace(plain, log_std=jnp.float32([-1.0, -2.0]))
    for network, symmetric in ((plain, False), (TIED.project(plain, INITIAL_SCALE), True)):
        o = observations()
        ((mean, log_std), value), ((image_mean, image_log_std), image) = (
            network(x) for x in (o, MIRROR.observation(o))
        )
        assert np.allclose(image_mean, MIRROR.action(mean), rtol=1e-5, atol=1e-7) == symmetric
        assert np.allclose(image, value, rtol=1e-5, atol=1e-6) == symmetric
        assert np.allclose(image_log_std, log_std[..., MIRROR.action_index], rtol=1e-5, atol=1e-6) == symmetric
        assert np.std(value) > 1e-3 and np.std(mean) > 1e-5


@pytest.mark.parametrize("entry", ["first", "second", "branch"])
@pytest.mark.parametrize("changes", SHAPES[:4])
def test_tied_critics_are_symmetric(entry: ActionLayer, changes: dict) -> None:
    policy, o, a = shape(**changes), observations(), observations(seed=1)[:, :2]
    plain = init_critics(jax.random.PRNGKey(2), 6, 2, policy, entry, 2)
    for critics, symmetric in ((plain, False), (TIED.project(plain, INITIAL_SCALE), True)):
        value = critics(o, a)
        image = critics(MIRROR.observation(o), MIRROR.action(a))
        assert np.allclose(image, value, rtol=1e-5, atol=1e-6) == symmetric
        assert value.std() > 1e-3


def test_tying_is_idempotent_and_keeps_the_size_of_weights() -> None:
    policy = shape(actor=(200, 100), critic=(100, 100), std="state_dependent")
    plain = init_actor_critic(jax.random.PRNGKey(0), 6, 2, policy)
    once = TIED.project(plain, INITIAL_SCALE)
    twice = TIED.project(once)
    assert all((x == y).all() for x, y in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True))
    for name in ("actor", "critic"):
        for before, after in zip(getattr(plain, name), getattr(once, name), strict=True):
            assert float(after["weight"].std() / before["weight"].std()) == pytest.approx(1, abs=0.25)


def transitions(batches: int, size: int = 12) -> Batch:
    random = np.random.default_rng(3)
    lead = (batches, size)
    return Batch(
        np.float32(random.normal(size=(*lead, 6))),
        np.float32(random.uniform(-1, 1, (*lead, 2))),
        np.float32(random.normal(size=lead)),
        np.float32(random.normal(size=(*lead, 6))),
        np.float32(np.where(random.random(lead) < 0.25, 0, 0.9)),
    )


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_tied_networks_learn_as_from_augmented_batches(algorithm: str) -> None:
    form = {"squash": "tanh_gaussian", "std": "state_dependent"} if algorithm == "sac" else {"squash": "tanh"}
    policy = shape(**form, layer_norm=True, minimum_std=1e-6)
    common: dict[str, Any] = {"policy_delay": 1, "max_grad_norm": 0.5}
    common |= {"target_noise": 0.0} if algorithm == "td3" else {}
    if algorithm == "sac":  # noise and entropy of mirror images differ from those of the originals
        common["temperature"] = 1e-9
    ends = []
    for symmetry in (TIED, Symmetry("augment", MIRROR)):
        settings = MODELS[algorithm](**common)
        start = off_policy.init(jax.random.PRNGKey(0), 6, 2, policy, settings, TIED)
        if algorithm == "sac":
            actor = start.actor.actor
            actor[-1] = {name: x.at[..., 2:].set(-1e3 if name == "bias" else 0.0) for name, x in actor[-1].items()}
        result, _ = off_policy.update(start, transitions(1), np.float32(0), settings=settings, symmetry=symmetry)
        ends.append(result)
    # After one step, Adam's first moment is proportional to the gradient.
    for part in ("critic_opt_state", "actor_opt_state"):
        means = (jax.tree.leaves(optax.tree.get(getattr(end, part), "mu")) for end in ends)
        for one, other in zip(*means, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
            assert np.abs(one).max() > 1e-5 or np.abs(other).max() <= 1e-5


@pytest.mark.parametrize("algorithm", ["ddpg", "sac"])
def test_updates_keep_weights_tied_exactly(algorithm: str) -> None:
    form = {"squash": "tanh_gaussian", "std": "state_dependent"} if algorithm == "sac" else {"squash": "tanh"}
    policy = shape(**form, batch_norm=True)
    settings = MODELS[algorithm](
        policy_delay=2,
        preset="crossq",
        critic_weight_decay=0.01,
        actor_learning_rate=0.01,
    )
    start = off_policy.init(jax.random.PRNGKey(0), 6, 2, policy, settings, TIED)
    before = jax.tree.map(np.array, start.actor)
    result, _ = off_policy.update(start, transitions(6), np.float32(0), settings=settings, symmetry=TIED)
    again = TIED.project(result.actor), TIED.project(result.critics)
    for one, other in zip(*(jax.tree.leaves(x) for x in ((result.actor, result.critics), again)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(result.actor.actor[0]["weight"] - before.actor[0]["weight"]).max() > 1e-3


def test_tied_statistics_are_symmetric_and_count_each_observation_once() -> None:
    mirror = MIRROR._replace(observation_offset=np.float32([0, 0.5, 0, 0.5, 1.0, 0]))
    assert mirror.is_involution()
    o = observations(40) + 3
    result = update_normaliser(init_normaliser(6), o, mirror)
    assert float(result.count) == 40
    expected = merge(init_normaliser(6), jnp.concatenate([o, mirror.observation(o)]))
    np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.variance, expected.variance, rtol=1e-4)
    for one, other in zip(symmetrise(result, mirror), result, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    # The mirror of observations normalised by these statistics has no offset.
    scaled, image = (normalise(result, x, 10) for x in (o, mirror.observation(o)))
    np.testing.assert_allclose(
        image, scaled[:, mirror.observation_index] * mirror.observation_sign, rtol=1e-4, atol=1e-5
    )


def test_an_actor_without_critic_can_be_tied() -> None:
    policy = shape()
    assert TIED.project(init_actor(jax.random.PRNGKey(0), 6, 2, policy)).critic == []
