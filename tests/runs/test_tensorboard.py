"""TensorBoard event files, decoded independently."""

import errno
import json
import struct

import numpy as np
import pytest
from PIL import Image

from surefoot.runs.trackers import make_trackers

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def events(folder):
    """Decode the records of all event files: length, its checksum, an Event, its checksum."""
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            yield event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def scalars(folder):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def test_scalars_are_in_the_event_file_before_it_is_closed(run_path, warnings):
    (tracker,) = make_trackers(["tensorboard"], run_path, {"seed": 1}, warnings.append)
    tracker.log(10, {"train/return": 1.5, "loss/policy": np.float32(0.25)})
    tracker.log(int(np.int64(20)), {"train/return": 2})
    assert scalars(run_path / "tensorboard") == [
        (10, "train/return", 1.5),
        (10, "loss/policy", 0.25),
        (20, "train/return", 2.0),
    ]
    tracker.close()
    assert warnings == []


def test_the_recipe_is_in_the_event_file(run_path):
    (tracker,) = make_trackers(["tensorboard"], run_path, {"seed": 1, "where": run_path})
    tracker.log(1, {})
    texts = [value.tensor.string_val[0] for event in events(run_path / "tensorboard") for value in event.summary.value]
    assert json.loads(texts[0].strip(b"`"))["seed"] == 1


def test_a_picture_is_in_the_event_file_and_discards_no_values(run_path):
    picture = run_path / "curves.png"
    Image.new("RGB", (4, 3)).save(picture)
    (tracker,) = make_trackers(["tensorboard"], run_path, {})
    tracker.log_media(10, {"curves": picture}, {"film": run_path / "best.mp4"})
    tracker.close()
    records = list(events(run_path / "tensorboard"))
    (image,) = (value.image for event in records for value in event.summary.value if value.tag == "curves")
    assert (image.width, image.height, image.encoded_image_string) == (4, 3, picture.read_bytes())
    assert [event.step for event in records if event.session_log.status == 1] == [11]


def test_a_resumed_run_hides_repeated_steps(run_path):
    for step in (10, 5):
        (tracker,) = make_trackers(["tensorboard"], run_path, {})
        tracker.log(step, {"a": 1})
        tracker.close()
    assert len(list((run_path / "tensorboard").iterdir())) == 2
    starts = [event.step for event in events(run_path / "tensorboard") if event.session_log.status == 1]
    assert sorted(starts) == [5, 10]


def test_a_full_disk_is_reported_once_and_stops_nothing(run_path, warnings, monkeypatch):
    (tracker,) = make_trackers(["tensorboard"], run_path, {}, warnings.append)
    tracker.log(1, {"a": 1})

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    for step in range(2, 50):
        tracker.log(step, {"a": 1})
    tracker.close()
    assert len(warnings) == 1
    assert "'tensorboard'" in warnings[0]
    assert "No space left" in warnings[0]


def test_a_folder_that_cannot_be_created_is_reported_once(run_path, warnings):
    (run_path / "tensorboard").touch()
    (tracker,) = make_trackers(["tensorboard"], run_path, {}, warnings.append)
    tracker.log(1, {"a": 1})
    tracker.log(2, {"a": 1})
    tracker.close()
    assert len(warnings) == 1
