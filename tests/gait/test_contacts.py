"""Gait measures of synthetic contacts against values computed by hand."""

import math

import numpy as np
import pytest

from surefoot.bodies.body import Body, Foot
from surefoot.gait import contacts as gait
from surefoot.gait.gait_names import UNCLEAR, name_gait
from surefoot.tasks.gymnasium import mujoco


def pattern(text, times=1):
    """Contacts from a text: # in contact, . in the air."""
    return np.array([sign == "#" for sign in text * times])


def test_bounces_are_filled_and_short_contacts_remain():
    filled = gait.without_bounces(pattern("..###.###....#....##.."), 0.02, 0.04)
    assert "".join("#" if x else "." for x in filled) == "..#######....#....##.."
    # Two samples of 0.02 s are as long as the shortest swing.
    assert not gait.without_bounces(pattern("##..##"), 0.02, 0.04)[2:4].any()


def test_gaps_at_the_ends_remain():
    assert gait.without_bounces(pattern(".####."), 0.01, 0.04).tolist() == pattern(".####.").tolist()


def test_strides_last_from_landing_to_landing():
    contact = pattern("##...###.....###....#")
    assert gait.find_strides(contact).tolist() == [[5, 13]]  # the last contact is too short: 1 < 0.4 * 3
    assert gait.duty_factors(contact, gait.find_strides(contact)).tolist() == [3 / 8]


def test_a_short_contact_starts_no_stride_but_counts_as_contact():
    contact = pattern("..#####..#..", 3)
    assert gait.find_strides(contact).tolist() == [[2, 14], [14, 26]]
    assert gait.duty_factors(contact, gait.find_strides(contact)) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("contact", ["", "......", "######", "...###", "###..."])
def test_without_steps_there_are_no_strides(contact):
    strides = gait.find_strides(pattern(contact))
    assert strides.shape == (0, 2) and gait.steady(strides).shape == (0, 2)
    assert len(gait.duty_factors(pattern(contact), strides)) == 0


def test_strides_of_unusual_length_are_left_out():
    strides = np.array([[0, 10], [10, 21], [21, 30], [30, 55], [55, 59]])
    assert gait.steady(strides).tolist() == [[0, 10], [10, 21], [21, 30]]


def test_phase_lags_of_feet_a_quarter_half_and_three_quarters_behind():
    first = pattern("####....", 6)
    strides = gait.find_strides(np.concatenate([[False], first]))
    shifted = {lag: np.concatenate([[False], np.roll(first, lag)]) for lag in (0, 2, 4, 6)}
    for samples, contact in shifted.items():
        lags = gait.phase_lags(contact, shifted[0], strides)
        mean, agreement = gait.circular_mean(lags)
        assert len(lags) == len(strides) == 5
        assert mean == pytest.approx(samples / 8) and agreement == pytest.approx(1)


def test_mid_stance_is_the_mean_of_a_double_step():
    reference, other = pattern("####............", 4), pattern("........##..##..", 4)
    strides = np.array([[0, 16], [16, 32]])
    # Mid-stance at samples 1.5 and 10.5 of 16.
    assert gait.phase_lags(other, reference, strides) == pytest.approx([9 / 16, 9 / 16])
    assert len(gait.phase_lags(np.zeros(64, bool), reference, strides)) == 0


def test_the_mean_of_phases_is_circular():
    mean, agreement = gait.circular_mean(np.array([0.95, 0.05]))
    assert mean == 0.0 and agreement == pytest.approx(math.cos(0.1 * math.pi))
    assert gait.circular_mean(np.array([0.0, 0.5]))[1] == pytest.approx(0, abs=1e-12)
    assert math.isnan(gait.circular_mean(np.zeros(0))[0])
    assert gait.phase_distance(0.9, 0.1) == pytest.approx(0.2) and gait.phase_distance(0.2, 0.7) == pytest.approx(0.5)


def test_cycles_are_resampled_to_101_points():
    values = np.arange(31.0)[:, None] * [1.0, -2.0]
    cycles = gait.over_cycle(values, np.array([[0, 10], [10, 30]]))
    assert cycles.shape == (2, 101, 2)
    assert cycles[0, :, 0] == pytest.approx(np.linspace(0, 10, 101))
    assert cycles[1, :, 1] == pytest.approx(np.linspace(-20, -60, 101))
    assert gait.over_cycle(values[:, 0], np.array([[10, 30]]))[0, 50] == pytest.approx(20)


