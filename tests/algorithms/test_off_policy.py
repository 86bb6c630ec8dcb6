"""DDPG, TD3 and SAC against the papers' formulas; `training/test_probes.py` has tiny problems with known solutions."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from surefoot.algorithms import off_policy
from surefoot.algorithms.critics import Critics
from surefoot.algorithms.off_policy import OffPolicySettings, OffPolicyState
from surefoot.algorithms.replay import Batch
from surefoot.algorithms.sac import SACSettings
from surefoot.algorithms.symmetry import NO_SYMMETRY, Symmetry
from surefoot.algorithms.td3 import DDPGSettings, TD3Settings
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Controller
from surefoot.policies.symmetry import Mirror

OBSERVATION, ACTION, BATCH = 3, 2, 16
MODELS = {"ddpg": DDPGSettings, "td3": TD3Settings, "sac": SACSettings}
# Settings without noise on target actions, which SAC does not have.
EXACT = {"ddpg": {"target_noise": 0.0}, "td3": {"target_noise": 0.0}, "sac": {}}
FEW_OPTIMISATIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
SHAPE = {"actor": (8,), "critic": (8, 6), "activation": "tanh", "normalise_observations": False}


def shape(algorithm: str, **changes: Any) -> PolicySettings:
    mean = {"squash": "tanh_gaussian", "std": "state_dependent"} if algorithm == "sac" else {"squash": "tanh"}
    return PolicySettings(**SHAPE | mean | changes)


def transitions(batches: int, seed: int = 0) -> Batch:
    """Random transitions, a quarter of them terminal."""
    random = np.random.default_rng(seed)
    lead = (batches, BATCH)
    return Batch(
        np.float32(random.normal(size=(*lead, OBSERVATION))),
        np.float32(random.uniform(-1, 1, (*lead, ACTION))),
        np.float32(random.normal(size=lead)),
        np.float32(random.normal(size=(*lead, OBSERVATION))),
        np.float32(np.where(random.random(lead) < 0.25, 0, 0.9)),
    )


def bellman_targets(state: OffPolicyState, batch: Batch, key: jax.Array, settings: OffPolicySettings) -> jax.Array:
    action, bonus = settings.next_action(state, batch, key)
    return off_policy.critic_loss(state.critics, state, batch, action, bonus, settings)[1][1]


def start(policy: PolicySettings, settings: OffPolicySettings, seed: int = 0) -> OffPolicyState:
    """A state of random arrays, so that targets differ from their networks; sampled without compiling `init`."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(
        lambda key: off_policy.init(key, OBSERVATION, ACTION, policy, settings), jax.random.PRNGKey(0)
    )

    def sample(path, array):
        if "variance" in jax.tree_util.keystr(path):
            return np.float32(random.uniform(0.5, 2, array.shape))
        return np.float32(random.normal(scale=0.4, size=array.shape))

    parts = ("actor", "average", "critics", "target_actor", "target_critics")
    networks = {name: jax.tree_util.tree_map_with_path(sample, getattr(shapes, name)) for name in parts}
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return state._replace(extra=settings.init_extra(), key=jax.random.PRNGKey(seed), **networks)


def run(
    state: OffPolicyState,
    drawn: Batch,
    settings: OffPolicySettings,
    progress: float = 0.5,
    symmetry: Symmetry = NO_SYMMETRY,
) -> tuple[OffPolicyState, dict[str, float]]:
    """Update without consuming `state`; compiled with few optimisations, because it runs only once or twice."""
    arguments = jax.tree.map(np.array, (state, drawn, np.float32(progress)))
    extra = jax.tree.map(np.array, symmetry)
    update = off_policy.update.lower(*arguments, settings=settings, symmetry=extra).compile(FEW_OPTIMISATIONS)
    state, metrics = update(*arguments, symmetry=extra)
    return state, {name: float(value) for name, value in metrics.items()}


def assert_near(result: Any, expected: Any, atol: float = 2e-6) -> None:
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for (path, one), other in zip(jax.tree.leaves_with_path(result), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=atol, err_msg=jax.tree_util.keystr(path))


def network(layers: list, x):
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["weight"] + layer["bias"])
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


def value_of(critic: Critics, s, a):
    return network(critic.layers, jnp.concatenate([s, a], 1))[:, 0]


