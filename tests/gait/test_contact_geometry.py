"""Lowest points and ground heights against geometry computed by hand."""

import mujoco
import numpy as np
import pytest

from surefoot.gait.contact_geometry import ground_heights, lowest_points

SHAPES = mujoco.mjtGeom
LEVEL = np.eye(3).reshape(1, 9)
TIPPED = np.array([[0, 0, 1, 0, 1, 0, -1, 0, 0]], float)  # a quarter turn about y: z points along x


@pytest.mark.parametrize(
    "kind, size, rotation, expected",
    [
        (SHAPES.mjGEOM_SPHERE, (0.2, 0, 0), LEVEL, (1, 2, 2.8)),
        (SHAPES.mjGEOM_CAPSULE, (0.2, 0.5, 0), LEVEL, (1, 2, 2.3)),
        (SHAPES.mjGEOM_CAPSULE, (0.2, 0.5, 0), TIPPED, (0.5, 2, 2.8)),
        (SHAPES.mjGEOM_CYLINDER, (0.2, 0.5, 0), LEVEL, (1, 2, 2.5)),
        (SHAPES.mjGEOM_CYLINDER, (0.2, 0.5, 0), TIPPED, (0.5, 2, 2.8)),
        (SHAPES.mjGEOM_BOX, (0.3, 0.1, 0.5), LEVEL, (1, 2, 2.5)),
        (SHAPES.mjGEOM_BOX, (0.3, 0.1, 0.5), TIPPED, (1, 2, 2.7)),
        (SHAPES.mjGEOM_ELLIPSOID, (0.3, 0.1, 0.5), TIPPED, (1, 2, 2.7)),
        (SHAPES.mjGEOM_MESH, (0.3, 0.1, 0.5), LEVEL, (1, 2, np.nan)),
    ],
)
def test_the_lowest_point_of_a_geom(kind, size, rotation, expected):
    point = lowest_points(kind, np.array(size, float), np.array([[1.0, 2.0, 3.0]]), rotation)
    assert point[0] == pytest.approx(expected, nan_ok=True)


def test_a_step_is_higher_than_the_floor_around_it():
    kinds = np.array([SHAPES.mjGEOM_PLANE, SHAPES.mjGEOM_BOX])
    sizes, centres = np.array([[0, 0, 1], [1, 2, 0.15]], float), np.array([[0, 0, 0.01], [5, 0, 0]], float)
    position = np.array([[0, 0], [4.1, 1.9], [4.1, 2.1], [6.1, 0]], float)
    rotations = np.repeat(LEVEL, 2, axis=0)
    assert ground_heights(kinds, sizes, centres, rotations, position).tolist() == [0.01, 0.15, 0.01, 0.01]
    assert np.isnan(ground_heights(kinds, sizes, centres, np.repeat(TIPPED, 2, axis=0), position)).all()
    kinds[1] = SHAPES.mjGEOM_HFIELD
    assert np.isnan(ground_heights(kinds, sizes, centres, rotations, position)).all()
    assert np.isnan(ground_heights(kinds[:0], sizes[:0], centres[:0], rotations[:0], position)).all()