def test_stride_length_is_horizontal():
    position = np.array([[0.0, 0.0, 9.0], [3.0, 4.0, 1.0], [3.0, 4.5, 7.0]])
    assert gait.stride_lengths(position, np.array([[0, 1], [1, 2]])).tolist() == [5.0, 0.5]


def test_swings_have_a_peak_and_a_mid_swing_clearance():
    height = np.array([0, 0, 1, 3, 2, 4, 6, 5, 2, 1, 0, 0, 9])
    contact = pattern("##........##.")
    peaks, clearances = gait.swing_heights(height, contact)
    assert peaks.tolist() == [6] and clearances.tolist() == [2]  # the middle half is 2 4 6 5
    assert [len(part) for part in gait.swing_heights(height, np.ones(13, bool))] == [0, 0]


def test_support_fractions_add_up_to_one():
    contact = np.stack([pattern("##......"), pattern(".##....."), pattern("........")], axis=1)
    assert gait.support_fractions(contact).tolist() == [5 / 8, 2 / 8, 1 / 8, 0]


def test_symmetry_index():
    assert gait.symmetry_index(0.9, 1.1) == pytest.approx(20)
    assert gait.symmetry_index(1.1, 0.9) == pytest.approx(-20)
    assert math.isnan(gait.symmetry_index(0.0, 0.0)) and math.isnan(gait.symmetry_index(1.0, -1.0))


def test_work_and_cost_of_transport():
    torque = np.array([[10.0, 0.0], [10.0, -5.0]])
    speed = np.array([[2.0, 7.0], [-1.0, -4.0]])
    # Powers 20, 0, -10, 20 W for half a second each.
    assert gait.joint_work(torque, speed, 0.5) == (20.0, 25.0)
    assert gait.cost_of_transport(98.1, 5.0, 9.81, 2.0) == pytest.approx(1.0)
    assert math.isnan(gait.cost_of_transport(98.1, 5.0, 9.81, 0.01))


DOG = Body("dog", "trunk", (), tuple(Foot(name, (name,)) for name in ("LF", "RF", "LH", "RH")))
FOREIGN_DOG = Body("dog", "trunk", (), tuple(Foot(name, (name,)) for name in ("FL", "FR", "RL", "RR")))
BIPED = mujoco.Walker2d.body
CHEETAH = mujoco.HalfCheetah.body
HOPPER = mujoco.Hopper.body


@pytest.mark.parametrize(
    "body, lags, duty, flight, name",
    [
        (DOG, (0, 0.5, 0.5, 0), 0.4, 0.1, "trot"),
        (FOREIGN_DOG, (0, 0.5, 0.5, 0), 0.4, 0.1, "trot"),
        (FOREIGN_DOG, (0, 0.5, 0.05, 0.55), 0.4, 0.1, "pace"),
        (DOG, (0, 0.5, 0.05, 0.55), 0.4, 0.1, "pace"),
        (DOG, (0, 0.95, 0.5, 0.52), 0.4, 0.1, "bound"),
        (DOG, (0, 0.05, 0.02, 0.97), 0.4, 0.5, "pronk"),
        (DOG, (0, 0.5, 0.75, 0.25), 0.7, 0.0, "walk"),
        (DOG, (0, 0.5, 0.75, 0.25), 0.4, 0.0, "amble"),  # duty factor too low for a walk
        (DOG, (0, 0.5, 0.69, 0.19), 0.2, 0.3, "amble"),
        (DOG, (0, 0.5, 0.62, 0.12), 0.2, 0.3, UNCLEAR),
        (DOG, (0, 0.3, 0.5, 0.8), 0.4, 0.0, UNCLEAR),
        (DOG, (0, 0.5, None, 0), 0.4, 0.0, UNCLEAR),
        (BIPED, (0, 0.5), 0.6, 0.0, "walk"),
        (BIPED, (0.2, 0.75), 0.3, 0.2, "run"),
        (BIPED, (0, 0.97), 0.3, 0.2, "hop on both feet"),
        (BIPED, (0, 0.25), 0.3, 0.2, UNCLEAR),
        (CHEETAH, (0, 0.5), 0.3, 0.2, "bound"),
        (CHEETAH, (0, 0.02), 0.3, 0.2, "pronk"),
        (CHEETAH, (0, 0.15), 0.3, 0.2, UNCLEAR),
        (HOPPER, (0,), 0.3, 0.2, "hop"),
        (HOPPER, (0,), 1.0, 0.0, UNCLEAR),
    ],
)
def test_gaits_are_classified_by_phase_and_duty_factor(body, lags, duty, flight, name):
    assert name_gait(body, dict(zip([foot.name for foot in body.feet], lags, strict=True)), duty, flight) == name
