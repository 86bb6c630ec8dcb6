"""A stopped or killed run that is resumed ends bit for bit like an uninterrupted one."""

import contextlib
import json
import os
import pty
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import recipes
from helpers.messages import one_line, only_error
from helpers.progress import Watcher, interrupting
from helpers.recipes import SAVE_ALWAYS, TINY_PPO
from helpers.walkers import biped
from surefoot import api
from surefoot.api import train_recipe
from surefoot.cli.main import main
from surefoot.evaluation.episodes import EpisodeRunner
from surefoot.files import load_arrays
from surefoot.policies.files import load_policy
from surefoot.recipes.files import dump_recipe, read_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.training import loop
from surefoot.training.interruption import stop_on_signals
from surefoot.training.loop import Outcome
from surefoot.training.progress import Progress

TINY = (
    TINY_PPO
    | SAVE_ALWAYS
    | {"ppo.learning_rate.kind": "linear", "training.steps": 64 * 12, "training.evaluate_every": 64 * 5}
)


def make_recipe(task: str = "Hopper-v5", **changes: Any) -> Recipe:
    return recipes.make_recipe(task, "ppo", TINY, **changes)


def train(root: Path, recipe: Recipe, progress: Progress | None = None) -> Outcome:
    return train_recipe(recipe, "run", root, progress or Watcher())


def newest(folder: RunFolder) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
    return Checkpoints(folder.checkpoints).latest()


def rows(folder: RunFolder, name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in read_metrics(folder.metrics) if name in row]


