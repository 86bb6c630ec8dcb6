"""Figures of the muscle runner: gait9dof18musc as numbers, for its models in MuJoCo and in OpenSim."""

import functools
import tomllib
from pathlib import Path
from typing import Any


@functools.cache
def figures() -> dict[str, Any]:
    """Return gait9dof18musc.toml: the figures of the trunk and the right leg; the left leg is its mirror image in z."""
    return _read("gait9dof18musc.toml")


@functools.cache
def fitted() -> dict[str, Any]:
    """Return runner.toml: parameters of MuJoCo's muscles, knee, contact and joint limits, fitted to OpenSim."""
    return _read("runner.toml")


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
