"""The running task with elastic tendons."""

import numpy as np
import pytest

from surefoot.bodies.runner import COORDINATE_INDICES
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_task, make_env

ELASTIC = {"muscles": "elastic", "reset_noise": 0.0, "visuals": False}


@pytest.fixture(scope="module")
def engine() -> BatchEngine:
    engine = BatchEngine(find_task("learning-to-run", ELASTIC | {"muscle_strength": 0.2}), 4, threads=1)
    engine.reset(seed=0)
    return engine


def test_engine_steps_as_the_environment_does() -> None:
    info = find_task("learning-to-run", ELASTIC)
    engine, env = BatchEngine(info, 2, threads=1), make_env(info).unwrapped
    engine.reset(seed=0)
    env.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(5):
        action = random.uniform(size=18).astype(np.float32)
        engine.step(np.tile(action, (2, 1)))
        env.step(action)
        np.testing.assert_allclose(engine.state["qpos"][0], env.data.qpos, atol=1e-5)
        np.testing.assert_allclose(engine.state["fibre"][0], env._state["fibre"][0], atol=1e-5)
    assert np.abs(env.data.actuator_force).max() < 1e-6
    assert np.abs(env.data.qfrc_applied[COORDINATE_INDICES[3:]]).max() > 10


def test_state_that_is_restored_goes_on_alike(engine: BatchEngine) -> None:
    action = np.full((4, 18), 0.3, np.float32)
    engine.step(action)
    saved, ends = engine.get_state(), []
    assert "fibre" in saved
    for _ in range(2):
        engine.set_state(saved)
        for _ in range(3):
            engine.step(action)
        ends.append(engine.state["qpos"].copy())
    np.testing.assert_array_equal(*ends)


def test_environments_that_have_finished_all_episodes_rest(engine: BatchEngine) -> None:
    before = engine.state["fibre"].copy()
    finished = np.array([True, False, True, False])
    engine.advance(np.full((4, 18), 0.3, np.float32), finished, resting=finished)
    changed = (engine.state["fibre"] != before).any(axis=1)
    np.testing.assert_array_equal(changed, ~finished)


def test_strength_of_muscles_scales_the_torques(engine: BatchEngine) -> None:
    task, state = engine.task, engine.state
    state["qpos"][:], state["act"][:] = state["qpos"][0], 0.5
    task._elastic.reset(state, np.arange(4))
    state["actuator_gainprm"][:, :, 2] = task.model.actuator_gainprm[:, 2] * np.array([1, 0.5, 1, 0.5])[:, None]
    task.apply_substep_forces(state, slice(None))
    torques = state["qfrc_applied"][:, COORDINATE_INDICES[3:]]
    np.testing.assert_allclose(torques[1], 0.5 * torques[0], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(torques[2], torques[0])
