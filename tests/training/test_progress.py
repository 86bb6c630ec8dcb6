"""The display of a training's progress."""

import pytest

from surefoot.training import progress as module
from surefoot.training.progress import Progress

VALUES = {"steps_per_second": 1000.0, "train/episodes": 0}


def test_the_time_left_does_not_count_compilation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    progress = Progress()
    progress.start(100_000, 0)
    for seconds, steps in ((60, 1_000), (71, 12_000), (82, 23_000)):  # 60 s of compilation, then 1,000 steps/s
        now[0] = float(seconds)
        progress.update(steps, VALUES, None)
    first, second, third = capsys.readouterr().err.splitlines()
    assert "left" not in first
    assert second.endswith("88 s left") and third.endswith("77 s left")


def test_a_long_time_left_is_in_minutes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    progress = Progress()
    progress.start(1_000_000, 0)
    for seconds in (20, 40):
        now[0] = float(seconds)
        progress.update(100 * seconds, VALUES, None)
    assert capsys.readouterr().err.splitlines()[-1].endswith("166 min left")
