"""Videos and animations, written and decoded again."""

import dataclasses
import itertools
from typing import Any

import gymnasium
import imageio_ffmpeg
import mujoco
import numpy as np
import pytest
from PIL import Image

from helpers import odd_bodies
from helpers.messages import one_line
from surefoot.errors import InputError, SurefootError
from surefoot.evaluation.episodes import EpisodeStep
from surefoot.reports import media_files, opengl, scene_style, video
from surefoot.reports.opengl import gl_available
from surefoot.reports.video import record
from surefoot.simulation import opensim
from surefoot.tasks.catalogue import find_task, make_env

needs_gl = [
    pytest.mark.gl,
    pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine"),
]
TASKS = [
    pytest.param("bipedal-walker", id="bipedal-walker"),
    pytest.param("half-cheetah", marks=needs_gl, id="half-cheetah"),
    pytest.param("ant", marks=needs_gl, id="ant"),
]


class Stub:
    """Random actions, the same for every instance."""

    def __init__(self, size):
        self.size = size
        self.rng = np.random.default_rng(0)
        self.observations = []

    def predict(self, observation, deterministic=True):
        assert deterministic
        self.observations.append(observation)
        return self.rng.uniform(-1, 1, self.size).astype(np.float32), None


class Broken(Stub):
    def predict(self, observation, deterministic=True):
        if len(self.observations) == 5:
            raise RuntimeError("the policy broke")
        return super().predict(observation, deterministic)


def played(info, seed, steps=None):
    """Return and length of the stub's episode without rendering."""
    env, policy = make_env(info), Stub(info.action_size)
    observation, _ = env.reset(seed=seed)
    total, length, done = 0.0, 0, False
    while not done and length != steps:
        observation, reward, terminated, truncated, _ = env.step(policy.predict(observation)[0])
        total, length, done = total + float(reward), length + 1, terminated or truncated
    env.close()
    return total, length


def decoded(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(frame, np.uint8).reshape(height, width, 3).astype(int) for frame in reader]


@pytest.mark.parametrize("name", TASKS)
def test_recording_does_not_change_the_episode(name, tmp_path):
    info = find_task(name)
    path = tmp_path / "new folder" / "video.mp4"
    result = record(Stub(info.action_size), info, path, seconds=0.5, seed=3, size=(321, 240), fps=60)
    meta, frames = decoded(path)
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert meta["size"] == (320, 240) and meta["fps"] == pytest.approx(result["fps"], abs=0.01)
    assert len(frames) == result["frames"] == round(0.5 * result["fps"])
    assert all(np.abs(a - b).max() > 20 for a, b in itertools.pairwise(frames))
    assert np.mean(frames) > 60 and np.std(frames[0]) > 10
    if result["episodes"] == 0:
        assert (result["return"], result["length"]) == played(info, 3, steps=result["frames"] - 1)
    assert [entry.name for entry in path.parent.iterdir()] == ["video.mp4"]


def test_episodes_start_from_successive_seeds(tmp_path):
    info = find_task("Pendulum-v1")
    path, policy = tmp_path / "video.mp4", Stub(1)
    result = record(policy, info, path, episodes=2, seed=7, size=(64, 64), caption=False)
    assert result["episodes"] == 2 and result["length"] == 200
    assert result["frames"] == 2 * 201
    assert decoded(path)[0]["size"] == (64, 64)
    env = make_env(info)
    assert np.array_equal(policy.observations[0], env.reset(seed=7)[0])
    assert np.array_equal(policy.observations[200], env.reset(seed=8)[0])
    env.close()


def test_a_fall_ends_the_video(tmp_path):
    info = find_task("bipedal-walker")
    result = record(Stub(4), info, tmp_path / "video.mp4", seed=0, fps=60)
    total, length = played(info, 0)
    assert (result["return"], result["length"]) == (pytest.approx(total), length)
    assert result["frames"] == length + 1 and length < 1600


