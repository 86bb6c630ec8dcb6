"""Proximal Policy Optimisation (Schulman et al. 2017, arXiv 1707.06347), clipped surrogate.

    repeat
        act for T steps in N environments
        estimate advantages A and returns R = A + V          (GAE, Schulman et al. 2016)
        for several epochs, over shuffled minibatches:
            r = pi(a|s) / pi_old(a|s)
            maximise  min(r A, clip(r, 1 - eps, 1 + eps) A) - c1 (V - R)^2 + c2 entropy

`update` is one iteration without the acting, compiled into one call. Additions to the paper, each with its own setting:
a KL-adaptive learning rate, rewards divided by the standard deviation of the discounted return, an exponential moving
average of the policy, and the use of a body's symmetry (`symmetry.py`).
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from surefoot.algorithms.algorithm import Algorithm, WarmStart
from surefoot.algorithms.minibatches import Minibatches, mask_weights, masked_mean, masked_variance, standardise
from surefoot.algorithms.optimizers import adam, descend, moving_average
from surefoot.algorithms.rollout import Rollout, advantages, discounted_sums, rollout_layout
from surefoot.algorithms.symmetry import INITIAL_SCALE, NO_SYMMETRY, Symmetry, check_paired_units
from surefoot.policies.networks import ActorCritic, PolicySettings, init_actor_critic, scheduled_log_std
from surefoot.policies.normaliser import Normaliser, init_normaliser, merge, prepare, update_normaliser
from surefoot.schedules import Schedule, adapted_to_kl, schedule
from surefoot.settings import Settings


class PPOSettings(Settings):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

    horizon: int = Field(256, ge=1, le=1_000_000)
    """T, steps of each environment per iteration."""
    epochs: int = Field(5, ge=1, le=1000)
    """Passes over the collected transitions per iteration."""
    minibatch_size: int = Field(512, ge=2)
    """Transitions per gradient step; the last minibatch of an epoch may be smaller."""
    discount: float = Field(0.99, ge=0, le=1)
    """Gamma."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of the advantage estimate; 0 gives the one-step temporal difference."""
    clip_eps: float = Field(0.2, gt=0)
    """Epsilon, limit on the change of the probability ratio."""
    value_loss: Literal["squared", "huber"] = "squared"
    """Half the squared error, or the Huber loss."""
    value_coef: float = Field(0.5, ge=0)
    """c1, weight of the value loss."""
    entropy_coef: float = Field(0.0, ge=0)
    """c2, weight of the entropy bonus."""
    normalise_advantages: Literal["minibatch", "batch", "none"] = "minibatch"
    """Scaling of advantages to mean 0 and standard deviation 1: over each batch, over each minibatch, or none."""
    normalise_returns: bool = True
    """Divide rewards by the running standard deviation of the discounted return (Engstrom et al. 2020, section 3)."""
    learning_rate: Schedule = schedule(3e-4, gt=0)
    """Learning rate of Adam."""
    learning_rate_rule: Literal["schedule", "adaptive"] = "schedule"
    """schedule: follow `learning_rate`; adaptive: begin with its first value, then raise or lower it to keep the KL
    divergence near `desired_kl` (as in RSL-RL, after Heess et al. 2017)."""
    desired_kl: float = Field(0.01, gt=0)
    """Target KL divergence of an adaptive learning rate."""
    max_grad_norm: float = Field(0.5, ge=0)
    """Limit on the global norm of the gradient; 0: none."""
    symmetry: Literal["none", "augment", "loss", "averaged", "tied"] = "none"
    """Use of the task's left-right symmetry, if it has one. augment: add mirror images to each minibatch (Mittal et al.
    2024, arXiv 2403.04359); loss: penalise the asymmetry of the mean (Yu, Turk, Liu 2018, arXiv 1801.08093); averaged:
    average actor and critic over mirror images; tied: tie the weights in pairs, symmetric at half the cost (van der Pol
    et al. 2020, arXiv 2006.16908)."""
    symmetry_weight: float = Field(1.0, ge=0)
    """Weight of the mirror loss, a mean square over action dimensions in units of half their range."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay per iteration of the exponential moving average of the parameters, which is evaluated and saved (Polyak and
    Juditsky 1992); 0: the newest parameters."""


