"""The task `learning-to-run`: reward, termination, resets, variations and engines."""

from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from helpers.engines import assert_state_is_restored
from surefoot.bodies.runner import COORDINATE_INDICES, COORDINATES, DEFAULT_POSE, LEG_JOINTS, limit_torques
from surefoot.errors import InputError
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.running import contest
from surefoot.tasks.running.measurements import measured_widths
from surefoot.tasks.running.task import LearningToRun, LearningToRunOptions

SHAPED = {
    "forward_weight": 2.0,
    "limit_torque_price": 1e-3,
    "survival_bonus": 0.01,
    "survival_speed": 2.0,
    "knee_extension_price": 4.0,
}
RANDOMISED = {
    "difficulty": 2,
    "max_obstacles": 5,
    "muscle_strength": 0.2,
    "friction": [0.5, 1.0],
    "contact_stiffness": 2.0,
    "limit_stiffness": 0.3,
    "excitation_delay_s": 0.03,
}


def env_of(**options: Any) -> Any:
    return gymnasium.make("surefoot/LearningToRun-v0", visuals=False, **options).unwrapped


def coordinates(env: Any) -> dict[str, float]:
    return dict(zip(COORDINATES, env.data.qpos[COORDINATE_INDICES], strict=True))


def place(env: Any, **angles: float) -> None:
    for name, value in angles.items():
        env.data.joint(name).qpos = value


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*")
@pytest.mark.parametrize("options", [{}, {"observation": "everything", **RANDOMISED}])
def test_environment_passes_gymnasiums_checker(options: dict[str, Any]) -> None:
    env = gymnasium.make("surefoot/LearningToRun-v0", **options)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None and env.spec.max_episode_steps == 1000
    assert env.unwrapped.dt == pytest.approx(0.01)  # ty: ignore
    assert (env.action_space.low == 0).all() and (env.action_space.high == 1).all()  # ty: ignore


def test_reward_is_the_advance_less_the_price_of_limit_torques() -> None:
    env = env_of(reset_noise=0.0)
    env.reset(seed=0)
    place(env, hip_r=-0.8, knee_l=0.4)
    env.data.joint("pelvis_tx").qvel = 3.0
    before = coordinates(env)["pelvis_tx"]
    _, reward, terminated, _, info = env.step(np.zeros(18))
    torques = limit_torques(env.data.qpos[COORDINATE_INDICES[3:]], env.data.qvel[COORDINATE_INDICES[3:]])
    assert np.count_nonzero(torques) == 2
    advance = coordinates(env)["pelvis_tx"] - before
    assert 0.02 < advance < 0.04 and not terminated
    assert reward == pytest.approx(advance - 1e-7 * np.sqrt((torques**2).sum()), rel=1e-6)
    assert info["distance_m"] == coordinates(env)["pelvis_tx"]


def test_shaped_reward_terms_equal_numbers_computed_by_hand() -> None:
    measured = {name: np.zeros((2, width)) for name, width in measured_widths("reduced").items()}
    measured["advance"][:, 0] = 0.005, 0.03  # 0.5 and 3 m/s
    measured["limit_torque"][0] = 3, 0, 0, -4, 0, 0
    measured["coordinates"][:, COORDINATES.index("pelvis_ty")] = 0.66, 0.64
    measured["coordinates"][0, [COORDINATES.index("knee_r"), COORDINATES.index("knee_l")]] = 0.25, -1.0
    output = LearningToRun(LearningToRunOptions(**SHAPED)).observe_and_reward(measured, np.zeros((2, 18)), np)
    expected = {
        "forward": [0.01, 0.06],
        "limit_torque": [-0.005, 0],
        "survival": [0.0025, 0.01],
        "knee_extension": [-4 * 0.01 * 0.2, 0],
    }
    assert output.reward_terms.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(output.reward_terms[name], values, atol=1e-12)
    assert output.terminated.tolist() == [False, True]


@pytest.mark.parametrize("height, fell", [(0.66, False), (0.645, True)])
def test_episode_ends_when_the_pelvis_is_low(height: float, fell: bool) -> None:
    env = env_of()
    env.reset(seed=0)
    place(env, pelvis_ty=height, knee_r=-2.0, knee_l=-2.0, hip_r=1.0, hip_l=1.0)
    assert env.step(np.zeros(18))[2] == fell


def test_start_is_the_contests_up_to_the_noise() -> None:
    env = env_of()
    poses = []
    for seed in range(5):
        env.reset(seed=seed)
        poses.append(env.data.qpos[COORDINATE_INDICES] - DEFAULT_POSE)
        np.testing.assert_array_equal(env.data.act, 0.05)
    assert 0.015 < np.abs(poses).max() <= 0.02
    np.testing.assert_array_equal(np.array(poses)[:, :3], 0)
    quiet = env_of(reset_noise=0.0)
    quiet.reset(seed=0)
    np.testing.assert_array_equal(quiet.data.qpos[COORDINATE_INDICES], DEFAULT_POSE)


