"""ANYmal C against its published figures."""

from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from surefoot.bodies import anymal_c
from surefoot.bodies.anymal_c import BODY, JOINTS, LEGS, make_scene


def compiled(base: str = "urdf", **servos: float) -> mujoco.MjModel:
    return make_scene(0.002, base=base, **servos).compile()


@pytest.mark.parametrize("base, robot, trunk", [("urdf", 52.13485, 26.37317), ("menagerie", 44.96518, 19.2035)])
def test_masses_are_the_published_ones(base: str, robot: float, trunk: float) -> None:
    model = compiled(base)
    assert model.body_mass.sum() == pytest.approx(robot, abs=1e-5)
    assert model.body("base").mass[0] == pytest.approx(trunk)
    assert model.body("RH_SHANK").mass[0] == pytest.approx(0.58842)


@pytest.mark.parametrize("base", ["urdf", "menagerie"])
def test_inertias_are_the_published_ones(base: str) -> None:
    """MuJoCo stores principal moments and axes; they are rotated back here."""
    model = compiled(base)
    tree = ElementTree.parse(Path(anymal_c.__file__).with_name("anymal_c.xml"))
    known = {
        body.get("name"): [[float(x) for x in body.find("inertial").get(key).split()] for key in ("fullinertia", "pos")]
        for body in tree.iter("body")
    }
    if base == "menagerie":
        known["base"] = [[0.217374, 0.639559, 0.624031, 0, 0, 0], [0.0025, 0, 0.0502071]]
    assert len(known) == 13
    for name, (inertia, centre) in known.items():
        body = model.body(name)
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, body.iquat)
        axes = axes.reshape(3, 3)
        found = axes @ np.diag(body.inertia) @ axes.T
        np.testing.assert_allclose(found[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], inertia, atol=1e-8)
        np.testing.assert_allclose(body.ipos, centre, atol=1e-12)


def test_joints_and_servos_are_the_published_ones() -> None:
    model = compiled()
    assert [model.actuator(i).name for i in range(model.nu)] == list(JOINTS) == list(BODY.joints)
    assert [model.joint(i + 1).name for i in range(12)] == list(JOINTS)
    for joint in JOINTS:
        shoulder = {"L": (-0.72, 0.49), "R": (-0.49, 0.72)}[joint[0]]
        expected = shoulder if joint.endswith("HAA") else (-9.42478, 9.42478)
        assert tuple(model.joint(joint).range) == pytest.approx(expected)
        assert tuple(model.actuator(joint).forcerange) == (-80, 80)
    assert model.opt.timestep == 0.002
    assert BODY.speed_limit == 7.5


# Base heights at which the feet just touch the floor, computed from the makers' figures.
@pytest.mark.parametrize(
    "front, hind, height",
    [
        ((0, 0), (0, 0), 0.63047),
        ((0.4, -0.8), (-0.4, 0.8), 0.5488202),
        ((0.5235988, -0.7853981), (-0.5235988, 0.7853981), 0.5587747),
    ],
)
def test_standing_heights_follow_from_the_leg_lengths(front: tuple, hind: tuple, height: float) -> None:
    model = compiled()
    data = mujoco.MjData(model)
    data.qpos[7:] = [*(0, *front) * 2, *(0, *hind) * 2]
    data.qpos[2] = 1
    mujoco.mj_forward(model, data)
    lowest = [data.geom(f"{leg}_FOOT").xpos[2] - 0.03 for leg in LEGS]
    np.testing.assert_allclose(1 - np.array(lowest), height, atol=2e-7)


def test_left_and_right_are_mirror_images() -> None:
    """Positions and axes exactly; the centre of mass to 0.2 mm."""
    model = compiled()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert len(BODY.joint_pairs) == 6
    for left, right in BODY.joint_pairs:
        place, image = data.joint(left).xanchor, data.joint(right).xanchor
        np.testing.assert_allclose(place * [1, -1, 1], image, atol=1e-12)
        assert place[1] > 0
        np.testing.assert_allclose(data.joint(left).xaxis, data.joint(right).xaxis)
    for left, right in BODY.foot_pairs:
        np.testing.assert_allclose(
            data.geom(f"{left}_FOOT").xpos * [1, -1, 1], data.geom(f"{right}_FOOT").xpos, atol=1e-12
        )
    assert abs(data.subtree_com[1, 1]) < 2e-4


def test_only_feet_and_trunk_collide_with_the_ground_and_no_parts_with_each_other() -> None:
    model = compiled()
    touching = {model.body(model.geom_bodyid[i]).name for i in np.flatnonzero(model.geom_conaffinity)}
    assert touching == {"base", *(f"{leg}_SHANK" for leg in LEGS)}
    shanks = [i for i in np.flatnonzero(model.geom_conaffinity) if "SHANK" in model.body(model.geom_bodyid[i]).name]
    assert sorted(model.geom(i).name for i in shanks) == sorted(geom for foot in BODY.feet for geom in foot.geoms)
    assert not (model.geom_contype[model.geom_bodyid > 0]).any()


def test_stiff_servos_hold_the_standing_pose() -> None:
    """The default servos give way in this pose until the trunk lies down."""
    model = compiled(stiffness=400.0)
    data = mujoco.MjData(model)
    for _ in range(1000):
        data.ctrl[:] = [*(0, 0.4, -0.8) * 2, *(0, -0.4, 0.8) * 2]
        mujoco.mj_step(model, data)
    assert 0.50 < data.qpos[2] < 0.54
    assert {model.geom(i).name for contact in data.contact for i in contact.geom} == {
        "floor",
        *(f"{leg}_FOOT" for leg in LEGS),
    }
