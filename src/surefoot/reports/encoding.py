"""Pictures into films, animations and files."""

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
    """Give a function that adds a frame (H, W, 3) uint8 to a film, which appears at `path` when whole."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError("films need the package imageio-ffmpeg; run 'pip install imageio-ffmpeg'") from None
    film: Generator[None, np.ndarray | None, None] | None = None
    frames = 0

    def send(frame: np.ndarray) -> None:
        nonlocal film, frames
        if film is None:
            film = imageio_ffmpeg.write_frames(
                file.name,
                (frame.shape[1], frame.shape[0]),
                fps=fps,
                codec="libx264",
                quality=None,
                macro_block_size=2,
                ffmpeg_log_level="error",
                output_params=["-crf", "20", "-movflags", "+faststart", "-f", "mp4"],
            )
            film.send(None)
        film.send(np.ascontiguousarray(frame))
        frames += 1

    try:
        with atomic_file(path) as file:
            try:
                yield send
            finally:
                if film is not None:
                    film.close()
            _check_whole(file.name, frames)
    except OSError as error:
        reason = (error.strerror or str(error)).split("\n")[0]
        raise SurefootError(f"cannot film to '{path}': {reason}; is the disk full?") from error


def _check_whole(name: str, frames: int) -> None:
    """Read the film once, since ffmpeg's exit status cannot be had."""
    import imageio_ffmpeg

    try:
        found = imageio_ffmpeg.count_frames_and_secs(name)[0]
    except RuntimeError as error:
        raise OSError("the film cannot be read again") from error
    if found != frames:
        raise OSError(f"of {frames} pictures {found} were kept")


def encoded(pictures: list[Image.Image], kind: str, quality: int = 80, fps: float = 25.0) -> bytes:
    """Return the bytes of a PNG picture or of a WebP or GIF animation; quality 0 to 100."""
    buffer = io.BytesIO()
    duration = round(1000 / fps)
    if kind == "png":
        pictures[0].save(buffer, "png", optimize=True)
    elif kind == "webp":
        shape = {"duration": duration, "loop": 0, "quality": quality, "method": 4}
        pictures[0].save(buffer, "webp", save_all=True, append_images=pictures[1:], **shape)
    else:
        colours = max(16, round(256 * quality / 100))
        few = [picture.quantize(colours, dither=Image.Dither.NONE) for picture in pictures]
        few[0].save(buffer, "gif", save_all=True, append_images=few[1:], duration=duration, loop=0, optimize=True)
    return buffer.getvalue()
