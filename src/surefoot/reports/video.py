"""Let a policy act while it is drawn: videos, stills and small animations, with or without a screen."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from surefoot.errors import InputError
from surefoot.reports import opengl
from surefoot.reports.encoding import encoded, write_mp4
from surefoot.reports.image_files import picture_path, save_picture
from surefoot.tasks.catalogue import TaskInfo, make_env

DEFAULT_SIZE = (640, 480)
_MAX_FPS = 60.0  # a faster simulation is drawn every second or third step, still at its own speed


class Actor(Protocol):
    """What is filmed: anything that answers like `surefoot.policies.policy.Policy`."""

    def predict(self, observation: np.ndarray, *, deterministic: bool = True) -> Sequence[Any]:
        """Return the action (A,) first, then anything."""
        ...


@dataclasses.dataclass(frozen=True)
class _Moment:
    """Where the show stands after a step.

    Attributes:
        step: how many steps since the start, counting each reset as one.
        episode: which episode, from 0.
        length: how many steps of it are done.
        total: the sum of its rewards so far.
        finished: whether this was its last step.
    """

    step: int
    episode: int
    length: int
    total: float
    finished: bool


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
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Film the deterministic policy into an MP4 file (H.264, yuv420p), at the speed of the simulated clock.

    The file appears under its name only when it is whole. Episode i starts from seed + i, as in an evaluation.

    Args:
        policy: what acts.
        info: the task.
        path: the file to write, `.mp4`.
        episodes: how many whole episodes, unless `seconds` is given.
        seconds: film exactly this long instead, starting new episodes as needed.
        seed: that of the first episode.
        size: width and height in pixels, rounded down to even; by default 640 x 480 for MuJoCo tasks and for
            others what they draw.
        caption: write the task, the return so far and the time into the picture.
        progress: called with the number of frames written so far, after each.

    Returns:
        `return` and `length`, means over the whole episodes seen (of the unfinished one where there is no
        other); `episodes`, how many were whole; `path`; `frames`; `fps`.

    Raises:
        InputError: the task cannot be drawn, a number is out of range, or imageio-ffmpeg is missing.
        SurefootError: ffmpeg failed, such as for a full disk.
    """
    path = picture_path(path, ".mp4")
    _check_number("episodes", episodes, 1)
    _check_length(info, seconds)
    with _Scene(info, size) as scene:
        every = math.ceil(scene.fps / _MAX_FPS)
        fps = scene.fps / every
        wanted = math.inf if seconds is None else max(1, round(seconds * fps))
        whole: list[_Moment] = []
        frames = 0
        moment = _Moment(0, 0, 0, 0.0, False)
        with write_mp4(path, fps) as send:
            for moment in _play(policy, scene.env, seed):
                if moment.step % every == 0:
                    label = info.name if episodes == 1 else f"{info.name}, episode {moment.episode + 1}"
                    picture = scene.picture()
                    send(np.asarray(_captioned(picture, label, moment, scene.fps) if caption else picture))
                    frames += 1
                    if progress is not None:
                        progress(frames)
                if moment.finished:
                    whole.append(moment)
                if frames >= wanted or (seconds is None and len(whole) == episodes):
                    break
    return _means(whole or [moment]) | {"episodes": len(whole), "path": str(path), "frames": frames, "fps": fps}