def decay_of(path: tuple, decay: float) -> float:
    """Return the weight decay of an array: 0 for `log_std`, `decay` for weights and biases."""
    return 0.0 if path and getattr(path[-1], "name", None) == "log_std" else decay


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, parameters: Any) -> None:
        self.m = self.v = jax.tree.map(np.zeros_like, parameters)
        self.t = 0

    def step(self, parameters: Any, gradient: Any, rate: float, decay: float, settings: OffPolicySettings) -> Any:
        if settings.max_grad_norm:
            norm = math.sqrt(sum(float(np.square(g).sum()) for g in jax.tree.leaves(gradient)))
            gradient = jax.tree.map(lambda g: g * min(1, settings.max_grad_norm / norm), gradient)
        if settings.optimizer == "adam":
            gradient = jax.tree_util.tree_map_with_path(
                lambda path, g, p: g + decay_of(path, decay) * p, gradient, parameters
            )
        self.t += 1
        self.m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, self.m, gradient)
        self.v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, self.v, gradient)
        apart = decay if settings.optimizer == "adamw" else 0.0

        def moved(path, p, m, v):
            hat_m, hat_v = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            return p - rate * (hat_m / (np.sqrt(hat_v) + 1e-8) + decay_of(path, apart) * p)

        return jax.tree_util.tree_map_with_path(moved, parameters, self.m, self.v)


class Paper:
    """The same updates with separate critics, gradients by `jax.grad` of the papers' losses, and Adam by hand."""

    def __init__(self, state: OffPolicyState, settings: OffPolicySettings) -> None:
        self.settings = settings
        self.actor = jax.tree.map(np.asarray, state.actor)
        self.target_actor = jax.tree.map(np.asarray, state.target_actor)
        self.average = jax.tree.map(np.asarray, state.average)
        self.critics, self.target_critics = (
            [jax.tree.map(lambda x, one=one: np.asarray(x[one]), critics) for one in range(settings.critics)]
            for critics in (state.critics, state.target_critics)
        )
        self.actor_adam, self.critic_adam = Adam(self.actor), Adam(self.critics)
        self.log_alpha = float(state.extra.log_value) if isinstance(settings, SACSettings) else 0.0
        self.alpha_adam = Adam(np.float32(0))
        self.key = state.key

    def noise(self) -> np.ndarray:
        self.key, use = jax.random.split(self.key)
        return np.asarray(jax.random.normal(use, (BATCH, ACTION)))

    def sample(self, actor: dict, s, noise) -> tuple[Any, Any]:
        """SAC's action and its log density, by the change of variables written out."""
        mean, log_std = jnp.split(network(actor.actor, s), 2, axis=1)
        log_std = jnp.clip(actor.log_std + log_std, math.log(0.01), 2.0)
        x = mean + jnp.exp(log_std) * noise
        # 1 - tanh(x)^2 = 1 / cosh(x)^2, whose logarithm does not overflow in this form
        log_slope = 2 * (math.log(2) - jnp.logaddexp(x, -x))
        log_prob = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi) - log_slope
        return jnp.tanh(x), log_prob.sum(1)

    def targets(self, batch: Batch, noise: np.ndarray) -> np.ndarray:
        if isinstance(self.settings, SACSettings):
            a, log_prob = self.sample(self.actor, batch.next_observation, noise)
            bonus = -math.exp(self.log_alpha) * log_prob
        else:
            limit = self.settings.target_noise_clip
            a = np.tanh(network(self.target_actor.actor, batch.next_observation))
            a = np.clip(a + np.clip(self.settings.target_noise * noise, -limit, limit), -1, 1)
            bonus = 0.0
        smallest = np.min([value_of(critic, batch.next_observation, a) for critic in self.target_critics], 0)
        return np.asarray(batch.reward + batch.discount * (smallest + bonus))

    def update(self, drawn: Batch, lr_scale: float) -> dict[str, float]:
        settings, losses, policy_losses = self.settings, [], []
        for index in range(len(drawn.reward)):
            batch = Batch(*(x[index] for x in drawn))
            y = self.targets(batch, self.noise())

            def critic_loss(critics, batch=batch, y=y):
                values = [value_of(critic, batch.observation, batch.action) for critic in critics]
                return sum(jnp.mean((value - y) ** 2) for value in values)

            loss, gradient = jax.value_and_grad(critic_loss)(self.critics)
            losses.append(float(loss) / settings.critics)
            rate, decay = lr_scale * settings.critic_learning_rate.start, settings.critic_weight_decay
            self.critics = self.critic_adam.step(self.critics, gradient, rate, decay, settings)
            if (index + 1) % settings.policy_delay == 0:
                policy_losses.append(self.update_actor(batch, lr_scale))
        return {"loss/value": np.mean(losses), "loss/policy": np.mean(policy_losses)}

    def update_actor(self, batch: Batch, lr_scale: float) -> float:
        settings, noise, s = self.settings, self.noise(), batch.observation

        def actor_loss(actor):
            if isinstance(settings, SACSettings):
                a, log_prob = self.sample(actor, s, noise)
                smallest = jnp.stack([value_of(critic, s, a) for critic in self.critics]).min(0)
                return jnp.mean(math.exp(self.log_alpha) * log_prob - smallest), log_prob.mean()
            return -jnp.mean(value_of(self.critics[0], s, jnp.tanh(network(actor.actor, s)))), 0.0

        (loss, log_prob), gradient = jax.value_and_grad(actor_loss, has_aux=True)(self.actor)
        rate, decay = lr_scale * settings.actor_learning_rate.start, settings.actor_weight_decay
        self.actor = self.actor_adam.step(self.actor, gradient, rate, decay, settings)
        if isinstance(settings, SACSettings):
            # J(alpha) = E[-alpha (log pi + H)], with respect to log alpha, as in the authors' code
            per_value = -1.0 if settings.target_entropy is None else settings.target_entropy
            grad = np.float32(-(float(log_prob) + per_value * ACTION))
            plain = SACSettings()
            rate = settings.temperature_learning_rate
            self.log_alpha = float(self.alpha_adam.step(np.float32(self.log_alpha), grad, rate, 0.0, plain))
        tau = settings.polyak
        move = lambda old, new: (1 - tau) * old + tau * new  # noqa: E731
        self.target_actor = jax.tree.map(move, self.target_actor, self.actor)
        decay = self.settings.ema_decay
        self.average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, self.average, self.actor)
        self.target_critics = jax.tree.map(move, self.target_critics, self.critics)
        return float(loss)


