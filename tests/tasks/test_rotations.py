"""Rotations against MuJoCo's own."""

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from surefoot.tasks import rotations


@pytest.fixture
def quats() -> np.ndarray:
    quat = np.random.default_rng(0).normal(size=(50, 4))
    return quat / np.linalg.norm(quat, axis=1, keepdims=True)


@pytest.mark.parametrize("xp", [np, jnp])
def test_matrices(quats: np.ndarray, xp) -> None:
    expected = np.zeros((50, 9))
    for row, quat in zip(expected, quats, strict=True):
        mujoco.mju_quat2Mat(row, quat)
    np.testing.assert_allclose(rotations.matrices(xp.asarray(quats), xp), expected.reshape(50, 3, 3), atol=1e-6)


@pytest.mark.parametrize("xp", [np, jnp])
def test_vectors_in_the_bodys_axes(quats: np.ndarray, xp) -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 3))
    expected, inverse = np.zeros((50, 3)), quats * [1, -1, -1, -1]
    for row, vector, quat in zip(expected, vectors, inverse, strict=True):
        mujoco.mju_rotVecQuat(row, vector, quat)
    actual = rotations.to_body_frame(xp.asarray(quats), xp.asarray(vectors), xp)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_yaw_is_the_direction_of_the_x_axis(quats: np.ndarray) -> None:
    x_axis = rotations.matrices(quats, np)[:, :, 0]
    np.testing.assert_allclose(rotations.yaw(quats), np.arctan2(x_axis[:, 1], x_axis[:, 0]), atol=1e-12)


def test_right_product(quats: np.ndarray) -> None:
    expected = np.zeros(4)
    for first, second in zip(quats, quats[::-1], strict=True):
        mujoco.mju_mulQuat(expected, first, second)
        np.testing.assert_allclose(rotations.right_product_matrix(second) @ first, expected, atol=1e-12)
