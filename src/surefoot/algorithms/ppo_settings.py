"""The settings of PPO."""

from typing import Literal

from pydantic import Field

from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings


class PPOSettings(Settings):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

    horizon: int = Field(256, ge=1, le=1_000_000)
    """T, how many steps each copy makes between updates."""
    epochs: int = Field(5, ge=1, le=1000)
    """How many times an update goes over the collected transitions."""
    minibatch_size: int = Field(512, ge=2)
    """Transitions per gradient step; the last minibatch of an epoch may hold fewer."""
    discount: float = Field(0.99, ge=0, le=1)
    """Gamma."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of the advantage estimate; 0 gives the one-step temporal difference."""
    clip_eps: float = Field(0.2, gt=0)
    """Epsilon, how far the probability ratio may move before the surrogate goes flat."""
    value_clip: float = Field(0.0, ge=0)
    """How far a value may move from its old one before its loss goes flat, in units of the scaled return; 0: free."""
    value_loss: Literal["squared", "huber"] = "squared"
    """Half the squared error, or the smooth-L1 loss of `aidl2023`."""
    value_coef: float = Field(0.5, ge=0)
    """c1, the weight of the value loss."""
    entropy_coef: float = Field(0.0, ge=0)
    """c2, the weight of the entropy bonus."""
    normalise_advantages: Literal["minibatch", "batch", "none"] = "minibatch"
    """Over what advantages are given mean 0 and deviation 1."""
    normalise_returns: bool = True
    """Divide rewards by the running deviation of the discounted return (Engstrom et al. 2020, section 3)."""
    learning_rate: Schedule = schedule(3e-4, gt=0)
    """Adam's step size."""
    learning_rate_rule: Literal["schedule", "adaptive"] = "schedule"
    """schedule: `learning_rate` as it stands; adaptive: from its start, raised and lowered to keep the KL divergence of
    each update near `desired_kl` (as in RSL-RL, after Heess et al. 2017)."""
    desired_kl: float = Field(0.01, gt=0)
    """KL divergence per update that an adaptive learning rate aims at."""
    max_kl: float = Field(0.0, ge=0)
    """Leave the update once a minibatch's divergence exceeds this; 0: never."""
    max_grad_norm: float = Field(0.5, ge=0)
    """The largest norm of the gradient; 0: no limit."""
    symmetry: Literal["none", "augment", "loss", "averaged", "tied"] = "none"
    """What is made of left and right being alike, for tasks whose mirror image is known. augment: each minibatch is learnt
    from together with its mirror image, twice as many transitions in as many gradient steps (Mittal et al. 2024, arXiv
    2403.04359, as in RSL-RL); loss: the policy is pulled towards mirrored means for mirrored observations (Yu, Turk,
    Liu 2018, arXiv 1801.08093); averaged: actor and critic average what they make of an observation and of its
    image, so that they are symmetric whatever they learn; tied: by their weights, for half the work, those of each
    unit being tied to those of a twin that sees the mirror image (van der Pol et al. 2020, arXiv 2006.16908)."""
    symmetry_weight: float = Field(1.0, ge=0)
    """The weight of the loss of `symmetry = "loss"`, a mean square over action values in units of half their range."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """The policy that is evaluated and saved is a moving average of the parameters over iterations, in which the past
    keeps this share each time (Polyak and Juditsky 1992); 0: the newest parameters."""
