"""The settings of augmented random search."""

from typing import Literal

from pydantic import Field

from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings


class ARSSettings(Settings):
    """Augmented random search (Mania, Guy, Recht 2018, arXiv 1803.07055).

    V1 is `policy.normalise_observations = false`, V2 is true; with `top_directions` either becomes its V1-t or V2-t.
    """

    directions: int = Field(32, ge=1, le=100_000)
    """N, random directions of each iteration; each is tried forwards and backwards."""
    top_directions: int | None = Field(None, ge=1, le=100_000)
    """b, how many of them are learnt from, those with the best returns; none: all."""
    rollout_length: Schedule = schedule(0, ge=0, le=10**9)
    """H, steps after which an episode of the search is truncated; 0: the task's own limit. Evaluations use the task's
    own limit."""
    step_size: Schedule = schedule(0.02, gt=0, le=100)
    """Alpha, the learning rate."""
    noise: Schedule = schedule(0.03, gt=0, le=100)
    """Nu, the standard deviation of the noise on the parameters."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """The policy that is evaluated and saved is a moving average of the weights over iterations, in which the past
    keeps this share each time (Polyak and Juditsky 1992): single steps go astray. 0: the newest weights."""
    biases: bool = False
    """Search for the biases too; without, they stay zero."""
    reward_clip: float = Field(0.0, ge=0)
    """Each step's reward is clipped to plus and minus this while searching; 0: it is not."""
    statistics: Literal["iteration", "step"] = "iteration"
    """When what was observed enters the normaliser: after each iteration, or at once (`turing2020`)."""
    symmetry: Literal["none", "averaged"] = "none"
    """What is made of left and right being alike, for tasks whose mirror image is known. averaged: the policy
    averages its answers to an observation and to its image, so that it is symmetric whatever the weights; of those of a
    linear policy only half still count."""
    variance_floor: float = Field(0.0, ge=0)
    """The least variance that observations are divided by the root of."""
