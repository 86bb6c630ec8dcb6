"""Engine `processes`: any Gymnasium environment, in a few worker processes with several environments each.

Gymnasium's own `AsyncVectorEnv` starts one process per environment, which is slow if environments outnumber cores.
Steps per second of 32 BipedalWalker-v3 under random actions on two idle cores: 12,300 to 13,500 in two workers of this
engine, 8,100 to 8,700 in a plain loop, 4,100 to 6,700 in `AsyncVectorEnv`. A worker that dies ends `AsyncVectorEnv`;
here it is replaced, and an exception in an environment is reported with its traceback.
"""

import contextlib
import copy
import importlib
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from typing import IO

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from surefoot.errors import EngineError, InputError
from surefoot.packing import Layout
from surefoot.simulation.engine import Engine, available_cores
from surefoot.simulation.worker import BEGIN, CLOSE, STEP, Failure, Notice, Setup, SharedMemory
from surefoot.tasks.catalogue import TaskInfo

_DEATHS_TOLERATED = 3
_PROGRESS_STEPS = 100
CLOSE_S = 5.0
_LIVENESS_CHECK_S = 1.0
_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}
_NOT_IN_WORKERS = {signal.SIGINT, signal.SIGTERM}


class _Worker:
    """One worker process, the connection to it, and the numbers of its environments."""

    def __init__(self, index: int, envs: range, setup: int, memory: int) -> None:
        """Start the process with descriptors of the files that it inherits; it answers once its environments are made.

        Raises:
            OSError: the system has no process or file descriptor left.
        """
        self.index, self.envs = index, envs
        self._late_s: float | None = None
        self.line, theirs = Pipe()
        self._answers = select.poll()
        self._answers.register(self.line, select.POLLIN)
        # A plain new interpreter, not multiprocessing's spawn or forkserver: those import the user's script
        # again, which fails without `if __name__ == "__main__"` and brings JAX into every worker.
        files = theirs.fileno(), setup, memory
        arguments = map(str, (*files, envs.start, envs.stop))
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        # The worker inherits blocked signals; otherwise a Ctrl-C during its start would print a traceback.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_IN_WORKERS)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "surefoot.simulation.worker", *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=files,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            )
        except BaseException:
            self.line.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def __str__(self) -> str:
        first, last = self.envs[0], self.envs[-1]
        which = f"environment {first}" if first == last else f"environments {first} to {last}"
        return f"worker {self.index} ({which})"

    def send(self, command: bytes) -> None:
        """Send a command; a dead worker is noticed by `receive`."""
        with contextlib.suppress(OSError):
            self.line.send_bytes(command)

    def receive(self, deadline: float) -> Failure | list[Notice]:
        """Wait for the answer to a command.

        Raises:
            EOFError: the worker is dead.
            TimeoutError: there was no answer until `deadline`, in seconds of `time.monotonic`.
        """
        while not self._answers.poll(1000 * min(_LIVENESS_CHECK_S, max(0.0, deadline - time.monotonic()))):
            if self.process.poll() is not None:  # a child of the worker keeps its end of the connection open
                raise EOFError
            if time.monotonic() >= deadline:
                raise TimeoutError
        try:
            answer = self.line.recv()
        except OSError as error:
            raise EOFError from error
        return Failure(*answer) if isinstance(answer, tuple) else [Notice(*notice) for notice in answer]

    def fate(self) -> str:
        """Describe the cause of death; kill the process if only its connection is closed."""
        self.stop(CLOSE_S)
        if self._late_s is not None:
            return f"gave no answer for {self._late_s:g} seconds"
        status = self.process.returncode
        if status is None:
            return "cannot be killed"
        if status >= 0:
            return f"exited with status {status}"
        cause = " (often: out of memory)" if -status == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-status).name}{cause}"

    def kill(self, late_s: float) -> None:
        """Kill the process because it gave no answer for `late_s` seconds."""
        self._late_s = late_s
        self.process.kill()

    def stop(self, patience_s: float) -> None:
        """Wait for the process to end by itself, then kill it; safe to call again."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(CLOSE_S)
        self.line.close()


class ProcessesEngine(Engine):
    """Environments of one Gymnasium task in worker processes, stepped in parallel.

    A worker that dies (out of memory, a segmentation fault) is replaced with a warning. Its episodes are truncated,
    with reward 0 and the last known observation, and new ones begin. After an `EngineError` or an interrupt the engine
    is closed.
    """

    name = "processes"

    def __init__(self, info: TaskInfo, num_envs: int, workers: int = 0) -> None:
        """Make `num_envs` environments in up to that many `workers` (0: one per CPU core).

        Any module or the running script may have registered the task.

        Raises:
            EngineError: the environment cannot be made in a worker; `details` holds the worker's traceback.
        """
        super().__init__(info, num_envs)
        self._timeout_s = 300.0  # for one step of a worker's environments
        self._step_patience_s: float | None = None  # after which a worker is replaced; None: `_timeout_s` is an error
        self._seed = self._deaths = self._deaths_in_a_row = self._steps_since_death = self._failures = 0
        setup = self._setup(info, num_envs)
        self._command_layout = setup.command
        try:
            # Unlike pickle, cloudpickle can send an environment that the running script defines.
            files = [_anonymous_file(cloudpickle.dumps(setup)), _anonymous_file(bytes(setup.shared_bytes))]
        except Exception as error:
            summary = " ".join(f"{type(error).__name__}: {error}".split())
            raise EngineError(f"task '{info.name}' cannot be sent to worker processes: {summary}") from error
        self._descriptors = [file.fileno() for file in files]
        workers = min(workers or available_cores(), num_envs)
        bounds = [num_envs * index // workers for index in range(workers + 1)]
        self._handles: list[_Worker] = []
        # Runs once: when the engine is closed, collected, or at exit.
        self._stop = weakref.finalize(self, _stop_all, self._handles, files, os.getpid())
        try:
            self._shared = SharedMemory(self._descriptors[1], setup)
            self._last = np.zeros_like(self._shared.sim_output)
            for index in range(workers):
                self._handles.append(self._start(index, range(bounds[index], bounds[index + 1])))
            for dead in self._collect(self._handles):
                raise EngineError(
                    f"{dead} of task '{info.name}' {dead.fate()} as it started; what it printed may say why"
                )
        except BaseException:
            self.close()
            raise

    def _setup(self, info: TaskInfo, num_envs: int) -> Setup:
        """Return the description of the environments for the workers."""
        command = Layout(action=info.action_size, finished="flag", resting="flag")
        made = info.name, *_registration(info.id), info.env_options, info.action_repeat, info.frame_stack
        return Setup(*made, num_envs, command, self.layout)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, in the order of their environments."""
        return [handle.process.pid for handle in self._handles]

    def begin(self, seed: int | None) -> np.ndarray:
        self._check_open()
        self._seed = secrets.randbits(31) if seed is None else seed
        self._shared.seed[:] = self._seed + np.arange(self.num_envs)
        self._execute(BEGIN)
        return self._sim_output()

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        self._check_open()
        shared = self._shared
        fields = {"action": action, "finished": finished, "resting": False if resting is None else resting}
        self._command_layout.write(shared.command, fields)
        for env in self._execute(STEP):
            if not finished[env]:  # its episode was cut short by the restart
                shared.sim_output[env] = self._last[env]
                self.layout.write(shared.sim_output[env], {"reward": 0, "terminated": False, "truncated": True})
                self.cut_episodes += 1
        self._steps_since_death += 1
        return self._sim_output()

    def close_extras(self, **kwargs) -> None:
        """Stop the workers (killing them after a few seconds) and free the shared memory."""
        del kwargs
        self._stop()
        self.__dict__.pop("_shared", None)

    def _sim_output(self) -> np.ndarray:
        # A separate copy, because JAX may overwrite the array that is returned.
        self._last[:] = self._shared.sim_output
        return self._last.copy()

    def _start(self, index: int, envs: range) -> _Worker:
        try:
            return _Worker(index, envs, *self._descriptors)
        except OSError as error:
            raise EngineError(f"a worker of task '{self._info.name}' cannot be started: {error}") from error

    def _execute(self, command: bytes) -> list[int]:
        """Have all workers execute one command; return the environments that were restarted in a new worker."""
        try:
            return self._replace(self._command(command, self._handles))
        except BaseException:  # includes interrupts, after which the pending answers are unknown
            self.close()
            raise

    def _command(self, command: bytes, handles: Sequence[_Worker]) -> list[_Worker]:
        """Send workers one command, wait for all, and return those that died."""
        for handle in handles:
            handle.send(command)
        return self._collect(handles, self._step_patience_s if command == STEP else None)

    def _collect(self, handles: Sequence[_Worker], patience_s: float | None = None) -> list[_Worker]:
        """Wait for the answers of workers; return those that died instead, or gave none for `patience_s` seconds.

        Raises:
            EngineError: an environment raised an exception; or hangs, if `patience_s` is None.
        """
        dead = []
        timeout_s = patience_s or self._timeout_s
        deadline = time.monotonic() + timeout_s
        for number, handle in enumerate(handles):
            try:
                answer = handle.receive(deadline)
            except EOFError:
                dead.append(handle)
                continue
            except TimeoutError:
                late = [handle for handle in handles[number:] if not handle.line.poll()]
                for hung in late:
                    hung.kill(timeout_s)
                if patience_s is None:
                    raise self._hung(late) from None
                dead.append(handle)  # the next ones that are late are noticed as dead
                continue
            if isinstance(answer, Failure):
                if not answer.details:
                    raise InputError(answer.summary)
                where = handle if answer.env is None else f"environment {answer.env}"
                raise EngineError(f"task '{self._info.name}' failed in {where}: {answer.summary}", answer.details)
            for notice in answer:
                self._report(notice)
        return dead

    def _report(self, notice: Notice) -> None:
        """Count an episode that its simulator cut, and warn of the 1st, 10th, 100th and so on."""
        self.cut_episodes += 1
        self._failures += 1
        if self._failures == 10 ** (len(str(self._failures)) - 1):
            count = f" ({self._failures:,} so far)" if self._failures > 1 else ""
            where = f"environment {notice.env} of task '{self._info.name}'"
            warnings.warn(f"{where}: {notice.text}; its episode was cut{count}", RuntimeWarning, stacklevel=5)

    def _replace(self, dead: Sequence[_Worker]) -> list[int]:
        """Replace dead workers, begin new episodes in their environments, and return those environments."""
        warned = []
        restarted: set[int] = set()
        while dead:
            for handle in dead:
                fate = handle.fate()
                self._count_death(handle, fate)
                warned.append(f"{handle} of task '{self._info.name}' {fate} and was replaced; its episodes were cut")
                restarted.update(handle.envs)
                for env in handle.envs:
                    self._shared.seed[env] = _fresh_seed(self._seed, env, self._deaths)
                self._handles[handle.index] = self._start(handle.index, handle.envs)
            new = [self._handles[handle.index] for handle in dead]
            stillborn = self._collect(new)
            dead = stillborn + self._command(BEGIN, [handle for handle in new if handle not in stillborn])
        for warning in warned:
            warnings.warn(warning, RuntimeWarning, stacklevel=4)
        return sorted(restarted)

    def _count_death(self, handle: _Worker, fate: str) -> None:
        if self._steps_since_death >= _PROGRESS_STEPS:
            self._deaths_in_a_row = 0
        self._steps_since_death = 0
        self._deaths += 1
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > _DEATHS_TOLERATED:
            raise EngineError(
                f"workers of task '{self._info.name}' died {self._deaths_in_a_row} times with fewer than "
                f"{_PROGRESS_STEPS} steps between; the last, {handle}, {fate}; run one environment in plain "
                "Gymnasium to see why, or use fewer environments if memory ran out"
            )

    def _hung(self, handles: Sequence[_Worker]) -> EngineError:
        return EngineError(
            f"{' and '.join(map(str, handles))} of task '{self._info.name}' gave no answer for "
            f"{self._timeout_s:g} seconds; an environment hangs"
        )


def _stop_all(handles: Sequence[_Worker], files: Sequence[IO[bytes]], owner: int) -> None:
    """Stop all workers at the same time and close the files; do nothing unless called in process `owner`."""
    if os.getpid() != owner:  # a forked child, which must not stop its parent's workers
        return
    for file in files:
        file.close()
    for handle in handles:
        handle.send(CLOSE)
    deadline = time.monotonic() + CLOSE_S
    for handle in handles:
        handle.stop(max(0.0, deadline - time.monotonic()))


def _anonymous_file(content: bytes) -> IO[bytes]:
    """Write an unnamed file in memory; the system frees it even after a crash."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("surefoot"), "r+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, open as long as the engine
    file.write(content)
    return file


def _registration(id: str) -> tuple[str, EnvSpec]:
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


def _fresh_seed(seed: int, env: int, deaths: int) -> int:
    """Derive a new seed, so that an environment does not repeat the episode that killed its worker."""
    return int(np.random.SeedSequence((seed, env, deaths)).generate_state(1)[0])
