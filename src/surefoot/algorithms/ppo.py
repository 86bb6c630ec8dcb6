"""Proximal Policy Optimisation (Schulman et al. 2017, arXiv 1707.06347), clipped surrogate.

    repeat
        act for T steps in N copies of the task
        estimate advantages A and returns R = A + V          (GAE, Schulman et al. 2016)
        for several epochs, over shuffled minibatches:
            r = pi(a|s) / pi_old(a|s)
            maximise  min(r A, clip(r, 1 - eps, 1 + eps) A) - c1 (V - R)^2 + c2 entropy

`update` is one such repetition without the acting, compiled into one call. Beyond the paper, each with its own
switch: a KL-adaptive learning rate, an early stop on KL, value clipping, rewards divided by the deviation of the
discounted return, a moving average of the policy, and what is made of a body's symmetry (`ppo_batch`).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from surefoot.algorithms.algorithm import Algorithm, WarmStart
from surefoot.algorithms.minibatches import Minibatches
from surefoot.algorithms.ppo_batch import Batch, asymmetry, built_in, image_metrics, uses_images, with_images
from surefoot.algorithms.ppo_settings import PPOSettings
from surefoot.algorithms.rollout import Rollout, advantages, discounted_sums, unpack_rows
from surefoot.algorithms.symmetric_networks import START_SCALE, check_paired_units, merge_seen, tied
from surefoot.algorithms.weighted import standardise, weighted_variance
from surefoot.policies.distributions import entropy, log_probability
from surefoot.policies.networks import (
    Parameters,
    PolicySettings,
    action_distribution,
    features,
    init_actor_critic,
    scheduled_log_std,
    state_value,
)
from surefoot.policies.normaliser import Normaliser, init_normaliser, merge
from surefoot.policies.policy import prepare
from surefoot.policies.symmetry import Mirror
from surefoot.schedules import adapted_to_kl


class PPOState(NamedTuple):
    """All that PPO carries from one iteration to the next.

    Attributes:
        parameters: the networks.
        average: their moving average over iterations, the policy to evaluate and save.
        optimizer: Adam's moments.
        normaliser: the observations' statistics, fixed during an iteration.
        return_sums: (N,), the running discounted sums of rewards.
        return_statistics: their mean and variance, of size 1.
        learning_rate: (), the present step size.
        key: a JAX random key.
    """

    parameters: Parameters
    average: Parameters
    optimizer: optax.OptState
    normaliser: Normaliser
    return_sums: jax.Array
    return_statistics: Normaliser
    learning_rate: jax.Array
    key: jax.Array


METRICS = (
    "loss/policy",
    "loss/value",
    "policy/entropy",
    "policy/kl",
    "policy/clip_fraction",
    "policy/std",
    "value/explained_variance",
    "learning_rate",
    "gradient_norm",
    "updates",
)


def metric_names(settings: PPOSettings) -> tuple[str, ...]:
    """Return what `update` tells: `METRICS` and, where mirror images are looked at, how far the policy is from its."""
    return (*METRICS, *image_metrics(settings))


def init(
    key: jax.Array,
    observation_size: int,
    action_size: int,
    num_envs: int,
    policy: PolicySettings,
    settings: PPOSettings,
    mirror: Mirror | None = None,
) -> PPOState:
    """Make the state before any learning; the task's symmetry is needed for tied networks."""
    key, use = jax.random.split(key)
    parameters = init_actor_critic(use, observation_size, action_size, policy)
    if settings.symmetry == "tied":
        assert mirror is not None
        parameters = tied(parameters, mirror, policy, START_SCALE)
    return PPOState(
        parameters=parameters,
        average=jax.tree.map(jnp.copy, parameters),
        optimizer=_optimizer(settings).init(parameters),
        normaliser=init_normaliser(observation_size),
        return_sums=jnp.zeros(num_envs),
        return_statistics=init_normaliser(1),
        learning_rate=jnp.asarray(settings.learning_rate.start, jnp.float32),
        key=key,
    )


