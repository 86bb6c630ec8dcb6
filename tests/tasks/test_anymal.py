"""ANYmal's running tasks against an independent loop over MuJoCo."""

import os
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from helpers.engines import assert_state_is_restored
from helpers.messages import one_line
from helpers.mirrors import assert_steps_are_mirrored
from surefoot.bodies import anymal_c
from surefoot.errors import InputError
from surefoot.reports.opengl import gl_available
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks import anymal
from surefoot.tasks.catalogue import find_task, make_env

TASKS = ["surefoot/AnymalC-v0", "surefoot/AnymalCStep-v0"]
RENDERING = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*")
@pytest.mark.parametrize("id", TASKS)
@pytest.mark.parametrize("options", [{}, {"motor": "limited", "contact": "elliptic", "base": "menagerie"}])
def test_environment_passes_gymnasiums_checker(id: str, options: dict) -> None:
    env = gymnasium.make(id, **options)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None and env.spec.max_episode_steps == 800
    assert env.unwrapped.dt == pytest.approx(0.01)  # ty: ignore


def test_step_and_reward_equal_the_experiments_formula() -> None:
    """Each of five physics steps earns the velocity along x plus the height above 0.5 m."""
    env = gymnasium.make("surefoot/AnymalC-v0", reset_noise=0.0).unwrapped
    observation, _ = env.reset(seed=0)
    data = mujoco.MjData(env.model)  # ty: ignore
    data.qpos[2] = 0.62
    assert observation[0] == np.float32(0.62)
    random = np.random.default_rng(0)
    for _ in range(40):
        action = random.uniform(-1, 1, 12).astype(np.float32)
        targets = np.array(action, float)
        for leg, shift in ((0, -0.1), (3, 0.1), (6, -0.1), (9, 0.1)):
            targets[leg] = 0.6 * targets[leg] + shift
        data.ctrl[:] = targets
        earned = 0.0
        for _ in range(5):
            mujoco.mj_step(env.model, data)  # ty: ignore
            earned += data.qvel[0] + data.qpos[2] - 0.5
        observation, reward, terminated, truncated, info = env.step(action)
        fell = data.qpos[2] < 0.3
        assert reward == pytest.approx(earned - 100 * fell, abs=1e-9)
        assert (terminated, truncated) == (fell, False)
        assert sum(info["reward_terms"].values()) == pytest.approx(reward)
        np.testing.assert_allclose(observation, np.r_[data.qpos[2:], data.qvel], rtol=1e-6)
        if terminated:
            break


def test_a_fall_costs_100_and_terminates() -> None:
    env = gymnasium.make("surefoot/AnymalC-v0", fall_height=0.45)
    env.reset(seed=0)
    fold = np.tile([0, 1, 1], 4)
    for _ in range(800):
        _, reward, terminated, truncated, info = env.step(fold)
        if terminated or truncated:
            break
        assert info["reward_terms"]["fall"] == 0
    assert terminated
    assert info["reward_terms"]["fall"] == -100
    assert reward < -99
    assert find_task("anymal").falls(np.array([True, False]), np.zeros(2)).tolist() == [True, False]  # ty: ignore


@pytest.mark.parametrize(
    "id, options",
    [
        ("surefoot/AnymalC-v0", {}),
        ("surefoot/AnymalC-v0", {"contact": "elliptic", "base": "menagerie", "facing": "backward", "reset_noise": 0.2}),
        ("surefoot/AnymalC-v0", {"motor": "limited"}),
        ("surefoot/AnymalCStep-v0", {"step_height": 0.1, "step_start": 0.9}),
        ("surefoot/AnymalCStep-v0", {"lowest_step": 0.02, "step_start": 0.8, "curriculum": True, "steps": 2}),
        ("surefoot/AnymalCStep-v0", {"lowest_step": 0.02, "step_start": 0.8, "observe_ground": True}),
    ],
)
def test_batch_equals_single_environments(id: str, options: dict, assert_matches_single_environments) -> None:
    """Up to rounding: the engine passes measurements as float32."""
    info = find_task(id, options | {"max_episode_steps": 60})
    assert_matches_single_environments(info, steps=150, first=1e-6, rtol=1e-5, atol=1e-6, reward_rtol=1e-5)


