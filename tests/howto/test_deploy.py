"""The programs of the page about deployment run an exported policy as Surefoot does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest

import surefoot
from surefoot.deployment.export import onnx_installed
from surefoot.tasks.catalogue import find_task, make_env

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "howto" / "examples"
POLICY = ROOT / "results" / "anymal-ppo.safetensors"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    surefoot.export(POLICY, folder)
    return folder


def output(*command: str | Path) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not onnx_installed(), reason="the extra onnx is not installed")
def test_the_python_program_scores_as_surefoot_does_and_worse_with_latency_and_noise(exported) -> None:
    program = [sys.executable, EXAMPLES / "run_policy.py", exported, "--episodes", "1"]
    score = float(re.findall(r"return (\S+)", output(*program))[0])
    assert score == pytest.approx(surefoot.evaluate(POLICY, 1)["returns"][0], rel=0.02)
    assert score > 2 * float(re.findall(r"return (\S+)", output(*program, "--latency", "0.05", "--noise", "0.3"))[0])


def test_the_c_program_runs_as_far_as_the_robot_in_python(exported, tmp_path) -> None:
    package = Path(mujoco.__file__).parent
    library = next(package.glob("libmujoco.so*"), None)
    if shutil.which("cc") is None or library is None:
        pytest.skip("there is no C compiler, or no library of MuJoCo for it")
    policy = surefoot.load(POLICY)
    output(sys.executable, EXAMPLES / "save_robot.py", exported, tmp_path / "robot.mjb")
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{exported}", f"-I{package / 'include'}"]
    command += [EXAMPLES / "run_policy.c", library, f"-Wl,-rpath,{package}", "-lm", "-o", tmp_path / "run_policy"]
    output(*command)
    steps, metres = re.findall(
        r"(\d+) actions, .* x (\S+) m", output(tmp_path / "run_policy", tmp_path / "robot.mjb", 4)
    )[0]
    env = make_env(find_task(policy.task, policy.task_options))
    observation, _ = env.reset(seed=0)
    for _ in range(400):
        observation, *_ = env.step(policy.predict(observation)[0])
    assert int(steps) == 400
    assert float(metres) == pytest.approx(env.unwrapped.data.qpos[0], rel=0.05)  # pyrefly: ignore
