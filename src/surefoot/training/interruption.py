"""Ctrl-C, SIGTERM and a closed terminal as a request to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event, notify: Callable[[], object]) -> Iterator[None]:
    """A context in which the first SIGINT, SIGTERM or SIGHUP only sets `stop`; a second SIGINT interrupts at once.

    A SIGHUP that is ignored, as under `nohup`, stays ignored. `notify` is called by the first signal's handler.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not stop.is_set():
            stop.set()
            notify()

    previous = {}
    if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other thread
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
