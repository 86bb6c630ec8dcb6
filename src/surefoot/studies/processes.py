"""Commands in child processes that share the cores of this machine, and end when this process ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence

from surefoot.errors import InputError, RunError
from surefoot.runs.folder import RunFolder
from surefoot.simulation.engine import available_cores

SUREFOOT = (sys.executable, "-m", "surefoot")
"""The command in child processes."""

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
_POLL_S = 0.5


def split_cores(workers: int) -> list[list[int]]:
    """Return the cores of each of `workers` parallel processes: equal numbers, the rest to the first ones.

    Raises:
        InputError: there are fewer cores than workers.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
    if not 1 <= workers <= len(cores):
        raise InputError(f"workers = {workers}: choose 1 to {len(cores)}, the number of cores of this machine")
    return [cores[number::workers] for number in range(workers)]


def describe_split(shares: Sequence[Collection[int]]) -> str:
    """Return the number of parallel processes and of the cores of each, in words."""
    sizes = [len(share) for share in shares]
    each = f"{sizes[0]}" if min(sizes) == max(sizes) else f"{min(sizes)} or {max(sizes)}"
    cores = "core" if each == "1" else "cores"
    return f"{len(shares)} at a time, on {each} {cores}" + (" each" if len(shares) > 1 else "")


def start_surefoot(words: Sequence[str], cores: Collection[int]) -> subprocess.Popen[bytes]:
    """Start `surefoot WORDS` on some cores; what it prints on standard output is dropped.

    On Linux it receives SIGTERM when this process ends, even if that was killed: a training saves a checkpoint then.
    Call this from the main thread: the signal is sent when the calling thread ends.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        if library is not None:
            library.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
            if os.getppid() != parent:  # it ended before the line above
                os.kill(os.getpid(), signal.SIGTERM)

    command = [*SUREFOOT, *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, preexec_fn=prepare)


@contextlib.contextmanager
def stopped_at_the_end(processes: Collection[subprocess.Popen[bytes]]) -> Iterator[None]:
    """A context that ends with SIGTERM to those of `processes` that still run, and waits for them."""
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in processes:
            process.wait()


def wait_until_free(folder: RunFolder, seconds: float) -> None:
    """Wait until no process holds the lock of a run, such as one that still saves a checkpoint.

    Raises:
        RunError: it is still held after some seconds.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            with folder.lock():
                return
        except RunError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL_S)
