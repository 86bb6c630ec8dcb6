"""The muscle runner against the figures of gait9dof18musc."""

import csv
from pathlib import Path

import mujoco
import numpy as np
import pytest

from surefoot.bodies.runner import (
    COORDINATE_INDICES,
    COORDINATES,
    DEFAULT_POSE,
    LEG_JOINTS,
    MUSCLES,
    limit_torques,
    make_scene,
)
from surefoot.bodies.runner_figures import fitted

HIP, KNEE, ANKLE = (COORDINATES.index(f"{joint}_r") for joint in ("hip", "knee", "ankle"))


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return make_scene().compile()


def posed(model: mujoco.MjModel, pose: np.ndarray) -> mujoco.MjData:
    """Return the state at rest with the coordinates `pose`, in the order of `COORDINATES`."""
    data = mujoco.MjData(model)
    data.qpos[COORDINATE_INDICES] = pose
    mujoco.mj_forward(model, data)
    return data


def moment_arms(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return minus the derivative of each tendon's length by each coordinate, m; (18, 9)."""
    arms = np.zeros((model.ntendon, model.nv))
    pattern = model.ten_J_rownnz, model.ten_J_rowadr, model.ten_J_colind
    mujoco.mju_sparse2dense(arms, data.ten_J.ravel(), *(part.ravel() for part in pattern))
    return -arms[:, COORDINATE_INDICES]


def test_names_of_coordinates_muscles_and_tendons(model: mujoco.MjModel) -> None:
    assert tuple(model.joint(i).name for i in COORDINATE_INDICES) == COORDINATES
    assert tuple(model.actuator(i).name for i in range(model.nu)) == MUSCLES
    assert tuple(model.tendon(i).name for i in range(model.ntendon)) == MUSCLES
    assert model.na == 18


def test_mass_and_centre_of_mass(model: mujoco.MjModel) -> None:
    assert model.body_mass.sum() == pytest.approx(79.6646, abs=1e-9)
    np.testing.assert_allclose(posed(model, DEFAULT_POSE).subtree_com[0], [-0.069734, 0, 0.970769], atol=2e-4)


def test_inertia_of_the_trunk_is_the_sum_of_its_parts(model: mujoco.MjModel) -> None:
    """About the axis of the lumbar joint, by hand: parallel axes of pelvis, torso and head."""
    turn = np.exp(-0.139626j)
    masses = np.array([11.777, 34.2366, 4.5])
    centres = np.array([-0.0707, -0.1007 + 0.0815j + turn * (-0.03 + 0.32j), -0.1007 + 0.0815j + turn * 0.55j])
    centre = (masses * centres).sum() / masses.sum()
    inertia = 0.0579 + 1.4314 + (masses * abs(centres - centre) ** 2).sum()
    pelvis = model.body("pelvis")
    assert pelvis.mass[0] == pytest.approx(masses.sum())
    np.testing.assert_allclose(pelvis.ipos, [centre.real, 0, centre.imag], atol=1e-9)
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, pelvis.iquat)
    assert axes.reshape(3, 3)[1] ** 2 @ pelvis.inertia == pytest.approx(inertia)


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


def test_muscle_lengths_and_moment_arms(model: mujoco.MjModel) -> None:
    """Root mean square and largest error, in mm, of lengths and moment arms over a joint's range."""
    rows = Path(__file__).with_name("gait9dof18musc_mtu.csv").read_text().splitlines()
    errors: dict[str, list[tuple[float, float]]] = {}
    for row in csv.DictReader(line for line in rows if not line.startswith("#")):
        pose = np.zeros(9)
        coordinate = {"hip": HIP, "knee": KNEE, "ankle": ANKLE}[row["joint"]]
        pose[coordinate] = np.radians(float(row["angle_deg"]))
        data, muscle = posed(model, pose), MUSCLES.index(f"{row['muscle']}_r")
        length = data.ten_length[muscle] - fitted()["muscles"][row["muscle"]]["path_excess"]
        arm = moment_arms(model, data)[muscle, coordinate]
        errors.setdefault(f"{row['muscle']} {row['joint']}", []).append(
            (length - float(row["length"]), arm - float(row["moment_arm"]))
        )
    for name, pairs in errors.items():
        length, arm = 1e3 * np.sqrt(np.square(pairs).mean(0))
        assert length < 0.8 and arm < 2.6, name
        assert 1e3 * np.abs(pairs).max() < (7 if arm > 1 else 3), name
        if name in ("glut_max hip", "soleus ankle", "tib_ant ankle"):  # paths of fixed points
            assert length < 0.02 and arm < 0.1, name


