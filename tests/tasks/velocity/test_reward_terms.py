"""Reward terms against numbers computed by hand, their weights, and terms of a user's own module."""

import copy
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from helpers.messages import one_line
from surefoot.errors import InputError
from surefoot.tasks.catalogue import find_policy_task, find_task, make_env
from surefoot.tasks.velocity.reward_terms import (
    TERMS,
    RobotState,
    load_terms,
    reward_term,
    select_terms,
    weighted_terms,
)
from surefoot.tasks.velocity.robot import AnymalC

ROBOT = AnymalC("urdf", "limited", visuals=False)


def state(**changes) -> RobotState:
    """Return the state of two environments at rest, with `changes`."""
    rest = dict.fromkeys(("velocity", "angular_velocity", "command"), np.zeros((2, 3)))
    joints = ("joint_angle", "joint_velocity", "joint_acceleration", "beyond_soft_limit", "torque")
    rest |= dict.fromkeys((*joints, "action", "previous_action"), np.zeros((2, 12)))
    rest |= dict.fromkeys(("foot_height", "foot_speed", "air_time"), np.zeros((2, 4)))
    rest |= {"gravity": np.tile([0.0, 0, -1], (2, 1)), "standing": np.array([True, True])}
    rest |= {
        "height": np.full(2, 0.55),
        "clearance": np.full(2, 0.4),
        "contact": np.ones((2, 4)),
        "knee_height": np.full((2, 4), 0.3),
    }
    changed = {name: np.asarray(value) for name, value in changes.items()}
    return RobotState(**{**rest, "robot": ROBOT, "stance": None, "terrain_rise": 0.0, **changed})


def twelve(*values: float) -> np.ndarray:
    """Return joint values of two environments: the given ones, and the last of them for all joints."""
    first = np.zeros(12)
    first[: len(values)] = values
    return np.stack([first, np.full(12, values[-1])])


WALK = {"command": [[1.0, 0, 0.5], [0.0, 0.5, 0]], "standing": [False, False]}


@pytest.mark.parametrize(
    "name, changes, expected",
    [
        ("tracking_lin_vel", WALK | {"velocity": [[0.7, 0.4, 9], [0, 0.5, 0]]}, [np.exp(-(0.09 + 0.16) / 0.25), 1]),
        ("tracking_ang_vel", WALK | {"angular_velocity": [[9, 9, 1.0], [9, 9, -0.2]]}, [np.exp(-1), np.exp(-0.16)]),
        ("gait", WALK | {"stance": [[1, 0, 0, 1]] * 2, "contact": [[1, 0, 0, 1], [0, 0, 1, 1]]}, [1, 0.5]),
        ("gait", {"stance": [[1, 0, 0, 1]] * 2, "contact": [[1, 1, 1, 1], [1, 0, 0, 1]]}, [1, 0.5]),
        ("gait", {}, [0, 0]),
        ("lin_vel_z", {"velocity": [[9, 9, -0.2], [9, 9, 3]]}, [0.04, 9]),
        ("ang_vel_xy", {"angular_velocity": [[0.3, -0.4, 9], [1, 0, 0]]}, [0.25, 1]),
        ("orientation", {"gravity": [[0.3, 0.4, -0.8], [0, 0, -1]]}, [0.25, 0]),
        ("torques", {"torque": twelve(3, -4)}, [25, 12 * 16]),
        ("energy", {"torque": twelve(3, -4), "joint_velocity": twelve(2, 1)}, [10, 48]),
        ("dof_acc", {"joint_acceleration": twelve(10, -20)}, [500, 12 * 400]),
        ("action_rate", {"action": twelve(0.5, 1), "previous_action": twelve(-0.5, 0.5)}, [1.25, 3]),
        ("joint_limits", {"beyond_soft_limit": twelve(0.1, 0.2)}, [0.3, 2.4]),
        ("torque_limits", {"torque": twelve(-80, 75, 72)}, [8 + 3, 0]),
        ("speed_limits", {"joint_velocity": twelve(-8, 7.5, 6.75)}, [1.25 + 0.75, 0]),
        ("collision", {"knee_height": [[0.05, 0.07, 0.3, 0.01], [0.1] * 4]}, [2, 0]),
        ("feet_air_time", WALK | {"air_time": [[0.7, 0.4, 0, 0], [0, 0, 0, 0]]}, [0.2 - 0.1, 0]),
        ("feet_air_time", {"air_time": [[0.7, 0.4, 0, 0], [0, 0, 0, 1]]}, [0, 0]),
        ("feet_clearance", {"foot_height": [[0.1, 0.05, 0, 0]] * 2, "foot_speed": [[4, 1, 0, 0], [0] * 4]}, [0.07, 0]),
        # A step of 5 cm ahead raises the target from 8 to 13 cm.
        (
            "feet_clearance",
            {
                "foot_height": [[0.1] * 4] * 2,
                "foot_speed": [[4, 1, 0, 0], [4, 1, 0, 0]],
                "terrain_rise": [[0.05, 0, 1, 1], [0] * 4],
            },
            [0.06 + 0.02, 0.04 + 0.02],
        ),
        ("feet_slip", {"foot_speed": [[2, 1, 3, 0], [1] * 4], "contact": [[1, 1, 0, 0], [1] * 4]}, [5, 4]),
        ("stand_still", {"joint_angle": twelve(0.1, -0.2), "standing": [True, False]}, [0.3, 0]),
        ("pose", {"joint_angle": twelve(0.3, 9, 9, -0.1)}, [0.1, 0.04]),
    ],
)
def test_terms_equal_numbers_computed_by_hand(name: str, changes: dict, expected: list) -> None:
    robot_state = state(**changes)
    np.testing.assert_allclose(TERMS[name](robot_state, np), expected, atol=1e-12)
    np.testing.assert_allclose(TERMS[name](robot_state, jnp), expected, rtol=1e-5)
    terms = [term for term in select_terms({name: 2.0}) if term.name == name]
    np.testing.assert_allclose(weighted_terms(terms, robot_state, 0.02, np)[name], np.array(expected) * 0.04, atol=1e-9)


