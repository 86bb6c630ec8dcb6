"""Deep deterministic policy gradients and its family: DDPG, TD3, SAC.

    repeat
        act with exploration; put the transition (s, a, r, s') into the replay
        draw a batch of transitions
        a' = target actor(s') + clipped noise                        (SAC: a sample of the actor itself)
        y  = r + gamma min_i target Q_i(s', a')                      (SAC: - gamma alpha log pi(a'|s'))
        critics descend   (Q_i(s, a) - y)^2
        every `policy_delay`-th time
            the actor ascends   Q_1(s, actor(s))                     (SAC: min_i Q_i - alpha log pi)
            targets move a share tau towards their networks    (CrossQ: there are none, the networks are asked)

DDPG has one critic, no noise on a' and no delay (Lillicrap et al. 2016, arXiv 1509.02971); TD3 has two critics, noise
and a delay of 2 (Fujimoto et al. 2018, arXiv 1802.09477); SAC has a stochastic actor whose entropy is rewarded
(Haarnoja et al. 2018, arXiv 1812.05905). `update` makes K such updates, acting left out, compiled into one call.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.adam import ADAM, adam_step
from surefoot.algorithms.algorithm import Algorithm, WarmStart
from surefoot.algorithms.critics import Critic, action_values
from surefoot.algorithms.ddpg_settings import DDPGSettings, SACSettings, TD3Settings
from surefoot.algorithms.ddpg_state import Batch, DDPGState
from surefoot.algorithms.replay import Transitions
from surefoot.algorithms.symmetry import Symmetry, check_paired_units
from surefoot.policies.distributions import TanhGaussian
from surefoot.policies.networks import ActorCritic, BatchStatistics, Layer, PolicySettings
from surefoot.policies.normaliser import prepare
from surefoot.policies.policy import Controller

# Products of these sizes gain little from being cut up; products that do not wait for each other run side by side.
_ONE_PRODUCT_PER_THREAD = {"xla_cpu_multi_thread_eigen": False}


METRICS = ("loss/value", "loss/policy", "value/mean", "value/target", "temperature", "policy/entropy", "learning_rate")


@functools.partial(
    jax.jit, static_argnames="settings", donate_argnames="state", compiler_options=_ONE_PRODUCT_PER_THREAD
)
def update(
    state: DDPGState,
    transitions: Transitions,
    progress: jax.Array,
    symmetry: Symmetry,
    settings: DDPGSettings,
) -> tuple[DDPGState, jax.Array]:
    """Make K updates.

    Args:
        state: what came out of the last ones.
        transitions: K batches, K a multiple of `settings.policy_delay`.
        progress: (), how much of the training has been done, in [0, 1].
        symmetry: use of the task's symmetry.
        settings: the algorithm's.

    Returns:
        The next state and the means of the metrics named in `METRICS`, (len(METRICS),).
    """
    groups = Batch(*(jnp.asarray(x).reshape(-1, settings.policy_delay, *x.shape[1:]) for x in transitions))

    def critic_update(state: DDPGState, drawn: Batch):
        batch = _prepare(state, drawn, symmetry)
        key, use = jax.random.split(state.key)
        state, metrics = _update_critics(state._replace(key=key), batch, use, progress, symmetry, settings)
        return state, metrics

    def group(state: DDPGState, drawn: Batch):
        state, metrics = _scan(critic_update, state, drawn)
        batch = _prepare(state, jax.tree.map(lambda x: x[-1], drawn), symmetry)
        key, use = jax.random.split(state.key)
        state, actor_metrics = _update_actor(state._replace(key=key), batch, use, progress, symmetry, settings)
        if settings.ema_decay:
            state = state._replace(average=_toward(state.average, state.actor, 1 - settings.ema_decay))
        if settings.target_networks:
            state = state._replace(
                target_actor=_toward(state.target_actor, state.actor, settings.polyak),
                target_critics=_toward(state.target_critics, state.critics, settings.polyak),
            )
        state = state._replace(updates=state.updates + settings.policy_delay)
        return state, jax.tree.map(jnp.mean, metrics) | actor_metrics

    state, metrics = _scan(group, state, groups)
    if not settings.ema_decay:
        state = state._replace(average=state.actor)
    if not settings.target_networks:
        state = state._replace(target_actor=state.actor, target_critics=state.critics)
    means = jax.tree.map(jnp.mean, metrics) | {"learning_rate": settings.actor_learning_rate.value(progress)}
    return state, jnp.stack([jnp.asarray(means[name], jnp.float32) for name in METRICS])


def act(
    controller: Controller, observation: jax.Array, noise: jax.Array | None, own_noise: jax.Array | None = None
) -> jax.Array:
    """Return actions (N, A) in [-1, 1] for raw observations (N, D).

    Args:
        controller: the actor and its normaliser.
        observation: (N, D).
        noise: (N, A), added to the action; None: nothing.
        own_noise: (N, A) standard normal, for a stochastic actor (SAC); None: its mode.
    """
    action = controller.action(observation, own_noise)
    return jnp.clip(action if noise is None else action + noise, -1, 1)


def _scan(step: Any, state: DDPGState, batches: Batch) -> tuple[DDPGState, Any]:
    """`jax.lax.scan`, but a single step is taken as it is, for XLA's loop around it costs time."""
    if len(batches.reward) > 1:
        return jax.lax.scan(step, state, batches)
    state, metrics = step(state, jax.tree.map(lambda x: x[0], batches))
    return state, jax.tree.map(lambda x: x[None], metrics)


