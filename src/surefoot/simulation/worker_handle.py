"""The engine's side of one worker process: start, commands, cause of death, and stop."""

import contextlib
import copy
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from surefoot.simulation.worker import CLOSE, receive_message, send_message

CLOSE_S = 5.0
_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}
_NOT_IN_WORKERS = {signal.SIGINT, signal.SIGTERM}


class WorkerHandle:
    """One worker process, the socket to it, and the numbers of its environments."""

    def __init__(self, index: int, envs: range, setup: bytes, memory: int, timeout_s: float) -> None:
        """Start the process; it answers with one byte once its environments are made.

        Args:
            index: number of the worker.
            envs: numbers of its environments.
            setup: the pickled `worker.Setup`.
            memory: the descriptor of the shared memory.
            timeout_s: limit for sending, in seconds.

        Raises:
            OSError: the system has no process or file descriptor left.
        """
        self.index = index
        self.envs = envs
        self.line, theirs = socket.socketpair()
        self.line.settimeout(timeout_s)
        # A plain new interpreter, not multiprocessing's spawn or forkserver: those import the user's script
        # again, which fails without `if __name__ == "__main__"` and brings JAX into every worker.
        module = "surefoot.simulation.worker"
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(memory)]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        # The worker inherits blocked signals; a Ctrl-C before it ignores them would print a traceback.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_IN_WORKERS)
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), memory),
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            )
        except BaseException:
            self.line.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        with contextlib.suppress(OSError):  # `receive` will report the worker as dead
            send_message(self.line, setup)

    def __str__(self) -> str:
        first, last = self.envs[0], self.envs[-1]
        which = f"environment {first}" if first == last else f"environments {first} to {last}"
        return f"worker {self.index} ({which})"

    def send(self, command: bytes) -> None:
        """Send a command; a dead worker is noticed by `receive`."""
        with contextlib.suppress(OSError):
            self.line.send(command)

    def receive(self) -> bytes:
        """Receive one byte, b"" from a dead worker."""
        try:
            return self.line.recv(1)
        except OSError:
            return b""

    def exited(self) -> bool:
        """Whether the process has ended; if so, `receive` no longer waits."""
        if self.process.poll() is None:
            return False
        self.line.setblocking(False)
        return True

    def report(self) -> dict[str, Any]:
        """Receive the report of an exception: "env" (a number or None), "summary" and "details"."""
        try:
            return json.loads(receive_message(self.line))
        except (OSError, EOFError):
            return {"env": None, "summary": f"it {self.fate()} while it reported an error", "details": ""}

    def fate(self) -> str:
        """Describe the cause of death; kill the process if only its socket is closed."""
        self.stop(CLOSE_S)
        status = self.process.returncode
        if status is None:
            return "cannot be killed"
        if status >= 0:
            return f"exited with status {status}"
        cause = " (often: out of memory)" if -status == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-status).name}{cause}"

    def stop(self, patience_s: float) -> None:
        """Wait for the process to end by itself, then kill it; safe to call again."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(CLOSE_S)
        self.line.close()


def stop_all(handles: Sequence[WorkerHandle], memory: IO[bytes], owner: int) -> None:
    """Stop all workers at the same time and free the memory; do nothing unless called in process `owner`."""
    if os.getpid() != owner:  # a forked child, which must not stop its parent's workers
        return
    memory.close()
    for handle in handles:
        with contextlib.suppress(OSError):
            handle.line.setblocking(False)
        handle.send(CLOSE)
    deadline = time.monotonic() + CLOSE_S
    for handle in handles:
        handle.stop(max(0.0, deadline - time.monotonic()))


def anonymous_memory(size: int) -> IO[bytes]:
    """Open unnamed shared memory; the system frees it even after a crash."""
    if hasattr(os, "memfd_create"):
        memory: IO[bytes] = os.fdopen(os.memfd_create("surefoot"), "r+b", buffering=0)
    else:
        memory = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, open as long as the engine
    memory.truncate(size)
    return memory


def registration(id: str) -> tuple[str, EnvSpec]:
    """Return the module to import for a Gymnasium id ("" if none), and a registration that can be sent to workers."""
    module, _, name = id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = copy.deepcopy(gymnasium.spec(name))
    spec.order_enforce = False  # the engine resets before it steps
    spec.vector_entry_point = None
    if isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
        # A worker has another __main__; the class itself can be pickled.
        spec.entry_point = getattr(sys.modules["__main__"], spec.entry_point.partition(":")[2])
    return module, spec