def test_weights_replace_defaults_and_zero_removes_a_term() -> None:
    chosen = {term.name: term.weight for term in select_terms({"energy": 0, "pose": -3}, (), {"gait": 0.0})}
    assert set(chosen) == set(TERMS) - {"energy", "gait", "feet_air_time"}
    assert (chosen["pose"], chosen["lin_vel_z"]) == (-3, -2)


def test_torques_and_lengths_are_relative_to_the_robots_size() -> None:
    """A robot of half the height and a quarter of the weight, whose motion is the same seen from its own height."""
    small = copy.copy(ROBOT)
    small.length_scale, small.torque_scale, small.torque_limit = 0.5, 0.125, ROBOT.torque_limit / 8
    large_state = state(torque=twelve(76, -4), foot_height=[[0.1] * 4] * 2, foot_speed=[[1.0] * 4] * 2)
    small_state = large_state._replace(
        robot=small, torque=large_state.torque / 8, foot_height=large_state.foot_height / 2
    )
    for name in ("torques", "torque_limits", "feet_clearance"):
        np.testing.assert_allclose(TERMS[name](small_state, np), TERMS[name](large_state, np))


USER_MODULE = """
from surefoot.tasks.velocity import reward_term

@reward_term(weight=-0.5)
def low_trunk(state, xp):
    return xp.where(state.height < 1.0, 1.0, 0.0)

@reward_term(weight=0.0)
def unused(state, xp):
    return state.height
"""


def test_a_users_module_adds_a_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_reward_terms.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    env = make_env(find_task("anymal-velocity", {"reward_terms": ["my_reward_terms:low_trunk"]}))
    env.reset(seed=0)
    terms = env.step(np.zeros(12))[4]["reward_terms"]
    assert terms["low_trunk"] == pytest.approx(-0.5 * 0.02)
    stronger = find_task("anymal-velocity", {"reward_terms": "my_reward_terms", "weights": {"low_trunk": -3.0}})
    env = make_env(stronger)
    env.reset(seed=0)
    terms = env.step(np.zeros(12))[4]["reward_terms"]
    assert terms["low_trunk"] == pytest.approx(-3 * 0.02)
    assert "unused" not in terms
    assert "low_trunk" not in TERMS
    for module, message in (
        ("my_reward_terms:low_tronk", "has no term 'low_tronk'; did you mean 'low_trunk'"),
        ("no_such_module", "module 'no_such_module' cannot be imported"),
        ("json", "'json' has no function with @reward_term"),
        ("surefoot.tasks.velocity.reward_terms:pose", "which Surefoot already has"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            find_task("anymal-velocity", {"reward_terms": [module]})
        one_line(caught.value)


def test_a_module_that_uses_a_term_of_surefoot_adds_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = USER_MODULE.replace(
        "import reward_term\n", "import reward_term\nfrom surefoot.tasks.velocity.reward_terms import pose\n"
    )
    (tmp_path / "my_reuse.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert [term.name for term in load_terms("my_reuse")] == ["low_trunk", "unused"]


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("wrong", [lambda state, xp: state.gravity, lambda state, xp: xp.mean(state.height), print])
def test_a_term_of_wrong_shape_is_named(wrong, xp) -> None:
    def lean(state, xp):
        return wrong(state, xp)

    with pytest.raises(InputError, match=r"reward term 'lean' has shape .*, not \(2,\)"):
        weighted_terms([reward_term(1.0)(lean)], state(), 0.02, xp)


def test_a_policy_file_alone_imports_no_module() -> None:
    options = {"reward_terms": ["this"]}
    with pytest.raises(InputError, match=r"would import the module 'this'; if you trust it, set task_options.reward"):
        find_policy_task("anymal-velocity", options)
    assert "this" not in sys.modules
    assert find_policy_task("anymal-velocity", options, changes={"reward_terms": []}).action_size == 12