@pytest.mark.gl
@pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine")
def test_the_camera_follows_and_the_floor_is_unlimited(tmp_path):
    info = find_task("half-cheetah")
    with video._Scene(info, (320, 240), 60) as scene:
        scene.env.reset(seed=0)
        base: Any = scene.env.unwrapped
        pictures = []
        for x_m in (0.0, 200.0):
            base.data.qpos[0] = x_m
            scene.env.step(np.zeros(6, np.float32))
            pictures.append(np.asarray(scene.picture()).astype(int))
        assert base.mujoco_renderer.viewer.cam.lookat[0] == pytest.approx(200.0, abs=0.5)
    skin = [(picture[..., 0] - picture[..., 2] > 40).sum() for picture in pictures]
    assert min(skin) > 1000 and skin[1] == pytest.approx(skin[0], rel=0.2)
    floor = [picture[-30:].mean(axis=(0, 1)) for picture in pictures]
    assert floor[1] == pytest.approx(floor[0], abs=20)


@pytest.mark.gl
@pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine")
@pytest.mark.parametrize("task", ["anymal-velocity", "walk"])
def test_the_floor_has_no_speckle(task, tmp_path):
    """Dark pixels by themselves, outside the shadow map; the second body's file has a small one."""
    floor = '<geom name="floor" type="plane" size="0 0 1"/><body name="torso"'
    text = odd_bodies.biped(head='<statistic extent="0.3"/>').replace('<body name="torso"', floor)
    (tmp_path / "biped.xml").write_text(text)
    options = {"body": str(tmp_path / "biped.xml")} if task == "walk" else {}
    env = make_env(find_task(task, options), render_mode="rgb_array")
    base: Any = env.unwrapped
    scene_style.style_scene(base, (640, 480))
    env.reset(seed=0)
    pictures = []
    for shadows in (True, False):
        base.model.light_castshadow[:] = shadows
        pictures.append(env.render()[..., 1].astype(int))
    env.close()
    dark = np.pad(pictures[1] - pictures[0] > 12, 1)
    neighbours = sum(np.roll(dark, shift, (0, 1)) for shift in itertools.product((-1, 0, 1), repeat=2)) - dark
    alone = dark & (neighbours <= 2)
    assert alone[:180].sum() < 10 and alone[-150:].sum() < 20


@pytest.mark.gl
@pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine")
def test_a_camera_in_the_task_options_is_used():
    info = find_task("half-cheetah", {"camera_name": "track"})
    with video._Scene(info, None, 60) as scene:
        scene.env.reset(seed=0)
        assert scene.picture().size == (640, 480)
        base: Any = scene.env.unwrapped
        assert base.mujoco_renderer.camera_id == 0


def test_the_caption_shows_the_speed_over_the_last_second(tmp_path, monkeypatch):
    captions = []
    monkeypatch.setattr(video, "_captioned", lambda picture, label, lines: captions.append(lines) or picture)
    record(Stub(4), find_task("bipedal-walker"), tmp_path / "video.mp4", seconds=0.5, size=(64, 64))
    assert [list(line) for line in captions[-1]] == [["return", "time"], ["speed"]]
    assert captions[0][1]["speed"] == "0.00 m/s" and captions[-1][1]["speed"] > "0.00 m/s"


def test_the_caption_shows_the_command():
    class Scene:
        steps_per_s, fps, every = 50.0, 25.0, 2

        def trunk_pose(self):
            return np.array([self.x, 0.0, 0.0])

    scene: Any = Scene()
    film = video._Film(scene, 20_000.0, None, "walk", lambda *_: None)
    one = np.ones(1, int)
    for number in range(101):
        scene.x = 0.03 * number
        step = EpisodeStep(number, 0 * one, number * one, one, one, 0 * one, one, one, one)
        film(dataclasses.replace(step, info={"command": np.array([0.8, 0, -0.25])}))
        lines = film._values(film._last[0])
    assert lines[0]["time"] == "2.0 s"
    assert lines[1] == {"speed": "1.50 m/s", "command": "0.80, 0.00 m/s, -0.25 rad/s"}
    film._poses.clear()  # as for a body without a known trunk
    assert [list(line) for line in film._values(film._last[0])] == [["return", "time"], ["command"]]


