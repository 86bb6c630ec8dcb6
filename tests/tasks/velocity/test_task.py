"""Velocity tracking with ANYmal C: observation, rewards, commands, randomization, and one environment against many."""

import sys
from subprocess import run
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from helpers.messages import one_line
from helpers.mirrors import assert_steps_are_mirrored
from surefoot.bodies.anymal_c import LEGS
from surefoot.errors import InputError
from surefoot.simulation.batch import BatchEngine
from surefoot.tasks.catalogue import find_task

ID = "surefoot/AnymalCVelocity-v0"
# No randomness.
CERTAIN = {
    **{"friction": [0.8, 0.8], "base_mass": 0.0, "motor_strength": 0.0, "latency": 0.0, "push_speed": 0.0},
    **{"noise": 0.0, "reset_noise": 0.0},
}


def make(**options: Any) -> Any:
    return gymnasium.make(ID, **options).unwrapped


def values(env: Any, observation: np.ndarray, *starts: str) -> np.ndarray:
    """Return the observation's values whose names start with any of `starts`."""
    return np.array([x for name, x in zip(env.observation_names, observation, strict=True) if name.startswith(starts)])


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*", "ignore:.*symmetric and normalized.*")
@pytest.mark.parametrize("options", [{}, {"gait": "free", "motor": "servo", "base": "menagerie", **CERTAIN}])
def test_gymnasium_checker_passes(options: dict) -> None:
    env = gymnasium.make(ID, **options)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None and env.spec.max_episode_steps == 1000
    assert env.unwrapped.dt == pytest.approx(0.02)  # ty: ignore
    names = env.unwrapped.observation_names  # ty: ignore
    assert len(set(names)) == len(names) == env.observation_space.shape[0] == (52 if options else 54)  # ty: ignore


def test_a_single_environment_does_not_import_jax() -> None:
    code = f"import sys, gymnasium, surefoot; gymnasium.make('{ID}').reset(); assert 'jax' not in sys.modules"
    run([sys.executable, "-c", code], check=True)


