"""Each term of the reward against numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.tasks.velocity.reward_terms import TERMS, WEIGHTS, Moment, merged_weights, weighted_terms


def moments(**changes) -> Moment:
    """Two copies that stand still, with what is given put in their place."""
    still = dict.fromkeys(("velocity", "rate", "command"), np.zeros((2, 3)))
    joints = ("joint", "joint_velocity", "joint_acceleration", "beyond", "torque", "action", "action_before")
    still |= dict.fromkeys(joints, np.zeros((2, 12)))
    still |= dict.fromkeys(("foot_height", "foot_speed", "air_time"), np.zeros((2, 4)))
    still |= {"gravity": np.tile([0.0, 0, -1], (2, 1)), "standing": np.array([True, True])}
    still |= {
        "torque_limit": 80.0,
        "speed_limit": 7.5,
        "contact": np.ones((2, 4)),
        "knee_height": np.full((2, 4), 0.3),
        "stance": None,
        "rise": 0.0,
    }
    return Moment(**{**still, **{name: np.asarray(value) for name, value in changes.items()}})


def twelve(*values: float) -> np.ndarray:
    """Both copies' joints: the first has the values, the second has the last of them everywhere."""
    first = np.zeros(12)
    first[: len(values)] = values
    return np.stack([first, np.full(12, values[-1])])


WALK = {"command": [[1.0, 0, 0.5], [0.0, 0.5, 0]], "standing": [False, False]}


@pytest.mark.parametrize(
    "name, changes, wanted",
    [
        ("tracking_lin_vel", WALK | {"velocity": [[0.7, 0.4, 9], [0, 0.5, 0]]}, [np.exp(-(0.09 + 0.16) / 0.25), 1]),
        ("tracking_ang_vel", WALK | {"rate": [[9, 9, 1.0], [9, 9, -0.2]]}, [np.exp(-1), np.exp(-0.16)]),
        ("gait", WALK | {"stance": [[1, 0, 0, 1]] * 2, "contact": [[1, 0, 0, 1], [0, 0, 1, 1]]}, [1, 0.5]),
        ("gait", {"stance": [[1, 0, 0, 1]] * 2, "contact": [[1, 1, 1, 1], [1, 0, 0, 1]]}, [1, 0.5]),
        ("gait", {}, [0, 0]),
        ("lin_vel_z", {"velocity": [[9, 9, -0.2], [9, 9, 3]]}, [0.04, 9]),
        ("ang_vel_xy", {"rate": [[0.3, -0.4, 9], [1, 0, 0]]}, [0.25, 1]),
        ("orientation", {"gravity": [[0.3, 0.4, -0.8], [0, 0, -1]]}, [0.25, 0]),
        ("torques", {"torque": twelve(3, -4)}, [25, 12 * 16]),
        ("energy", {"torque": twelve(3, -4), "joint_velocity": twelve(2, 1)}, [10, 48]),
        ("dof_acc", {"joint_acceleration": twelve(10, -20)}, [500, 12 * 400]),
        ("action_rate", {"action": twelve(0.5, 1), "action_before": twelve(-0.5, 0.5)}, [1.25, 3]),
        ("joint_limits", {"beyond": twelve(0.1, 0.2)}, [0.3, 2.4]),
        ("torque_limits", {"torque": twelve(-80, 75, 72)}, [8 + 3, 0]),
        ("speed_limits", {"joint_velocity": twelve(-8, 7.5, 6.75)}, [1.25 + 0.75, 0]),
        ("collision", {"knee_height": [[0.05, 0.07, 0.3, 0.01], [0.1] * 4]}, [2, 0]),
        ("feet_air_time", WALK | {"air_time": [[0.7, 0.4, 0, 0], [0, 0, 0, 0]]}, [0.2 - 0.1, 0]),
        ("feet_air_time", {"air_time": [[0.7, 0.4, 0, 0], [0, 0, 0, 1]]}, [0, 0]),
        ("feet_clearance", {"foot_height": [[0.1, 0.05, 0, 0]] * 2, "foot_speed": [[4, 1, 0, 0], [0] * 4]}, [0.07, 0]),
        # Over a step of 5 cm that is ahead, a foot has to be 13 cm high.
        (
            "feet_clearance",
            {
                "foot_height": [[0.1] * 4] * 2,
                "foot_speed": [[4, 1, 0, 0], [4, 1, 0, 0]],
                "rise": [[0.05, 0, 1, 1], [0] * 4],
            },
            [0.06 + 0.02, 0.04 + 0.02],
        ),
        ("feet_slip", {"foot_speed": [[2, 1, 3, 0], [1] * 4], "contact": [[1, 1, 0, 0], [1] * 4]}, [5, 4]),
        ("stand_still", {"joint": twelve(0.1, -0.2), "standing": [True, False]}, [0.3, 0]),
        ("pose", {"joint": twelve(0.3, 9, 9, -0.1)}, [0.1, 0.04]),
    ],
)
def test_terms_are_what_they_say(name: str, changes: dict, wanted: list) -> None:
    moment = moments(**changes)
    np.testing.assert_allclose(TERMS[name](moment, np), wanted, atol=1e-12)
    np.testing.assert_allclose(TERMS[name](moment, jnp), wanted, rtol=1e-5)
    plus = {name: 2.0}
    np.testing.assert_allclose(weighted_terms(moment, plus, 0.02, np)[name], np.array(wanted) * 0.04, atol=1e-9)


def test_weights_are_merged_and_those_of_none_left_out() -> None:
    found = merged_weights({"energy": 0, "pose": -3}, {"gait": 0.0, "feet_air_time": 2.0})
    assert set(found) == set(WEIGHTS) - {"energy", "gait"}
    assert (found["pose"], found["feet_air_time"], found["lin_vel_z"]) == (-3, 2, WEIGHTS["lin_vel_z"])
    assert set(WEIGHTS) == set(TERMS)
