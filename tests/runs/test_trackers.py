"""Trackers receive the metrics; their failures do not stop a run."""

import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.messages import one_line
from surefoot.errors import InputError
from surefoot.runs import trackers as trackers_module
from surefoot.runs.trackers import make_trackers


class FakeRun:
    def __init__(self, fails=""):
        self.calls = []
        self.fails = fails

    def _call(self, name, *arguments, **keywords):
        self.calls.append((name, arguments, keywords))
        if self.fails == name:
            raise ConnectionError("no network\nat all")

    def __getattr__(self, name):
        return lambda *arguments, **keywords: self._call(name, *arguments, **keywords)


@pytest.fixture
def fake(monkeypatch):
    """Install a fake package whose `init` returns a run that records its calls."""

    def install(package, fails=""):
        runs = []

        def init(**keywords):
            if fails == "init":
                raise PermissionError("no API key")
            runs.append(FakeRun(fails))
            runs[-1].calls.append(("init", (), keywords))
            return runs[-1]

        module = types.ModuleType(package)
        vars(module)["init"] = init
        monkeypatch.setitem(sys.modules, package, module)
        return runs

    return install


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_is_opened_logged_to_and_finished(run_path, fake, warnings, name):
    runs = fake(name)
    (tracker,) = make_trackers([name], run_path, {"seed": 3}, warnings.append)
    tracker.log(10, {"train/return": np.float64(1.5)})
    tracker.close()
    tracker.close()
    tracker.log(20, {"train/return": 2.0})
    calls = [call for call in runs[0].calls if call[0] != "define_metric"]
    assert [call[0] for call in calls] == ["init", "log", "finish"]
    assert calls[0][2]["project"] == "surefoot"
    assert calls[0][2]["config"] == {"seed": 3}
    assert calls[0][2]["name"].startswith("ant-first")
    expected = (
        (({"train/return": 1.5, "step": 10},), {}) if name == "wandb" else (({"train/return": 1.5},), {"step": 10})
    )
    assert calls[1][1:] == expected
    assert warnings == []


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("trackio", "name")])
def test_a_resumed_run_keeps_its_id_and_a_new_run_has_another(run_path, fake, name, key):
    runs = fake(name)
    other = run_path.parents[2] / "elsewhere" / "ant" / "first"
    other.mkdir(parents=True)
    for path in (run_path, run_path, other):
        make_trackers([name], path, {})
    first, resumed, another = (run.calls[0][2][key] for run in runs)
    assert first == resumed != another


