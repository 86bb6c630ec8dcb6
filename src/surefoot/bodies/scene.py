"""Scenes: floor, light, sky and obstacles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import mujoco

# Every bit of `contype` and `conaffinity`.
ALL_BITS = 2**31 - 1
Contact = Literal["pyramidal", "elliptic"]
# Elements that are added to a file's model take their defaults from here, not from the file's.
PLAIN = mujoco.MjSpec()
_OBSTACLE = [0.86, 0.66, 0.40, 1]


def new_scene(timestep_s: float, contact: Contact = "pyramidal", model: str = "scenery.xml") -> mujoco.MjSpec:
    """Return a scene with an infinite floor, called "floor", and light.

    Args:
        timestep_s: physics time step.
        contact: friction cone: "pyramidal" is fast; "elliptic" with `impratio` 100 is that of MuJoCo Menagerie.
        model: file in this folder, scenery.xml or one that includes it.
    """
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name(model)))
    spec.option.timestep = timestep_s
    if contact == "elliptic":
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.impratio = 100
    return spec


def add_scenery(spec: mujoco.MjSpec, floor_m: float | None) -> None:
    """Add light and sky if a scene has none, and a floor at height `floor_m` that collides with everything.

    With None, no floor is added.
    """
    scenery = new_scene(spec.option.timestep)
    if spec.lights:
        scenery.delete(scenery.light("sun"))
    if any(texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX for texture in spec.textures):
        scenery.delete(scenery.texture("sky"))
    scenery.geom("floor").contype = scenery.geom("floor").conaffinity = ALL_BITS
    if floor_m is not None:
        scenery.geom("floor").pos = [0, 0, floor_m]
        spec.visual.headlight, spec.visual.quality = scenery.visual.headlight, scenery.visual.quality
        spec.visual.rgba.haze, spec.visual.map.shadowclip = scenery.visual.rgba.haze, scenery.visual.map.shadowclip
    names = {element.name for group in (spec.geoms, spec.lights, spec.textures, spec.materials) for element in group}
    prefix = "scenery/"
    while any(name.startswith(prefix) for name in names):
        prefix = f"_{prefix}"
    spec.attach(scenery, prefix=prefix, frame=spec.worldbody.add_frame())
    if floor_m is None:  # deleted after attaching, because textures of a scene without shapes are not attached
        spec.delete(spec.geom(f"{prefix}floor"))


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