DECAY = {"actor_weight_decay": 0.1, "critic_weight_decay": 0.05}
CASES = [
    ("ddpg", 1, {}),
    ("ddpg", 2, {}),
    ("ddpg", 3, {"critics": 3, "policy_delay": 3, "target_noise": 0.5, "target_noise_clip": 0.3}),
    ("td3", 2, {}),
    ("td3", 4, {}),
    ("td3", 1, {"policy_delay": 1}),
    ("sac", 1, {}),
    ("sac", 2, {}),
    ("sac", 2, {"policy_delay": 2, "target_entropy": 0.5, "temperature": 0.3}),
    ("td3", 2, {"max_grad_norm": 0.1}),
    ("ddpg", 2, DECAY),
    ("td3", 2, DECAY | {"optimizer": "adamw"}),
    ("sac", 2, DECAY | {"max_grad_norm": 0.2}),
    ("ddpg", 1, {"kind": "linear"}),
    ("sac", 1, {"kind": "cosine"}),
    ("ddpg", 3, {"ema_decay": 0.7}),
    ("td3", 4, {"ema_decay": 0.7}),
]


RATES = {"actor_learning_rate": 2e-3, "critic_learning_rate": 1e-3}


@pytest.mark.parametrize("algorithm, updates, changes", CASES)
def test_updates_equal_those_of_the_papers(algorithm: str, updates: int, changes: dict) -> None:
    policy, progress = shape(algorithm), 0.25
    changes = changes | ({"temperature_learning_rate": 0.01} if algorithm == "sac" else {})
    kind = changes.pop("kind", "constant")
    rates = {name: {"kind": kind, "start": rate, "end": 0.2 * rate} for name, rate in RATES.items()}
    settings = MODELS[algorithm](**rates, **{"polyak": 0.1} | changes)
    state, drawn = start(policy, settings), transitions(updates)
    lr_scale = {
        "constant": 1.0,
        "linear": 1 - 0.8 * progress,
        "cosine": 1 - 0.8 * (1 - math.cos(math.pi * progress)) / 2,
    }[kind]
    paper = Paper(state, settings)
    expected = paper.update(drawn, lr_scale)
    result, metrics = run(state, drawn, settings, progress)
    stacked_arrays = lambda trees: jax.tree.map(lambda *x: np.stack(x), *trees)  # noqa: E731
    # A step of Adam is about the learning rate; the tolerance is a hundredth of it.
    assert_near(result.critics, stacked_arrays(paper.critics), 1e-5)
    assert_near(result.actor, paper.actor, 1e-5)
    assert_near(result.target_critics, stacked_arrays(paper.target_critics))
    assert_near(result.target_actor, paper.target_actor)
    assert_near(result.average, paper.average)
    assert_near(optax.tree.get(result.critic_opt_state, "mu"), stacked_arrays(paper.critic_adam.m), 1e-6)
    assert_near(optax.tree.get(result.actor_opt_state, "mu"), paper.actor_adam.m, 1e-6)
    if algorithm == "sac":
        assert float(result.extra.log_value) == pytest.approx(paper.log_alpha, rel=1e-4, abs=1e-6)
    assert metrics["learning_rate"] == pytest.approx(2e-3 * lr_scale, rel=1e-5)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4)
    assert int(optax.tree.get(result.critic_opt_state, "count")) == updates


