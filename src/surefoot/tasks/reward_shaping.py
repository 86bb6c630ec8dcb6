"""What may be put between a task and the one who learns it.

What changes the reward is for training only: evaluations use the true one. What changes how the task is seen and acted
on becomes an option of the task, for the policy needs it wherever it runs.
"""

import jax
import jax.numpy as jnp
from pydantic import Field

from surefoot.errors import InputError
from surefoot.settings import Settings
from surefoot.tasks.catalogue import FALL_BELOW, TaskInfo
from surefoot.tasks.wrappers import ACTION_REPEAT, FRAME_STACK


class WrapperSettings(Settings):
    """How the task is changed while it is learnt."""

    reward_scale: float = Field(1.0, gt=0, le=1e6)
    """What rewards are multiplied by."""
    action_repeat: int = Field(1, ge=1, le=100)
    """How many steps each action lasts; rewards add up, and the policy sees the observation after the last."""
    frame_stack: int = Field(1, ge=1, le=100)
    """How many observations the policy sees at once, the last ones, oldest first."""
    action_cost: float = Field(0.0, ge=0, le=1e6)
    """Taken, before scaling, times the sum of the action's absolute values. A discounted learner is paid for haste and
    wastes effort on it; where the way is given, the sum of rewards asks for little effort on the way."""
    action_cost_from: int = Field(0, ge=0, le=10**12)
    """Environment steps before which there is no such cost, for where moving costs from the start, standing still is
    learnt first (off-policy algorithms only)."""
    action_cost_until: int = Field(0, ge=0, le=10**12)
    """Environment steps at which it is charged in full, having grown from nothing in between."""
    survival_bonus: float = Field(0.0, ge=-1e6, le=1e6)
    """Added, before scaling, to the reward of every step that does not terminate."""
    fall_reward: float | None = Field(None, ge=-1e6, le=1e6)
    """What the last step earns, before scaling, if it is a fall; none: what the task says. A discounted learner hardly
    sees what else a fall costs, the rest of the episode; this can make up for it."""

    def action_cost_at(self, steps: int) -> float:
        """Return the cost that is charged when `steps` environment steps have been made."""
        if steps < self.action_cost_from:
            return 0.0
        grown = (steps - self.action_cost_from) / max(1, self.action_cost_until - self.action_cost_from)
        return self.action_cost * (min(1.0, grown) if steps < self.action_cost_until else 1.0)

    @property
    def view(self) -> dict[str, int]:
        """The options of the task that say how it is seen, where they say anything."""
        values = {ACTION_REPEAT: self.action_repeat, FRAME_STACK: self.frame_stack}
        return {name: value for name, value in values.items() if value > 1}


def check_wrappers(settings: WrapperSettings, info: TaskInfo) -> None:
    """Make sure that the task can be wrapped so.

    Raises:
        InputError: it cannot tell a fall, but one is to be rewarded otherwise.
    """
    if settings.fall_reward is not None and info.fall == "none":
        raise InputError(
            f"wrappers.fall_reward = {settings.fall_reward}: it is not known what a fall is in task '{info.name}'"
        )


def wrapped_reward(
    settings: WrapperSettings,
    info: TaskInfo,
    reward: jax.Array,
    terminated: jax.Array,
    started: jax.Array,
    action: jax.Array,
) -> jax.Array:
    """Return the (N,) rewards to learn from.

    Args:
        settings: how they are changed.
        info: the task.
        reward: (N,), the task's own.
        terminated: (N,) bool.
        started: (N,) bool, copies that have just been reset, where there is no reward.
        action: (N, A), what was done for this reward, in the task's units.
    """
    learnt = reward + jnp.where(terminated, 0, settings.survival_bonus)
    if settings.action_cost:
        learnt -= settings.action_cost * jnp.abs(action).sum(-1)
    if settings.fall_reward is not None:
        fallen = terminated & (reward <= FALL_BELOW) if info.fall == "reward" else terminated
        learnt = jnp.where(fallen, settings.fall_reward, learnt)
    return jnp.where(started, 0, settings.reward_scale * learnt)
