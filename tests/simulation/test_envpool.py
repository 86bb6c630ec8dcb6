"""The engine on EnvPool: Gymnasium's dynamics, ends of episodes and seeds, by EnvPool's threads."""

import dataclasses
import functools
import importlib.util
import os
from typing import Any

import gymnasium
import numpy as np
import pytest

from helpers import engines
from helpers.engines import ends
from surefoot.errors import EngineError, InputError
from surefoot.simulation import envpool as envpool_engine
from surefoot.simulation.envpool import INSTALL, EnvPoolEngine, hint, obstacle
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.envpool_env import _numbers

CAR = "MountainCarContinuous-v0"
needs_envpool = pytest.mark.skipif(
    importlib.util.find_spec("envpool") is None, reason=f"EnvPool is not installed; {INSTALL}"
)


engine_of = functools.partial(engines.engine_of, EnvPoolEngine)


def test_without_envpool_it_is_unavailable_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envpool_engine, "installed", lambda: False)
    walker, ant = find_task("bipedal-walker"), find_task("Ant-v5")
    assert obstacle(walker)
    assert hint(walker) and not hint(ant)
    assert not hint(find_task("BipedalWalker-v3", {"hardcore": True}))
    with pytest.raises(InputError, match=r'pip install "surefoot\[envpool\]"'):
        EnvPoolEngine(walker, 1)


@needs_envpool
def test_every_listed_task_is_available() -> None:
    for id in envpool_engine._HELD:
        assert not obstacle(find_task(id)), id
        assert not hint(find_task(id))


@needs_envpool
@pytest.mark.parametrize(
    "task, options, expected",
    [
        ("bipedal-walker-hardcore", {}, True),
        ("BipedalWalker-v3", {"hardcore": True}, True),
        ("MountainCarContinuous-v0", {"max_episode_steps": 9}, True),
        ("MountainCarContinuous-v0", {"goal_velocity": 0.5}, False),
        ("Ant-v5", {"exclude_current_positions_from_observation": False}, True),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}, False),
        ("Ant-v5", {"xml_file": "ant.xml"}, False),
    ],
)
def test_availability_depends_on_the_options(task: str, options: dict, expected: bool) -> None:
    assert (not obstacle(find_task(task, options))) == expected


@needs_envpool
def test_a_gymnasium_id_registered_again_is_not_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = find_task(CAR)
    spec = gymnasium.envs.registration.EnvSpec(CAR, entry_point="my_lab.cars:Car")
    monkeypatch.setitem(gymnasium.registry, CAR, spec)
    assert obstacle(info)
    with pytest.raises(InputError, match="not Gymnasium's own"):
        EnvPoolEngine(info, 1)


@needs_envpool
@pytest.mark.parametrize("changed", [{"observation_size": 4}, {"action_low": np.array([-3.0], np.float32)}])
def test_a_task_of_other_sizes_or_bounds_is_not_available(changed: dict) -> None:
    info = dataclasses.replace(find_task(CAR), **changed)
    assert obstacle(info)


@needs_envpool
def test_the_pendulum_with_other_dynamics_is_not_available() -> None:
    info = find_task("Pendulum-v1")
    assert obstacle(info) and not hint(info)
    with pytest.raises(InputError, match="moves differently"):
        EnvPoolEngine(info, 1)


@needs_envpool
@pytest.mark.parametrize("id, hidden", [("HalfCheetah-v5", 1), ("Hopper-v5", 1), ("Swimmer-v5", 2)])
def test_mujoco_tasks_have_gymnasiums_dynamics(id: str, hidden: int) -> None:
    """The observation leaves out the first `hidden` positions, which do not affect the dynamics.

    Observations pass through float32, which the stiff contacts of a few steps amplify.
    """
    info = find_task(id)
    random = np.random.default_rng(0)
    plain: Any = gymnasium.make(id).unwrapped
    plain.reset(seed=0)
    positions, size = plain.model.nq - hidden, info.observation_size
    errors = []
    with engine_of(info, 4, 2) as engine:
        sim_output = engine.begin(0)
        for _ in range(60):
            action = random.uniform(info.action_low, info.action_high, (4, info.action_size)).astype(np.float32)
            previous, finished = sim_output, ends(sim_output)
            sim_output = engine.advance(action, finished)
            np.testing.assert_array_equal(sim_output[finished, size:], 0.0)
            for env in np.flatnonzero(~finished):
                before = previous[env, :size].astype(float)
                plain.set_state(np.concatenate([np.zeros(hidden), before[:positions]]), before[positions:])
                observation, reward, terminated, *_ = plain.step(action[env])
                errors.append(np.abs(sim_output[env, : size + 1] - [*observation, reward]).max())
                assert sim_output[env, size + 1] == terminated
    assert len(errors) > 150
    assert np.quantile(errors, 0.8) < 1e-4 and np.max(errors) < 0.05


