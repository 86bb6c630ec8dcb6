"""What all tests of a session share: compiled functions, for many compile the same, and a Ctrl-C that is heard."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDER = Path(tempfile.gettempdir()) / f"surefoot-compiled-{os.getpid()}"

# Before JAX is imported. xdist's workers and processes that tests start inherit it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_FOLDER))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Most of the tests' time is compiling, and what they compile runs for a moment: a third of it is spared.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# A shell that starts the tests in the background has them ignore it, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Linux gives a process 65,530 pieces of memory by default, compiled functions take several, and XLA aborts without one.
_MANY_PIECES = 20_000
_PIECES = Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def _few_compiled_functions() -> Iterator[None]:
    """Forget compiled functions between files once there are very many; what is needed again is read from the disk."""
    yield
    if "jax" in sys.modules and _PIECES.exists() and _PIECES.read_bytes().count(b"\n") > _MANY_PIECES:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what was shared, unless this is a worker of xdist's."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(_FOLDER, ignore_errors=True)
