"""Lights, floor, sky and a following camera for renderings of MuJoCo tasks.

Gymnasium renders a reflecting black and white floor that ends after 40 m, with a fixed camera. Nothing here changes the
physics.
"""

import math
from typing import Any

import mujoco
import numpy as np

from surefoot.tasks.task_env import TaskEnv

_SKY_HIGH, _SKY_LOW = (236, 242, 248), (160, 185, 212)
_FLOOR_LIGHT, _FLOOR_DARK = (224, 228, 232), (190, 198, 207)
_HAZE = (0.80, 0.85, 0.90, 1.0)
_LIGHT_DIRECTION = np.array([0.25, 0.35, -1.0]) / np.linalg.norm([0.25, 0.35, -1.0])
_LIGHT_DISTANCE_M = 4.0
# Beyond the shadow map the floor is speckled; this many times the robot's radius is out of sight.
_SHADOW_RADII, _SHADOW_PIXELS = 22.0, 3072
_SUN = 0.55
_OVERSIZE = 1.5
# Colours of muscles without and with full activation.
_RELAXED, _ACTIVE = np.array([0.78, 0.72, 0.68, 1.0]), np.array([0.85, 0.05, 0.05, 1.0])
_LIMB_OPACITY, _MUSCLE_WIDENING = 0.35, 1.6
_WALKER = 1  # the first body after the world: the root body of a single robot


def style_scene(env: Any, size: tuple[int, int], keep_camera: bool = False) -> None:
    """Style a MuJoCo environment before its first rendering; `size` is (width, height) of the film in pixels.

    Colours change only for Gymnasium's tasks, lights for Gymnasium's and Surefoot's tasks, and the camera for all tasks
    whose root body can move away, unless `keep_camera`.
    """
    model, data, renderer = env.model, env.data, env.mujoco_renderer
    # Without a graphics card, drawing at a larger size takes less time than MuJoCo's anti-aliasing.
    renderer.width, renderer.height = drawn = round(_OVERSIZE * size[0]), round(_OVERSIZE * size[1])
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = max(drawn[0], model.vis.global_.offwidth)
    model.vis.global_.offheight = max(drawn[1], model.vis.global_.offheight)
    moves = _moves_away(model)
    is_surefoot = isinstance(env, TaskEnv)
    is_gymnasium = type(env).__module__.startswith("gymnasium.envs.mujoco")
    if len(muscles := _muscles(model)):  # they lie inside the limbs
        model.tendon_width[model.actuator_trnid[muscles, 0]] *= _MUSCLE_WIDENING
        model.geom_rgba[model.body_rootid[model.geom_bodyid] == _WALKER, 3] *= _LIMB_OPACITY
    if is_gymnasium:
        _paint(model)
    if is_gymnasium or is_surefoot:
        _spread_floor(model)
    mujoco.mj_forward(model, data)
    if moves and (is_surefoot or is_gymnasium):
        _track_light(model, _reach(model, data))
    if moves and not keep_camera:
        planar = model.jnt_type[0] == mujoco.mjtJoint.mjJNT_SLIDE
        distance_m = 3.2 * _reach(model, data)
        _merge_small_triangles(model, 2 * distance_m * math.tan(math.radians(model.vis.global_.fovy) / 2) / size[1])
        renderer.camera_id = None  # otherwise the renderer replaces the tracking camera by a free one
        renderer.default_cam_config = {
            "type": int(mujoco.mjtCamera.mjCAMERA_TRACKING),
            "trackbodyid": _WALKER,
            "distance": distance_m,
            # Surefoot's robots walk along x; this angle shows the ground ahead of them.
            "azimuth": 90.0 if planar else 55.0 if is_surefoot else 125.0,
            "elevation": -12.0 if planar else -22.0,
        }


