"""Experiment trackers that receive the metrics; metrics.jsonl stays the source of truth."""

import contextlib
import importlib
import json
import math
import os
import secrets
import struct
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from surefoot.errors import InputError, suggestion
from surefoot.files import atomic_write


class TensorBoard:
    """Writes event files under `RUN/tensorboard`, through tensorboardX.

    Its `SummaryWriter` passes each event to a thread. On a full disk the queue fills and the run waits forever. This
    class therefore writes the events itself.
    """

    def __init__(self, module: Any, run_path: Path, config: Mapping[str, Any]):
        self._open = importlib.import_module(f"{module.__name__}.event_file_writer").EventsWriter
        self._events: Any = importlib.import_module(f"{module.__name__}.proto.event_pb2")
        self._text = importlib.import_module(f"{module.__name__}.summary").text
        self._folder = run_path / "tensorboard"
        self._config = json.dumps(dict(config), indent=2, default=str)
        self._writer: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = self._start(step)
        event = self._events.Event(step=step)
        for name, value in values.items():
            event.summary.value.add(tag=name, simple_value=value)
        self._write(self._writer, event)
        self._writer.flush()

    def log_media(self, step: int, pictures: Mapping[str, Path], videos: Mapping[str, Path]) -> None:
        """Write pictures; event files hold no MP4."""
        if self._writer is None:
            self._writer = self._start(step + 1)  # a start at this step would discard its values
        for name, path in pictures.items():
            event = self._events.Event(step=step)
            value = event.summary.value.add(tag=name)
            value.image.encoded_image_string = path.read_bytes()
            # Of a PNG file, whose header has them; TensorBoard needs them to arrange pictures.
            width, height = struct.unpack(">II", path.read_bytes()[16:24])
            value.image.width, value.image.height, value.image.colorspace = width, height, 4
            self._write(self._writer, event)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _start(self, step: int) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Two processes of one run may start within a second, the resolution of tensorboardX's file names.
        writer = self._open(str(self._folder / "events"), f".{os.getpid()}-{secrets.token_hex(4)}")
        # Makes TensorBoard discard what a killed process had logged from this step on.
        start = {"status": self._events.SessionLog.START}
        self._write(writer, self._events.Event(step=step, session_log=start))
        config = self._text("config", f"```\n{self._config}\n```")
        self._write(writer, self._events.Event(step=step, summary=config))
        return writer

    def _write(self, writer: Any, event: Any) -> None:
        event.wall_time = time.time()
        writer.write_event(event)


class Trackio:
    """Stores metrics in Trackio's local database."""

    def __init__(self, module: Any, run_path: Path, config: Mapping[str, Any]):
        self._module = module
        name = f"{_display_name(run_path)}-{_identity(run_path)}"
        self._run = module.init(project="surefoot", name=name, resume="allow", embed=False, config=dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._log_all(step, values)

    def log_media(self, step: int, pictures: Mapping[str, Path], videos: Mapping[str, Path]) -> None:
        """Store pictures and videos."""
        media = {name: self._module.Image(str(path)) for name, path in pictures.items()}
        media |= {name: self._module.Video(str(path), format="mp4") for name, path in videos.items()}
        self._log_all(step, media)

    def _log_all(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class WeightsAndBiases(Trackio):
    """Sends metrics to Weights & Biases; its environment variables, such as WANDB_MODE=offline, apply."""

    def __init__(self, module: Any, run_path: Path, config: Mapping[str, Any]):
        self._module = module
        project, name = os.environ.get("WANDB_PROJECT", "surefoot"), _display_name(run_path)
        options = {"id": _identity(run_path), "resume": "allow", "dir": str(run_path), "config": dict(config)}
        self._run = module.init(project=project, name=name, **options)
        # Its own step metric, because W&B drops values of steps before the last one, as after a resume.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _log_all(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log({**values, "step": step})


_KINDS: dict[str, tuple[str, type]] = {
    "tensorboard": ("tensorboardX", TensorBoard),
    "trackio": ("trackio", Trackio),
    "wandb": ("wandb", WeightsAndBiases),
}


class SafeTracker:
    """A tracker that never stops a run: its first failure is reported in one line and disables it."""

    def __init__(self, name: str, start: Callable[[], Any], warn: Callable[[str], object]):
        self._name = name
        self._warn = warn
        self._tracker: Any = None
        with self._guarded():
            self._tracker = start()

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Pass on the finite numbers among the values, as floats."""
        if self._tracker is not None:
            with self._guarded():
                self._tracker.log(int(step), _numbers(values))

    def log_media(self, step: int, pictures: Mapping[str, Path], videos: Mapping[str, Path]) -> None:
        """Pass on pictures, PNG files, and videos, MP4 files, by name; TensorBoard takes pictures only."""
        if self._tracker is not None:
            with self._guarded():
                self._tracker.log_media(int(step), pictures, videos)

    def close(self) -> None:
        """Close the tracker, once."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            with self._guarded():
                tracker.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tracker = None
            reason = " ".join(str(error).split())[:200]
            self._warn(f"tracker '{self._name}' failed and is disabled: {type(error).__name__}: {reason}")


def make_trackers(
    names: list[str], run_path: Path, config: Mapping[str, Any], warn: Callable[[str], object] = warnings.warn
) -> list[SafeTracker]:
    """Start the trackers called "tensorboard", "wandb" or "trackio" for a run, each once.

    Args:
        names: names of the trackers.
        run_path: the run's folder; a resumed run continues in the tracker, too.
        config: the run's settings, shown with its curves.
        warn: called with one line when a tracker fails; the run continues without it.

    Raises:
        InputError: there is no tracker of that name, or its package is not installed.
    """
    modules = {name: _import(name) for name in names}
    return [
        SafeTracker(name, lambda kind=_KINDS[name][1], module=module: kind(module, run_path, config), warn)
        for name, module in modules.items()
    ]


def _import(name: str) -> Any:
    if name not in _KINDS:
        raise InputError(f"no tracker {name!r}{suggestion(name, _KINDS)}")
    package = _KINDS[name][0]
    try:
        module = importlib.import_module(package)
    except Exception as error:  # missing, or in conflict with another package; protobuf raises TypeError
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else "cannot be imported"
        raise InputError(f"tracker '{name}': {package} {reason}; pip install \"surefoot[{name}]\"") from error
    if hasattr(module, "__path__") and getattr(module, "__file__", None) is None:
        # W&B creates folders called "wandb", which Python imports as an empty package.
        raise InputError(f"tracker '{name}': {package} is not installed; pip install \"surefoot[{name}]\"")
    return module


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for name, value in values.items():
        with contextlib.suppress(TypeError, ValueError):
            if not isinstance(value, str) and math.isfinite(float(value)):
                numbers[name] = float(value)
    return numbers


def _display_name(run_path: Path) -> str:
    return "-".join(run_path.absolute().parts[-2:])


def _identity(run_path: Path) -> str:
    """Return the unique id of a run, stored in its folder for later resumes."""
    path = run_path / ".tracker-id"
    if not path.exists():
        atomic_write(path, secrets.token_hex(4).encode())
    return path.read_text()
