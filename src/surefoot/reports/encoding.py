"""Encoding of frames as MP4, WebP and GIF."""

import contextlib
import io
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from surefoot.errors import InputError, SurefootError
from surefoot.files import atomic_file


@contextlib.contextmanager
def write_mp4(path: Path, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that adds a frame (H, W, 3) uint8 to a video; `path` appears when the video is complete."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError("videos need the package imageio-ffmpeg; run 'pip install imageio-ffmpeg'") from None
    writer: Generator[None, np.ndarray | None, None] | None = None
    frames = 0

    def send(frame: np.ndarray) -> None:
        nonlocal writer, frames
        if writer is None:
            writer = imageio_ffmpeg.write_frames(
                file.name,
                (frame.shape[1], frame.shape[0]),
                fps=fps,
                codec="libx264",
                quality=None,
                macro_block_size=2,
                ffmpeg_log_level="error",
                output_params=["-crf", "20", "-movflags", "+faststart", "-f", "mp4"],
            )
            writer.send(None)
        writer.send(np.ascontiguousarray(frame))
        frames += 1

    try:
        with atomic_file(path) as file:
            try:
                yield send
            finally:
                if writer is not None:
                    writer.close()
            _check_complete(file.name, frames)
    except OSError as error:
        reason = (error.strerror or str(error)).split("\n")[0]
        raise SurefootError(f"cannot write the video '{path}': {reason}; is the disk full?") from error


def _check_complete(name: str, frames: int) -> None:
    """Count the frames of the written video, because imageio-ffmpeg hides the exit status of ffmpeg."""
    import imageio_ffmpeg

    try:
        written = imageio_ffmpeg.count_frames_and_secs(name)[0]
    except RuntimeError as error:
        raise OSError("the written video cannot be read") from error
    if written != frames:
        raise OSError(f"only {written} of {frames} frames were written")


def encoded(pictures: list[Image.Image], kind: str, quality: int = 80, fps: float = 25.0) -> bytes:
    """Encode a WebP or GIF animation; quality is 0 to 100."""
    buffer = io.BytesIO()
    duration = round(1000 / fps)
    if kind == "webp":
        options = {"duration": duration, "loop": 0, "quality": quality, "method": 4}
        pictures[0].save(buffer, "webp", save_all=True, append_images=pictures[1:], **options)
    else:
        colours = max(16, round(256 * quality / 100))
        reduced = [picture.quantize(colours, dither=Image.Dither.NONE) for picture in pictures]
        reduced[0].save(
            buffer, "gif", save_all=True, append_images=reduced[1:], duration=duration, loop=0, optimize=True
        )
    return buffer.getvalue()