def test_a_caption_that_does_not_fit_loses_its_second_line_first():
    lines = [{"return": "1,234", "time": "3.0 s"}, {"speed": "1.50 m/s", "command": "0.80, 0.00 m/s, -0.25 rad/s"}]
    heights = []
    for width in (640, 350, 100):
        picture = video._captioned(Image.new("RGB", (width, 480), "white"), "walk", [*lines])
        heights.append(int((np.asarray(picture)[..., 0].min(axis=1) < 128).sum()))
    assert heights[0] > heights[1] > heights[2] == 0


def test_progress_is_reported_frame_by_frame(tmp_path):
    shown = []
    info = find_task("Pendulum-v1")
    record(Stub(1), info, tmp_path / "video.mp4", seconds=0.2, size=(64, 64), progress=lambda *x: shown.append(x))
    assert shown == [(frame, 6) for frame in range(1, 7)]


def test_a_fast_simulation_is_recorded_in_real_time(tmp_path):
    info = find_task("bipedal-walker")  # 50 steps per second: every third is rendered
    result = record(Stub(4), info, tmp_path / "video.mp4", seconds=1.2, size=(64, 64), fps=20)
    assert result["fps"] == pytest.approx(50 / 3) and result["frames"] == 20


@pytest.mark.parametrize(("ending", "kind"), [("webp", "WEBP"), ("gif", "GIF")])
def test_an_animation_moves_and_loops(ending, kind, tmp_path):
    info = find_task("bipedal-walker")
    path = tmp_path / f"small.{ending}"
    result = record(Stub(4), info, path, start=0.1, seconds=0.4, size=(150, 100))
    assert result["fps"] == 25 and result["frames"] == 10
    with Image.open(path) as picture:
        assert (picture.format, picture.size, getattr(picture, "n_frames", 1)) == (kind, (150, 100), 10)
        picture.load()
        assert picture.info["loop"] == 0 and picture.info["duration"] == 40
        first = np.asarray(picture.convert("RGB")).astype(int)
        picture.seek(9)
        assert np.abs(np.asarray(picture.convert("RGB")) - first).max() > 50


def test_a_size_limit_reduces_the_quality_of_an_animation(tmp_path, monkeypatch):
    def size():
        record(Stub(4), find_task("bipedal-walker"), tmp_path / "small.webp", seconds=0.4)
        with Image.open(tmp_path / "small.webp") as picture:
            assert picture.size == (480, 320)
        return (tmp_path / "small.webp").stat().st_size

    fine = size()
    monkeypatch.setattr(media_files, "MAX_ANIMATION_BYTES", fine - 1)
    assert size() < fine


