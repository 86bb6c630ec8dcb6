"""The ground: as MuJoCo's rays find it, as robots begin on it, and as levels rise and fall."""

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
def test_heights_are_those_that_rays_find(kind: str) -> None:
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
def test_robots_begin_on_the_ground_of_their_level(kind: str) -> None:
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


def test_the_ground_that_is_observed_is_that_around_the_robot() -> None:
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


def test_a_foot_that_moves_sees_the_step_before_it() -> None:
    task = find_task("anymal-velocity", {"terrain": "stairs_up", "level": 5, **STILL})
    env = make_env(task).unwrapped
    riser = riser_m("stairs_up", 5)
    # The hill of level 5 begins 3.3 m before its middle; its steps are 30 cm deep.
    edge = 5.5 * TILE_M - 3.3
    feet = np.zeros((1, 12))
    feet[0, 0::3] = edge - 0.05, edge - 0.05, edge - 0.15, edge - 0.25
    feet[0, 1::3] = TILE_M / 2
    velocity = np.zeros((1, 12))
    velocity[0, 0::3] = 0.5, -0.5, 0.5, 0.5
    ahead = env.task._ground_ahead(feet, velocity)  # ty: ignore
    np.testing.assert_allclose(ahead, [[riser, 0, riser, 0]], atol=1e-9)
    # On the stairs themselves it is told from what is below; going down nothing rises.
    env.reset(seed=0)
    reading = dict(zip(env.task.columns, env.task.gather(env._state), strict=True))  # ty: ignore
    assert reading["rise"].shape == (1, 4) and (reading["rise"] >= 0).all()


def test_heights_are_as_noisy_as_wished() -> None:
    exact, noisy = (
        make_env(find_task("anymal-velocity", STILL | {"observe_heights": True, "noise": noise, "height_noise": 0.02}))
        for noise in (0.0, 2.0)
    )
    seen = [[env.reset(seed=seed)[0] for seed in range(30)] for env in (exact, noisy)]
    misses = np.abs(np.subtract(*seen))[:, -45:]
    assert 0.035 < misses.max() <= 0.04 + 1e-6


@pytest.mark.parametrize("options", [{"terrain": "mixed"}, {"terrain": "stairs_up", "observe_heights": True}])
def test_many_copies_are_each_what_one_is(options: dict) -> None:
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


def test_a_state_that_is_restored_has_its_level() -> None:
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


def test_stairs_get_more_of_the_copies() -> None:
    """A copy's kind of ground is drawn once, by legged_gym's shares; a world of one kind has but that."""
    for kind, shares in (("mixed", [0.2, 0.2, 0.35, 0.25]), ("slope", [1.0])):
        curriculum, count = Curriculum(Terrain(kind), None), 4000
        rows = {name: np.zeros((count, width)) for name, width in curriculum.remembered.items()}
        curriculum.reset_curriculum(rows)
        curriculum.begin(rows, np.arange(count), np.arange(count).astype(np.uint32))
        found = np.bincount(rows["column"][:, 0].astype(int), minlength=len(shares)) / count
        np.testing.assert_allclose(found, shares, atol=0.03)


