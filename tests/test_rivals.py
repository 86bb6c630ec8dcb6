"""benchmarks/rivals.py: the protocol of a training, finished cells, caps, the table; with a fake contender."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
# The policy's return is its number of steps, up to `best`.
FAKE = """
import sys, time
sys.path.insert(0, {adapters!r})
from protocol import start
import numpy as np

def play(predict, seeds):
    return predict(np.zeros((len(seeds), 1)))[:, 0]

protocol = start(play)
settings = protocol.settings
if settings.get("fails"):
    sys.exit("no such simulator")
for steps in range(10, settings["steps"] + 1, 10):
    time.sleep(0.002)
    protocol.after(steps, lambda: lambda rows: np.full((len(rows), 1), min(steps, settings["best"])))
protocol.finish()
"""
CELLS = """
episodes = 2
confirm_episodes = 5
[tasks.Fake-v0]
threshold = 100
evaluate_every = 20
[contenders.surefoot]
adapter = "{adapter}"
packages = ["numpy", "surely-not-installed"]
cells.Fake-v0 = [{{ name = "PPO", source = "fake", steps = 1_000_000, best = 200 }}]
[contenders.rival]
adapter = "{adapter}"
packages = []
cells.Fake-v0 = [
    {{ name = "slow", source = "fake", steps = 1_000_000_000, best = 90 }},
    {{ name = "short", source = "fake", steps = 50, best = 200 }},
    {{ name = "broken", source = "fake", fails = true }},
]
"""


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import rivals

    return rivals


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "rivals"))
    import protocol

    return protocol


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The script and the arguments that make it measure the fake contenders."""
    adapter = tmp_path / "run_fake.py"
    adapter.write_text(FAKE.format(adapters=str(BENCHMARKS / "rivals")))
    (tmp_path / "cells.toml").write_text(CELLS.format(adapter=adapter))
    script, cells, output = BENCHMARKS / "rivals.py", tmp_path / "cells.toml", tmp_path / "rivals.json"
    return [*map(str, (script, "--cells", cells, "--output", output)), "--seeds", "0", "--factor", "1.5"]


@pytest.fixture
def run(rivals: Any, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the script in this process with further arguments."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run_main(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", [*words, *more])
        return rivals.main()

    return run_main


