"""Robot files that are odd in one way each: what is loaded, whether it stands, and what is refused in one line."""

import re
from pathlib import Path

import mujoco
import numpy as np
import pytest

from helpers import odd_bodies, walkers
from helpers.messages import one_line
from surefoot.bodies import parts
from surefoot.bodies.loader import LoadedBody, load_body
from surefoot.bodies.stance import find_fault
from surefoot.bodies.symmetry import standing
from surefoot.errors import InputError

JOINTS = ("left_hip", "left_knee", "right_hip", "right_knee")
# Like "plain.xml": the same trunk, joints, feet and height, and it stands.
AS_PLAIN = (
    *("plain", "no_floor", "included", "box_floor", "two_planes", "bits", "slow_timestep", "odd_timestep"),
    *("ball_at_feet", "mocap", "mocap_plane", "bad_keyframe", "position", "position_dampratio", "velocity", "general"),
    *("intvelocity", "damper", "muscle", "unlimited_motor", "adhesion", "tendon_only", "crossed_names", "thruster"),
    *("two_drives", "negative_gear", "sensors", "tuple", "exclude", "pair_only", "closed_loop", "fixed", "massless"),
    *("degrees", "defaults_filter", "defaults_force"),
    *("a folder with spaces/plain", "a folder with spaces/meshes", "Läufer 走る/plain", "Läufer 走る/meshes"),
)
# The same biped in URDF, from "plain.urdf" to roots, meshes and limits of other kinds.
AS_PLAIN_URDF = (
    *("plain.urdf", "floating.urdf", "world.urdf", "imu.urdf", "no_effort.urdf", "no_inertia.urdf", "continuous.toml"),
    *("package_mesh.urdf", "package_mesh_here.urdf", "relative_mesh.urdf"),
    *("footprint.urdf", "footprint_ground.urdf", "footprint_below.urdf", "footprint_above.urdf", "footprint.toml"),
)
FAULTS = {
    "balls.xml": "it tilted by 55 degrees within a second",
    "ball_joint.xml": "nothing moves its joints 'left_hip', 'right_hip'",
    "no_contact.xml": "its file disables contacts",
    "no_gravity.xml": "its file has no gravity",
    "long_timestep.xml": "within a second",
    "hung.xml": "its feet 'left', 'right' ended 11 cm above the ground; it rested on its part 'stand geom 1'",
    "key_wild.xml": "its feet 'left', 'right' ended 80 cm above the ground; it rested on its part 'torso'",
    "defaults_motor.xml": "its trunk sank from 0.48 to 0.099 m within a second",
    "defaults_none.xml": "its trunk sank from 0.48 to 0.099 m within a second",
}
REFUSED = {
    "continuous.urdf": r"none of its joints has an actuator or limits; state them as joints = \[...\] in a TOML file",
    "dae_mesh.urdf": "the mesh 'meshes/torso.dae' cannot be read; convert it to .stl or .obj",
    "empty.xml": "the file is empty",
    "hfield.xml": "its ground is a height field",
    "include_missing.xml": "there is no file 'parts/absent.xml', which it needs",
    "missing_mesh.urdf": "the mesh 'meshes/absent.stl' is neither in its folder nor in those above",
    "moving_massless.urdf": "the moving body 'lidar' has no mass",
    "not_xml.xml": "no valid XML near line 1",
    "parts/floor.xml": "it has no joints",
    "parts/motors.xml": "unknown transmission target 'left_hip'",
    "planar.xml": "tied to the world by the joint 'rootx'",
    "unbalanced.urdf": "the inertia of 'base' is impossible",
    "xacro.urdf": "it contains xacro; write it out first: xacro xacro.urdf > robot.urdf",
}
# Odd names of parts, and further joints.
OTHERS = ("many.xml", "mimic.urdf", "no_names.xml", "quotes.xml", "slash_names.xml", "unicode_names.xml")


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "bodies"
    folder.mkdir()
    odd_bodies.write_bodies(folder)
    return folder


def load(path: Path) -> tuple[LoadedBody, mujoco.MjModel]:
    loaded = load_body(str(path))
    return loaded, loaded.spec.compile()


