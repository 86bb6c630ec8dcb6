"""Dress a MuJoCo task for its pictures: light, floor, sky, and a camera that follows whoever walks.

Gymnasium's own pictures show a black and white floor that ends after 40 m, mirror images in it, and a camera
that stays where the episode began. Nothing here touches the physics.
"""

from typing import Any

import mujoco
import numpy as np

from surefoot.tasks.task_env import TaskEnv

_SKY_HIGH, _SKY_LOW = (236, 242, 248), (160, 185, 212)
_FLOOR_LIGHT, _FLOOR_DARK = (224, 228, 232), (190, 198, 207)
_HAZE = (0.80, 0.85, 0.90, 1.0)
_LIGHT_DIRECTION = np.array([0.25, 0.35, -1.0]) / np.linalg.norm([0.25, 0.35, -1.0])
_LIGHT_DISTANCE_M = 4.0
_WALKER = 1  # the first body after the world, which carries all others of a lone robot


def dress(env: Any, size: tuple[int, int], keep_camera: bool = False) -> None:
    """Prepare a MuJoCo environment, before its first picture, for pictures of `size` (width, height).

    The colours change only for Gymnasium's own tasks, the lights for those and ours, the camera for all whose first
    body is free to go away, unless `keep_camera`.
    """
    model, data, renderer = env.model, env.data, env.mujoco_renderer
    renderer.width, renderer.height = size
    model.vis.global_.offwidth = max(size[0], model.vis.global_.offwidth)
    model.vis.global_.offheight = max(size[1], model.vis.global_.offheight)
    walks = _walks(model)
    ours = isinstance(env, TaskEnv)
    gymnasiums = type(env).__module__.startswith("gymnasium.envs.mujoco")
    if gymnasiums:
        _paint(model)
        _spread_floor(model)
    if walks and (ours or gymnasiums):
        _hang_light(model)
    if walks and not keep_camera:
        mujoco.mj_forward(model, data)
        planar = model.jnt_type[0] == mujoco.mjtJoint.mjJNT_SLIDE
        renderer.camera_id = None  # or the renderer would put a free camera in place of the following one
        renderer.default_cam_config = {
            "type": int(mujoco.mjtCamera.mjCAMERA_TRACKING),
            "trackbodyid": _WALKER,
            "distance": 3.2 * _reach(model, data),
            # Ours walk along x, and what they walk into is to be seen.
            "azimuth": 90.0 if planar else 55.0 if ours else 125.0,
            "elevation": -12.0 if planar else -22.0,
        }


def _walks(model: mujoco.MjModel) -> bool:
    """Tell whether the first body can leave its place: a free joint, or a slide without an end."""
    if model.njnt == 0 or model.jnt_bodyid[0] != _WALKER:
        return False
    slides = model.jnt_type[0] == mujoco.mjtJoint.mjJNT_SLIDE and not model.jnt_limited[0]
    return bool(slides or model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE)


def _reach(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Return how far in metres the walker reaches from its centre of mass."""
    own = np.flatnonzero(model.body_rootid[model.geom_bodyid] == _WALKER)
    distance = np.linalg.norm(data.geom_xpos[own] - data.subtree_com[_WALKER], axis=1)
    return float((distance + model.geom_rbound[own]).max(initial=0.3))


def _paint(model: mujoco.MjModel) -> None:
    for index in range(model.ntex):
        height, width, channels = model.tex_height[index], model.tex_width[index], model.tex_nchannel[index]
        start = model.tex_adr[index]
        pixels = model.tex_data[start : start + height * width * channels].reshape(height, width, channels)
        if model.tex_type[index] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            _recolour(pixels, _SKY_HIGH, _SKY_LOW)
        elif model.tex_type[index] == mujoco.mjtTexture.mjTEXTURE_2D:
            _recolour(pixels, _FLOOR_LIGHT, _FLOOR_DARK)
    model.mat_reflectance[:] = 0.0
    model.mat_specular[:] = 0.2
    model.mat_shininess[:] = 0.2
    model.vis.headlight.ambient[:] = 0.35
    model.vis.headlight.diffuse[:] = 0.35
    model.vis.headlight.specular[:] = 0.1
    model.light_diffuse[:] = 0.55
    model.vis.rgba.haze[:] = _HAZE
    model.vis.quality.shadowsize = 2048


def _recolour(pixels: np.ndarray, light: tuple[int, int, int], dark: tuple[int, int, int]) -> None:
    """Map the grey levels of a texture (H, W, 3) to between two colours, in place."""
    level = pixels[..., :1].astype(float)
    level /= max(level.max(initial=0.0), 1.0)
    pixels[..., :3] = np.asarray(light) * level + np.asarray(dark) * (1 - level)


def _spread_floor(model: mujoco.MjModel) -> None:
    """Draw every textured floor without end; it already collides so, whatever its drawn size."""
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        half_size, material = model.geom_size[geom, :2], model.geom_matid[geom]
        if material >= 0 and (half_size > 0).all():
            if not model.mat_texuniform[material]:
                model.mat_texrepeat[material] /= 2 * half_size  # from per floor to per metre
                model.mat_texuniform[material] = 1
            model.geom_rgba[geom] = 1.0
            model.geom_size[geom, :2] = 0.0


def _hang_light(model: mujoco.MjModel) -> None:
    """Let the lights go along with the walker; far from a light its shadows break into stripes."""
    model.light_mode[:] = int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
    model.light_bodyid[:] = _WALKER
    model.light_dir0[:] = _LIGHT_DIRECTION
    model.light_poscom0[:] = -_LIGHT_DISTANCE_M * _LIGHT_DIRECTION
