"""Checks of the installation and the machine, one line each; packages may be missing."""

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

from surefoot.cli.variables import faults
from surefoot.compilation_cache import VARIABLE, cache_folder
from surefoot.machine import available_memory, gigabytes

OK, MISSING, NOTE = "ok", "missing", "note"
Finding = tuple[str, str, str]
"""Mark, subject of the check, and its result or the remedy."""

_MIN_MEMORY = 2 * 2**30
_MIN_DISK = 2**30
# Required packages: name on the package index, and module to import.
_REQUIRED = {name: name for name in ("numpy", "jax", "optax", "gymnasium", "Box2D", "safetensors", "pydantic", "rich")}
_REQUIRED |= {"mujoco": "mujoco.batch", "cloudpickle": "cloudpickle", "matplotlib": "matplotlib.figure"}
_REQUIRED |= {"pillow": "PIL.Image"}
# Optional extras: packages, module to find, and purpose.
_EXTRAS = {
    "envpool": ("envpool", "envpool", "BipedalWalker, several times faster"),
    "menagerie": ("mujoco-menagerie", "mujoco_menagerie", "robots of MuJoCo Menagerie"),
    "opensim": ("opensim", "opensim", "learning-to-run in its original simulator"),
    "wandb": ("wandb", "wandb", "curves in Weights & Biases"),
    "onnx": ("onnx onnxruntime", "onnxruntime", "policies exported for robots and other programs"),
    "viewer": ("websockets", "websockets", "the live view in the browser"),
    "tensorboard": ("tensorboardX", "tensorboardX", "curves in TensorBoard"),
    "trackio": ("trackio", "trackio", "curves in Trackio"),
    "ray": ("ray", "ray", "samplers and sweeps on many machines"),
    "sweep": ("optuna", "optuna", "search for settings"),
    "gpu": ("jax-cuda13-plugin jax-cuda12-plugin", "jax_plugins", "JAX on an NVIDIA GPU"),
}
# Environment variables: harmless values, and the effect of any other value.
_VARIABLES = {
    "JAX_DISABLE_JIT": ({"", "0", "false"}, "JAX compiles nothing and is about 100 times slower"),
    "JAX_DEBUG_NANS": ({"", "0", "false"}, "JAX checks every value for NaN and is much slower"),
    "JAX_PLATFORMS": ({"", "cpu"}, "JAX uses this device and fails without it"),
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")


def examine() -> int:
    """Print all checks; return 0 if training works on this machine, otherwise 1."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    missing = 0
    for mark, name, text in _findings():
        missing += mark == MISSING
        line = f"{mark:<8} {name:<12} {text}"
        print(line if unicode else line.encode("ascii", "replace").decode())
    print()
    if missing:
        print(f"training does not work on this machine yet: see the {missing} lines marked '{MISSING}'")
        return 1
    print("training works here; lines marked 'note' are optional extras or hints about speed")
    return 0


def _findings() -> Iterator[Finding]:
    yield OK, "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    usable, all_cores = _cores(), os.cpu_count() or 1
    text = f"{usable} cores" if usable > 1 else "1 core"
    limited = f"{text} of {all_cores}: this process may not use the others (taskset, a container)"
    yield (NOTE, "processor", limited) if usable < all_cores else (OK, "processor", text)
    yield _memory()
    yield _disk()
    yield _runs_folder()
    yield _compilation_cache()
    for name, message in faults():
        yield MISSING, "environment", message
        del os.environ[name]  # so that the checks below can run
    for package, module in _REQUIRED.items():
        yield _required(package, module)
    yield _engines()
    for extra, (packages, module, use) in _EXTRAS.items():
        installed = [f"{package} {_version(package)}" for package in packages.split() if _version(package)]
        if installed and _exists(module):
            yield OK, extra, f"{', '.join(installed)}: {use}"
        else:
            yield NOTE, extra, f'not installed ({use}): pip install "surefoot[{extra}]"'
    yield _opengl()
    yield _ffmpeg()
    notes = list(_environment())
    yield from notes or [(OK, "environment", "no environment variable slows down training")]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Finding:
    memory = available_memory()
    if memory is None:
        return OK, "memory", "unknown on this system"
    free, total = memory
    text = f"{gigabytes(free)} free of {gigabytes(total)}"
    if free < _MIN_MEMORY:
        return NOTE, "memory", f"{text}; close other programs, or train with fewer --engine.num_envs"
    return OK, "memory", text


def _compilation_cache() -> Finding:
    folder = cache_folder()
    if folder is None:
        return NOTE, "compilation", f"no cache of compiled functions ({VARIABLE}): every start takes longer"
    size = sum(path.stat().st_size for path in folder.glob("*"))
    return OK, "compilation", f"{size / 1e6:.1f} MB of compiled functions in {folder}"


def _disk() -> Finding:
    try:
        usage = shutil.disk_usage(Path.cwd())
    except OSError as error:
        return MISSING, "disk", f"the current folder cannot be read ({error.strerror}); change to another"
    text = f"{gigabytes(usage.free)} free of {gigabytes(usage.total)} in {Path.cwd()}"
    if usage.free < _MIN_DISK:
        return NOTE, "disk", f"{text}; checkpoints and videos may not fit"
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


def _required(package: str, module: str) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # missing or broken; compiled packages raise arbitrary exceptions
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            return MISSING, package, "not installed; pip install surefoot"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        return MISSING, package, f"cannot be imported ({reason}); pip install --force-reinstall {package}"
    return OK, package, _version(package)


def _engines() -> Finding:
    # Failures of these imports are reported above, package by package.
    try:
        from surefoot.simulation import cluster, envpool, opensim
        from surefoot.simulation.factory import ENGINES
    except Exception:
        return MISSING, "engines", "none works until the packages above are installed"
    optional = {"envpool": envpool, "opensim": opensim, "cluster": cluster}
    missing = {"auto", *(name for name, module in optional.items() if not module.installed())}
    return OK, "engines", ", ".join(name for name in ENGINES if name not in missing)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _opengl() -> Finding:
    try:
        from surefoot.reports.opengl import gl_available

        available = gl_available()
    except Exception:
        return NOTE, "OpenGL", "cannot be checked until the packages above are installed"
    if not available:
        problem = "not available without a display: videos of MuJoCo tasks are skipped, everything else works"
        return NOTE, "OpenGL", f"{problem}; on Debian or Ubuntu: apt install libegl1 libegl-mesa0 libgl1-mesa-dri"
    return OK, "OpenGL", f"videos of MuJoCo tasks (MUJOCO_GL={os.environ.get('MUJOCO_GL', 'glfw')})"


def _ffmpeg() -> Finding:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
        return OK, "ffmpeg", f"videos (imageio-ffmpeg {_version('imageio-ffmpeg')})"
    except Exception:  # missing, or without an executable for this system
        return NOTE, "ffmpeg", "not found: videos are skipped, everything else works; pip install imageio-ffmpeg"


def _environment() -> Iterator[Finding]:
    for name, (harmless, effect) in _VARIABLES.items():
        value = os.environ.get(name, "")
        if value.lower() not in harmless:
            yield NOTE, "environment", f"{name}={value[:40]!r}: {effect}; unset {name}"
    for name in _THREAD_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdecimal() and 0 < int(value) < _cores():
            yield NOTE, "environment", f"{name}={value} leaves some of the {_cores()} cores unused; unset {name}"
    flags = os.environ.get("XLA_FLAGS", "")
    if "multi_thread_eigen=false" in flags or "intra_op_parallelism_threads" in flags:
        yield NOTE, "environment", "XLA_FLAGS limits the number of threads; unset XLA_FLAGS"
