"""PPO's parts against hand-computed numbers, and what one update does and must not do."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
import pytest
import scipy.stats

from surefoot.algorithms import ppo
from surefoot.algorithms.ppo import Batch, PPOSettings, PPOState
from surefoot.algorithms.rollout import Rollout, rollout_layout
from surefoot.policies.networks import ActorCritic, PolicySettings, scheduled_log_std
from surefoot.policies.policy import Controller
from surefoot.schedules import Schedule

LINEAR = PolicySettings(actor=(), critic=(), normalise_observations=False)
PLAIN = {"normalise_advantages": "none", "normalise_returns": False, "max_grad_norm": 0.0}


def linear_network(policy: PolicySettings = LINEAR) -> ActorCritic:
    """One observation and one action value: mean 0, standard deviation 1, and the value is the observation."""
    return ActorCritic(
        trunk=[],
        actor=[{"weight": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}],
        critic=[{"weight": jnp.ones((1, 1)), "bias": jnp.zeros(1)}],
        log_std=jnp.zeros(1),
        settings=policy,
    )


def hand_batch(ratio, advantage, value=0.0, target=0.0, mask=1.0) -> Batch:
    """Transitions with action 0.5, whose probability is `ratio` times the old one."""
    ratio, *rest = np.broadcast_arrays(ratio, advantage, value, target, mask)
    advantage, value, target, mask = (jnp.asarray(x, jnp.float32) for x in rest)
    now = scipy.stats.norm.logpdf(0.5)
    return Batch(
        observation=value[:, None],
        action=jnp.full((len(ratio), 1), 0.5),
        log_prob=jnp.asarray(now - np.log(ratio), jnp.float32),
        advantage=advantage,
        target=target,
        mask=mask,
    )


def hand_loss(batch: Batch, **settings) -> dict[str, float]:
    total, metrics = ppo.loss(linear_network(), batch, PPOSettings(**PLAIN | settings))
    return {"total": float(total)} | {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize(
    "ratio, advantage, expected",
    [
        (1.0, 3.0, -3.0),
        (1.1, 2.0, -2.2),  # within the range: the ratio itself
        (1.5, 2.0, -2.4),  # moved far where it gains: flat at 1.2
        (1.5, -2.0, 3.0),  # moved far where it loses: no limit
        (0.5, 2.0, -1.0),
        (0.5, -2.0, 1.6),  # flat at 0.8
    ],
)
def test_the_clipped_surrogate(ratio: float, advantage: float, expected: float) -> None:
    result = hand_loss(hand_batch([ratio], [advantage]), clip_eps=0.2, value_coef=0.0)
    assert result["loss/policy"] == pytest.approx(expected, rel=1e-5)
    assert result["total"] == pytest.approx(expected, rel=1e-5)


def test_the_clipped_surrogate_has_no_gradient() -> None:
    def grads(ratio, advantage):
        settings = PPOSettings(**PLAIN, clip_eps=0.2, value_coef=0.0)
        batch = hand_batch([ratio], [advantage])
        return jax.grad(lambda network: ppo.loss(network, batch, settings)[0])(linear_network()).actor[0]["bias"][0]

    assert grads(1.5, 2.0) == grads(0.5, -2.0) == 0
    # d log p / d mean = (action - mean) / std^2 = 0.5, so d(-r A) = -r A 0.5
    assert grads(1.5, -2.0) == pytest.approx(1.5, rel=1e-5)
    assert grads(1.1, 2.0) == pytest.approx(-1.1, rel=1e-5)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, (0.5 * 0.5**2 + 0.5 * 3.0**2) / 2),
        ({"value_loss": "huber"}, (0.5 * 0.5**2 + (3.0 - 0.5)) / 2),
    ],
)
def test_the_value_loss(settings: dict, expected: float) -> None:
    batch = hand_batch([1.0, 1.0], 0.0, value=[1.0, 5.0], target=[1.5, 2.0])
    result = hand_loss(batch, value_coef=0.7, **settings)
    assert result["loss/value"] == pytest.approx(expected, rel=1e-5)
    assert result["total"] == pytest.approx(0.7 * expected, rel=1e-5)


def test_the_entropy_bonus_is_the_entropy_of_the_gaussian() -> None:
    result = hand_loss(hand_batch([1.0], 0.0), entropy_coef=0.3, value_coef=0.0)
    assert result["policy/entropy"] == pytest.approx(scipy.stats.norm.entropy(), rel=1e-5)
    assert result["total"] == pytest.approx(-0.3 * scipy.stats.norm.entropy(), rel=1e-5)
    policy = PolicySettings(actor=(), critic=())
    network = ppo.init(jax.random.PRNGKey(0), 1, 2, 1, policy, PPOSettings()).network
    network = dataclasses.replace(network, log_std=jnp.log(jnp.array([0.5, 3.0])))
    batch = hand_batch([1.0], 0.0)._replace(action=jnp.zeros((1, 2)))
    _, metrics = ppo.loss(network, batch, PPOSettings())
    expected = scipy.stats.norm.entropy(scale=[0.5, 3.0]).sum()
    assert float(metrics["policy/entropy"]) == pytest.approx(expected, rel=1e-5)


def test_kl_and_clip_fraction() -> None:
    ratio = np.array([1.0, 1.1, 0.7, 1.5])
    result = hand_loss(hand_batch(ratio, 1.0), clip_eps=0.2)
    assert result["policy/kl"] == pytest.approx(np.mean(ratio - 1 - np.log(ratio)), rel=1e-4)
    assert result["policy/clip_fraction"] == pytest.approx(0.5)


def test_the_kl_estimate_is_accurate_for_a_small_step() -> None:
    random = np.random.default_rng(1)
    action = random.normal(0.1, 1.0, size=200_000)  # from the old policy, N(0.1, 1); the new one is N(0, 1)
    batch = hand_batch(np.ones(len(action)), 1.0)._replace(
        action=jnp.asarray(action[:, None], jnp.float32),
        log_prob=jnp.asarray(scipy.stats.norm.logpdf(action, 0.1), jnp.float32),
    )
    assert hand_loss(batch)["policy/kl"] == pytest.approx(0.1**2 / 2, rel=0.02)


def test_advantages_are_standardised_over_the_minibatch() -> None:
    advantage = np.array([1.0, 2.0, 6.0])
    standard = (advantage - 3.0) / np.std(advantage)
    ratio = np.array([1.1, 0.9, 1.0])
    result = hand_loss(hand_batch(ratio, advantage), normalise_advantages="minibatch")
    assert result["loss/policy"] == pytest.approx(-np.mean(ratio * standard), rel=1e-4)


def gradient_of(settings: PPOSettings):
    loss = functools.partial(ppo.loss, settings=settings)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.parametrize("std, advantages", [("parameter", "minibatch"), ("state_dependent", "none")])
def test_masked_rows_have_no_effect(std: str, advantages: str) -> None:
    policy = PolicySettings(actor=(4,), critic=(4,), std=std)
    settings = PPOSettings(normalise_advantages=advantages, entropy_coef=0.1)
    network = ppo.init(jax.random.PRNGKey(0), 2, 3, 1, policy, settings).network
    random = np.random.default_rng(2)

    def fields(count, scale):
        sizes = [(count, 2), (count, 3), *[(count,)] * 3]
        return [jnp.asarray(scale * random.normal(size=size), jnp.float32) for size in sizes]

    real = Batch(*fields(6, 1.0), jnp.ones(6))
    empty = Batch(*fields(4, 30.0), jnp.zeros(4))
    # The ratio of this row overflows.
    empty = empty._replace(log_prob=empty.log_prob.at[0].set(-1e6))
    padded = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), real, empty)
    gradient = gradient_of(settings)
    (total, metrics), grads = gradient(network, real)
    (padded_total, padded_metrics), padded_slope = gradient(network, padded)
    np.testing.assert_allclose(padded_total, total, rtol=1e-5)
    for name in metrics:
        np.testing.assert_allclose(padded_metrics[name], metrics[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for a, b in zip(jax.tree.leaves(padded_slope), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# What follows is about whole updates, on rollouts of random numbers: T = 12 steps of 4 copies. Settings are shared
# between tests, because an update takes seconds to compile for each.

POLICY = PolicySettings(actor=(8,), critic=(8,))
NETWORK = PolicySettings(actor=(8,), critic=(8,), std="state_dependent")
# 48 transitions: four whole minibatches and one of 8 and 2 of padding.
SMALL = PPOSettings(minibatch_size=10, epochs=3)
ENTROPY = PPOSettings(minibatch_size=10, epochs=3, entropy_coef=0.01, normalise_advantages="batch")
WHOLE = PPOSettings(**PLAIN, minibatch_size=48, epochs=1)
STEPS, NUM_ENVS, OBSERVATION, ACTION = 12, 4, 3, 2


def rollout_rows(seed: int = 0, reward_scale: float = 1.0, ends: bool = True) -> np.ndarray:
    """Return a packed rollout (T+1, N, D + A + 3); the first row of an episode has reward 0."""
    random = np.random.default_rng(seed)
    size = (STEPS + 1, NUM_ENVS)
    observation = random.normal(1.0, 2.0, size=(*size, OBSERVATION))
    action = random.normal(size=(*size, ACTION))
    reward = random.normal(size=size) + action[..., 0]
    terminated, truncated = np.zeros((2, *size), bool)
    if ends:
        terminated[3, 0] = terminated[7, 2] = truncated[5, 1] = True
        reward[4, 0] = reward[8, 2] = reward[6, 1] = 0
    rollout = Rollout(observation, action, reward_scale * reward, terminated, truncated)
    return rollout_layout(OBSERVATION, ACTION).pack(rollout._asdict(), np)


def new_state(settings: PPOSettings, policy: PolicySettings = POLICY, seed: int = 0) -> PPOState:
    return ppo.init(jax.random.PRNGKey(seed), OBSERVATION, ACTION, NUM_ENVS, policy, settings)


def update(rows, settings: PPOSettings, policy: PolicySettings = POLICY, progress: float = 0.5, state=None):
    """Make one update; the state passed in must not be used again."""
    state = new_state(settings, policy) if state is None else state
    state, metrics = ppo.update(state, jnp.asarray(rows), jnp.float32(progress), settings)
    return state, {name: float(value) for name, value in metrics.items()}


def assert_same_bits(one, other) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def differ(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)


@pytest.mark.parametrize(
    "policy, settings", [(POLICY, SMALL), (NETWORK, ENTROPY)], ids=["parameter", "state_dependent"]
)
def test_updates_repeat_bit_for_bit(policy: PolicySettings, settings: PPOSettings) -> None:
    states = []
    for _ in range(2):
        state, first = update(rollout_rows(0), settings, policy)
        state, second = update(rollout_rows(1), settings, policy, state=state)
        states.append((state, first, second))
    assert_same_bits(*states)
    assert differ(states[0][0].network, new_state(settings, policy).network)
    assert_same_bits(states[0][0].average, states[0][0].network)  # where no averaging is asked for
    other, _ = update(rollout_rows(2), settings, policy)
    assert differ(other.network, update(rollout_rows(0), settings, policy)[0].network)


@pytest.mark.parametrize(
    "policy, settings", [(POLICY, SMALL), (NETWORK, ENTROPY)], ids=["parameter", "state_dependent"]
)
def test_actions_in_reset_steps_have_no_effect(policy: PolicySettings, settings: PPOSettings) -> None:
    rows = rollout_rows()
    changed = rows.copy()
    for row, copy in ((3, 0), (7, 2), (5, 1)):
        changed[row, copy, OBSERVATION : OBSERVATION + ACTION] += 3.0
    before, after = update(rows, settings, policy), update(changed, settings, policy)
    assert_same_bits(before[0], after[0])
    assert before[1] == after[1]
    changed[4, 0, OBSERVATION] += 3.0  # the action after a reset step is a real one
    assert differ(before[0], update(changed, settings, policy)[0])


def test_the_final_observation_matters_on_truncation_only() -> None:
    rows = rollout_rows()

    def parameters_with(row: int, copy: int):
        changed = rows.copy()
        changed[row, copy, :OBSERVATION] += 1.0
        return update(changed, SMALL)[0].network

    before = update(rows, SMALL)[0].network
    assert not differ(parameters_with(3, 0), before)
    assert differ(parameters_with(5, 1), before)


def test_the_padding_of_the_last_minibatch_has_no_effect() -> None:
    # 48 transitions in minibatches of 47: the second holds one transition and 46 rows of padding. Its gradient is
    # that of the transition alone, so two separate steps must give the same result.
    settings = PPOSettings(**PLAIN, epochs=1, minibatch_size=47)
    rows = rollout_rows(ends=False)
    result, _ = update(rows, settings)
    state = new_state(settings)
    batch = batch_of(rows, state, settings)
    _, use = jax.random.split(state.key)
    order = np.asarray(jax.random.permutation(jax.random.split(use, 1)[0], 48))
    network, adam = state.network, optax.adam(settings.learning_rate.start, eps=1e-5)
    moments = adam.init(network)
    for part in (order[:47], order[47:]):
        minibatch = jax.tree.map(lambda x, part=part: x[part], batch)
        _, grads = gradient_of(settings)(network, minibatch)
        steps, moments = adam.update(grads, moments)
        network = optax.apply_updates(network, steps)
    for a, b in zip(jax.tree.leaves(result.network), jax.tree.leaves(network), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def batch_of(rows: np.ndarray, state: PPOState, settings: PPOSettings) -> Batch:
    """The batch of an update without ends of episodes, in plain NumPy; rewards and advantages are not scaled."""
    observation = np.clip(rows[..., :OBSERVATION], -POLICY.observation_clip, POLICY.observation_clip)
    action, reward = rows[:-1, :, OBSERVATION:-3], rows[..., -3]
    layer = state.network.actor
    mean = np.tanh(observation @ layer[0]["weight"] + layer[0]["bias"]) @ layer[1]["weight"] + layer[1]["bias"]
    value = np.asarray(state.network(jnp.asarray(observation))[1])
    advantage, carry = np.zeros((STEPS, NUM_ENVS)), 0.0
    for t in reversed(range(STEPS)):
        error = reward[t + 1] + settings.discount * value[t + 1] - value[t]
        carry = error + settings.discount * settings.gae_lambda * carry
        advantage[t] = carry
    std = np.exp(state.network.log_std)
    log_old = scipy.stats.norm.logpdf(action, mean[:-1], std).sum(-1)
    fields = (observation[:-1], action, log_old, advantage, advantage + value[:-1], np.ones((STEPS, NUM_ENVS)))
    return Batch(*(jnp.asarray(x.reshape(STEPS * NUM_ENVS, *x.shape[2:]), jnp.float32) for x in fields))


@pytest.mark.parametrize("limit", [0.05, 0.0], ids=["clipped", "free"])
def test_the_first_step_is_that_of_adam_on_the_clipped_gradient(limit: float) -> None:
    settings = WHOLE.model_copy(update={"max_grad_norm": limit})
    rows = rollout_rows(ends=False)
    before = new_state(settings)
    batch = batch_of(rows, before, settings)
    _, grads = gradient_of(settings)(before.network, batch)
    norm = math.sqrt(sum(float(jnp.square(x).sum()) for x in jax.tree.leaves(grads)))
    assert norm > 0.1
    after, metrics = update(rows, settings)
    assert metrics["gradient_norm"] == pytest.approx(norm, rel=1e-3)
    trees = (before.network, grads, after.network)
    for old, gradient, new in zip(*map(jax.tree.leaves, trees), strict=True):
        clipped = gradient * (limit / norm if limit else 1)
        # Adam's first step: its corrected moments are the gradient and its square.
        expected = -settings.learning_rate.start * clipped / (np.abs(clipped) + 1e-5)
        np.testing.assert_allclose(new - old, expected, rtol=1e-2, atol=1e-3 * settings.learning_rate.start)


def test_advantages_are_standardised_over_minibatch_or_batch() -> None:
    result = {}
    for advantages in ("minibatch", "batch", "none"):
        settings = WHOLE.model_copy(update={"normalise_advantages": advantages})
        state, metrics = update(rollout_rows(reward_scale=10.0), settings)
        result[advantages] = (metrics, state.network)
    # A minibatch that holds all transitions is the batch.
    for a, b in zip(*(jax.tree.leaves(result[name][1]) for name in ("minibatch", "batch")), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert result["minibatch"][0]["loss/policy"] == pytest.approx(result["batch"][0]["loss/policy"], abs=1e-5)
    assert differ(result["batch"][1].actor, result["none"][1].actor)
    # The targets of the value do not change.
    for a, b in zip(*(jax.tree.leaves(result[name][1].critic) for name in ("none", "batch")), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for name in ("loss/value", "value/explained_variance"):
        assert result["batch"][0][name] == pytest.approx(result["none"][0][name], rel=1e-4)


def test_explained_variance_approaches_1_for_a_good_critic() -> None:
    settings = PPOSettings(**PLAIN | {"max_grad_norm": 0.5}, discount=0.0, learning_rate=1e-2, epochs=20)
    rows = rollout_rows(ends=False)
    rows[1:, :, -3] = rows[:-1, :, 0]  # the reward is what was observed
    state, first = update(rows, settings)
    for _ in range(30):
        state, last = update(rows, settings, state=state)
    assert first["value/explained_variance"] < 0.5
    assert 0.9 < last["value/explained_variance"] <= 1


def test_normalised_returns_make_learning_independent_of_the_reward_scale() -> None:
    small, large = (update(rollout_rows(reward_scale=scale), SMALL) for scale in (1.0, 1000.0))
    for a, b in zip(jax.tree.leaves(small[0].network), jax.tree.leaves(large[0].network), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)
    small, large = (update(rollout_rows(reward_scale=scale), WHOLE)[1]["loss/value"] for scale in (1.0, 1000.0))
    assert large > 1e4 * small


def test_rewards_are_divided_by_the_std_of_the_discounted_return() -> None:
    sums, totals = np.zeros(NUM_ENVS), []
    state = new_state(SMALL)
    for seed in range(3):
        rows = rollout_rows(seed)
        state, _ = update(rows, SMALL, state=state)
        finished = rows[:, :, -2:].any(-1)
        for t in range(STEPS):
            sums = SMALL.discount * sums * ~finished[t] + rows[t + 1, :, -3]
            totals += list(sums[~finished[t]])
        sums = np.where(finished[-1], 0, sums)
    np.testing.assert_allclose(state.return_statistics.variance, [np.var(totals)], rtol=1e-4)
    np.testing.assert_allclose(state.return_statistics.count, len(totals))
    np.testing.assert_allclose(state.return_sums, sums, rtol=1e-4)


def test_each_observation_of_a_rollout_is_counted_once() -> None:
    first, second = rollout_rows(0), rollout_rows(1)
    state, _ = update(first, SMALL)
    state, _ = update(second, SMALL, state=state)
    seen = np.concatenate([rows[:-1, :, :OBSERVATION].reshape(-1, OBSERVATION) for rows in (first, second)])
    assert state.normaliser.count == len(seen)
    np.testing.assert_allclose(state.normaliser.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state.normaliser.variance, seen.var(0), rtol=1e-4)


def test_an_adaptive_learning_rate_follows_the_kl() -> None:
    adaptive = {"learning_rate_rule": "adaptive", "minibatch_size": 48, "epochs": 2, "learning_rate": 1e-3}
    # The KL divergence of the first minibatch is 0, so both rates rise once; they differ by that of the second.
    fast = PPOSettings(**adaptive, desired_kl=1e3)
    state, metrics = update(rollout_rows(), fast)
    assert metrics["learning_rate"] == pytest.approx(1e-3 * 1.5**2)
    _, metrics = update(rollout_rows(), fast, state=state)
    assert metrics["learning_rate"] == pytest.approx(1e-3 * 1.5**4)
    _, metrics = update(rollout_rows(), PPOSettings(**adaptive, desired_kl=1e-9))
    assert metrics["learning_rate"] == pytest.approx(1e-3)


def test_a_scheduled_learning_rate_is_used() -> None:
    settings = PPOSettings(learning_rate=Schedule(kind="linear", start=1e-3), minibatch_size=48, epochs=1)
    state, metrics = update(rollout_rows(), settings, progress=1.0)
    assert metrics["learning_rate"] == 0
    assert_same_bits(state.network, new_state(settings).network)
    moved, metrics = update(rollout_rows(), settings, progress=0.25, state=state)
    assert metrics["learning_rate"] == pytest.approx(0.75e-3)
    assert differ(moved.network, new_state(settings).network)


def test_a_scheduled_std_follows_its_schedule_only() -> None:
    schedule = Schedule(kind="cosine", start=1.0, end=0.2)
    policy = PolicySettings(actor=(8,), critic=(8,), std="scheduled", std_schedule=schedule)
    settings = PPOSettings(epochs=2, entropy_coef=0.1)
    state = new_state(settings, policy)
    used = 1.0
    for progress in (0.25, 0.5, 1.0):
        state, metrics = update(rollout_rows(), settings, policy, progress, state)
        assert metrics["policy/std"] == pytest.approx(used, rel=1e-5)  # what the rollout was made with
        used = float(np.exp(scheduled_log_std(policy, jnp.float32(progress))))
        np.testing.assert_allclose(np.exp(state.network.log_std), used, rtol=1e-5)
    assert used == pytest.approx(0.2, rel=1e-5)


def test_a_learned_std_stops_at_its_lower_limit() -> None:
    policy = PolicySettings(actor=(8,), critic=(8,), minimum_std=0.5)
    settings = PPOSettings(**PLAIN, learning_rate=0.05, entropy_coef=0.0, epochs=10, minibatch_size=48)
    state = new_state(settings, policy)
    rows = rollout_rows(ends=False)
    # Small actions are good and large ones bad.
    rows[1:, :, -3] = -np.square(rows[:-1, :, OBSERVATION:-3]).sum(-1)
    for _ in range(10):
        state, metrics = update(rows, settings, policy, state=state)
    assert metrics["policy/std"] == pytest.approx(0.5, rel=1e-5)


def test_an_entropy_bonus_increases_the_std() -> None:
    settings = PPOSettings(entropy_coef=1.0, learning_rate=0.01, epochs=10, minibatch_size=48)
    state, _ = update(rollout_rows(reward_scale=0.0), settings)
    # Ten of Adam's steps in one direction.
    np.testing.assert_allclose(state.network.log_std, 0.1, rtol=0.1)


def test_the_average_is_an_exponential_moving_average() -> None:
    settings = WHOLE.model_copy(update={"ema_decay": 0.75, "learning_rate": Schedule(start=0.1)})
    state = new_state(settings)
    expected = jax.tree.map(np.array, state.network)
    for seed in range(3):
        state, _ = update(rollout_rows(seed), settings, state=state)
        expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * np.array(new), expected, state.network)
    for a, b in zip(jax.tree.leaves(state.average), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert differ(state.average, state.network)


def test_sampled_actions_follow_the_gaussian_of_the_policy() -> None:
    state = new_state(PPOSettings())
    observation = jnp.asarray(rollout_rows()[0, :, :OBSERVATION])
    noise = jnp.asarray(np.random.default_rng(4).normal(size=(NUM_ENVS, ACTION)), jnp.float32)
    wide = dataclasses.replace(state.network, log_std=jnp.log(jnp.array([0.5, 2.0])))
    mean, result = (Controller(wide, state.normaliser).action(observation, x) for x in (jnp.zeros_like(noise), noise))
    np.testing.assert_allclose(result - mean, noise * jnp.array([0.5, 2.0]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"epochs": 0},
        {"minibatch_size": 1},
        {"discount": 1.01},
        {"discount": -0.1},
        {"gae_lambda": 2},
        {"clip_eps": 0},
        {"value_loss": "cubed"},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": {"kind": "step"}},
        {"normalise_advantages": True},
        {"max_grad_norm": -0.5},
        {"desired_kl": 0},
        {"horizon": 2.5},
        {"gamma": 0.99},
    ],
)
def test_invalid_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(pydantic.ValidationError):
        PPOSettings(**wrong)


def test_settings_are_frozen_and_comparable() -> None:
    with pytest.raises(pydantic.ValidationError):
        PPOSettings().clip = 0.3  # pyrefly: ignore
    assert PPOSettings() == PPOSettings(clip_eps=0.2) != PPOSettings(clip_eps=0.3)
    assert hash(PPOSettings()) == hash(PPOSettings(clip_eps=0.2))