def _prepare(state: DDPGState, drawn: Batch, symmetry: Symmetry) -> Batch:
    """Normalise the observations of a batch, and add mirror images if symmetry says so."""
    normalised = functools.partial(prepare, state.actor.settings, state.normaliser, mirror=symmetry.paired)
    return symmetry.augment(
        drawn._replace(observation=normalised(drawn.observation), next_observation=normalised(drawn.next_observation))
    )


def _update_critics(
    state: DDPGState,
    batch: Batch,
    key: jax.Array,
    progress: jax.Array,
    symmetry: Symmetry,
    settings: DDPGSettings,
) -> tuple[DDPGState, dict[str, jax.Array]]:
    """Move the critics towards what the targets say."""
    entry, policy = settings.critic_action_layer, state.actor.settings
    if settings.target_networks:
        target = targets(state, batch, key, settings)
    else:
        next_action, bonus = _next_action(state, batch, key, settings)
        both = jnp.concatenate([batch.observation, batch.next_observation])
        actions = jnp.concatenate([batch.action, next_action])

    def loss(critics: Critic):
        if settings.target_networks:
            wanted = target
            values, statistics = action_values(critics, batch.observation, batch.action, policy, entry, training=True)
        else:
            judged, statistics = action_values(critics, both, actions, policy, entry, training=True)
            values, later = jnp.split(judged, 2, axis=1)
            wanted = batch.reward + batch.discount * (jax.lax.stop_gradient(later).min(0) + bonus)
        # The sum over critics: each has its own mean squared error, as if it were alone.
        return jnp.square(values - wanted).mean(1).sum(), (values, wanted, statistics)

    (error, (values, target, statistics)), slope = jax.value_and_grad(loss, has_aux=True)(state.critics)
    slope = symmetry.project_critics(slope, entry)
    critics, moments = adam_step(
        state.critics,
        state.critic_moments,
        slope,
        settings.critic_learning_rate.value(progress),
        settings.critic_weight_decay,
        settings,
    )
    critics["layers"] = _settled(critics["layers"], statistics, settings)
    critics = symmetry.project_critics(critics, entry)
    metrics = {"loss/value": error / settings.critics, "value/mean": values.mean(), "value/target": target.mean()}
    return state._replace(critics=critics, critic_moments=moments), metrics


def targets(state: DDPGState, batch: Any, key: jax.Array, settings: DDPGSettings) -> jax.Array:
    """Return what the critics' values of a batch should have been, (B,), by the target critics."""
    action, bonus = _next_action(state, batch, key, settings)
    values, _ = action_values(
        state.target_critics, batch.next_observation, action, state.actor.settings, settings.critic_action_layer
    )
    return batch.reward + batch.discount * (values.min(0) + bonus)


def _next_action(state: DDPGState, batch: Any, key: jax.Array, settings: DDPGSettings) -> tuple[jax.Array, jax.Array]:
    """Return the actions that targets suppose, (B, A), and what their entropy is worth, (B,)."""
    noise = jax.random.normal(key, batch.action.shape)
    if isinstance(settings, SACSettings):
        distribution = TanhGaussian(*state.actor.distribution(batch.next_observation))
        return distribution.sample(noise), -jnp.exp(state.log_temperature) * distribution.log_prob(noise)
    actor = state.target_actor if settings.target_networks else state.actor
    mean = actor.distribution(batch.next_observation).mode()
    limit = settings.target_noise_clip
    action = jnp.clip(mean + jnp.clip(settings.target_noise * noise, -limit, limit), -1, 1)
    return action, jnp.zeros(len(action))