def colour_muscles(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Colour the tendons of muscles by activation, from grey to red; other models stay as they are."""
    muscles = _muscles(model)
    if len(muscles):
        activation = np.clip(data.act[model.actuator_actadr[muscles]], 0, 1)[:, None]
        model.tendon_rgba[model.actuator_trnid[muscles, 0]] = _RELAXED + activation * (_ACTIVE - _RELAXED)


def _muscles(model: mujoco.MjModel) -> np.ndarray:
    """Return the indices of actuators that are muscles on tendons."""
    is_muscle = model.actuator_dyntype == mujoco.mjtDyn.mjDYN_MUSCLE
    return np.flatnonzero(is_muscle & (model.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON))


def _moves_away(model: mujoco.MjModel) -> bool:
    """Whether the root body can leave its place: it has a free joint or an unlimited slide joint."""
    if model.njnt == 0 or model.jnt_bodyid[0] != _WALKER:
        return False
    slides = model.jnt_type[0] == mujoco.mjtJoint.mjJNT_SLIDE and not model.jnt_limited[0]
    return bool(slides or model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE)


def _reach(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Return the radius of the robot around its centre of mass, m."""
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
    model.vis.rgba.haze[:] = _HAZE


def _recolour(pixels: np.ndarray, light: tuple[int, int, int], dark: tuple[int, int, int]) -> None:
    """Map the grey levels of a texture (H, W, 3) to a gradient between two colours, in place."""
    level = pixels[..., :1].astype(float)
    level /= max(level.max(initial=0.0), 1.0)
    pixels[..., :3] = np.asarray(light) * level + np.asarray(dark) * (1 - level)


def _spread_floor(model: mujoco.MjModel) -> None:
    """Render textured floors as infinite, as they are for collisions."""
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        half_size, material = model.geom_size[geom, :2], model.geom_matid[geom]
        if material >= 0 and (half_size > 0).all():
            if not model.mat_texuniform[material]:
                model.mat_texrepeat[material] /= 2 * half_size  # from per floor to per metre
                model.mat_texuniform[material] = 1
            model.geom_rgba[geom] = 1.0
            model.geom_size[geom, :2] = 0.0


def _merge_small_triangles(model: mujoco.MjModel, pixel_m: float) -> None:
    """Remove triangles of less than about a pixel from meshes that are only visual.

    CAD models have about 100,000 of them, and without a graphics card these take most of the time. Vertices in one cell
    of a grid are merged; degenerate and duplicate triangles are removed.
    """
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    colliding = model.geom_dataid[collides & (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)]
    senses = (model.sensor_type == mujoco.mjtSensor.mjSENS_RANGEFINDER).any()  # rays may hit the triangles
    for mesh in [] if senses else np.setdiff1d(range(model.nmesh), colliding):
        faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
        vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        cells = np.floor(vertices / pixel_m).astype(np.int64)
        _, chosen, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        corners = cell.reshape(-1)[model.mesh_face[faces]]
        ordered = np.sort(corners, axis=1)
        whole = np.flatnonzero((np.diff(ordered, axis=1) > 0).all(axis=1))
        kept = whole[np.sort(np.unique(ordered[whole], axis=0, return_index=True)[1])]
        left = slice(faces.start, faces.start + len(kept))
        for indices in (model.mesh_facenormal, model.mesh_facetexcoord):
            indices[left] = indices[faces][kept]
        model.mesh_face[left] = chosen[corners[kept]]
        model.mesh_facenum[mesh] = len(kept)


def _track_light(model: mujoco.MjModel, reach_m: float) -> None:
    """Make the first light a sun that moves with the robot, because shadows far from a light become striped."""
    model.vis.map.shadowclip, model.vis.quality.shadowsize = _SHADOW_RADII * reach_m / model.stat.extent, _SHADOW_PIXELS
    model.light_type[:] = int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
    model.light_active[1:] = False
    model.light_ambient[:], model.light_diffuse[:], model.light_specular[:] = 0.0, _SUN, 0.1
    model.light_mode[:] = int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
    model.light_bodyid[:] = _WALKER
    model.light_dir0[:] = _LIGHT_DIRECTION
    model.light_poscom0[:] = -_LIGHT_DISTANCE_M * _LIGHT_DIRECTION
