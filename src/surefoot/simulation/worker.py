"""One worker process of the `processes` engine: some environments of one Gymnasium task.

Started as `python -m surefoot.simulation.worker LINE SETUP MEMORY START STOP`: the descriptors of a connection to the
engine, of a pickled `Setup` and of `SharedMemory`, all inherited, and the range of its environments. The engine sends
commands; the worker answers each with a list of `Notice`, or with the `Failure` that ends it, both as plain tuples.
Everything else is in shared memory.

This module must not import JAX, so that workers start fast and stay small.
"""

import contextlib
import importlib
import mmap
import os
import pickle
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from surefoot.errors import InputError, one_line
from surefoot.packing import Layout
from surefoot.tasks.wrappers import wrap

BEGIN, STEP, CLOSE = b"b", b"s", b"c"
_PARENT_CHECK_S = 10.0


class Notice(NamedTuple):
    """The failure of a simulator that cut an episode, `info["failure"]` of an environment."""

    env: int
    text: str


class Failure(NamedTuple):
    """An exception in a worker."""

    env: int | None
    """The environment that raised it; None before all are made."""
    summary: str
    details: str
    """The traceback; "" for wrong input."""


class Setup(NamedTuple):
    """Everything that workers need to make their environments."""

    name: str
    """The task's name, for messages."""

    module: str
    """A module to import first (it may register environments), or ""."""
    spec: gymnasium.envs.registration.EnvSpec
    options: dict[str, Any]
    """Keyword arguments for `gymnasium.make`."""
    action_repeat: int
    frame_stack: int
    num_envs: int
    """N, environments in all workers together."""
    command: Layout
    """The action, and flags "finished" (reset instead of step) and "resting" (do nothing)."""
    sim_output: Layout
    """The fields of `engine.step_layout`."""

    @property
    def shared_bytes(self) -> int:
        """Size of `SharedMemory`."""
        return self.num_envs * (8 + 4 * (self.command.size + self.sim_output.size))


class SharedMemory:
    """Arrays that engine and workers share, in a file of `setup.shared_bytes`.

    Attributes:
        seed: (N,) int64, seed of the next `BEGIN`.
        command: (N, A + 2) float32, fields of `Setup.command`.
        sim_output: (N, D + 3) float32, fields of `Setup.sim_output`.
    """

    def __init__(self, file: int, setup: Setup) -> None:
        memory = mmap.mmap(file, setup.shared_bytes)
        self.seed = np.ndarray(setup.num_envs, np.int64, memory)
        shape = setup.num_envs, setup.command.size
        self.command = np.ndarray(shape, np.float32, memory, self.seed.nbytes)
        shape = setup.num_envs, setup.sim_output.size
        self.sim_output = np.ndarray(shape, np.float32, memory, self.seed.nbytes + self.command.nbytes)


class Environments:
    """The environments of one worker, stepped one after the other.

    Attributes:
        current: number of the environment being stepped, for error reports.
        notices: failures of simulators since the list was last replaced.
    """

    def __init__(self, setup: Setup, shared: SharedMemory, envs: range) -> None:
        if setup.module:
            importlib.import_module(setup.module)
        self.current: int | None = None
        self.notices: list[Notice] = []
        self._setup, self._shared = setup, shared
        self._envs: list[tuple[int, gymnasium.Env]] = []
        for index in envs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # shown once already, when the task was looked up
                env = gymnasium.make(setup.spec, disable_env_checker=True, **setup.options)
            env = wrap(env, setup.action_repeat, setup.frame_stack, setup.name)
            self._envs.append((index, env))
        shapes = env.observation_space.shape, env.action_space.shape
        sizes = setup.sim_output.columns("observation").stop, setup.command.columns("action").stop
        if shapes != ((sizes[0],), (sizes[1],)):
            raise ValueError(f"observation and action have the shapes {shapes} here")

    def begin(self) -> None:
        """Start a new episode in every environment, with its shared seed."""
        for index, env in self._envs:
            self.current = index
            observation, _ = env.reset(seed=int(self._shared.seed[index]))
            self._write(index, observation)

    def step(self) -> None:
        """Step every environment with its command from shared memory."""
        command = self._setup.command.unpack(self._shared.command[self._envs[0][0] : self._envs[-1][0] + 1])
        # A new array, because an environment may keep its action.
        actions = command["action"].copy()
        finished, resting = command["finished"].tolist(), command["resting"].tolist()
        for (index, env), action, reset, rests in zip(self._envs, actions, finished, resting, strict=True):
            self.current = index
            if rests:
                continue
            if reset:
                observation, _ = env.reset()
                self._write(index, observation)
            else:
                observation, reward, terminated, truncated, info = env.step(action)
                self._write(index, observation, reward, terminated, truncated)
                if "failure" in info:
                    self.notices.append(Notice(index, str(info["failure"])))

    def _write(self, index: int, observation, reward=0.0, terminated=False, truncated=False) -> None:
        fields = {"observation": observation, "reward": reward, "terminated": terminated, "truncated": truncated}
        self._setup.sim_output.write(self._shared.sim_output[index], fields)

    def close(self) -> None:
        """Close every environment."""
        for index, env in self._envs:
            self.current = index
            env.close()


def serve(line: Connection, setup_file: int, memory: int, envs: range) -> None:
    """Make the environments and execute commands until `CLOSE`, or until the engine's process ends."""
    environments: Environments | None = None
    try:
        with mmap.mmap(setup_file, 0, access=mmap.ACCESS_READ) as message:
            setup: Setup = pickle.loads(message)
        environments = Environments(setup, SharedMemory(memory, setup), envs)
        line.send([])
        for command in _commands(line):
            if command == STEP:
                environments.step()
            else:
                environments.begin()
            line.send([tuple(notice) for notice in environments.notices])
            environments.notices = []
        environments.close()
    except BaseException as error:  # sys.exit() in an environment is a failure, too
        details = "".join(traceback.format_exception(error))
        summary, details = (str(error), "") if isinstance(error, InputError) else (one_line(error), details)
        with contextlib.suppress(OSError):  # the engine's process has ended
            line.send(tuple(Failure(environments.current if environments else None, summary, details)))


def _commands(line: Connection) -> Iterator[bytes]:
    with contextlib.suppress(EOFError, ConnectionError):
        while (command := line.recv_bytes()) != CLOSE:
            yield command


def _exit_with_parent(line: Connection, parent: int) -> None:
    # An environment that never returns from its step would otherwise outlive an engine that was killed. The parent's
    # process id is compared, too, because a forked child of the engine's process may hold the socket open.
    hang_up = select.poll()
    hang_up.register(line, 0)  # an empty mask: poll always reports a hang-up
    while not hang_up.poll(1000 * _PARENT_CHECK_S) and os.getppid() == parent:
        pass
    os._exit(0)


def main() -> None:
    """Run a worker; see the module's docstring."""
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group; the engine decides how to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    file, setup, memory, start, stop = (int(text) for text in sys.argv[1:])
    for inherited in (file, setup, memory):
        os.set_inheritable(inherited, False)
    line = Connection(file)
    threading.Thread(target=_exit_with_parent, args=(line, os.getppid()), daemon=True).start()
    serve(line, setup, memory, range(start, stop))


if __name__ == "__main__":
    main()
