"""Set-up of a test session: a shared cache of compiled functions, and default handling of Ctrl-C."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

_FOLDER = Path(tempfile.gettempdir()) / f"surefoot-compiled-{os.getpid()}"

# Before JAX is imported. xdist's workers and processes that tests start inherit it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_FOLDER))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Most of the tests' time is compilation, and compiled functions run only briefly: this saves two thirds of it.
_FLAGS = ["--xla_backend_optimization_level=0"]
if version("jaxlib").startswith("0.10."):  # JAX 0.12 aborts: it does not know the flag
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
os.environ.setdefault("SUREFOOT_GOOD_XLA_FLAGS", os.environ["XLA_FLAGS"])  # commands do not try them again

# A shell that starts the tests in the background makes them and their child processes ignore Ctrl-C; `nohup`, SIGHUP.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Linux limits a process to 65,530 memory mappings by default. A compiled function takes several; XLA aborts at that.
_MANY_MAPPINGS = 20_000
_MAPPINGS = Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def _few_compiled_functions() -> Iterator[None]:
    """Clear compiled functions between test files once there are many; those needed again are read from the cache."""
    yield
    if "jax" in sys.modules and _MAPPINGS.exists() and _MAPPINGS.read_bytes().count(b"\n") > _MANY_MAPPINGS:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def _no_tasks_of_users() -> Iterator[None]:
    """Unregister the tasks that a test registered; forget their modules, named `my_...`, and their folders."""
    import gymnasium

    from surefoot.tasks import registry

    entries, ids, folders = dict(registry.ENTRIES), set(gymnasium.registry), list(sys.path)
    yield
    sys.path[:] = folders
    for id in set(gymnasium.registry) - ids:
        del gymnasium.registry[id]
    registry.ENTRIES.clear()
    registry.ENTRIES.update(entries)
    for module in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[module]


# Folders and files whose few tests take longest.
_LONG = ("learning", "howto", "test_docs.py", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest files to the front, so that parallel workers end at about the same time."""
    items.sort(key=lambda item: not set(_LONG) & set(item.path.parts))


def pytest_collection_finish() -> None:
    """Leave the cache of small functions to child processes: this process compiles each once and keeps it in memory.

    Imported modules stay until the end, so that the garbage collector need not look at them again.
    """
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the cache, unless this is an xdist worker."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(_FOLDER, ignore_errors=True)
