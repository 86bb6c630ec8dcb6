"""Changes to a task's reward, for training only: evaluations use the task's own.

Action repeat and frame stacking become options of the task, because the policy always needs them.
"""

import jax
import jax.numpy as jnp
from pydantic import Field

from surefoot.errors import InputError
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.wrappers import WrapperOptions


class WrapperSettings(WrapperOptions):
    """Changes to the task during training."""

    reward_scale: float = Field(1.0, gt=0, le=1e6)
    """Factor by which rewards are multiplied."""
    action_cost: float = Field(0.0, ge=0, le=1e6)
    """Cost per unit of the sum of absolute actions, before scaling. It compensates for discounting, which
    favours speed."""
    action_cost_from: int = Field(0, ge=0, le=10**12)
    """Environment step at which the action cost begins to grow from 0; an early cost can teach the policy to stand
    still (off-policy algorithms only)."""
    action_cost_until: int = Field(0, ge=0, le=10**12)
    """Environment step at which the action cost is charged in full."""
    survival_bonus: float = Field(0.0, ge=-1e6, le=1e6)
    """Added to the reward of every step that does not terminate, before scaling."""
    fall_reward: float | None = Field(None, ge=-1e6, le=1e6)
    """Reward of the last step of an episode that ends in a fall, before scaling; none: the task's own. A
    large penalty compensates for discounting."""

    def action_cost_at(self, steps: int) -> float:
        """Return the action cost after `steps` environment steps."""
        if steps < self.action_cost_from:
            return 0.0
        fraction = (steps - self.action_cost_from) / max(1, self.action_cost_until - self.action_cost_from)
        return self.action_cost * (min(1.0, fraction) if steps < self.action_cost_until else 1.0)

    @property
    def task_options(self) -> dict[str, int]:
        """The options of the task that wrap its environment; empty without wrappers."""
        return self.model_dump(include=set(WrapperOptions.model_fields), exclude_defaults=True)


def check_wrappers(settings: WrapperSettings, info: TaskInfo) -> None:
    """Check that the task's reward can be shaped this way.

    Raises:
        InputError: `fall_reward` is set, but the task has no way to detect falls.
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
    """Return the shaped rewards, (N,), from the task's own `reward` (N,) and `terminated` (N,) bool.

    Environments that have just been reset, `started` (N,) bool, have reward 0. `action` is (N, A), in the task's units.
    """
    shaped = reward + jnp.where(terminated, 0, settings.survival_bonus)
    if settings.action_cost:
        shaped -= settings.action_cost * jnp.abs(action).sum(-1)
    if settings.fall_reward is not None:
        shaped = jnp.where(info.falls(terminated, reward), settings.fall_reward, shaped)
    return jnp.where(started, 0, settings.reward_scale * shaped)
