"""Worker processes of a study on this machine, each with its own cores; on a cluster, Ray's actors take their place.

A worker is started as `python -m surefoot.studies.workers LINE`, the descriptor of its connection. It answers one call
after another, as a `simulation.cluster.Actors` does, and ends with the process that started it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Protocol

from surefoot.errors import EngineError
from surefoot.simulation.cluster import Actors, Result

_DEATHS_TOLERATED = 3
_CLOSE_S = 5.0
_THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL")]
_NOT_IN_WORKERS = {signal.SIGINT, signal.SIGTERM}


class Workers(Protocol):
    """Processes that train: `LocalWorkers`, or `RayWorkers`."""

    @property
    def idle(self) -> list[int]:
        """Workers without a call."""
        ...

    def call(self, index: int, method: str, *arguments: Any) -> None:
        """Call a method of the worker's `TrialRunner`, without waiting."""
        ...

    def results(self, timeout_s: float) -> list[Result]:
        """Wait for the end of at least one call; [] after `timeout_s`."""
        ...

    def interrupt(self) -> bool:
        """Let all trainings stop with a checkpoint; return whether they report it."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


class RayWorkers(Actors):
    """Workers in actors of Ray, on all machines in turn."""

    noun = "worker"
    lost = "its training goes on from its last evaluation"
    option = "--on"

    def interrupt(self) -> bool:
        """Return False: an actor does one call at a time, so its training goes on from its last report."""
        return False


class _Process:
    """One worker process and the connection to it."""

    def __init__(self, cores: Sequence[int]) -> None:
        self.line, theirs = Pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {**os.environ, **dict.fromkeys(_THREADS, str(max(1, len(cores)))), "PYTHONPATH": path}
        # The worker inherits blocked signals; otherwise a Ctrl-C during its start would print a traceback.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_IN_WORKERS)
        try:
            command = [sys.executable, "-P", "-m", "surefoot.studies.workers", str(theirs.fileno())]
            command += [",".join(map(str, cores))]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
            )
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def close(self, patience_s: float) -> None:
        """End the process."""
        self.line.close()  # at which it ends by itself
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalWorkers:
    """Worker processes on this machine.

    Args:
        cores: for each worker, the numbers of its cores.
    """

    def __init__(self, cores: Sequence[Sequence[int]]) -> None:
        self._cores = cores
        self._processes: list[_Process] = []
        self._busy: set[int] = set()
        self._deaths = [0] * len(cores)  # in a row
        for own in cores:
            self._processes.append(_Process(own))

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._processes]

    @property
    def idle(self) -> list[int]:
        """Workers without a call, in order."""
        return [index for index in range(len(self._processes)) if index not in self._busy]

    def call(self, index: int, method: str, *arguments: Any) -> None:
        """Call a method of the worker's `TrialRunner`, without waiting."""
        self._busy.add(index)
        with contextlib.suppress(OSError):  # `results` notices a death
            self._processes[index].line.send((method, arguments))

    def results(self, timeout_s: float) -> list[Result]:
        """Wait for the end of at least one call, and return all that have ended; [] after `timeout_s`.

        A worker that died is replaced.

        Raises:
            EngineError: a worker died again and again.
        """
        lines = {self._processes[index].line: index for index in self._busy}
        ready = sorted(lines[line] for line in wait([*lines], timeout_s) if isinstance(line, Connection))
        return [self._result(index) for index in ready]

    def _result(self, index: int) -> Result:
        self._busy.discard(index)
        try:
            value = self._processes[index].line.recv()
        except (OSError, EOFError):
            self._replace(index)
            return Result(index, None, True)
        self._deaths[index] = 0
        return Result(index, value, False)

    def _replace(self, index: int) -> None:
        """Start a new process in place of one that died."""
        self._processes[index].close(_CLOSE_S)
        status = self._processes[index].process.returncode
        self._deaths[index] += 1
        if self._deaths[index] > _DEATHS_TOLERATED:
            raise EngineError(f"worker {index} died {self._deaths[index]} times in a row, at last with status {status}")
        cause = " (often: out of memory)" if status == -signal.SIGKILL else ""
        warnings.warn(f"worker {index} ended with status {status}{cause} and was replaced", stacklevel=4)
        self._processes[index] = _Process(self._cores[index])

    def interrupt(self) -> bool:
        """Let all trainings stop with a checkpoint, which they report."""
        for worker in self._processes:
            worker.process.terminate()
        return True

    def close(self) -> None:
        """End all workers."""
        for worker in self._processes:
            worker.line.close()
        for worker in self._processes:
            worker.close(_CLOSE_S)


def _exit_with_parent(line: Connection) -> None:
    hang_up = select.poll()
    hang_up.register(line, 0)  # an empty mask: poll always reports a hang-up
    hang_up.poll()
    os._exit(0)


def main() -> None:
    """Run a worker; see the module's docstring."""
    file, cores = int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",") if core]
    os.set_inheritable(file, False)
    line = Connection(file)
    threading.Thread(target=_exit_with_parent, args=(line,), daemon=True).start()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    from surefoot.studies.trials import TrialRunner  # imports JAX, which looks at the cores

    runner = TrialRunner()
    # Ctrl-C reaches the whole process group; the study decides how its trainings stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: runner.interrupt())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_IN_WORKERS)
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, arguments = line.recv()
            line.send(getattr(runner, method)(*arguments))


if __name__ == "__main__":
    main()