class PPOState(NamedTuple):
    """State carried from one iteration to the next.

    Attributes:
        network: actor and critic.
        average: their moving average over iterations, the policy to evaluate and save.
        opt_state: moments of Adam.
        normaliser: statistics of the observations, constant during an iteration.
        return_sums: (N,), running discounted sums of rewards.
        return_statistics: their mean and variance, of size 1.
        learning_rate: (), the current learning rate.
        key: a JAX random key.
    """

    network: ActorCritic
    average: ActorCritic
    opt_state: optax.OptState
    normaliser: Normaliser
    return_sums: jax.Array
    return_statistics: Normaliser
    learning_rate: jax.Array
    key: jax.Array


class Batch(NamedTuple):
    """M transitions to learn from.

    Attributes:
        observation: (M, D), normalised; or pairs (M, 2, D) with their mirror images, see `Symmetry.paired`.
        action: (M, A).
        log_prob: (M,), under the policy that acted.
        advantage: (M,).
        target: (M,), the return R.
        mask: (M,), 1 for transitions, 0 for other rows.
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    mask: jax.Array


class TrainState(NamedTuple):
    """The part of the state that a gradient step changes; see `PPOState`."""

    network: ActorCritic
    opt_state: optax.OptState
    learning_rate: jax.Array


Metrics = dict[str, jax.Array]


def init(
    key: jax.Array,
    observation_size: int,
    action_size: int,
    num_envs: int,
    policy: PolicySettings,
    settings: PPOSettings,
    symmetry: Symmetry = NO_SYMMETRY,
) -> PPOState:
    """Return the initial state."""
    key, network_key = jax.random.split(key)
    network = init_actor_critic(network_key, observation_size, action_size, policy)
    network = symmetry.project(network, INITIAL_SCALE)
    return PPOState(
        network=network,
        average=jax.tree.map(jnp.copy, network),
        opt_state=_optimizer(settings).init(network),
        normaliser=init_normaliser(observation_size),
        return_sums=jnp.zeros(num_envs),
        return_statistics=init_normaliser(1),
        learning_rate=jnp.asarray(settings.learning_rate.start, jnp.float32),
        key=key,
    )


@functools.partial(jax.jit, static_argnames="settings", donate_argnames="state")
def update(
    state: PPOState, packed: jax.Array, progress: jax.Array, settings: PPOSettings, symmetry: Symmetry = NO_SYMMETRY
) -> tuple[PPOState, Metrics]:
    """Learn from one rollout.

    Args:
        state: the state after the last update.
        packed: (T+1, N, K), a rollout packed by `rollout_layout`.
        progress: (), fraction of the training that is done when the rollout ends.
        settings: PPO's settings.
        symmetry: use of the task's symmetry.

    Returns:
        The next state and the metrics.
    """
    layout = rollout_layout(len(state.normaliser.mean), len(state.network.log_std))
    rollout = Rollout(**layout.unpack(packed))
    return_sums = discounted_sums(rollout.reward, rollout.finished, state.return_sums, settings.discount)
    return_statistics = merge(state.return_statistics, return_sums[..., None], rollout.mask)

    batch, batch_metrics = make_batch(state, rollout, return_statistics.variance[0], settings, symmetry)
    key, shuffle_key = jax.random.split(state.key)
    learning_rate = state.learning_rate
    if settings.learning_rate_rule == "schedule":
        learning_rate = jnp.asarray(settings.learning_rate.value(progress), jnp.float32)
    start = TrainState(state.network, state.opt_state, learning_rate)
    (network, opt_state, learning_rate), metrics = run_epochs(start, batch, shuffle_key, settings, symmetry)
    if network.settings.std == "scheduled":
        log_std = jnp.full_like(network.log_std, scheduled_log_std(network.settings, progress))
        network = dataclasses.replace(network, log_std=log_std)

    new_state = PPOState(
        network=network,
        average=moving_average(state.average, network, settings.ema_decay),
        opt_state=opt_state,
        normaliser=update_normaliser(state.normaliser, rollout.observation[:-1], symmetry.tied),
        return_sums=return_sums[-1] * ~rollout.finished[-1],
        return_statistics=return_statistics,
        learning_rate=learning_rate,
        key=key,
    )
    return new_state, metrics | batch_metrics | {"learning_rate": learning_rate}


def make_batch(
    state: PPOState, rollout: Rollout, return_variance: jax.Array, settings: PPOSettings, symmetry: Symmetry
) -> tuple[Batch, Metrics]:
    """Compute values, advantages and log-probabilities of a rollout; return the batch and its metrics."""
    reward = rollout.reward
    if settings.normalise_returns:
        reward = reward * jax.lax.rsqrt(return_variance + 1e-8)
    observation = prepare(state.network.settings, state.normaliser, rollout.observation, symmetry.paired)
    acting = observation if symmetry.averaged or not symmetry.paired else observation[..., 0, :]
    distribution, value = symmetry.wrap(state.network)(acting)
    advantage = advantages(reward, value, rollout.terminated, rollout.finished, settings.discount, settings.gae_lambda)
    target = advantage + value[:-1]
    mask = rollout.mask
    if settings.normalise_advantages == "batch":
        advantage = standardise(advantage, mask)
    log_prob = distribution.log_prob(rollout.action)[:-1]
    batch = Batch(observation[:-1], rollout.action[:-1], log_prob, advantage, target, mask)
    unexplained = masked_variance(target - value[:-1], mask)
    metrics = {
        "policy/std": jnp.exp(distribution.log_std).mean(),
        "value/explained_variance": 1 - unexplained / (masked_variance(target, mask) + 1e-8),
    }
    return jax.tree.map(lambda x: x.reshape(mask.size, *x.shape[2:]), batch), metrics


def run_epochs(
    start: TrainState, batch: Batch, key: jax.Array, settings: PPOSettings, symmetry: Symmetry
) -> tuple[TrainState, Metrics]:
    """Take one gradient step per shuffled minibatch, `epochs` times; return the means of the metrics."""
    minibatches = Minibatches(batch, settings.minibatch_size)
    optimizer = _optimizer(settings)
    loss_gradient = jax.grad(loss, has_aux=True)

    def gradient_step(state: TrainState, packed: jax.Array) -> tuple[TrainState, Metrics]:
        network, opt_state, learning_rate = state
        grads, metrics = loss_gradient(network, minibatches.unpack(packed), settings, symmetry)
        grads = symmetry.project(grads)
        if settings.learning_rate_rule == "adaptive":
            learning_rate = adapted_to_kl(learning_rate, metrics["policy/kl"], settings.desired_kl)
        network, opt_state = descend(optimizer, network, grads, opt_state, learning_rate)
        return TrainState(network, opt_state, learning_rate), metrics | {"gradient_norm": optax.tree.norm(grads)}

    def epoch(state: TrainState, key: jax.Array) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(gradient_step, state, minibatches.shuffle(key))

    end, metrics = jax.lax.scan(epoch, start, jax.random.split(key, settings.epochs))
    return end, jax.tree.map(jnp.mean, metrics)


def loss(
    network: ActorCritic, batch: Batch, settings: PPOSettings, symmetry: Symmetry = NO_SYMMETRY
) -> tuple[jax.Array, Metrics]:
    """The negated objective of the paper's equation 9 on one minibatch, and its parts."""
    count = len(batch.mask)
    batch = symmetry.augment(batch)
    distribution, value = symmetry.wrap(network)(batch.observation)
    advantage = batch.advantage
    if settings.normalise_advantages == "minibatch":
        advantage = standardise(advantage, batch.mask)
    # A masked row may have an infinite ratio, and infinity times 0 is NaN.
    log_ratio = jnp.where(batch.mask > 0, distribution.log_prob(batch.action) - batch.log_prob, 0)
    ratio = jnp.exp(log_ratio)
    clipped_ratio = jnp.clip(ratio, 1 - settings.clip_eps, 1 + settings.clip_eps)
    policy_loss = -masked_mean(jnp.minimum(ratio * advantage, clipped_ratio * advantage), batch.mask)
    value_loss = masked_mean(_value_error(value - batch.target, settings), batch.mask)
    entropy = masked_mean(distribution.entropy(), batch.mask)
    total = policy_loss + settings.value_coef * value_loss - settings.entropy_coef * entropy

    original = batch.mask[:count]  # without mirror images
    metrics = {
        "loss/policy": policy_loss,
        "loss/value": value_loss,
        "policy/entropy": entropy,
        # Schulman's low-variance estimate of KL(old, new), http://joschu.net/blog/kl-approx.html. Mirror images are
        # excluded: their ratio also measures the asymmetry of the old policy.
        "policy/kl": masked_mean((ratio - 1 - log_ratio)[:count], original),
        "policy/clip_fraction": masked_mean(jnp.abs(ratio - 1) > settings.clip_eps, batch.mask),
    }
    if settings.symmetry in ("augment", "loss"):
        metrics["loss/symmetry"] = symmetry.loss(distribution.mean, mask_weights(original))
    if settings.symmetry == "loss":
        total += settings.symmetry_weight * metrics["loss/symmetry"]
    return total, metrics


