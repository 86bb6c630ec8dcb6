"""Progress that records what a training reports, and can act during it."""

import signal
from collections.abc import Callable

from surefoot.training.progress import Progress


class Watcher(Progress):
    """Record warnings and messages, and call `after` with the number of iterations done, after each.

    Attributes:
        warnings: warnings so far.
        messages: other messages so far.
        iterations: number of iterations so far.
    """

    def __init__(self, after: Callable[[int], object] = lambda iteration: None) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []
        self.messages: list[str] = []
        self.iterations = 0
        self._after = after

    def update(self, steps: int, values: dict[str, float], evaluated: float | None) -> None:
        self.iterations += 1
        self._after(self.iterations)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def say(self, message: str) -> None:
        self.messages.append(message)


def interrupting(at: int, number: int = signal.SIGTERM) -> Watcher:
    """Send this process a signal after iteration `at`; 0: never."""
    return Watcher(lambda iteration: iteration == at and signal.raise_signal(number))
