"""A planar robot on one leg hops forward: a task in one file."""

import mujoco
from pydantic import Field

from surefoot import tasks
from surefoot.tasks.observation import per_joint, scalars

MODEL = """
<mujoco model="hopper">
  <option timestep="0.005"/>
  <default><joint damping="1" armature="0.5"/><geom friction="1.5"/></default>
  <worldbody>
    <geom type="plane" size="40 40 1"/>
    <light pos="0 0 5"/>
    <body name="torso" pos="0 0 1.1">
      <camera name="track" mode="trackcom" pos="0 -4 0.5" xyaxes="1 0 0 0 0 1"/>
      <joint name="x" type="slide" axis="1 0 0" damping="0" armature="0"/>
      <joint name="z" type="slide" axis="0 0 1" damping="0" armature="0"/>
      <joint name="pitch" type="hinge" axis="0 1 0" damping="0" armature="0"/>
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
    <motor joint="hip" gear="100" ctrlrange="-1 1"/>
    <motor joint="knee" gear="100" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
JOINTS = ("hip", "knee")


class HopOptions(tasks.TaskOptions):
    """Options of `Hop`."""

    speed_m_s: float = Field(1.0, ge=0, le=5)
    """Desired forward speed, m/s."""


@tasks.register("my/Hop-v0", max_episode_steps=500)
class Hop(tasks.Task):
    """Hop forward at a given speed."""

    fall = "terminated"
    Options = HopOptions
    body = tasks.Body("hopper", trunk="torso", joints=JOINTS, feet=(tasks.Foot("foot", ("foot",)),))
    frame_skip = 4  # 50 actions per second
    observation = (
        scalars("height", "pitch"),
        per_joint("{} angle", JOINTS),
        scalars("x velocity", "z velocity", "pitch rate"),
        per_joint("{} velocity", JOINTS),
    )

    def __init__(self, options):
        super().__init__(options)
        self.model = mujoco.MjModel.from_xml_string(MODEL)

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
            "effort": -0.05 * xp.square(action).sum(1),
        }
        return tasks.TaskOutput(xp.concatenate([qpos[:, 1:], qvel], axis=1), reward_terms, fallen)