@needs_envpool
def test_mountain_car_has_gymnasiums_dynamics_and_termination() -> None:
    info = find_task(CAR)
    plain: Any = gymnasium.make(info.id).unwrapped
    plain.reset(seed=0)
    arrivals, resets = 0, []
    with engine_of(info, 3, 1) as engine:
        sim_output = engine.begin(0)
        for step in range(1, 1005):
            action = np.where(sim_output[:, 1:2] >= 0, 1.0, -1.0).astype(np.float32)  # push the way it rolls
            action[2] = 0.0  # and let one env run into the time limit
            previous, finished = sim_output, ends(sim_output)
            sim_output = engine.advance(action, finished)
            if finished[2]:
                resets.append(step)
            assert sim_output[2, -1] == (step == 999)
            for env in range(3):
                if finished[env]:
                    assert -0.6 <= sim_output[env, 0] <= -0.4 and not sim_output[env, 1:].any()
                    continue
                plain.state = previous[env, :2].astype(np.float32)
                observation, reward, terminated, *_ = plain.step(action[env])
                np.testing.assert_allclose(sim_output[env, :2], observation, atol=1e-5)
                np.testing.assert_allclose(sim_output[env, 2], reward, atol=1e-3)
                assert sim_output[env, 3] == terminated
                arrivals += terminated
    assert arrivals > 10 and resets == [1000]