def test_the_engines_state_is_saved_and_restored() -> None:
    assert_state_is_restored(find_task("anymal", {"motor": "limited"}), steps=20)


@pytest.mark.parametrize("id", TASKS)
def test_make_vec_makes_the_batch_engine(id: str) -> None:
    envs = gymnasium.make_vec(id, num_envs=3, reset_noise=0.0, fall_height=0.0, vectorization_mode="vector_entry_point")
    assert isinstance(envs, BatchEngine)
    observation, _ = envs.reset(seed=0)
    assert observation.shape == (3, 35)
    assert (observation == observation[0]).all()
    lengths = 0
    for _ in range(801):
        _, _, terminated, truncated, _ = envs.step(np.zeros((3, 12), np.float32))
        lengths += 1
        if (terminated | truncated).any():
            break
    assert lengths == 800 and truncated.all() and not terminated.any()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec_makes_single_environments_too(mode: str) -> None:
    envs = gymnasium.make_vec(TASKS[0], num_envs=2, vectorization_mode=mode, reset_noise=0.0)
    assert not isinstance(envs, BatchEngine)
    assert envs.reset(seed=0)[0].shape == (2, 35)
    assert envs.step(np.zeros((2, 12), np.float32))[0].shape == (2, 35)
    envs.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no EGL")
def test_a_rendered_task_needs_no_window_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RENDERING:
        monkeypatch.setenv(name, "")  # so that the value is restored
        monkeypatch.delenv(name)
    gymnasium.make(TASKS[0])
    assert "MUJOCO_GL" not in os.environ
    gymnasium.make(TASKS[0], render_mode="rgb_array")
    assert os.environ["MUJOCO_GL"] == "egl"


def test_a_users_script_can_render_gymnasiums_own_tasks_without_a_display() -> None:
    """MuJoCo would abort the process."""
    if not gl_available():
        pytest.skip("needs OpenGL")
    make = "gymnasium.make('Pusher-v5', render_mode='rgb_array', width=32, height=32)"
    script = f"import gymnasium, surefoot; env = {make}; env.reset(seed=0); print(env.render().shape)"
    environment = {name: value for name, value in os.environ.items() if name not in RENDERING}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "(32, 32, 3)\n"), result.stderr


def test_torque_limit_of_limited_motors_falls_with_speed() -> None:
    limited, free = (gymnasium.make("surefoot/AnymalC-v0", motor=motor).unwrapped for motor in ("limited", "servo"))
    for env in (limited, free):
        env.reset(seed=0)
    random = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        action = random.choice([-1, 1], 12)
        for env in (limited, free):
            env.step(action)
            mujoco.mj_forward(env.model, env.data)  # ty: ignore
            speed, force = env.data.qvel[6:], env.data.qfrc_actuator[6:]  # ty: ignore
            wanted = np.clip(100 * (env.data.ctrl - env.data.qpos[7:]), -80, 80)  # ty: ignore
            if env is limited:
                wanted, asked = np.clip(wanted, -120 - 16 * speed, 120 - 16 * speed).clip(-80, 80), wanted
                held += (wanted != asked).sum()
            np.testing.assert_allclose(force, wanted, atol=1e-9)
    assert held > 60


