"""Loading of bodies: detection of parts, TOML descriptions, and errors for invalid input."""

import contextlib
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from helpers import walkers
from helpers.messages import one_line
from surefoot.bodies.loader import LoadedBody, load_body
from surefoot.bodies.servos import _joint_inertias
from surefoot.bodies.symmetry import find_partners, is_swap, standing
from surefoot.errors import InputError


def load(folder: Path, text: str, ending: str = ".xml", description: str | None = None) -> LoadedBody:
    model = folder / f"model{ending}"
    model.write_text(text)
    if description is None:
        return load_body(str(model))
    path = folder / "body.toml"
    path.write_text(f'model = "{model.name}"\n{description}')
    return load_body(str(path))


def lowest(model: mujoco.MjModel, qpos: np.ndarray) -> float:
    """Height of the lowest point of a model of boxes, spheres and capsules."""
    data = standing(model, qpos)
    found = []
    for geom in np.flatnonzero(model.geom_bodyid):
        size, up = model.geom_size[geom], data.geom_xmat[geom].reshape(3, 3)[2]
        if model.geom_type[geom] == int(mujoco.mjtGeom.mjGEOM_BOX):
            reach = np.abs(up) @ size
        else:
            reach = size[0] + abs(up[2]) * size[1]
        found.append(data.geom_xpos[geom, 2] - reach)
    return min(found)


@pytest.mark.parametrize("option", ['integrator="Euler"', 'integrator="RK4" solver="PGS" iterations="50"'])
def test_integrator_and_solver_fit_the_servos(tmp_path: Path, option: str) -> None:
    """Gymnasium's Humanoid has the second: with its own options it is simulated at a third of the speed."""
    model = load(tmp_path, walkers.biped().replace("<option ", f"<option {option} ")).spec.compile()
    assert model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
    assert model.opt.solver == int(mujoco.mjtSolver.mjSOL_NEWTON)


def test_torque_motors_are_replaced_by_servos_and_a_floor_is_added(tmp_path: Path) -> None:
    spec, body, pose = load(tmp_path, walkers.biped())
    model = spec.compile()
    assert (body.name, body.trunk) == ("small biped", "pelvis")
    legs = [f"{side}_{joint}" for side in ("left", "right") for joint in ("hip_roll", "hip_pitch", "knee")]
    assert body.joints == ("waist", *legs)
    assert [(foot.name, foot.geoms) for foot in body.feet] == [("left", ("left_foot",)), ("right", ("right_foot",))]
    assert body.joint_pairs == tuple(zip(legs[:3], legs[3:], strict=True))
    assert body.foot_pairs == (("left", "right"),)
    assert [model.actuator(i).name for i in range(model.nu)] == list(body.joints)
    assert model.actuator_forcerange[:, 1].tolist() == [20, *[40] * 6]
    limits, weight = model.actuator_forcerange[:, 1], model.body_subtreemass[0] * 9.81
    expected = np.clip(weight * pose.height_m, limits / 0.6, limits / 0.2)
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], expected, rtol=1e-6)
    assert (model.actuator_biasprm[:, 2] < 0).all(), "servos are damped"
    assert pose.height_m == pytest.approx(0.15 + 0.3 + 0.33)
    assert lowest(model, pose.qpos) == pytest.approx(0, abs=1e-6)
    assert model.geom("scenery/floor").type[0] == int(mujoco.mjtGeom.mjGEOM_PLANE)
    images = [("waist", -1), *zip((*legs[3:], *legs[:3]), [-1, 1, 1] * 2, strict=True), ("right", 1), ("left", 1)]
    assert find_partners(model, pose.qpos, body) == dict(zip((*body.joints, "left", "right"), images, strict=True))


@pytest.mark.parametrize("gravity, error", [(0.1, 0.6), (500, 0.2)])
def test_servos_of_weak_motors_are_stiffer(tmp_path: Path, gravity: float, error: float) -> None:
    """Servos of motors that hardly hold the body use all of their torque at a smaller error."""
    text = walkers.biped().replace("<option ", f'<option gravity="0 0 {-gravity}" ')
    model = load(tmp_path, text).spec.compile()
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], model.actuator_forcerange[:, 1] / error)


def test_damping_depends_on_the_inertia_that_moves_while_the_trunk_is_free() -> None:
    """A wheel of inertia b on a free trunk of inertia a turns against it as an inertia of a b / (a + b)."""
    inertial = '<inertial pos="0 0 0" mass="{}" diaginertia="{} {} {}"/>'
    wheel = f'<body><joint axis="0 1 0"/>{inertial.format(1, 0.3, 0.3, 0.3)}</body>'
    trunk = f"<body>{{}}{inertial.format(2, 0.2, 0.2, 0.2)}{wheel}</body>"
    for joint, expected in (("<freejoint/>", 0.2 * 0.3 / 0.5), ("", 0.3)):
        model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{trunk.format(joint)}</worldbody></mujoco>")
        assert _joint_inertias(model)[-1] == pytest.approx(expected)


