"""This machine: its memory, its processor, and its load by other programs."""

import contextlib
import os
import platform
import time
from pathlib import Path
from typing import Any


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


def describe_machine() -> dict[str, Any]:
    """Return the processor, the number of cores that this process may use, the memory in GiB, and the system."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
    }


def background_load() -> float | None:
    """Return the fraction of all cores in use, in [0, 1], measured for a second; None without Linux.

    The load average would still contain the previous benchmark. Figures measured on a loaded machine are too low.
    """
    try:
        before = _cpu_ticks()
        time.sleep(1)
        idle, total = (after - then for after, then in zip(_cpu_ticks(), before, strict=True))
    except OSError:
        return None
    return round(1 - idle / max(total, 1), 3)


def _cpu_ticks() -> tuple[int, int]:
    """Return idle ticks and total ticks of all cores since boot."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