def _value_error(error: jax.Array, settings: PPOSettings) -> jax.Array:
    return optax.huber_loss(error) if settings.value_loss == "huber" else 0.5 * jnp.square(error)


def _optimizer(settings: PPOSettings) -> Any:
    return adam(eps=1e-5, max_grad_norm=settings.max_grad_norm)  # epsilon as in OpenAI Baselines


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
    if settings.learning_rate_rule == "adaptive" and settings.learning_rate.kind != "constant":
        raise ValueError(
            f"{name}.learning_rate.kind = '{settings.learning_rate.kind}': an adaptive learning rate has no schedule"
        )
    if policy.batch_norm or policy.squash == "tanh_gaussian":
        which = "policy.batch_norm" if policy.batch_norm else "policy.squash = 'tanh_gaussian'"
        raise ValueError(f"{which} is not for PPO")
    if settings.symmetry == "tied":
        check_paired_units(policy)


# Largest count of the return statistics after a warm start, so that they adapt quickly to a task with larger rewards.
_RETURNS_COUNT = 100_000.0


def warm_start(state: PPOState, tools: WarmStart) -> PPOState:
    """Return the initial state after a warm start; see `Algorithm.warm_start`."""
    name = "network" if tools.same_algorithm else tools.acting
    critic, log_std = tools.takes_critic("normalise_returns"), tools.initial_log_std(state.network.log_std, name)

    def fresh(path: str) -> bool:
        return (not critic and "/critic/" in path) or (log_std is not None and path.endswith("/log_std"))

    def load(template: ActorCritic, name: str) -> ActorCritic:
        if log_std is not None:
            template = dataclasses.replace(template, log_std=log_std)
        return tools.tree(template, name, fresh)

    network = load(state.network, name)
    average = load(state.average, "average") if tools.same_algorithm else jax.tree.map(jnp.copy, network)
    state = state._replace(network=network, average=average, normaliser=tools.normaliser(state.normaliser))
    if not tools.same_algorithm:
        return state
    state = state._replace(opt_state=tools.tree(state.opt_state, "opt_state", fresh))
    if critic and tools.settings.normalise_returns:  # the unit of values follows from these statistics
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