def write(folder: Path, text: str, name: str = "robot.xml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_every_odd_body_is_tested(bodies: Path) -> None:
    known = {f"{name}.xml" for name in AS_PLAIN} | {*AS_PLAIN_URDF, *FAULTS, *REFUSED, *OTHERS}
    files = {str(path.relative_to(bodies)) for path in bodies.rglob("*") if path.suffix in (".xml", ".urdf", ".toml")}
    assert files == known


@pytest.mark.parametrize("name", [*(f"{name}.xml" for name in AS_PLAIN), *AS_PLAIN_URDF])
def test_a_biped_has_its_parts_and_stands(name: str, bodies: Path) -> None:
    (_, body, pose), model = load(bodies / name)
    is_xml = name.endswith(".xml")
    assert body.trunk == ("torso" if is_xml else "base")
    assert body.joints == JOINTS
    assert [foot.name for foot in body.feet] == ["left", "right"]
    assert body.joint_pairs == (("left_hip", "right_hip"), ("left_knee", "right_knee"))
    assert pose.height_m == pytest.approx(0.535 if is_xml else 0.74, abs=1e-3)
    assert [model.actuator(i).name for i in range(model.nu)] == list(JOINTS)
    assert find_fault(model, body, pose) is None


@pytest.mark.parametrize("name", FAULTS)
def test_a_body_that_does_not_stand_says_why(name: str, bodies: Path) -> None:
    (_, body, pose), model = load(bodies / name)
    fault = find_fault(model, body, pose)
    assert fault is not None and fault.startswith("it does not stand: ") and "\n" not in fault
    assert FAULTS[name] in fault


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_file_is_refused_in_one_line(name: str, bodies: Path) -> None:
    with pytest.raises(InputError, match=REFUSED[name]) as caught:
        load_body(str(bodies / name))
    one_line(caught.value)


@pytest.mark.parametrize("name", OTHERS)
def test_odd_names_and_many_joints_stand(name: str, bodies: Path) -> None:
    (_, body, pose), model = load(bodies / name)
    assert len(body.feet) == 2
    assert len(body.joints) == {"many.xml": 104, "mimic.urdf": 3}.get(name, 4)
    assert find_fault(model, body, pose) is None


def test_defaults_of_a_file_give_the_same_robot_as_values_at_each_element(bodies: Path) -> None:
    """Servos, floor and terrain that are added do not take them over."""
    (_, _, pose), by_default = load(bodies / "defaults_motor.xml")
    (_, _, other), by_element = load(bodies / "defaults_none.xml")
    for field in ("gear", "ctrlrange", "ctrllimited", "forcerange", "gainprm", "biasprm", "dynprm", "dyntype"):
        np.testing.assert_array_equal(*(getattr(model, f"actuator_{field}") for model in (by_default, by_element)))
    np.testing.assert_array_equal(by_default.actuator_gear[:, 0], 1)
    assert not by_default.actuator_ctrllimited.any()
    np.testing.assert_array_equal(by_default.actuator_forcerange, [[-40, 40]] * 4)
    np.testing.assert_array_equal(pose.qpos, other.qpos)


def test_an_added_floor_does_not_take_over_defaults_of_geoms(tmp_path: Path) -> None:
    default = '<default><geom contype="0" conaffinity="1" margin="0.1" friction="0.01" rgba="1 0 0 1"/></default>'
    _, model = load(write(tmp_path, odd_bodies.biped(head=default)))
    floor = model.geom("scenery/floor")
    assert (floor.margin[0], floor.friction[0], floor.contype[0] & 1) == (0, 1, 1)


def test_a_solver_with_few_iterations_still_stands(tmp_path: Path) -> None:
    """Models made for MJX have one or a few iterations, for the integrator of their file."""
    option = '<option iterations="1" ls_iterations="5"><flag eulerdamp="disable"/></option>'
    text = walkers.quadruped().replace("<worldbody>", option + "<worldbody>", 1)
    (_, body, pose), model = load(write(tmp_path, text))
    assert model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
    assert (model.opt.iterations, model.opt.ls_iterations) == (100, 50)
    assert find_fault(model, body, pose) is None


@pytest.mark.parametrize("name", ["footprint", "footprint_ground", "footprint_below", "footprint_above"])
def test_a_massless_root_is_not_the_trunk_and_its_place_changes_nothing(name: str, bodies: Path) -> None:
    (_, body, pose), model = load(bodies / f"{name}.urdf")
    (_, plain_body, plain_pose), plain = load(bodies / "plain.urdf")
    assert body == plain_body and pose.height_m == pytest.approx(plain_pose.height_m)
    for qpos, one_model, trunk in ((pose.qpos, model, body.trunk), (plain_pose.qpos, plain, plain_body.trunk)):
        data = standing(one_model, qpos)
        np.testing.assert_allclose(data.body(trunk).xpos[2], 0.74, atol=1e-6)
        np.testing.assert_allclose(data.qpos[:7], [*data.body(trunk).xpos, *data.body(trunk).xquat], atol=1e-9)


def test_a_description_names_a_trunk_that_is_fixed_to_the_root(tmp_path: Path) -> None:
    """All other parts keep their places, also the shapes and the mass of the root."""
    text = (
        odd_bodies.biped(root="")
        .replace(
            '<body name="torso"',
            '<body name="skirt" pos="0.1 0 1.2" euler="0 0 30">'
            '<inertial mass="0.5" pos="0 0 0.1" fullinertia="1e-2 1e-2 1e-2 1e-3 0 0"/>'
            '<geom name="hoop" type="box" size=".02 .02 .02" pos="0 0 .1"/><body name="torso"',
        )
        .replace("</worldbody>", "</body></worldbody>")
    )
    write(tmp_path, text)
    write(tmp_path, 'model = "robot.xml"\ntrunk = "torso"\n', "robot.toml")
    (_, body, pose), model = load(tmp_path / "robot.toml")
    (_, _, old_pose), old = load(tmp_path / "robot.xml")
    assert body.trunk == "torso" and pose.height_m == pytest.approx(0.535, abs=1e-3)
    data, before = standing(model, pose.qpos), standing(old, old_pose.qpos)
    for name in ("hoop", "left_foot", "right_thigh"):
        offset = data.geom(name).xpos - data.body("torso").xpos
        expected = before.geom(name).xpos - before.body("torso").xpos
        turn = data.body("torso").xmat.reshape(3, 3) @ before.body("torso").xmat.reshape(3, 3).T
        np.testing.assert_allclose(offset, turn @ expected, atol=1e-9)
    np.testing.assert_allclose(
        data.subtree_com[0] - data.body("torso").xpos,
        turn @ (before.subtree_com[0] - before.body("torso").xpos),
        atol=1e-9,
    )


def test_both_ends_of_ranges_limit_the_torque(tmp_path: Path) -> None:
    drives = (
        '<motor joint="left_hip" gear="40" ctrlrange="-1 0.5"/><motor joint="left_knee" gear="-40" ctrlrange="-1 0.5"/>'
        '<position joint="right_hip" kp="60" forcerange="-30 10"/>'
        '<motor joint="right_knee" gear="2" ctrlrange="-50 -10"/>'
    )
    _, model = load(write(tmp_path, odd_bodies.biped(world=odd_bodies.PLANE, actuator=drives)))
    np.testing.assert_array_equal(model.actuator_forcerange, [[-40, 20], [-20, 40], [-30, 10], [-100, -20]])


def test_drives_of_free_and_ball_joints_are_left_out(bodies: Path) -> None:
    for name, joints in (("thruster.xml", JOINTS), ("ball_joint.xml", ("left_knee", "right_knee"))):
        (_, body, _), model = load(bodies / name)
        assert body.joints == joints == tuple(model.actuator(i).name for i in range(model.nu))


def test_joints_that_follow_others_have_no_servo(bodies: Path) -> None:
    assert load(bodies / "mimic.urdf")[0].body.joints == ("left_hip", "left_knee", "right_hip")


@pytest.mark.parametrize(
    "name, floor", [("box_floor", "floor"), ("two_planes", "floor"), ("bits", "scenery/floor"), ("pair_only", "floor")]
)
def test_the_floor_is_the_one_under_the_feet_that_they_can_touch(name: str, floor: str, bodies: Path) -> None:
    (_, body, pose), model = load(bodies / f"{name}.xml")
    found = parts.find_floor(model, body.trunk)
    assert found is not None and model.geom(found).name == floor
    height = -0.003 if floor.startswith("scenery/") else 0  # an added floor lies below the file's own
    assert parts.floor_height(standing(model, pose.qpos), found) == pytest.approx(height, abs=1e-9)


@pytest.mark.parametrize(
    "world, added",
    [
        (odd_bodies.PLANE, None),
        ('<geom type="box" size="20 20 .1" pos="0 0 -.1"/>', None),
        ('<geom type="box" size=".1 20 20" pos="0 0 -.1" euler="0 90 0"/>', None),
        ("", 0),
        ('<geom type="box" size=".3 .3 .1" pos="0 0 -.1"/>', -0.003),
        ('<geom type="box" size=".3 .3 .1" pos="3 0 -.102"/>', -0.006),
        ('<geom type="box" size=".3 .3 .1" pos="3 0 .1"/>', 0),
        ('<geom type="plane" size="0 0 .1" contype="0" conaffinity="0"/>', -0.003),
        ('<geom type="box" size="9 9 .1" pos="0 0 -.1" contype="0" conaffinity="0"/>', -0.003),
    ],
)
def test_an_added_floor_never_coincides_with_a_surface_of_the_file(
    tmp_path: Path, world: str, added: float | None
) -> None:
    """Otherwise pictures of both flicker."""
    (_, body, pose), model = load(write(tmp_path, odd_bodies.biped(world=world)))
    names = [model.geom(i).name for i in range(model.ngeom)]
    assert ("scenery/floor" in names) == (added is not None)
    if added is not None:
        assert model.geom("scenery/floor").pos[2] == pytest.approx(added, abs=1e-9)
    assert find_fault(model, body, pose) is None


@pytest.mark.parametrize("kind, unit", [("slide", "m"), ("hinge", "rad")])
def test_a_joint_that_runs_away_is_reported_in_its_own_unit(tmp_path: Path, kind: str, unit: str) -> None:
    """A load on a joint whose motor is too weak to hold it."""
    way = 'type="slide" axis="0 0 1"' if kind == "slide" else 'type="hinge" axis="0 1 0"'
    load_part = (
        f'<body name="load" pos="0 0 3"><joint name="lift" {way}/>'
        '<geom type="sphere" size=".02" pos=".2 0 0" mass=".05" contype="0" conaffinity="0"/></body>'
    )
    drives = odd_bodies.MOTORS + '<motor joint="lift" gear=".01" ctrlrange="-1 1"/>'
    text = odd_bodies.biped(world=odd_bodies.PLANE, trunk=load_part, actuator=drives)
    (_, body, pose), model = load(write(tmp_path, text))
    fault = find_fault(model, body, pose)
    assert fault is not None and re.search(rf"its joint 'lift' moved by [\d.]+ {unit} within", fault)


def test_a_box_that_is_not_under_the_robot_is_no_floor(tmp_path: Path) -> None:
    box = '<geom name="table" type="box" size="1 1 .4" pos="3 0 .4"/>'
    (_, body, pose), model = load(write(tmp_path, odd_bodies.biped(world=odd_bodies.PLANE + box)))
    assert find_fault(model, body, pose) is None
    assert model.geom(parts.find_floor(model, body.trunk)).name == "floor"


def test_names_that_are_given_do_not_clash_with_the_files(tmp_path: Path) -> None:
    names = "".join(
        f'<geom name="{name}" size=".01" pos="9 9 {i}" contype="0" conaffinity="0"/>'
        for i, name in enumerate(("floor", "scenery/floor", "touch left_foot", "geom 1", "surefoot terrain 0"))
    )
    joint = (
        '<joint name="torso free" axis="0 1 0" range="-1 1" damping="1" stiffness="99"/><geom size=".01" mass=".1"/>'
    )
    trunk = f'<body name="tail">{joint}</body>'
    tendon = '<tendon><fixed name="t"><joint joint="left_hip" coef="1"/></fixed></tendon>'
    actuator = odd_bodies.MOTORS + '<motor name="right_knee" tendon="t" gear="1"/>'
    text = odd_bodies.biped(world=names, root="", trunk=trunk, actuator=actuator, tail=tendon)
    (_, body, pose), model = load(write(tmp_path, text))
    assert {"floor", "scenery/floor", "_scenery/floor"} <= {model.geom(i).name for i in range(model.ngeom)}
    assert find_fault(model, body, pose) is None


def test_a_body_without_light_and_sky_gets_them(tmp_path: Path) -> None:
    for name, text in (("a.xml", odd_bodies.biped(world=odd_bodies.PLANE)), ("b.urdf", odd_bodies.urdf())):
        _, model = load(write(tmp_path, text, name))
        assert model.nlight == 1 and int(mujoco.mjtTexture.mjTEXTURE_SKYBOX) in model.tex_type


def test_a_xacro_file_is_taken_from_the_urdf_beside_it_or_says_what_to_do(tmp_path: Path) -> None:
    xacro = write(tmp_path, "<robot/>", "strider.urdf.xacro")
    with pytest.raises(
        InputError, match=r"is a xacro file; write it out first: xacro strider.urdf.xacro > strider.urdf"
    ):
        load_body(str(xacro))
    write(tmp_path, odd_bodies.urdf(), "strider.urdf")
    assert load_body(str(xacro)).body.joints == JOINTS


def test_meshes_of_a_package_are_found_beside_the_file_and_above_and_missing_visuals_left_out(tmp_path: Path) -> None:
    (tmp_path / "strider_description" / "urdf").mkdir(parents=True)
    (tmp_path / "strider_description" / "meshes").mkdir()
    odd_bodies.stl(tmp_path / "strider_description" / "meshes" / "torso.stl", 0.2)
    text = odd_bodies.urdf(mesh="package://strider_description/meshes/torso.stl")
    seen, _, solid = text.partition("<collision>")
    text = seen.replace("torso.stl", "absent.dae") + "<collision>" + solid
    (_, body, pose), model = load(write(tmp_path / "strider_description" / "urdf", text, "strider.urdf"))
    assert model.nmesh == 1
    assert find_fault(model, body, pose) is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("<mujoco>" + "<body>" * 100_000, "elements nested more than 300 deep"),
        ("<mujoco>" + "<geom/>" * 100_000, "more than 20,000 elements"),
        (
            '<mujoco><worldbody><replicate count="1000"><replicate count="1000"><geom/></replicate></replicate>',
            "elements",
        ),
        ('<mujoco><worldbody><replicate count="&#51;0000"><geom/>', "more than 20,000 elements"),
        ('<mujoco><worldbody><replicate sep=">" count="30000"><geom/>', "more than 20,000 elements"),
        ("""<mujoco><worldbody><replicate count="30000" sep="' count='1"><geom/>""", "more than 20,000 elements"),
        ('<mujoco><![CDATA[>< <!-- ]]><worldbody><replicate count="30000"><geom/>', "more than 20,000 elements"),
        ('<mujoco><worldbody><flexcomp name="f" count="900 900 900"/>', "asks for 7e.08 values"),
        ('<mujoco><asset><hfield name="h" nrow="900000" ncol="900000"/></asset></mujoco>', "asks for 8e.11 values"),
        (
            '<mujoco><asset><texture builtin="flat" width="99999" height="99999"/></asset></mujoco>',
            "asks for 1e.10 values",
        ),
        ('<mujoco><size memory="900G"/></mujoco>', "asks for 9e.11 values"),
        ('<mujoco><custom><numeric name="n" size="2000000000"/></custom></mujoco>', "asks for 2e.09 values"),
        ('<mujoco><compiler><lengthrange timestep="1e-6" inttotal="1e6"/></compiler></mujoco>', "asks for 1e.12 steps"),
        ("<!--" * 1_000_000, "is not a model that MuJoCo can read"),
        ("<" * 1_000_000, "not a model"),
        ("<a b='" * 1_000_000, "not a model"),
        ("<?" * 1_000_000, "not a model"),
        ("<a " + "b" * 1_000_000 + ">", "not a model"),
        (odd_bodies.biped(head='<option iterations="1000000000"/>'), "its option iterations is 1,000,000,000"),
        ('<mujoco><include file="robot.xml"/></mujoco>', "MuJoCo"),
    ],
)
def test_a_file_that_asks_for_too_much_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_body(str(write(tmp_path, text)))
    one_line(caught.value)