def test_observation_and_rewards_agree_with_the_simulator() -> None:
    env = make(**CERTAIN | {"latency": 1.0}, command=[0.5, -0.2, 0.3])
    weights = {term.name: term.weight for term in env.task.terms}
    observation, info = env.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(30):
        action = random.uniform(-1, 1, 12).astype(np.float32)
        before = env.data.qvel[6:].copy()
        observation, _, terminated, _, info = env.step(action)
        if terminated:
            break
        turned = np.zeros(9)
        mujoco.mju_quat2Mat(turned, env.data.qpos[3:7])
        turned = turned.reshape(3, 3)
        velocity = turned.T @ env.data.qvel[:3]
        np.testing.assert_allclose(values(env, observation, "base velocity"), velocity, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(values(env, observation, "base turning"), env.data.qvel[3:6], rtol=1e-5)
        np.testing.assert_allclose(values(env, observation, "gravity"), turned.T @ [0, 0, -1], atol=1e-6)
        np.testing.assert_allclose(values(env, observation, "command"), [0.5, -0.2, 0.3], rtol=1e-6)
        pose = [*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2]
        np.testing.assert_allclose(values(env, observation, *LEGS)[:12], env.data.qpos[7:] - pose, atol=1e-6)
        np.testing.assert_allclose(values(env, observation, *LEGS)[12:24], env.data.qvel[6:], rtol=1e-5)
        np.testing.assert_array_equal(values(env, observation, *LEGS)[24:36], action)
        assert info["velocity_error"] == pytest.approx(np.hypot(0.5 - velocity[0], -0.2 - velocity[1]))
        assert info["yaw_error"] == pytest.approx(abs(0.3 - env.data.qvel[5]))
        torque = env.data.qfrc_actuator[6:]
        unweighted = {name: value / 0.02 / weights[name] for name, value in info["reward_terms"].items()
                if name != "clip_reward_at_zero"}  # fmt: skip
        assert unweighted["torques"] == pytest.approx((torque**2).sum(), rel=1e-5)
        assert unweighted["dof_acc"] == pytest.approx((((env.data.qvel[6:] - before) / 0.02) ** 2).sum(), rel=1e-4)
        assert unweighted["lin_vel_z"] == pytest.approx(velocity[2] ** 2, rel=1e-3)
        assert sum(info["reward_terms"].values()) >= -1e-9


def test_action_zero_holds_the_standing_pose() -> None:
    env = make(**CERTAIN, command=[0, 0, 0])
    env.reset(seed=0)
    for _ in range(150):
        _, reward, terminated, _, info = env.step(np.zeros(12))
        assert not terminated
    assert 0.53 < env.data.qpos[2] < 0.56
    assert np.abs(env.data.qvel).max() < 0.05
    assert np.abs(env.data.qpos[7:] - [*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2]).max() < 0.05
    assert reward > 0.9 * 0.02 * (1.5 + 2.0)  # tracking_lin_vel and gait
    assert info["velocity_error"] < 0.01


def test_episodes_start_with_the_lowest_foot_on_the_floor() -> None:
    env = make()
    for seed in range(10):
        env.reset(seed=seed)
        lowest = min(env.data.geom(f"{leg}_FOOT").xpos[2] for leg in LEGS) - 0.03
        assert lowest == pytest.approx(0, abs=1e-6)


def test_a_trunk_on_the_ground_or_tilted_by_70_degrees_terminates() -> None:
    env = make(**CERTAIN)
    for angle, height, axis, ends in (
        (0, 0.12, 0, False),
        (0, 0.08, 0, True),
        (65, 1.0, 0, False),
        (75, 1.0, 0, True),
        (75, 1.0, 1, True),
        (30, 0.33, 1, True),  # 0.5245 sin 30 + 0.09 cos 30 = 0.34
        (30, 0.36, 1, False),
        (30, 0.10, 0, True),  # 0.07 sin 30 + 0.09 = 0.125
        (30, 0.14, 0, False),
    ):
        env.reset(seed=0)
        half = np.radians(angle) / 2
        env.data.qpos[2:7] = [height, np.cos(half), 0, 0, 0]
        env.data.qpos[4 + axis] = np.sin(half)
        assert bool(env._output(np.zeros((1, 12))).terminated[0]) == ends, (angle, height, axis)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "command_every_s": 0.1,
            "push_every_s": 0.1,
            "clip_reward_at_zero": False,
            "weights": {"energy": 0, "feet_air_time": 1.0},
        },
        {"gait": "free", "motor": "servo", "base": "menagerie", **CERTAIN},
    ],
)
def test_many_environments_equal_single_ones(options: dict, assert_matches_single_environments) -> None:
    """Up to the rounding of the engine's float32 output."""
    info = find_task("anymal-velocity", options | {"max_episode_steps": 40})
    assert_matches_single_environments(info, steps=100, first=1e-5, rtol=1e-4, atol=1e-5, reward_rtol=1e-3)


def test_a_targetored_engine_continues_identically() -> None:
    """Commands, pushes, loads, and the next episode."""
    info = find_task("anymal-velocity", {"command_every_s": 0.2, "push_every_s": 0.2, "max_episode_steps": 30})
    one, other = BatchEngine(info, 4), BatchEngine(info, 4, threads=1)
    one.reset(seed=0)
    random = np.random.default_rng(0)
    actions = random.uniform(-2, 2, (80, 4, 12)).astype(np.float32)
    for action in actions[:20]:
        one.step(action)
    state = {name: np.array(value) for name, value in one.get_state().items()}
    other.begin(7)
    other.set_state(state)
    commands = []
    for action in actions[20:]:
        for a, b in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        commands.append(one.state["command"].copy())
    assert len(np.unique(np.array(commands)[:, 0], axis=0)) > 5


def test_environments_do_not_depend_on_each_other() -> None:
    info = find_task("anymal-velocity", {"push_every_s": 0.1, "command_every_s": 0.1})
    few, many = BatchEngine(info, 2), BatchEngine(info, 5, threads=1)
    a, b = few.reset(seed=3)[0], many.reset(seed=3)[0]
    random = np.random.default_rng(0)
    for _ in range(20):
        action = random.uniform(-2, 2, (5, 12)).astype(np.float32)
        np.testing.assert_array_equal(a, b[:2])
        a, b = few.step(action[:2])[0], many.step(action)[0]


