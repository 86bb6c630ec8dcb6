"""Appended lines survive interruptions; rows superseded by a resume are not read."""

import errno
import json
import math
import os
import resource

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.messages import one_line
from surefoot.errors import RunError
from surefoot.runs.metrics import MetricsLog, read_metrics


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def steps(path):
    return [row["step"] for row in read_metrics(path)]


def test_rows_and_events_are_read_in_order(path):
    with MetricsLog(path) as log:
        log.append(10, **{"train/return": 1.5, "loss/policy": np.float32(0.25), "episodes": np.int64(3)})
        log.mark("evaluated", 10, note="so far", per_leg=np.arange(2), nested={"a": (1, 2.5)})
        log.append(int(np.int64(20)), **{"train/return": jnp.float32(2), "loss": math.nan})
    rows = read_metrics(path)
    assert all(row.pop("time") > 1e9 for row in rows)
    assert rows == [
        {"step": 10, "train/return": 1.5, "loss/policy": 0.25, "episodes": 3},
        {
            "event": "evaluated",
            "step": 10,
            "note": "so far",
            "per_leg": [0, 1],
            "nested": {"a": [1, 2.5]},
        },
        {"step": 20, "train/return": 2.0, "loss": None},
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.float32("inf"), np.nan, jnp.nan])
def test_a_non_finite_value_is_written_as_null_in_strict_json(path, value):
    with MetricsLog(path) as log:
        log.append(1, loss=value, several=np.array([value, 1.0]))

    def refuse(constant):
        raise AssertionError(constant)

    row = json.loads(path.read_text(), parse_constant=refuse)
    assert row["loss"] is None
    assert row["several"] == [None, 1.0]


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 3, "time": 1, "evaluation/return": "12"}',
        '{"step": 3, "time": 1, "evaluation/return": [1]}',
        '{"step": 3, "time": 1, "evaluation/return": {}}',
        '{"step": 3, "time": 1, "evaluation/return": true}',
        '{"step": 3, "time": 1, "evaluation/return": NaN}',
        '{"step": 3, "time": 1, "evaluation/return": 1' + "0" * 400 + "}",
        '{"step": 3, "time": 1, "seconds": null}',
        '{"step": true, "time": 1}',
        '{"step": 3.5, "time": 1}',
        '{"step": 1' + "0" * 400 + ', "time": 1}',
        '{"event": ["resume"], "step": 3, "time": 1}',
        '{"event": "resume", "step": 3, "time": 1, "evaluated_at": "2"}',
        '{"event": "finished", "step": 3, "time": 1, "seconds": "long"}',
    ],
)
def test_a_line_with_a_value_of_the_wrong_type_is_refused_by_its_number(path, line):
    path.write_text('{"step": 1, "time": 1, "evaluation/return": null}\n' + line + "\n")
    with pytest.raises(RunError, match=r"line 2 of .* is damaged; remove that line") as caught:
        read_metrics(path)
    one_line(caught.value)


def test_a_row_can_be_read_before_the_log_is_closed(path):
    log = MetricsLog(path)
    log.append(1, a=1)
    assert steps(path) == [1]
    log.close()
    log.close()


def test_reserved_names_are_refused(path):
    with MetricsLog(path) as log:
        for name in ("time", "event"):
            with pytest.raises(ValueError, match=name):
                log.append(1, **{name: 1})
    assert steps(path) == []


def test_a_torn_last_line_is_skipped_and_then_removed(path):
    with MetricsLog(path) as log:
        log.mark("note", 1, text="ü" * 50)
        log.append(2)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        before = [1] if size >= first else []
        assert steps(path) == before
        with MetricsLog(path) as log:
            log.append(3)
        assert steps(path) == [*before, 3]


def test_a_torn_line_longer_than_a_block_is_removed(path):
    path.write_bytes(b'{"step": 1}\n' + b"\0" * 200_000)
    with MetricsLog(path) as log:
        log.append(2)
    assert steps(path) == [1, 2]


