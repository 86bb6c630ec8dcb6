"""Engine `cluster`: objects in Ray actors, on this machine or on many, that collect experience with ordinary engines.

An actor is a process of Ray (docs.ray.io, Ray Core). It holds one object, a sampler with its engine, and executes one
call at a time. An actor that dies is restarted with a new object, on another machine if its own is gone;
the result of its call is lost. One code path serves this machine, a cluster, and a cluster through Ray Client.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cloudpickle

from surefoot.errors import EngineError, InputError, SurefootError, one_line

INSTALL = 'pip install "surefoot[ray]"'
ADDRESS = r"local|auto|(ray://)?[A-Za-z0-9.\-]+:\d{1,5}"
"""Pattern of `engine.address`."""

# Ray reserves 30 % of the memory by default. Each actor has one result of at most a few megabytes in it.
_OBJECT_STORE_BYTES = 200 * 2**20
_REACH_S = 5.0
# Between tries to connect, s.
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_DEATHS_TOLERATED = 3
_RAY_REPLACES = (signal.SIGTERM, signal.SIGINT)
# An actor computes on one thread; more would compete with the other actors. An accelerator is the learner's.
_ACTOR_VARIABLES = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_ACTOR_XLA_FLAGS = "--xla_cpu_multi_thread_eigen=false"


class Result(NamedTuple):
    """End of a call in an actor.

    Attributes:
        index: the actor.
        value: returned by the call; None if the actor died.
        died: whether the actor died and was restarted; its object is new.
    """

    index: int
    value: Any
    died: bool


class Actors:
    """Objects of the same kind, one in each of N actors.

    Args:
        address: "local" starts Ray on this machine; "auto" is a cluster that this machine belongs to; "HOST:PORT" or
            "ray://HOST:PORT" is another.
        count: number of actors; 0: one per core of the cluster.
        make: called in each actor, at its first call, to make its object; it and its arguments are sent by
            `cloudpickle`. Its modules are looked up in the folders of this process, too; they must be installed or
            readable on all machines.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.

    Attributes:
        pids: process ids of the actors at their last results, 0 before the first.
    """

    noun = "sampler"
    """An actor in messages."""
    lost = "its episodes were dropped"
    """Consequence of a death in messages."""
    option = "engine.address"
    """Name of the option with the address in messages."""

    def __init__(self, address: str, count: int, make: Callable[[], Any]) -> None:
        self._stack = contextlib.ExitStack()
        self._address = address
        # By the reference to a result: the actor, and whether it is being restarted.
        self._pending: dict[Any, tuple[int, bool]] = {}
        self._stack.enter_context(_connected(address, self.option))
        try:
            import ray

            self._ray = ray
            count = count or int(ray.cluster_resources().get("CPU", 1))
            self._deaths = [0] * count  # in a row
            self._hosts = [""] * count
            self.pids = [0] * count
            # Always restarted; a call that failed is not repeated.
            actor, options = ray.remote(_Actor), {"max_restarts": -1, "max_task_retries": 0}
            folders = [os.path.abspath(entry) for entry in sys.path]
            sent = cloudpickle.dumps(make)
            self._actors: list[Any] = [
                actor.options(scheduling_strategy=place, **options).remote(folders, sent)
                for place in self._places(count)
            ]
        except BaseException:
            self.close()
            raise

    def _places(self, count: int) -> list[Any]:
        """Return one placement per actor: all machines in turn, each as often as it has cores.

        Ray's own strategy SPREAD sometimes gives one machine all actors. One that is lost gives its actors to others.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        machines = [node for node in self._ray.nodes() if node["Alive"]]
        turns = [(turn, node["NodeID"]) for node in machines for turn in range(int(node["Resources"].get("CPU", 0)))]
        names = [name for _, name in sorted(turns, key=lambda place: place[0])] or [machines[0]["NodeID"]]
        return [NodeAffinitySchedulingStrategy(names[index % len(names)], soft=True) for index in range(count)]

    @property
    def idle(self) -> list[int]:
        """Actors without a call, in order; not those that are being restarted."""
        busy = {index for index, _ in self._pending.values()}
        return [index for index in range(len(self._actors)) if index not in busy]

    def share(self, value: Any) -> Any:
        """Return a reference to a value, which is sent once to each machine; an argument of `call`."""
        with self._connection():
            return self._ray.put(value)

    def call(self, index: int, method: str, *arguments: Any) -> None:
        """Call a method of an actor's object, without waiting; arguments may be references of `share`."""
        with self._connection():
            self._pending[self._actors[index].call.remote(method, *arguments)] = index, False

    def results(self, timeout_s: float) -> list[Result]:
        """Wait for the end of at least one call, and return all that have ended; [] after `timeout_s`.

        A death is a warning.

        Raises:
            EngineError: a call raised another exception than Surefoot's, an actor died again and again, or the cluster
                is out of reach.
            SurefootError: raised by a call.
        """
        pending = list(self._pending)
        with self._connection():
            ended, waiting = self._ray.wait(pending, num_returns=1, timeout=timeout_s) if pending else ([], [])
            if ended and waiting:
                ended += self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
            results = [self._result(reference, *self._pending.pop(reference)) for reference in ended]
        return [result for result in results if result is not None]

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Turn the loss of the connection to the cluster into an EngineError."""
        try:
            yield
        except (ConnectionError, self._ray.exceptions.RaySystemError) as error:
            raise EngineError(
                f"the connection to the Ray cluster '{self._address}' is lost ({one_line(error)[:200]}); the last "
                "checkpoint is kept"
            ) from error

    def _result(self, reference: Any, index: int, restarting: bool) -> Result | None:
        """Return the end of a call; None if an actor is ready again, or still not."""
        exceptions = self._ray.exceptions
        deaths = exceptions.RayActorError, exceptions.OutOfMemoryError, exceptions.ObjectLostError
        try:
            value, messages, self.pids[index], self._hosts[index] = self._ray.get(reference)
        except deaths as error:
            self._count_death(index, error)
            # Calls before the restart fail, unless they are repeated.
            ready = self._actors[index].ready.options(max_task_retries=-1).remote()
            self._pending[ready] = index, True
            return None if restarting else Result(index, None, True)
        except exceptions.RaySystemError:
            raise
        except exceptions.RayError as error:
            raise EngineError(f"{self._name(index)} failed: {one_line(error)[:300]}", str(error)) from error
        for message in messages:
            warnings.warn(f"{self._name(index)}: {message}", RuntimeWarning, stacklevel=4)
        if restarting:
            return None
        self._deaths[index] = 0
        if isinstance(value, SurefootError):
            value.args = (f"{self._name(index)}: {value}",)
            raise value
        return Result(index, value, False)

    def _count_death(self, index: int, error: Exception) -> None:
        self._deaths[index] += 1
        if self._deaths[index] > _DEATHS_TOLERATED:
            raise EngineError(
                f"{self._name(index)} died {self._deaths[index]} times in a row; Ray's files in /tmp/ray on its "
                f"machine may say why, often that memory ran out; use fewer {self.noun}s there",
                str(error),
            )
        warnings.warn(f"{self._name(index)} died and was restarted; {self.lost}", RuntimeWarning, stacklevel=5)

    def _name(self, index: int) -> str:
        where = f" (process {self.pids[index]} on {self._hosts[index]})" if self.pids[index] else ""
        return f"{self.noun} {index}{where}"

    def close(self) -> None:
        """End all actors, and Ray if it was started or connected here."""
        with contextlib.suppress(Exception):  # of a connection that is lost
            for actor in getattr(self, "_actors", []):
                self._ray.kill(actor)
        self._stack.close()


class _Actor:
    """The process's side: executes calls and returns exceptions and warnings with the results."""

    def __init__(self, folders: list[str], make: bytes) -> None:
        # Before JAX is imported, so this module does not import it.
        os.environ.update(_ACTOR_VARIABLES)
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ACTOR_XLA_FLAGS}".strip()
        sys.path += [folder for folder in folders if folder not in sys.path and os.path.exists(folder)]
        self._make = make

    @functools.cached_property
    def _object(self) -> Any:
        return cloudpickle.loads(self._make)()

    def ready(self) -> tuple[None, list[str], int, str]:
        """Return no result, no warnings, process id and host name."""
        return None, [], os.getpid(), socket.gethostname()

    def call(self, method: str, *arguments: Any) -> tuple[Any, list[str], int, str]:
        """Return the result or Surefoot's exception, warnings, process id and host name."""
        with warnings.catch_warnings(record=True) as caught:
            try:
                value = getattr(self._object, method)(*arguments)
            except SurefootError as error:
                value = error
            except Exception as error:
                value = EngineError(one_line(error), traceback.format_exc())
        messages = [" ".join(str(warning.message).split()) for warning in caught]
        return value, list(dict.fromkeys(messages)), os.getpid(), socket.gethostname()