@needs_envpool
def test_bipedal_walker_starts_and_falls_as_in_gymnasium() -> None:
    """Terrains use other random numbers but begin flat, so that equal actions make all walkers fall equally."""
    info = find_task("bipedal-walker")
    envs, steps = 12, 140
    random = np.random.default_rng(0)
    actions = np.repeat(random.uniform(-1, 1, (steps // 10, 4)), 10, axis=0).astype(np.float32)
    starts, falls = [], []
    for i in range(envs):
        plain = gymnasium.make(info.id)
        observation, _ = plain.reset(seed=i)
        rows = [[*observation, 0.0]]
        for step, action in enumerate(actions, 1):
            observation, reward, terminated, *_ = plain.step(action)
            rows.append([*observation, reward])
            if terminated:
                falls.append(step)
                break
        starts.append(rows[:10])
    starts = np.array(starts)
    assert starts.std(0).max() < 0.01
    mean = starts.mean(0)

    fallen = {}
    with engine_of(info, envs, 2) as engine:
        sim_output = engine.begin(0)
        for step, action in enumerate(actions, 1):
            if step <= 10:
                assert np.abs(sim_output[:, :25] - mean[step - 1]).max() < 0.02
            finished = ends(sim_output)
            sim_output = engine.advance(np.tile(action, (envs, 1)), finished)
            assert np.isfinite(sim_output).all()
            for env in np.flatnonzero(sim_output[:, 25]):
                assert sim_output[env, 24] == -100.0 and sim_output[env, 26] == 0.0
                fallen.setdefault(env, step)
            np.testing.assert_array_equal(sim_output[finished, 24:], 0.0)
            assert (np.abs(sim_output[finished, :25] - mean[0]) < 0.02).all()
    assert len(fallen) >= envs / 2
    assert abs(np.median(list(fallen.values())) - np.median(falls)) <= 2


@needs_envpool
@pytest.mark.parametrize("limit", [1, 5])
def test_a_custom_time_limit_is_used(limit: int) -> None:
    with engine_of(find_task("BipedalWalker-v3", {"max_episode_steps": limit}), 2, 1) as engine:
        sim_output = engine.begin(0)
        for step in range(1, 3 * limit + 3):
            sim_output = engine.advance(np.zeros((2, 4), np.float32), ends(sim_output))
            np.testing.assert_array_equal(sim_output[:, -2:], [[0.0, step % (limit + 1) == limit]] * 2)


@needs_envpool
def test_each_environment_has_its_seed_at_any_number_of_threads() -> None:
    def run(seed: int, num_envs: int, threads: int) -> np.ndarray:
        info = find_task(CAR, {"max_episode_steps": 100})
        with engine_of(info, num_envs, threads) as engine:
            sim_outputs = [engine.begin(seed)]
            for _ in range(210):
                sim_outputs.append(engine.advance(np.zeros((num_envs, 1), np.float32), ends(sim_outputs[-1])))
            return np.array(sim_outputs)

    four = run(7, 4, 2)
    np.testing.assert_array_equal(four, run(7, 4, 1))
    np.testing.assert_array_equal(four[:, 2:], run(9, 2, 1))
    assert len(np.unique(four[0, :, 0])) == 4
    assert len(np.unique(four[-1, :, 0])) == 4
    assert run(2**31 + 5, 2, 1).shape == (211, 2, 5)


@needs_envpool
def test_the_same_seed_repeats_the_first_episode() -> None:
    with engine_of(CAR, 2, 1) as engine:
        first = engine.begin(3)
        engine.advance(np.zeros((2, 1), np.float32), np.zeros(2, bool))
        np.testing.assert_array_equal(engine.begin(3), first)
        np.testing.assert_array_equal(engine.begin(3), first)
        assert not np.array_equal(engine.begin(4), first)
        assert not np.array_equal(engine.begin(None), engine.begin(None))


@needs_envpool
def test_outputs_are_new_arrays() -> None:
    with engine_of(CAR, 2, 1) as engine:
        sim_outputs = [engine.begin(0)]
        for _ in range(5):
            sim_outputs.append(engine.advance(np.zeros((2, 1), np.float32), np.zeros(2, bool)))
        kept = [sim_output.copy() for sim_output in sim_outputs[:3]]
        assert all(not np.shares_memory(a, b) for a in sim_outputs for b in sim_outputs if a is not b)
        np.testing.assert_array_equal(sim_outputs[:3], kept)


@needs_envpool
def test_is_a_gymnasium_vector_env_with_next_step_autoreset() -> None:
    with engine_of(find_task(CAR, {"max_episode_steps": 3}), 2, 1) as engine:
        observation, _ = engine.reset(seed=0)
        assert engine.observation_space.contains(observation)
        rewards, flags = [], []
        for _ in range(5):
            _, reward, terminated, truncated, _ = engine.step(engine.action_space.sample())
            rewards.append(reward.all())
            flags.append((terminated.any(), truncated.all()))
        assert rewards == [True, True, True, False, True]
        assert flags == [(False, False)] * 2 + [(False, True)] + [(False, False)] * 2


@needs_envpool
@pytest.mark.parametrize("given_up", [[True, False, False], [True, True, True]])
def test_an_unfinished_episode_can_be_reset(given_up: list[bool]) -> None:
    with engine_of(CAR, 3, 1) as engine, engine_of(CAR, 3, 1) as other:
        some, none = np.array(given_up), np.zeros(3, bool)
        push = np.ones((3, 1), np.float32)
        for each in (engine, other):
            each.begin(0)
            for _ in range(5):
                before = each.advance(push, none)
        sim_output, plain = engine.advance(push, some), other.advance(push, none)
        np.testing.assert_array_equal(sim_output[~some], plain[~some])
        # A new episode starts in the valley with reward 0.
        assert (np.abs(sim_output[some, 0] + 0.5) <= 0.1).all() and (sim_output[some, 1:] == 0).all()
        assert not np.isclose(sim_output[some, 0], before[some, 0]).any()
        assert (engine.advance(push, none)[:, 1] != 0).all()


@needs_envpool
def test_a_finished_episode_cannot_continue() -> None:
    with engine_of(find_task(CAR, {"max_episode_steps": 1}), 2, 1) as engine:
        engine.begin(0)
        still, none = np.zeros((2, 1), np.float32), np.zeros(2, bool)
        assert (engine.advance(still, none)[:, -1] == 1).all()
        with pytest.raises(EngineError, match="finished"):
            engine.advance(still, none)


@needs_envpool
def test_close_ends_the_threads_and_can_be_called_again() -> None:
    before = len(os.listdir("/proc/self/task"))
    engine = EnvPoolEngine(find_task(CAR), 4, 3)
    engine.begin(0)
    engine.begin(1)
    assert len(os.listdir("/proc/self/task")) >= before + 3
    engine.close()
    engine.close()
    assert len(os.listdir("/proc/self/task")) <= before
    with pytest.raises(EngineError, match="closed"):
        engine.begin(0)


@needs_envpool
def test_its_state_cannot_be_saved() -> None:
    with engine_of(CAR, 1, 1) as engine:
        assert engine.get_state() is None


@needs_envpool
@pytest.mark.parametrize(
    "task, sizes", [("WalkerWalk-v1", (24, 6)), ("Go1JoystickFlatTerrain-v1", (48, 12)), ("CheetahRun-v1", (17, 6))]
)
def test_tasks_that_only_envpool_has(task: str, sizes: tuple[int, int]) -> None:
    """Named parts of an observation are concatenated; the simulator's true state is not observed."""
    info = find_task(task, {"max_episode_steps": 20})
    assert (info.observation_size, info.action_size) == sizes and info.observation_names is not None
    assert choose_engine("auto", info) == "envpool"
    env = make_env(info)
    with engine_of(info, 2, 1) as engine:
        found = engine.reset(seed=3)[0]
        np.testing.assert_array_equal(found[1], env.reset(seed=4)[0])
        action = np.random.default_rng(0).uniform(-1, 1, (2, sizes[1])).astype(np.float32)
        for _ in range(20):
            found, rewards, _, truncated, _ = engine.step(action)
            observation, reward, _, single_truncated, _ = env.step(action[1])
            np.testing.assert_array_equal(found[1], observation)
            assert rewards[1] == pytest.approx(reward)
        assert truncated.all() and single_truncated
    env.close()


@needs_envpool
def test_a_muscle_walker_of_myosuite_starts_in_a_stride_and_falls() -> None:
    envpool = pytest.importorskip("envpool")
    if _numbers(envpool.__version__) < (1, 2, 6):
        pytest.skip("MyoSuite's tasks need EnvPool 1.2.6")
    info = find_task("myoLegWalk-v0")
    assert (info.observation_size, info.action_size, info.max_episode_steps) == (403, 80, 1000)
    assert info.fall == "terminated" and info.observation_names is None
    forward, height = 68, 75
    random, fallen = np.random.default_rng(0), np.zeros(2, bool)
    with engine_of(info, 2, 1) as engine:
        observation = engine.reset(seed=3)[0]
        assert observation[0, forward] == pytest.approx(1.30, abs=0.01)
        np.testing.assert_array_equal(observation[0], observation[1])
        while not fallen.all():
            observation, _, terminated, truncated, _ = engine.step(random.uniform(-1, 1, (2, 80)).astype(np.float32))
            assert not truncated.any()
            # The first axis of the pelvis points sideways at the start.
            y, z = observation[:, 3:5].T  # of the quaternion
            np.testing.assert_array_equal(
                terminated[~fallen], ((observation[:, height] < 0.8) | (np.abs(1 - 2 * (y**2 + z**2)) > 0.8))[~fallen]
            )
            fallen |= terminated


@needs_envpool
def test_an_envpool_with_other_starts_is_refused_for_myosuite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool.__version__", "1.2.5")
    with pytest.raises(InputError, match=r"'myoLegWalk-v0' needs EnvPool 1\.2\.6 .* Python 3\.12; EnvPool 1\.2\.5"):
        find_task("myoLegWalk-v0")


@needs_envpool
def test_a_wrong_name_or_option_of_envpools_tasks_is_one_line() -> None:
    with pytest.raises(InputError, match="unknown task 'WalkerWal-v1'; did you mean 'WalkerWalk-v1'"):
        find_task("WalkerWal-v1")
    with pytest.raises(InputError, match=r"task 'WalkerWalk-v1' cannot be made: .*'nosuch'"):
        find_task("WalkerWalk-v1", {"nosuch": 1})
    with pytest.raises(InputError, match="an image"):
        find_task("Pong-v5")