def explore(
    policy: PolicySettings,
    parameters: Parameters,
    normaliser: Normaliser,
    observation: jax.Array,
    noise: jax.Array,
    mirror: Mirror | None = None,
) -> jax.Array:
    """Sample (N, A) actions for raw observations (N, D) from standard normal `noise` (N, A).

    `mirror` is the policy's own symmetry, if it is equivariant (`built_in`).
    """
    feature = features(parameters, prepare(policy, normaliser, observation, mirror), policy)
    mean, log_std = action_distribution(parameters, feature, policy, mirror=mirror)
    return mean + jnp.exp(log_std) * noise


@functools.partial(jax.jit, static_argnames=("policy", "settings"), donate_argnames="state")
def update(
    state: PPOState,
    rows: jax.Array,
    progress: jax.Array,
    policy: PolicySettings,
    settings: PPOSettings,
    mirror: Mirror | None = None,
) -> tuple[PPOState, jax.Array]:
    """Learn from one rollout.

    Args:
        state: what came out of the last update.
        rows: (T+1, N, D + A + 3), packed as in `rollout.pack_row`.
        progress: (), how much of the training has been done when the rollout ends, in [0, 1].
        policy: the networks' settings.
        settings: PPO's settings.
        mirror: the task's symmetry, for all settings of `symmetry` but "none".

    Returns:
        The next state and the metrics, one for each of `metric_names`.
    """
    rollout = unpack_rows(rows, state.normaliser.mean.shape[0])
    finished = rollout.terminated | rollout.truncated
    weight = (~finished[:-1]).astype(jnp.float32)
    sums = discounted_sums(rollout.reward, finished, state.return_sums, settings.discount)
    return_statistics = merge(state.return_statistics, sums[..., None], weight)
    images, tie = (None, mirror) if settings.symmetry == "tied" else (mirror, None)
    batch, std = _judge(state, rollout, weight, return_statistics.variance[0], policy, settings, images)

    key, use = jax.random.split(state.key)
    learning_rate = state.learning_rate
    if settings.learning_rate_rule == "schedule":
        learning_rate = jnp.asarray(settings.learning_rate.value(progress), jnp.float32)
    learner = (state.parameters, state.optimizer, learning_rate)
    (parameters, optimizer, learning_rate), metrics = _learn(learner, batch, use, policy, settings, mirror)
    if policy.std == "scheduled":
        parameters["log_std"] = jnp.full_like(parameters["log_std"], scheduled_log_std(policy, progress))

    unexplained = weighted_variance(batch.target - batch.value, batch.weight)
    metrics = metrics | {
        "policy/std": std,
        "value/explained_variance": 1 - unexplained / (weighted_variance(batch.target, batch.weight) + 1e-8),
        "learning_rate": learning_rate,
    }
    decay = settings.ema_decay
    new_state = PPOState(
        parameters=parameters,
        average=jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, parameters),
        optimizer=optimizer,
        normaliser=merge_seen(state.normaliser, rollout.observation[:-1], tie),
        return_sums=sums[-1] * ~finished[-1],
        return_statistics=return_statistics,
        learning_rate=learning_rate,
        key=key,
    )
    return new_state, jnp.stack([metrics[name] for name in metric_names(settings)])


def _judge(
    state: PPOState,
    rollout: Rollout,
    weight: jax.Array,
    return_variance: jax.Array,
    policy: PolicySettings,
    settings: PPOSettings,
    mirror: Mirror | None,
) -> tuple[Batch, jax.Array]:
    """Turn a rollout into a batch by what the present networks think of it; also return the mean deviation."""
    reward = rollout.reward
    if settings.normalise_returns:
        reward = reward * jax.lax.rsqrt(return_variance + 1e-8)
    observation = prepare(policy, state.normaliser, rollout.observation, mirror)
    own_mirror = built_in(mirror, settings)
    feature = features(state.parameters, observation[..., 0, :] if uses_images(settings) else observation, policy)
    value = state_value(state.parameters, feature, policy, own_mirror)
    mean, log_std = action_distribution(state.parameters, feature, policy, mirror=own_mirror)
    finished = rollout.terminated | rollout.truncated
    advantage = advantages(reward, value, rollout.terminated, finished, settings.discount, settings.gae_lambda)
    target = advantage + value[:-1]
    if settings.normalise_advantages == "batch":
        advantage = standardise(advantage, weight)
    batch = Batch(
        observation[:-1],
        rollout.action[:-1],
        log_probability(rollout.action, mean, log_std)[:-1],
        value[:-1],
        advantage,
        target,
        weight,
    )
    batch = jax.tree.map(lambda x: x.reshape(weight.size, *x.shape[2:]), batch)
    return batch, jnp.exp(log_std).mean()


