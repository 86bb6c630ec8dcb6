"""ANYmal C runs, with a cost of joint speed: a reward term in one file."""

from pydantic import Field

from surefoot import tasks
from surefoot.tasks.anymal import AnymalC, AnymalCOptions


def joint_speed(measured, xp):
    """Mean squared speed of the joints, (N,), (rad/s)^2."""
    return xp.square(measured["qvel"][:, 6:]).mean(1)


class GentleOptions(AnymalCOptions):
    """Options of `GentleAnymalC`."""

    joint_speed_weight: float = Field(0.02, ge=0)
    """Weight of the cost of joint speed."""


@tasks.register("my/GentleAnymalC-v0", max_episode_steps=800)
class GentleAnymalC(AnymalC):
    """ANYmal C runs with slow joints."""

    Options = GentleOptions

    def observe_and_reward(self, measured, action, xp):
        output = super().observe_and_reward(measured, action, xp)
        cost = -self.options.joint_speed_weight * joint_speed(measured, xp)
        return output._replace(reward_terms=output.reward_terms | {"joint speed": cost})
