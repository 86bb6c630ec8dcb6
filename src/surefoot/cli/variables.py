"""Environment variables with which MuJoCo or JAX would fail, reported in one line before a command runs."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator

GOOD_XLA_FLAGS = "SUREFOOT_GOOD_XLA_FLAGS"

_FALLBACK = {
    "MUJOCO_GL": "unset it, or set it to egl, glfw or disable",
    "JAX_PLATFORMS": "unset it, or set it to cpu",
    "XLA_FLAGS": "unset it, or correct its flags",
}


def faults() -> Iterator[tuple[str, str]]:
    """Yield each variable with a value that does not work here, and one line with the reason and the remedy."""
    flags = os.environ.get("XLA_FLAGS", "")
    tried = {"MUJOCO_GL": _mujoco_fault, "XLA_FLAGS": lambda: _xla_fault(flags), "JAX_PLATFORMS": _jax_fault}
    for name, find in tried.items():
        value = os.environ.get(name, "")
        reason = find() if value and (name, value) != ("JAX_PLATFORMS", "cpu") else ""
        if reason:
            yield name, f"{name}={value[:60]!r} does not work here ({reason[:150]}); {_FALLBACK[name]}"


def _mujoco_fault() -> str:
    try:
        importlib.import_module("mujoco")
    except Exception as error:  # OpenGL's libraries may raise anything
        for module in [name for name in sys.modules if name.partition(".")[0] in ("mujoco", "OpenGL")]:
            del sys.modules[module]  # half imported
        os.environ.pop("PYOPENGL_PLATFORM", None)  # set by MuJoCo
        return " ".join(str(error).split()) if isinstance(error, RuntimeError) else "its library is missing or broken"
    return ""


def _jax_fault() -> str:
    import jax

    try:
        jax.devices()
    except Exception as error:  # an AssertionError without text in some versions
        return " ".join(str(error).split()) or "JAX finds no such device"
    return ""


def _xla_fault(flags: str) -> str:
    # In another process, because XLA aborts. That takes seconds, so this process and its children remember good flags.
    if os.environ.get(GOOD_XLA_FLAGS) == flags:
        return ""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode == 0:
        os.environ[GOOD_XLA_FLAGS] = flags
        return ""
    lines = [line for line in result.stderr.splitlines() if "XLA_FLAGS" in line or "flag" in line.lower()]
    return " ".join(lines[0].rpartition("] ")[2].split()) if lines else f"JAX ends with status {result.returncode}"
