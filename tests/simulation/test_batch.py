"""The engine on `mujoco.batch` against Gymnasium's environments, step by step, and against itself."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from surefoot.errors import EngineError, InputError, NonFiniteError
from surefoot.simulation.batch import BatchEngine, obstacle
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import find_task, make_env

COPIES, SEED = 3, 5

# Task, options, steps, size of the actions.
CASES = [
    ("HalfCheetah-v5", {}, 1020, 1.0),
    (
        "HalfCheetah-v5",
        {
            "ctrl_cost_weight": 0.3,
            "frame_skip": 3,
            "forward_reward_weight": 2.0,
            "reset_noise_scale": 0.3,
            "exclude_current_positions_from_observation": False,
            "max_episode_steps": 60,
        },
        200,
        1.0,
    ),
    ("Hopper-v5", {}, 400, 1.0),
    (
        "Hopper-v5",
        {
            "ctrl_cost_weight": 0.05,
            "frame_skip": 2,
            "healthy_reward": 0.5,
            "healthy_z_range": [0.9, 1.4],
            "healthy_angle_range": [-0.1, 0.15],
            "healthy_state_range": [-2.5, 3.0],
            "reset_noise_scale": 0.05,
        },
        300,
        1.0,
    ),
    ("Hopper-v5", {"terminate_when_unhealthy": False, "max_episode_steps": 90}, 200, 1.0),
    ("Walker2d-v5", {}, 400, 1.0),
    ("Walker2d-v5", {"frame_skip": 2, "healthy_z_range": [1.0, 1.6], "max_episode_steps": 90}, 400, 1.0),
    ("Ant-v5", {}, 300, 1.0),
    ("Ant-v5", {"max_episode_steps": 40}, 200, 0.3),  # cut while its feet are on the ground
    (
        "Ant-v5",
        {
            "include_cfrc_ext_in_observation": False,
            "exclude_current_positions_from_observation": False,
            "contact_cost_weight": 0.01,
            "contact_force_range": [-0.5, 2.0],
            "frame_skip": 3,
            "healthy_z_range": [0.3, 0.9],
            "main_body": 3,
            "max_episode_steps": 80,
        },
        250,
        1.0,
    ),
]
NAMES = [f"{task}{'-changed' if options else ''}-{index}" for index, (task, options, *_) in enumerate(CASES)]


def actions_of(engine: BatchEngine, steps: int, size: float = 1.0, seed: int = 0) -> np.ndarray:
    shape = (steps, *engine.action_space.shape)
    return np.random.default_rng(seed).uniform(-size, size, shape).astype(np.float32)


def record(engine: BatchEngine, actions: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    return [engine.step(action)[:4] for action in actions]


def assert_same(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype and x.tobytes() == y.tobytes()


@pytest.mark.parametrize("task, options, steps, size", CASES, ids=NAMES)
def test_every_step_equals_gymnasiums(task: str, options: dict, steps: int, size: float) -> None:
    info = find_task(task, options)
    engine = BatchEngine(info, COPIES)
    plain = [make_env(info) for _ in range(COPIES)]
    observation, _ = engine.reset(seed=SEED)
    for env_index, env in enumerate(plain):
        np.testing.assert_allclose(observation[env_index], env.reset(seed=SEED + env_index)[0], rtol=1e-6, atol=1e-6)
    over = np.zeros(COPIES, bool)
    falls = limits = 0
    for action in actions_of(engine, steps, size):
        found = engine.step(action)
        wanted = [
            (env.reset()[0], 0.0, False, False) if over[env_index] else env.step(action[env_index])[:4]
            for env_index, env in enumerate(plain)
        ]
        observation, reward, terminated, truncated = (np.array(x) for x in zip(*wanted, strict=True))
        np.testing.assert_allclose(found[0], observation, rtol=1e-6, atol=1e-6)
        # Reward is a sum of rounded terms: exact to a few units in the last place of the largest.
        np.testing.assert_allclose(found[1], reward, rtol=2e-6, atol=2e-6)
        np.testing.assert_array_equal(found[2], terminated)
        np.testing.assert_array_equal(found[3], truncated)
        over = terminated | truncated
        falls += terminated.sum()
        limits += truncated.sum()
    for env in plain:
        env.close()
    engine.close()
    assert falls + limits >= COPIES, "the comparison must reach past the end of an episode"
    if info.fall == "none" or options.get("terminate_when_unhealthy") is False:
        assert falls == 0
    elif size == 1.0:
        assert falls >= COPIES
    if info.max_episode_steps and info.max_episode_steps < steps:
        assert limits > 0


@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Ant-v5"])
def test_actions_out_of_bounds_act_as_in_gymnasium(task: str) -> None:
    info = find_task(task)
    engine, env = BatchEngine(info, 1), make_env(info)
    engine.reset(seed=1)
    env.reset(seed=1)
    held = BatchEngine(info, 1)
    held.reset(seed=1)
    for action in actions_of(engine, 20, size=3.0):
        found = engine.step(action)
        observation, reward, *_ = env.step(action[0])
        np.testing.assert_allclose(found[0][0], observation, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found[1][0], reward, rtol=2e-6, atol=2e-6)
        # The motors are limited, the cost of the action is not.
        limited = held.step(action.clip(-1, 1))
        np.testing.assert_array_equal(limited[0], found[0])
        assert limited[1][0] > found[1][0]
    env.close()


@pytest.mark.parametrize("task", ["Hopper-v5", "Ant-v5"])
def test_any_number_of_threads_gives_the_same_bits(task: str) -> None:
    info = find_task(task, {"max_episode_steps": 40})
    results = []
    for threads in (1, 2):
        engine = BatchEngine(info, 5, threads)
        first = engine.reset(seed=SEED)[0]
        results.append([(first,), *record(engine, actions_of(engine, 120))])
        engine.close()
    assert_same(*results)
    assert sum(step[3].sum() for step in results[0][1:]) > 0


@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"])
@pytest.mark.parametrize("fresh", [True, False], ids=["new-engine", "same-engine"])
def test_a_restored_state_continues_bit_for_bit(task: str, fresh: bool) -> None:
    info = find_task(task, {"max_episode_steps": 30})
    engine = BatchEngine(info, COPIES)
    actions = actions_of(engine, 130)
    engine.begin(SEED)
    finished = np.zeros(COPIES, bool)

    def go_on(engine: BatchEngine, finished: np.ndarray, actions: np.ndarray):
        sim_outputs = []
        for action in actions:
            sim_output = engine.advance(action, finished)
            signals = engine.interpret(sim_output, action)
            finished = np.asarray(signals.terminated | signals.truncated)
            sim_outputs.append((sim_output, finished))
        return sim_outputs, finished

    _, finished = go_on(engine, finished, actions[:43])
    state = engine.get_state()
    kept = {name: array.copy() for name, array in state.items()}
    wanted, _ = go_on(engine, finished, actions[43:])
    assert sum(over.sum() for _, over in wanted) >= 2 * COPIES, "it must go on through resets"
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[name], err_msg=f"{name} changed after it was returned")
    other = BatchEngine(info, COPIES) if fresh else engine
    if fresh:
        other.begin(SEED + 100)
    other.set_state(state)
    found, _ = go_on(other, finished, actions[43:])
    assert_same(found, wanted)


def test_a_restored_state_continues_bit_for_bit_through_step() -> None:
    info = find_task("Hopper-v5", {"max_episode_steps": 10})
    engine = BatchEngine(info, COPIES)
    engine.reset(seed=SEED)
    actions = actions_of(engine, 50)
    for kept_after in (7, 9, 10, 11):  # the tenth step ends all episodes, the eleventh resets them
        engine.reset(seed=SEED)
        record(engine, actions[:kept_after])
        state = engine.get_state()
        wanted = record(engine, actions[kept_after:])
        other = BatchEngine(info, COPIES)
        other.set_state(state)
        assert_same(record(other, actions[kept_after:]), wanted)


def test_seeds_determine_episodes_and_environments_differ() -> None:
    engine = BatchEngine(find_task("Hopper-v5"), COPIES)
    first = engine.reset(seed=3)[0]
    np.testing.assert_array_equal(engine.reset(seed=3)[0], first)
    assert len(np.unique(first, axis=0)) == COPIES
    np.testing.assert_array_equal(engine.reset(seed=4)[0][:-1], first[1:])
    unseeded = [engine.reset()[0] for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Ant-v5"])
def test_diverged_physics_is_an_error_that_contains_the_state(
    task: str, bad: float, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT into the working folder
    engine = BatchEngine(find_task(task), COPIES)
    engine.reset(seed=SEED)
    actions = actions_of(engine, 5)
    record(engine, actions)
    engine.state["qpos"][1, 2] = bad
    before = engine.get_state()
    with pytest.raises(NonFiniteError, match="environment 1 ") as caught:
        engine.step(actions[0])
    # The contained state is enough to reproduce it.
    arrays = caught.value.arrays
    assert set(arrays) == {"states_before", "ctrl"}
    np.testing.assert_array_equal(arrays["ctrl"], actions[0])
    assert (arrays["states_before"][1] == bad).sum() == (0 if np.isnan(bad) else 1)
    assert np.isnan(arrays["states_before"]).sum() == (1 if np.isnan(bad) else 0)
    engine.set_state(before | {"physics": arrays["states_before"]})
    with pytest.raises(NonFiniteError, match="environment 1 "):
        engine.step(arrays["ctrl"])
    # The engine works again after a reset.
    engine.reset(seed=SEED)
    found = record(engine, actions)
    untouched = BatchEngine(find_task(task), COPIES)
    untouched.reset(seed=SEED)
    assert_same(found, record(untouched, actions))


def test_an_exception_of_the_task_in_a_restart_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = BatchEngine(find_task("HalfCheetah-v5"), COPIES)
    engine.reset(seed=SEED)
    monkeypatch.setattr(engine.task, "after_reset", lambda: None)  # a TypeError
    with pytest.raises(EngineError, match="task 'half-cheetah' failed: "):
        engine.restart(np.ones(COPIES, bool))


def test_it_is_a_vector_environment() -> None:
    info = find_task("half-cheetah")
    engine = BatchEngine(info, COPIES)
    assert isinstance(engine, gymnasium.vector.VectorEnv)
    assert engine.num_envs == COPIES
    assert engine.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert engine.single_observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float32)
    assert engine.single_action_space == gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32)
    assert engine.observation_space.shape == (COPIES, 17)
    assert engine.action_space.shape == (COPIES, 6)
    observation, details = engine.reset(seed=0, options={})
    assert engine.observation_space.contains(observation)
    assert details == {}
    engine.action_space.seed(0)
    observation, reward, terminated, truncated, details = engine.step(engine.action_space.sample())
    assert engine.observation_space.contains(observation)
    assert (reward.shape, reward.dtype) == ((COPIES,), np.float32)
    for flags in (terminated, truncated):
        assert (flags.shape, flags.dtype) == ((COPIES,), bool)
    assert details == {}
    for array in (observation, reward, terminated, truncated):
        assert array.flags.writeable and array.base is None
    engine.close()


def test_gymnasiums_wrappers_accept_it() -> None:
    engine = BatchEngine(find_task("Hopper-v5", {"max_episode_steps": 20}), COPIES)
    wrapped = gymnasium.wrappers.vector.RecordEpisodeStatistics(engine)
    wrapped.reset(seed=SEED)
    returns, lengths = np.zeros(COPIES), np.zeros(COPIES, int)
    seen = 0
    for action in actions_of(engine, 60):
        _, reward, terminated, truncated, details = wrapped.step(action)
        returns += reward
        lengths += reward != 0
        for env_index in np.flatnonzero(terminated | truncated):
            assert details["episode"]["l"][env_index] == lengths[env_index]
            assert details["episode"]["r"][env_index] == pytest.approx(returns[env_index], rel=1e-5)
            returns[env_index] = lengths[env_index] = 0
            seen += 1
    assert seen >= COPIES


def test_staggered_episodes_end_at_different_times_and_only_the_first_are_shortened() -> None:
    limit = 50
    engine = BatchEngine(find_task("HalfCheetah-v5", {"max_episode_steps": limit}), 8)
    engine.reset(seed=0)
    engine.stagger(np.random.default_rng(0))
    ends = np.array([step[3] for step in record(engine, actions_of(engine, 3 * limit))])
    first = ends.argmax(0)
    assert len(np.unique(first)) > 4 and (first < limit).all()
    for env_index in range(8):
        apart = np.diff(np.flatnonzero(ends[:, env_index]))
        np.testing.assert_array_equal(apart, limit + 1)


def test_without_a_time_limit_no_episode_is_truncated() -> None:
    engine = BatchEngine(find_task("HalfCheetah-v5", {"max_episode_steps": -1}), 1)
    engine.reset(seed=0)
    engine.stagger(np.random.default_rng(0))
    assert not any(step[3].any() for step in record(engine, actions_of(engine, 1100)))


def test_other_tasks_are_refused() -> None:
    assert not obstacle(find_task("ant")) and not obstacle(find_task("Walker2d-v5"))
    assert obstacle(find_task("Pendulum-v1"))
    assert choose_engine("auto", find_task("half-cheetah")) == "batch"
    with pytest.raises(InputError, match=r"cannot simulate task 'Pendulum-v1': only .*HalfCheetah-v5"):
        choose_engine("batch", find_task("Pendulum-v1"))
    with pytest.raises(InputError, match="unknown engine 'bach'; did you mean 'batch'"):
        choose_engine("bach", find_task("ant"))
