# ruff: noqa: E501
"""Small bodies, each odd in one way that people have reported trouble with."""

import struct
from pathlib import Path


def leg(side: str, y: float, joint: str = "", geom: str = "", extra_thigh: str = "", extra_shin: str = "") -> str:
    return f"""
      <body name="{side}_thigh" pos="0 {y} 0">
        <joint name="{side}_hip" axis="0 1 0" range="-60 60" {joint}/>
        <geom name="{side}_thigh" type="capsule" fromto="0 0 0 0 0 -.25" size=".03" mass="1" {geom}/>
        {extra_thigh}
        <body name="{side}_shin" pos="0 0 -.25">
          <joint name="{side}_knee" axis="0 1 0" range="-100 5" {joint}/>
          <geom name="{side}_shin" type="capsule" fromto="0 0 0 0 0 -.25" size=".025" mass=".6" {geom}/>
          {extra_shin}
          <body name="{side}_foot" pos="0 0 -.27">
            <geom name="{side}_foot" type="box" size=".08 .03 .015" pos=".03 0 0" mass=".3" {geom}/>
          </body>
        </body>
      </body>"""


MOTORS = "".join(
    f'<motor name="{side}_{joint}_motor" joint="{side}_{joint}" gear="40" ctrlrange="-1 1"/>'
    for side in ("left", "right")
    for joint in ("hip", "knee")
)


def biped(
    legs: str = "",
    head: str = "",
    world: str = "",
    actuator: str = MOTORS,
    tail: str = "",
    root: str = '<freejoint name="root"/>',
    trunk: str = "",
    name: str = "biped",
) -> str:
    return f"""<mujoco model="{name}">
  {head}
  <worldbody>
    {world}
    <body name="torso" pos="0 0 .6">
      {root}
      <geom name="torso" type="box" size=".1 .15 .15" pos="0 0 .15" mass="6"/>
      {trunk}
      {legs or leg("left", 0.1) + leg("right", -0.1)}
    </body>
  </worldbody>
  <actuator>{actuator}</actuator>
  {tail}
</mujoco>
"""