def test_training_may_start_in_a_stride_and_with_a_speed() -> None:
    env = env_of(reset_noise=0.0, reset_stride=0.5, reset_speed=3.0)
    starts = []
    for seed in range(40):
        env.reset(seed=seed)
        pose = coordinates(env)
        assert pose["hip_r"] == -pose["hip_l"] and 0.8 < pose["pelvis_ty"] <= 0.91
        assert np.count_nonzero(env.data.qvel) == 1
        starts.append((pose["hip_r"], env.data.joint("pelvis_tx").qvel[0]))
    strides, speeds = np.array(starts).T
    assert strides.min() < -0.4 and 0.4 < strides.max() <= 0.5
    assert 0 <= speeds.min() < 0.3 and 2.7 < speeds.max() <= 3
    env = env_of(reset_stride=0.5, reset_speed=3.0, standing_starts=0.5)
    speeds = []
    for seed in range(40):
        env.reset(seed=seed)
        speeds.append(env.data.joint("pelvis_tx").qvel[0])
    assert 10 < np.count_nonzero(speeds) < 30


def test_mirror_image_of_a_step_is_the_simulators() -> None:
    """The image of a step is the step of the image."""
    info = find_task("learning-to-run", {"observation": "everything", "reset_noise": 0.0, "visuals": False})
    mirror, one, other = info.mirror, *(make_env(info).unwrapped for _ in range(2))
    assert mirror is not None
    random = np.random.default_rng(0)
    one.reset(seed=0)
    other.reset(seed=0)
    for joint, image in zip(LEG_JOINTS, LEG_JOINTS[3:] + LEG_JOINTS[:3], strict=True):
        angle, speed = random.uniform(-0.2, 0.2, 2)
        one.data.joint(joint).qpos = other.data.joint(image).qpos = angle
        one.data.joint(joint).qvel = other.data.joint(image).qvel = speed
    for _ in range(8):
        action = random.uniform(0, 1, 18).astype(np.float32)
        (seen, reward, *_), (image, same, *_) = one.step(action), other.step(np.array(mirror.action(action)))
        np.testing.assert_allclose(mirror.observation(seen), image, rtol=1e-3, atol=1e-3)
        assert reward == pytest.approx(same, abs=1e-6)


@pytest.mark.parametrize(
    "options", [{"action_repeat": 3, **SHAPED}, {"observation": "everything", **RANDOMISED}, {"observation": "contest"}]
)
def test_batch_equals_single_environments(options: dict[str, Any], assert_matches_single_environments) -> None:
    info = find_task("learning-to-run", options | {"max_episode_steps": 40})
    assert_matches_single_environments(info, steps=60, first=1e-5, rtol=1e-3, atol=1e-3, reward_rtol=1e-3)


def test_the_engines_state_is_saved_and_restored() -> None:
    assert_state_is_restored(find_task("learning-to-run", {"observation": "contest", **RANDOMISED}), steps=15)


def test_obstacles_follow_the_contests_law() -> None:
    random = np.random.default_rng(0)
    assert contest.draw_obstacles(random, 0, 10).shape == (0, 3)
    drawn = np.array([contest.draw_obstacles(random, 1, 10) for _ in range(2000)])
    x, y, radius = np.moveaxis(drawn, 2, 0)
    assert (np.diff(x) >= 0).all()
    first, more = x[:, :3], x[:, 3:]
    assert first.min() >= 1 and first.max() <= 5 and first.mean() == pytest.approx(3, abs=0.05)
    gaps = np.diff(more, prepend=5)
    assert gaps.min() >= 2 and gaps.max() <= 4 and gaps.mean() == pytest.approx(3, abs=0.05)
    assert radius.min() >= 0.05 and radius.mean() == pytest.approx(0.1, abs=0.002)
    side = y / radius
    assert side[:, :3].min() >= -0.25 and side[:, 3:].min() >= -0.05 and side.max() <= 0.25
    assert contest.draw_obstacles(random, 1, 2).shape == (2, 3)


def test_strength_follows_the_contests_law() -> None:
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(contest.draw_strength(random, 1), 1)
    drawn = np.array([contest.draw_strength(random, 2) for _ in range(4000)])
    assert drawn.mean() == pytest.approx(1, abs=0.01) and drawn.std() == pytest.approx(0.1, abs=0.01)
    wild = np.array([contest.draw_strength(np.random.default_rng(seed), 3) for seed in range(3)])
    assert wild.shape == (3, 2) and drawn.min() >= 0.5 and drawn.max() > 1.2