def one_batch(seed: int = 0) -> Batch:
    return Batch(*(jnp.asarray(x[0]) for x in transitions(1, seed)))


def target_values(state: OffPolicyState, batch: Batch, action) -> np.ndarray:
    """Values of the target critics, (C, B)."""
    return np.asarray(state.target_critics(batch.next_observation, action))


def test_targets_use_the_smallest_target_critic() -> None:
    policy, settings = shape("td3"), TD3Settings(critics=3, target_noise=0.0)
    state, batch = start(policy, settings), one_batch()
    action, _ = state.target_actor.distribution(batch.next_observation)
    values = target_values(state, batch, action)
    assert len(np.unique(values.argmin(0))) > 1
    result = bellman_targets(state, batch, jax.random.PRNGKey(0), settings)
    np.testing.assert_allclose(result, batch.reward + batch.discount * values.min(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", MODELS)
def test_targets_of_terminal_transitions_are_their_rewards(algorithm: str) -> None:
    policy, settings = shape(algorithm), MODELS[algorithm]()
    state = start(policy, settings)
    batch = one_batch()
    result = bellman_targets(state, batch, jax.random.PRNGKey(0), settings)
    terminal = np.asarray(batch.discount) == 0
    assert 0 < terminal.sum() < BATCH
    np.testing.assert_array_equal(np.asarray(result) == batch.reward, terminal)


def test_target_noise_is_clipped_to_its_limit_and_to_the_action_bounds() -> None:
    # One critic whose value is the action, so that the target equals the action.
    policy = shape("td3", critic=(), actor=())
    settings = TD3Settings(critics=1, target_noise=0.4, target_noise_clip=0.3)
    state = off_policy.init(jax.random.PRNGKey(0), 1, 1, policy, settings)
    layer = {"weight": jnp.float32([[[0.0], [1.0]]]), "bias": jnp.zeros((1, 1))}
    actor = [{"weight": jnp.ones((1, 1)), "bias": jnp.zeros(1)}]
    state = state._replace(
        target_critics=dataclasses.replace(state.target_critics, layers=[layer]),
        target_actor=dataclasses.replace(state.target_actor, actor=actor),
    )
    count = 20_000
    for observation in (0.0, math.atanh(0.9)):
        zeros = jnp.zeros((count, 1))
        batch = Batch(zeros, zeros, jnp.zeros(count), zeros + observation, jnp.ones(count))
        result = np.asarray(bellman_targets(state, batch, jax.random.PRNGKey(1), settings))
        mean = math.tanh(observation)
        low, high = mean - 0.3, min(mean + 0.3, 1.0)
        assert result.min() == pytest.approx(low, abs=1e-6) and result.max() == pytest.approx(high, abs=1e-6)
        inside = (result > low + 1e-5) & (result < high - 1e-5)
        probability = scipy.stats.norm.cdf(high - mean, scale=0.4) - scipy.stats.norm.cdf(low - mean, scale=0.4)
        assert inside.mean() == pytest.approx(probability, abs=0.015)
        # Between the limits, the density is a truncated normal one.
        cut = scipy.stats.truncnorm((low - mean) / 0.4, (high - mean) / 0.4, loc=mean, scale=0.4)
        assert scipy.stats.kstest(result[inside], cut.cdf).pvalue > 1e-3


def test_sac_targets_use_the_current_actor_and_include_the_entropy() -> None:
    policy, settings = shape("sac"), SACSettings(temperature=0.3)
    state, batch = start(policy, settings), one_batch()
    key = jax.random.PRNGKey(5)
    noise = np.asarray(jax.random.normal(key, (BATCH, ACTION)), np.float64)
    mean, log_std = (np.float64(x) for x in state.actor.distribution(batch.next_observation))
    x = mean + np.exp(log_std) * noise
    log_prob = (scipy.stats.norm.logpdf(x, mean, np.exp(log_std)) + 2 * np.log(np.cosh(x))).sum(1)
    smallest = target_values(state, batch, np.float32(np.tanh(x))).min(0)
    result = bellman_targets(state, batch, key, settings)
    expected = np.asarray(batch.reward) + np.asarray(batch.discount) * (smallest - 0.3 * log_prob)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_ddpg_is_td3_without_its_extras() -> None:
    td3 = TD3Settings(critics=1, policy_delay=1, target_noise=0.0)
    policy, drawn = shape("ddpg"), transitions(3)
    one, metrics = run(start(policy, DDPGSettings()), drawn, DDPGSettings())
    other, other_metrics = run(start(policy, td3), drawn, td3)
    assert metrics == other_metrics
    assert all((x == y).all() for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_actor_and_target_networks_are_updated_once_per_policy_delay() -> None:
    policy, settings = shape("td3"), TD3Settings(policy_delay=3, polyak=0.25)
    state = start(policy, settings)
    result, _ = run(state, transitions(3), settings)
    assert (
        int(optax.tree.get(result.critic_opt_state, "count")) == 3
        and int(optax.tree.get(result.actor_opt_state, "count")) == 1
    )
    for target, network in (("target_actor", "actor"), ("target_critics", "critics")):
        before, after = getattr(state, target), getattr(result, network)
        expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, before, after)
        assert_near(getattr(result, target), expected, 1e-6)


@pytest.mark.parametrize("algorithm", MODELS)
def test_one_call_of_several_updates_equals_several_calls(algorithm: str) -> None:
    policy, settings = shape(algorithm), MODELS[algorithm]()
    drawn, delay = transitions(6), settings.policy_delay
    state = start(policy, settings)
    at_once, _ = run(state, drawn, settings)
    for first in range(0, 6, delay):
        state, _ = run(state, Batch(*(x[first : first + delay] for x in drawn)), settings)
    assert_near(at_once, state, 1e-6)


def test_updates_depend_on_the_random_key_only() -> None:
    policy, settings = shape("sac"), SACSettings()
    state, drawn = start(policy, settings), transitions(2)
    ends = [run(state._replace(key=jax.random.PRNGKey(seed)), drawn, settings)[0] for seed in (1, 1, 2)]
    weights = [np.asarray(end.actor.actor[0]["weight"]) for end in ends]
    assert (weights[0] == weights[1]).all() and (weights[0] != weights[2]).any()
    assert (ends[0].key != state.key).any()


@pytest.mark.parametrize("target_entropy, rises", [(-20.0, False), (5.0, True)])
def test_the_temperature_moves_the_entropy_towards_its_target(target_entropy: float, rises: bool) -> None:
    policy, settings = shape("sac"), SACSettings(target_entropy=target_entropy, temperature=0.5)
    result, metrics = run(start(policy, settings), transitions(4), settings)
    assert (metrics["policy/entropy"] < target_entropy * ACTION) == rises
    assert (math.exp(result.extra.log_value) > 0.5) == rises
    # Four steps of Adam in one direction are four times its learning rate.
    assert abs(float(result.extra.log_value) - math.log(0.5)) == pytest.approx(4 * 3e-4, rel=1e-2)


def test_a_temperature_without_a_learning_rate_is_constant() -> None:
    policy, settings = shape("sac"), SACSettings(temperature=0.2, temperature_learning_rate=0.0)
    result, metrics = run(start(policy, settings), transitions(3), settings)
    assert float(result.extra.log_value) == pytest.approx(math.log(0.2))
    assert metrics["temperature"] == pytest.approx(0.2)


def test_weight_decay_with_adam_and_adamw_differ() -> None:
    policy, drawn = shape("ddpg"), transitions(1)

    def step(**changes):
        settings = DDPGSettings(**changes)
        before = start(policy, settings)
        after, _ = run(before, drawn, settings)
        return before.critics, jax.tree.map(lambda new, old: new - old, after.critics, before.critics)

    (critics, plain), (_, adam), (_, adamw) = (
        step(critic_weight_decay=decay, optimizer=optimizer)
        for decay, optimizer in ((0.0, "adam"), (0.5, "adam"), (0.5, "adamw"))
    )
    # AdamW subtracts exactly learning rate x decay x parameter. With Adam, the first step is at most the learning rate.
    assert_near(adamw, jax.tree.map(lambda s, p: s - 1e-3 * 0.5 * p, plain, critics), 1e-6)
    for one in jax.tree.leaves(adam):
        assert np.abs(one).max() <= 1e-3 * 1.001
    assert any((np.sign(a) != np.sign(b)).any() for a, b in zip(*map(jax.tree.leaves, (adam, plain)), strict=True))


def test_the_gradient_norm_is_that_of_all_critics_together() -> None:
    policy, drawn = shape("td3"), transitions(1)

    def gradient(limit: float) -> tuple[Any, Any]:
        settings = TD3Settings(max_grad_norm=limit, policy_delay=1)
        result, _ = run(start(policy, settings), drawn, settings)
        states = result.critic_opt_state, result.actor_opt_state
        return jax.tree.map(lambda m: m / 0.1, tuple(optax.tree.get(state, "mu") for state in states))

    for free, clipped, loose in zip(gradient(0.0), gradient(0.05), gradient(1e6), strict=True):
        norm = math.sqrt(sum(float(jnp.square(g).sum()) for g in jax.tree.leaves(free)))
        assert norm > 0.05
        assert_near(clipped, jax.tree.map(lambda g, norm=norm: g * 0.05 / norm, free), 1e-6)
        assert_near(loose, free, 1e-6)


@pytest.mark.parametrize("algorithm", MODELS)
def test_augmentation_equals_a_batch_with_its_mirror_images(algorithm: str) -> None:
    policy, settings = shape(algorithm), MODELS[algorithm](symmetry="augment")
    signs, offsets = np.float32([1, 1, -1]), np.float32([0, 0, 0.5])
    mirror = Mirror(np.array([1, 0, 2]), signs, offsets, np.array([1, 0]), np.float32([-1, -1]))
    drawn = transitions(2)

    def observations(x):
        return np.concatenate([x, np.stack([x[..., 1], x[..., 0], 0.5 - x[..., 2]], -1)], 1)

    doubled = Batch(
        observations(drawn.observation),
        np.concatenate([drawn.action, -drawn.action[..., ::-1]], 1),
        np.concatenate([drawn.reward] * 2, 1),
        observations(drawn.next_observation),
        np.concatenate([drawn.discount] * 2, 1),
    )
    state = start(policy, settings)
    one, metrics = run(state, drawn, settings, symmetry=Symmetry("augment", mirror))
    other, other_metrics = run(state, doubled, settings)
    assert_near(one, other, 1e-6)
    assert metrics == pytest.approx(other_metrics, rel=1e-4, abs=1e-6)
    alone, _ = run(state, drawn, settings)
    assert np.abs(one.actor.actor[0]["weight"] - alone.actor.actor[0]["weight"]).max() > 1e-5


@pytest.mark.parametrize("algorithm", MODELS)
def test_observations_are_normalised_by_the_running_statistics(algorithm: str) -> None:
    mean, std = np.float32([1, -2, 3]), np.float32([0.5, 2, 4])
    plain, normal = shape(algorithm), shape(algorithm, normalise_observations=True, observation_clip=1.5)
    settings, drawn = MODELS[algorithm](), transitions(2)
    normaliser = Normaliser(mean, std**2, np.float32(10))
    by_hand = drawn._replace(
        observation=np.clip((drawn.observation - mean) / std, -1.5, 1.5),
        next_observation=np.clip((drawn.next_observation - mean) / std, -1.5, 1.5),
    )
    expected, _ = run(start(plain, settings)._replace(normaliser=normaliser), by_hand, settings)
    updated, _ = run(start(normal, settings)._replace(normaliser=normaliser), drawn, settings)
    assert_near(jax.tree.leaves(updated), jax.tree.leaves(expected), 1e-5)


def statistics(layers: list) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(layer["batch_mean"]), np.asarray(layer["batch_variance"])) for layer in layers[:-1]]


