"""`surefoot doctor`: its checks of the installation and the machine."""

import sys

import pytest

from surefoot.cli.main import main


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Working directory of every test, so that files written by a command are seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def marks(out: str) -> dict[str, str]:
    return {line[9:22].strip(): line.split()[0] for line in out.split("\n\n")[0].splitlines()}


def test_the_checks_pass_on_this_machine(capsys, empty_folder):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    checks = marks(out)
    for name in ("Python", "jax", "mujoco", "gymnasium", "engines", "runs folder"):
        assert checks[name] == "ok"
    assert checks.keys() >= {"envpool", "menagerie", "wandb", "tensorboard", "trackio", "gpu"}
    assert checks.keys() >= {"processor", "memory", "disk", "OpenGL", "ffmpeg", "environment"}
    assert "missing" not in checks.values()
    assert "training works here" in out
    assert list(empty_folder.iterdir()) == []


def test_a_missing_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optax", None)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert marks(out)["optax"] == "missing" and "pip install" in out


def test_a_missing_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert marks(out)["envpool"] == "note" and 'pip install "surefoot[envpool]"' in out
    engines = next(line for line in out.splitlines() if line[9:].startswith("engines"))
    assert "envpool" not in engines


def test_a_runs_folder_that_cannot_be_written(capsys, empty_folder):
    (empty_folder / "runs").write_text("a file")
    assert main(["doctor"]) == 1
    assert marks(capsys.readouterr().out)["runs folder"] == "missing"


def test_missing_opengl(monkeypatch, capsys):
    monkeypatch.setattr("surefoot.reports.opengl.gl_available", lambda: False)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert marks(out)["OpenGL"] == "note"
    assert "libegl1 libegl-mesa0 libgl1-mesa-dri" in out and "videos" in out


@pytest.mark.parametrize(
    "name, value", [("JAX_DISABLE_JIT", "1"), ("NPROC", "1"), ("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")]
)
def test_environment_variables_that_slow_down_training(name, value, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("surefoot.cli.doctor._cores", lambda: 4)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert marks(out)["environment"] == "note" and name in out
