"""One worker process of the `processes` engine: some environments of one Gymnasium task.

Started as `python -m surefoot.simulation.worker SOCKET MEMORY`, with the descriptors of two inherited files: a socket
to the engine, and shared memory. The engine sends the set-up once, then one byte per command; the worker answers each
with one byte. Everything else (actions, simulator output, seeds) is in shared memory.

This module must not import JAX, so that workers start fast and stay small.
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

from surefoot.packing import Layout
from surefoot.tasks.wrappers import wrap

BEGIN, STEP, CLOSE = b"b", b"s", b"c"
DONE, FAILED = b".", b"!"
LENGTH = struct.Struct("!I")
_PARENT_CHECK_S = 10.0


class Setup(NamedTuple):
    """Everything a worker needs to make its environments.

    Attributes:
        module: a module to import first (it may register environments), or "".
        spec: the environment's registration.
        options: keyword arguments for `gymnasium.make`.
        action_repeat: environment steps per action.
        frame_stack: observations stacked into one.
        num_envs: N, environments in all workers together.
        observation_size: D.
        action_size: A.
        start: first environment of this worker.
        stop: one past its last.
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


class SharedMemory:
    """Arrays that engine and workers share, one row per environment.

    Args:
        file: descriptor of at least `size(...)` bytes.
        num_envs: N.
        observation_size: D.
        action_size: A.

    Attributes:
        seed: (N,) int64, seed of the next `BEGIN`.
        command: (N, A + 2) float32, as in `command_layout`.
        sim_output: (N, D + 3) float32, as in `output_layout`.
        command_layout: action; flags "finished" (reset instead of step) and "resting" (do nothing).
        output_layout: the fields of `engine.step_layout`.
    """

    def __init__(self, file: int, num_envs: int, observation_size: int, action_size: int) -> None:
        self.command_layout, self.output_layout = _layouts(observation_size, action_size)
        memory = mmap.mmap(file, self.size(num_envs, observation_size, action_size))
        self.seed = np.ndarray(num_envs, np.int64, memory)
        shape = num_envs, self.command_layout.size
        self.command = np.ndarray(shape, np.float32, memory, self.seed.nbytes)
        shape = num_envs, self.output_layout.size
        self.sim_output = np.ndarray(shape, np.float32, memory, self.seed.nbytes + self.command.nbytes)

    @staticmethod
    def size(num_envs: int, observation_size: int, action_size: int) -> int:
        """Bytes that all arrays take together."""
        return num_envs * (8 + 4 * sum(layout.size for layout in _layouts(observation_size, action_size)))


def _layouts(observation_size: int, action_size: int) -> tuple[Layout, Layout]:
    command = Layout(action=action_size, finished="flag", resting="flag")
    return command, Layout(observation=observation_size, reward="scalar", terminated="flag", truncated="flag")


def send_message(line: socket.socket, message: bytes) -> None:
    """Send bytes of any length, after their length."""
    line.sendall(LENGTH.pack(len(message)) + message)


def receive_message(line: socket.socket) -> bytes:
    """Receive the bytes that `send_message` sent.

    Raises:
        EOFError: the other end is closed.
    """
    return _receive(line, LENGTH.unpack(_receive(line, LENGTH.size))[0])


def _receive(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


class Environments:
    """The environments of one worker, stepped one after the other.

    Attributes:
        current: number of the environment being stepped, for error reports.
    """

    def __init__(self, setup: Setup, shared: SharedMemory) -> None:
        if setup.module:
            importlib.import_module(setup.module)
        self.current: int | None = None
        self._shared = shared
        self._rows = slice(setup.start, setup.stop)
        self._envs: list[tuple[int, gymnasium.Env]] = []
        for index in range(setup.start, setup.stop):
            self.current = index
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # shown once already, when the task was looked up
                env = gymnasium.make(setup.spec, disable_env_checker=True, **setup.options)
            env = wrap(env, setup.action_repeat, setup.frame_stack)
            self._envs.append((index, env))
        self.current = None
        shapes = env.observation_space.shape, env.action_space.shape
        if shapes != ((setup.observation_size,), (setup.action_size,)):
            raise ValueError(f"observation and action have the shapes {shapes} here")
        self._action_dtype = env.action_space.dtype

    def begin(self) -> None:
        """Start a new episode in every environment, with its shared seed."""
        for index, env in self._envs:
            self.current = index
            observation, _ = env.reset(seed=int(self._shared.seed[index]))
            self._write(index, observation)

    def step(self) -> None:
        """Step every environment with its command from shared memory."""
        command = self._shared.command_layout.unpack(self._shared.command[self._rows])
        # A new array, because an environment may keep its action.
        actions = command["action"].astype(self._action_dtype)
        finished, resting = command["finished"].tolist(), command["resting"].tolist()
        for (index, env), action, reset, rests in zip(self._envs, actions, finished, resting, strict=True):
            self.current = index
            if rests:
                continue
            if reset:
                observation, _ = env.reset()
                self._write(index, observation)
            else:
                observation, reward, terminated, truncated, _ = env.step(action)
                self._write(index, observation, reward, terminated, truncated)

    def _write(self, index: int, observation, reward=0.0, terminated=False, truncated=False) -> None:
        fields = {"observation": observation, "reward": reward, "terminated": terminated, "truncated": truncated}
        self._shared.output_layout.write(self._shared.sim_output[index], fields)

    def close(self) -> None:
        """Close every environment."""
        for index, env in self._envs:
            self.current = index
            env.close()


def serve(line: socket.socket, memory: int) -> None:
    """Make the environments and execute commands until `CLOSE`, or until the engine's process ends."""
    environments: Environments | None = None
    try:
        setup: Setup = pickle.loads(receive_message(line))
        shared = SharedMemory(memory, setup.num_envs, setup.observation_size, setup.action_size)
        os.close(memory)
        environments = Environments(setup, shared)
        line.send(DONE)
        while (command := line.recv(1)) in (BEGIN, STEP):
            if command == STEP:
                environments.step()
            else:
                environments.begin()
            line.send(DONE)
        environments.close()
    except (EOFError, ConnectionError) as error:
        if not _hung_up(line):  # the environment's own, not the engine's
            _report(line, environments, error)
    except BaseException as error:  # sys.exit() in an environment is a failure, too
        _report(line, environments, error)


def _report(line: socket.socket, environments: Environments | None, error: BaseException) -> None:
    summary = " ".join(traceback.format_exception_only(error)[-1].split())
    report = {
        "env": environments.current if environments else None,
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
    watch.register(line, 0)  # an empty mask: poll always reports a hang-up
    return bool(watch.poll(timeout_ms))


def _exit_with_parent(line: socket.socket, parent: int) -> None:
    # An environment that never returns from its step would otherwise outlive an engine that was killed. The parent's
    # process id is compared, too, because a forked child of the engine's process may hold the socket open.
    while not _hung_up(line, int(1000 * _PARENT_CHECK_S)) and os.getppid() == parent:
        pass
    os._exit(0)


def main() -> None:
    """Run a worker; see the module's docstring."""
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group; the engine decides how to stop.
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
