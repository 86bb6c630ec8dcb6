"""Terrain: heights against ray casting, initial positions, observed heights, and the curriculum."""

import mujoco
import numpy as np
import pytest

from surefoot.bodies.anymal_c import LEGS
from surefoot.bodies.scene import new_scene
from surefoot.errors import InputError
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.velocity.terrain import LEVELS, TILE_M, Curriculum, Terrain, riser_m

KINDS = ["rough", "slope", "stairs_up", "stairs_down", "mixed"]
STILL = {"noise": 0.0, "push_speed": 0.0, "reset_noise": 0.0, "latency": 0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_heights_agree_with_ray_casting(kind: str) -> None:
    terrain = Terrain(kind)  # ty: ignore
    spec = new_scene(0.005)
    terrain.build(spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    random, hit = np.random.default_rng(0), np.zeros(1, np.int32)
    x, y = random.uniform(-3, LEVELS * TILE_M + 3, 600), random.uniform(-3, len(terrain.kinds) * TILE_M + 3, 600)
    rays = [mujoco.mj_ray(model, data, np.array([a, b, 9.0]), np.array([0, 0, -1.0]), None, 1, -1, hit) for a, b in
            zip(x, y, strict=True)]  # fmt: skip
    np.testing.assert_allclose(terrain.height(x, y), 9 - np.array(rays), atol=1e-6)
    assert terrain.height(x, y).max() > 0.1
    np.testing.assert_array_equal(terrain.height(x.reshape(20, 30), y.reshape(20, 30)).ravel(), terrain.height(x, y))


@pytest.mark.parametrize("kind", KINDS)
def test_robots_start_on_the_ground_of_their_level(kind: str) -> None:
    env = make_env(find_task("anymal-velocity", {"terrain": kind, "level": 7, **STILL})).unwrapped
    terrain = Terrain(kind)  # ty: ignore
    for seed in range(12):
        env.reset(seed=seed)
        feet = np.array([env.data.geom(f"{leg}_FOOT").xpos for leg in LEGS])  # ty: ignore
        clear = feet[:, 2] - 0.03 - terrain.height(feet[:, 0], feet[:, 1])
        assert clear.min() > -0.03 and clear.min() < 0.12
        assert np.floor(env.data.qpos[0] / TILE_M) == 7  # ty: ignore
        assert env._output(np.zeros((1, 12))).terminated[0] == 0  # ty: ignore
        if kind == "stairs_up":
            turned = np.zeros(9)
            mujoco.mju_quat2Mat(turned, env.data.qpos[3:7])  # ty: ignore
            ahead = env.data.qpos[:2] + 2.5 * turned[[0, 3]]  # ty: ignore
            assert terrain.height(*ahead) > terrain.height(*env.data.qpos[:2]) == 0  # ty: ignore


def test_observed_heights_are_those_around_the_robot() -> None:
    task = find_task("anymal-velocity", {"terrain": "stairs_down", "level": 5, "observe_heights": True, **STILL})
    env = make_env(task).unwrapped
    terrain = Terrain("stairs_down")
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        x, y, z, w, _, _, turn = env.data.qpos[:7]  # ty: ignore
        yaw = 2 * np.arctan2(turn, w)
        found = dict(zip(env.observation_names, observation, strict=True))  # ty: ignore
        for ahead, left in ((-0.8, -0.5), (0.8, 0.5), (0.6, -0.25), (0, 0)):
            place = x + ahead * np.cos(yaw) - left * np.sin(yaw), y + ahead * np.sin(yaw) + left * np.cos(yaw)
            wanted = z - 0.5 - terrain.height(*map(np.array, place))
            assert found[f"ground at {ahead:.1f}, {left:.2f}"] == pytest.approx(wanted, abs=1e-5)


def test_the_rise_ahead_of_a_moving_foot_is_measured() -> None:
    task = find_task("anymal-velocity", {"terrain": "stairs_up", "level": 5, **STILL})
    env = make_env(task).unwrapped
    riser = riser_m("stairs_up", 5)
    # The hill of level 5 begins 3.3 m before its middle; its steps are 30 cm deep.
    edge = 5.5 * TILE_M - 3.3
    feet = np.zeros((1, 4, 3))
    feet[0, :, 0] = edge - 0.05, edge - 0.05, edge - 0.15, edge - 0.25
    feet[0, :, 1] = TILE_M / 2
    velocity = np.zeros((1, 4, 3))
    velocity[0, :, 0] = 0.5, -0.5, 0.5, 0.5
    ahead = env.task._ground_ahead(feet, velocity)  # ty: ignore
    np.testing.assert_allclose(ahead, [[riser, 0, riser, 0]], atol=1e-9)
    # On stairs it is relative to the ground below; going down, nothing rises.
    env.reset(seed=0)
    reading = env.task.gather(env._state)  # ty: ignore
    assert reading["terrain_rise"].shape == (1, 4) and (reading["terrain_rise"] >= 0).all()


def test_observed_heights_have_the_stated_noise() -> None:
    exact, noisy = (
        make_env(find_task("anymal-velocity", STILL | {"observe_heights": True, "noise": noise, "height_noise": 0.02}))
        for noise in (0.0, 2.0)
    )
    seen = [[env.reset(seed=seed)[0] for seed in range(30)] for env in (exact, noisy)]
    misses = np.abs(np.subtract(*seen))[:, -45:]
    assert 0.035 < misses.max() <= 0.04 + 1e-6


@pytest.mark.parametrize("options", [{"terrain": "mixed"}, {"terrain": "stairs_up", "observe_heights": True}])
def test_many_environments_equal_single_ones(options: dict) -> None:
    info = find_task("anymal-velocity", options | {"max_episode_steps": 25})
    engine = BatchEngine(info, 3)
    envs = [make_env(info) for _ in range(3)]
    found = engine.reset(seed=4)[0], np.zeros(3), *np.zeros((2, 3), bool)
    wanted = [(env.reset(seed=4 + i)[0], 0.0, False, False) for i, env in enumerate(envs)]
    random = np.random.default_rng(0)
    for _ in range(60):
        for i in range(3):
            np.testing.assert_allclose(found[0][i], wanted[i][0], rtol=1e-4, atol=1e-5)
            assert found[1][i] == pytest.approx(wanted[i][1], rel=1e-3, abs=1e-5)
            assert (found[2][i], found[3][i]) == wanted[i][2:]
        action = random.uniform(-1, 1, (3, 12)).astype(np.float32)
        found = engine.step(action)
        wanted = [
            (env.reset()[0], 0.0, False, False) if one[2] or one[3] else env.step(action[i])[:4]
            for i, (env, one) in enumerate(zip(envs, wanted, strict=True))
        ]


def test_a_restored_state_has_its_level() -> None:
    info = find_task("anymal-velocity", {"terrain": "mixed", "max_episode_steps": 5})
    one, other = BatchEngine(info, 4), BatchEngine(info, 4)
    one.reset(seed=0)
    other.reset(seed=9)
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 4, 12)).astype(np.float32)
    for action in actions[:12]:
        one.step(action)
    other.set_state(one.get_state())
    for action in actions[12:]:
        for a, b in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)