def order(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    rules = {"threshold": 100.0, "evaluate_every": 20, "episodes": 4, "confirm_episodes": 8, "cap_minutes": 1.0}
    return rules | {"task": "Fake-v0", "seed": 0, "settings": {}, "began": time.time()} | changes


def test_evaluations_do_not_count_as_time_and_use_new_seeds(
    protocol: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seeds = [1000.0], []
    monkeypatch.setattr(protocol.time, "time", lambda: clock[0])

    def play(predict: Any, some: Any) -> np.ndarray:
        seeds.extend(some)
        clock[0] += 100
        return predict(np.zeros((len(some), 1)))

    cell = protocol.Protocol(order(tmp_path, began=998.0), tmp_path / "result.json", play)
    for steps, later_s in ((10, 1), (20, 1), (40, 0), (41, 1), (42, 1)):
        clock[0] += later_s
        cell.after(steps, lambda steps=steps: lambda rows: np.full(len(rows), steps))
    assert cell.seconds() == 6
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["curve"] == [[20, 4, 20], [41, 5, 41]]
    assert result["minutes_to_first_step"] == 3 / 60
    assert len(seeds) == len(set(seeds)) == 8


def test_a_threshold_must_be_confirmed_by_new_episodes(protocol: Any, tmp_path: Path) -> None:
    lucky = iter([120.0, 90.0, 90.0, 130.0, 110.0, 100.0])

    def play(predict: Any, seeds: Any) -> np.ndarray:
        return np.full(len(seeds), next(lucky))

    cell = protocol.Protocol(order(tmp_path), tmp_path / "result.json", play)
    cell.after(20, lambda: None, seconds=3.0)  # 120, but 90 over the eight confirming episodes
    with pytest.raises(SystemExit):
        cell.after(40, lambda: None, seconds=6.0)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["reached"] and result["finished"]
    assert (result["steps"], result["minutes"], result["confirmed"]) == (40, 0.1, 105.0)
    assert result["curve"] == [[20, 3.0, 120.0], [40, 6.0, 130.0]]


def test_episodes_of_a_task_end_at_its_limit_and_count_once(protocol: Any) -> None:
    play = protocol.gymnasium_play("Pendulum-v1", {})
    zeros = play(lambda rows: np.zeros((len(rows), 1), np.float32), [5, 6])
    assert zeros.shape == (2,) and (zeros > -200 * 17).all() and (zeros < -100).all()
    assert play(lambda rows: np.zeros((len(rows), 1), np.float32), [5, 6]) == pytest.approx(zeros)


def test_following_is_perfect_without_error_and_falls_with_it(protocol: Any) -> None:
    scores = protocol.following_score(np.array([[0, 0, 0], [0.5, 0, 0], [0, 0, 0.5]]))
    assert scores == pytest.approx([1, (2 * np.exp(-1) + 1) / 3, (2 + np.exp(-1)) / 3])


def test_cells_are_measured_once_and_a_slow_rival_is_stopped(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert capsys.readouterr().out.count("at most") == 4
    cells = json.loads((tmp_path / "rivals.json").read_text())["cells"]
    states = {key.rsplit("/", 2)[1]: cell["status"] for key, cell in cells.items()}
    assert states == {"PPO": "reached", "slow": "cap", "short": "ended", "broken": "error"}
    ours = cells["Fake-v0/surefoot/PPO/0"]
    assert ours["steps"] >= 100 and ours["confirmed"] >= 100
    assert ours["versions"].keys() == {"python", "numpy"} and "date" in ours
    slow = cells["Fake-v0/rival/slow/0"]
    assert slow["minutes"] >= slow["cap_minutes"] == pytest.approx(1.5 * ours["minutes"])
    assert "no such simulator" in cells["Fake-v0/rival/broken/0"]["error"]
    assert (tmp_path / "rivals.png").stat().st_size > 5000
    assert run() == 0
    assert "at most" not in capsys.readouterr().out
    assert json.loads((tmp_path / "rivals.json").read_text())["cells"] == cells


def test_an_interruption_loses_only_the_running_cell(words: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if "rival/slow/0: at most" in line:
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert json.loads((tmp_path / "rivals.json").read_text())["cells"].keys() == {"Fake-v0/surefoot/PPO/0"}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended while it was read
            assert str(tmp_path / "run_fake.py").encode() not in Path("/proc", pid, "cmdline").read_bytes()


def test_no_rival_runs_before_surefoot(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--contenders", "rival") == 0
    assert capsys.readouterr().out.count("Surefoot was not measured") == 3
    assert not (tmp_path / "rivals.json").exists()


def test_no_cell_starts_whose_cap_exceeds_the_budget(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--cap-minutes", "3", "--budget-minutes", "2.9", "--contenders", "surefoot") == 0
    assert "exceeds the budget" in capsys.readouterr().out
    assert not (tmp_path / "rivals.json").exists()


def test_a_failed_installation_is_recorded(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = tmp_path / "cells.toml"
    cells.write_text(cells.read_text().replace("packages = []", 'packages = []\nrequirements = ["numpy"]'))
    (tmp_path / "environments").write_text("a file, so that no environment can be made in it")
    environments = ("--environments", str(tmp_path / "environments"))
    assert run(*environments) == 0
    failures = json.loads((tmp_path / "rivals.json").read_text())["failures"]
    assert failures["rival"]["error"].endswith("Not a directory: 'rival'")
    assert run("--list", *environments) == 0
    assert "rival could not be installed" in capsys.readouterr().out


def test_a_wrong_name_is_one_line(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--contenders", "rivla") == 2
    assert capsys.readouterr().err == "rivals: contenders: 'rivla' is none of them; did you mean 'rival'?\n"


@pytest.mark.slow
def test_surefoot_is_evaluated_while_it_trains(tmp_path: Path) -> None:
    settings = {"engine__num_envs": 4, "ppo__horizon": 64, "ppo__minibatch_size": 64, "training__steps": 4096}
    cell = order(tmp_path, task="Pendulum-v1", threshold=0.0, evaluate_every=1000, cap_minutes=30, settings=settings)
    output = tmp_path / "result.json"
    adapter = BENCHMARKS / "rivals" / "run_surefoot.py"
    subprocess.run([sys.executable, str(adapter), json.dumps(cell), str(output)], check=True, cwd=tmp_path)
    result = json.loads(output.read_text())
    assert result["finished"] and not result["reached"]
    assert result["curve"][0][0] == 1024
    assert all(-2000 < mean < 0 for *_, mean in result["curve"])


def cell(seed: int, status: str, minutes: float, contender: str = "surefoot") -> dict[str, Any]:
    names = {"task": "Ant-v5", "contender": contender, "algorithm": "A", "seed": seed, "settings": "recipe"}
    return names | {"status": status, "minutes": minutes, "steps": 1000 * seed, "cap_minutes": 20.0, "curve": []}


def test_the_table_states_seeds_median_and_ratio(rivals: Any, tmp_path: Path) -> None:
    results = rivals.Results(tmp_path / "rivals.json")
    for seed, minutes in enumerate((2.0, 4.0, 3.0)):
        results.add(f"ours{seed}", cell(seed, "reached", minutes))
    results.add("theirs0", cell(0, "cap", 20.1, "sbx"))
    results.add("theirs1", cell(1, "reached", 9.0, "sbx"))
    results.add("none", cell(0, "cap", 20.1, "cleanrl"))
    config = {"tasks": {"Ant-v5": {"threshold": 4000}}, "contenders": dict.fromkeys(("cleanrl", "sbx", "surefoot"))}
    _, rows = rivals.rows(config, rivals.Results(tmp_path / "rivals.json"))
    assert rows == [
        ["Ant-v5", "4,000", "surefoot", "A", "3 of 3", "3.0 (2.0-4.0)", "1,000 (0-2,000)", "1.0"],
        ["Ant-v5", "4,000", "sbx", "A", "1 of 2", "9.0", "1,000", "3.0"],
        ["Ant-v5", "4,000", "cleanrl", "A", "0 of 1", "> 20", "", ""],
    ]


@pytest.mark.parametrize(
    ("ours", "cap"), [([], None), (["cap"], 30.0), (["ended", "reached"], 20.0), (["reached"] * 3, 20.0)]
)
def test_caps_follow_surefoot(rivals: Any, tmp_path: Path, ours: list[str], cap: float | None) -> None:
    results = rivals.Results(tmp_path / "rivals.json")
    for seed, status in enumerate(ours):
        results.add(f"ours{seed}", cell(seed, status, 2.0))
    theirs = rivals.Cell("Ant-v5", "sbx", "A", 0, {}, {})
    assert rivals.cap_of(theirs, results, Namespace(factor=10.0, cap_minutes=30.0)) == cap


def test_the_shipped_cells_are_complete(rivals: Any) -> None:
    config = tomllib.loads((BENCHMARKS / "rivals" / "cells.toml").read_text())
    cells = list(rivals.choose(config, [], [], [0]))
    assert len({cell.key for cell in cells}) == len(cells) > 25
    assert next(cell.contender for cell in cells if cell.task == "Ant-v5") == "surefoot"
    for cell in cells:
        assert (BENCHMARKS / "rivals" / cell.about["adapter"]).exists()
        assert cell.settings["source"] and cell.about["licence"] and cell.about["packages"]
