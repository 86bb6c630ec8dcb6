"""The engine `opensim`: the running task in OpenSim, robust to dead and hanging workers and a failed integrator."""

import itertools
import os
import signal

import jax
import numpy as np
import pytest

from surefoot.bodies.runner import LEG_JOINTS, MUSCLES
from surefoot.errors import InputError
from surefoot.evaluation.evaluate import evaluate_policy
from surefoot.gait.probes import find_probe
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.simulation.factory import choose_engine, make_engine, make_single_env
from surefoot.simulation.opensim import OpenSimEngine, installed
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.running.measurements import WIDTHS

needs_opensim = pytest.mark.skipif(not installed(), reason="OpenSim is not installed")
TASK = "learning-to-run"
# With the excitations 0.3 of all muscles from the contest's pose without noise: pelvis tilt, x, y and the right leg's
# angles after 0.2 s; gait9dof18musc.osim of osim-rl in OpenSim 4.6, RungeKuttaMerson at accuracy 1e-6.
TRAJECTORY = [0.087384, 0.039408, 0.926327, -0.347991, 0.296905, -0.174752]


@pytest.fixture(scope="module")
def engine():
    engine = make_engine("opensim", find_task(TASK, {"action_repeat": 2, "max_episode_steps": 8}), 2, 2)
    yield engine
    engine.close()


def rest(engine) -> np.ndarray:
    return np.full((engine.num_envs, len(MUSCLES)), 0.05, np.float32)


def test_other_tasks_are_refused_and_auto_never_chooses_it() -> None:
    info = find_task(TASK)
    assert choose_engine("auto", info) == "batch"
    assert choose_engine("auto", find_task(TASK, {"frame_stack": 2})) == "processes"
    with pytest.raises(InputError, match=r"engine 'opensim' cannot simulate task 'half-cheetah': .*learning-to-run"):
        make_engine("opensim", find_task("half-cheetah"), 1)
    if not installed():
        with pytest.raises(InputError, match=r"OpenSim is not installed; pip install"):
            make_engine("opensim", info, 1)


@needs_opensim
@pytest.mark.parametrize("observation", ["reduced", "everything"])
def test_initial_observation_is_that_of_mujoco(observation: str) -> None:
    info = find_task(TASK, {"observation": observation, "difficulty": 2, "reset_stride": 0.3, "reset_speed": 2.0})
    one, other = make_single_env("opensim", info), make_env(info)
    names = info.observation_names
    assert names is not None
    # These depend on the forces, and fibres on the tendon's compliance.
    differ = [
        any(word in name.split() for word in ("ax", "ay", "arz", "atilt", "acceleration", "fibre")) for name in names
    ]
    first, expected = (env.reset(seed=3)[0] for env in (one, other))
    np.testing.assert_allclose(first[~np.array(differ)], expected[~np.array(differ)], atol=2e-3)
    assert np.isfinite(first).all()


@needs_opensim
def test_trajectory_is_that_of_the_original_model() -> None:
    options = {"reset_noise": 0.0, "opensim_integrator": "RungeKuttaMerson", "opensim_accuracy": 1e-6}
    env = make_single_env("opensim", find_task(TASK, options))
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.full(18, 0.3, np.float32))
    pose = env.unwrapped.measure()["coordinates"][0]
    np.testing.assert_allclose(pose[:6], TRAJECTORY, atol=1e-4)
    np.testing.assert_allclose(pose[3:6], pose[6:], atol=1e-6)  # the legs do the same


@needs_opensim
def test_variations_of_the_task_reach_opensim() -> None:
    options = {"difficulty": 2, "max_obstacles": 2, "friction": (0.3, 0.5), "contact_stiffness": 2.0}
    options |= {"limit_stiffness": 0.5, "muscle_strength": 0.2, "excitation_delay_s": 0.01}
    options |= {"opensim_separate_spheres": True}
    env = make_single_env("opensim", find_task(TASK, options))
    env.reset(seed=1)
    base = env.unwrapped
    variation, again = base._variation, base._present_variation()
    assert all(np.array_equal(one, other) for one, other in zip(variation, again, strict=True))
    assert variation.strength.std() > 0.01 and variation.obstacles.shape == (2, 3)
    assert 0.3 <= variation.friction <= 0.5 and variation.contact != 1 and variation.limits.shape == (len(LEG_JOINTS),)
    forces = base._simulation._model.getForceSet()
    assert forces.contains("obstacle_1_force") and forces.contains("toe_r") and not forces.contains("foot_r")
    assert f"<static_friction>{variation.friction:.10g}"[:20] in forces.get("toe_l").dump()
    observation, *_ = env.step(np.full(18, 0.5, np.float32))
    # The excitation of this action has not arrived, or only in its second half.
    assert base.measure()["activation"].max() < 0.3 and np.isfinite(observation).all()


@needs_opensim
def test_failed_integrator_truncates_the_episode_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_single_env("opensim", find_task(TASK))
    env.reset(seed=0)
    before = env.step(np.full(18, 0.05, np.float32))[0]

    def fail(*_) -> None:
        raise RuntimeError("Unable to\nadvance time")

    simulation = env.unwrapped._simulation
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "advance", fail)
        observation, reward, terminated, truncated, info = env.step(np.ones(18, np.float32))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["failure"] == "OpenSim failed: Unable to advance time"
    np.testing.assert_array_equal(observation, before)
    env.reset(seed=0)
    *_, terminated, truncated, info = env.step(np.full(18, 0.05, np.float32))
    assert not (terminated or truncated or "failure" in info)


