"""Check where a picture shall go, and put it there whole."""

from pathlib import Path

from surefoot.errors import InputError, SurefootError
from surefoot.files import atomic_write


def picture_path(path: str | Path, *endings: str) -> Path:
    """Return `path` after making the folder it is in.

    Raises:
        InputError: it does not end in one of `endings`, such as ".png", is itself a folder, or cannot be
            reached.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(f"'{path}' should end in {' or '.join(endings)}")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder of '{path}': {error.strerror}; choose another place") from error
    return path


def save_picture(path: Path, data: bytes) -> None:
    """Write an encoded picture under its name at once, or not at all.

    Raises:
        SurefootError: the disk is full, or the folder cannot be written.
    """
    try:
        atomic_write(path, data)
    except OSError as error:
        raise SurefootError(f"cannot write '{path}': {error.strerror}; free some space or choose another") from error
