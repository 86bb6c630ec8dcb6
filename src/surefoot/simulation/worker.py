"""What runs inside one worker process of the `processes` engine: a few copies of one Gymnasium environment.

Started as `python -m surefoot.simulation.worker SOCKET MEMORY`, with the numbers of two inherited files: a
socket to the engine and the memory that they share. The engine sends the set-up once, then one byte per
command; the worker answers each with one byte. Everything else (actions, frames, seeds) is in shared memory.

This module must stay light: no JAX, and nothing that imports it, so that workers start fast and stay small.
"""

import importlib
import json
import mmap
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
import warnings
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from surefoot.tasks.wrappers import seen

BEGIN, STEP, CLOSE = b"b", b"s", b"c"
DONE, FAILED = b".", b"!"
LENGTH = struct.Struct("!I")
_PARENT_CHECK_S = 10.0


class Setup(NamedTuple):
    """What a worker must know to make its copies.

    Attributes:
        module: a module to import first (it may register environments), or "".
        spec: the environment's registration; its entry point is made with `options`.
        options: keyword arguments for `gymnasium.make`.
        action_repeat: how many steps each action lasts.
        frame_stack: how many observations are seen at once.
        num_envs: N, the copies in all workers together.
        observation_size: D.
        action_size: A.
        start: the first copy that lives in this worker.
        stop: one past the last.
    """

    module: str
    spec: gymnasium.envs.registration.EnvSpec
    options: dict[str, Any]
    action_repeat: int
    frame_stack: int
    num_envs: int
    observation_size: int
    action_size: int
    start: int
    stop: int


class Shared(NamedTuple):
    """The arrays in the shared memory, one row per copy.

    Attributes:
        seed: (N,) int64, for the next beginning.
        action: (N, A) float32.
        frame: (N, D + 3) float32: observation, reward, terminated, truncated.
        finished: (N,) bool, the copies to reset instead of step.
        resting: (N,) bool, the copies to leave as they are.
    """

    seed: np.ndarray
    action: np.ndarray
    frame: np.ndarray
    finished: np.ndarray
    resting: np.ndarray


def shared_size(num_envs: int, observation_size: int, action_size: int) -> int:
    """Return how many bytes `share` maps."""
    return num_envs * (8 + 4 * action_size + 4 * (observation_size + 3) + 2)


def share(file: int, num_envs: int, observation_size: int, action_size: int) -> Shared:
    """Map the arrays that engine and workers share; `file` is a descriptor of `shared_size` bytes."""
    memory = mmap.mmap(file, shared_size(num_envs, observation_size, action_size))
    offset = 0

    def take(dtype: type, *shape: int) -> np.ndarray:
        nonlocal offset
        array = np.ndarray(shape, dtype, memory, offset)
        offset += array.nbytes
        return array

    return Shared(
        seed=take(np.int64, num_envs),
        action=take(np.float32, num_envs, action_size),
        frame=take(np.float32, num_envs, observation_size + 3),
        finished=take(np.bool_, num_envs),
        resting=take(np.bool_, num_envs),
    )


def send_message(line: socket.socket, message: bytes) -> None:
    """Send bytes of any length, after their length."""
    line.sendall(LENGTH.pack(len(message)) + message)


def receive_message(line: socket.socket) -> bytes:
    """Receive what `send_message` sent; EOFError when the other end went away."""
    return _receive(line, LENGTH.unpack(_receive(line, LENGTH.size))[0])