def test_levels_rise_and_fall_with_the_way_that_was_made() -> None:
    curriculum = Curriculum(Terrain("mixed"), None)
    rows = {name: np.zeros((6, width)) for name, width in curriculum.remembered.items()}
    copies, key = np.arange(6), np.arange(6).astype(np.uint32)
    curriculum.reset_curriculum(rows)
    curriculum.begin(rows, copies, key)
    assert ((rows["level"] >= 0) & (rows["level"] <= 5)).all()
    rows["level"][:, 0] = [3, 3, 3, 0, 9, 3]
    rows["walked"][:, 0] = [4.5, 2.0, 2.0, 0.0, 6.0, 4.5]
    rows["asked"][:, 0] = [8.0, 3.0, 5.0, 9.0, 6.0, 20.0]
    rows["column"][:, 0] = [0, 0, 0, 2, 2, 3]
    assert curriculum.curriculum_metrics(rows) == {"rough": 3.0, "stairs_up": 4.5, "stairs_down": 3.0}
    assert not Curriculum(Terrain("mixed"), 3).curriculum_metrics(rows)
    column = rows["column"].copy()
    place, _ = curriculum.begin(rows, copies, key + np.uint32(100))
    assert rows["level"][[0, 1, 2, 3, 5], 0].tolist() == [4, 3, 2, 0, 4]
    assert 0 <= rows["level"][4, 0] < LEVELS
    np.testing.assert_array_equal(rows["column"], column)
    assert (np.floor(place / TILE_M) == np.c_[rows["level"], column]).all()
    assert not rows["walked"].any()
    rows |= {"qpos": np.zeros((6, 7)), "qvel": np.zeros((6, 3)), "followed": np.tile([0.6, 0.8, 25 * np.pi], (6, 1))}
    rows["qpos"][:, :2] = rows["start"] + [3, 4]
    curriculum.after(rows, 0.02)
    np.testing.assert_allclose(rows["walked"], 5)
    np.testing.assert_allclose(rows["asked"], np.tile([0.012, 0.016, np.pi / 2], (6, 1)))
    # Having turned by a right angle, what is ahead is to the left of where it began; a circle leads nowhere.
    curriculum.after(rows, 0.02)
    np.testing.assert_allclose(rows["asked"], np.tile([-0.004, 0.028, np.pi], (6, 1)))
    for _ in range(2):
        curriculum.after(rows, 0.02)
    np.testing.assert_allclose(rows["asked"][:, :2], 0, atol=1e-12)


def test_progress_tells_who_goes_where_it_is_told() -> None:
    curriculum = Curriculum(Terrain("rough"), 0)
    rows = {name: np.zeros((4, width)) for name, width in curriculum.remembered.items()}
    curriculum.reset_curriculum(rows)
    curriculum.begin(rows, np.arange(4), np.arange(4, dtype=np.uint32))
    # Facing along the world's y: as told, half as fast, the other way; and one that is told to stand.
    rows |= {
        "qpos": np.tile([0, 0, 0.5, np.sqrt(0.5), 0, 0, np.sqrt(0.5)], (4, 1)),
        "qvel": np.array([[-0.8, 0.6, 9], [-0.4, 0.3, 9], [0.8, -0.6, 9], [1, 1, 9]]),
        "followed": np.array([[0.6, 0.8, 1], [0.6, 0.8, 1], [0.6, 0.8, 1], [0, 0, 0]]),
    }
    for _ in range(100):
        curriculum.after(rows, 0.02)
    left = (1 - 0.01) ** 100
    np.testing.assert_allclose(rows["progress"][:, 0], [1, 0.5 + 0.5 * left, -1 + 2 * left, 1], atol=1e-9)


@pytest.mark.parametrize("ends", [True, False])
def test_who_is_stuck_may_give_up(ends: bool) -> None:
    options = {"terrain": "rough", "level": 0, "command": [0.5, 0, 0], "terminate_when_stuck": ends}
    env = make_env(find_task("anymal-velocity", STILL | options))
    env.reset(seed=0)
    stand, steps, fell = np.zeros(12, np.float32), 0, False
    while not fell and steps < 200:
        _, _, fell, _, _ = env.step(stand)
        steps += 1
    assert fell == ends and (not ends or 150 < steps < 175)


def test_a_seed_gives_the_same_level_again() -> None:
    env = make_env(find_task("anymal-velocity", {"terrain": "rough", "max_episode_steps": 3}))
    firsts = []
    for _ in range(2):
        firsts.append(env.reset(seed=5)[0])
        for _ in range(4):
            env.reset()
    np.testing.assert_array_equal(*firsts)


def test_the_ground_is_drawn_even_without_a_seed() -> None:
    columns = set()
    for _ in range(12):
        env = make_env(find_task("anymal-velocity", {"terrain": "mixed"})).unwrapped
        env.reset()
        columns.add(int(env._state["column"][0, 0]))
    assert len(columns) > 1


def test_the_mirror_knows_the_ground() -> None:
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
        ({"terrain": "swamp"}, "terrain is 'swamp'; choose flat or rough or slope"),
        ({"level": 10}, "level is 10; it must be a whole number from 0 to 9"),
        ({"level": True}, "level is True"),
        ({"observe_heights": "yes"}, "observe_heights is 'yes'; it must be true or false"),
        ({"height_noise": -0.1}, "height_noise is -0.1"),
    ],
)
def test_wrong_options_are_told_in_a_line(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_task("anymal-velocity", options)
