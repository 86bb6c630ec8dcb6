"""Velocity tracking with robots from files: record of the robot, names, gait clock, mirror image, terrain, training."""

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

import surefoot
from helpers import walkers
from helpers.messages import one_line
from surefoot.bodies.loader import load_body
from surefoot.errors import InputError
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import TaskInfo, find_task, make_env
from surefoot.tasks.velocity.robot import Robot

# No randomness.
CERTAIN = {
    **{"friction": [0.8, 0.8], "base_mass": 0.0, "motor_strength": 0.0, "latency": 0.0, "push_speed": 0.0},
    **{"noise": 0.0, "reset_noise": 0.0},
}
ROBOTS = {
    "quadruped": walkers.quadruped(),
    # The trunk's own x axis points left, and the floor is half a metre up.
    "turned quadruped": walkers.quadruped(back="1 0 0 1").replace("0 0 1 1 0 0 0", "0 0 1 1 0 0 -1"),
    "biped": walkers.biped(),
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Paths of the robots' models by name."""
    for name, text in ROBOTS.items():
        (tmp_path / f"{name}.xml").write_text(text)
    return {name: str(tmp_path / f"{name}.xml") for name in ROBOTS}


def task(body: str, **options: Any) -> TaskInfo:
    return find_task("velocity", {"body": body, **options})


def make(body: str, **options: Any) -> Any:
    return make_env(task(body, **options)).unwrapped


def test_the_default_robot_is_anymal_c() -> None:
    default, anymal = (make_env(find_task(name)) for name in ("velocity", "anymal-velocity"))
    action = np.full(12, 0.3, np.float32)
    for env in (default, anymal):
        env.reset(seed=1)
    np.testing.assert_array_equal(default.step(action)[0], anymal.step(action)[0])


def test_the_record_follows_from_the_model(files: dict[str, str]) -> None:
    quadruped, biped = (Robot(load_body(files[name]), None) for name in ("quadruped", "biped"))
    np.testing.assert_allclose(quadruped.sole_m, 0.02, atol=1e-9)
    assert quadruped.stance_m == pytest.approx((0.2146, 0.12), abs=1e-4)
    assert (quadruped.trunk.half_length_m, quadruped.trunk.radius_m) == pytest.approx((0.22, 0.05))
    assert quadruped._knees == ("FL_calf", "FR_calf", "RL_calf", "RR_calf")
    assert quadruped.lateral_joints == (0, 3, 6, 9)
    np.testing.assert_array_equal(quadruped.torque_limit, 25)
    assert np.isinf(quadruped.speed_limit).all()
    assert quadruped.floor_m == pytest.approx(0.5)
    assert biped._knees == ("left_shin", "right_shin")
    assert [biped.body.joints[i] for i in biped.lateral_joints] == ["waist", "left_hip_roll", "right_hip_roll"]
    # Straight legs of 0.15 + 0.3 + 0.33 m; with both knees bent by 60 degrees the shins are half as long.
    angles = np.zeros((2, 7))
    angles[1, [3, 6]] = np.radians(60)
    straight, bent = biped.standing_height(angles)
    assert straight == pytest.approx(0.78)
    assert bent == pytest.approx(0.45 + 0.33 * 0.5 + 0.14 * np.sin(np.radians(60)), abs=0.01)


def test_names_follow_from_the_body(files: dict[str, str]) -> None:
    env = make(files["biped"])
    joints = [f"{side}_{joint}" for side in ("left", "right") for joint in ("hip_roll", "hip_pitch", "knee")]
    assert env.action_names == ("waist", *joints)
    assert env.observation_names[12:19] == tuple(f"{joint} offset" for joint in env.action_names)
    assert env.observation_names[-4:] == ("left foot contact", "right foot contact", "clock sine", "clock cosine")
    assert env.observation_space.shape == (12 + 3 * 7 + 2 + 2,)


@pytest.mark.parametrize("name", ["quadruped", "turned quadruped"])
def test_action_zero_holds_the_standing_pose(name: str, files: dict[str, str]) -> None:
    env = make(files[name], **CERTAIN, command=[0, 0, 0])
    env.reset(seed=0)
    for _ in range(25):
        observation, _, terminated, _, info = env.step(np.zeros(env.action_space.shape))
        assert not terminated
    assert info["velocity_error"] < 0.05
    names = dict(zip(env.observation_names, observation, strict=True))
    assert names["gravity z"] == pytest.approx(-1, abs=0.01)
    assert all(value == 1 for key, value in names.items() if key.endswith("contact"))
    assert max(abs(value) for key, value in names.items() if key.endswith("offset")) < 0.1


@pytest.mark.parametrize("name", ROBOTS)
def test_velocities_are_in_the_axes_of_the_standing_trunk(name: str, files: dict[str, str]) -> None:
    env = make(files[name], **CERTAIN)
    env.reset(seed=0)
    standing = np.zeros(9)
    mujoco.mju_quat2Mat(standing, env.task.robot.stand.qpos[3:7])
    env.data.qvel[:3] = 0.4, 0.2, 0.0
    env.data.qvel[3:6] = standing.reshape(3, 3).T @ [0.0, 0.0, 0.7]  # MuJoCo counts it in the trunk's own axes
    observation = env._output(np.zeros((1, env.action_space.shape[0]))).observation[0]
    names = dict(zip(env.observation_names, observation, strict=True))
    assert [names[f"base velocity {axis}"] for axis in "xyz"] == pytest.approx([0.4, 0.2, 0], abs=1e-6)
    assert [names[f"base turning rate {axis}"] for axis in "xyz"] == pytest.approx([0, 0, 0.7], abs=1e-6)


def test_the_clock_is_a_trot_for_four_feet_and_alternates_for_two(files: dict[str, str]) -> None:
    for name, first in (("quadruped", [1, 0, 0, 1]), ("biped", [1, 0])):
        env = make(files[name])
        phase = np.array([[0.5], [0.5 + np.pi]])
        np.testing.assert_array_equal(env.task._stance(phase, np), [first, 1 - np.array(first)])


@pytest.mark.parametrize("name", ["quadruped", "turned quadruped", "biped"])
def test_the_mirror_image_agrees_with_the_simulator(name: str, files: dict[str, str]) -> None:
    info = task(files[name], **CERTAIN, standing=0.0)
    mirror = info.mirror
    assert mirror is not None and mirror.is_involution()
    original, image = (make_env(info).unwrapped for _ in range(2))
    random = np.random.default_rng(0)
    for seed in range(3):
        for env in (original, image):
            env.reset(seed=seed)
            env.data.qpos[2] += 0.05
        image._state["command"][:] = original._state["command"] * [1, -1, -1]
        image._state["phase"][:] = original._state["phase"] + np.pi
        for _ in range(8):
            action = random.uniform(-1, 1, info.action_size).astype(np.float32)
            observation, reward, *_ = original.step(action)
            mirrored, image_reward, *_ = image.step(mirror.action(action))
            difference = np.abs(observation - mirrored).max()
            assert np.abs(mirror.observation(observation) - mirrored).max() < 0.01 * difference
            assert reward == pytest.approx(image_reward, abs=1e-3)


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("options", [{}, {"terrain": "mixed", "observe_heights": True, "heading": 0.5}])
def test_many_environments_equal_single_ones(
    name: str, options: dict, files: dict[str, str], assert_matches_single_environments
) -> None:
    info = task(files[name], max_episode_steps=20, command_every_s=0.2, push_every_s=0.1, **options)
    assert_matches_single_environments(info, steps=50, first=1e-5, rtol=2e-3, atol=2e-4, reward_rtol=2e-2)


@pytest.mark.parametrize("kind", ["stairs_up", "rough"])
def test_a_robot_that_its_file_places_where_a_hill_is_stands_beside_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "robot.xml").write_text(walkers.quadruped().replace('pos="0 0 1"', 'pos="4 4 1"'))
    assert task(str(tmp_path / "robot.xml"), terrain=kind).fault is None


