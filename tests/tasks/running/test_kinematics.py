"""Positions, velocities and accelerations of the runner's parts against MuJoCo's and against differences."""

import mujoco
import numpy as np
import pytest

from surefoot.bodies.runner import COORDINATE_INDICES, make_scene
from surefoot.tasks.running.kinematics import Points, chain

SITES = ("head", "torso", "toes_l", "talus_r")


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return make_scene(visuals=False).compile()


@pytest.fixture(scope="module")
def motion() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(1).uniform(-1, 1, (3, 4, 9)))  # ty: ignore


def test_positions_and_velocities_are_mujocos(model, motion) -> None:
    coordinates, speeds, _ = motion
    points, centre, segments = Points(model, SITES), Points(model, None), chain(coordinates, speeds)
    data, velocity = mujoco.MjData(model), np.zeros(6)
    for row in range(4):
        data.qpos[COORDINATE_INDICES], data.qvel[COORDINATE_INDICES] = coordinates[row], speeds[row]
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        positions, velocities = [], []
        for site in SITES:
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_SITE, model.site(site).id, velocity, 0)
            positions += list(data.site(site).xpos[[0, 2]])
            velocities += list(velocity[[3, 5]])
        np.testing.assert_allclose(points.positions(coordinates, segments)[row], positions, atol=1e-9)
        np.testing.assert_allclose(points.velocities(speeds, segments)[row], velocities, atol=1e-9)
        pelvis = model.body("pelvis").id
        np.testing.assert_allclose(centre.positions(coordinates, segments)[row], data.subtree_com[pelvis][[0, 2]])
        np.testing.assert_allclose(centre.velocities(speeds, segments)[row], data.subtree_linvel[pelvis][[0, 2]])


def test_accelerations_are_rates_of_velocities(model, motion) -> None:
    coordinates, speeds, accelerations = motion
    points, step = Points(model, SITES), 1e-5

    def velocities(time: float) -> np.ndarray:
        moved = coordinates + time * speeds + time**2 / 2 * accelerations
        turned = speeds + time * accelerations
        return points.velocities(turned, chain(moved, turned))

    expected = (velocities(step) - velocities(-step)) / (2 * step)
    found = points.accelerations(accelerations, chain(coordinates, speeds, accelerations))
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_model_with_another_joint_is_refused() -> None:
    spec = make_scene(visuals=False)
    spec.body("tibia_r").add_joint(name="slide", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0])
    with pytest.raises(ValueError, match="planar chain"):
        Points(spec.compile(), SITES)
