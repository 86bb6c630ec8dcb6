"""Display of a training's progress: a live bar in a terminal, plain lines otherwise."""

import contextlib
import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_LINE_EVERY_S = 10.0
# Metric, label, digits.
_SHOWN = (("loss/policy", "policy loss", 4), ("loss/value", "value loss", 4), ("policy/std", "std", 2))


class Progress:
    """Shows steps, speed, returns and losses on standard error.

    Args:
        quiet: show warnings only.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._total = 0
        self._first_update: tuple[float, int] | None = None
        self._line_at = 0.0

    def start(self, total: int, done: int) -> None:
        """Show the progress of a training of `total` steps, `done` of which are complete."""
        self._total = total
        self._first_update = None
        if self._quiet or not self._console.is_terminal:
            return
        self._bar = Bar(
            TextColumn("[bold]training"),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[summary]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("training", total=total, completed=done, summary="")

    def update(self, steps: int, values: dict[str, float], evaluated: float | None) -> None:
        """Show the metrics of one iteration; `evaluated` is the mean return of the last evaluation."""
        if self._quiet:
            return
        speed = values["steps_per_second"]
        parts = [
            f"{speed:,.0f} steps/s",
            f"return {values['train/return']:.1f}" if values["train/episodes"] else "",
            f"evaluated {evaluated:.1f}" if evaluated is not None else "",
            *(f"{text} {values[name]:.{digits}f}" for name, text, digits in _SHOWN if name in values),
        ]
        summary = "  ".join(part for part in parts if part)
        if self._bar:
            self._bar.update(self._task, completed=min(steps, self._total), summary="  ".join(parts[:3]))
            return
        now = time.perf_counter()
        # The first iteration compiles, so the time left is measured from its end.
        self._first_update = self._first_update or (now, steps)
        if now - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            self._print(f"step {steps:,} of {max(steps, self._total):,}  {summary}{self._time_left(steps, now)}")

    def say(self, message: str) -> None:
        """Show one line."""
        if not self._quiet:
            self._print(message)

    def warn(self, message: str) -> None:
        """Show one line, even if quiet."""
        self._print(f"warning: {message}")

    def interrupted(self) -> None:
        """Announce the stop of the training, even if the signal arrives during other output."""
        if not self._quiet:
            text = "stopping: the current iteration ends, then a checkpoint is saved; Ctrl-C again stops at once"
            with contextlib.suppress(OSError):
                os.write(2, f"\n{text}\n".encode())

    def stop(self) -> None:
        """Remove the bar."""
        bar, self._bar = self._bar, None
        if bar:
            with contextlib.suppress(OSError):
                bar.stop()

    def _print(self, message: str) -> None:
        with contextlib.suppress(OSError):  # a training goes on, or ends well, after its terminal was closed
            if self._bar:
                self._console.print(message, markup=False)
            else:
                print(message, file=sys.stderr, flush=True)

    def _time_left(self, steps: int, now: float) -> str:
        began, done = self._first_update or (now, steps)
        if steps == done:
            return ""
        seconds = max(0, self._total - steps) * (now - began) / (steps - done)
        return f"  {seconds:.0f} s left" if seconds < 120 else f"  {seconds / 60:.0f} min left"
