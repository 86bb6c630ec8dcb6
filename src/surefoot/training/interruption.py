"""Ctrl-C, SIGTERM and a closed terminal as a request to stop."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interruption:
    """A context in which the first SIGINT, SIGTERM or SIGHUP only requests a stop; a second SIGINT interrupts at once.

    A SIGHUP that is ignored, as under `nohup`, stays ignored. `notify` is called by the first signal's handler.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify
        self._event = threading.Event()
        self._previous: dict[int, object] = {}

    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    def request(self) -> None:
        """Request a stop."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a request; return whether there is one."""
        return self._event.wait(seconds)

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other thread
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyrefly: ignore

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested():
            self.request()
            self._notify()