def test_a_failure_while_recording_keeps_the_old_file(tmp_path):
    info = find_task("bipedal-walker")
    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="the policy broke"):
        record(Broken(4), info, path, seconds=1.0)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_an_encoder_failure_is_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "false")
    with pytest.raises(SurefootError) as error:
        record(Stub(4), find_task("bipedal-walker"), tmp_path / "video.mp4", seconds=0.5)
    one_line(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings",
    [
        {"path": "video.avi"},
        {"path": "video"},
        {"path": "."},
        {"seconds": 0.0},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"episodes": 0},
        {"fps": 0.0},
        {"start": -1.0},
        {"size": (8, 480)},
        {"size": (640, 1_000_000)},
    ],
)
def test_bad_settings_are_errors_before_any_file_is_written(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        record(Stub(4), find_task("bipedal-walker"), **{"path": "video.mp4"} | settings)
    one_line(error.value)
    assert not list(tmp_path.iterdir())


def test_a_video_of_a_task_without_time_limit_ends(tmp_path, monkeypatch):
    gymnasium.register("surefoot-test/Endless-v0", "gymnasium.envs.classic_control:PendulumEnv")
    try:
        info = find_task("surefoot-test/Endless-v0")
        monkeypatch.setattr(video, "_ENDLESS_S", 0.1)
        assert record(Stub(1), info, tmp_path / "video.mp4", size=(64, 64))["frames"] == 3
        assert record(Stub(1), info, tmp_path / "video.mp4", seconds=0.2, size=(64, 64))["frames"] == 6
    finally:
        del gymnasium.registry["surefoot-test/Endless-v0"]


def test_without_opengl_the_error_names_the_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nothing")
    assert not gl_available()
    with pytest.raises(InputError, match="libegl1 libegl-mesa0 libgl1-mesa-dri") as error:
        record(Stub(6), find_task("half-cheetah"), tmp_path / "video.mp4")
    one_line(error.value, "everything else works")


@pytest.mark.skipif(not opengl.sys.platform.startswith("linux"), reason="needs no DISPLAY elsewhere")
def test_a_display_that_does_not_answer_has_no_opengl(monkeypatch):
    opengl.gl_problem.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not gl_available()
    opengl.gl_problem.cache_clear()


def test_without_a_display_rendering_is_headless_unless_chosen_otherwise(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(opengl.sys, "platform", "linux")
    opengl.prepare()
    assert opengl.os.environ["MUJOCO_GL"] == "egl" and opengl.os.environ["SDL_VIDEODRIVER"] == "dummy"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    opengl.prepare()
    assert opengl.os.environ["MUJOCO_GL"] == "osmesa"


def test_triangles_smaller_than_a_pixel_are_merged_in_meshes_that_are_only_visual():
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body()
    for name, contact in (("seen", 0), ("hit", 1)):
        spec.add_mesh(name=name).make_sphere(4)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=contact, conaffinity=contact)
    model = spec.compile()
    faces = model.mesh_facenum.copy()
    scene_style._merge_small_triangles(model, 0.001)
    assert model.mesh_facenum.tolist() == faces.tolist(), "no triangle is smaller than a millimetre"
    scene_style._merge_small_triangles(model, 0.1)
    assert model.mesh_facenum[1] == faces[1]
    assert 100 < model.mesh_facenum[0] < 0.6 * faces[0]
    corners = model.mesh_vert[model.mesh_face[: model.mesh_facenum[0]]]
    assert np.linalg.norm(corners, axis=2) == pytest.approx(1.0, abs=0.01), "the corners are still on the sphere"
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    assert sides.min() > 0 and sides.max() < 0.4


def test_muscles_are_coloured_by_activation() -> None:
    env = make_env(find_task("learning-to-run", {"visuals": False})).unwrapped
    env.reset(seed=0)
    env.data.act[:] = np.linspace(0, 1, 18)
    limits = env.model.tendon_rgba[18:].copy()
    scene_style.colour_muscles(env.model, env.data)
    red, green = env.model.tendon_rgba[:18, 0], env.model.tendon_rgba[:18, 1]
    assert (np.diff(green) < 0).all() and (np.diff(red) > 0).all()
    np.testing.assert_array_equal(env.model.tendon_rgba[18:], limits)


@pytest.mark.gl
@pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine")
@pytest.mark.skipif(not opensim.installed(), reason="OpenSim is not installed")
def test_the_runner_in_opensim_is_filmed(tmp_path):
    info = find_task("learning-to-run", {"action_repeat": 5})
    result = record(Stub(18), info, tmp_path / "video.mp4", seconds=0.2, size=(96, 64), engine="opensim")
    meta, frames = decoded(tmp_path / "video.mp4")
    assert meta["size"] == (96, 64) and len(frames) == result["frames"] == 4
    assert all(np.abs(a - b).max() > 20 for a, b in itertools.pairwise(frames))


def test_an_engine_that_cannot_simulate_the_task_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"engine 'opensim' cannot simulate task 'bipedal-walker'"):
        record(Stub(4), find_task("bipedal-walker"), tmp_path / "video.mp4", engine="opensim")