def test_left_and_right_are_mirror_images(model: mujoco.MjModel) -> None:
    random = np.random.default_rng(0)
    pose, activation = random.uniform(-0.6, 0.6, 9), random.uniform(0, 1, 18)
    torques = []
    for swapped in (False, True):
        data = mujoco.MjData(model)
        legs = [3, 4, 5, 6, 7, 8]
        data.qpos[COORDINATE_INDICES[:3]] = 0, 0, 2
        data.qpos[COORDINATE_INDICES[3:]] = pose[legs[3:] + legs[:3]] if swapped else pose[legs]
        data.act[:] = np.roll(activation, 9) if swapped else activation
        mujoco.mj_forward(model, data)
        torque = data.qacc[COORDINATE_INDICES]
        torques.append(np.concatenate([torque[:3], torque[[6, 7, 8, 3, 4, 5] if swapped else legs]]))
    np.testing.assert_allclose(torques[0], torques[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "joint, angle_deg, speed, expected",
    [
        ("hip_r", 0, 5, 0),
        ("hip_l", -45, 0, 1145.9156 * np.radians(15)),
        ("knee_r", 15, 0, -0.5 * 1145.9156 * np.radians(5)),  # halfway through the smooth step
        ("knee_r", 25, 2, -1145.9156 * np.radians(15) - 2 * 14.323945),
        ("ankle_l", 40, -1, -1145.9156 * np.radians(20) + 14.323945),
    ],
)
def test_limit_torques_against_the_law(joint: str, angle_deg: float, speed: float, expected: float) -> None:
    angles, speeds = np.zeros(6), np.zeros(6)
    angles[LEG_JOINTS.index(joint)], speeds[LEG_JOINTS.index(joint)] = np.radians(angle_deg), speed
    torques = limit_torques(angles, speeds)
    assert torques[LEG_JOINTS.index(joint)] == pytest.approx(expected, rel=1e-6)
    assert np.count_nonzero(torques) == (expected != 0)


def hunt_crossley(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return the generalised forces of OpenSim's contact of the four spheres, (9,), in the order of `qvel`."""
    forces, jacobian = np.zeros(9), np.zeros((3, 9))
    for name in ("heel_r", "toe_r", "heel_l", "toe_l"):
        centre = data.geom(name).xpos
        depth = 0.05 - centre[2]
        if depth <= 0:
            continue
        point = np.array([centre[0], centre[1], -depth / 2])
        mujoco.mj_jac(model, data, jacobian, None, point, model.geom(name).bodyid[0])
        velocity = jacobian @ data.qvel
        normal = 63245.553 * depth**1.5 * max(0, 1 - 2.25 * velocity[2])
        friction = -0.8 * normal * np.clip(velocity[0] / 0.1, -1, 1)
        forces += jacobian.T @ [friction, 0, normal]
    return forces


def moved(start: np.ndarray, seconds: float, exact: bool) -> np.ndarray:
    """Return the coordinates after some time without muscles, from rest; `exact` with OpenSim's contact and limits."""
    model = make_scene(1e-4 if exact else 0.005, visuals=False).compile()
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ACTUATION)
    if exact:
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    data, joints = posed(model, start), COORDINATE_INDICES[3:]
    for _ in range(round(seconds / model.opt.timestep)):
        if exact:
            mujoco.mj_step1(model, data)
            data.qfrc_applied[:] = hunt_crossley(model, data)
            data.qfrc_applied[joints] += limit_torques(data.qpos[joints], data.qvel[joints])
            mujoco.mj_step2(model, data)
        else:
            mujoco.mj_step(model, data)
    return data.qpos[COORDINATE_INDICES]


@pytest.mark.parametrize(
    "changes, seconds, metres, radians",
    [
        ({}, 0.1, 0.01, 0.1),  # the contest's pose, in which the feet are 3 and 4 cm in the floor
        ({"pelvis_ty": 0.95, "hip_l": 0.6, "knee_l": -0.8}, 0.2, 0.01, 0.15),  # falls on the right foot
        ({"pelvis_ty": 2, "hip_r": -0.8}, 0.04, 0.01, 0.05),  # in the air, a hip beyond its limit
        ({"pelvis_ty": 2, "knee_r": 0.4}, 0.04, 0.01, 0.05),
    ],
)
def test_contact_and_limits_move_the_body_as_opensims(
    changes: dict[str, float], seconds: float, metres: float, radians: float
) -> None:
    start = DEFAULT_POSE.copy()
    for name, value in changes.items():
        start[COORDINATES.index(name)] = value
    expected, found = (moved(start, seconds, exact) for exact in (True, False))
    assert np.abs(expected - start).max() > 0.1
    np.testing.assert_allclose(found[1:3], expected[1:3], atol=metres)
    angles = [0, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(found[angles], expected[angles], atol=radians)