def test_environments_are_distributed_over_the_kinds_of_terrain() -> None:
    """Each environment draws its kind once, with legged_gym's fractions."""
    for kind, fractions in (("mixed", [0.2, 0.2, 0.35, 0.25]), ("slope", [1.0])):
        curriculum, count = Curriculum(Terrain(kind), None), 4000
        state = {name: np.zeros((count, width)) for name, width in curriculum.buffers.items()}
        curriculum.clear(state)
        curriculum.reset(state, np.arange(count), np.arange(count).astype(np.uint32))
        found = np.bincount(state["column"][:, 0].astype(int), minlength=len(fractions)) / count
        np.testing.assert_allclose(found, fractions, atol=0.03)


def test_levels_rise_and_fall_with_the_distance_covered() -> None:
    curriculum = Curriculum(Terrain("mixed"), None)
    state = {name: np.zeros((6, width)) for name, width in curriculum.buffers.items()}
    envs, key = np.arange(6), np.arange(6).astype(np.uint32)
    curriculum.clear(state)
    curriculum.reset(state, envs, key)
    assert ((state["level"] >= 0) & (state["level"] <= 5)).all()
    state["level"][:, 0] = [3, 3, 3, 0, 9, 3]
    state["distance"][:, 0] = [4.5, 2.0, 2.0, 0.0, 6.0, 4.5]
    state["commanded_pose"][:, 0] = [8.0, 3.0, 5.0, 9.0, 6.0, 20.0]
    state["column"][:, 0] = [0, 0, 0, 2, 2, 3]
    assert curriculum.metrics(state) == {"rough": 3.0, "stairs_up": 4.5, "stairs_down": 3.0}
    assert not Curriculum(Terrain("mixed"), 3).metrics(state)
    column = state["column"].copy()
    place, _ = curriculum.reset(state, envs, key + np.uint32(100))
    assert state["level"][[0, 1, 2, 3, 5], 0].tolist() == [4, 3, 2, 0, 4]
    assert 0 <= state["level"][4, 0] < LEVELS
    np.testing.assert_array_equal(state["column"], column)
    assert (np.floor(place / TILE_M) == np.c_[state["level"], column]).all()
    assert not state["distance"].any()
    state |= {"tracked_command": np.tile([0.6, 0.8, 25 * np.pi], (6, 1))}
    pose = np.c_[state["start"] + [3, 4], np.zeros(6)], np.zeros(6), np.zeros((6, 3))
    curriculum.update(state, *pose, 0.02)
    np.testing.assert_allclose(state["distance"], 5)
    np.testing.assert_allclose(state["commanded_pose"], np.tile([0.012, 0.016, np.pi / 2], (6, 1)))
    # Having turned by a right angle, what is ahead is to the left of where it began; a circle leads nowhere.
    curriculum.update(state, *pose, 0.02)
    np.testing.assert_allclose(state["commanded_pose"], np.tile([-0.004, 0.028, np.pi], (6, 1)))
    for _ in range(2):
        curriculum.update(state, *pose, 0.02)
    np.testing.assert_allclose(state["commanded_pose"][:, :2], 0, atol=1e-12)


