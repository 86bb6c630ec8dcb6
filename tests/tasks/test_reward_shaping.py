"""Shaped rewards against hand-computed ones."""

import numpy as np
import pytest

from surefoot.api import make_recipe
from surefoot.errors import InputError
from surefoot.tasks.catalogue import find_task
from surefoot.tasks.reward_shaping import WrapperSettings, check_wrappers, wrapped_reward

# A fall, a step, a termination without a fall by the reward rule, a reset, a step as costly as a fall.
REWARD = np.array([-100, 0.5, 0.75, 0, -100], np.float32)
TERMINATED = np.array([True, False, True, False, False])
STARTED = np.array([False, False, False, True, False])
ACTION = np.array([[1, -1], [0.5, -0.25], [0, 0], [1, 1], [-1, 0]], np.float32)


@pytest.mark.parametrize(
    "settings, by_reward, by_termination",
    [
        ({}, [-100, 0.5, 0.75, 0, -100], None),
        ({"reward_scale": 4}, [-400, 2, 3, 0, -400], None),
        ({"survival_bonus": 0.25}, [-100, 0.75, 0.75, 0, -99.75], None),
        ({"action_cost": 2}, [-104, -1, 0.75, 0, -102], None),
        ({"action_cost": 2, "reward_scale": 0.5, "fall_reward": -8}, [-4, -0.5, 0.375, 0, -51], [-4, -0.5, -4, 0, -51]),
        ({"fall_reward": -8}, [-8, 0.5, 0.75, 0, -100], [-8, 0.5, -8, 0, -100]),
        ({"fall_reward": 0}, [0, 0.5, 0.75, 0, -100], [0, 0.5, 0, 0, -100]),
        (
            {"reward_scale": 2, "survival_bonus": 0.25, "fall_reward": -8},
            [-16, 1.5, 1.5, 0, -199.5],
            [-16, 1.5, -16, 0, -199.5],
        ),
    ],
)
def test_rewards_equal_hand_computed_ones(settings: dict, by_reward: list, by_termination: list | None) -> None:
    for task, rule, wanted in (
        ("bipedal-walker", "reward", by_reward),
        ("ant", "terminated", by_termination or by_reward),
    ):
        info = find_task(task)
        assert info.fall == rule
        found = wrapped_reward(WrapperSettings(**settings), info, REWARD, TERMINATED, STARTED, ACTION)
        np.testing.assert_array_equal(found, np.float32(wanted), err_msg=task)


def test_fall_reward_needs_a_fall_rule() -> None:
    changes = {"wrappers.fall_reward": -1.0}
    with pytest.raises(InputError, match=r"wrappers\.fall_reward = -1\.0: .* 'Pendulum-v1'"):
        make_recipe("Pendulum-v1", None, changes)
    others = {"wrappers.survival_bonus": 1.0, "wrappers.reward_scale": 0.1}
    assert make_recipe("Pendulum-v1", None, others).wrappers.survival_bonus == 1
    for task in ("bipedal-walker", "ant"):
        assert make_recipe(task, None, changes).wrappers.fall_reward == -1
        check_wrappers(WrapperSettings(fall_reward=-1), find_task(task))


def test_schedule_of_the_action_cost() -> None:
    grown = WrapperSettings(action_cost=0.5, action_cost_from=100, action_cost_until=300)
    assert [grown.action_cost_at(steps) for steps in (0, 99, 100, 200, 300, 10**9)] == [0, 0, 0, 0.25, 0.5, 0.5]
    at_once = WrapperSettings(action_cost=0.5, action_cost_from=100)
    assert [at_once.action_cost_at(steps) for steps in (0, 99, 100, 101)] == [0, 0, 0.5, 0.5]
    assert WrapperSettings(action_cost=0.5).action_cost_at(0) == 0.5
    for algorithm in ("ppo", "ars"):
        with pytest.raises(InputError, match=f"action_cost_from and action_cost_until are not for '{algorithm}'"):
            make_recipe("ant", None, {"algorithm": algorithm, "wrappers.action_cost_from": 5})
    make_recipe("ant", None, {"algorithm": "td3", "wrappers.action_cost_from": 5})
