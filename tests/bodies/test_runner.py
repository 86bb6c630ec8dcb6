"""The muscle runner against the figures of gait9dof18musc."""

import mujoco
import numpy as np
import pytest

from surefoot.bodies.runner import COORDINATE_INDICES, COORDINATES, DEFAULT_POSE, LIMITS, MUSCLES, make_scene


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return make_scene().compile()


def posed(model: mujoco.MjModel, pose: np.ndarray) -> mujoco.MjData:
    """Return the state at rest with the coordinates `pose`, in the order of `COORDINATES`."""
    data = mujoco.MjData(model)
    data.qpos[COORDINATE_INDICES] = pose
    mujoco.mj_forward(model, data)
    return data


def test_names_of_coordinates_muscles_and_tendons(model: mujoco.MjModel) -> None:
    assert tuple(model.joint(i).name for i in COORDINATE_INDICES) == COORDINATES
    assert tuple(model.actuator(i).name for i in range(model.nu)) == MUSCLES
    assert tuple(model.tendon(i).name for i in range(model.ntendon)) == MUSCLES + LIMITS
    assert model.na == 18


def test_mass_and_centre_of_mass(model: mujoco.MjModel) -> None:
    assert model.body_mass.sum() == pytest.approx(79.6646, abs=1e-9)
    np.testing.assert_allclose(posed(model, DEFAULT_POSE).subtree_com[0], [-0.069734, 0, 0.970769], atol=2e-4)


def test_origins_of_the_parts_at_the_default_pose(model: mujoco.MjModel) -> None:
    data = posed(model, DEFAULT_POSE)
    for name, (x, z, right) in {
        "pelvis": (0, 0.91, 0),
        "torso": (-0.096501, 0.996431, 0),
        "head": (0.00717, 1.536572, 0),
        "femur_r": (-0.073915, 0.847516, 0.0835),
        "tibia_l": (-0.098192, 0.452415, -0.0835),
        "talus_r": (-0.119683, 0.022952, 0.0835),
        "toes_l": (0.007988, -0.027441, -0.0925),
    }.items():
        # The hinge that replaces the knee's moving axis displaces shank and foot.
        atol = 1e-3 if name[:-2] in ("tibia", "talus", "toes") else 1e-6
        np.testing.assert_allclose(data.site(name).xpos, [x, -right, z], atol=atol, err_msg=name)
