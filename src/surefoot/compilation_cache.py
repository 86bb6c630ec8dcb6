"""JAX's persistent compilation cache: functions compiled by one process are read from a folder by later ones.

The folder holds machine code, so only its owner may write to it, and its name contains the version of jaxlib and the
processor: code for another processor could end a process with SIGILL. JAX limits the folder's size by removing the
entries that were not used for longest, and guards reads and writes by a lock of the operating system, which ends with
its process.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

VARIABLE = "SUREFOOT_COMPILATION_CACHE"
"""Environment variable: the folder of the cache, or "off"."""

MAX_BYTES = 500_000_000
_MIN_COMPILE_S = 0.1  # entries that would save less than this are not written
_SUFFIXES = _CODE, _USED = ("-cache", "-atime")  # of JAX's two files of an entry
_LOCK_S = 10.0


def use_compilation_cache() -> Path | None:
    """Let JAX use the cache in this process; return its folder, or None if there is none.

    Without effect if the user has configured JAX's own cache, by `JAX_COMPILATION_CACHE_DIR` for example.
    """
    import jax

    config: Any = jax.config
    if config.jax_compilation_cache_dir:
        return Path(config.jax_compilation_cache_dir)
    folder = cache_folder()
    if folder is None or not _prepare(folder):
        return None
    if "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ:
        config.update("jax_compilation_cache_max_size", MAX_BYTES)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_S)
    config.update("jax_compilation_cache_dir", str(folder))
    return folder


def cache_folder() -> Path | None:
    """Return the folder of the cache for this version of jaxlib and this processor; None: switched off."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() in ("off", "0", "none") or not importlib.util.find_spec("filelock"):
        return None
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home folder
        return None
    root = Path(chosen).absolute() if chosen else home / "surefoot" / "compiled"
    return root / f"jaxlib-{importlib.metadata.version('jaxlib')}-{_processor()}"


def _processor() -> str:
    """Return a name of this machine's instruction set."""
    features = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("model name", "flags", "CPU implementer", "CPU part", "Features")
        features = "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


def _prepare(folder: Path) -> bool:
    """Make the folder and remove incomplete entries; return whether the cache can be used."""
    import filelock

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        others_write = status.st_mode & 0o022
        if status.st_uid != os.geteuid() or others_write or not os.access(folder, os.W_OK):
            return False
        with filelock.FileLock(folder / ".lockfile", timeout=_LOCK_S):
            for path in _incomplete(folder):
                path.unlink(missing_ok=True)
    except (OSError, filelock.Timeout):
        return False
    return True


def _incomplete(folder: Path) -> list[Path]:
    """Return the files of entries that have only one of JAX's two files; it was killed after it began the first."""
    names = {path.name for suffix in _SUFFIXES for path in folder.glob(f"*{suffix}")}
    other = dict(zip(_SUFFIXES, _SUFFIXES[::-1], strict=True))
    return [folder / name for name in names if name[:-6] + other[name[-6:]] not in names]