def test_halving_the_physics_step_keeps_the_peak_speed_of_limited_motors() -> None:
    """Feet in the air; the knees swing as fast as the motors allow. An explicit limit gives 14 and 8 rad/s."""

    def peak_and_reversals(step_s: float) -> tuple[float, float]:
        spec = anymal_c.make_scene(step_s, motor="limited", armature=anymal_c.ARMATURE)
        spec.option.gravity = [0, 0, 0]
        model = spec.compile()
        data, speed = mujoco.MjData(model), []
        data.qpos[2] = 2
        for _ in range(round(1 / step_s)):
            data.ctrl[2::3] = 1.5 * np.sign(np.sin(20 * data.time))
            mujoco.mj_step(model, data)
            speed.append(data.qvel[8::3].copy())
        sign = np.sign(np.diff(speed, axis=0))
        return float(np.abs(speed).max()), float((sign[1:] != sign[:-1]).mean())

    (peak, reversals), (fine, _) = peak_and_reversals(0.002), peak_and_reversals(0.001)
    assert 7 < peak < 8.5 and peak == pytest.approx(fine, rel=0.05)
    assert reversals < 0.1


@pytest.mark.parametrize(
    "task, options", [("anymal", {}), ("anymal-step", {"observe_ground": True, "step_start": 0.8})]
)
def test_mirror_image_of_a_step_is_nearly_the_simulators(task: str, options: dict) -> None:
    assert_steps_are_mirrored(find_task(task, {"base": "menagerie"} | options), 5, 8, reward_atol=0.02)
    assert find_task("anymal", {"facing": "backward"}).mirror is None


def test_position_and_size_of_the_step() -> None:
    env = make_env(find_task("anymal-step", {"step_height": 0.2, "step_start": 1.0, "step_length": 2.0})).unwrapped
    block = env.model.geom("step 0")  # ty: ignore
    np.testing.assert_allclose(block.pos, [2.0, 0, -0.05])
    np.testing.assert_allclose(block.size[[0, 2]], [1.0, 0.25])  # from 0.3 m below the ground
    flat = make_env(find_task("anymal")).unwrapped
    for one, height in ((env, 0.82), (flat, 0.62)):
        one.reset(seed=0)
        one.data.qpos[:3] = 2.0, 0.0, height  # ty: ignore
    for _ in range(30):
        action = [0, 0.4, -0.8] * 2 + [0, -0.4, 0.8] * 2
        assert env.step(action)[0][0] == pytest.approx(flat.step(action)[0][0] + 0.2, abs=1e-4)


def test_random_step_heights_are_observed() -> None:
    env = make_env(find_task("anymal-step", {"lowest_step": 0.05, "observe_ground": True})).unwrapped
    assert env.observation_names[35:37] == ("ground height at -0.50 m", "ground height at -0.25 m")  # ty: ignore
    heights = []
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert observation.shape == (43,) and (observation[35:] == 0).all()
        env.data.qpos[:3] = 3.0, 0.0, 0.83  # ty: ignore
        mujoco.mj_forward(env.model, env.data)  # ty: ignore
        geom = np.zeros(1, np.int32)
        down = mujoco.mj_ray(
            env.model,
            env.data,
            np.array([3.0, 20.0, 2.0]),
            np.array([0, 0, -1.0]),
            None,
            1,
            -1,
            geom,  # ty: ignore
        )
        observation, *_ = env.step(np.zeros(12))
        np.testing.assert_allclose(observation[35:], 2 - down, atol=1e-6)
        heights.append(2 - down)
        env.data.qpos[0] = 1.1  # ty: ignore
        observation, *_ = env.step(np.zeros(12))
        assert ((observation[35:] > 0) == [False, False, False, False, True, True, True, True]).all()
    assert 0.05 <= min(heights) < 0.08 and 0.12 < max(heights) <= 0.15


def test_several_steps_rise() -> None:
    options = {"steps": 3, "step_start": 1.0, "step_length": 2.0, "step_gap": 1.0, "lowest_step": 0.0}
    env = make_env(find_task("anymal-step", options | {"observe_ground": True})).unwrapped
    for seed in range(5):
        env.reset(seed=seed)
        tops = [env.model.geom_pos[env.model.geom(f"step {n}").id, 2] + 0.225 for n in range(3)]  # ty: ignore
        assert 0 <= tops[0] < tops[1] < tops[2] <= 0.15
        env.data.qpos[:3] = 3.1, 0.0, 0.83  # ty: ignore
        observation, *_ = env.step(np.zeros(12))
        np.testing.assert_allclose(observation[35:], [tops[0]] * 2 + [0] * 4 + [tops[1]] * 2, rtol=1e-5, atol=1e-9)