def test_wandb_uses_the_users_project_and_our_step_axis(run_path, fake, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    runs = fake("wandb")
    make_trackers(["wandb"], run_path, {})
    assert runs[0].calls[0][2]["project"] == "mine"
    assert ("define_metric", ("*",), {"step_metric": "step"}) in runs[0].calls


def test_only_finite_numbers_are_passed_on(run_path, fake, warnings):
    runs = fake("trackio")
    (tracker,) = make_trackers(["trackio"], run_path, {}, warnings.append)
    values = {
        "a": 1,
        "b": math.nan,
        "c": -math.inf,
        "d": None,
        "e": "7",
        "f": [1, 2],
        "g": np.float32(2),
        "h": True,
    }
    tracker.log(1, values)
    assert runs[0].calls[-1][1] == ({"a": 1.0, "g": 2.0, "h": 1.0},)
    assert warnings == []


def test_a_failure_with_a_picture_is_reported_once(run_path, fake, warnings):
    fake("wandb")  # its module has no class Image
    (tracker,) = make_trackers(["wandb"], run_path, {}, warnings.append)
    for step in (1, 2):
        tracker.log_media(step, {"curves": run_path / "curves.png"}, {})
    assert len(warnings) == 1 and "AttributeError" in warnings[0]


@pytest.mark.parametrize("fails", ["init", "define_metric", "log", "finish"])
def test_a_failure_is_reported_once_in_one_line_and_disables_that_tracker(run_path, fake, warnings, fails):
    broken = fake("wandb", fails)
    fine = fake("trackio")
    trackers = make_trackers(["wandb", "trackio"], run_path, {}, warnings.append)
    for step in (1, 2, 3):
        for tracker in trackers:
            tracker.log(step, {"a": 1})
    for tracker in trackers:
        tracker.close()
    assert len(warnings) == 1
    assert "'wandb'" in warnings[0]
    one_line(warnings[0])
    assert sum(call[0] == fails for run in broken for call in run.calls) == (fails != "init")
    assert [call[0] for call in fine[0].calls] == ["init", "log", "log", "log", "finish"]


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", "wandb"), ("trackio", "trackio"), ("tensorboard", "tensorboardX")]
)
def test_the_error_for_a_missing_package_has_the_command_that_installs_it(run_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        make_trackers([name], run_path, {})
    assert f'pip install "surefoot[{name}]"' in str(error.value)
    one_line(error.value)


def test_a_folder_named_wandb_is_not_mistaken_for_the_package(run_path, tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match="not installed"):
        make_trackers(["wandb"], run_path, {})
    sys.modules.pop("wandb", None)


def test_the_error_for_an_unknown_name_suggests_the_nearest(run_path):
    with pytest.raises(InputError, match="did you mean 'tensorboard'"):
        make_trackers(["tensorbord"], run_path, {})
    with pytest.raises(InputError, match="choose from tensorboard, trackio, wandb"):
        make_trackers(["csv"], run_path, {})


def test_a_wrong_name_starts_no_tracker_and_a_repeated_name_starts_one(run_path, fake):
    runs = fake("trackio")
    with pytest.raises(InputError):
        make_trackers(["trackio", "nonsense"], run_path, {})
    assert runs == []
    assert len(make_trackers(["trackio", "trackio"], run_path, {})) == 1
    assert make_trackers([], run_path, {}) == []


def read_offline(path):
    """Return the records of a .wandb file: a LevelDB log after 7 bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # too little for a header, so zeros
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole record, or its last part
            records.append(Record.FromString(whole))
            whole = b""
    return records


def test_the_real_wandb_saves_offline_runs_with_settings_pictures_and_videos(run_path, warnings, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    picture, video = run_path / "curves.png", run_path / "best.mp4"
    Image.new("RGB", (4, 3)).save(picture)
    video.write_bytes(b"a film")
    for step in (10, 5):  # the second is a resume from an earlier step
        (tracker,) = make_trackers(["wandb"], run_path, {"seed": 1, "ppo": {"epochs": 3}}, warnings.append)
        tracker.log(step, {"train/return": 1.5 * step})
        tracker.log_media(step, {"curves": picture}, {"video/best": video})
        tracker.close()
    assert warnings == []
    wandb.teardown()  # waits until its service has written everything
    files = sorted(run_path.glob("wandb/offline-run-*/*.wandb"))  # their names begin with the time
    assert len(files) == 2
    ids = set()
    for step, path in zip((10, 5), files, strict=True):
        records = read_offline(path)
        (run,) = (record.run for record in records if record.HasField("run"))
        settings = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert (settings["seed"], settings["ppo"]) == (1, {"epochs": 3})
        ids.add(run.run_id)
        rows = [
            {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record in records
            if record.HasField("history")
        ]
        assert (rows[0]["train/return"], rows[0]["step"]) == (1.5 * step, step)
        assert (rows[1]["curves/_type"], rows[1]["curves/width"]) == ("image-file", 4)
        assert rows[1]["video/best/_type"] == "video-file"
        kept = path.parent / "files"
        assert (kept / rows[1]["video/best/path"]).read_bytes() == b"a film"
        assert (kept / rows[1]["curves/path"]).read_bytes() == picture.read_bytes()
    assert len(ids) == 1


def test_the_real_trackio_saves_a_run(run_path, tmp_path):
    pytest.importorskip("trackio")
    # In a separate process, because Trackio reads the path of its database on import.
    code = (
        "import sys; from pathlib import Path; from surefoot.runs.trackers import make_trackers\n"
        "for step in (10, 20):\n"
        "    (tracker,) = make_trackers(['trackio'], Path(sys.argv[1]), {'seed': 1}, sys.exit)\n"
        "    tracker.log(step, {'train/return': 1.5})\n"
        "    if step == 20: tracker.log_media(step, {'curves': Path(sys.argv[2])}, {'film': Path(sys.argv[3])})\n"
        "    tracker.close()\n"
        "from trackio.sqlite_storage import SQLiteStorage as kept\n"
        "(run,) = kept.get_runs('surefoot')\n"
        "rows = kept.get_logs('surefoot', run)\n"
        "returns = [(row['step'], row['train/return']) for row in rows if 'train/return' in row]\n"
        "assert returns == [(10, 1.5), (20, 1.5)]\n"
        "(media,) = (row for row in rows if 'film' in row)\n"
        "assert [media[name]['_type'] for name in ('curves', 'film')] == ['trackio.image', 'trackio.video']\n"
    )
    picture, film = tmp_path / "curves.png", tmp_path / "film.mp4"
    Image.new("RGB", (4, 3)).save(picture)
    film.write_bytes(b"a film")
    source = os.pathsep.join([str(Path(trackers_module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": source, "TRACKIO_DIR": str(tmp_path / "trackio")}
    subprocess.run([sys.executable, "-c", code, str(run_path), str(picture), str(film)], check=True, env=environment)
    (kept,) = (tmp_path / "trackio").rglob("*.mp4")
    assert kept.read_bytes() == b"a film"
