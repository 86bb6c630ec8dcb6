"""The imitation of OpenSim's loss of the toes' contact."""

import mujoco
import numpy as np
import pytest

from surefoot.bodies.runner import COORDINATE_INDICES, COORDINATES
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import find_task, make_env

RADIUS = 0.05


def env_with(heel_speed: float, height: float = 0.0):
    """An environment in the contest's pose, `height` m higher, whose right foot turns about its toes."""
    env = make_env(find_task("learning-to-run", {"lose_toe_contact": True, "reset_noise": 0.0})).unwrapped
    env.reset(seed=0)
    env.data.qpos[COORDINATE_INDICES[2]] += height
    mujoco.mj_forward(env.model, env.data)
    turn = np.zeros(env.model.nv)
    turn[COORDINATE_INDICES[COORDINATES.index("ankle_r")]] = 1.0
    env.data.qvel[:] = turn
    jacobian = np.zeros((3, env.model.nv))
    heel = env.model.geom("heel_r").id
    mujoco.mj_jac(env.model, env.data, jacobian, None, env.data.geom_xpos[heel], env.model.geom_bodyid[heel])
    env.data.qvel[:] = turn * heel_speed / (jacobian[2] @ turn)
    return env


@pytest.mark.parametrize(
    "heel_speed, height, lost",
    [(0.43, 0, False), (0.46, 0, True), (-1.0, 0, False), (0.46, 0.1, False)],
)
def test_toes_have_no_contact_while_the_heel_rises_fast_in_contact(
    heel_speed: float, height: float, lost: bool
) -> None:
    env = env_with(heel_speed, height)
    env.task.apply_substep_forces(env._state, slice(None))
    right, left = (env.model.geom(f"toe_{leg}").size[0] for leg in "rl")
    assert left == RADIUS
    assert (right < 0) == lost and (lost or right == RADIUS)
    mujoco.mj_forward(env.model, env.data)
    touching = {env.model.geom(number).name for contact in env.data.contact for number in contact.geom}
    assert ("toe_r" in touching) == (height == 0 and not lost)
    # In the next physics step it is back.
    env.data.qvel[:] = 0
    env.task.apply_substep_forces(env._state, slice(None))
    assert env.model.geom("toe_r").size[0] == RADIUS


def test_many_environments_are_like_one() -> None:
    info = find_task("learning-to-run", {"lose_toe_contact": True, "reset_noise": 0.1, "action_repeat": 2})
    engine = make_engine("batch", info, 2)
    env = make_env(info)
    engine.reset(seed=3)
    env.reset(seed=4)
    actions = np.random.default_rng(0).uniform(0, 1, (16, 2, 18)).astype(np.float32)
    lost = False
    for action in actions:
        observations = engine.step(action)[0]
        observation = env.step(action[1])[0]
        np.testing.assert_allclose(observations[1], observation, atol=1e-4)
        lost |= bool((env.unwrapped.model.geom_size[:, 0] < 0).any())
    assert lost
    engine.close()
