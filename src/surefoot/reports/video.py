"""Videos and small animations of a policy, with or without a display."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from surefoot.errors import InputError
from surefoot.evaluation.episodes import Actor, EpisodeStep, run_episodes
from surefoot.reports import opengl
from surefoot.reports.encoding import encoded, write_mp4
from surefoot.reports.image_files import picture_path, save_picture
from surefoot.tasks.catalogue import TaskInfo, make_env

DEFAULT_SIZE = (640, 480)
_ENDLESS_S = 20.0  # length of a video of a task without a time limit
_MAX_FPS = 60.0  # of faster simulations only every second or third step is drawn; the video remains in real time


def record(
    policy: Actor,
    info: TaskInfo,
    path: str | Path,
    *,
    episodes: int = 1,
    seconds: float | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    caption: bool = True,
) -> dict[str, Any]:
    """Record a video of the deterministic policy, MP4 (H.264, yuv420p), in real time of the simulation.

    The file appears only when it is complete. Episode i starts from seed + i, as in an evaluation.

    Args:
        policy: the policy.
        info: the task.
        path: output file, `.mp4`.
        episodes: number of complete episodes; ignored if `seconds` is given.
        seconds: length of the video, s; new episodes start as needed. None: 20 s for a task without a time limit.
        seed: seed of the first episode.
        size: width and height in pixels, rounded down to even; default: 640 x 480 for MuJoCo tasks, and the size
            that the task renders for others.
        caption: draw the task, the return so far and the time into the frame.

    Returns:
        `return` and `length`, means over complete episodes (or of the incomplete one if there is no other);
        `episodes`, the number of complete ones; `path`; `frames`; `fps`.

    Raises:
        InputError: the task cannot be rendered, a number is out of range, or imageio-ffmpeg is missing.
        SurefootError: ffmpeg failed, for example on a full disk.
    """
    path = picture_path(path, ".mp4")
    _check_number("episodes", episodes, 1)
    if seconds is None and info.max_episode_steps is None:
        seconds = _ENDLESS_S
    _check_length(seconds)
    with _Scene(info, size) as scene:
        every = math.ceil(scene.fps / _MAX_FPS)
        fps = scene.fps / every
        max_frames = math.inf if seconds is None else max(1, round(seconds * fps))
        frames, complete, last = 0, [], None
        with write_mp4(path, fps) as send:

            def film(step: EpisodeStep) -> bool:
                nonlocal frames, last
                if step.number % every == 0:
                    label = info.name if episodes == 1 else f"{info.name}, episode {step.episode[0] + 1}"
                    picture = scene.picture()
                    send(np.asarray(_captioned(picture, label, step, scene.fps) if caption else picture))
                    frames += 1
                if step.finished[0]:
                    complete.append(step)
                last = step
                return frames >= max_frames

            # An episode has at least one step.
            most = episodes if seconds is None else round(max_frames * every) + 1
            run_episodes(policy, scene.env, info, most, seed, film)
    shown = complete or [last]
    return {
        "return": float(np.mean([step.total[0] for step in shown])),
        "length": float(np.mean([step.length[0] for step in shown])),
        "episodes": len(complete),
        "path": str(path),
        "frames": frames,
        "fps": fps,
    }


def write_animation(
    policy: Actor,
    info: TaskInfo,
    path: str | Path,
    *,
    start: float = 0.0,
    seconds: float = 6.0,
    width: int = 480,
    fps: float = 25.0,
    seed: int = 0,
    max_bytes: int = 1_500_000,
) -> dict[str, Any]:
    """Render a small looping animation, WebP or GIF, for a README.

    The quality is reduced in steps until the file is no larger than `max_bytes`; the lowest quality is written even
    if it is larger.

    Args:
        policy: the policy.
        info: the task.
        path: output file, `.webp` or `.gif`.
        start: simulated time to skip, s.
        seconds: simulated time to show, s.
        width: width of the frame in pixels; the height keeps the aspect ratio.
        fps: maximum frame rate; the animation runs in real time of the simulation.
        seed: seed of the first episode; the next episode follows if it ends early.
        max_bytes: maximum file size.

    Returns:
        `path`, `frames`, `fps` and `bytes`.

    Raises:
        InputError: the task cannot be rendered, or a number is out of range.
    """
    path = picture_path(path, ".webp", ".gif")
    _check_number("seconds", seconds, 0.1)
    _check_number("start", start, 0)
    _check_number("width", width, 16, 4096)
    _check_number("fps", fps, 1)
    pictures = []
    with _Scene(info, None) as scene:
        every = math.ceil(scene.fps / fps - 1e-9)
        first = round(start * scene.fps)
        count = max(2, round(seconds * scene.fps / every))

        def draw(step: EpisodeStep) -> bool:
            if step.number >= first and (step.number - first) % every == 0:
                picture = scene.picture()
                height = round(picture.height * width / picture.width)
                pictures.append(picture.resize((width, height), Image.Resampling.LANCZOS))
            return len(pictures) == count

        run_episodes(policy, scene.env, info, first + count * every, seed, draw)
        shown_fps = scene.fps / every
    data = b""
    for quality in (80, 60, 40, 20):
        data = encoded(pictures, path.suffix[1:], quality, shown_fps)
        if len(data) <= max_bytes:
            break
    save_picture(path, data)
    return {"path": str(path), "frames": len(pictures), "fps": shown_fps, "bytes": len(data)}


class _Scene:
    """An environment that can be rendered, closed at the end of its `with` block.

    Attributes:
        env: the environment.
        fps: policy steps per simulated second.
    """

    def __init__(self, info: TaskInfo, size: tuple[int, int] | None) -> None:
        if size is not None:
            for name, value in zip(("width", "height"), size, strict=True):
                _check_number(name, value, 16, 4096)
        opengl.prepare()
        self._name = info.name
        self.env = make_env(info, render_mode="rgb_array")
        self._size = None if size is None else (int(size[0]) // 2 * 2, int(size[1]) // 2 * 2)
        try:
            self.fps = float(self.env.metadata.get("render_fps") or 30) / info.action_repeat
            if hasattr(self.env.unwrapped, "mujoco_renderer"):
                problem = opengl.open_gl()
                if problem is not None:
                    raise InputError(f"task '{info.name}' " + opengl.NO_GL.format(problem))
                # Imported after opengl.prepare, because mujoco reads MUJOCO_GL at import.
                from surefoot.reports.scene_style import style_scene

                style_scene(self.env.unwrapped, self._size or DEFAULT_SIZE, keep_camera=_chooses_camera(info))
        except BaseException:
            self.env.close()
            raise

    def __enter__(self) -> "_Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self.env.close()

    def picture(self) -> Image.Image:
        """Render the current state, RGB, of even width and height."""
        pixels = self.env.render()
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise InputError(f"task '{self._name}' cannot be rendered: its render() returns no RGB array")
        picture = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
        size = self._size or (picture.width // 2 * 2, picture.height // 2 * 2)
        if self._size is None:
            return picture.crop((0, 0, *size))
        return picture if picture.size == size else ImageOps.pad(picture, size, Image.Resampling.LANCZOS, "white")


def _captioned(picture: Image.Image, label: str, step: EpisodeStep, fps: float) -> Image.Image:
    """Draw the caption in the upper left corner, in columns of fixed position so that it does not jitter."""
    unit = max(12, round(picture.height / 26))
    font = ImageFont.load_default(unit)
    numbers = ("return", f"{step.total[0]:,.0f}", "time", f"{step.length[0] / fps:.1f} s")
    label_width = math.ceil(font.getlength(label))
    edges = np.cumsum([unit, label_width + 1.4 * unit, 3.5 * unit, 4.2 * unit, 2.6 * unit, 3.6 * unit])
    if edges[-1] > picture.width:
        return picture
    draw = ImageDraw.Draw(picture, "RGBA")
    top, bottom = unit // 2, unit // 2 + 2 * unit
    draw.rounded_rectangle((unit // 2, top, int(edges[5]), bottom), unit // 2, fill=(20, 26, 34, 190))
    middle = (top + bottom) // 2
    draw.text((int(edges[0]), middle), label, (255, 255, 255), font, "lm")
    for column, text in enumerate(numbers):
        colour = (170, 184, 200) if column % 2 == 0 else (255, 255, 255)
        draw.text((int(edges[column + 1]), middle), text, colour, font, "lm")
    return picture


def _chooses_camera(info: TaskInfo) -> bool:
    return any(key in info.options for key in ("default_camera_config", "camera_id", "camera_name"))


def _check_number(name: str, value: float, least: float, most: float = math.inf) -> None:
    if not math.isfinite(value) or not least <= value <= most:
        allowed = f"at least {least}" if math.isinf(most) else f"from {least} to {most}"
        raise InputError(f"{name} is {value}; it must be {allowed}")


def _check_length(seconds: float | None) -> None:
    if seconds is not None:
        _check_number("seconds", seconds, 0)
        if seconds == 0:
            raise InputError("seconds is 0; it must be positive")