def still(
    policy: Actor,
    info: TaskInfo,
    path: str | Path,
    at_seconds: float = 2.0,
    *,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Path:
    """Draw one moment of the episode that starts from `seed`, or its end if it is over before, as a PNG file.

    Raises:
        InputError: the task cannot be drawn, or a number is out of range.
    """
    path = picture_path(path, ".png")
    _check_number("at_seconds", at_seconds, 0)
    with _Scene(info, size) as scene:
        last = round(at_seconds * scene.fps)
        for moment in _play(policy, scene.env, seed):
            if moment.step >= last or moment.finished:
                break
        save_picture(path, encoded([scene.picture()], "png"))
    return path


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
    """Draw a small endless animation, WebP or GIF by the name's ending, that a README can show.

    The quality falls step by step until the file is no larger than `max_bytes`; the coarsest is kept even if
    it is.

    Args:
        policy: what acts, deterministically.
        info: the task.
        path: the file to write, `.webp` or `.gif`.
        start: skip so many simulated seconds.
        seconds: how much simulated time is shown.
        width: of the picture, pixels; the height follows.
        fps: at most so many frames a second; the speed stays that of the simulated clock.
        seed: that of the first episode; a next one follows if it ends early.
        max_bytes: how large the file may be.

    Returns:
        `path`, `frames`, `fps` and `bytes`.

    Raises:
        InputError: the task cannot be drawn, or a number is out of range.
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
        for moment in _play(policy, scene.env, seed):
            if moment.step >= first and (moment.step - first) % every == 0:
                picture = scene.picture()
                height = round(picture.height * width / picture.width)
                pictures.append(picture.resize((width, height), Image.Resampling.LANCZOS))
                if len(pictures) == count:
                    break
        shown_fps = scene.fps / every
    data = b""
    for quality in (80, 60, 40, 20):
        data = encoded(pictures, path.suffix[1:], quality, shown_fps)
        if len(data) <= max_bytes:
            break
    save_picture(path, data)
    return {"path": str(path), "frames": len(pictures), "fps": shown_fps, "bytes": len(data)}


class _Scene:
    """One copy of a task that can be drawn, closed at the end of its `with` block.

    Attributes:
        env: the copy.
        fps: steps of the policy per simulated second.
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
                # Imported only now, as mujoco reads what opengl.prepare has set.
                from surefoot.reports.scene_style import dress

                dress(self.env.unwrapped, self._size or DEFAULT_SIZE, keep_camera=_chooses_camera(info))
        except BaseException:
            self.env.close()
            raise

    def __enter__(self) -> "_Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self.env.close()

    def picture(self) -> Image.Image:
        """Draw the present moment, RGB, of even width and height."""
        drawn = self.env.render()
        if not isinstance(drawn, np.ndarray) or drawn.ndim != 3 or drawn.shape[2] != 3:
            raise InputError(f"task '{self._name}' cannot be drawn: its render() gives no picture")
        picture = Image.fromarray(np.ascontiguousarray(drawn, np.uint8))
        size = self._size or (picture.width // 2 * 2, picture.height // 2 * 2)
        if self._size is None:
            return picture.crop((0, 0, *size))
        return picture if picture.size == size else ImageOps.pad(picture, size, Image.Resampling.LANCZOS, "white")


def _play(policy: Actor, env: gymnasium.Env, seed: int) -> Iterator[_Moment]:
    """Let the policy act for ever, episode after episode; drawing is left to the caller."""
    step = 0
    episode = 0
    while True:
        observation, _ = env.reset(seed=seed + episode)
        moment = _Moment(step, episode, 0, 0.0, False)
        yield moment
        step += 1
        while not moment.finished:
            action = np.asarray(policy.predict(observation, deterministic=True)[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            moment = _Moment(
                step, episode, moment.length + 1, moment.total + float(reward), bool(terminated or truncated)
            )
            yield moment
            step += 1
        episode += 1


def _means(ends: Sequence[_Moment]) -> dict[str, Any]:
    return {
        "return": float(np.mean([one.total for one in ends])),
        "length": float(np.mean([one.length for one in ends])),
    }


def _captioned(picture: Image.Image, label: str, moment: _Moment, fps: float) -> Image.Image:
    """Write what is seen into the upper left corner; columns of fixed places, so that nothing jitters."""
    unit = max(12, round(picture.height / 26))
    font = ImageFont.load_default(unit)
    numbers = ("return", f"{moment.total:,.0f}", "time", f"{moment.length / fps:.1f} s")
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


def _check_length(info: TaskInfo, seconds: float | None) -> None:
    if seconds is not None:
        _check_number("seconds", seconds, 0)
        if seconds == 0:
            raise InputError("seconds is 0; it must be more")
    elif info.max_episode_steps is None:
        raise InputError(f"task '{info.name}' has no time limit; say how many seconds to film")
