"""What this machine has and lacks, one line each; works also where packages are missing."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

OK, MISSING, NOTE = "ok", "missing", "note"
Finding = tuple[str, str, str]
"""Mark, what was looked at, and what was found or is to be done."""

_LEAST_MEMORY = 2 * 2**30
_LEAST_DISK = 2**30
# Name on the package index and name to import, of what training cannot do without.
_NEEDED = (
    ("numpy", "numpy"),
    ("jax", "jax"),
    ("optax", "optax"),
    ("gymnasium", "gymnasium"),
    ("mujoco", "mujoco.batch"),
    ("Box2D", "Box2D"),
    ("safetensors", "safetensors"),
    ("pydantic", "pydantic"),
    ("rich", "rich"),
    ("cloudpickle", "cloudpickle"),
    ("matplotlib", "matplotlib.figure"),
    ("pillow", "PIL.Image"),
)
# Extra, the packages it brings, the module to look for, and what it is good for.
_EXTRAS = (
    ("envpool", ("envpool",), "envpool", "several times faster BipedalWalker"),
    ("menagerie", ("mujoco-menagerie",), "mujoco_menagerie", "robots of MuJoCo Menagerie"),
    ("wandb", ("wandb",), "wandb", "curves in Weights & Biases"),
    ("tensorboard", ("tensorboardX",), "tensorboardX", "curves in TensorBoard"),
    ("trackio", ("trackio",), "trackio", "curves in Trackio"),
    ("gpu", ("jax-cuda13-plugin", "jax-cuda12-plugin"), "jax_plugins", "JAX on an NVIDIA GPU"),
)
# What each of these variables does to a training when it is set to something else than its harmless values.
_VARIABLES = {
    "JAX_DISABLE_JIT": ({"", "0", "false"}, "JAX compiles nothing and is a hundred times slower"),
    "JAX_DEBUG_NANS": ({"", "0", "false"}, "JAX looks at every number and is much slower"),
    "JAX_ENABLE_X64": ({"", "0", "false"}, "JAX computes in double precision, slower and not as tested"),
    "JAX_PLATFORMS": ({"", "cpu"}, "JAX looks for this device and fails where there is none"),
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")


def examine() -> int:
    """Print what this machine has and lacks; return 0 if training works here, else 1."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    lacking = 0
    for mark, name, text in _findings():
        lacking += mark == MISSING
        line = f"{mark:<8} {name:<12} {text}"
        print(line if unicode else line.encode("ascii", "replace").decode())
    print()
    if lacking:
        print(f"training cannot work here yet: see the {lacking} marked '{MISSING}'")
        return 1
    print("training works here; what is marked 'note' can be had besides, or looked at when something is slow")
    return 0


def _findings() -> Iterator[Finding]:
    yield _python()
    yield _processor()
    yield _memory()
    yield _disk()
    yield _runs_folder()
    for package, module in _NEEDED:
        yield _needed(package, module)
    yield _engines()
    for extra, packages, module, use in _EXTRAS:
        yield _extra(extra, packages, module, use)
    yield _pictures()
    yield _films()
    yield from _environment()


def _python() -> Finding:
    return OK, "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"


def _processor() -> Finding:
    usable, all_cores = _cores(), os.cpu_count() or 1
    text = f"{usable} cores" if usable > 1 else "1 core"
    if usable < all_cores:
        return NOTE, "processor", f"{text} of {all_cores}: this process may not use the others (taskset, a container)"
    return OK, "processor", text


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Finding:
    try:
        sizes = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(sizes[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return OK, "memory", "not known on this system"
    text = f"{_gigabytes(free)} free of {_gigabytes(total)}"
    if free < _LEAST_MEMORY:
        return NOTE, "memory", f"{text}; close other programs, or train with fewer --engine.num_envs"
    return OK, "memory", text


def _disk() -> Finding:
    try:
        usage = shutil.disk_usage(Path.cwd())
    except OSError as error:
        return MISSING, "disk", f"the current folder cannot be read ({error.strerror}); change to another"
    text = f"{_gigabytes(usage.free)} free of {_gigabytes(usage.total)} in {Path.cwd()}"
    if usage.free < _LEAST_DISK:
        return NOTE, "disk", f"{text}; checkpoints and films may not fit"
    return OK, "disk", text


def _runs_folder() -> Finding:
    path = Path("runs")
    here = path if path.exists() else Path()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        return MISSING, "runs folder", f"cannot write to {here.absolute()} ({error.strerror}); use --root ANOTHER"
    return OK, "runs folder", f"{path.absolute()} can be written"


def _needed(package: str, module: str) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # absent or broken; compiled packages raise whatever they like
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            return MISSING, package, "not installed; pip install surefoot"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        return MISSING, package, f"cannot be imported ({reason}); pip install --force-reinstall {package}"
    return OK, package, _version(package)


def _engines() -> Finding:
    # The reasons why these imports may fail were told package by package.
    try:
        from surefoot.simulation import envpool
        from surefoot.simulation.factory import ENGINES
    except Exception:
        return MISSING, "engines", "none can be used before the packages above are there"
    usable = [name for name in ENGINES if name != "auto" and (name != "envpool" or envpool.installed())]
    return OK, "engines", ", ".join(usable)


def _extra(extra: str, packages: tuple[str, ...], module: str, use: str) -> Finding:
    found = [f"{package} {_version(package)}" for package in packages if _version(package)]
    if found and _is_there(module):
        return OK, extra, f"{', '.join(found)}: {use}"
    return NOTE, extra, f'not installed ({use}): pip install "surefoot[{extra}]"'


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pictures() -> Finding:
    try:
        from surefoot.reports.opengl import gl_available

        available = gl_available()
    except Exception:
        return NOTE, "OpenGL", "cannot be tried before the packages above are there"
    if not available:
        lack = "none without a screen, so pictures of MuJoCo tasks are skipped, all else works"
        return NOTE, "OpenGL", f"{lack}; on Debian or Ubuntu: apt install libegl1 libegl-mesa0 libgl1-mesa-dri"
    return OK, "OpenGL", f"pictures of MuJoCo tasks (MUJOCO_GL={os.environ.get('MUJOCO_GL', 'glfw')})"


def _films() -> Finding:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
        return OK, "ffmpeg", f"films (imageio-ffmpeg {_version('imageio-ffmpeg')})"
    except Exception:  # absent, or without a program for this system
        return NOTE, "ffmpeg", "not found, so films are skipped, all else works: pip install imageio-ffmpeg"


def _environment() -> Iterator[Finding]:
    found = False
    for name, (harmless, effect) in _VARIABLES.items():
        value = os.environ.get(name, "")
        if value.lower() not in harmless:
            found = True
            yield NOTE, "environment", f"{name}={value[:40]!r}: {effect}; unset {name}"
    for name in _THREAD_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdecimal() and 0 < int(value) < _cores():
            found = True
            yield NOTE, "environment", f"{name}={value} leaves some of the {_cores()} cores idle; unset {name}"
    flags = os.environ.get("XLA_FLAGS", "")
    if "multi_thread_eigen=false" in flags or "intra_op_parallelism_threads" in flags:
        found = True
        yield NOTE, "environment", "XLA_FLAGS limits the threads of every computation; unset XLA_FLAGS"
    if not found:
        yield OK, "environment", "no variable slows training down"


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
