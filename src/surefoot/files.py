"""Atomic writes, and files of arrays that are safe to open.

Arrays are stored as safetensors: a length, a JSON header, then plain bytes. Surefoot's own header is a JSON object in
the metadata of that header. Nothing is ever unpickled.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
import struct
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import safe_open

from surefoot.errors import RunError

MAX_HEADER_BYTES = 8 * 2**20  # a checkpoint of a thousand arrays needs about 100 kB

_MOST_DOTS = 150  # in a line of TOML
_METADATA = "__metadata__"
_OURS = "surefoot"
_TYPES = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
# Safetensors' codes by NumPy's names: I8, U16, F64.
_CODES = {"bool": "BOOL"} | {name: name[0].upper() + name.lstrip("floatuin") for name in _TYPES.split()}


def parse_toml(text: str) -> dict[str, Any]:
    """Return the contents of a TOML text.

    Raises:
        ValueError: it is not TOML, or is nested too deeply. Python reads deeply dotted names in quadratic time.
    """
    try:
        if all(line.count(".") <= _MOST_DOTS for line in text.splitlines()):
            return tomllib.loads(text)
    except RecursionError:
        pass
    raise ValueError("nested too deeply")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` only once it is complete and on the disk.

    If the block fails, `path` stays as it was and no temporary file remains.

    Raises:
        OSError: the disk is full, or the folder is missing or cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            # Without this, a power cut after the rename can leave a file of zeros under the final name.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def why_not_written(error: OSError, path: Path, size: int) -> str:
    """Return the reason why a file of `size` bytes could not be written; on a full disk, with the missing space."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = "unknown"
        with contextlib.suppress(OSError):
            free = f"{shutil.disk_usage(path.parent.parent).free / 1e6:,.1f} MB"
        reason += f" ('{path}' needs {size / 1e6:,.1f} MB; free: {free})"
    return reason


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically: a reader sees the old file or the new one, even after a crash.

    Raises:
        OSError: as `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(data)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write named arrays and a JSON header to one safetensors file, atomically.

    Arrays are of bool, integers of 8 to 64 bits, or floats of 16 to 64 bits. The header has JSON types only, without
    infinite numbers and NaN.

    Raises:
        OSError: as `atomic_file`.
        ValueError, TypeError: an array or the header is of a type that cannot be saved.
    """
    arrays = {name: _little_endian(name, array) for name, array in arrays.items()}
    # Widest first, so that every array starts at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    table: dict[str, Any] = {_METADATA: {_OURS: json.dumps(header, allow_nan=False)}}
    offset = 0
    for name in names:
        array = arrays[name]
        end = offset + array.nbytes
        table[name] = {"dtype": _CODES[array.dtype.name], "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"the header takes {len(text)} bytes, more than {MAX_HEADER_BYTES}")
    # Written without the safetensors package, which copies every array (replay buffers are large) or creates files
    # that only their owner may read.
    with atomic_file(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(arrays[name].reshape(-1).view(np.uint8).data)


def load_arrays(
    path: Path, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file of `save_arrays`: named arrays, writable and owned by the caller, and the header.

    `wanted` selects the arrays to read by name; None: all.

    Raises:
        RunError: the file cannot be read, is damaged, or was not written by `save_arrays`.
    """
    with _opened(path) as (file, header):
        arrays = {}
        for name in file.keys():  # noqa: SIM118 (not a dict)
            if wanted is not None and not wanted(name):
                continue
            code = file.get_slice(name).get_dtype()
            if code not in _CODES.values():
                raise ValueError(f"array {name!r} is of type {code}")
            array = np.array(file.get_tensor(name))
            if code == "BOOL" and np.any(array.view(np.uint8) > 1):
                raise ValueError(f"array {name!r} holds other bytes than 0 and 1")
            arrays[name] = array
        return arrays, header


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Read the header and the shapes of the arrays, by name, of a file written by `save_arrays`.

    Raises:
        RunError: the file cannot be read, is damaged, or was not written by `save_arrays`.
    """
    with _opened(path) as (file, header):
        return header, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a file of arrays and decode Surefoot's header; any failure is a RunError of one line."""
    named = repr(str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RunError(f"{named} is not a file of arrays; name the .safetensors file itself")
        with path.open("rb") as raw:
            start = raw.read(8)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"cannot read {named}: {reason}") from error
    if len(start) < 8:
        raise RunError(f"{named} is cut short ({len(start)} bytes); use another copy of it")
    if struct.unpack("<Q", start)[0] > MAX_HEADER_BYTES:
        raise RunError(f"{named} is not a safetensors file; only files that Surefoot wrote can be opened")
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get(_OURS)
            header = json.loads(text) if text is not None else None
            if not isinstance(header, dict):
                raise RunError(f"{named} is a safetensors file, but not one that Surefoot wrote")
            yield file, header
    except RunError:
        raise
    except MemoryError as error:
        raise RunError(f"not enough memory to read {named}; close other programs and try again") from error
    except Exception as error:  # a damaged or hostile file may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(f"{named} is damaged ({reason}); use another copy of it") from error


def _little_endian(name: str, array: np.ndarray) -> np.ndarray:
    """Check one array, and return it contiguous and little-endian."""
    array = np.asarray(array)
    if array.dtype.name not in _CODES:
        raise ValueError(f"array {name!r} is of type {array.dtype}, which cannot be saved; cast it first")
    if name == _METADATA:
        raise ValueError(f"an array cannot be called {name!r}")
    return np.require(array, array.dtype.newbyteorder("<"), "C")


def _sync_folder(folder: Path) -> None:
    """Flush a rename to the disk, if the file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