def _update_actor(
    state: DDPGState,
    batch: Batch,
    key: jax.Array,
    progress: jax.Array,
    symmetry: Symmetry,
    settings: DDPGSettings,
) -> tuple[DDPGState, dict[str, jax.Array]]:
    """Move the actor towards actions that the critics value more."""
    soft = isinstance(settings, SACSettings)
    judges = state.critics if soft else jax.tree.map(lambda x: x[:1], state.critics)
    temperature = jnp.exp(state.log_temperature)
    noise = jax.random.normal(key, batch.action.shape) if soft else None

    def loss(actor: ActorCritic):
        statistics: list[BatchStatistics] = []
        distribution = actor.distribution(batch.observation, statistics)
        action = distribution.mode() if noise is None else distribution.sample(noise)
        values, _ = action_values(judges, batch.observation, action, actor.settings, settings.critic_action_layer)
        log_probability = TanhGaussian(*distribution).log_prob(noise) if noise is not None else jnp.zeros(())
        total = (jnp.where(soft, temperature, 0) * log_probability - values.min(0)).mean()
        return total, (log_probability.mean(), statistics)

    (error, (log_probability, statistics)), slope = jax.value_and_grad(loss, has_aux=True)(state.actor)
    slope = symmetry.project(slope)
    actor, moments = adam_step(
        state.actor,
        state.actor_moments,
        slope,
        settings.actor_learning_rate.value(progress),
        settings.actor_weight_decay,
        settings,
    )
    actor = dataclasses.replace(actor, actor=_settled(actor.actor, statistics, settings))
    actor = symmetry.project(actor)
    state = state._replace(actor=actor, actor_moments=moments)
    if isinstance(settings, SACSettings) and settings.temperature_learning_rate:
        state = _update_temperature(state, log_probability, batch.action.shape[-1], settings)
    return state, {"loss/policy": error, "temperature": temperature, "policy/entropy": -log_probability}


def _update_temperature(
    state: DDPGState, log_probability: jax.Array, action_size: int, settings: SACSettings
) -> DDPGState:
    """Raise the temperature where the entropy is below its target, lower it where it is above."""
    wanted = (-1.0 if settings.target_entropy is None else settings.target_entropy) * action_size
    slope = -(log_probability + wanted)
    step, moments = ADAM.update(slope, state.temperature_moments)
    return state._replace(
        log_temperature=state.log_temperature - settings.temperature_learning_rate * step, temperature_moments=moments
    )


def _toward(target: Any, source: Any, share: float) -> Any:
    """Move `target` a share of the way to `source`."""
    return jax.tree.map(lambda old, new: old + share * (new - old), target, source)


def _settled(layers: list[Layer], statistics: list[BatchStatistics], settings: DDPGSettings) -> list[Layer]:
    """Bring running statistics of batch-normalised layers up to date, and their weights to length 1 if so wished."""
    found, rate = iter(statistics), settings.batch_norm_momentum
    settled = []
    for layer in layers:
        if "batch_gain" in layer:
            now = next(found)
            layer = layer | {
                "batch_mean": _toward(layer["batch_mean"], now.mean, rate),
                "batch_variance": _toward(layer["batch_variance"], now.variance, rate),
            }
            if settings.unit_norm_weights:
                weight = layer["weight"]
                layer["weight"] = weight / (jnp.linalg.norm(weight, axis=-2, keepdims=True) + 1e-8)
        settled.append(layer)
    return settled


