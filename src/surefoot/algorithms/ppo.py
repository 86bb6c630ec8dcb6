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
import math
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from surefoot.algorithms.algorithm import AlgorithmSettings, Metrics, WarmStart
from surefoot.algorithms.optimizers import adam, descend, moving_average
from surefoot.algorithms.rollout import Rollout, advantages, discounted_sums, rollout_layout
from surefoot.algorithms.symmetry import INITIAL_SCALE, NO_SYMMETRY, Symmetry, check_paired_units
from surefoot.packing import Layout
from surefoot.policies.networks import ActorCritic, PolicySettings, init_actor_critic, scheduled_log_std
from surefoot.policies.normaliser import Normaliser, init_normaliser, merge, prepare, update_normaliser
from surefoot.ranges import choice, integer, log, uniform
from surefoot.schedules import Schedule, adapted_to_kl, schedule

# Transitions of a rollout by default: 49 iterations in 100,000 steps. Measured in docs/algorithms/ppo.md, "Defaults".
_TRANSITIONS = 2048
# Largest count of the return statistics after a warm start, so that they adapt quickly to a task with larger rewards.
_RETURNS_COUNT = 100_000.0


class PPOSettings(AlgorithmSettings):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

    learner = "on_policy"
    default_num_envs = 8
    learns_std = True
    search_space: ClassVar = {
        "learning_rate": log(3e-5, 3e-3),
        "clip_eps": uniform(0.1, 0.4),
        "epochs": integer(3, 20),
        "minibatch_size": choice(32, 64, 128, 256),
        "horizon": choice(None, 64, 128, 512, 1024),
        "discount": choice(0.97, 0.98, 0.99, 0.995, 0.999),
        "gae_lambda": uniform(0.85, 0.99),
        "entropy_coef": choice(0.0, 1e-4, 1e-3, 1e-2),
    }

    horizon: int | None = Field(None, ge=1, le=1_000_000)
    """T, steps of each environment per iteration; none: as many as give 2,048 transitions, but at least 16."""
    epochs: int = Field(10, ge=1, le=1000)
    """Passes over the collected transitions per iteration."""
    minibatch_size: int = Field(64, ge=2)
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

    def steps_per_rollout(self, num_envs: int) -> int:
        """Return T, steps of each environment per iteration."""
        return self.horizon or max(16, _TRANSITIONS // num_envs)

    def check(self, name: str, policy: PolicySettings, num_envs: int) -> None:
        super().check(name, policy, num_envs)
        transitions = num_envs * self.steps_per_rollout(num_envs)
        if self.minibatch_size > transitions:
            raise ValueError(
                f"{name}.minibatch_size = {self.minibatch_size} is more than the {transitions} transitions of an "
                f"iteration (engine.num_envs x {name}.horizon)"
            )
        if transitions > 50_000_000:
            raise ValueError(
                f"{transitions} transitions an iteration (engine.num_envs x {name}.horizon) is over 50 million"
            )
        if self.learning_rate_rule == "adaptive" and self.learning_rate.kind != "constant":
            raise ValueError(
                f"{name}.learning_rate.kind = '{self.learning_rate.kind}': an adaptive learning rate has no schedule"
            )
        if self.symmetry == "tied":
            check_paired_units(policy)

    def warm_start(self, state: "PPOState", tools: WarmStart) -> "PPOState":
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
        if critic and self.normalise_returns:  # the unit of values follows from these statistics
            statistics: Normaliser = tools.tree(state.return_statistics, "return_statistics")
            count = jnp.minimum(statistics.count, _RETURNS_COUNT)
            state = state._replace(return_statistics=statistics._replace(count=count))
        return state


class PPOState(NamedTuple):
    """State carried from one iteration to the next.

    Attributes:
        network: actor and critic.
        average: their moving average over iterations, the policy to evaluate and save.
        normaliser: statistics of the observations, constant during an iteration.
        return_sums: (N,), running discounted sums of rewards.
        return_statistics: their mean and variance, of size 1.
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


class Minibatches:
    """A batch, divided into shuffled minibatches once per epoch.

    All fields, arrays (M,) or (M, ...), are packed into one table, so that a shuffle is one gather. The last minibatch
    of an epoch is filled up with rows of zeros, whose `mask` is therefore 0.
    """

    def __init__(self, batch: Batch, size: int) -> None:
        fields: dict[str, jax.Array] = batch._asdict()
        self._rows = len(batch[0])
        self._size = min(size, self._rows)
        self._count = math.ceil(self._rows / self._size)
        self._shapes = {name: x.shape[1:] for name, x in fields.items()}
        self._layout = Layout(**{name: math.prod(shape) for name, shape in self._shapes.items()})
        flat = {name: x.reshape(self._rows, -1) for name, x in fields.items()}
        self._table = jnp.pad(self._layout.pack(flat, jnp), ((0, 1), (0, 0)))

    def shuffle(self, key: jax.Array) -> jax.Array:
        """Return the packed minibatches of one epoch, (minibatches, size, K); each row of the batch occurs once."""
        padding = self._count * self._size - self._rows
        order = jnp.pad(jax.random.permutation(key, self._rows), (0, padding), constant_values=self._rows)
        return self._table[order].reshape(self._count, self._size, -1)

    def unpack(self, packed: jax.Array) -> Batch:
        """Return one packed minibatch, (size, K), as a batch."""
        fields = self._layout.unpack(packed)
        return Batch(**{name: x.reshape(len(packed), *self._shapes[name]) for name, x in fields.items()})


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
    """Learn from one rollout; return the next state and the metrics.

    Args:
        state: the state after the last update; it is overwritten in place.
        packed: (T+1, N, K), a rollout packed by `rollout_layout`.
        progress: (), fraction of the training that is done when the rollout ends.
        settings: PPO's settings.
        symmetry: use of the task's symmetry.
    """
    layout = rollout_layout(len(state.normaliser.mean), len(state.network.log_std))
    rollout = Rollout(**layout.unpack(packed))
    return_sums = discounted_sums(rollout.reward, rollout.finished, state.return_sums, settings.discount)
    return_statistics = merge(state.return_statistics, return_sums[..., None], rollout.mask)

    batch, batch_metrics = make_batch(state, rollout, return_statistics.variance[0], settings, symmetry)
    key, shuffle_key = jax.random.split(state.key)
    if settings.learning_rate_rule == "schedule":
        learning_rate = jnp.asarray(settings.learning_rate.value(progress), jnp.float32)
        state = state._replace(learning_rate=learning_rate)
    state, metrics = run_epochs(state, batch, shuffle_key, settings, symmetry)
    network = state.network
    if network.settings.std == "scheduled":
        log_std = jnp.full_like(network.log_std, scheduled_log_std(network.settings, progress))
        network = dataclasses.replace(network, log_std=log_std)
    state = state._replace(
        network=network,
        average=moving_average(state.average, network, settings.ema_decay),
        normaliser=update_normaliser(state.normaliser, rollout.observation[:-1], symmetry.tied),
        return_sums=return_sums[-1] * ~rollout.finished[-1],
        return_statistics=return_statistics,
        key=key,
    )
    return state, metrics | batch_metrics | {"learning_rate": state.learning_rate}


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
    advantage = advantages(rollout, reward, value, settings.discount, settings.gae_lambda)
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
    state: PPOState, batch: Batch, key: jax.Array, settings: PPOSettings, symmetry: Symmetry
) -> tuple[PPOState, Metrics]:
    """Take one gradient step per shuffled minibatch, `epochs` times; return the means of the metrics."""
    minibatches = Minibatches(batch, settings.minibatch_size)
    optimizer = _optimizer(settings)

    def gradient_step(state: PPOState, packed: jax.Array) -> tuple[PPOState, Metrics]:
        minibatch, learning_rate = minibatches.unpack(packed), state.learning_rate
        grads, metrics = jax.grad(loss, has_aux=True)(state.network, minibatch, settings, symmetry)
        grads = symmetry.project(grads)
        if settings.learning_rate_rule == "adaptive":
            learning_rate = adapted_to_kl(learning_rate, metrics["policy/kl"], settings.desired_kl)
        network, opt_state = descend(optimizer, state.network, grads, state.opt_state, learning_rate)
        state = state._replace(network=network, opt_state=opt_state, learning_rate=learning_rate)
        return state, metrics | {"gradient_norm": optax.tree.norm(grads)}

    def epoch(state: PPOState, key: jax.Array) -> tuple[PPOState, Metrics]:
        return jax.lax.scan(gradient_step, state, minibatches.shuffle(key))

    state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, settings.epochs))
    return state, jax.tree.map(jnp.mean, metrics)


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
    error = value - batch.target
    value_error = optax.huber_loss(error) if settings.value_loss == "huber" else 0.5 * jnp.square(error)
    value_loss = masked_mean(value_error, batch.mask)
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


def _optimizer(settings: PPOSettings) -> Any:
    return adam(eps=1e-5, max_grad_norm=settings.max_grad_norm)  # epsilon as in OpenAI Baselines


def mask_weights(mask: jax.Array) -> jax.Array:
    """Return weights, of sum 1, for a mean over the entries whose mask is 1."""
    return mask / jnp.maximum(mask.sum(), 1)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the mean, (), of the entries of x (M,) or () whose mask (M,) is 1."""
    return jnp.broadcast_to(x, mask.shape) @ mask_weights(mask)


def masked_variance(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the variance, (), of the entries whose mask is 1."""
    weights = mask_weights(mask)
    mean = jnp.sum(x * weights)
    return jnp.sum(jnp.square(x - mean) * weights)


def standardise(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Scale an array so that the entries whose mask is 1 have mean 0 and standard deviation 1."""
    mean = jnp.sum(x * mask) / jnp.maximum(mask.sum(), 1)
    return (x - mean) * jax.lax.rsqrt(masked_variance(x, mask) + 1e-8)