def test_the_next_obstacle_is_the_first_that_does_not_end_behind_the_pelvis() -> None:
    obstacles = np.array([[[1, 0.01, 0.1], [3, 0.02, 0.2]]] * 4)
    found = contest.next_obstacle(obstacles, np.array([0.0, 1.05, 1.2, 3.5]))
    expected = [[1, 0.01, 0.1], [-0.05, 0.01, 0.1], [1.8, 0.02, 0.2], [100, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("weaken_gluteus, left", [(False, "iliopsoas_l"), (True, "glut_max_l")])
def test_difficulty_2_weakens_two_muscles(weaken_gluteus: bool, left: str) -> None:
    env = env_of(difficulty=2, observation="contest", weaken_gluteus=weaken_gluteus)
    plain = env.model.actuator_gainprm[:, 2].copy()
    observation, _ = env.reset(seed=1)
    scale = env.model.actuator_gainprm[:, 2] / plain
    seen = dict(zip(env.observation_names, observation, strict=True))
    varied = {env.model.actuator(i).name: value for i, value in enumerate(scale) if value != 1}
    expected = {left: seen["left muscle strength"], "iliopsoas_r": seen["right muscle strength"]}
    assert varied == pytest.approx(expected) and len(set(varied.values())) == 2
    np.testing.assert_allclose(env.model.actuator_biasprm[:, 2] / plain, scale)


def test_feet_collide_with_obstacles_of_the_drawn_size_and_place() -> None:
    env = env_of(difficulty=1, max_obstacles=4)
    env.reset(seed=3)
    obstacles = env._state["obstacles"].reshape(4, 3)
    assert len(set(obstacles[:, 2])) == 4
    toe = env.model.geom("toe_r").id
    env.data.qpos[:] = 0
    mujoco.mj_kinematics(env.model, env.data)
    at = env.data.geom_xpos[toe].copy()
    aside = abs(at[1])
    reached = [number for number, radius in enumerate(obstacles[:, 2]) if radius + 0.04 > aside]
    assert len(reached) >= 2  # smaller ones pass beside the feet
    for number in reached:
        x, y, radius = obstacles[number]
        for distance, touches in ((radius + 0.04, True), (radius + 0.06, False)):
            # The toe hangs above the obstacle, `distance` from its centre.
            env.data.qpos[:] = 0
            env.data.qpos[0] = x - at[0]
            env.data.qpos[1] = y + np.sqrt(distance**2 - aside**2) - at[2]
            mujoco.mj_forward(env.model, env.data)
            pair = {toe, env.model.geom(f"obstacle {number}").id}
            dimensions = [contact.dim for contact in env.data.contact if set(contact.geom) == pair]
            assert dimensions == ([1] if touches else [])  # without friction


def test_excitations_arrive_after_the_drawn_delay() -> None:
    env = env_of(excitation_delay_s=0.03, initial_activation=0.0)
    for seed in range(8):
        env.reset(seed=seed)
        delay = int(env._state["delay"][0, 0])
        sent = [0.1 * (step + 1) for step in range(6)]
        arrived = []
        for value in sent:
            env.step(np.full(18, value))
            arrived += list(env._state["ctrl_schedule"][0, :, 0])
        expected = [0.0] * delay + list(np.repeat(sent, 2))[: 12 - delay]
        np.testing.assert_allclose(arrived, expected, rtol=1e-6)


def test_randomised_quantities_stay_in_their_ranges_and_differ() -> None:
    engine = BatchEngine(find_task("learning-to-run", RANDOMISED | {"difficulty": 0}), 40, threads=1)
    model, state = engine.task.model, engine.state
    engine.reset(seed=0)
    feet = [model.geom(name).id for name in ("heel_r", "toe_r", "heel_l", "toe_l")]
    joints = [model.joint(joint).id for joint in LEG_JOINTS]
    strength = state["actuator_gainprm"][:, :, 2] / model.actuator_gainprm[:, 2]
    friction = state["geom_friction"][:, feet, 0]
    softness = state["geom_solref"][:, feet] / model.geom_solref[feet]
    stiffness = state["jnt_solref"][:, joints, 0] / model.jnt_solref[joints, 0]
    for values, low, high in (
        (strength, 0.8, 1.2),
        (friction, 0.5, 1),
        (softness[..., 0], 0.5, 2),
        (stiffness[stiffness != 0], 0.7, 1.3),
    ):
        spread = high - low
        assert low <= values.min() < low + 0.1 * spread and high - 0.1 * spread < values.max() <= high
    np.testing.assert_allclose(softness[..., 1] ** 2, softness[..., 0])
    assert (friction == friction[:, :1]).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"observation": "half"}, "observation = 'half'"),
        ({"friction": [1.0, 0.5]}, "friction"),
        ({"timestep_s": 0.003}, "timestep_s = 0.003"),
        ({"difficulty": 4}, "difficulty = 4"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_task("learning-to-run", options)