def _receive(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


class Copies:
    """The copies that live in one worker, stepped one after the other."""

    def __init__(self, setup: Setup, shared: Shared) -> None:
        if setup.module:
            importlib.import_module(setup.module)
        self.current: int | None = None  # the copy at work, so that a failure can be told
        self._size = setup.observation_size
        self._rows = slice(setup.start, setup.stop)
        self._shared = shared
        self._envs: list[tuple[int, gymnasium.Env]] = []
        for copy in range(setup.start, setup.stop):
            self.current = copy
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # whoever looked the task up has seen them once, which is enough
                env = gymnasium.make(setup.spec, disable_env_checker=True, **setup.options)
            env = seen(env, setup.action_repeat, setup.frame_stack)
            self._envs.append((copy, env))
        self.current = None
        found = env.observation_space.shape, env.action_space.shape
        if found != ((setup.observation_size,), (setup.action_size,)):
            raise ValueError(f"observation and action have the shapes {found} here")
        self._action_dtype = env.action_space.dtype

    def begin(self) -> None:
        """Start a new episode in every copy, with its shared seed."""
        for copy, env in self._envs:
            self.current = copy
            observation, _ = env.reset(seed=int(self._shared.seed[copy]))
            self._write(copy, observation)

    def step(self) -> None:
        """Step every copy by its shared action, or reset it where it is finished, or let it rest."""
        # A fresh array, because an environment may keep the action it was given.
        actions = self._shared.action[self._rows].astype(self._action_dtype)
        finished = self._shared.finished[self._rows].tolist()
        resting = self._shared.resting[self._rows].tolist()
        for (copy, env), action, reset, rests in zip(self._envs, actions, finished, resting, strict=True):
            self.current = copy
            if rests:
                continue
            if reset:
                observation, _ = env.reset()
                self._write(copy, observation)
            else:
                observation, reward, terminated, truncated, _ = env.step(action)
                self._write(copy, observation, reward, terminated, truncated)

    def _write(self, copy: int, observation, reward=0.0, terminated=False, truncated=False) -> None:
        row, size = self._shared.frame[copy], self._size
        row[:size] = observation
        row[size] = reward
        row[size + 1] = terminated
        row[size + 2] = truncated

    def close(self) -> None:
        """Close every copy."""
        for copy, env in self._envs:
            self.current = copy
            env.close()


def serve(line: socket.socket, memory: int) -> None:
    """Make the copies and obey commands until told to close or the engine goes away."""
    copies: Copies | None = None
    try:
        setup: Setup = pickle.loads(receive_message(line))
        shared = share(memory, setup.num_envs, setup.observation_size, setup.action_size)
        os.close(memory)
        copies = Copies(setup, shared)
        line.send(DONE)
        while (command := line.recv(1)) in (BEGIN, STEP):
            if command == STEP:
                copies.step()
            else:
                copies.begin()
            line.send(DONE)
        copies.close()
    except (EOFError, ConnectionError) as error:
        if not _hung_up(line):  # the environment's own, not the engine's
            _report(line, copies, error)
    except BaseException as error:  # an environment that calls sys.exit() has failed too
        _report(line, copies, error)


def _report(line: socket.socket, copies: Copies | None, error: BaseException) -> None:
    summary = " ".join(traceback.format_exception_only(error)[-1].split())
    report = {
        "copy": copies.current if copies else None,
        "summary": summary,
        "details": "".join(traceback.format_exception(error)),
    }
    try:
        line.send(FAILED)
        send_message(line, json.dumps(report).encode())
    except OSError:
        pass


def _hung_up(line: socket.socket, timeout_ms: int = 0) -> bool:
    watch = select.poll()
    watch.register(line, 0)  # asks for nothing but the hang-up, which is always told
    return bool(watch.poll(timeout_ms))


def _exit_with_parent(line: socket.socket, parent: int) -> None:
    # A copy that never returns from its step would otherwise outlive an engine that was killed. The parent's
    # number is looked at too, because a forked child of the engine's process may hold the socket open.
    while not _hung_up(line, int(1000 * _PARENT_CHECK_S)) and os.getppid() == parent:
        pass
    os._exit(0)


def main() -> None:
    """Run a worker; see the module's text."""
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group; what follows is for the engine to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    line, memory = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    line.set_inheritable(False)
    os.set_inheritable(memory, False)
    threading.Thread(target=_exit_with_parent, args=(line, os.getppid()), daemon=True).start()
    serve(line, memory)


if __name__ == "__main__":
    main()
