"""The ground, the light and the sky in which a body of ours stands."""

from collections.abc import Sequence
from typing import Literal

import mujoco

Contact = Literal["pyramidal", "elliptic"]

_SKY_HIGH, _SKY_LOW = [0.93, 0.95, 0.97], [0.63, 0.73, 0.83]
_TILE_LIGHT, _TILE_DARK, _TILE_EDGE = [0.88, 0.89, 0.91], [0.80, 0.82, 0.85], [0.70, 0.73, 0.77]
_OBSTACLE = [0.86, 0.66, 0.40, 1]


def new_scene(timestep_s: float, contact: Contact = "pyramidal") -> mujoco.MjSpec:
    """Return a scene with a floor without end, called "floor", and light.

    What is to touch the ground needs the bit 1 in its `conaffinity`. Angles are in radians.

    Args:
        timestep_s: of the physics.
        contact: friction as a pyramid, which is quick; or as MuJoCo Menagerie has it, an elliptic cone whose friction
            is a hundred times as hard as its normal.
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
    """Add a floor without end at height zero, and light and sky where there are none.

    What is called "floor", "tiles", "sky" or "sun" already keeps its name, and ours has a longer one.

    Args:
        spec: the scene.
        contype: of the floor, as MuJoCo has it; what is to touch the ground needs one of these bits in its conaffinity,
        conaffinity: or one of these in its contype.
    """
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.visual.rgba.haze = [0.80, 0.85, 0.90, 1]
    spec.visual.quality.shadowsize = 2048
    # Where the shadows' map ends, the floor is speckled: that is to be far away.
    spec.visual.map.shadowclip = 8
    if all(texture.type != mujoco.mjtTexture.mjTEXTURE_SKYBOX for texture in spec.textures):
        _add_sky(spec)
    tiles = _add_tiles(spec)
    spec.worldbody.add_geom(
        name=_free_name("floor", spec.geoms),
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 0.05],
        material=tiles,
        contype=contype,
        conaffinity=conaffinity,
    )
    if not spec.lights:
        _add_sun(spec)


def _free_name(name: str, group) -> str:
    """Return a name that no element of a kind has."""
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
    """Add the floor's look; return its material's name."""
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
    """Add a block that stands on the floor, from one corner (x, y, z) to the opposite, in metres."""
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[(a + b) / 2 for a, b in zip(start, stop, strict=True)],
        size=[abs(b - a) / 2 for a, b in zip(start, stop, strict=True)],
        rgba=_OBSTACLE,
        contype=1,
        conaffinity=0,
    )
