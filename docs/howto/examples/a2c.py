"""Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783), as the special case of PPO that it is.

    repeat
        act for T steps in N environments; estimate advantages A and returns R
        one gradient step on the whole rollout:
            maximise  log pi(a|s) A - c1 (V - R)^2 + c2 entropy

With one epoch of one minibatch the ratio in PPO's loss is 1, its gradient that of log pi (Huang et al. 2022, arXiv
2205.09123), so that nothing is ever clipped.
"""

from pydantic import Field

from surefoot.algorithms.ppo import PPOSettings
from surefoot.policies.networks import PolicySettings


class A2CSettings(PPOSettings):
    """Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783)."""

    horizon: int = Field(16, ge=1, le=1_000_000)
    """T, steps of each environment between updates."""
    epochs: int = Field(1, ge=1, le=1)
    """Passes over a rollout: one."""
    minibatch_size: int = Field(1_000_000, ge=2)
    """Transitions per gradient step: all of a rollout."""

    def check(self, name: str, policy: PolicySettings, num_envs: int) -> None:
        """Check the settings as PPO does, with minibatches of a whole rollout."""
        whole = self.model_copy(update={"minibatch_size": num_envs * self.horizon})
        super(A2CSettings, whole).check(name, policy, num_envs)
