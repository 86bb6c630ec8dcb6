"""The task `walk`: observation, reward, termination and mirror image for several bodies."""

import io
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from helpers import walkers
from helpers.engines import assert_state_is_restored
from helpers.messages import one_line
from surefoot.cli.listing import print_task
from surefoot.errors import InputError
from surefoot.recipes.make import make_recipe
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks import catalogue
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.walk import Walk

BODIES = ["anymal-c", "biped.xml", "quadruped.xml", "biped.urdf"]
POLAR, AXIAL = np.array([1, -1, 1]), np.array([-1, 1, -1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "biped.xml").write_text(walkers.biped())
    (folder / "biped.urdf").write_text(walkers.urdf_biped())
    (folder / "quadruped.xml").write_text(walkers.quadruped())
    # The same with a trunk whose own axes lie otherwise, and one that stands with its face to the left.
    sideways = walkers.quadruped(keyframe=False, turn="1 0.5 0.5 1", back="1 -0.5 -0.5 -1")
    (folder / "sideways.xml").write_text(sideways)
    (folder / "turned.xml").write_text(walkers.quadruped(keyframe=False, turn="1 0 0 1"))
    (folder / "uneven.xml").write_text(walkers.biped(shift=0.1))
    return folder


def options_of(body: str, folder: Path) -> dict[str, Any]:
    return {"body": str(folder / body) if "." in body else body}


def env_of(body: str, folder: Path, **options: Any) -> Any:
    return make_env(find_task("walk", options_of(body, folder) | options)).unwrapped


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*")
@pytest.mark.parametrize("body", BODIES)
def test_environment_passes_gymnasiums_checker(body: str, folder: Path) -> None:
    env = gymnasium.make("surefoot/Walk-v0", **options_of(body, folder))
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None and env.spec.max_episode_steps == 1000
    assert env.unwrapped.dt == pytest.approx(0.02)  # ty: ignore


@pytest.mark.parametrize("body", BODIES)
def test_names_of_the_observation_match_the_values(body: str, folder: Path) -> None:
    """The expected values come from MuJoCo's body frames."""
    env = env_of(body, folder)
    info = find_task("walk", options_of(body, folder))
    assert info.action_names == env.task.body.joints
    random = np.random.default_rng(0)
    env.reset(seed=0)
    touched = 0
    for _ in range(60):
        action = random.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, _, terminated, _, _ = env.step(action)
        seen = dict(zip(info.observation_names, observation, strict=True))
        trunk = env.data.body(env.task.body.trunk)
        axes = trunk.xmat.reshape(3, 3)
        data = mujoco.MjData(env.model)
        data.qpos[:], data.qvel[:] = env.data.qpos, env.data.qvel
        mujoco.mj_forward(env.model, data)
        trunk = data.body(env.task.body.trunk)
        axes = trunk.xmat.reshape(3, 3)
        root = env.model.joint(env.model.body(env.task.body.trunk).jntadr[0])
        velocity = axes.T @ data.joint(root.id).qvel[:3]
        floor = 0.5 if body == "quadruped.xml" else 0
        assert seen["trunk height"] == pytest.approx(trunk.xpos[2] - floor, abs=1e-5)
        for i, axis in enumerate("xyz"):
            assert seen[f"gravity {axis}"] == pytest.approx(-axes[2, i], abs=1e-5)
            assert seen[f"trunk velocity {axis}"] == pytest.approx(velocity[i], abs=1e-4)
            assert seen[f"trunk turning rate {axis}"] == pytest.approx(data.joint(root.id).qvel[3 + i], abs=1e-4)
        front = axes[:2, 0] / np.hypot(*axes[:2, 0])
        assert (seen["heading cosine"], seen["heading sine"]) == pytest.approx(tuple(front), abs=1e-5)
        for joint, moved in zip(env.task.body.joints, action, strict=True):
            rest = env.task.pose.qpos[env.model.joint(joint).qposadr[0]]
            assert seen[f"{joint} angle"] == pytest.approx(data.joint(joint).qpos[0] - rest, abs=1e-5)
            assert seen[f"{joint} velocity"] == pytest.approx(data.joint(joint).qvel[0], abs=1e-4)
            assert seen[f"{joint} last action"] == moved
        touched += sum(seen[f"{foot.name} contact"] for foot in env.task.body.feet)
        if terminated:
            env.reset()
    assert 0 < touched < 60 * len(env.task.body.feet)


def test_reward_terms_equal_independent_formulas() -> None:
    """The body is in the air, turned by 0.4 rad, with a given velocity and turning rate."""
    env = gymnasium.make("surefoot/Walk-v0", speed_m_s=2.0, reset_noise=0.0).unwrapped
    env.reset(seed=0)
    env.data.qpos[2] = 5  # ty: ignore
    env.data.qpos[3:7] = [np.cos(0.2), 0, 0, np.sin(0.2)]  # ty: ignore
    env.data.qvel[:6] = [1.5, 0.4, 0, 0, 0, 0.3]  # ty: ignore
    env.step(np.zeros(12))
    action = np.tile([0.5, -0.5, 0.0], 4)
    _, reward, terminated, truncated, info = env.step(action)
    terms, data = info["reward_terms"], env.data  # ty: ignore
    yaw = 2 * np.arctan2(data.qpos[6], data.qpos[3])
    assert terms["forward"] == pytest.approx(1 - abs(data.qvel[0] - 2) / 2, abs=1e-3)
    assert terms["drift"] == pytest.approx(-0.5 * abs(data.qvel[1]) / 2, abs=1e-3)
    assert terms["heading"] == pytest.approx(np.cos(yaw) - 1, abs=1e-3)
    assert terms["turning"] == pytest.approx(-0.1 * data.qvel[5] ** 2, abs=1e-3)
    assert terms["upright"] == pytest.approx(0.2, abs=1e-2)
    assert terms["alive"] == 0.3
    torque = data.qfrc_actuator[6:]
    assert terms["work"] == pytest.approx(-0.1 * np.abs(torque * data.qvel[6:]).sum() / (52.13485 * 9.81 * 2), rel=1e-5)
    assert terms["torque"] == pytest.approx(-0.1 * np.mean((torque / 80) ** 2), rel=1e-5)
    away = data.qpos[7:] - env.task.pose.qpos[7:]  # ty: ignore
    assert terms["posture"] == pytest.approx(-0.5 * np.mean(away**2), rel=1e-5)
    assert terms["action_change"] == pytest.approx(-0.2 * np.mean(action**2))
    assert reward == pytest.approx(sum(terms.values()))
    assert not terminated and not truncated


def test_actions_move_targets_around_the_pose_within_joint_ranges(folder: Path) -> None:
    env = env_of("quadruped.xml", folder, action_scale=1.0)
    env.reset(seed=0)
    env.step(np.tile([0.5, 1.0, -1.0], 4))
    np.testing.assert_allclose(env.data.ctrl, [0.5, 1.8, -2.5] * 4, rtol=1e-6)
    env.step(np.tile([1.0, 1.0, 1.0], 4))
    np.testing.assert_allclose(env.data.ctrl, [np.radians(40), 1.8, np.radians(-30)] * 4, rtol=1e-6)


@pytest.mark.parametrize("body", BODIES)
def test_episodes_start_upright_and_lying_down_terminates(body: str, folder: Path) -> None:
    env = env_of(body, folder)
    info = find_task("walk", options_of(body, folder))
    assert info.falls(np.array([True, False]), np.zeros(2)).tolist() == [True, False]  # ty: ignore
    for seed in range(5):
        env.reset(seed=seed)
        assert not env.step(np.zeros(env.action_space.shape))[2]
    place = env.model.joint(env.model.body(env.task.body.trunk).jntadr[0]).qposadr[0]
    env.data.qpos[place + 3 : place + 7] = [np.cos(0.54), np.sin(0.54), 0, 0]  # 62 degrees
    assert env.step(np.zeros(env.action_space.shape))[2]
    env.reset(seed=0)
    env.data.qpos[place + 2] -= 0.4 * env.task.pose.height_m
    assert env._output(np.zeros((1, *env.action_space.shape))).terminated[0]


@pytest.mark.parametrize("body", ["anymal-c", "biped.xml"])
def test_batch_equals_single_environments(body: str, folder: Path, assert_matches_single_environments) -> None:
    info = find_task("walk", options_of(body, folder) | {"max_episode_steps": 30})
    assert_matches_single_environments(info, steps=70, first=1e-5, rtol=1e-4, atol=1e-5, reward_rtol=1e-4)


def test_the_engines_state_is_saved_and_restored() -> None:
    assert_state_is_restored(find_task("walk"), steps=15)


def test_make_vec_makes_the_batch_engine(folder: Path) -> None:
    options = options_of("biped.xml", folder)
    envs = gymnasium.make_vec("surefoot/Walk-v0", num_envs=3, vectorization_mode="vector_entry_point", **options)
    assert isinstance(envs, BatchEngine)
    assert envs.reset(seed=0)[0].shape == (3, 12 + 3 * 7 + 2)


@pytest.mark.parametrize("body", [*BODIES, "sideways.xml", "turned.xml"])
def test_mirror_image_of_a_step_is_the_simulators(body: str, folder: Path) -> None:
    """The image of a step is the step of the image; ANYmal's two sides differ slightly."""
    info = find_task("walk", options_of(body, folder) | {"reset_noise": 0.0})
    mirror = info.mirror
    assert mirror is not None
    one, other = (make_env(info).unwrapped for _ in range(2))
    task: Walk = one.task
    joints = np.array([one.model.joint(joint).qposadr[0] for joint in task.body.joints])
    rest = task.pose.qpos[joints]
    root = one.model.joint(one.model.body(task.body.trunk).jntadr[0])
    q, v = root.qposadr[0], root.dofadr[0]
    stood, moved = task._to_standing, np.zeros(4)
    random = np.random.default_rng(0)
    for seed in range(4):
        one.reset(seed=seed)
        other.reset(seed=seed)
        turn = np.array([0.99, *random.uniform(-0.1, 0.1, 3)])
        turn /= np.linalg.norm(turn)
        for env, one_turn in ((one, turn), (other, turn * [1, *AXIAL])):
            mujoco.mju_mulQuat(moved, one_turn, task.pose.qpos[q + 3 : q + 7])
            env.data.qpos[q + 3 : q + 7] = moved
        change = random.uniform(-0.2, 0.2, len(joints))
        one.data.qpos[joints] = rest + change
        other.data.qpos[joints] = rest + mirror.action(change)
        velocity, rate = random.uniform(-0.5, 0.5, (2, 3))
        one.data.qvel[v : v + 6] = np.r_[velocity, stood.T @ rate]
        other.data.qvel[v : v + 6] = np.r_[velocity * POLAR, stood.T @ (rate * AXIAL)]
        for _ in range(6):
            action = random.uniform(-1, 1, info.action_size).astype(np.float32)
            observation, reward, *_ = one.step(action)
            image, image_reward, *_ = other.step(mirror.action(action))
            unlike = np.abs(observation - image).max()
            assert unlike > 0.05
            assert np.abs(mirror.observation(observation) - image).max() < 0.02 * unlike
            assert reward == pytest.approx(image_reward, abs=0.01)


def test_walking_in_a_circle_earns_less_than_standing() -> None:
    """Both bodies move at the desired speed along their own heading."""
    env = gymnasium.make("surefoot/Walk-v0", reset_noise=0.0).unwrapped
    rewards: dict[str, float] = {}
    env.reset(seed=0)
    for name, speed, turn_rad in (("ahead", 1.0, 0.0), ("stands", 0.0, 0.0), ("circle", 1.0, np.pi)):
        rewards[name] = 0.0
        for angle in np.linspace(-turn_rad, turn_rad, 101):
            env.data.qpos[3:7] = [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]  # ty: ignore
            env.data.qvel[:] = 0  # ty: ignore
            env.data.qvel[:2] = speed * np.cos(angle), speed * np.sin(angle)  # ty: ignore
            rewards[name] += sum(env._output(np.zeros((1, 12))).reward_terms.values())[0]  # ty: ignore
    assert rewards["circle"] < rewards["stands"] < rewards["ahead"]


def test_an_asymmetric_body_has_no_mirror_image_and_trains_without_symmetry(folder: Path) -> None:
    uneven = {"task_options.body": str(folder / "uneven.xml")}
    assert find_task("walk", options_of("uneven.xml", folder)).mirror is None
    assert make_recipe("walk", None, uneven).symmetry == "none"
    assert make_recipe("walk", "walk", uneven).symmetry == "none"
    assert make_recipe("walk", None, {"task_options.body": str(folder / "biped.xml")}).symmetry == "tied"
    with pytest.raises(InputError, match="no mirror image of task 'walk' is known"):
        make_recipe("walk", None, uneven | {"ppo.symmetry": "tied"})


def test_description_names_the_body(folder: Path) -> None:
    found = find_task("walk").body
    assert found is not None and found.name == "ANYmal C"
    info = find_task("walk", options_of("biped.xml", folder))
    assert info.body == env_of("biped.xml", folder).task.body


@pytest.mark.parametrize("task", ["walk", "velocity"])
def test_a_body_that_does_not_stand_is_reported_on_loading_and_listed(task: str, tmp_path: Path) -> None:
    path = tmp_path / "floating.xml"
    path.write_text(walkers.biped().replace("<worldbody>", '<option gravity="0 0 0"/><worldbody>', 1))
    fault = "it does not stand: its file has no gravity that pulls it down"
    catalogue._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=f"small biped: {fault}"):
        assert find_task(task, {"body": str(path)}).fault == fault
    listed = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is reported once
        print_task(task, listed, options={"body": str(path)})
    assert f"small biped: {fault}" in listed.getvalue()


@pytest.mark.parametrize("task", ["walk", "velocity", "anymal-velocity"])
def test_anymal_stands(task: str) -> None:
    assert find_task(task).fault is None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"body": "nowhere.xml"}, "body 'nowhere.xml': there is no such file"),
        ({"body": "cat"}, "body 'cat' is neither anymal-c nor menagerie:NAME nor a file"),
        ({"body": 3}, "body = 3: input should be a valid string"),
        ({"speed_m_s": 0}, "speed_m_s = 0: input should be greater than or equal to 0.05"),
        ({"action_scale": "much"}, "action_scale = 'much'"),
        ({"fall_height": 1}, "fall_height = 1"),
        ({"reset_noise": float("nan")}, "reset_noise = nan"),
        ({"colour": "red"}, "unknown option 'colour'"),
    ],
)
def test_a_wrong_option_is_a_one_line_error(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_task("walk", options)
    one_line(caught.value)
