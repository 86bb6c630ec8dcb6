"""The common part of DDPG, TD3 and SAC: settings, state, and K updates in one compiled call.

    for each of K batches of transitions (s, a, r, s', gamma) drawn from the replay
        (a', bonus) = next_action(s')
        y = r + gamma (min_i Q'_i(s', a') + bonus)          Q' are target networks, or for CrossQ the critics themselves
        critics descend   sum_i mean (Q_i(s, a) - y)^2
        every `policy_delay`-th time
            the actor descends `actor_loss`, then `after_actor_step`
            target networks move a fraction tau towards the online networks

An algorithm is a subclass of `OffPolicySettings` with the functions named in this outline (`td3.py`, `sac.py`).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from surefoot.algorithms.algorithm import AlgorithmSettings, Metrics, WarmStart
from surefoot.algorithms.critics import ActionLayer, Critics, init_critics
from surefoot.algorithms.exploration import ExplorationSettings
from surefoot.algorithms.optimizers import adam, descend
from surefoot.algorithms.replay import Batch
from surefoot.algorithms.symmetry import INITIAL_SCALE, NO_SYMMETRY, Symmetry, check_paired_units
from surefoot.policies.networks import ActorCritic, BatchStatistics, PolicySettings, init_actor, update_batch_norm
from surefoot.policies.normaliser import Normaliser, init_normaliser, prepare
from surefoot.policies.policy import Controller
from surefoot.ranges import choice, integer, log
from surefoot.schedules import Schedule, schedule

ActorLoss = tuple[jax.Array, tuple[Metrics, list[BatchStatistics]]]


class Preset(NamedTuple):
    """Constants that `OffPolicySettings.preset` selects.

    Attributes:
        target_networks: whether targets come from target networks.
        batch_norm_momentum: weight of a new batch in the running statistics of batch normalisation.
        unit_norm_weights: whether the weights into each batch-normalised unit are rescaled to norm 1 after each step.
            Their norm does not change the unit's output, but a growing norm lowers the effective learning rate.
        adam_b1: Adam's beta 1.
    """

    target_networks: bool = True
    batch_norm_momentum: float = 0.1  # PyTorch's
    unit_norm_weights: bool = False
    adam_b1: float = 0.9


PRESETS = {"none": Preset(), "crossq": Preset(False, 0.01, True, 0.5)}


class OffPolicySettings(AlgorithmSettings):
    """Settings of all algorithms that learn from a replay, and the functions by which they differ."""

    learner = "off_policy"
    allowed_policies: ClassVar = {"trunk": ((),), "std": ("parameter", "state_dependent")}
    # The networks of the papers' own code.
    policy_defaults: ClassVar[dict[str, Any]] = {
        "actor": [256, 256],
        "critic": [256, 256],
        "activation": "relu",
        "normalise_observations": False,
    }
    search_space: ClassVar = {
        "actor_learning_rate": log(1e-4, 3e-3),
        "critic_learning_rate": log(1e-4, 3e-3),
        "batch_size": choice(64, 128, 256, 512),
        "discount": choice(0.97, 0.98, 0.99, 0.995, 0.999),
        "n_step": integer(1, 5),
        "polyak": log(1e-3, 5e-2),
    }

    buffer_size: int = Field(1_000_000, ge=100, le=100_000_000)
    """Capacity of the replay, in transitions."""
    learning_starts: int = Field(10_000, ge=0)
    """Environment steps with uniformly random actions before the first update."""
    train_freq: int | None = Field(None, ge=1, le=100_000)
    """Steps of each environment between rounds of updates; none: the fewest that give a whole number of updates."""
    utd_ratio: float = Field(1.0, gt=0, le=1000)
    """Updates per environment step, all environments counted (update-to-data ratio)."""
    batch_size: int = Field(256, ge=1, le=1_000_000)
    """Transitions per update."""
    discount: float = Field(0.99, ge=0, le=1)
    """Gamma."""
    n_step: int = Field(1, ge=1, le=1000)
    """Rewards summed before the target bootstraps (Sutton 1988)."""
    polyak: float = Field(0.005, gt=0, le=1)
    """Tau, the fraction by which target networks move towards the online networks per update."""
    critics: int = Field(2, ge=1, le=10)
    """Number of critics; targets use the smallest value (Fujimoto et al. 2018)."""
    policy_delay: int = Field(1, ge=1, le=1000)
    """Critic updates per update of actor and target networks (Fujimoto et al. 2018)."""
    critic_action_layer: ActionLayer = "first"
    """Layer of the critic that receives the action. first: with the observation; second: at the second layer (Lillicrap
    et al. 2016); branch: through a separate linear layer, added before the last activation."""
    preset: Literal["none", "crossq"] = "none"
    """crossq: no target networks; batch-normalised critics evaluate current and next states in one batch (Bhatt et al.
    2024, arXiv 1902.05605). Implies policy.batch_norm with momentum 0.01, and 0.5 as Adam's beta 1. Weights into
    normalised units have unit norm (Palenicek et al. 2025, arXiv 2502.07523)."""
    symmetry: Literal["none", "augment", "tied"] = "none"
    """Use of the task's left-right symmetry. augment: batches also hold their mirror images (Pavlov et al. 2017, arXiv
    1711.06922); tied: weights are tied in pairs so that the networks are symmetric; the gradient of a batch is then
    that of the batch with its mirror images, at half the cost (van der Pol et al. 2020, arXiv 2006.16908)."""
    actor_learning_rate: Schedule = schedule(1e-3, gt=0, le=1)
    """Adam's step size for the actor."""
    critic_learning_rate: Schedule = schedule(1e-3, gt=0, le=1)
    """Adam's step size for the critics."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """adam: weight decay is added to the gradient; adamw: to the step (Loshchilov and Hutter 2019)."""
    actor_weight_decay: float = Field(0.0, ge=0, le=1)
    """Weight decay of the actor."""
    critic_weight_decay: float = Field(0.0, ge=0, le=1)
    """Weight decay of the critics."""
    max_grad_norm: float = Field(0.0, ge=0)
    """Largest norm of the actor's and of the critics' gradient; 0: no limit."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the actor that is evaluated and saved (Polyak and Juditsky 1992); 0: the newest
    actor."""
    exploration: ExplorationSettings = ExplorationSettings()

    @property
    def choices(self) -> Preset:
        """Constants of the preset."""
        return PRESETS[self.preset]

    def steps_per_round(self, num_envs: int) -> int:
        """Return the steps of each environment between rounds of updates."""
        whole = (steps for steps in range(1, 1001) if self._is_whole(num_envs * steps * self.utd_ratio))
        return self.train_freq or next(whole, 1)

    def _is_whole(self, updates: float) -> bool:
        """Whether this number of updates is a positive multiple of `policy_delay`."""
        count = round(updates)
        return count > 0 and abs(updates - count) <= 1e-6 * updates and count % self.policy_delay == 0

    def init_extra(self) -> Any:
        """Return the initial `OffPolicyState.extra`."""
        return ()

    def next_action(self, state: "OffPolicyState", batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the actions (B, A) in next states used by the targets, and the bonus (B,) added to their value."""
        raise NotImplementedError

    def actor_loss(self, actor: ActorCritic, state: "OffPolicyState", batch: Batch, key: jax.Array) -> ActorLoss:
        """Return the loss, its metrics, and the batch normalisation statistics of the actor's layers."""
        raise NotImplementedError

    def after_actor_step(self, state: "OffPolicyState", metrics: Metrics) -> "OffPolicyState":
        """Return the state after further changes, with the metrics of `actor_loss`."""
        del metrics
        return state

    @staticmethod
    def implied_policy(settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"batch_norm": True} if settings.get("preset") == "crossq" else {}

    def check(self, name: str, policy: PolicySettings, num_envs: int) -> None:
        super().check(name, policy, num_envs)
        steps = self.steps_per_round(num_envs)
        if not self._is_whole(updates := num_envs * steps * self.utd_ratio):
            raise ValueError(
                f"{updates:g} updates a round (engine.num_envs x {name}.train_freq x {name}.utd_ratio) is not a "
                f"multiple of {name}.policy_delay = {self.policy_delay}; change {name}.train_freq"
            )
        if self.preset == "crossq" and not policy.batch_norm:
            raise ValueError(f"{name}.preset = 'crossq' needs policy.batch_norm = true")
        if self.critic_action_layer != "first" and not policy.critic:
            raise ValueError(
                f"{name}.critic_action_layer = '{self.critic_action_layer}' needs a hidden layer in policy.critic"
            )
        if self.symmetry == "tied":
            check_paired_units(policy)
        if self.buffer_size < num_envs * (self.n_step + 1):
            raise ValueError(f"{name}.buffer_size = {self.buffer_size} is too small for {num_envs} environments")

    def warm_start(self, state: "OffPolicyState", tools: WarmStart) -> "OffPolicyState":
        same = tools.same_algorithm
        own_std = not same and tools.policy.std != "state_dependent"  # the std is not used to act
        actor = tools.tree(
            state.actor, "actor" if same else tools.acting, lambda path: own_std and path.endswith("/log_std")
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
        names = ["average", "target_actor", "actor_opt_state"] if same else []
        names += ["critics", "target_critics", "critic_opt_state"] if same and critic else []
        return state._replace(**{name: tools.tree(getattr(state, name), name) for name in names})


class OffPolicyState(NamedTuple):
    """State carried from one update to the next.

    Attributes:
        average: moving average of the actor, the policy to evaluate and save.
        target_actor: target network of the actor; SAC does not use it.
        extra: further state of the algorithm, such as SAC's temperature.
    """

    actor: ActorCritic
    average: ActorCritic
    critics: Critics
    target_actor: ActorCritic
    target_critics: Critics
    actor_opt_state: optax.OptState
    critic_opt_state: optax.OptState
    extra: Any
    normaliser: Normaliser
    key: jax.Array


def init(
    key: jax.Array,
    observation_size: int,
    action_size: int,
    policy: PolicySettings,
    settings: OffPolicySettings,
    symmetry: Symmetry = NO_SYMMETRY,
) -> OffPolicyState:
    """Return the initial state."""
    actor_key, critic_key, key = jax.random.split(key, 3)
    sizes = (observation_size, action_size)
    actor = symmetry.project(init_actor(actor_key, *sizes, policy), INITIAL_SCALE)
    critics = init_critics(critic_key, *sizes, policy, settings.critic_action_layer, settings.critics)
    critics = symmetry.project(critics, INITIAL_SCALE)
    return OffPolicyState(
        actor=actor,
        average=jax.tree.map(jnp.copy, actor),
        critics=critics,
        target_actor=jax.tree.map(jnp.copy, actor),
        target_critics=jax.tree.map(jnp.copy, critics),
        actor_opt_state=_optimizer(settings, settings.actor_weight_decay).init(actor),
        critic_opt_state=_optimizer(settings, settings.critic_weight_decay).init(critics),
        extra=settings.init_extra(),
        normaliser=init_normaliser(observation_size),
        key=key,
    )


def act(
    controller: Controller, observation: jax.Array, noise: jax.Array | None, policy_noise: jax.Array | None = None
) -> jax.Array:
    """Return actions (N, A) in [-1, 1] for raw observations (N, D).

    `noise` (N, A) is added to the action. A stochastic actor (SAC) samples by standard normal `policy_noise` (N, A);
    without it, the action is its mode.
    """
    action = controller.action(observation, policy_noise)
    return jnp.clip(action if noise is None else action + noise, -1, 1)


@functools.partial(
    jax.jit,
    static_argnames="settings",
    donate_argnames="state",
    # At these sizes XLA's intra-op parallelism saves no time; independent matrix products run concurrently instead.
    compiler_options={"xla_cpu_multi_thread_eigen": False},
)
def update(
    state: OffPolicyState,
    batches: Batch,
    progress: jax.Array,
    settings: OffPolicySettings,
    symmetry: Symmetry = NO_SYMMETRY,
) -> tuple[OffPolicyState, Metrics]:
    """Make K updates of the critics, and K / `policy_delay` of the actor; return state and means of the metrics.

    Args:
        state: the state after the last updates; it is overwritten in place.
        batches: K batches, K a multiple of `settings.policy_delay`.
        progress: (), fraction of the training that is done.
        settings: the algorithm's settings.
        symmetry: use of the task's symmetry.
    """
    groups = jax.tree.map(lambda x: jnp.asarray(x).reshape(-1, settings.policy_delay, *x.shape[1:]), batches)

    def critic_step(state: OffPolicyState, batch: Batch) -> tuple[OffPolicyState, Metrics]:
        return _update_critics(state, _prepare(state, batch, symmetry), progress, settings, symmetry)

    def delayed_step(state: OffPolicyState, group: Batch) -> tuple[OffPolicyState, Metrics]:
        state, critic_metrics = _scan(critic_step, state, group)
        batch = _prepare(state, jax.tree.map(lambda x: x[-1], group), symmetry)
        state, actor_metrics = _update_actor(state, batch, progress, settings, symmetry)
        if settings.ema_decay:
            state = state._replace(average=_move(state.average, state.actor, 1 - settings.ema_decay))
        if settings.choices.target_networks:
            state = state._replace(
                target_actor=_move(state.target_actor, state.actor, settings.polyak),
                target_critics=_move(state.target_critics, state.critics, settings.polyak),
            )
        return state, jax.tree.map(jnp.mean, critic_metrics) | actor_metrics

    state, metrics = _scan(delayed_step, state, groups)
    if not settings.ema_decay:
        state = state._replace(average=state.actor)
    if not settings.choices.target_networks:
        state = state._replace(target_actor=state.actor, target_critics=state.critics)
    learning_rate = jnp.asarray(settings.actor_learning_rate.value(progress), jnp.float32)
    return state, jax.tree.map(jnp.mean, metrics) | {"learning_rate": learning_rate}


def critic_loss(
    critics: Critics,
    state: OffPolicyState,
    batch: Batch,
    next_action: jax.Array,
    bonus: jax.Array,
    settings: OffPolicySettings,
) -> tuple[jax.Array, Any]:
    """Squared Bellman errors, summed over critics.

    CrossQ has no target networks and evaluates current and next states in one batch (Bhatt et al. 2024, section 3).

    Returns:
        The loss; q (C, B), the targets (B,) and the batch normalisation statistics.
    """
    statistics: list[BatchStatistics] = []
    if settings.choices.target_networks:
        next_q = state.target_critics(batch.next_observation, next_action)
        q = critics(batch.observation, batch.action, statistics)
    else:
        observations = jnp.concatenate([batch.observation, batch.next_observation])
        actions = jnp.concatenate([batch.action, next_action])
        q, next_q = jnp.split(critics(observations, actions, statistics), 2, axis=1)
    target = batch.reward + batch.discount * (jax.lax.stop_gradient(next_q).min(0) + bonus)
    return jnp.square(q - target).mean(1).sum(), (q, target, statistics)


def _update_critics(
    state: OffPolicyState, batch: Batch, progress: jax.Array, settings: OffPolicySettings, symmetry: Symmetry
) -> tuple[OffPolicyState, Metrics]:
    """Take a gradient step of the critics."""
    key, noise_key = jax.random.split(state.key)
    next_action, bonus = settings.next_action(state, batch, noise_key)
    (error, (q, target, statistics)), grads = jax.value_and_grad(critic_loss, has_aux=True)(
        state.critics, state, batch, next_action, bonus, settings
    )
    optimizer, preset = _optimizer(settings, settings.critic_weight_decay), settings.choices
    learning_rate = settings.critic_learning_rate.value(progress)
    critics, opt_state = descend(
        optimizer, state.critics, symmetry.project(grads), state.critic_opt_state, learning_rate
    )
    layers = update_batch_norm(critics.layers, statistics, preset.batch_norm_momentum, preset.unit_norm_weights)
    critics = symmetry.project(dataclasses.replace(critics, layers=layers))
    metrics = {"loss/value": error / settings.critics, "value/mean": q.mean(), "value/target": target.mean()}
    return state._replace(critics=critics, critic_opt_state=opt_state, key=key), metrics


def _update_actor(
    state: OffPolicyState, batch: Batch, progress: jax.Array, settings: OffPolicySettings, symmetry: Symmetry
) -> tuple[OffPolicyState, Metrics]:
    """Take a gradient step of the actor."""
    key, noise_key = jax.random.split(state.key)
    (loss, (metrics, statistics)), grads = jax.value_and_grad(settings.actor_loss, has_aux=True)(
        state.actor, state, batch, noise_key
    )
    optimizer, preset = _optimizer(settings, settings.actor_weight_decay), settings.choices
    learning_rate = settings.actor_learning_rate.value(progress)
    actor, opt_state = descend(optimizer, state.actor, symmetry.project(grads), state.actor_opt_state, learning_rate)
    layers = update_batch_norm(actor.actor, statistics, preset.batch_norm_momentum, preset.unit_norm_weights)
    actor = symmetry.project(dataclasses.replace(actor, actor=layers))
    state = state._replace(actor=actor, actor_opt_state=opt_state, key=key)
    return settings.after_actor_step(state, metrics), {"loss/policy": loss} | metrics


def _optimizer(settings: OffPolicySettings, weight_decay: float) -> Any:
    return adam(
        b1=settings.choices.adam_b1,
        max_grad_norm=settings.max_grad_norm,
        weight_decay=weight_decay,
        decoupled_decay=settings.optimizer == "adamw",
    )


def _move(old: Any, new: Any, tau: float) -> Any:
    """Move a tree a fraction tau of the way to another."""
    return jax.tree.map(lambda a, b: a + tau * (b - a), old, new)


def _prepare(state: OffPolicyState, batch: Batch, symmetry: Symmetry) -> Batch:
    """Normalise the observations of a batch and add mirror images, if settings say so."""
    normalised = functools.partial(prepare, state.actor.settings, state.normaliser, mirror=symmetry.paired)
    return symmetry.augment(
        batch._replace(observation=normalised(batch.observation), next_observation=normalised(batch.next_observation))
    )


def _scan(step: Any, state: OffPolicyState, batches: Batch) -> tuple[OffPolicyState, Metrics]:
    """`jax.lax.scan`, without the cost of a loop if there is one step only."""
    if len(batches.reward) > 1:
        return jax.lax.scan(step, state, batches)
    state, metrics = step(state, jax.tree.map(lambda x: x[0], batches))
    return state, jax.tree.map(lambda x: x[None], metrics)