def check(name: str, settings: DDPGSettings, policy: PolicySettings, num_envs: int) -> None:
    """Make sure that the settings fit each other; see `Algorithm.check`."""
    updates = num_envs * settings.train_freq * settings.utd_ratio
    if updates < 0.5 or abs(updates - round(updates)) > 1e-6 * updates or round(updates) % settings.policy_delay:
        raise ValueError(
            f"{updates:g} updates a round (engine.num_envs x {name}.train_freq x {name}.utd_ratio) is not a "
            f"multiple of {name}.policy_delay = {settings.policy_delay}; change {name}.train_freq"
        )
    if policy.trunk:
        raise ValueError(f"policy.trunk = {list(policy.trunk)}: actor and critic share no layers in '{name}'")
    if settings.critic_action_layer != "first" and not policy.critic:
        raise ValueError(
            f"{name}.critic_action_layer = '{settings.critic_action_layer}' needs a hidden layer in policy.critic"
        )
    if (policy.squash == "tanh_gaussian") != isinstance(settings, SACSettings):
        raise ValueError(f"policy.squash = '{policy.squash}' is not for '{name}'")
    if policy.std == "scheduled":
        raise ValueError(f"policy.std = 'scheduled' is not for '{name}'")
    if settings.tied:
        check_paired_units(policy)
        if settings.mirror:
            raise ValueError(f"{name}.mirror = true teaches tied networks nothing more; leave one of the two out")
    if not policy.batch_norm and (settings.unit_norm_weights or not settings.target_networks):
        which = "unit_norm_weights = true" if settings.unit_norm_weights else "target_networks = false"
        raise ValueError(f"{name}.{which} needs policy.batch_norm = true")
    if settings.buffer_size < num_envs * (settings.n_step + 1):
        raise ValueError(f"{name}.buffer_size = {settings.buffer_size} is too small for {num_envs} environments")


_PARAMETER_SIGMA = "samplers/0/exploration/parameter_sigma"


def earlier_parameter_sigma(tools: WarmStart) -> float | None:
    """Return the scale that parameter noise had in the earlier run, if it is to continue from there."""
    sigma, settings = tools.extra(_PARAMETER_SIGMA), tools.settings
    soft = isinstance(settings, SACSettings) and settings.temperature_learning_rate
    if soft or not settings.exploration.parameter_noise or sigma is None or sigma.shape != ():
        return None
    return float(sigma) if 0 < sigma < np.inf else None


def warm_start(state: DDPGState, tools: WarmStart) -> DDPGState:
    """Return the initial state after a warm start; see `Algorithm.warm_start`."""
    own_std = not tools.same_algorithm and tools.policy.std != "state_dependent"  # the std is not used to act
    actor = tools.tree(
        state.actor,
        "actor" if tools.same_algorithm else tools.acting,
        lambda path: own_std and path.endswith("/log_std"),
    )
    state = state._replace(
        actor=actor,
        average=jax.tree.map(jnp.copy, actor),
        target_actor=jax.tree.map(jnp.copy, actor),
        normaliser=tools.normaliser(state.normaliser),
    )
    critic = tools.takes_critic("critics", "critic_action_layer")
    tools.report("noise scale", False, "from the recipe")
    tools.report("replay", False, "starts empty; filled by the policy, without random actions")
    if not tools.same_algorithm:
        return state
    names = ["average", "target_actor", "actor_moments"]
    names += ["critics", "target_critics", "critic_moments"] if critic else []
    sigma = earlier_parameter_sigma(tools)
    if isinstance(tools.settings, SACSettings) and tools.settings.temperature_learning_rate:
        names += ["log_temperature", "temperature_moments"]
        tools.report("noise scale", True, "the temperature")
    elif sigma is not None:
        tools.report("noise scale", True, f"parameter noise {sigma:.3g}; action noise from the recipe")
    return state._replace(**{name: tools.tree(getattr(state, name), name) for name in names})


# The networks of the papers' own code.
_NETWORKS = {"actor": [256, 256], "critic": [256, 256], "activation": "relu", "normalise_observations": False}
DDPG = Algorithm(
    description="deep deterministic policy gradients (Lillicrap et al. 2016)",
    settings=DDPGSettings,
    learner="off_policy",
    warm_start=warm_start,
    warm_start_extras=(_PARAMETER_SIGMA,),
    check=check,
    policy_defaults=_NETWORKS | {"squash": "tanh", "initial_std": 0.1},
    off_policy=True,
)
TD3 = dataclasses.replace(DDPG, description="twin delayed DDPG (Fujimoto et al. 2018)", settings=TD3Settings)
SAC = dataclasses.replace(
    DDPG,
    description="soft actor-critic (Haarnoja et al. 2018)",
    settings=SACSettings,
    policy_defaults=_NETWORKS | {"squash": "tanh_gaussian", "std": "state_dependent", "minimum_std": 1e-5},
)
