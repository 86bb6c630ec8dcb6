"""Videos and small animations of a policy, with or without a display."""

import collections
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from surefoot.errors import InputError, check_range
from surefoot.evaluation.episodes import MAX_SEED, Actor, EpisodeStep, run_episodes
from surefoot.evaluation.travel import trunk_pose
from surefoot.reports import opengl
from surefoot.reports.media_files import Send, output_path, write_animation, write_mp4
from surefoot.simulation.factory import choose_engine, make_single_env
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.wrappers import steps_per_second

DEFAULT_SIZE = (640, 480)
_ANIMATION_WIDTH, _ANIMATION_S = 480, 6.0
_ENDLESS_S = 20.0  # length of a video of a task without a time limit
_MAX_S = 36_000.0
_MOST_PIXELS = 4096  # in each direction
_VALUE_WIDTHS = {"return": 4.0, "time": 3.4, "speed": 4.6, "command": 13.0}  # in font heights


def record(
    policy: Actor,
    info: TaskInfo,
    path: str | Path,
    *,
    episodes: int = 1,
    seconds: float | None = None,
    start: float = 0.0,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    caption: bool = True,
    engine: str = "auto",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Record the deterministic policy in real time of the simulation; the file appears when it is complete.

    Args:
        policy: the policy.
        info: the task.
        path: output file: `.mp4` (H.264, yuv420p), or `.webp` or `.gif` for a small looping animation without caption.
        episodes: number of complete episodes; ignored if `seconds` is given.
        seconds: length, s; new episodes start as needed. Default: whole episodes; 20 s for a task without a time
            limit; 6 s for animations.
        start: simulated time to skip, s.
        seed: seed of the first episode; episode i starts from seed + i, as in an evaluation.
        size: width and height in pixels, rounded down to even; default: 640 x 480 for MuJoCo tasks, and the size
            that the task renders for others. Animations: 480 pixels wide by default.
        fps: maximum frames per second, by default 30, for animations 25; of a faster simulation every n-th step is
            drawn.
        caption: draw the task, the return so far, the time, the speed over the last second and the command into the
            frames of a video.
        engine: name of the engine whose simulator is used.
        progress: called with the number of frames so far and the expected number.

    Returns:
        `return` and `length`, means over complete episodes (or of the incomplete one if there is no other);
        `episodes`, the number of complete ones; `path`; `frames`; `fps`.

    Raises:
        InputError: the task cannot be rendered or simulated by the engine, a number is out of range, or imageio-ffmpeg
            is missing.
        SurefootError: ffmpeg failed, for example on a full disk.
    """
    is_video = Path(path).suffix.lower() == ".mp4"
    fps = fps if fps is not None else 30.0 if is_video else 25.0
    if seconds is None and (not is_video or info.max_episode_steps is None):
        seconds = _ENDLESS_S if is_video else _ANIMATION_S
    _check_limits(episodes, start, fps, seconds, size)
    path = output_path(path, ".mp4", ".webp", ".gif")
    with _Scene(info, size, fps, None if is_video else _ANIMATION_WIDTH, engine) as scene:
        label = f"{info.name}, episode {{}}" if episodes > 1 else info.name
        film = _Film(scene, start, seconds, label if is_video and caption else None, progress)
        with (write_mp4 if is_video else write_animation)(path, scene.fps) as film.send:
            film.shoot(policy, info, episodes, seed)
    return film.summary() | {"path": str(path), "fps": scene.fps}


def _check_limits(episodes: int, start: float, fps: float, seconds: float | None, size: tuple[int, int] | None) -> None:
    limits = {"episodes": (episodes, 1, MAX_SEED), "start": (start, 0, _MAX_S), "fps": (fps, 1, 1000)}
    limits |= {} if seconds is None else {"seconds": (seconds, 0.01, _MAX_S)}
    limits |= {} if size is None else {"width": (size[0], 16, _MOST_PIXELS), "height": (size[1], 16, _MOST_PIXELS)}
    for name, values in limits.items():
        check_range(name, *values)


class _Film:
    """Draws steps, and remembers the results of the episodes.

    Args:
        scene: the environment.
        start: simulated time to skip, s.
        seconds: length, s; None: as long as the episodes.
        label: first part of the caption, with "{}" for the number of the episode; None: no caption.
        progress: called with the number of frames so far and the expected number.
    """

    send: Send

    def __init__(
        self,
        scene: "_Scene",
        start: float,
        seconds: float | None,
        label: str | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self.frames = 0
        self._start, self._first = start, round(start * scene.steps_per_s)
        self._most = None if seconds is None else max(1, round(seconds * scene.fps))
        self._expected = self._most or 0
        self._scene, self._label, self._progress = scene, label, progress
        self._complete: list[EpisodeStep] = []
        self._last: list[EpisodeStep] = []
        # Poses of the trunk over the last second; empty if it is unknown.
        self._poses: collections.deque[np.ndarray] = collections.deque(maxlen=round(scene.steps_per_s) + 1)

    def shoot(self, policy: Actor, info: TaskInfo, episodes: int, seed: int) -> None:
        """Film `episodes` episodes from seed `seed` on, or as many as the length needs.

        Raises:
            InputError: the episodes end before the film starts.
        """
        every = self._scene.every
        if self._most is None:
            self._expected = episodes * ((info.max_episode_steps or 0) + 1) // every
        else:
            episodes = self._first + self._most * every + 1  # an episode has at least one step
        run_episodes(policy, self._scene.env, info, episodes, seed, self)
        if not self.frames:
            raise InputError(f"start = {self._start:g}: the episodes end before, so there is nothing to film")

    def __call__(self, step: EpisodeStep) -> bool:
        """Draw a step; return whether the film is complete."""
        if step.length[0] == 0:
            self._poses.clear()
        if self._label and (pose := self._scene.trunk_pose()) is not None:
            self._poses.append(pose)
        if step.number >= self._first and (step.number - self._first) % self._scene.every == 0:
            picture = self._scene.picture()
            if self._label:
                label = self._label.replace("{}", str(step.episode[0] + 1))
                picture = _captioned(picture, label, self._values(step))
            self.send(picture)
            self.frames += 1
            self._progress(self.frames, max(self.frames, self._expected))
        if step.finished[0]:
            self._complete.append(step)
        self._last = [step]
        return self.frames == self._most

    def _values(self, step: EpisodeStep) -> list[dict[str, str]]:
        """Return the lines of the caption: values by name."""
        rate = self._scene.steps_per_s
        lines = [{"return": f"{step.total[0]:,.0f}", "time": f"{step.length[0] / rate:.1f} s"}, {}]
        if self._poses:
            distance = np.linalg.norm(self._poses[-1][:2] - self._poses[0][:2])
            lines[1]["speed"] = f"{distance * rate / max(1, len(self._poses) - 1):.2f} m/s"
        command = np.ravel(step.info.get("command", ()))
        if command.shape == (3,):
            forward, left, turn = command
            lines[1]["command"] = f"{forward:.2f}, {left:.2f} m/s, {turn:.2f} rad/s"
        return [line for line in lines if line]

    def summary(self) -> dict[str, Any]:
        """Return the mean results of the episodes."""
        shown = self._complete or self._last
        return {
            "return": float(np.mean([step.total[0] for step in shown])),
            "length": float(np.mean([step.length[0] for step in shown])),
            "episodes": len(self._complete),
            "frames": self.frames,
        }


class _Scene:
    """An environment that can be rendered, closed at the end of its `with` block.

    Attributes:
        env: the environment.
        steps_per_s: policy steps per simulated second.
        every: number of policy steps per frame.
        fps: frames per simulated second.
    """

    def __init__(
        self,
        info: TaskInfo,
        size: tuple[int, int] | None,
        fps: float,
        width: int | None = None,
        engine: str = "auto",
    ) -> None:
        opengl.prepare()
        self._name, self._body, self._width = info.name, info.body, width
        self._colour: Callable[[], None] = lambda: None
        self._rendered: tuple[int, int] | None = None  # size of the pictures
        self.env = make_single_env(choose_engine(engine, info), info, render_mode="rgb_array")
        self._size = None if size is None else (int(size[0]) // 2 * 2, int(size[1]) // 2 * 2)
        try:
            self.steps_per_s = steps_per_second(self.env) / info.action_repeat
            self.every = math.ceil(self.steps_per_s / fps - 1e-9)
            self.fps = self.steps_per_s / self.every
            if hasattr(self.env.unwrapped, "mujoco_renderer"):
                problem = opengl.open_gl()
                if problem is not None:
                    raise InputError(f"task '{info.name}' " + opengl.NO_GL.format(problem))
                # Imported after opengl.prepare, because mujoco reads MUJOCO_GL at import.
                from surefoot.reports.scene_style import colour_muscles, style_scene

                keep_camera = bool(info.options.keys() & {"default_camera_config", "camera_id", "camera_name"})
                style_scene(self.env.unwrapped, self._size or DEFAULT_SIZE, keep_camera)
                self._size = self._size or (None if width else DEFAULT_SIZE)
                simulated: Any = self.env.unwrapped
                self._colour = lambda: colour_muscles(simulated.model, simulated.data)
        except BaseException:
            self.env.close()
            raise

    def __enter__(self) -> "_Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self.env.close()

    def trunk_pose(self) -> np.ndarray | None:
        """Return x, y and heading of the trunk, None if it is unknown."""
        return None if self._body is None else trunk_pose(self.env, self._body)

    def picture(self) -> Image.Image:
        """Render the current state, RGB, of even width and height; transparency is ignored."""
        self._colour()
        pixels = self.env.render()
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
            raise InputError(f"task '{self._name}' cannot be rendered: its render() returns no RGB array")
        height, width = pixels.shape[:2]
        too_large = max(height, width) > _MOST_PIXELS and not (self._size or self._width)
        if min(height, width) < 2 or too_large:
            hint = "; choose --size" if too_large else ""
            raise InputError(
                f"task '{self._name}' cannot be rendered: its pictures have {width} x {height} pixels{hint}"
            )
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3], np.uint8))
        self._rendered = self._rendered or picture.size
        if picture.size != self._rendered:  # all frames of a film have one size
            picture = ImageOps.pad(picture, self._rendered, Image.Resampling.LANCZOS, "white")
        width = self._width or picture.width
        size = self._size or (width // 2 * 2, round(picture.height * width / picture.width) // 2 * 2)
        if not (self._size or self._width):
            return picture.crop((0, 0, *size))
        return picture if picture.size == size else ImageOps.pad(picture, size, Image.Resampling.LANCZOS, "white")


def _captioned(picture: Image.Image, label: str, lines: list[dict[str, str]]) -> Image.Image:
    """Draw a caption in the upper left corner, in columns of fixed position so that it does not jitter."""
    unit = max(12, round(picture.height / 26))
    font = ImageFont.load_default(unit)
    right, texts = 0.0, []
    for number, values in enumerate(lines):
        x, y = float(unit), unit * (1.5 + 1.5 * number)
        if number == 0:
            texts.append((x, y, label, (255, 255, 255)))
            x += font.getlength(label) + 1.4 * unit
        for name, value in values.items():
            texts += [(x, y, name, (170, 184, 200)), (x + font.getlength(f"{name}  "), y, value, (255, 255, 255))]
            x += font.getlength(f"{name}  ") + _VALUE_WIDTHS[name] * unit
        right = max(right, x)
    if right > picture.width:
        return picture if len(lines) == 1 else _captioned(picture, label, lines[:1])
    draw = ImageDraw.Draw(picture, "RGBA")
    bottom = unit * (1 + 1.5 * len(lines))
    draw.rounded_rectangle((unit // 2, unit // 2, int(right), int(bottom)), unit // 2, fill=(20, 26, 34, 190))
    for x, y, text, colour in texts:
        draw.text((int(x), int(y)), text, colour, font, "lm")
    return picture