def test_a_urdf_gets_a_free_joint_and_servos_and_keeps_the_names_of_its_feet(tmp_path: Path) -> None:
    spec, body, pose = load(tmp_path, walkers.urdf_biped(), ".urdf")
    model = spec.compile()
    assert body.trunk == "base_link"
    assert (model.nq, model.nv) == (11, 10)
    assert body.joints == ("L_hip", "L_knee", "R_hip", "R_knee")
    assert [foot.name for foot in body.feet] == ["L", "R"]
    for foot in body.feet:
        assert model.body(model.geom(foot.geoms[0]).bodyid[0]).name == f"{foot.name}_foot"
    assert body.joint_pairs == (("L_hip", "R_hip"), ("L_knee", "R_knee"))
    assert body.foot_pairs == (("L", "R"),)
    assert pose.height_m == pytest.approx(0.15 + 0.28 + 0.28 + 0.02)
    assert (model.actuator_forcerange[:, 1] == 30).all(), "the effort limit of the file"
    data = standing(model, pose.qpos)
    for _ in range(100):
        data.ctrl[:] = pose.ctrl
        mujoco.mj_step(model, data)
    assert data.qpos[2] == pytest.approx(pose.height_m, abs=0.03)


def test_servos_floor_and_home_keyframe_of_a_model_are_kept(tmp_path: Path) -> None:
    spec, body, pose = load(tmp_path, walkers.quadruped())
    model = spec.compile()
    assert [foot.name for foot in body.feet] == ["FL", "FR", "RL", "RR"]
    for foot in body.feet:
        assert len(foot.geoms) == 1
        assert model.geom(foot.geoms[0]).type[0] == int(mujoco.mjtGeom.mjGEOM_SPHERE), "not the calf above it"
    assert body.foot_pairs == (("FL", "FR"), ("RL", "RR"))
    assert len(body.joint_pairs) == 6
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], 60)
    np.testing.assert_allclose(model.actuator_biasprm[:, 1:3], [[-60, -2]] * 12)
    np.testing.assert_allclose(pose.ctrl, [0, 0.8, -1.5] * 4)
    np.testing.assert_allclose(pose.qpos[7:], [0, 0.8, -1.5] * 4)
    assert sum(kind == int(mujoco.mjtGeom.mjGEOM_PLANE) for kind in model.geom_type) == 1
    assert lowest(model, pose.qpos) == pytest.approx(0.5, abs=1e-6), "the file's floor is half a metre up"
    assert pose.qpos[2] - pose.height_m == pytest.approx(0.5)


def test_without_a_keyframe_joints_are_at_zero_or_their_nearest_limit(tmp_path: Path) -> None:
    _, _, pose = load(tmp_path, walkers.quadruped(keyframe=False, floor=False))
    np.testing.assert_allclose(pose.qpos[7:], [0, 0, np.radians(-30)] * 4)


def test_a_body_is_turned_to_face_along_x(tmp_path: Path) -> None:
    for turn in ("1 0 0 1", "0 0 0 1", "1 0 0 -0.5"):
        spec, body, pose = load(tmp_path, walkers.quadruped(keyframe=False, turn=turn))
        data = standing(spec.compile(), pose.qpos)
        np.testing.assert_allclose(data.body("trunk").xmat, np.eye(3).ravel(), atol=1e-9)
        assert len(body.joint_pairs) == 6


def test_wheels_are_not_feet(tmp_path: Path) -> None:
    _, body, _ = load(tmp_path, walkers.quadruped(wheels=True, keyframe=False))
    assert [foot.name for foot in body.feet] == ["FL", "FR"]


@pytest.mark.parametrize(
    "text, ending",
    [(walkers.quadruped(), ".xml"), (walkers.quadruped(floor=False), ".xml"), (walkers.urdf_biped(), ".urdf")],
    ids=["with a floor", "without a floor", "URDF"],
)
def test_a_body_without_sky_and_light_gets_both(tmp_path: Path, text: str, ending: str) -> None:
    assert "skybox" not in text
    model = load(tmp_path, text, ending).spec.compile()
    assert int(mujoco.mjtTexture.mjTEXTURE_SKYBOX) in model.tex_type and model.nlight == 1


