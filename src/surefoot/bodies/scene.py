"""Scenes: floor, light, sky and obstacles."""

from collections.abc import Sequence
from typing import Literal

import mujoco

# Every bit of `contype` and `conaffinity`.
ALL_BITS = 2**31 - 1
Contact = Literal["pyramidal", "elliptic"]

_SKY_HIGH, _SKY_LOW = [0.93, 0.95, 0.97], [0.63, 0.73, 0.83]
_TILE_LIGHT, _TILE_DARK, _TILE_EDGE = [0.88, 0.89, 0.91], [0.80, 0.82, 0.85], [0.70, 0.73, 0.77]
_OBSTACLE = [0.86, 0.66, 0.40, 1]


def new_scene(timestep_s: float, contact: Contact = "pyramidal") -> mujoco.MjSpec:
    """Return a scene with an infinite floor, called "floor", and light. Angles are in radians.

    Geoms collide with the floor if bit 1 of their `conaffinity` is set.

    Args:
        timestep_s: physics time step.
        contact: friction cone: "pyramidal" is fast; "elliptic" with `impratio` 100 is that of MuJoCo Menagerie.
    """
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = timestep_s
    if contact == "elliptic":
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.impratio = 100
    spec.stat.center = [0, 0, 0.4]
    spec.stat.extent = 1.5
    add_scenery(spec)
    return spec


def add_scenery(spec: mujoco.MjSpec, contype: int = 1, conaffinity: int = 0) -> None:
    """Add an infinite floor at height zero, and `add_backdrop`; names that are taken get an underscore appended.

    Args:
        spec: the scene.
        contype: of the floor, as in MuJoCo.
        conaffinity: of the floor, as in MuJoCo.
    """
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.visual.rgba.haze = [0.80, 0.85, 0.90, 1]
    spec.visual.quality.shadowsize = 2048
    # Outside the shadow map the floor is speckled; with a large map that part is not visible.
    spec.visual.map.shadowclip = 8
    add_backdrop(spec)
    tiles = _add_tiles(spec)
    spec.worldbody.add_geom(
        name=_free_name("floor", spec.geoms),
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 0.05],
        material=tiles,
        contype=contype,
        conaffinity=conaffinity,
    )


def add_backdrop(spec: mujoco.MjSpec) -> bool:
    """Add sky and light if the scene has none; return whether it had less."""
    has_sky = any(texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX for texture in spec.textures)
    has_light = len(spec.lights) > 0
    if not has_sky:
        _add_sky(spec)
    if not has_light:
        _add_sun(spec)
    return not (has_sky and has_light)


def _free_name(name: str, group) -> str:
    """Return `name`, with underscores appended until no element of the group has it."""
    names = {one.name for one in group}
    while name in names:
        name += "_"
    return name


def _add_sky(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name=_free_name("sky", spec.textures),
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_SKY_HIGH,
        rgb2=_SKY_LOW,
        width=256,
        height=1536,
    )


def _add_tiles(spec: mujoco.MjSpec) -> str:
    """Add the floor's material and return its name."""
    texture, material = _free_name("tiles", spec.textures), _free_name("tiles", spec.materials)
    spec.add_texture(
        name=texture,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=_TILE_LIGHT,
        rgb2=_TILE_DARK,
        markrgb=_TILE_EDGE,
        width=512,
        height=512,
    )
    tiles = spec.add_material(name=material, texuniform=True, texrepeat=[1, 1], specular=0.1, shininess=0.1)
    tiles.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture
    return material


def _add_sun(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_light(
        name=_free_name("sun", spec.lights),
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[-0.9, 1.3, 3.7],
        dir=[0.25, -0.35, -1.0],
        diffuse=[0.6, 0.6, 0.58],
        specular=[0.1, 0.1, 0.1],
        castshadow=True,
    )


def add_block(spec: mujoco.MjSpec, name: str, start: Sequence[float], stop: Sequence[float]) -> None:
    """Add a block between two opposite corners (x, y, z), m."""
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[(a + b) / 2 for a, b in zip(start, stop, strict=True)],
        size=[abs(b - a) / 2 for a, b in zip(start, stop, strict=True)],
        rgba=_OBSTACLE,
        contype=1,
        conaffinity=0,
    )
