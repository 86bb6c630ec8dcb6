"""An object that tests put into actors of a cluster."""

import os
import time
import warnings

from surefoot.errors import NonFiniteError


class Counter:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def add(self, number: int, shared: list[int]) -> int:
        self.calls += 1
        return self.calls + number + sum(shared)

    def place(self) -> tuple[int, str]:
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def fail(self, kind: str) -> None:
        warnings.warn("a warning of\nthe simulator", stacklevel=1)
        if kind == "own":
            raise NonFiniteError("reward 3 is nan", {"rewards": [1.0]}, 7)
        if kind == "foreign":
            raise ZeroDivisionError("by zero")