@needs_opensim
def test_model_is_built_again_after_some_episodes() -> None:
    env = make_single_env("opensim", find_task(TASK, {"opensim_rebuild_every": 2}))
    simulations = []
    for _ in range(4):
        env.reset(seed=0)
        simulations.append(env.unwrapped._simulation)
    assert [id(one) == id(two) for one, two in itertools.pairwise(simulations)] == [True, False, True]


@needs_opensim
def test_measurements_have_the_widths_of_the_task() -> None:
    env = make_single_env("opensim", find_task(TASK))
    env.reset(seed=0)
    measured = env.unwrapped.measure()
    assert {name: measured[name].shape for name in WIDTHS} == {name: (1, width) for name, width in WIDTHS.items()}


@needs_opensim
def test_workers_equal_one_environment_and_the_time_limit_truncates(engine) -> None:
    observation, _ = engine.reset(seed=5)
    env = make_single_env("opensim", engine._info)
    alone, _ = env.reset(seed=6)
    np.testing.assert_allclose(observation[1], alone, atol=1e-6)
    for step in range(4):
        observation, reward, terminated, truncated, _ = engine.step(rest(engine))
        alone, own, *ends, _ = env.step(rest(engine)[0])
        np.testing.assert_allclose(observation[1], alone, atol=1e-5)
        assert reward[1] == pytest.approx(own, abs=1e-6)
        assert [terminated[1], truncated[1]] == ends == [False, step == 3]


@needs_opensim
@pytest.mark.parametrize(
    "trouble, words", [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "no answer for")]
)
def test_worker_that_dies_or_hangs_is_replaced_and_its_episode_cut(engine, trouble: int, words: str) -> None:
    engine.reset(seed=0)
    engine.step(rest(engine))
    before, pids, patience_s = engine.cut_episodes, engine.pids, engine._step_patience_s
    os.kill(pids[0], trouble)
    engine._step_patience_s = 3.0 if trouble == signal.SIGSTOP else patience_s
    with pytest.warns(RuntimeWarning, match=rf"worker 0 \(environment 0\) of task '{TASK}' .*{words}.* was replaced"):
        _, reward, terminated, truncated, _ = engine.step(rest(engine))
    engine._step_patience_s = patience_s
    assert (reward[0], terminated[0], truncated[0], truncated[1]) == (0, False, True, False)
    assert engine.cut_episodes == before + 1
    assert engine.pids[0] != pids[0] and engine.pids[1] == pids[1]
    engine.step(rest(engine))
    *_, truncated, _ = engine.step(rest(engine))
    assert not truncated[0]


@needs_opensim
def test_evaluation_counts_the_episodes_that_a_dead_worker_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    info = find_task(TASK, {"action_repeat": 2, "max_episode_steps": 8})
    bounds, sizes = (info.action_low, info.action_high), PolicySettings(actor=(4,), critic=(4,))
    policy = new_policy(jax.random.PRNGKey(0), info.name, info.observation_size, *bounds, sizes, info.options)
    step, calls = OpenSimEngine.advance, []

    def advance(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            os.kill(self.pids[0], signal.SIGKILL)
        return step(self, *arguments)

    monkeypatch.setattr(OpenSimEngine, "advance", advance)
    with pytest.warns(RuntimeWarning, match="was killed by SIGKILL"):
        result = evaluate_policy(policy, episodes=2, engine="opensim")
    assert (result["engine"], result["cut"], result["falls"], result["episodes"]) == ("opensim", 1, 0, 2)
    assert result["length"]["mean"] == 3 and result["travel"]["episodes"] == 1  # 4 actions and 2


@needs_opensim
def test_recorded_motion_has_forces_and_torques_of_opensim() -> None:
    info = find_task(TASK, {"action_repeat": 5, "reset_speed": 2.0, "reset_stride": 0.3})
    env = make_single_env("opensim", info)
    assert info.body is not None
    probe = find_probe(env, info.body)
    assert probe is not None
    env.reset(seed=2)
    probe.begin()
    for _ in range(2):
        env.step(np.full(18, 0.4, np.float32))
    motion, base = probe.motion(), env.unwrapped
    np.testing.assert_allclose(motion.time, 0.01 * np.arange(1, 11), atol=1e-9)
    assert probe.model.step_s == 0.01
    coordinates, speeds = (base.measure()[name][0] for name in ("coordinates", "speeds"))
    np.testing.assert_allclose(motion.angle[-1], coordinates[3:])
    np.testing.assert_allclose(motion.velocity[-1], [speeds[1], 0, speeds[2]], atol=1e-9)
    assert motion.force[-1].sum() == pytest.approx(base.ground_forces().sum()) and 0 < motion.force.sum(1).max() < 5e3
    # The power of the joints is that of the muscles.
    muscles, state = base._simulation._muscles, base._simulation._state
    power = -sum(muscle.getActuation(state) * muscle.getLengtheningSpeed(state) for muscle in muscles)
    assert motion.torque[-1] @ motion.speed[-1] == pytest.approx(power, rel=1e-3)
    assert abs(power) > 10