def test_progress_is_the_relative_speed_along_the_command() -> None:
    curriculum = Curriculum(Terrain("rough"), 0)
    state = {name: np.zeros((4, width)) for name, width in curriculum.buffers.items()}
    curriculum.clear(state)
    curriculum.reset(state, np.arange(4), np.arange(4, dtype=np.uint32))
    # Facing along the world's y: at the commanded velocity, at half of it, at its opposite; and commanded to stand.
    velocity = np.array([[-0.8, 0.6, 9], [-0.4, 0.3, 9], [0.8, -0.6, 9], [1, 1, 9]])
    state["tracked_command"] = np.array([[0.6, 0.8, 1], [0.6, 0.8, 1], [0.6, 0.8, 1], [0, 0, 0]])
    for _ in range(100):
        curriculum.update(state, np.zeros((4, 3)), np.full(4, np.pi / 2), velocity, 0.02)
    left = (1 - 0.01) ** 100
    np.testing.assert_allclose(state["progress"][:, 0], [1, 0.5 + 0.5 * left, -1 + 2 * left, 1], atol=1e-9)


@pytest.mark.parametrize("ends", [True, False])
def test_a_stuck_robot_terminates_on_request(ends: bool) -> None:
    options = {"terrain": "rough", "level": 0, "command": [0.5, 0, 0], "terminate_when_stuck": ends}
    env = make_env(find_task("anymal-velocity", STILL | options))
    env.reset(seed=0)
    stand, steps, fell = np.zeros(12, np.float32), 0, False
    while not fell and steps < 200:
        _, _, fell, _, _ = env.step(stand)
        steps += 1
    assert fell == ends and (not ends or 150 < steps < 175)


def test_a_seed_determines_the_level() -> None:
    env = make_env(find_task("anymal-velocity", {"terrain": "rough", "max_episode_steps": 3}))
    firsts = []
    for _ in range(2):
        firsts.append(env.reset(seed=5)[0])
        for _ in range(4):
            env.reset()
    np.testing.assert_array_equal(*firsts)


def test_terrain_is_drawn_without_a_seed() -> None:
    columns = set()
    for _ in range(12):
        env = make_env(find_task("anymal-velocity", {"terrain": "mixed"})).unwrapped
        env.reset()
        columns.add(int(env._state["column"][0, 0]))
    assert len(columns) > 1


def test_the_mirror_exchanges_left_and_right_heights() -> None:
    info = find_task("anymal-velocity", {"observe_heights": True})
    mirror = info.mirror
    env = make_env(info).unwrapped
    assert mirror is not None
    for name, index, sign in zip(
        env.observation_names, mirror.observation_index, mirror.observation_sign, strict=True  # ty: ignore
    ):  # fmt: skip
        if name.startswith("ground"):
            ahead, left = name.removeprefix("ground at ").split(", ")
            image = env.observation_names[index]  # ty: ignore
            assert image in (f"ground at {ahead}, {-float(left):.2f}", f"ground at {ahead}, {0:.2f}") and sign == 1
            assert float(image.split(", ")[1]) == -float(left)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"terrain": "swamp"}, "terrain = 'swamp': input should be 'flat', 'rough', 'slope'"),
        ({"level": 10}, "level = 10: input should be less than 10"),
        ({"level": True}, "level = True: should be a number"),
        ({"observe_heights": "yes"}, "observe_heights = 'yes': input should be a valid boolean"),
        ({"height_noise": -0.1}, "height_noise = -0.1: input should be greater than or equal to 0"),
    ],
)
def test_invalid_options_give_one_line_errors(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_task("anymal-velocity", options)
