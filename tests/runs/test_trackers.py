"""Trackers receive the metrics; their failures do not stop a run."""

import math
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

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


def test_the_real_wandb_saves_an_offline_run(run_path, warnings, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (10, 5):
        (tracker,) = make_trackers(["wandb"], run_path, {"seed": 1}, warnings.append)
        tracker.log(step, {"train/return": 1.5})
        tracker.close()
    assert warnings == []
    assert len(list(run_path.glob("wandb/offline-run-*/*.wandb"))) == 2


def test_the_real_trackio_saves_a_run(run_path, tmp_path):
    pytest.importorskip("trackio")
    # In a separate process, because Trackio reads the path of its database on import.
    code = (
        "import sys; from pathlib import Path; from surefoot.runs.trackers import make_trackers\n"
        "for step in (10, 20):\n"
        "    (tracker,) = make_trackers(['trackio'], Path(sys.argv[1]), {'seed': 1}, sys.exit)\n"
        "    tracker.log(step, {'train/return': 1.5}); tracker.close()\n"
        "from trackio.sqlite_storage import SQLiteStorage as kept\n"
        "(run,) = kept.get_runs('surefoot')\n"
        "assert [(row['step'], row['train/return']) for row in kept.get_logs('surefoot', run)] "
        "== [(10, 1.5), (20, 1.5)]"
    )
    source = os.pathsep.join([str(Path(trackers_module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": source, "TRACKIO_DIR": str(tmp_path / "trackio")}
    subprocess.run([sys.executable, "-c", code, str(run_path)], check=True, env=environment)
