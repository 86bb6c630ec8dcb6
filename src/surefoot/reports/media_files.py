"""Output files of reports: images, pages, and frames encoded as MP4, WebP or GIF."""

import contextlib
import io
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from surefoot.errors import InputError, SurefootError
from surefoot.files import atomic_file, atomic_write

MAX_ANIMATION_BYTES = 1_500_000

Send = Callable[[Image.Image], None]
"""Adds a frame, RGB of even width and height."""


def output_path(path: str | Path, *endings: str) -> Path:
    """Return `path` after creating its parent folder.

    Raises:
        InputError: the path does not end in one of `endings` such as ".png", is a folder, or cannot be created.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(f"'{path}' should end in {' or '.join(endings)}")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; give a file name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder of '{path}': {error.strerror}; choose another path") from error
    return path


def save(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        SurefootError: the disk is full, or the folder cannot be written.
    """
    try:
        atomic_write(path, data)
    except OSError as error:
        raise SurefootError(
            f"cannot write '{path}': {error.strerror}; free some space or choose another path"
        ) from error


@contextlib.contextmanager
def write_animation(path: Path, fps: float) -> Iterator[Send]:
    """Yield a function that adds a frame to a looping WebP or GIF animation.

    The quality is reduced in steps until the file is no larger than `MAX_ANIMATION_BYTES`; the lowest quality is
    written even if it is larger.
    """
    frames: list[Image.Image] = []
    yield frames.append
    data = b""
    for quality in (80, 60, 40, 20):
        buffer, options = io.BytesIO(), {"save_all": True, "duration": round(1000 / fps), "loop": 0}
        if path.suffix.lower() == ".webp":
            frames[0].save(buffer, "webp", append_images=frames[1:], quality=quality, method=4, **options)
        else:
            colours = max(16, round(256 * quality / 100))
            first, *rest = [frame.quantize(colours, dither=Image.Dither.NONE) for frame in frames]
            first.save(buffer, "gif", append_images=rest, optimize=True, **options)
        data = buffer.getvalue()
        if len(data) <= MAX_ANIMATION_BYTES:
            break
    save(path, data)


@contextlib.contextmanager
def write_mp4(path: Path, fps: float) -> Iterator[Send]:
    """Yield a function that adds a frame to a video; `path` appears when the video is complete."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError("videos need the package imageio-ffmpeg; run 'pip install imageio-ffmpeg'") from None
    writer: Generator[None, np.ndarray | None, None] | None = None
    frames = 0

    def send(frame: Image.Image) -> None:
        nonlocal writer, frames
        if writer is None:
            writer = imageio_ffmpeg.write_frames(
                file.name,
                frame.size,
                fps=fps,
                codec="libx264",
                quality=None,
                macro_block_size=2,
                ffmpeg_log_level="error",
                output_params=["-crf", "20", "-movflags", "+faststart", "-f", "mp4"],
            )
            writer.send(None)
        writer.send(np.asarray(frame))
        frames += 1

    try:
        with atomic_file(path) as file:
            try:
                yield send
            finally:
                if writer is not None:
                    writer.close()
            # imageio-ffmpeg hides the exit status of ffmpeg.
            try:
                written = imageio_ffmpeg.count_frames_and_secs(file.name)[0]
            except RuntimeError as error:
                raise OSError("the written video cannot be read") from error
            if written != frames:
                raise OSError(f"only {written} of {frames} frames were written")
    except OSError as error:
        reason = (error.strerror or str(error)).split("\n")[0]
        raise SurefootError(f"cannot write the video '{path}': {reason}; is the disk full?") from error
