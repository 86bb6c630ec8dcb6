"""Small walkers in MJCF and URDF for tests."""


def biped(feet: str = "foot", left: str = "left_", right: str = "right_", shift: float = 0.0) -> str:
    """MJCF of a biped with a waist and six leg joints, driven by torque motors; `shift` moves the right hip along x."""

    def leg(name: str, side: float, x: float = 0.0) -> str:
        return f"""
        <body name="{name}thigh" pos="{x} {0.1 * side} -0.15">
          <joint name="{name}hip_roll" axis="1 0 0" range="-30 30"/>
          <joint name="{name}hip_pitch" axis="0 1 0" range="-90 60"/>
          <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.04"/>
          <body name="{name}shin" pos="0 0 -0.3">
            <joint name="{name}knee" axis="0 1 0" range="-5 120"/>
            <geom type="capsule" fromto="0 0 0 0 0 -0.27" size="0.03"/>
            <geom name="{name}{feet}" type="box" pos="0.04 0 -0.31" size="0.1 0.05 0.02"/>
          </body>
        </body>"""

    def motors(name: str) -> str:
        return "".join(
            f'<motor joint="{name}{joint}" ctrlrange="-1 1" gear="40"/>' for joint in ("hip_roll", "hip_pitch", "knee")
        )

    return f"""
    <mujoco model="small biped">
      <option timestep="0.004"/>
      <default><joint damping="0.5" armature="0.01"/></default>
      <worldbody>
        <body name="pelvis" pos="0 0 1">
          <freejoint/>
          <geom type="box" size="0.08 0.12 0.08" mass="6"/>
          <body name="chest" pos="0 0 0.1">
            <joint name="waist" axis="0 0 1" range="-40 40"/>
            <geom type="box" pos="0 0 0.15" size="0.08 0.12 0.12" mass="6"/>
          </body>
          {leg(left, 1)}{leg(right, -1, shift)}
        </body>
      </worldbody>
      <actuator><motor joint="waist" ctrlrange="-20 20"/>{motors(left)}{motors(right)}</actuator>
    </mujoco>"""


def urdf_biped() -> str:
    """URDF of a biped: its base is fixed, feet are fixed to shins, and there are no actuators."""

    def link(name: str, mass: float, shape: str, place: str = "0 0 0") -> str:
        return f"""<link name="{name}">
          <inertial><origin xyz="{place}"/><mass value="{mass}"/>
            <inertia ixx="0.02" iyy="0.02" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
          <collision><origin xyz="{place}"/><geometry>{shape}</geometry></collision></link>"""

    def joint(name: str, kind: str, parent: str, child: str, place: str, more: str = "") -> str:
        return f"""<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>
          <origin xyz="{place}"/>{more}</joint>"""

    pitch = '<axis xyz="0 1 0"/><limit lower="-1.5" upper="1.5" effort="30" velocity="10"/>'
    parts = [link("base_link", 8, '<box size="0.2 0.3 0.3"/>')]
    for side, y in (("L", 0.1), ("R", -0.1)):
        parts += [
            link(f"{side}_thigh", 1.5, '<cylinder radius="0.03" length="0.25"/>', "0 0 -0.13"),
            link(f"{side}_shin", 1, '<cylinder radius="0.03" length="0.25"/>', "0 0 -0.13"),
            link(f"{side}_foot", 0.5, '<box size="0.2 0.1 0.04"/>'),
            joint(f"{side}_hip", "revolute", "base_link", f"{side}_thigh", f"0 {y} -0.15", pitch),
            joint(f"{side}_knee", "revolute", f"{side}_thigh", f"{side}_shin", "0 0 -0.28", pitch),
            joint(f"{side}_ankle", "fixed", f"{side}_shin", f"{side}_foot", "0.03 0 -0.28"),
        ]
    return f'<robot name="urdf biped">{"".join(parts)}</robot>'


def quadruped(
    wheels: bool = False, keyframe: bool = True, floor: bool = True, turn: str = "1 0 0 0", back: str = "1 0 0 0"
) -> str:
    """MJCF of a quadruped with position servos, a keyframe and a floor.

    Args:
        wheels: whether the hind legs end in wheels.
        keyframe: whether to add a home keyframe.
        floor: whether to add a floor.
        turn: quaternion of the trunk in the world.
        back: quaternion of all parts in the trunk's frame.
    """
    legs = []
    for name, x, y in (("FL", 1, 1), ("FR", 1, -1), ("RL", -1, 1), ("RR", -1, -1)):
        wheel = wheels and name[0] == "R"
        end = (
            f"""<body name="{name}_wheel" pos="0 0 -0.2"><joint name="{name}_spin" axis="0 1 0"/>
                <geom type="cylinder" size="0.04 0.02" euler="90 0 0"/></body>"""
            if wheel
            else '<geom type="sphere" pos="0 0 -0.2" size="0.02"/>'
        )
        legs.append(f"""
        <body name="{name}_hip" pos="{0.2 * x} {0.08 * y} 0">
          <joint name="{name}_hip_joint" axis="1 0 0" range="-40 40"/>
          <geom type="sphere" size="0.03"/>
          <body name="{name}_thigh" pos="0 {0.04 * y} 0">
            <joint name="{name}_thigh_joint" axis="0 1 0" range="-60 120"/>
            <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02"/>
            <body name="{name}_calf" pos="0 0 -0.2">
              <joint name="{name}_calf_joint" axis="0 1 0" range="-150 -30"/>
              <geom type="capsule" fromto="0 0 0 0 0 -0.18" size="0.012"/>
              {end}
            </body>
          </body>
        </body>""")
    joints = [f"{leg}_{part}_joint" for leg in ("FL", "FR", "RL", "RR") for part in ("hip", "thigh", "calf")]
    servos = "".join(f'<position joint="{joint}" kp="60" kv="2" forcerange="-25 25"/>' for joint in joints)
    ground = '<geom name="ground" type="plane" size="0 0 1" pos="0 0 0.5"/>' if floor else ""
    home = "0 0 1 1 0 0 0" + " 0 0.8 -1.5" * 4
    keys = f'<keyframe><key qpos="{"0 " * 19}"/><key name="home" qpos="{home}"/></keyframe>' if keyframe else ""
    return f"""
    <mujoco model="small quadruped">
      <default><joint damping="0.1" armature="0.005"/></default>
      <worldbody>{ground}
        <body name="trunk" pos="0 0 1" quat="{turn}"><freejoint name="root"/><frame quat="{back}">
          <geom type="box" size="0.22 0.08 0.05" mass="6"/>{"".join(legs)}</frame></body>
      </worldbody>
      <actuator>{servos}</actuator>{keys}
    </mujoco>"""