@pytest.mark.parametrize("algorithm", MODELS)
def test_running_statistics_of_networks_and_target_networks(algorithm: str) -> None:
    policy, settings = shape(algorithm, batch_norm=True), MODELS[algorithm](policy_delay=1, polyak=0.3)
    state, drawn = start(policy, settings), transitions(1)
    result, _ = run(state, drawn, settings)
    batch = Batch(*(np.float64(x[0]) for x in drawn))
    # The first layer's pre-activations do not depend on other statistics.
    first = state.actor.actor[0]
    outputs = batch.observation @ first["weight"] + first["bias"]
    (mean, variance), (now_mean, now_variance) = (
        statistics(state.actor.actor)[0],
        statistics(result.actor.actor)[0],
    )
    np.testing.assert_allclose(now_mean, 0.9 * mean + 0.1 * outputs.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(now_variance, 0.9 * variance + 0.1 * outputs.var(0), rtol=1e-4, atol=1e-5)
    current = np.concatenate([batch.observation, batch.action], 1)
    for one in range(settings.critics):
        first = jax.tree.map(lambda x, one=one: x[one], state.critics.layers[0])
        outputs = current @ first["weight"] + first["bias"]
        after = result.critics.layers[0]
        expected = 0.9 * first["batch_mean"] + 0.1 * outputs.mean(0)
        np.testing.assert_allclose(after["batch_mean"][one], expected, rtol=1e-4, atol=1e-5)
        expected = 0.9 * first["batch_variance"] + 0.1 * outputs.var(0)
        np.testing.assert_allclose(after["batch_variance"][one], expected, rtol=1e-4, atol=1e-5)
    for target, network, name in (("target_actor", "actor", "actor"), ("target_critics", "critics", "layers")):
        before, after, own = (
            statistics(getattr(tree, name))
            for tree in (getattr(state, target), getattr(result, target), getattr(result, network))
        )
        for old, new, goal in zip(before, after, own, strict=True):
            np.testing.assert_allclose(new[0], 0.7 * old[0] + 0.3 * goal[0], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(new[1], 0.7 * old[1] + 0.3 * goal[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("algorithm", MODELS)
def test_targets_use_running_statistics(algorithm: str) -> None:
    policy, settings = shape(algorithm, batch_norm=True), MODELS[algorithm](**EXACT[algorithm])
    state, batch, key = start(policy, settings), one_batch(), jax.random.PRNGKey(0)
    result = bellman_targets(state, batch, key, settings)
    # Changes in half of the batch do not change the targets of the other half; noise depends on the position only.
    other = batch._replace(next_observation=batch.next_observation.at[BATCH // 2 :].add(3.0))
    changed = bellman_targets(state, other, key, settings)
    np.testing.assert_allclose(changed[: BATCH // 2], result[: BATCH // 2], rtol=1e-5)
    alive = np.asarray(batch.discount[BATCH // 2 :]) > 0
    assert (np.abs(changed - result)[BATCH // 2 :][alive] > 1e-4).all()


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weight_decay_leaves_running_statistics_alone(optimizer: str) -> None:
    policy = shape("ddpg", batch_norm=True)
    drawn, ends = transitions(1), []
    for decay in (0.0, 0.5):
        settings = DDPGSettings(
            optimizer=optimizer, critic_weight_decay=decay, actor_weight_decay=decay, actor_learning_rate=0.01
        )
        result, _ = run(start(policy, settings), drawn, settings)
        ends.append([result.critics.layers, result.actor.actor])
    for plain, decayed in zip(*ends, strict=True):
        for one, other in zip(statistics(plain), statistics(decayed), strict=True):
            np.testing.assert_allclose(other[0], one[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(other[1], one[1], rtol=1e-5, atol=1e-6)


def normalised(layers: list, x, running: bool):
    """Return the output (B, O) of tanh layers with batch normalisation by running or batch statistics."""
    for layer in layers[:-1]:
        x = x @ layer["weight"] + layer["bias"]
        mean, variance = (layer["batch_mean"], layer["batch_variance"]) if running else (x.mean(0), x.var(0))
        x = jnp.tanh((x - mean) / jnp.sqrt(variance + 1e-5) * layer["batch_gain"] + layer["batch_bias"])
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


@pytest.mark.parametrize("algorithm", MODELS)
def test_crossq_evaluates_current_and_next_states_in_one_batch(algorithm: str) -> None:
    policy = shape(algorithm, batch_norm=True)
    settings = MODELS[algorithm](preset="crossq", policy_delay=1, **EXACT[algorithm])
    state, drawn = start(policy, settings), transitions(1)
    result, metrics = run(state, drawn, settings)
    batch = Batch(*(x[0] for x in drawn))
    output = normalised(state.actor.actor, batch.next_observation, running=True)
    bonus, next_action = 0.0, jnp.tanh(output)
    if algorithm == "sac":
        mean, log_std = jnp.split(output, 2, axis=1)
        log_std = jnp.clip(state.actor.log_std + log_std, math.log(0.01), 2.0)
        _, use = jax.random.split(state.key)
        noise = jax.random.normal(use, (BATCH, ACTION))
        x = mean + jnp.exp(log_std) * noise
        next_action = jnp.tanh(x)
        log_slope = 2 * (math.log(2) - jnp.logaddexp(x, -x))
        bonus = -(-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi) - log_slope).sum(1)
    current = jnp.concatenate([batch.observation, batch.action], 1)
    after = jnp.concatenate([batch.next_observation, next_action], 1)
    critics = [jax.tree.map(lambda x, one=one: x[one], state.critics.layers) for one in range(settings.critics)]

    def loss(critics: list) -> tuple[jax.Array, jax.Array]:
        values = [normalised(layers, jnp.concatenate([current, after]), running=False)[:, 0] for layers in critics]
        smallest = jnp.stack([one[BATCH:] for one in values]).min(0)
        expected = jax.lax.stop_gradient(batch.reward + batch.discount * (smallest + bonus))
        return sum(jnp.mean((one[:BATCH] - expected) ** 2) for one in values), expected

    (error, expected), gradient = jax.value_and_grad(loss, has_aux=True)(critics)
    assert metrics["loss/value"] == pytest.approx(float(error) / settings.critics, rel=1e-4)
    assert metrics["value/target"] == pytest.approx(float(expected.mean()), rel=1e-4)
    stacked = jax.tree.map(lambda *x: np.stack(x), *gradient)
    # After one step, Adam's first moment is 1 - beta 1 times the gradient; statistics have no gradient.
    assert_near(optax.tree.get(result.critic_opt_state, "mu").layers, jax.tree.map(lambda g: 0.5 * g, stacked), 1e-5)
    first = state.critics.layers[0]
    outputs = np.stack([jnp.concatenate([current, after]) @ one[0]["weight"] + one[0]["bias"] for one in critics])
    mean = 0.99 * first["batch_mean"] + 0.01 * outputs.mean(1)
    np.testing.assert_allclose(result.critics.layers[0]["batch_mean"], mean, rtol=1e-4, atol=1e-5)
    assert_near(result.target_critics, result.critics)
    assert_near(result.target_actor, result.actor)


@pytest.mark.parametrize("algorithm", MODELS)
def test_weights_into_normalised_units_keep_unit_norm(algorithm: str, monkeypatch) -> None:
    policy, drawn, ends = shape(algorithm, batch_norm=True), transitions(1), []
    for unit_norm in (False, True):
        preset = off_policy.PRESETS["crossq"]._replace(unit_norm_weights=unit_norm)
        monkeypatch.setitem(off_policy.PRESETS, "crossq", preset)
        # `learning_starts` has no effect here; two values, so that the update is compiled for each preset.
        settings = MODELS[algorithm](
            preset="crossq", learning_starts=int(unit_norm), policy_delay=1, actor_learning_rate=0.01
        )
        ends.append(run(start(policy, settings), drawn, settings)[0])
    (plain, unit_norm_layers), actor = (end.critics.layers for end in ends), ends[1].actor.actor
    for before, after in zip(plain[:-1], unit_norm_layers[:-1], strict=True):
        length = np.linalg.norm(before["weight"], axis=-2, keepdims=True)
        assert np.abs(length - 1).max() > 0.05
        np.testing.assert_allclose(after["weight"], before["weight"] / length, rtol=1e-4, atol=1e-6)
        # Batch normalisation cancels the bias: its gradient is rounding noise, which Adam enlarges.
        for name in ("batch_gain", "batch_bias", "batch_mean"):
            np.testing.assert_allclose(after[name], before[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(unit_norm_layers[-1]["weight"], plain[-1]["weight"], rtol=1e-4, atol=1e-6)
    # Weights of the actor are rescaled too, except those of its last layer.
    lengths = [np.linalg.norm(layer["weight"], axis=0) for layer in actor]
    np.testing.assert_allclose(np.concatenate(lengths[:-1]), 1, rtol=1e-5)
    assert np.abs(lengths[-1] - 1).max() > 0.05


def test_exploration_noise_is_added_and_the_action_is_clipped() -> None:
    policy = shape("td3")
    state = start(policy, TD3Settings())
    observation = transitions(1).observation[0]
    mean = np.tanh(network(state.actor.actor, observation))
    noise = np.float32(np.random.default_rng(0).normal(size=(BATCH, ACTION)))
    assert (np.abs(mean + noise) > 1).any()
    plain = off_policy.act(Controller(state.actor, state.normaliser), observation, None)
    noisy = off_policy.act(Controller(state.actor, state.normaliser), observation, noise)
    np.testing.assert_allclose(plain, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(noisy, np.clip(mean + noise, -1, 1), rtol=1e-4, atol=1e-6)


def test_actions_of_a_stochastic_actor_are_squashed_samples() -> None:
    policy = shape("sac")
    state = start(policy, SACSettings())
    observation = transitions(1).observation[0]
    mean, log_std = state.actor.distribution(observation)
    noise = np.float32(np.random.default_rng(0).normal(size=(BATCH, ACTION)))
    result = off_policy.act(Controller(state.actor, state.normaliser), observation, None, noise)
    np.testing.assert_allclose(result, np.tanh(mean + np.exp(log_std) * noise), rtol=1e-4, atol=1e-6)
    result = off_policy.act(Controller(state.actor, state.normaliser), observation, None)
    np.testing.assert_allclose(result, np.tanh(mean), rtol=1e-4, atol=1e-6)