@pytest.mark.parametrize("part", ['<include file="b.xml"/>', '<asset><model name="b" file="b.xml"/></asset>'])
def test_files_that_an_included_file_needs_are_checked(tmp_path: Path, part: str) -> None:
    """MuJoCo looks for them beside the file that names them, too."""
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", f"<mujoco>{part}</mujoco>", "a.xml")
    write(tmp_path / "parts", '<mujoco><size memory="900G"/></mujoco>', "b.xml")
    with pytest.raises(InputError, match=r"asks for 9e.11 values"):
        load_body(str(write(tmp_path, odd_bodies.biped(head='<include file="parts/a.xml"/>'))))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("way", ["attach", "include"])
def test_elements_of_files_within_replicate_count_as_often_as_they_are_copied(
    tmp_path: Path, way: str, named: bool
) -> None:
    """An asset without a name has that of its model; the copied file attaches a third one, as often again."""
    part = '<body name="part"><geom size="0.1"/></body>'
    model = f'<mujoco model="{{}}"><asset>{{}}</asset><worldbody>{{}}{part}</worldbody></mujoco>'
    copied = '<replicate count="{}"><attach model="{}" body="part" prefix="p"/></replicate>'
    name = 'name="named"' if named else ""
    write(tmp_path, model.format("leaf", "", ""), "c.xml")
    twigs = f'<model {name} file="c.xml"/>', copied.format(150, "named" if named else "leaf")
    write(tmp_path, model.format("twig", *twigs), "b.xml")
    text = model.format("tree", '<model name="b" file="b.xml"/>', copied.format(150, "b"))
    if way == "include":
        write(tmp_path, f"<mujocoinclude>{twigs[1]}</mujocoinclude>", "twigs.xml")
        text = model.format("tree", twigs[0], '<replicate count="150"><include file="twigs.xml"/></replicate>')
    with pytest.raises(InputError, match="more than 20,000 elements"):
        load_body(str(write(tmp_path, text)))
    few = text.replace('"150"', '"10"')
    with pytest.raises(InputError, match="it has no joints"):
        load_body(str(write(tmp_path, few)))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is larger than 20 MB"):
        load_body(str(write(tmp_path, "<mujoco>" + " " * 20_000_000)))