def test_curriculum_raises_and_lowers_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"steps": 3, "step_start": 1.0, "step_length": 2.0, "step_gap": 1.0, "lowest_step": 0.02}
    env = make_env(find_task("anymal-step", options | {"curriculum": True, "step_height": 0.1})).unwrapped

    def heights_after(x: float, random_starts: float = 0.0) -> list[float]:
        monkeypatch.setattr(anymal, "_RANDOM_STARTS", random_starts)
        env.data.qpos[0] = x  # ty: ignore
        env.step(np.zeros(12))
        env.reset()
        tops = [env.model.geom_pos[env.model.geom(f"step {n}").id, 2] + 0.2 for n in range(3)]  # ty: ignore
        return np.round(tops, 6).tolist()

    env.reset()  # a first reset without a seed has no history either
    assert heights_after(0.0) == [0.02, 0.03, 0.04]
    assert heights_after(3.5) == [0.02, 0.03, 0.04], "not yet wholly behind the first"
    assert heights_after(6.6) == [0.02, 0.03, 0.04], "behind the second"
    assert heights_after(9.6) == [0.03, 0.04, 0.05], "behind all"
    assert heights_after(9.6) == [0.04, 0.05, 0.06]
    assert heights_after(3.6) == [0.03, 0.04, 0.05], "behind the first only"
    assert heights_after(0.0) == [0.02, 0.03, 0.04], "behind none"
    for _ in range(8):
        last = heights_after(9.6)
    assert last == [0.09, 0.1, 0.1]
    first = {heights_after(0.0, random_starts=1.0)[0] for _ in range(20)}
    assert 0.02 <= min(first) < 0.04 and 0.05 < max(first) <= 0.07, "below the level, which fell once"
    assert heights_after(0.0) == [0.07, 0.08, 0.09], "failing below the level does not lower it"
    env.reset(seed=0)
    assert heights_after(0.0) == [0.02, 0.03, 0.04], "a seed forgets the past"


@pytest.mark.parametrize(
    "task, options, message",
    [
        ("anymal", {"base": "wood"}, "task 'anymal': base = 'wood': input should be 'urdf' or 'menagerie'"),
        ("anymal", {"facing": "up"}, "facing = 'up'"),
        ("anymal", {"contact": "glue"}, "contact = 'glue'"),
        ("anymal", {"motor": "steam"}, "motor = 'steam'"),
        ("anymal", {"fall_height": "high"}, "fall_height = 'high': input should be a valid number"),
        ("anymal", {"reset_noise": -1}, "reset_noise = -1: input should be greater than or equal to 0"),
        ("anymal", {"step_height": 0.1}, "task 'anymal': unknown option 'step_height'"),
        ("anymal-step", {"step_height": 2}, "step_height = 2: input should be less than or equal to 1"),
        ("anymal-step", {"step_start": 0}, "step_start = 0"),
        ("anymal-step", {"lowest_step": 0.2}, "lowest_step = 0.2 must not exceed step_height = 0.15"),
        ("anymal-step", {"curriculum": True}, "curriculum needs a lowest_step"),
        ("anymal-step", {"steps": 0}, "steps = 0: input should be greater than or equal to 1"),
        ("anymal-step", {"step_gap": "wide"}, "step_gap = 'wide'"),
        ("anymal-step", {"observe_ground": 1}, "observe_ground = 1: input should be a valid boolean"),
    ],
)
def test_a_wrong_option_is_a_one_line_error(task: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_task(task, options)
    one_line(caught.value)