def _learn(
    learner: tuple[Parameters, optax.OptState, jax.Array],
    batch: Batch,
    key: jax.Array,
    policy: PolicySettings,
    settings: PPOSettings,
    mirror: Mirror | None,
) -> tuple[tuple[Parameters, optax.OptState, jax.Array], dict[str, jax.Array]]:
    """Go over the batch's M transitions `epochs` times in shuffled minibatches."""
    minibatches = Minibatches(batch, settings.minibatch_size)
    optimizer = _optimizer(settings)
    given = {"policy": policy, "settings": settings, "mirror": mirror}
    gradient = jax.value_and_grad(functools.partial(loss, **given), has_aux=True)
    names = (*_STEP_METRICS, *image_metrics(settings))

    def take_step(learner, rows):
        parameters, moments, rate = learner
        (_, metrics), slope = gradient(parameters, minibatches.read(rows))
        if settings.symmetry == "tied" and mirror is not None:
            slope = tied(slope, mirror, policy)
        if settings.learning_rate_rule == "adaptive":
            rate = adapted_to_kl(rate, metrics["policy/kl"], settings.desired_kl)
        steps, moments = optimizer.update(slope, moments, parameters)
        parameters = jax.tree.map(lambda p, step: p - rate * step, parameters, steps)
        metrics = metrics | {"gradient_norm": optax.tree.norm(slope), "updates": jnp.ones(())}
        return (parameters, moments, rate), metrics

    def minibatch_step(carry, rows):
        if not settings.max_kl:
            learner, metrics = take_step(carry[0], rows)
            return (learner, carry[1]), metrics
        nothing = {name: jnp.zeros(()) for name in names}
        learner, metrics = jax.lax.cond(
            carry[1], lambda learner: (learner, nothing), lambda learner: take_step(learner, rows), carry[0]
        )
        return (learner, carry[1] | (metrics["policy/kl"] > settings.max_kl)), metrics

    def epoch(carry, key):
        return jax.lax.scan(minibatch_step, carry, minibatches.shuffled(key))

    carry = (learner, jnp.zeros((), bool))
    (learner, _), metrics = jax.lax.scan(epoch, carry, jax.random.split(key, settings.epochs))
    done = jnp.maximum(metrics["updates"].sum(), 1)
    means = {name: metrics[name].sum() / done for name in names}
    return learner, means | {"updates": metrics["updates"].sum()}


_STEP_METRICS = (
    "loss/policy",
    "loss/value",
    "policy/entropy",
    "policy/kl",
    "policy/clip_fraction",
    "gradient_norm",
    "updates",
)


def loss(
    parameters: Parameters,
    batch: Batch,
    policy: PolicySettings,
    settings: PPOSettings,
    mirror: Mirror | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The negated objective of the paper's equation 9 on one minibatch, and its parts; `mirror` as in `update`."""
    real = batch.weight / jnp.maximum(batch.weight.sum(), 1)
    if uses_images(settings):
        assert mirror is not None
        batch = with_images(batch, mirror, settings)
    own_mirror = built_in(mirror, settings)
    feature = features(parameters, batch.observation, policy)
    mean, log_std = action_distribution(parameters, feature, policy, mirror=own_mirror)
    value = state_value(parameters, feature, policy, own_mirror)
    share = batch.weight / jnp.maximum(batch.weight.sum(), 1)

    advantage = batch.advantage
    if settings.normalise_advantages == "minibatch":
        advantage = standardise(advantage, batch.weight)
    log_ratio = log_probability(batch.action, mean, log_std) - batch.log_probability
    # Where there is no transition the ratio may be infinite, and infinity times no weight is not a number.
    log_ratio = jnp.where(batch.weight > 0, log_ratio, 0)
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - settings.clip_eps, 1 + settings.clip_eps)
    policy_loss = -(jnp.minimum(ratio * advantage, clipped * advantage) @ share)

    target = batch.target
    value_loss = _value_error(value - target, settings) @ share
    if settings.value_clip:
        near = batch.value + jnp.clip(value - batch.value, -settings.value_clip, settings.value_clip)
        value_loss = jnp.maximum(_value_error(value - target, settings), _value_error(near - target, settings)) @ share
    bonus = jnp.broadcast_to(entropy(log_std), share.shape) @ share
    total = policy_loss + settings.value_coef * value_loss - settings.entropy_coef * bonus
    metrics = {
        "loss/policy": policy_loss,
        "loss/value": value_loss,
        "policy/entropy": bonus,
        # Schulman's low-variance estimate of KL(old, new), http://joschu.net/blog/kl-approx.html; not of images, where
        # the ratio tells also how far the old policy was from symmetry.
        "policy/kl": (ratio - 1 - log_ratio)[: len(real)] @ real,
        "policy/clip_fraction": (jnp.abs(ratio - 1) > settings.clip_eps) @ share,
    }
    if mirror is not None and uses_images(settings):
        metrics["loss/symmetry"] = asymmetry(mean, mirror, real)
    if settings.symmetry == "loss":
        total += settings.symmetry_weight * metrics["loss/symmetry"]
    return total, metrics