@pytest.mark.parametrize("kind", ["stairs_up", "rough"])
def test_robots_start_on_the_terrain(kind: str, files: dict[str, str]) -> None:
    """Also in a scene whose floor is not at height 0."""
    env = make(files["quadruped"], terrain=kind, level=7, **CERTAIN)
    terrain = env.task._terrain
    for seed in range(6):
        env.reset(seed=seed)
        feet = env.task.robot.foot_position(env._state)[0]
        clear = feet[:, 2] - 0.02 - terrain.height(feet[:, 0], feet[:, 1])
        assert -0.02 < clear.min() < 0.12
        for _ in range(10):
            _, _, terminated, _, _ = env.step(np.zeros(12))
        feet = env.task.robot.foot_position(env._state)[0]
        assert (feet[:, 2] - 0.02 - terrain.height(feet[:, 0], feet[:, 1])).min() > -0.03
        assert not terminated


def test_a_biped_on_its_knees_has_fallen(files: dict[str, str]) -> None:
    env = make(files["biped"], **CERTAIN)
    for height, fell in ((0.78, False), (0.45, False), (0.35, True)):
        env.reset(seed=0)
        env.data.qpos[2] = height
        assert bool(env._output(np.zeros((1, 7))).terminated[0]) == fell


def test_a_random_load_is_a_tenth_of_the_robots_mass(files: dict[str, str]) -> None:
    engine = BatchEngine(task(files["quadruped"]), 200)
    engine.reset(seed=0)
    model = engine.task.model
    trunk = model.body("trunk").id
    load = engine.state["body_mass"][:, trunk] - model.body_mass[trunk]
    assert 0.095 < np.abs(load).max() / model.body_subtreemass[trunk] <= 0.1


@pytest.mark.parametrize("name", ["quadruped", "biped"])
def test_a_training_iteration_runs(name: str, files: dict[str, str], tmp_path: Path) -> None:
    outcome = surefoot.train(
        "velocity",
        task_options={"body": files[name]},
        root=tmp_path / "runs",
        name="x",
        engine__num_envs=8,
        engine__threads=1,
        policy__actor=(8,),
        policy__critic=(8,),
        ppo__symmetry="augment",
        ppo__minibatch_size=128,
        training__steps=256,
        training__evaluation_episodes=2,
    )
    assert outcome.counters.steps >= 256


@pytest.mark.parametrize(
    "options, message",
    [
        ({"body": "nowhere.xml"}, "there is no such file"),
        ({"body": "robot.sdf"}, "neither anymal-c nor menagerie:NAME nor a file"),
        ({"body": 3}, "body = 3: input should be a valid string"),
        ({"base": "urdf"}, "unknown option 'base'"),
        ({"base_mass": 50.0}, "base_mass = 50: must be less than the trunk's mass"),
    ],
)
def test_invalid_options_give_one_line_errors(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_task("velocity", options)
    one_line(caught.value)


def test_a_trot_needs_pairs_of_feet(tmp_path: Path) -> None:
    """A biped whose right hip is shifted has no mirror image."""
    (tmp_path / "lame.xml").write_text(walkers.biped(shift=0.1))
    with pytest.raises(InputError, match="gait = 'trot' needs feet in left-right pairs") as caught:
        task(str(tmp_path / "lame.xml"))
    one_line(caught.value)
    free = task(str(tmp_path / "lame.xml"), gait="free")
    assert free.mirror is None and free.observation_size == 12 + 21 + 2