def test_feet_with_other_names_are_the_links_near_the_floor(tmp_path: Path) -> None:
    text = walkers.biped(feet="end").replace("shin", "stick")
    _, body, _ = load(tmp_path, text)
    assert [foot.geoms for foot in body.feet] == [("left_end",), ("right_end",)]


def test_pairs_of_names_need_mirrored_geometry(tmp_path: Path) -> None:
    spec, body, pose = load(tmp_path, walkers.biped(shift=0.1))
    assert body.joint_pairs == () == body.foot_pairs
    assert find_partners(spec.compile(), pose.qpos, body) is None


@pytest.mark.parametrize(
    "left, right",
    [("left_hip", "right_hip"), ("l_hip", "r_hip"), ("LF_HAA", "RF_HAA"), ("RL_calf", "RR_calf"), ("HipL", "HipR")],
)
def test_left_and_right_are_read_from_names(left: str, right: str) -> None:
    assert is_swap(left, right)
    assert not is_swap(right, left)
    assert not is_swap(left, left)
    assert not is_swap(left, right + "2")


def test_a_description_overrides_detection(tmp_path: Path) -> None:
    description = """
        name = "Strider"
        joints = ["right_knee", "left_knee"]
        feet = ["right_shin", "left_foot"]
        joint_pairs = [["left_knee", "right_knee"]]
        foot_pairs = []
        kp = 70.0
        speed_limit = 21.0
        kd = { left_knee = 3.0 }
        pose = { left_knee = 0.3, right_knee = 0.3, waist = 0.1 }
    """
    spec, body, pose = load(tmp_path, walkers.biped(), description=description)
    model = spec.compile()
    assert (body.name, body.joints) == ("Strider", ("right_knee", "left_knee"))
    assert [foot.name for foot in body.feet] == ["right_shin", "left_foot"]
    assert [len(foot.geoms) for foot in body.feet] == [2, 1]
    assert body.foot_pairs == ()
    assert body.speed_limit == 21
    assert (model.actuator_gainprm[:, 0] == 70).all()
    assert model.actuator("left_knee").biasprm[2] == -3
    assert model.nu == 7, "other actuated joints are held"
    held = {model.actuator(i).name: pose.ctrl[i] for i in range(model.nu)}
    assert (held["waist"], held["left_knee"], held["left_hip_roll"]) == (0.1, 0.3, 0)
    assert lowest(model, pose.qpos) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "description, message",
    [
        ('trunk = "pelvic"', "no body 'pelvic'; did you mean 'pelvis'"),
        ('trunk = "chest"', "the trunk 'chest' is a child of 'pelvis'"),
        ('joints = ["left_kne"]', "joints: unknown name 'left_kne'; did you mean 'left_knee'"),
        ('joints = ["left_knee", "left_knee"]', "a name is repeated"),
        ("joints = []", "joints"),
        ('feet = ["hand"]', "the foot 'hand' is not a geom or body"),
        ('joint_pairs = [["left_knee", "right_hip_pitch"]]', "are not each other's image"),
        ('joint_pairs = [["left_knee"]]', "joint_pairs"),
        ('foot_pairs = [["a", "b"]]', "foot_pairs: unknown name 'a'"),
        ("pose = { tail = 1.0 }", "pose: unknown name 'tail'"),
        ("kp = -1", "kp and kd must be from 0"),
        ("kp = inf", "kp"),
        ("kp = { left_kne = 9 }", "kp: unknown name 'left_kne'; did you mean 'left_knee'"),
        ("colour = 1", "unknown setting 'colour'"),
        ("pose = [", "cannot be read"),
    ],
)
def test_invalid_descriptions_give_one_line_errors(tmp_path: Path, description: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, walkers.biped(), description=description)
    one_line(caught.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file is empty"),
        ("<mujoco><worldbody>", "is not a model that MuJoCo can read"),
        ("<robot/>", "it has no joints"),
        ("\x00\x01", "is not a model that MuJoCo can read"),
        ("<mujoco/>", "it has no joints"),
        (walkers.biped().replace('"0.004"', '"1e-9"'), "its timestep is 1e-09 s; it must be 0.0001 or more"),
        (walkers.biped().replace('name="left_foot"', 'name="right_foot"'), "repeated name"),
        (
            walkers.biped().replace("<freejoint/>", '<joint name="rail" type="slide"/>'),
            "tied to the world by .* 'rail'",
        ),
        (
            walkers.biped().replace("<geom", '<geom contype="0" conaffinity="0"'),
            "no geom of the robot can touch",
        ),
    ],
)
def test_invalid_models_give_one_line_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, text)
    one_line(caught.value)


ANKLE = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/><joint axis="1 0 0" damping="1" range="-9 9"/>'