@pytest.mark.parametrize("text", ["a." * 32_000 + "b = 1", "[" + "a." * 32_000 + "b]", "x = " + "[" * 64_000])
def test_a_deeply_nested_description_is_refused_at_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_body(str(write(tmp_path, text, "robot.toml")))


@pytest.mark.parametrize("kind, size", [("plane", "0 0 1"), ("box", "20 20 .1")])
def test_a_tilted_ground_is_refused_unless_it_is_below_a_level_floor(tmp_path: Path, kind: str, size: str) -> None:
    def ground(tilt: float, height: float = 0.0) -> Path:
        geom = f'<geom name="ground" type="{kind}" size="{size}" euler="0 {tilt} 0" pos="0 0 {height}"/>'
        return write(tmp_path, odd_bodies.biped(world=geom + (odd_bodies.PLANE if height else "")))

    for tilt in (3, 45, -45):
        with pytest.raises(InputError, match=f"its ground 'ground' is tilted by {abs(tilt)} degrees") as caught:
            load_body(str(ground(tilt)))
        one_line(caught.value)
    assert load(ground(45, height=-1))[0].pose.height_m == pytest.approx(0.535, abs=1e-3)


def test_the_height_above_a_nearly_level_box_is_that_of_its_surface(tmp_path: Path) -> None:
    """Not that of its highest corner, 35 cm above the feet."""
    box = '<geom type="box" size="20 20 .1" pos="0 0 -.1" euler="0 1 0"/>'
    (_, _, pose), _ = load(write(tmp_path, odd_bodies.biped(world=box)))
    assert pose.height_m == pytest.approx(0.535, abs=0.005)


