"""Output paths of images, videos and pages, and atomic writing."""

from pathlib import Path

from surefoot.errors import InputError, SurefootError
from surefoot.files import atomic_write


def picture_path(path: str | Path, *endings: str) -> Path:
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


def save_picture(path: Path, data: bytes) -> None:
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