PLANE = '<geom name="floor" type="plane" size="0 0 .1"/>'
KEY = "0 0 .53  1 0 0 0   .2 -.4 .2 -.4"
JOINTS = [f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee")]
TENDON = '<tendon><fixed name="l"><joint joint="left_hip" coef="1"/><joint joint="left_knee" coef=".5"/></fixed><fixed name="r"><joint joint="right_hip" coef="1"/><joint joint="right_knee" coef=".5"/></fixed></tendon>'
NAKED = "".join(f'<motor name="{j}_motor" joint="{j}"/>' for j in JOINTS)
CROUCH = '<keyframe><key name="home" qpos="0 0 .45 1 0 0 0 -.7 1.4 -.7 1.4"/></keyframe>'


def drives(kind: str, more: str, named: bool = True) -> str:
    return "".join(f'<{kind} {f"name={chr(34)}{j}{chr(34)}" if named else ""} joint="{j}" {more}/>' for j in JOINTS)


def stl(path: Path, size: float) -> None:
    """A tetrahedron, binary STL."""
    a, b, c, d = (0, 0, 0), (size, 0, 0), (0, size, 0), (0, 0, size)
    faces = [(a, c, b), (a, b, d), (b, c, d), (a, d, c)]
    data = b"\0" * 80 + struct.pack("<I", len(faces))
    for face in faces:
        data += struct.pack("<3f", 0, 0, 0) + b"".join(struct.pack("<3f", *p) for p in face) + b"\0\0"
    path.write_bytes(data)


def link(name: str, length: float, mass: float = 1.0, mesh: str = "", inertial: bool = True) -> str:
    shape = f'<mesh filename="{mesh}"/>' if mesh else f'<cylinder radius=".03" length="{length}"/>'
    inner = (
        f'<inertial><origin xyz="0 0 {-length / 2}"/><mass value="{mass}"/><inertia ixx=".01" iyy=".01" izz=".002" ixy="0" ixz="0" iyz="0"/></inertial>'
        if inertial
        else ""
    )
    return f'<link name="{name}">{inner}<visual><origin xyz="0 0 {-length / 2}"/><geometry>{shape}</geometry></visual><collision><origin xyz="0 0 {-length / 2}"/><geometry>{shape}</geometry></collision></link>'


def joint(
    name: str,
    kind: str,
    parent: str,
    child: str,
    xyz: str,
    limit: str = '<limit lower="-1.2" upper="1.2" effort="40" velocity="10"/>',
    axis: str = '<axis xyz="0 1 0"/>',
) -> str:
    return f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><origin xyz="{xyz}"/>{axis}{limit}</joint>'


def urdf(
    base: str = "",
    mesh: str = "",
    kind: str = "revolute",
    limit: str = '<limit lower="-1.2" upper="1.2" effort="40" velocity="10"/>',
    more: str = "",
    head: str = "",
) -> str:
    text = f'<?xml version="1.0"?>\n<robot name="strider">{head}{base}' + link("base", 0.2, 6, mesh)
    for side, y in (("left", 0.1), ("right", -0.1)):
        text += link(f"{side}_thigh", 0.25) + link(f"{side}_shin", 0.25, 0.6) + link(f"{side}_foot", 0.04, 0.2)
        text += joint(f"{side}_hip", kind, "base", f"{side}_thigh", f"0 {y} -.2", limit)
        text += joint(f"{side}_knee", kind, f"{side}_thigh", f"{side}_shin", "0 0 -.25", limit)
        text += joint(f"{side}_ankle", "fixed", f"{side}_shin", f"{side}_foot", "0 0 -.25", "", "")
    return text + more + "</robot>\n"


def crouching(text):  # knees that bend the other way, and feet that stay level, so that it crouches
    return text.replace('range="-100 5"', 'range="-5 100"')


def write_bodies(here: Path) -> None:
    """Write all bodies, with their meshes and folders, into a folder."""

    def write(name: str, text: str) -> None:
        (here / name).write_text(text)

    write("plain.xml", biped(world=PLANE))
    write("no_floor.xml", biped())

    # Include files, one that holds the legs' defaults, one that holds the floor, in a folder below.
    (here / "parts").mkdir(exist_ok=True)
    write("parts/floor.xml", f"<mujoco><worldbody>{PLANE}</worldbody></mujoco>")
    write("parts/motors.xml", f"<mujoco><actuator>{MOTORS}</actuator></mujoco>")
    write(
        "included.xml", biped(head='<include file="parts/floor.xml"/><include file="parts/motors.xml"/>', actuator="")
    )
    write("include_missing.xml", biped(head='<include file="parts/absent.xml"/>'))

    # A box for a floor; its top is at z = 0.1, or at 0.
    write("box_floor.xml", biped(world='<geom name="floor" type="box" size="20 20 .1" pos="0 0 -.1"/>'))
    # Two level planes: a ceiling-like lower one first.
    write("two_planes.xml", biped(world='<geom name="pit" type="plane" size="0 0 .1" pos="0 0 -2"/>' + PLANE))
    write(
        "hfield.xml",
        biped(
            head='<asset><hfield name="h" nrow="4" ncol="4" size="2 2 .1 .1" elevation="0 0 0 0 0 1 1 0 0 1 1 0 0 0 0 0"/></asset>',
            world='<geom name="floor" type="hfield" hfield="h"/>',
        ),
    )
    # A floor that never touches the robot, by its bits.
    write(
        "bits.xml",
        biped(
            world='<geom name="floor" type="plane" size="0 0 .1" contype="1" conaffinity="1"/>',
            legs=leg("left", 0.1, geom='contype="2" conaffinity="2"')
            + leg("right", -0.1, geom='contype="2" conaffinity="2"'),
        ).replace('mass="6"', 'mass="6" contype="2" conaffinity="2"'),
    )
    write("no_contact.xml", biped(head='<option><flag contact="disable"/></option>', world=PLANE))
    write("no_gravity.xml", biped(head='<option gravity="0 0 0"/>', world=PLANE))
    write("slow_timestep.xml", biped(head='<option timestep="0.05"/>', world=PLANE))
    write("odd_timestep.xml", biped(head='<option timestep="0.015"/>', world=PLANE))
    write("long_timestep.xml", biped(head='<option timestep="3"/>', world=PLANE))

    # Other free bodies, a mocap body, keyframes that hold them all.
    BALLS = "".join(
        f'<body name="ball{i}" pos="{2 + i} 0 .1"><freejoint/><geom type="sphere" size=".1" mass=".2"/></body>'
        for i in range(3)
    )
    write(
        "balls.xml",
        biped(
            world=PLANE + BALLS,
            tail=f'<keyframe><key name="home" qpos="2 0 .1 1 0 0 0 3 0 .1 1 0 0 0 4 0 .1 1 0 0 0 {KEY}"/></keyframe>',
        ),
    )
    write(
        "ball_at_feet.xml",
        biped(
            world=PLANE + '<body name="ball" pos="0 0 .1"><freejoint/><geom type="sphere" size=".1" mass=".2"/></body>'
        ),
    )
    write(
        "mocap.xml",
        biped(
            world=PLANE
            + '<body name="goal" mocap="true" pos="3 0 .2"><geom type="sphere" size=".1" contype="0" conaffinity="0"/></body>'
        ),
    )
    write(
        "mocap_plane.xml",
        biped(world='<body name="ground" mocap="true"><geom name="floor" type="plane" size="0 0 .1"/></body>'),
    )
    write("bad_keyframe.xml", biped(world=PLANE, tail='<keyframe><key name="home" qpos="0 0 .5"/></keyframe>'))
    write(
        "key_wild.xml",
        biped(world=PLANE, tail='<keyframe><key name="crash" qpos="0 0 .1 0 1 0 0 0 0 0 0"/></keyframe>'),
    )

    # Drives.

    write("position.xml", biped(world=PLANE, actuator=drives("position", 'kp="60" kv="2" forcerange="-40 40"')))
    write(
        "position_dampratio.xml",
        biped(world=PLANE, actuator=drives("position", 'kp="60" dampratio="1" inheritrange="1"')),
    )
    write(
        "velocity.xml", biped(world=PLANE, actuator=drives("velocity", 'kv="5" ctrlrange="-5 5" forcerange="-40 40"'))
    )
    write(
        "general.xml",
        biped(world=PLANE, actuator=drives("general", 'gainprm="60" biastype="affine" biasprm="0 -60 -2"')),
    )
    write("intvelocity.xml", biped(world=PLANE, actuator=drives("intvelocity", 'kp="60" actrange="-1 1"')))
    write("damper.xml", biped(world=PLANE, actuator=drives("damper", 'kv="5" ctrlrange="0 5"')))
    write(
        "muscle.xml",
        biped(world=PLANE, actuator=drives("muscle", 'ctrllimited="true" ctrlrange="0 1" lengthrange="0.1 1.2"')),
    )
    write("unlimited_motor.xml", biped(world=PLANE, actuator=drives("motor", 'gear="40"')))
    write(
        "adhesion.xml",
        biped(world=PLANE, actuator=MOTORS + '<adhesion name="grip" body="left_foot" ctrlrange="0 1" gain="5"/>'),
    )
    write(
        "tendon_only.xml",
        biped(
            world=PLANE,
            tail=TENDON,
            actuator='<motor name="ml" tendon="l" gear="40"/><motor name="mr" tendon="r" gear="40"/>',
        ),
    )
    write(
        "crossed_names.xml",
        biped(
            world=PLANE,
            actuator='<motor name="left_knee" joint="left_hip" gear="40" ctrlrange="-1 1"/><motor name="left_hip" joint="left_knee" gear="40" ctrlrange="-1 1"/><motor name="right_knee" joint="right_hip" gear="40" ctrlrange="-1 1"/><motor name="right_hip" joint="right_knee" gear="40" ctrlrange="-1 1"/>',
        ),
    )
    write(
        "thruster.xml",
        biped(world=PLANE, actuator=MOTORS + '<motor name="jet" joint="root" gear="0 0 100 0 0 0" ctrlrange="0 1"/>'),
    )
    write(
        "two_drives.xml",
        biped(world=PLANE, actuator=drives("position", 'kp="60"', False) + drives("velocity", 'kv="2"', False)),
    )
    write("negative_gear.xml", biped(world=PLANE, actuator=drives("motor", 'gear="-40" ctrlrange="-1 1"')))

    # Other elements that speak of parts.
    write(
        "sensors.xml",
        biped(
            world=PLANE,
            trunk='<site name="imu"/>',
            tail='<sensor><accelerometer site="imu"/><gyro site="imu"/><actuatorfrc actuator="left_hip_motor"/><jointpos joint="left_hip"/></sensor>',
        ),
    )
    write(
        "tuple.xml",
        biped(
            world=PLANE,
            tail='<custom><tuple name="drives"><element objtype="actuator" objname="left_hip_motor"/></tuple></custom>',
        ),
    )
    write("exclude.xml", biped(world=PLANE, tail='<contact><exclude body1="torso" body2="left_thigh"/></contact>'))
    write(
        "pair_only.xml",
        biped(
            world='<geom name="floor" type="plane" size="0 0 .1" contype="0" conaffinity="0"/>',
            legs=leg("left", 0.1, geom='contype="0" conaffinity="0"')
            + leg("right", -0.1, geom='contype="0" conaffinity="0"'),
            tail='<contact><pair geom1="floor" geom2="left_foot"/><pair geom1="floor" geom2="right_foot"/></contact>',
        ).replace('mass="6"', 'mass="6" contype="0" conaffinity="0"'),
    )
    # A closed loop: a rod parallel to each shin, tied to the foot by an equality, and passive joints.
    ROD = """<body name="{s}_rod" pos=".05 0 -.05"><joint name="{s}_rod" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.2" size=".01" mass=".1" contype="0" conaffinity="0"/></body>"""
    write(
        "closed_loop.xml",
        biped(
            world=PLANE,
            legs=leg("left", 0.1, extra_thigh=ROD.format(s="left"))
            + leg("right", -0.1, extra_thigh=ROD.format(s="right")),
            tail='<equality><connect body1="left_rod" body2="left_shin" anchor="0 0 -.2"/><connect body1="right_rod" body2="right_shin" anchor="0 0 -.2"/></equality>',
        ),
    )
    write(
        "ball_joint.xml",
        biped(
            world=PLANE,
            legs=leg("left", 0.1).replace('name="left_hip" axis="0 1 0" range="-60 60"', 'name="left_hip" type="ball"')
            + leg("right", -0.1).replace(
                'name="right_hip" axis="0 1 0" range="-60 60"', 'name="right_hip" type="ball"'
            ),
            actuator='<motor name="a" joint="left_hip" gear="0 40 0" ctrlrange="-1 1"/><motor name="b" joint="left_knee" gear="40" ctrlrange="-1 1"/><motor name="c" joint="right_hip" gear="0 40 0" ctrlrange="-1 1"/><motor name="d" joint="right_knee" gear="40" ctrlrange="-1 1"/>',
        ),
    )
    write(
        "planar.xml",
        biped(
            world=PLANE,
            root='<joint name="rootx" type="slide" axis="1 0 0"/><joint name="rootz" type="slide" axis="0 0 1"/><joint name="rooty" axis="0 1 0"/>',
        ),
    )
    write("fixed.xml", biped(world=PLANE, root=""))
    write(
        "hung.xml",
        biped(world=PLANE, root="")
        .replace(
            '<body name="torso"',
            '<body name="stand" pos="0 0 0"><geom type="box" size=".05 .05 .05" mass="1"/><body name="torso"',
        )
        .replace("</worldbody>", "</body></worldbody>"),
    )
    write(
        "no_names.xml",
        biped(world=PLANE)
        .replace(' name="torso"', "")
        .replace(' name="left_foot"', "")
        .replace(' name="right_foot"', ""),
    )
    write("slash_names.xml", biped(world=PLANE).replace("left_", "robot/left/").replace("right_", "robot/right/"))
    write("unicode_names.xml", biped(world=PLANE).replace("left_", "links Ü ").replace("right_", "rechts Ü "))
    write(
        "quotes.xml",
        biped(world=PLANE).replace('name="torso"', 'name="to&quot;rso\'s &amp; [x]"').replace('body1="torso"', ""),
    )
    write("not_xml.xml", "this is no XML at all\n")
    write("empty.xml", "")
    write(
        "massless.xml",
        biped(
            world=PLANE,
            legs=leg("left", 0.1).replace('mass=".3"', 'mass="0"')
            + leg("right", -0.1).replace('mass=".3"', 'mass="0"'),
        ),
    )
    write(
        "degrees.xml",
        biped(head='<compiler angle="radian"/>', world=PLANE)
        .replace("-60 60", "-1.05 1.05")
        .replace("-100 5", "-1.75 .09"),
    )
    write(
        "many.xml",
        biped(
            world=PLANE,
            trunk="".join(
                f'<body name="arm{i}" pos="0 0 {0.02 * i}"><joint name="arm{i}" axis="0 1 0" range="-30 30"/><geom type="capsule" fromto="0 0 0 .1 0 0" size=".01" mass=".01" contype="0" conaffinity="0"/></body>'
                for i in range(100)
            ),
            actuator=MOTORS + "".join(f'<motor joint="arm{i}" gear=".1" ctrlrange="-1 1"/>' for i in range(100)),
        ),
    )

    # Meshes.
    (here / "meshes").mkdir(exist_ok=True)

    stl(here / "meshes" / "torso.stl", 0.2)

    # URDF.
    write("plain.urdf", urdf())
    write("package_mesh.urdf", urdf(mesh="package://strider_description/meshes/torso.stl"))
    write("package_mesh_here.urdf", urdf(mesh="package://bodies/meshes/torso.stl"))
    write("relative_mesh.urdf", urdf(mesh="meshes/torso.stl"))
    write("missing_mesh.urdf", urdf(mesh="meshes/absent.stl"))
    write("dae_mesh.urdf", urdf(mesh="meshes/torso.dae"))
    (here / "meshes" / "torso.dae").write_text("<COLLADA/>")
    write("continuous.urdf", urdf(kind="continuous", limit='<limit effort="40" velocity="10"/>'))
    write("no_effort.urdf", urdf(limit='<limit lower="-1.2" upper="1.2" effort="0" velocity="0"/>'))
    write(
        "footprint.urdf",
        urdf(
            base='<link name="base_footprint"/>'
            + joint("base_joint", "fixed", "base_footprint", "base", "0 0 .5", "", "")
        ),
    )
    write(
        "world.urdf",
        urdf(base='<link name="world"/>' + joint("world_joint", "fixed", "world", "base", "0 0 .7", "", "")),
    )
    write(
        "floating.urdf",
        urdf(base='<link name="world"/>' + joint("world_joint", "floating", "world", "base", "0 0 .7", "", "")),
    )
    write("no_inertia.urdf", urdf().replace(link("left_shin", 0.25, 0.6), link("left_shin", 0.25, 0.6, inertial=False)))
    write("imu.urdf", urdf(more='<link name="imu"/>' + joint("imu_joint", "fixed", "base", "imu", "0 0 .1", "", "")))
    write(
        "moving_massless.urdf",
        urdf(more='<link name="lidar"/>' + joint("lidar_joint", "continuous", "base", "lidar", "0 0 .1", "")),
    )
    write(
        "mimic.urdf",
        urdf().replace(
            '<joint name="right_knee" type="revolute">',
            '<joint name="right_knee" type="revolute"><mimic joint="left_knee" multiplier="1"/>',
        ),
    )
    write(
        "xacro.urdf",
        urdf(head='<xacro:property name="w" value=".1"/>')
        .replace("<robot ", '<robot xmlns:xacro="http://www.ros.org/wiki/xacro" ')
        .replace('radius=".03"', 'radius="${w}"'),
    )
    write("unbalanced.urdf", urdf().replace('ixx=".01" iyy=".01" izz=".002"', 'ixx=".01" iyy=".001" izz=".001"'))

    # Places with odd names.
    for folder in ("a folder with spaces", "Läufer 走る"):
        (here / folder).mkdir(exist_ok=True)
        write(f"{folder}/plain.xml", biped(world=PLANE))
        (here / folder / "meshes").mkdir(exist_ok=True)
        stl(here / folder / "meshes" / "torso.stl", 0.2)
        write(
            f"{folder}/meshes.xml",
            biped(
                world=PLANE,
                head='<compiler meshdir="meshes"/><asset><mesh name="t" file="torso.stl"/></asset>',
                trunk='<geom type="mesh" mesh="t" mass=".1"/>',
            ),
        )
    # As ROS has it: the root link is a point on the ground below the body, without mass.
    for name, z in (("footprint_ground.urdf", ".74"), ("footprint_below.urdf", ".80"), ("footprint_above.urdf", ".70")):
        write(
            name,
            urdf(
                base='<link name="base_footprint"/>'
                + joint("base_joint", "fixed", "base_footprint", "base", f"0 0 {z}", "", "")
            ),
        )
    write("footprint.toml", 'model = "footprint_ground.urdf"\ntrunk = "base"\n')
    write(
        "continuous.toml", 'model = "continuous.urdf"\njoints = ["left_hip", "left_knee", "right_hip", "right_knee"]\n'
    )
    # The file's own defaults for drives: in the units of its motors, shares of torque.
    write(
        "defaults_motor.xml",
        crouching(
            biped(
                head='<default><motor ctrllimited="true" ctrlrange="-.4 .4" gear="100"/></default>',
                world=PLANE,
                actuator=NAKED,
                tail=CROUCH,
            )
        ),
    )
    write(
        "defaults_none.xml",
        crouching(
            biped(
                world=PLANE,
                actuator=NAKED.replace("/>", ' ctrllimited="true" ctrlrange="-.4 .4" gear="100"/>'),
                tail=CROUCH,
            )
        ),
    )
    write(
        "defaults_filter.xml",
        biped(
            head='<default><general ctrllimited="true" gainprm="60" biastype="affine" biasprm="0 -60 -2" dyntype="filter" dynprm=".1"/><default class="d"><general ctrlrange="-1 1"/></default></default>',
            world=PLANE,
            actuator="".join(f'<general class="d" name="{j}" joint="{j}"/>' for j in JOINTS),
        ),
    )
    write(
        "defaults_force.xml",
        biped(
            head='<default><motor forcelimited="true" forcerange="-3 3"/><default class="strong"><motor forcerange="-40 40" ctrlrange="-1 1" gear="40"/></default></default>',
            world=PLANE,
            actuator="".join(f'<motor class="strong" name="{j}_m" joint="{j}"/>' for j in JOINTS),
        ),
    )