def installed() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def obstacle() -> str:
    """Return the reason why there can be no cluster, "" if there can."""
    return "" if installed() else f"Ray is not installed; {INSTALL}"


@contextlib.contextmanager
def _connected(address: str, option: str) -> Iterator[None]:
    """A context with a connection to Ray; one that exists already is used, and kept."""
    if reason := obstacle():
        raise InputError(f"{option} = '{address}': {reason}")
    _check_address(address, option)
    # Before Ray is imported; a local tool sends nothing to anybody.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "configure_logging": False}
    if address == "local":
        from surefoot.simulation.engine import available_cores

        options |= {"num_cpus": available_cores(), "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_STORE_BYTES}
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with _own_signal_handlers(), warnings.catch_warnings():
            # JAX warns of forks; Ray's processes replace their program at once.
            warnings.filterwarnings("ignore", r"os\.fork\(\)", RuntimeWarning)
            _initialize(options)
    except Exception as error:
        with _own_signal_handlers():
            ray.shutdown()  # Else the next connection is taken for one by Ray Client.
        hint = "; 'local' starts Ray on this machine" if address == "auto" else ""
        raise InputError(f"{option} = '{address}': {one_line(error)[:300]}{hint}") from error
    try:
        yield
    finally:
        with _own_signal_handlers():
            ray.shutdown()


def _initialize(options: dict[str, Any]) -> None:
    """Connect to Ray; a busy head node sometimes fails to start the process that serves a Ray Client."""
    import ray

    for pause in _PAUSES_S:
        try:
            ray.init(**options)
            return
        except ConnectionAbortedError:
            ray.shutdown()
            time.sleep(pause)
    ray.init(**options)


def _check_address(address: str, option: str) -> None:
    """Check that something listens at an address; Ray itself tries for minutes.

    Raises:
        InputError: nothing does, or Ray Client is not installed.
    """
    if not re.fullmatch(ADDRESS, address):
        raise InputError(f"{option} = '{address}': choose 'local', 'auto', 'HOST:PORT' or 'ray://HOST:PORT'")
    if address in ("local", "auto"):
        return
    if address.startswith("ray://") and not importlib.util.find_spec("grpc"):
        raise InputError(f"{option} = '{address}': Ray Client is not installed; {INSTALL}")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{option} = '{address}': no Ray cluster can be reached there ({reason}); start one there with "
            "'ray start --head', or use 'local'"
        ) from None


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """A context that keeps the handlers of signals, which `ray.init` replaces: its own would end the training."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _RAY_REPLACES}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # of C code
                signal.signal(number, handler)
