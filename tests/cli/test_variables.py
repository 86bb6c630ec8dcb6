"""Environment variables with which MuJoCo or JAX would fail end in one line, in every command and in `doctor`."""

import os
import subprocess
import sys

import pytest

FAULTS = {
    "MUJOCO_GL": "eglx",
    "JAX_PLATFORMS": "cuda",
    "XLA_FLAGS": "--xla_no_such_flag=1",
}


def run(command: str, name: str, value: str) -> subprocess.CompletedProcess:
    environment = {key: text for key, text in os.environ.items() if key not in FAULTS} | {name: value}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    arguments = [sys.executable, "-m", "surefoot", command]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name, value", FAULTS.items())
def test_a_value_that_a_library_does_not_take_is_one_line_in_every_command(name, value):
    result = run("list", name, value)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"surefoot: {name}='{value}' does not work here (")
    assert result.stderr.count("\n") == 1 and "; unset it, or " in result.stderr


def test_a_value_of_the_right_name_but_without_its_library_is_one_line():
    """OSMesa is seldom installed; where it is, the command works."""
    result = run("list", "MUJOCO_GL", "osmesa")
    assert result.returncode == 0 or (result.returncode == 2 and result.stderr.count("\n") == 1)


def test_doctor_names_the_variable_and_not_the_package():
    result = run("doctor", "MUJOCO_GL", "eglx")
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    missing = [line for line in lines if line and line[0] == "missing"]
    assert result.returncode == 1 and len(missing) == 1
    assert missing[0][1] == "environment" and "MUJOCO_GL='eglx'" in missing[0][2]


def test_values_that_work_are_not_mentioned():
    assert run("list", "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false").returncode == 0