def assert_equal_runs(one: RunFolder, other: RunFolder) -> None:
    (step, arrays, header), (other_step, other_arrays, other_header) = newest(one), newest(other)
    assert step == other_step
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == other_arrays[name].dtype and array.shape == other_arrays[name].shape
        assert array.tobytes() == other_arrays[name].tobytes(), name
    seconds = {"seconds": 0.0}
    assert header["counters"] | seconds == other_header["counters"] | seconds
    for name in ("policy", "last"):
        policies = [(folder.policy / f"{name}.safetensors").read_bytes() for folder in (one, other)]
        assert policies[0] == policies[1]
    for name in ("loss/policy", "train/return", "policy/kl", "evaluation/return", "evaluation/length"):
        assert rows(one, name) == rows(other, name)
    steps = [step for step, _ in rows(other, "loss/policy")]
    assert steps == sorted(set(steps)), "an iteration is told twice"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return a function that makes uninterrupted runs, each recipe once."""
    made: dict[str, RunFolder] = {}

    def get(recipe: Recipe) -> RunFolder:
        key = recipe.model_dump_json()
        if key not in made:
            made[key] = train(tmp_path_factory.mktemp("uninterrupted"), recipe).folder
        return made[key]

    return get


@pytest.mark.parametrize(
    "task, changes, stops",
    [
        ("Hopper-v5", {}, random.Random(0).sample(range(1, 5), 3)),
        ("Hopper-v5", {"policy__std": "scheduled", "engine__threads": 1}, [7]),
        ("Ant-v5", {"training__steps": 64 * 6}, [random.Random(1).randrange(1, 6)]),
        ("Ant-v5", {"training__steps": 64 * 6, "ppo__symmetry": "averaged"}, [4]),
    ],
)
def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(task, changes, stops, uninterrupted, tmp_path):
    recipe = make_recipe(task, **changes)
    outcome = train(tmp_path, recipe, interrupting(stops[0]))
    for stop in stops[1:]:
        assert outcome.reason == "interrupted"
        outcome = loop.resume(outcome.folder, interrupting(stop))
    assert outcome.reason == "interrupted"
    assert outcome.counters.iterations == sum(stops), "it left in the iteration in which it was asked to"
    watcher = Watcher()
    outcome = loop.resume(outcome.folder, watcher)
    assert outcome.reason == "finished" and watcher.warnings == []
    assert_equal_runs(uninterrupted(recipe), outcome.folder)


def test_a_run_stopped_during_an_evaluation(uninterrupted, tmp_path, monkeypatch):
    run, asked = EpisodeRunner.run, []

    def interrupted_run(self, *arguments):
        if not asked:
            asked.append(signal.raise_signal(signal.SIGINT))
        return run(self, *arguments)

    monkeypatch.setattr(EpisodeRunner, "run", interrupted_run)
    outcome = train(tmp_path, make_recipe())
    assert outcome.reason == "interrupted" and outcome.counters.evaluations == 0
    outcome = loop.resume(outcome.folder, Watcher())
    assert_equal_runs(uninterrupted(make_recipe()), outcome.folder)


def test_results_do_not_depend_on_the_number_of_threads(uninterrupted, tmp_path):
    one, two = (make_recipe(engine__threads=threads) for threads in (1, 2))
    outcome = train(tmp_path, one, interrupting(3))
    outcome.folder.recipe.write_text(dump_recipe(two))
    outcome = loop.resume(outcome.folder, Watcher())
    assert_equal_runs(uninterrupted(make_recipe()), outcome.folder)


def test_resuming_a_finished_run_changes_nothing(uninterrupted, tmp_path):
    recipe = make_recipe(training__steps=128, training__evaluate_every=64)
    outcome = train(tmp_path, recipe)
    for _ in range(2):
        outcome = loop.resume(outcome.folder, Watcher())
        assert outcome.reason == "finished"
    assert_equal_runs(uninterrupted(recipe), outcome.folder)


def test_the_first_ctrl_c_says_at_once_what_is_being_finished(capfd):
    stop = threading.Event()
    with stop_on_signals(stop, Progress().interrupted):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        assert "stopping: the current iteration ends, then a checkpoint is saved" in capfd.readouterr().err
        signal.raise_signal(signal.SIGTERM)
        assert capfd.readouterr().err == ""


def test_more_steps_than_were_asked_for_are_shown_as_the_total(capsys):
    progress = Progress()
    progress.start(1, 0)
    progress.update(12_800, {"steps_per_second": 1e3, "train/return": 0.0, "train/episodes": 1.0}, None)
    assert "step 12,800 of 12,800" in capsys.readouterr().err


def test_a_run_whose_robot_was_given_by_a_relative_path_resumes_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "robots").mkdir()
    (tmp_path / "robots" / "biped.xml").write_text(biped())
    monkeypatch.chdir(tmp_path)
    recipe = api.make_recipe("walk", None, TINY | {"task_options.body": "robots/biped.xml"})
    assert recipe.task_options["body"] == str(tmp_path / "robots" / "biped.xml")
    outcome = train(tmp_path, recipe, interrupting(1))
    monkeypatch.chdir("/")
    assert loop.resume(outcome.folder, Watcher()).reason == "finished"


def test_a_second_ctrl_c_exits_at_once(tmp_path):
    def twice(iteration):
        if iteration == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, make_recipe(), Watcher(twice))
    assert newest(RunFolder(tmp_path / "Hopper-v5" / "run"))[0] == 128
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


LONG = 64 * 150


@pytest.mark.parametrize("every_s, kills", [pytest.param(0.0, 3, marks=pytest.mark.slow), (0.5, 1)])
def test_a_killed_and_resumed_run_ends_like_an_uninterrupted_one(
    every_s, kills, uninterrupted, killed_again_and_again, tmp_path
):
    # Checkpoints do not change the training, so one uninterrupted run is compared with both.
    changes: dict[str, Any] = {"training__steps": LONG, "training__evaluate_every": 64 * 40}
    recipe = make_recipe(**changes, training__checkpoint_every_s=every_s)
    folder, killed = killed_again_and_again(recipe, tmp_path, kills, random.Random(every_s), 40)
    assert killed
    assert_equal_runs(uninterrupted(make_recipe(**changes)), folder)
    events = [json.loads(line).get("event") for line in folder.metrics.read_text().splitlines()]
    assert events.count("resume") >= killed
    assert not list(folder.path.rglob("*.tmp"))


@pytest.mark.slow
def test_the_benchmark_of_kills_finds_no_difference(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(root / "benchmarks" / "kills.py"), "--kills", "1", "--algorithms", "ars"]
    subprocess.run([*command, "--parts", "2", "--output", str(tmp_path / "kills.json")], check=True)
    result = json.loads((tmp_path / "kills.json").read_text())["algorithms"]["ars"]
    assert result["runs"] == result["equal"] >= 1 and result["kills"] == 1 and result["differences"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_run_after_a_checkpoint(number, start, wait_for_rows, tmp_path):
    words = [word for name, value in TINY.items() for word in (f"--{name}", json.dumps(value).strip('"'))]
    words += ["--training.steps", "1e12", "--training.evaluate_every", "1e12", "--training.checkpoint_every_s", "1e6"]
    process = start("train", "Hopper-v5", "--name", "run", "--root", tmp_path, *words)
    folder = RunFolder(tmp_path / "Hopper-v5" / "run")
    wait_for_rows(process, folder.metrics, 3)
    process.send_signal(number)
    out, errors = process.communicate()
    assert process.returncode == 130, errors
    assert out.startswith("interrupted at step") and f"surefoot resume {folder.path}" in out
    assert errors == ""
    *_, last, mark = read_metrics(folder.metrics)
    assert mark["event"] == "interrupted"
    assert newest(folder)[0] == last["step"] == mark["step"] > 0
    load_policy(folder.policy / "last.safetensors")


def test_a_run_whose_terminal_is_closed_saves_a_checkpoint(wait_for_rows, tmp_path):
    words = [word for name, value in TINY.items() for word in (f"--{name}", json.dumps(value).strip('"'))]
    words += ["--training.steps", "1e12", "--training.evaluate_every", "1e12", "--training.checkpoint_every_s", "1e6"]
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "surefoot.cli.main",
        "train",
        "Hopper-v5",
        "--name",
        "run",
        "--root",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        [*command, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, text=True
    )
    os.close(theirs)
    folder = RunFolder(tmp_path / "Hopper-v5" / "run")
    reader = threading.Thread(target=drain, args=(ours,), daemon=True)
    reader.start()
    wait_for_rows(process, folder.metrics, 3)
    process.send_signal(signal.SIGHUP)
    os.close(ours)
    process.wait()
    *_, last, mark = read_metrics(folder.metrics)
    assert mark["event"] == "interrupted" and newest(folder)[0] == last["step"] == mark["step"] > 0


def drain(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass


def test_a_damaged_checkpoint_is_skipped(uninterrupted, tmp_path):
    outcome = train(tmp_path, make_recipe(), interrupting(4))
    *_, earlier, latest = sorted(outcome.folder.checkpoints.iterdir())
    latest.write_bytes(latest.read_bytes()[:-100])
    watcher = Watcher()
    outcome = loop.resume(outcome.folder, watcher)
    assert len(watcher.warnings) == 1 and "step 256 is skipped" in watcher.warnings[0]
    assert watcher.iterations == 12 - 3
    assert_equal_runs(uninterrupted(make_recipe()), outcome.folder)
    assert earlier != latest


def set_counter(name: str, value: Any) -> Any:
    return lambda arrays, header: header["counters"].update({name: value})


def set_array(name: str, value: Any) -> Any:
    def change(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
        array = arrays[f"learner/{name}"]
        array.reshape(-1)[0] = value

    return change


def replace_array(name: str, array: np.ndarray) -> Any:
    return lambda arrays, header: arrays.update({f"learner/{name}": array})


WRONG = [
    (set_counter("steps", -64), "counters.steps = -64"),
    (set_counter("steps", 128), "its counters do not fit step 256"),
    (set_counter("steps", "256"), "counters.steps = '256'"),
    (set_counter("steps", 256.5), "counters.steps = 256.5"),
    (set_counter("steps", True), "counters.steps = True"),
    (set_counter("iterations", -1), "counters.iterations = -1"),
    (set_counter("seconds", "long"), "counters.seconds = 'long'"),
    (set_counter("seconds", -1.0), "counters.seconds = -1.0"),
    (set_counter("evaluations", 10**30), "its counters do not fit step 256"),
    (set_counter("evaluated_at", 10**9), "its counters do not fit step 256"),
    (set_counter("evaluating_at", 64), "'evaluation/"),
    (set_counter("best_score", []), "counters.best_score = []"),
    (set_counter("solved", "no"), "counters.solved = 'no'"),
    (set_counter("luck", 1), "'counters.luck'"),
    (lambda arrays, header: header.update(counters=[1]), "counters"),
    (lambda arrays, header: header.pop("counters"), "'counters' is missing"),
    (lambda arrays, header: header.update(versions=["jax"]), "versions"),
    (set_array("algorithm/network/actor/0/weight", np.nan), "not finite"),
    (set_array("algorithm/normaliser/variance", -1), "negative"),
    (set_array("engine/physics", np.inf), "not finite"),
    (set_array("engine/elapsed", -3), "negative"),
    (replace_array("engine/random", np.full((4, 6), 2**64 - 1, np.uint64)), "its arrays are damaged"),
    (replace_array("engine/physics", np.zeros((4, 1))), "it was saved with other settings"),
    (replace_array("engine/finished", np.zeros(4)), "it was saved with other settings"),
    (replace_array("more", np.zeros(4)), "is not expected"),
]


def test_a_checkpoint_with_a_wrong_value_is_refused_in_one_line_and_the_one_before_is_used(tmp_path):
    folder = train(tmp_path, make_recipe(), interrupting(4)).folder
    newest_file = Checkpoints(folder.checkpoints).path(256)
    saved = newest_file.read_bytes()
    watcher = Watcher()
    with contextlib.ExitStack() as stack:
        session = loop._Session(read_recipe(folder.recipe), folder, watcher, None, stack)
        for change, fragment in WRONG:
            arrays, header = load_arrays(newest_file)
            del header["checksums"]
            change(arrays, header)
            assert Checkpoints(folder.checkpoints).save(256, arrays, header)
            watcher.warnings.clear()
            session.restore()
            assert session.counters.steps == 192, fragment
            (warning,) = watcher.warnings
            one_line(warning, "checkpoint of step 256 is skipped: ", fragment)
            newest_file.write_bytes(saved)
        watcher.warnings.clear()
        session.restore()
        assert session.counters.steps == 256 and watcher.warnings == []


def test_a_checkpoint_with_any_byte_changed_is_refused(tmp_path):
    folder = train(tmp_path, make_recipe(), interrupting(4)).folder
    newest_file = Checkpoints(folder.checkpoints).path(256)
    saved = newest_file.read_bytes()
    chance = random.Random(3)
    header_size = int.from_bytes(saved[:8], "little")
    places = [chance.randrange(8 + header_size) for _ in range(60)] + [chance.randrange(len(saved)) for _ in range(60)]
    for place in places:
        changed = bytearray(saved)
        changed[place] ^= 1 << chance.randrange(8)
        newest_file.write_bytes(changed)
        warnings: list[str] = []
        step, arrays, header = Checkpoints(folder.checkpoints, warn=warnings.append).latest()
        if step == 256:  # white space, or the same number written differently
            same, same_header = load_arrays_of(saved, tmp_path)
            assert header == same_header and all(
                array.tobytes() == same[name].tobytes() for name, array in arrays.items()
            )
        else:
            one_line(warnings[0], "checkpoint of step 256 is skipped: ")


def load_arrays_of(content: bytes, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    (folder / "saved.safetensors").write_bytes(content)
    arrays, header = load_arrays(folder / "saved.safetensors")
    del header["checksums"]
    return arrays, header


@pytest.mark.parametrize(
    "before, after, fragment",
    [
        ("actor = [8]", "actor = [16]", "other settings"),
        ("actor = [8]", "actor = [8, 8]", "other settings"),
        ("num_envs = 4", "num_envs = 8", "other settings"),
        (
            'task = "Hopper-v5"',
            'task = "Walker2d-v5"',
            "takes 11 observations and returns 3 actions; task 'Walker2d-v5' now",
        ),
        ('name = "auto"', 'name = "processes"', "other settings"),
        ("horizon = 16", "horizon = 0", "ppo.horizon"),
        ("actor = [8]", "actor = [8", "TOML"),
        ('task = "Hopper-v5"', 'task = "Hoper-v5"', "'Hopper-v5'"),
    ],
)
def test_a_recipe_that_does_not_match_the_checkpoint(before, after, fragment, stopped, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.checkpoints.symlink_to(stopped.checkpoints)
    recipe = stopped.recipe.read_text()
    assert recipe.count(before) == 1
    folder.recipe.write_text(recipe.replace(before, after))
    assert main(["resume", str(folder.path)]) == 2
    err = only_error(capsys)
    assert fragment in err


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> RunFolder:
    return train(tmp_path_factory.mktemp("stopped"), make_recipe(), interrupting(1)).folder


def test_a_run_in_use_cannot_be_resumed(stopped, capsys):
    with stopped.lock():
        assert main(["resume", str(stopped.path)]) == 2
    assert "is in use" in capsys.readouterr().err


def test_a_run_without_any_checkpoint(stopped, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.recipe.write_text(stopped.recipe.read_text())
    assert main(["resume", str(folder.path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_other_versions_cause_a_warning(stopped, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    folder.recipe.write_text(stopped.recipe.read_text())
    latest = sorted(stopped.checkpoints.iterdir())[-1]
    (folder.checkpoints / latest.name).write_bytes(latest.read_bytes())
    now = loop.versions()
    monkeypatch.setattr(loop, "versions", lambda: now | {"mujoco": "9.9"})
    watcher = interrupting(1)
    loop.resume(folder, watcher)
    assert len(watcher.warnings) == 1 and f"mujoco {now['mujoco']} -> 9.9" in watcher.warnings[0]


def test_an_engine_without_saved_state_starts_new_episodes(tmp_path):
    recipe = make_recipe(
        "Pendulum-v1",
        **{
            "engine__name": "processes",
            "engine__num_envs": 2,
            "training__steps": 64,
            "training__evaluation_episodes": 1,
        },
    )
    outcome = train(tmp_path, recipe, interrupting(1))
    _, before, _ = newest(outcome.folder)
    assert not any(name.startswith("learner/engine") for name in before)
    watcher = Watcher()
    outcome = loop.resume(outcome.folder, watcher)
    assert outcome.reason == "finished" and outcome.counters.steps == 64
    assert len(watcher.warnings) == 1 and "new episodes begin" in watcher.warnings[0]
    assert load_arrays(outcome.folder.policy / "last.safetensors")[0].keys()