def test_a_resume_supersedes_later_rows(path):
    with MetricsLog(path) as log:
        for step in (100, 200, 300):
            log.append(step, run=1)
        log.mark("checkpoint", 300)
        log.mark("resume", 200)
        for step in (300, 400):
            log.append(step, run=2)
        log.mark("resume", 300)
        log.append(400, run=3)
    rows = [(row["step"], row.get("run", row.get("event"))) for row in read_metrics(path)]
    assert rows == [(100, 1), (200, 1), (200, "resume"), (300, 2), (300, "resume"), (400, 3)]


def test_an_evaluation_that_a_resume_repeats_is_read_once(path):
    with MetricsLog(path) as log:
        log.append(100, **{"evaluation/return": 1.0})
        log.append(200, value=1.0)
        log.append(200, **{"evaluation/return": 2.0})  # after the checkpoint of 200, before the crash
        log.mark("resume", 200, evaluated_at=100)
        log.append(200, **{"evaluation/return": 2.0})
        log.append(300, value=3.0)
    rows = [(row["step"], row.get("evaluation/return"), row.get("value")) for row in read_metrics(path)]
    assert rows == [(100, 1, None), (200, None, 1), (200, None, None), (200, 2, None), (300, None, 3)]


def test_a_resume_before_an_earlier_resume_supersedes_that_too(path):
    with MetricsLog(path) as log:
        log.append(100)
        log.append(500)
        log.mark("resume", 300)
        log.append(400)
        log.mark("resume", 100)
        log.append(150)
    assert steps(path) == [100, 100, 150]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=12))
def test_superseding_agrees_with_its_definition(path, written):
    path.unlink(missing_ok=True)
    with MetricsLog(path) as log:
        for number, (resume, step) in enumerate(written):
            log.mark("resume", step, number=number) if resume else log.append(step, number=number)
    expected = [
        number
        for number, (_, step) in enumerate(written)
        if not any(resume and at < step for resume, at in written[number + 1 :])
    ]
    assert [row["number"] for row in read_metrics(path)] == expected


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff", b"{}", b'{"step": "1"}', b"", b"[" * 100_000])
def test_the_error_for_a_damaged_line_has_its_number(path, line):
    path.write_bytes(b'{"step": 1}\n' + line + b"\n" + b'{"step": 2}\n')
    with pytest.raises(RunError, match=r"line 2 of .*metrics\.jsonl") as error:
        read_metrics(path)
    one_line(error.value)


def test_a_missing_or_unreadable_file_is_a_one_line_error(tmp_path):
    with pytest.raises(RunError, match="no metrics in"):
        read_metrics(tmp_path / "absent")
    with pytest.raises(RunError, match="cannot read"):
        read_metrics(tmp_path)
    with pytest.raises(RunError, match="cannot write"):
        MetricsLog(tmp_path)
    with pytest.raises(RunError, match="cannot write"):
        MetricsLog(tmp_path / "no" / "folder")


def test_a_full_disk_delays_rows_and_loses_none(path):
    warnings = []
    log = MetricsLog(path, warn=warnings.append)
    log.append(1)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Space for the first bytes of the next line: the worst case, because it leaves half a line.
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, old[1]))
    try:
        log.append(2)
        log.append(3)
        assert path.stat().st_size > len(path.read_bytes().split(b"\n")[0]) + 1
        assert steps(path) == [1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    log.append(4)
    log.close()
    assert steps(path) == [1, 2, 3, 4]
    assert len(warnings) == 1
    assert "metrics.jsonl" in warnings[0]


def test_a_disk_that_stays_full_never_stops_the_run(path, monkeypatch):
    warnings = []
    log = MetricsLog(path, warn=warnings.append)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    log.append(1)
    log.close()
    assert path.read_bytes() == b""
    assert ["No space left on device" in text for text in warnings] == [True]