@pytest.mark.parametrize("motor", ["limited", "servo"])
def test_randomization_fills_its_ranges(motor: str) -> None:
    options = {"friction": [0.3, 0.9], "base_mass": 4.0, "motor_strength": 0.2, "latency": 0.5, "motor": motor}
    engine = BatchEngine(find_task("anymal-velocity", options), 400)
    engine.begin(0)
    state, model = engine.state, engine.task.model
    feet = [model.geom(f"{leg}_FOOT").id for leg in LEGS]
    friction = state["geom_friction"][:, feet, 0]
    assert (friction == friction[:, :1]).all()
    spans(friction[:, 0], 0.3, 0.9)
    spans(state["body_mass"][:, 1] - model.body_mass[1], -4, 4)
    factor = state["body_mass"][:, 1] / model.body_mass[1]
    np.testing.assert_allclose(state["body_inertia"][:, 1], factor[:, None] * model.body_inertia[1])
    assert (state["body_mass"][:, 2:] == model.body_mass[2:]).all()
    gains, bias = state["actuator_gainprm"][:, :12], state["actuator_biasprm"][:, :12]
    strength = gains[:, :, 0] / 80
    np.testing.assert_allclose(bias[:, :, 1], -80 * strength)
    back_emf = 120 / 7.5 if motor == "limited" else 0  # the driver compensates it at any gains of the controller
    np.testing.assert_allclose(bias[:, :, 2], back_emf - 2 * strength)
    spans(strength, 0.8, 1.2)
    assert set(state["delay"].ravel()) == {0, 1, 2}
    np.testing.assert_allclose(engine._batch.expanded("body_subtreemass")[:, 1], state["body_mass"][:, 1:].sum(1))


def test_a_load_changes_the_physics_consistently() -> None:
    """A robot with a load moves like a model compiled with that mass."""
    env = make(**CERTAIN | {"base_mass": 5.0})
    env.reset(seed=1)
    model, data = env.model, mujoco.MjData(env.model)
    assert abs(model.body_mass[1] - 26.37317) > 1
    assert model.body_subtreemass[1] == pytest.approx(model.body_mass[1:].sum())
    data.qpos[:], data.qvel[:], data.ctrl[:] = env.data.qpos, env.data.qvel, env.task._target
    env.step(np.zeros(12))
    for _ in range(4):
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(env.data.qpos, data.qpos, atol=1e-9)


def test_sensor_noise_has_the_stated_amplitudes() -> None:
    noisy, plain = (make(**CERTAIN | {"noise": noise}) for noise in (1.0, 0.0))
    misses = []
    for env in (noisy, plain):
        env.reset(seed=0)
    for _ in range(300):
        misses.append(noisy.step(np.zeros(12))[0] - plain.step(np.zeros(12))[0])
    misses = np.array(misses)
    amplitudes = [*[0.1] * 3, *[0.2] * 3, *[0.05] * 3, *[0] * 3, *[0.01] * 12, *[1.5] * 12, *[0] * 18]
    for values_, amplitude in zip(misses.T, amplitudes, strict=True):
        assert np.abs(values_).max() <= amplitude + 1e-5
        if amplitude:
            assert values_.std() == pytest.approx(amplitude / np.sqrt(3), rel=0.15)


def test_given_commands_follow_each_other() -> None:
    env = make(**CERTAIN | {"command": [0.5, 0, 0, 0, 0.3, -0.2], "command_every_s": 0.1})
    env.reset(seed=3)
    commands = [tuple(env._state["command"][0])]
    for _ in range(20):
        commands.append(tuple(env.step(np.zeros(12))[4]["command"]))
    assert commands == ([(0.5, 0, 0)] * 5 + [(0, 0.3, -0.2)] * 5) * 2 + [(0.5, 0, 0)]