@pytest.mark.parametrize("friction, slides", [(0.05, True), (1, False)])
def test_a_robot_that_slides_away_does_not_stand(tmp_path: Path, friction: float, slides: bool) -> None:
    """Gravity that is tilted by 10 degrees acts as a slope: within a second, the robot slides by up to 0.6 m."""
    floor = f'<geom name="floor" type="plane" size="0 0 .1" friction="{friction}" priority="1"/>'
    text = odd_bodies.biped(world=floor, head='<option gravity="0 1.7 -9.66"/>')
    (_, body, pose), model = load(write(tmp_path, text))
    fault = find_fault(model, body, pose)
    assert fault is not None if slides else fault is None
    if fault is not None:
        distance = re.fullmatch(r"it does not stand: it slid by ([\d.]+) m within a second", fault)
        assert distance and 0.4 < float(distance[1]) < 0.8


@pytest.mark.parametrize("height", [-1000, -0.535, -0.4, 1000])
def test_the_height_of_the_floor_changes_neither_pairs_nor_pose(tmp_path: Path, height: float) -> None:
    (_, expected, pose), _ = load(write(tmp_path, odd_bodies.biped(world=odd_bodies.PLANE), "level.xml"))
    world = odd_bodies.PLANE.replace("/>", f' pos="0 0 {height}"/>')
    (_, body, raised), model = load(write(tmp_path, odd_bodies.biped(world=world)))
    assert body == expected and body.joint_pairs and body.foot_pairs
    np.testing.assert_allclose(raised.qpos - pose.qpos, [0, 0, height] + 8 * [0], atol=1e-6)
    assert raised.height_m == pytest.approx(pose.height_m, abs=1e-6)
    assert find_fault(model, body, raised) is None


