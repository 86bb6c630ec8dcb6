"""The versions that decide what numbers come out."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("surefoot", "jax", "jaxlib", "numpy", "optax", "gymnasium", "mujoco", "envpool", "box2d")


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python, the kind of machine, and those of `packages` that are installed."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