def _value_error(error: jax.Array, settings: PPOSettings) -> jax.Array:
    if settings.value_loss == "huber":
        return optax.huber_loss(error)
    return 0.5 * jnp.square(error)


def _optimizer(settings: PPOSettings) -> optax.GradientTransformation:
    """Adam without its step size, which the state carries; epsilon 1e-5 as in the first PPO code."""
    parts = [optax.scale_by_adam(eps=1e-5)]
    if settings.max_grad_norm:
        parts.insert(0, optax.clip_by_global_norm(settings.max_grad_norm))
    return optax.chain(*parts)


def check(name: str, settings: PPOSettings, policy: PolicySettings, num_envs: int) -> None:
    """Make sure that the settings fit each other; see `Algorithm.check`."""
    transitions = num_envs * settings.horizon
    if settings.minibatch_size > transitions:
        raise ValueError(
            f"{name}.minibatch_size = {settings.minibatch_size} is more than the {transitions} transitions of an "
            f"iteration (engine.num_envs x {name}.horizon)"
        )
    if transitions > 50_000_000:
        raise ValueError(
            f"{transitions} transitions an iteration (engine.num_envs x {name}.horizon) is over 50 million"
        )
    if policy.batch_norm or policy.squash == "tanh_gaussian":
        which = "policy.batch_norm" if policy.batch_norm else "policy.squash = 'tanh_gaussian'"
        raise ValueError(f"{which} is not for PPO")
    if settings.symmetry == "tied":
        check_paired_units(policy)


# After a warm start, statistics of returns count for no more steps than these, so that a task with larger rewards is
# followed soon.
_RETURNS_COUNT = 100_000.0


def warm_start(state: PPOState, tools: WarmStart) -> PPOState:
    """Return the initial state after a warm start; see `Algorithm.warm_start`."""
    critic, log_std = tools.takes_critic("normalise_returns"), tools.initial_log_std(state.parameters["log_std"])

    def fresh(path: str) -> bool:
        return (not critic and "/critic/" in path) or (log_std is not None and path.endswith("/log_std"))

    def networks(template: Parameters, name: str) -> Parameters:
        return tools.tree(template if log_std is None else template | {"log_std": log_std}, name, fresh)

    parameters = networks(state.parameters, "parameters" if tools.same_algorithm else tools.acting)
    average = networks(state.average, "average") if tools.same_algorithm else jax.tree.map(jnp.copy, parameters)
    state = state._replace(parameters=parameters, average=average, normaliser=tools.normaliser(state.normaliser))
    if not tools.same_algorithm:
        return state
    state = state._replace(optimizer=tools.adam(state.optimizer, fresh))
    if critic and tools.settings.normalise_returns:  # values are in units of these
        statistics: Normaliser = tools.tree(state.return_statistics, "return_statistics")
        count = jnp.minimum(statistics.count, _RETURNS_COUNT)
        state = state._replace(return_statistics=statistics._replace(count=count))
    return state


PPO = Algorithm(
    description="proximal policy optimisation (Schulman et al. 2017)",
    settings=PPOSettings,
    learner="on_policy",
    warm_start=warm_start,
    check=check,
    learns_std=True,
)