def test_joints_are_no_pair_on_a_high_floor_if_they_are_no_images(tmp_path: Path) -> None:
    world = odd_bodies.PLANE.replace("/>", ' pos="0 0 100"/>')
    text = odd_bodies.biped(world=world).replace(
        'name="left_thigh" pos="0 0.1 0"', 'name="left_thigh" pos="0.05 0.1 0"'
    )
    assert load(write(tmp_path, text))[0].body.joint_pairs == ()


def test_a_robot_beside_a_soft_body_stands(tmp_path: Path) -> None:
    """Contacts of soft bodies have no geoms."""
    cloth = (
        '<flexcomp name="cloth" type="grid" count="4 4 1" spacing=".1 .1 .1" pos="1 0 .02" radius=".01" mass="1" '
        'dim="2"><edge equality="true"/></flexcomp>'
    )
    (_, body, pose), model = load(write(tmp_path, odd_bodies.biped(world=odd_bodies.PLANE + cloth)))
    data = standing(model, pose.qpos)
    mujoco.mj_step(model, data, nstep=200)
    assert (data.contact.geom == -1).any()
    assert find_fault(model, body, pose) is None


def test_an_unknown_name_lists_those_of_the_robot_in_part(tmp_path: Path) -> None:
    text = odd_bodies.biped(world=odd_bodies.PLANE)
    for number in range(40):
        text = text.replace('<body name="left_thigh"', f'<body name="zq {number:03}"/><body name="left_thigh"', 1)
    write(tmp_path, text)
    write(tmp_path, '\ufeffmodel = "robot.xml"\ntrunk = "走る"\n', "robot.toml")
    with pytest.raises(InputError, match=r"it has no body '走る'; choose from left_foot, .* and \d+ more$") as caught:
        load_body(str(tmp_path / "robot.toml"))
    shown, more = re.search(r"choose from (.*) and (\d+) more", str(caught.value)).groups()
    assert len(shown.split(", ")) + int(more) == 47
