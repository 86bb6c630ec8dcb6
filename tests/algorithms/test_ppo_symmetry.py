"""Symmetry in PPO: the losses against plain NumPy, and whole updates against equal ones without it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
import pytest
import scipy.stats

from surefoot.algorithms import ppo
from surefoot.algorithms.ppo import Batch, PPOSettings, PPOState
from surefoot.algorithms.rollout import Rollout, rollout_layout
from surefoot.algorithms.symmetry import Symmetry
from surefoot.policies.networks import ActorCritic, PolicySettings
from surefoot.policies.policy import Controller
from surefoot.policies.symmetry import Mirror

STEPS, NUM_ENVS, OBSERVATION, ACTION = 12, 4, 3, 2
# (x, y, z) becomes (y, x, -z), and the actions (a, b) become (-b, -a).
MIRROR = Mirror(
    np.array([1, 0, 2]),
    np.array([1, 1, -1], np.float32),
    np.zeros(3, np.float32),
    np.array([1, 0]),
    np.array([-1, -1], np.float32),
)
LINEAR = PolicySettings(actor=(), critic=(), normalise_observations=False)
NORMALISED = PolicySettings(actor=(8,), critic=(8,))
NETWORK = PolicySettings(trunk=(8,), actor=(8,), critic=(8,), std="state_dependent")


def whole(symmetry: str, **changes) -> PPOSettings:
    """Settings whose minibatch is all of a rollout."""
    given = {"normalise_returns": False, "minibatch_size": STEPS * NUM_ENVS, "epochs": 3, "entropy_coef": 0.01}
    return PPOSettings(**given | {"symmetry": symmetry} | changes)


def image_of(rows: np.ndarray) -> np.ndarray:
    """Mirror the observations and actions of rows, by the definition above."""
    x, y, z, a, b, *rest = np.moveaxis(rows, -1, 0)
    return np.stack([y, x, -z, -b, -a, *rest], axis=-1)


def rollout_rows(seed: int = 0) -> np.ndarray:
    """Return a packed rollout (T+1, N, D + A + 3) with a terminated and a truncated episode."""
    random = np.random.default_rng(seed)
    size = (STEPS + 1, NUM_ENVS)
    action, reward = random.normal(size=(*size, ACTION)), random.normal(size=size)
    terminated, truncated = np.zeros((2, *size), bool)
    terminated[3, 0] = truncated[5, 1] = True
    reward[4, 0] = reward[6, 1] = 0
    rollout = Rollout(random.normal(1.0, 2.0, size=(*size, OBSERVATION)), action, reward, terminated, truncated)
    return rollout_layout(OBSERVATION, ACTION).pack(rollout._asdict(), np)


def symmetric_network() -> ActorCritic:
    """Return a symmetric linear policy: a = x - 2 y + z, b = 2 x - y + z, with value x + y."""
    return ActorCritic(
        trunk=[],
        actor=[{"weight": jnp.array([[1.0, 2.0], [-2.0, -1.0], [1.0, 1.0]]) / 4, "bias": jnp.array([0.5, -0.5])}],
        critic=[{"weight": jnp.array([[1.0], [1.0], [0.0]]), "bias": jnp.zeros(1)}],
        log_std=jnp.array([-0.5, -0.5]),
        settings=LINEAR,
    )


def skew_network() -> ActorCritic:
    return dataclasses.replace(
        symmetric_network(),
        actor=[{"weight": jnp.array([[0.3, 0.1], [0.2, -0.4], [0.5, 0.7]]), "bias": jnp.array([0.5, 0.2])}],
        log_std=jnp.array([-0.5, 0.3]),
    )


def update(
    rows, settings: PPOSettings, policy: PolicySettings = LINEAR, network: ActorCritic | None = None
) -> tuple[PPOState, dict[str, float]]:
    symmetry = Symmetry(settings.symmetry, MIRROR)
    state = ppo.init(jax.random.PRNGKey(0), OBSERVATION, ACTION, rows.shape[1], policy, settings, symmetry)
    if network is not None:
        state = state._replace(network=network)
    state, metrics = ppo.update(state, jnp.asarray(rows), jnp.float32(0.5), settings, symmetry)
    return state, {name: float(value) for name, value in metrics.items()}


def assert_near(one, other, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def largest_difference(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def hand_batch(count: int = 6, empty: int = 2) -> Batch:
    """Return `count` transitions with their mirror images, and `empty` masked rows."""
    random = np.random.default_rng(5)
    size = count + empty
    x, y, z = random.normal(size=(3, size))
    observation = np.stack([np.stack([x, y, z], -1), np.stack([y, x, -z], -1)], axis=1)
    action = random.normal(size=(size, ACTION))
    numbers = random.normal(size=(3, size))
    mask = np.arange(size) < count
    return Batch(*(jnp.asarray(field, jnp.float32) for field in (observation, action, *numbers, mask)))


def both_sides(batch: Batch, network: ActorCritic) -> dict[str, np.ndarray]:
    """Return ratios and means, (2, B, ...), of unmasked transitions and their mirror images, in plain NumPy."""
    real = np.asarray(batch.mask) > 0
    observation, action = np.asarray(batch.observation)[real], np.asarray(batch.action)[real]
    weight, bias = (np.asarray(network.actor[0][name], np.float64) for name in ("weight", "bias"))
    mean = [observation[:, side] @ weight + bias for side in (0, 1)]
    done = [action, -action[:, ::-1]]
    std = np.exp(np.asarray(network.log_std, np.float64))
    # A mirror image has the old log-probability of its transition.
    old = np.asarray(batch.log_prob)[real]
    log_ratio = [scipy.stats.norm.logpdf(done[side], mean[side], std).sum(-1) - old for side in (0, 1)]
    return {"mean": np.array(mean), "log_ratio": np.array(log_ratio)}


def test_the_loss_of_an_augmented_batch() -> None:
    settings = PPOSettings(symmetry="augment", normalise_advantages="none", entropy_coef=0.1)
    batch, network = hand_batch(), skew_network()
    total, result = ppo.loss(network, batch, settings, Symmetry("augment", MIRROR))
    sides, ratio = both_sides(batch, network), np.exp(both_sides(batch, network)["log_ratio"])
    advantage, target = (np.asarray(x)[:6] for x in (batch.advantage, batch.target))
    gain = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    # The critic is symmetric: a mirror image has the same value.
    value = np.asarray(batch.observation)[:6, 0, :2].sum(-1)
    error = 0.5 * (value - target) ** 2
    entropy = scipy.stats.norm.entropy(scale=np.exp([-0.5, 0.3])).sum()
    own_mean, image_mean = sides["mean"]
    expected = {
        "loss/policy": -gain.mean(),
        "loss/value": error.mean(),
        "policy/entropy": entropy,
        "policy/clip_fraction": (np.abs(ratio - 1) > 0.2).mean(),
        # The KL divergence is estimated from the original transitions only.
        "policy/kl": (ratio - 1 - sides["log_ratio"])[0].mean(),
        "loss/symmetry": np.square(image_mean + own_mean[:, ::-1]).mean(),
    }
    assert {name: float(x) for name, x in result.items()} == pytest.approx(expected, rel=1e-4)
    assert expected["loss/symmetry"] > 0.1
    assert float(total) == pytest.approx(-gain.mean() + 0.5 * error.mean() - 0.1 * entropy, rel=1e-4)


@pytest.mark.parametrize("policy", [NORMALISED, NETWORK], ids=["parameter", "state_dependent"])
def test_the_mirror_loss_is_added_to_the_loss_of_the_batch(policy: PolicySettings) -> None:
    batch = hand_batch()
    network = ppo.init(jax.random.PRNGKey(3), OBSERVATION, ACTION, NUM_ENVS, policy, PPOSettings()).network
    # Outputs of untrained actors are almost 0.
    network.actor[-1]["weight"] *= 100
    alone = batch._replace(observation=batch.observation[:, 0])
    plain_total, plain = ppo.loss(network, alone, PPOSettings(entropy_coef=0.1))
    settings = PPOSettings(symmetry="loss", symmetry_weight=0.7, entropy_coef=0.1)
    total, result = ppo.loss(network, batch, settings, Symmetry("loss", MIRROR))
    assert float(result["loss/symmetry"]) > 0.1
    assert float(total) == pytest.approx(float(plain_total) + 0.7 * float(result["loss/symmetry"]), rel=1e-4)
    assert {name: float(result[name]) for name in plain} == pytest.approx(
        {n: float(x) for n, x in plain.items()}, rel=1e-4
    )


def test_the_mirror_loss_equals_numbers_computed_by_hand() -> None:
    # The observation (1, 2, 3) has the mirror image (2, 1, -3).
    one = jnp.array([[[1.0, 2.0, 3.0], [2.0, 1.0, -3.0]]])
    batch = Batch(one, jnp.zeros((1, 2)), *[jnp.zeros(1)] * 3, jnp.ones(1))
    # Their means are (x, 2 z) = (1, 6) and (2, -6); the mirror image of the first is (-6, -1), 8 and 5 off.
    actor = [{"weight": jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]]), "bias": jnp.zeros(2)}]
    network = dataclasses.replace(symmetric_network(), actor=actor)
    for kind in ("loss", "augment"):
        settings, symmetry = PPOSettings(symmetry=kind), Symmetry(kind, MIRROR)
        _, result = ppo.loss(network, batch, settings, symmetry)
        assert float(result["loss/symmetry"]) == pytest.approx((8**2 + 5**2) / 2, rel=1e-6)
        _, result = ppo.loss(symmetric_network(), batch, settings, symmetry)
        assert float(result["loss/symmetry"]) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("symmetry", ["augment", "loss", "averaged"])
def test_masked_rows_have_no_effect(symmetry: str) -> None:
    settings = PPOSettings(symmetry=symmetry, entropy_coef=0.1)
    network = ppo.init(jax.random.PRNGKey(0), OBSERVATION, ACTION, NUM_ENVS, NETWORK, settings).network
    mirrored = Symmetry(settings.symmetry, MIRROR)
    grad = jax.jit(jax.grad(lambda network, batch: ppo.loss(network, batch, settings, mirrored)[0]))
    padded = hand_batch(count=6, empty=3)
    # The ratio of this row overflows.
    padded = padded._replace(log_prob=padded.log_prob.at[7].set(-1e6))
    assert_near(grad(network, padded), grad(network, jax.tree.map(lambda x: x[:6], padded)))


def test_augmentation_equals_twice_as_many_environments() -> None:
    # Only for a symmetric old policy do mirror images have the log-probabilities that the policy assigns to them.
    rows = rollout_rows()
    mirrored, metrics = update(rows, whole("augment"), LINEAR, symmetric_network())
    twice = whole("none", minibatch_size=2 * STEPS * NUM_ENVS)
    doubled, expected = update(np.concatenate([rows, image_of(rows)], axis=1), twice, LINEAR, symmetric_network())
    assert metrics.pop("loss/symmetry") == pytest.approx(0, abs=1e-8)
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert_near(mirrored.network, doubled.network)
    alone, _ = update(rows, whole("none"), LINEAR, symmetric_network())
    assert largest_difference(mirrored.network, alone.network) > 1e-4
    # Statistics are those of the original transitions.
    assert_near(mirrored.normaliser, alone.normaliser, rtol=0, atol=0)
    assert_near(mirrored.return_statistics, alone.return_statistics, rtol=0, atol=0)


def test_augmentation_of_symmetric_data_changes_only_asymmetric_policies() -> None:
    rows = rollout_rows()[:, :2]
    rows = np.concatenate([rows, image_of(rows)], axis=1)
    settings = [whole(symmetry) for symmetry in ("none", "augment")]
    (plain, _), (mirrored, _) = (update(rows, one, LINEAR, symmetric_network()) for one in settings)
    assert_near(mirrored.network, plain.network)
    assert largest_difference(mirrored.network, symmetric_network()) > 1e-4
    # An asymmetric policy learns from them.
    (plain, _), (mirrored, _) = (update(rows, one, LINEAR, skew_network()) for one in settings)
    assert largest_difference(mirrored.network, plain.network) > 1e-4


def test_tied_networks_learn_as_from_augmented_batches() -> None:
    rows = rollout_rows()
    (own, _), (both, _) = (update(rows, whole(one), LINEAR, symmetric_network()) for one in ("tied", "augment"))
    assert_near(own.network, both.network)
    assert largest_difference(own.network, symmetric_network()) > 1e-4
    own, _ = update(rows, whole("tied", epochs=5, max_grad_norm=0.1), NORMALISED)
    again = Symmetry("tied", MIRROR).project(own.network)
    assert largest_difference(own.network, again) == 0
    x = jnp.asarray(rows[0, :, :OBSERVATION])
    action, mirrored_action = (
        Controller(own.network, own.normaliser).action(observation) for observation in (x, MIRROR.observation(x))
    )
    assert_near(mirrored_action, MIRROR.action(action))


@pytest.mark.parametrize("symmetry", ["averaged", "tied"])
@pytest.mark.parametrize("policy", [NORMALISED, NETWORK], ids=["parameter", "state_dependent"])
def test_symmetric_networks_learn_the_same_from_a_mirrored_rollout(policy: PolicySettings, symmetry: str) -> None:
    rows = rollout_rows()
    settings = whole(symmetry)
    (own, metrics), (other, other_metrics) = (update(one, settings, policy) for one in (rows, image_of(rows)))
    assert_near(own.network, other.network, rtol=1e-3, atol=1e-5)
    assert metrics == pytest.approx(other_metrics, rel=1e-3, abs=1e-5)
    plain = [update(one, whole("none"), policy)[0].network for one in (rows, image_of(rows))]
    assert largest_difference(*plain) > 1e-4
    # They stay symmetric: the statistics are those of one side, or of both.
    observation = jnp.asarray(rollout_rows(1)[0, :, :OBSERVATION])
    noise = jnp.asarray(np.random.default_rng(4).normal(size=(NUM_ENVS, ACTION)), jnp.float32)
    controller = Controller(own.network, own.normaliser, MIRROR if symmetry == "averaged" else None)
    sample = controller.action(observation, noise)
    mirrored_sample = controller.action(MIRROR.observation(observation), MIRROR.action(noise))
    assert_near(mirrored_sample, MIRROR.action(sample))


def test_the_mirror_loss_makes_a_policy_symmetric() -> None:
    # There are no rewards, and the critic predicts 0, so nothing else is learned.
    rows = rollout_rows()
    rows[..., -3] = 0
    network = dataclasses.replace(skew_network(), critic=[{"weight": jnp.zeros((3, 1)), "bias": jnp.zeros(1)}])
    settings = whole("loss", symmetry_weight=1.0, learning_rate=0.02, epochs=200, entropy_coef=0.0)
    result = update(rows, settings, LINEAR, network)[0].network
    assert_near(
        (result.critic, result.log_std),
        ([{"weight": np.zeros((3, 1)), "bias": np.zeros(1)}], np.array([-0.5, 0.3])),
    )
    weight, bias = result.actor[0]["weight"], result.actor[0]["bias"]
    # mean(M o) = M mean(o) for all o, written out.
    np.testing.assert_allclose(weight[1, 0], -weight[0, 1], atol=0.02)
    np.testing.assert_allclose(weight[0, 0], -weight[1, 1], atol=0.02)
    np.testing.assert_allclose(weight[2, 0], weight[2, 1], atol=0.02)
    np.testing.assert_allclose(bias[0], -bias[1], atol=0.02)
    assert float(jnp.abs(weight).max()) > 0.1


def test_the_asymmetry_is_logged_if_the_loss_uses_mirror_images() -> None:
    for kind in ("augment", "loss"):
        # 48 transitions in minibatches of 10, the last of them not full.
        _, metrics = update(rollout_rows(), whole(kind, minibatch_size=10, epochs=2), NORMALISED)
        assert metrics["loss/symmetry"] > 0
    for kind in ("none", "averaged"):
        settings, symmetry = whole(kind, minibatch_size=10, epochs=2), Symmetry(kind, MIRROR)

        def metrics_of(rows, settings=settings, symmetry=symmetry):
            key = jax.random.PRNGKey(0)
            state = ppo.init(key, OBSERVATION, ACTION, NUM_ENVS, NORMALISED, settings, symmetry)
            return ppo.update(state, rows, jnp.float32(0.5), settings, symmetry)[1]

        assert "loss/symmetry" not in jax.eval_shape(metrics_of, rollout_rows())  # traced, not compiled


@pytest.mark.parametrize("wrong", [{"symmetry": "mirror"}, {"symmetry": True}, {"symmetry_weight": -1}])
def test_invalid_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(pydantic.ValidationError):
        PPOSettings(**wrong)
