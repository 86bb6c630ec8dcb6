"""A task as a user writes it, in one file outside the package; `test_user_tasks.py` copies and trains it."""

import mujoco
from pydantic import Field

from surefoot import tasks
from surefoot.tasks.observation import per_joint, scalars
from surefoot.tasks.symmetry import task_mirror

_MODEL = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="40 40 1"/>
    <body name="torso" pos="0 0 1.2">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <joint name="pitch" type="hinge" axis="0 1 0"/>
      <geom type="capsule" size=".05" fromto="0 0 0 0 0 .4"/>
      <body name="thigh">
        <joint name="hip" type="hinge" axis="0 1 0" range="-60 60"/>
        <geom type="capsule" size=".05" fromto="0 0 0 0 0 -.5"/>
        <body name="shank" pos="0 0 -.5">
          <joint name="knee" type="hinge" axis="0 1 0" range="-5 100"/>
          <geom name="foot" type="capsule" size=".06" fromto="0 0 0 0 0 -.5"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="hip" gear="80" ctrlrange="-1 1"/>
    <motor joint="knee" gear="80" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
_JOINTS = ("hip", "knee")


class HopOptions(tasks.TaskOptions):
    """Options of `Hop`."""

    speed_m_s: float = Field(1.0, ge=0, le=5)
    """Desired speed, m/s."""
    gait: tuple[float, ...] = (1.0, 2.0)
    """Numbers of no use but to show that lists can be given."""


@tasks.register("my/Hop-v0", short_name="hop", max_episode_steps=100)
class Hop(tasks.Task):
    """A planar body on one leg goes forward."""

    fall = "terminated"
    Options = HopOptions
    body = tasks.Body("hopper", trunk="torso", joints=_JOINTS, feet=(tasks.Foot("foot", ("foot",)),))
    frame_skip = 4
    observation = (
        scalars("height", "pitch"),
        per_joint("{} angle", _JOINTS),
        scalars("x velocity", "z velocity", "pitch rate"),
        per_joint("{} velocity", _JOINTS),
    )

    def __init__(self, options: HopOptions) -> None:
        super().__init__(options)
        self.model = mujoco.MjModel.from_xml_string(_MODEL)

    def mirror(self):
        return task_mirror(self, self.model.qpos0)

    def reset(self, state, env_indices, rngs):
        for env in env_indices:
            state["qpos"][env] = rngs[env].uniform(-0.01, 0.01, 5)
            state["qvel"][env] = 0

    def observe_and_reward(self, measured, action, xp):
        qpos, qvel = measured["qpos"], measured["qvel"]
        fallen = (qpos[:, 1] < -0.4) | (xp.abs(qpos[:, 2]) > 0.6)
        reward_terms = {
            "forward": 1 - xp.abs(qvel[:, 0] - self.options.speed_m_s),
            "alive": xp.ones_like(qvel[:, 0]),
            "effort": -0.1 * xp.square(action).sum(1),
        }
        return tasks.TaskOutput(xp.concatenate([qpos[:, 1:], qvel], axis=1), reward_terms, fallen)
