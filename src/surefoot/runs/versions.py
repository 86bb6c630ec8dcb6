"""Versions of the packages that determine the numbers of a run."""

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

_PACKAGES = ("surefoot", "jax", "jaxlib", "numpy", "optax", "gymnasium", "mujoco", "envpool", "box2d", "opensim")


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the installed `packages`, and the machine's architecture."""
    installed = {package: _version(package) for package in packages}
    present = {package: version for package, version in installed.items() if version}
    return {"python": platform.python_version(), "machine": platform.machine()} | present


@functools.cache
def _version(package: str) -> str | None:
    """Return the version of an installed package, or None; every saved policy states it, and reading it takes 6 ms."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def revision() -> str | None:
    """Return the git revision of Surefoot's source, ending in "-dirty" if it was changed; None outside git."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():  # installed, perhaps inside another repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
