"""Formulas of Gymnasium's tasks on random states, also ones that random actions do not reach."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.tasks.catalogue import find_task, make_env, make_physics_task
from surefoot.tasks.gymnasium.mujoco import MujocoTask

STATES = 400


def random_physics(
    env: Any, position: list, velocity: list, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw qpos, qvel and contact wrenches, qpos and qvel around the initial state with given standard deviations."""
    random = np.random.default_rng(seed)
    model = env.model
    qpos = env.init_qpos + random.normal(size=(STATES, model.nq)) * np.resize(position, model.nq)
    qvel = env.init_qvel + random.normal(size=(STATES, model.nv)) * np.resize(velocity, model.nv)
    force = random.normal(size=(STATES, model.nbody - 1, 6))
    return (x.astype(np.float32).astype(np.float64) for x in (qpos, qvel, force))


@pytest.mark.parametrize(
    "task, options, position, velocity",
    [
        ("HalfCheetah-v5", {}, [1.0], [20.0]),
        ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False}, [1.0], [20.0]),
        # Each bound in turn is the one that most states break.
        ("Hopper-v5", {}, [1, 1.0, 0.05, 1, 1, 1], [10.0]),
        ("Hopper-v5", {}, [1, 0.1, 0.2, 1, 1, 1], [10.0]),
        ("Hopper-v5", {}, [1, 0.1, 0.05, 1, 1, 1], [60.0]),
        ("Hopper-v5", {"healthy_state_range": [-2.0, 3.0]}, [1, 0.1, 0.05, 2, 2, 2], [0.5]),
        (
            "Hopper-v5",
            {"healthy_state_range": [-2.0, 3.0], "healthy_angle_range": [-50, 50]},
            [1, 0.1, 3.0, 0.1, 0.1, 0.1],
            [0.5],
        ),
        ("Hopper-v5", {"terminate_when_unhealthy": False, "healthy_reward": 3.0}, [1, 0.5, 0.2, 1, 1, 1], [50.0]),
        ("Walker2d-v5", {}, [1, 0.4, 0.1] + [1] * 6, [20.0]),
        ("Walker2d-v5", {}, [1, 0.1, 1.0] + [1] * 6, [20.0]),
        ("Ant-v5", {}, [1, 1, 0.3] + [0.2] * 12, [20.0]),
        ("Ant-v5", {"contact_force_range": [-0.3, 2.0], "contact_cost_weight": 0.1}, [1, 1, 0.3] + [0.2] * 12, [1.0]),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}, [1, 1, 0.3] + [0.2] * 12, [20.0]),
    ],
)
def test_observation_reward_and_fall_equal_gymnasiums(task: str, options: dict, position: list, velocity: list) -> None:
    info = find_task(task, options)
    ours = make_physics_task(info)
    assert isinstance(ours, MujocoTask)
    env: Any = make_env(info).unwrapped
    qpos, qvel, force = random_physics(env, position, velocity)
    random = np.random.default_rng(1)
    action = random.uniform(-1.5, 1.5, (STATES, info.action_size)).astype(np.float32)
    displacement = random.normal(scale=0.1, size=(STATES, ours.tracked_size)).astype(np.float32)
    arrays = {"qpos": qpos, "qvel": qvel, "displacement_m": displacement, "contact_force": force.reshape(STATES, -1)}
    measured = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    observed, terms, terminated = ours.observe_and_reward(measured, jnp.asarray(action), jnp)
    observation, fallen = np.asarray(observed), np.asarray(terminated)
    ends = getattr(env, "_terminate_when_unhealthy", False)
    for row in range(STATES):
        env.data.qpos[:], env.data.qvel[:], env.data.cfrc_ext[1:] = qpos[row], qvel[row], force[row]
        np.testing.assert_allclose(observation[row], env._get_obs(), rtol=1e-6, atol=1e-6)
        reward, parts = env._get_rew(float(displacement[row, 0]) / env.dt, action[row])
        np.testing.assert_allclose(sum(term[row] for term in terms.values()), reward, rtol=1e-5, atol=1e-5)
        wanted = {name.removeprefix("reward_"): value for name, value in parts.items()}
        for name, term in terms.items():
            key = {"control": "ctrl"}.get(name, name)
            np.testing.assert_allclose(term[row], wanted[key], rtol=1e-5, atol=1e-5, err_msg=name)
        assert fallen[row] == (ends and not env.is_healthy)
    if ends:
        assert 0.1 < fallen.mean() < 0.9, "both outcomes must occur"
    env.close()


@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Ant-v5", "Hopper-v5", "Walker2d-v5"])
def test_initial_states_equal_gymnasiums(task: str) -> None:
    info = find_task(task, {"reset_noise_scale": 0.25})
    ours = make_physics_task(info)
    assert isinstance(ours, MujocoTask)
    env: Any = make_env(info)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(11)))
    for episode in range(3):
        env.reset(seed=11 if episode == 0 else None)
        qpos, qvel = ours.initial_state(random)
        np.testing.assert_array_equal(env.unwrapped.data.qpos, qpos)
        np.testing.assert_array_equal(env.unwrapped.data.qvel, qvel)
    env.close()