@pytest.mark.parametrize(
    "old, new",
    [
        ('mass="1"', 'mass="nan"'),
        ('diaginertia="1 1 1"', 'diaginertia="1 NaN(2) 1"'),
        ('pos="0 0 0"', 'pos="0 0 inf"'),
        ('axis="1 0 0"', "axis='1 0 -Infinity'"),
        ('damping="1"', 'damping="1e300"'),
        ('range="-9 9"', 'range="inf 9"'),
        ('range="-9 9"', 'range="-9 nan"'),
        ('"1e-3"', '"1e999"'),
        ('ixx="1"', 'ixx="nan"'),
        ('upper="1"', 'upper="-inf"'),
        ('velocity="1"', 'velocity="nan"'),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_element_and_line(tmp_path: Path, old: str, new: str) -> None:
    text = f"""<mujoco><compiler boundmass="1e-3"/>
    <worldbody><body name="inf">{ANKLE}</body></worldbody></mujoco>"""
    if old not in text:
        text = '<robot>\n<link name="nan"><inertia ixx="1"/></link><limit upper="1" velocity="1"/></robot>'
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(InputError, match="is not a number from") as caught:
        load(tmp_path, text.replace(old, new), ".xml" if "mujoco" in text else ".urdf")
    one_line(caught.value, f"its <{text[: text.index(old)].rpartition('<')[2].split()[0]} ")
    assert f"in line {line} " in str(caught.value)
    assert new.replace("'", '"') in str(caught.value)


def test_limits_may_be_infinite_and_names_may_read_as_numbers(tmp_path: Path) -> None:
    text = walkers.biped(left="inf").replace('range="-40 40"', 'range="-inf inf"').replace('"waist"', '"nan"')
    body = load(tmp_path, text).body
    assert body.joints[0] == "nan" and "infknee" in body.joints
    urdf = walkers.urdf_biped().replace('effort="30" velocity="10"', 'effort="inf" velocity="inf"')
    assert load(tmp_path, urdf, ".urdf").body.joints == load(tmp_path, walkers.urdf_biped(), ".urdf").body.joints


@pytest.mark.parametrize(
    "source, message",
    [
        ("nowhere.xml", "there is no such file"),
        ("", "nor menagerie:NAME nor a file"),
        ("robot.sdf", "nor menagerie:NAME nor a file"),
        ("a\x00.xml", "there is no such file"),
        ("a" * 5000 + ".xml", "there is no such file"),
    ],
)
def test_invalid_sources_give_one_line_errors(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_body(source)


@pytest.mark.parametrize("model", ["../secret.xml", "/etc/passwd", "sub/../../secret.xml", "link.xml", "a\\u0000.xml"])
def test_a_description_cannot_open_files_outside_its_folder(tmp_path: Path, model: str) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text("my secret")
    folder = tmp_path / "strange"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.xml").symlink_to(secret)
    (folder / "body.toml").write_text(f'model = "{model}"')
    with pytest.raises(InputError, match="must lie in the same folder or below") as caught:
        load_body(str(folder / "body.toml"))
    assert "my secret" not in str(caught.value)


def test_without_its_package_menagerie_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(InputError, match=r"pip install \"surefoot\[menagerie\]\""):
        load_body("menagerie:unitree_go2")


def test_menagerie_robots_load_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the package itself, from a local folder instead of the network."""
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    (tmp_path / "unitree_go2").mkdir()
    (tmp_path / "unitree_go2" / "scene.xml").write_text(walkers.quadruped())
    (tmp_path / "unitree_go2" / "go2.xml").write_text(walkers.biped())
    assert len(load_body("menagerie:unitree_go2").body.feet) == 4
    assert len(load_body("menagerie:unitree_go2/go2").body.feet) == 2
    for source, message in (
        ("menagerie:unitree_go3", "did you mean 'unitree_go2'"),
        ("menagerie:unitree_go2/scen", "has no entry 'scen'; did you mean 'scene'"),
        ("menagerie:unitree_a1", "connect to the network once, or let MENAGERIE_ROOT"),
    ):
        with pytest.raises(InputError, match=message):
            load_body(source)


def test_offline_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MENAGERIE_BASE_URL", (tmp_path / "nothing").as_uri())
    with pytest.raises(InputError, match=r"cannot be downloaded .* connect to the network once") as caught:
        load_body("menagerie:unitree_go2")
    one_line(caught.value)


def test_warnings_of_mujoco_leave_no_file_in_the_current_folder(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = tmp_path / "biped.xml"
    path.write_text(walkers.biped().replace('damping="0.5"', 'damping="nan"'))
    with contextlib.suppress(InputError):
        load_body(str(path))
    assert list(folder.iterdir()) == []
