"""The settings of augmented random search."""

from typing import Literal

from pydantic import Field

from surefoot.settings import Settings


class ARSSettings(Settings):
    """Augmented random search (Mania, Guy, Recht 2018, arXiv 1803.07055).

    V1 is `policy.normalise_observations = false`, V2 is true; with `top_directions` either becomes its V1-t or V2-t.
    """

    directions: int = Field(32, ge=1, le=100_000)
    """N, random directions of each iteration; each is tried forwards and backwards."""
    top_directions: int | None = Field(None, ge=1, le=100_000)
    """b, how many of them are learnt from, those with the best returns; none: all."""
    rollout_length: int = Field(0, ge=0, le=10**9)
    """H, steps after which an episode is broken off while searching; 0: the task's own limit. Evaluations keep to the
    task's own."""
    final_rollout_length: int | None = Field(None, ge=0, le=10**9)
    """H at the end of the schedule; it grows evenly until then. 0: the task's own limit; none: H stays as it is."""
    step_size: float = Field(0.02, gt=0, le=100)
    """Alpha."""
    noise: float = Field(0.03, gt=0, le=100)
    """Nu, the standard deviation of the noise on the parameters."""
    step_size_schedule: Literal["constant", "linear", "exponential"] = "constant"
    """Whether alpha and nu stay as they are, or fall over the training to `final_share` of themselves: evenly, or
    exponentially, which leaves more of the training to small ones."""
    final_share: float = Field(0.1, ge=0, le=1)
    """What is left of both at the end of a schedule."""
    schedule_share: float = Field(1.0, gt=0, le=1)
    """After this share of the training alpha, nu and H are what they are to be at the end, and stay so."""
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
