"""Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783), as the special case of PPO that it is.

    repeat
        act for T steps in N environments; estimate advantages A and returns R
        one gradient step on the whole rollout:
            maximise  log pi(a|s) A - c1 (V - R)^2 + c2 entropy

With one epoch of one minibatch the ratio in PPO's loss is 1, its gradient that of log pi (Huang et al. 2022, arXiv
2205.09123), so that nothing is ever clipped.
"""

import dataclasses

from pydantic import Field

from surefoot.algorithms import ppo
from surefoot.policies.networks import PolicySettings


class A2CSettings(ppo.PPOSettings):
    """Advantage actor-critic."""

    horizon: int = Field(16, ge=1, le=1_000_000)
    """T, steps of each environment between updates."""
    epochs: int = Field(1, ge=1, le=1)
    """Passes over a rollout: one."""
    minibatch_size: int = Field(1_000_000, ge=2)
    """Transitions per gradient step: all of a rollout."""


def check(name: str, settings: A2CSettings, policy: PolicySettings, num_envs: int) -> None:
    """Check the settings as PPO does, with minibatches of a whole rollout."""
    whole = settings.model_copy(update={"minibatch_size": num_envs * settings.horizon})
    ppo.check(name, whole, policy, num_envs)


A2C = dataclasses.replace(
    ppo.PPO, description="advantage actor-critic (Mnih et al. 2016)", settings=A2CSettings, check=check
)
