"""Travel: speeds and turns of synthetic paths, and of a policy on a task."""

import numpy as np
import pytest

from surefoot.evaluation.travel import distance_travelled, heading, measure_travel, summarise_travel, trunk_pose
from surefoot.tasks.catalogue import find_task, make_env

TIME = np.arange(0, 10.01, 0.01)


class Forward:
    """Full throttle on every motor."""

    def __init__(self, size):
        self.size = size

    def predict(self, observation):
        return np.ones(self.size, np.float32), None


def test_distance_does_not_count_sway():
    position = np.stack([2 * TIME, 0.2 * np.sin(2 * np.pi * TIME), np.ones_like(TIME)], axis=1)
    assert distance_travelled(position, 0.01) == pytest.approx(20.0)
    assert distance_travelled(position[:1], 0.01) == 0.0


def test_a_straight_walk_has_equal_speeds_and_no_turn():
    position = np.stack([0.5 * TIME, 0 * TIME], axis=1)
    travel = summarise_travel(position, np.zeros_like(TIME), 0.01)
    assert travel == pytest.approx({"speed_m_s": 0.5, "net_speed_m_s": 0.5, "turn_deg_per_10_s": 0.0})


def test_a_walk_in_circles_turns_and_gets_nowhere():
    angle = 2 * np.pi * 2 * TIME / 10  # two circles of radius 1 m in 10 s
    position = np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    travel = summarise_travel(position, np.angle(np.exp(1j * angle)), 0.01)
    assert travel["turn_deg_per_10_s"] == pytest.approx(720, rel=0.001)
    assert travel["net_speed_m_s"] == pytest.approx(0, abs=0.01)
    assert travel["speed_m_s"] == pytest.approx(2 * np.pi * 2 / 10, rel=0.1)  # straight lines between seconds


def test_the_heading_is_the_angle_about_the_vertical():
    quarter = np.array([[np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)], [np.cos(0.1), 0.0, np.sin(0.1), 0.0]])
    assert heading(quarter) == pytest.approx([np.pi / 2, 0.0])
    somersault = np.array([np.cos(1.2), 0.0, np.sin(1.2), 0.0])
    assert heading(somersault) == 0.0, "a body that moves in a plane does not turn"


@pytest.mark.parametrize("name", ["half-cheetah", "ant", "bipedal-walker"])
def test_travel_of_a_policy(name):
    info = find_task(name, {"max_episode_steps": 40})
    travel = measure_travel(Forward(info.action_size), info, 7, 2)
    assert travel and travel["episodes"] == 2 and 0 <= travel["net_speed_m_s"] < 10
    assert name == "ant" or travel["turn_deg_per_10_s"] == 0.0


def test_the_pose_of_the_trunk_is_that_of_the_simulator():
    env, body = make_env(find_task("ant")), find_task("ant").body
    env.reset(seed=0)
    env.unwrapped.data.qpos[:7] = [3, 4, 0.7, np.cos(0.5), 0, 0, np.sin(0.5)]
    env.step(np.zeros(8, np.float32))
    assert trunk_pose(env, body) == pytest.approx([3, 4, 1.0], abs=0.05)
    env.close()


def test_a_task_without_a_known_body_has_no_travel():
    assert measure_travel(Forward(1), find_task("Pendulum-v1"), 0, 1) is None