def test_commands_are_drawn_and_held() -> None:
    engine = BatchEngine(
        find_task("anymal-velocity", {"command_every_s": 0.2, "standing": 0.25, "command_y": 0.5}), 300
    )
    engine.reset(seed=0)
    drawn = []
    for step in range(30):
        if step % 10 == 0:
            drawn.append(engine.state["command"].copy())
        np.testing.assert_array_equal(engine.state["command"], drawn[-1])
        engine.advance(np.zeros((300, 12), np.float32), np.zeros(300, bool))
    command = np.concatenate(drawn)
    standing = (command == 0).all(1)
    # Small commands are set to zero as well: 0.06 of 0.09.
    assert 0.2 < standing.mean() < 0.32
    going = command[~standing]
    speed = np.hypot(going[:, 0], going[:, 1])
    assert (speed[speed > 0] >= 0.2).all() and (np.abs(going[going[:, 2] != 0, 2]) >= 0.1).all()
    for column, most in ((0, 1.0), (1, 0.5), (2, 1.0)):
        assert 0.97 * most < np.abs(going[:, column]).max() <= most
    assert (drawn[0] != drawn[1]).any(1).mean() > 0.85


def test_a_turn_to_a_direction_slows_down_and_ends() -> None:
    """The turning rate is half the remaining angle per second; the robots are turned by hand here."""
    options = {"heading": 1.0, "standing": 0.2, "push_speed": 0.0, "command_every_s": 1.0}
    engine, rates = (
        BatchEngine(find_task("anymal-velocity", given), 40) for given in (options, options | {"heading": 0})
    )
    engine.reset(seed=0)
    rates.reset(seed=0)
    first = engine.state["command"].copy()
    np.testing.assert_array_equal(first, rates.state["command"])
    turn, standing = first[:, 2], (first == 0).all(1)
    assert 2 < standing.sum() < 20 and np.abs(turn).max() > 0.9
    for turned in (0.3, 2.0, -3.0, 2 * np.pi):
        engine.state["qpos"][:, 3:7] = np.cos(turned / 2), 0, 0, np.sin(turned / 2)
        engine.task.commands.steer(engine.state)
        left = np.angle(np.exp(1j * (2 * turn - turned)))
        expected = np.where(standing, 0, np.clip(left / 2, -1, 1))
        np.testing.assert_allclose(engine.state["command"], np.c_[first[:, :2], expected], atol=1e-9)
    # The next direction is relative to the one faced then.
    quarter = np.sqrt(0.5)
    for _ in range(50):
        engine.state["qpos"][:, 3:7] = quarter, 0, 0, quarter
        engine.state["qvel"][:] = 0
        engine.advance(np.zeros((40, 12), np.float32), np.zeros(40, bool))
    second, going = engine.state["command"], (engine.state["command"] != 0).any(1)
    assert (second != first).any(1).sum() > 30
    faced = np.array(2 * np.arctan2(engine.state["qpos"][:, 6], engine.state["qpos"][:, 3]))
    np.testing.assert_allclose((engine.state["goal"][:, 0] - faced)[going], 2 * second[going, 2], atol=1e-5)


def test_a_fraction_of_commands_turn_to_a_direction(assert_matches_single_environments) -> None:
    options = {"heading": 0.5, "standing": 0.0, "max_episode_steps": 40, "command_every_s": 0.2}
    engine = BatchEngine(find_task("anymal-velocity", options), 400)
    engine.reset(seed=0)
    assert 0.4 < engine.state["turns_to_goal"].mean() < 0.6
    assert_matches_single_environments(
        find_task("anymal-velocity", options), steps=60, first=1e-5, rtol=1e-4, atol=1e-5, reward_rtol=1e-3
    )
    assert "goal" not in BatchEngine(find_task("anymal-velocity", {}), 1).state


