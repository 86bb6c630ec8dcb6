"""The memory of this machine."""

import contextlib
from pathlib import Path


def available_memory() -> tuple[int, int] | None:
    """Free and total memory of this process, in bytes; None if unknown."""
    try:
        sizes = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free, total = (int(sizes[key].split()[0]) * 1024 for key in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):  # a container may have less than the machine
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free, total = min(free, limit - used), min(total, limit)
    return free, total


def gigabytes(size: float) -> str:
    """Return a number of bytes as text."""
    return f"{size / 2**30:.1f} GiB"
