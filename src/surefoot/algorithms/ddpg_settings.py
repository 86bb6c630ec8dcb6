"""The settings of DDPG, TD3 and SAC. All three are one rule; TD3 and SAC are DDPG with other defaults."""

from typing import Literal

from pydantic import Field

from surefoot.algorithms.critics import ActionEntry
from surefoot.algorithms.exploration import ExplorationSettings
from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings


class DDPGSettings(Settings):
    """Deep deterministic policy gradients (Lillicrap et al. 2016, arXiv 1509.02971), all extras off."""

    buffer_size: int = Field(1_000_000, ge=100, le=100_000_000)
    """How many transitions are remembered."""
    learning_starts: int = Field(10_000, ge=0)
    """Environment steps with uniformly random actions before learning starts."""
    train_freq: int = Field(1, ge=1, le=100_000)
    """Steps that each copy makes between rounds of updates."""
    utd_ratio: float = Field(1.0, gt=0, le=1000)
    """Updates for each environment step, all copies counted."""
    batch_size: int = Field(256, ge=1, le=1_000_000)
    """Transitions per update."""
    discount: float = Field(0.99, ge=0, le=1)
    """Gamma."""
    n_step: int = Field(1, ge=1, le=1000)
    """Rewards that are summed up before the target critic is asked."""
    polyak: float = Field(0.005, gt=0, le=1)
    """Tau, the share of the networks that enters their targets with each update."""

    critics: int = Field(1, ge=1, le=10)
    """Critics of one shape; the least of their targets counts (Fujimoto et al. 2018)."""
    target_networks: bool = True
    """false: what comes next is judged by the critics themselves, in one batch with what is judged now, so that batch
    normalisation, without which this does not work, meets both alike (CrossQ; Bhatt et al. 2024, arXiv 1902.05605)."""
    batch_norm_momentum: float = Field(0.1, gt=0, le=1)
    """The share of a new batch in the running statistics of batch normalisation. 0.1 is PyTorch's, 0.01 CrossQ's."""
    unit_norm_weights: bool = False
    """After each update, bring the weights into each batch-normalised unit back to length 1. Their length does not
    matter to it, but as they grow, what it learns from a step shrinks (Palenicek et al. 2025, arXiv 2502.07523)."""
    policy_delay: int = Field(1, ge=1, le=1000)
    """Updates of the critics for each update of actor and targets (Fujimoto et al. 2018)."""
    target_noise: float = Field(0.0, ge=0, le=10)
    """The deviation of the noise on the target's actions (Fujimoto et al. 2018)."""
    target_noise_clip: float = Field(0.5, ge=0, le=10)
    """Its largest value."""

    critic_action_layer: ActionEntry = "first"
    """Where the critic takes the action in: beside the state; at its second layer (Lillicrap et al. 2016); or by a
    linear branch of its own, added before the last non-linearity."""
    mirror: bool = False
    """Double each batch by its mirror image, if the task has one (Pavlov et al. 2017, arXiv 1711.06922)."""
    tied: bool = False
    """Actor and critics are exactly symmetric, as the weights of each unit are tied to those of a twin that sees the
    mirror image; for tasks whose mirror image is known. A batch then teaches what it would together with its mirror
    image, at the price of one (van der Pol et al. 2020, arXiv 2006.16908)."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """With adam, weight decay is added to the gradient; with adamw, to the step (Loshchilov and Hutter 2019)."""
    adam_b1: float = Field(0.9, ge=0, lt=1)
    """Beta 1, the share of the past in Adam's mean of the gradients. CrossQ has 0.5."""
    actor_learning_rate: Schedule = schedule(1e-3, gt=0, le=1)
    """Adam's step size for the actor."""
    critic_learning_rate: Schedule = schedule(1e-3, gt=0, le=1)
    """Adam's step size for the critics."""
    actor_weight_decay: float = Field(0.0, ge=0, le=1)
    """Pull of the actor's parameters towards zero."""
    critic_weight_decay: float = Field(0.0, ge=0, le=1)
    """Pull of the critics'."""
    max_grad_norm: float = Field(0.0, ge=0)
    """The largest norm of either gradient; 0: no limit."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """The policy that is evaluated and saved is a moving average of the actor over its updates, in which the past keeps
    this share each time (Polyak and Juditsky 1992); 0: the newest actor."""

    exploration: ExplorationSettings = ExplorationSettings()


class TD3Settings(DDPGSettings):
    """Twin delayed DDPG (Fujimoto et al. 2018, arXiv 1802.09477)."""

    critics: int = Field(2, ge=1, le=10)
    """Critics of one shape; the least of their targets counts."""
    policy_delay: int = Field(2, ge=1, le=1000)
    """Updates of the critics for each update of actor and targets."""
    target_noise: float = Field(0.2, ge=0, le=10)
    """The deviation of the noise on the target's actions."""


class SACSettings(DDPGSettings):
    """Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905).

    Its actor is a Gaussian squashed by tanh, which explores by itself.
    """

    critics: int = Field(2, ge=1, le=10)
    """Critics of one shape; the least of their targets counts."""
    actor_learning_rate: Schedule = schedule(3e-4, gt=0, le=1)
    """Adam's step size for the actor."""
    exploration: ExplorationSettings = ExplorationSettings(sigma=Schedule(start=0.0))
    """Exploration beyond the actor's own: none by default."""
    temperature: float = Field(1.0, gt=0, le=1000)
    """Alpha, the weight of the entropy, at the start."""
    target_entropy: float | None = Field(None, ge=-1000, le=1000)
    """The entropy per action value that the temperature is steered towards; none: -1."""
    temperature_learning_rate: float = Field(3e-4, ge=0, le=1)
    """The step size of the temperature's logarithm; 0: it stays as it is."""