def test_pushes_have_the_stated_period_and_size() -> None:
    engine = BatchEngine(find_task("anymal-velocity", {"push_every_s": 0.2, "push_speed": 0.7}), 200)
    engine.reset(seed=0)
    pushed = np.zeros((30, 200), bool)
    pushes = []
    for step in range(30):
        before = engine.state["qvel"].copy()
        engine.task.apply_action(engine.state, np.zeros((200, 12), np.float32))
        push = engine.state["qvel"] - before
        assert not push[:, 2:].any()
        pushed[step] = push[:, :2].any(1)
        pushes.append(push[pushed[step], :2])
        engine.advance(np.zeros((200, 12), np.float32), np.zeros(200, bool))
        engine.state["step"][:] = step + 1
    spans(np.concatenate(pushes), -0.7, 0.7)
    assert (pushed[:10].sum(0) == 1).all()
    np.testing.assert_array_equal(pushed[10:20], pushed[:10])


def test_actions_arrive_with_the_drawn_latency() -> None:
    """The servo's target in each of the four physics steps of an action."""
    engine = BatchEngine(find_task("anymal-velocity", {}), 100)
    engine.reset(seed=0)
    state = engine.state
    old = state["target"].copy()
    engine.step(np.ones((100, 12), np.float32))
    for substep in range(4):
        new = (state["ctrl_schedule"][:, substep] != old).all(1)
        np.testing.assert_array_equal(new, state["delay"][:, 0] <= substep)
    np.testing.assert_array_equal(state["ctrl"], state["ctrl_schedule"][:, -1])
    np.testing.assert_allclose(state["target"] - engine.task._target, 0.5)
    assert set(state["delay"].ravel()) == {0, 1, 2, 3, 4}


def test_the_mirror_image_agrees_with_the_simulator() -> None:
    def mirror_command(one, other) -> None:
        other._state["command"][:] = one._state["command"] * [1, -1, -1]
        other._state["phase"][:] = one._state["phase"] + np.pi

    info = find_task("anymal-velocity", CERTAIN | {"base": "menagerie", "standing": 0.0})
    assert_steps_are_mirrored(info, 4, 10, reward_atol=1e-3, prepare=mirror_command)
    free = find_task("anymal-velocity", {"gait": "free"}).mirror
    assert free is not None and len(free.observation_index) == 52


def spans(values: np.ndarray, low: float, high: float) -> None:
    """Assert that values fill the range."""
    margin = 0.02 * (high - low)
    assert low <= values.min() < low + margin and high - margin < values.max() <= high


@pytest.mark.parametrize(
    "options, message",
    [
        ({"motor": "steam"}, "motor = 'steam': input should be 'servo' or 'limited'"),
        ({"gait": "gallop"}, "gait = 'gallop': input should be 'trot' or 'free'"),
        ({"action_scale": 0}, "action_scale = 0: input should be greater than or equal to 0.01"),
        ({"clip_reward_at_zero": 1}, "clip_reward_at_zero = 1: input should be a valid boolean"),
        ({"weights": {"enery": 1}}, "weights has no term 'enery'; did you mean 'energy'"),
        ({"weights": {"energy": "much"}}, "weights.energy = 'much': input should be a valid number"),
        ({"weights": 3}, "weights = 3: input should be a valid dictionary"),
        ({"weights": {"energy": float("nan")}}, "weights.energy = nan: input should be a finite number"),
        ({"friction": [1, 0.5]}, "friction = .1, 0.5.: must be two numbers from 0 to 5, the lower one first"),
        ({"friction": 0.8}, "friction = 0.8: input should be a valid tuple"),
        ({"command": [1, 0]}, "command = .1, 0.: must be three numbers from -5 to 5"),
        ({"heading": 1.5}, "heading = 1.5: input should be less than or equal to 1"),
        ({"latency": 2}, "latency = 2: input should be less than or equal to 1"),
        ({"base_mass": -1}, "base_mass = -1: input should be greater than or equal to 0"),
        ({"base_mass": 30}, "base_mass = 30: must be less than the trunk's mass, 26.4 kg"),
        ({"push_every_s": 0}, "push_every_s = 0: input should be greater than or equal to 0.02"),
        ({"frictoin": [1, 1]}, "unknown option 'frictoin'; did you mean 'friction'?"),
        ({"body": "anymal-c"}, "unknown option 'body'"),
    ],
)
def test_invalid_options_give_one_line_errors(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_task("anymal-velocity", options)
    one_line(caught.value)
