"""The training loop: bad numbers, evaluations, early stopping, a full disk, a lost folder, callbacks."""

import errno
import functools
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from helpers import recipes
from helpers.messages import one_line, only_error
from helpers.progress import Watcher, interrupting
from helpers.recipes import SAVE_ALWAYS, TINY_PPO
from surefoot.algorithms import ppo
from surefoot.algorithms.rollout import rollout_layout
from surefoot.api import train_recipe
from surefoot.cli.main import main
from surefoot.errors import EngineError, InputError, NonFiniteError, RunError, SurefootError
from surefoot.evaluation.episodes import CONFIRMATION_SEEDS, SELECTION_SEEDS, EpisodeRunner, Episodes
from surefoot.files import load_arrays
from surefoot.policies.files import load_policy
from surefoot.recipes.files import read_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs import checkpoints
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.engine import MOST_ENVS
from surefoot.training import loop
from surefoot.training.learner import diverged
from surefoot.training.loop import Outcome
from surefoot.training.progress import Progress

ITERATION = 64
TINY = TINY_PPO | SAVE_ALWAYS | {"training.steps": ITERATION * 6, "training.evaluate_every": 10**9}

make_recipe = functools.partial(recipes.make_recipe, "Hopper-v5", "ppo", TINY)


def train(root: Path, progress: Progress | None = None, **changes: Any) -> Outcome:
    return train_recipe(make_recipe(**changes), "run", root, progress or Watcher())


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT where it is


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "Hopper-v5" / "run")


# --- numbers that are not finite --------------------------------------------------------------------------------------


def spoil_advance(monkeypatch, spoil, at: int = 3 * 16 + 5) -> None:
    """Let `spoil(engine, step)` replace the engine's output of one step, in the 4th iteration by default."""
    advance, calls = BatchEngine.advance, []

    def spoilt(self, action, finished):
        calls.append(None)
        if len(calls) == at:
            return spoil(self, lambda: advance(self, action, finished))
        return advance(self, action, finished)

    monkeypatch.setattr(BatchEngine, "advance", spoilt)


def answer_nan(engine, step):
    frame = step().copy()
    frame[1, 2] = np.nan
    return frame


def lose_physics(engine, step):
    engine.state["qpos"][2] = np.nan
    return step()


def lose_loss(monkeypatch) -> None:
    update, calls = ppo.update, []

    def spoilt(*arguments):
        state, metrics = update(*arguments)
        calls.append(None)
        broken = len(calls) == 4
        return state, {name: value * np.nan for name, value in metrics.items()} if broken else metrics

    monkeypatch.setattr(ppo, "update", spoilt)


CAUSES = {
    "observation": (
        lambda patch: spoil_advance(patch, answer_nan),
        " of environment 1 is nan",
        "rollout",
    ),
    "physics": (
        lambda patch: spoil_advance(patch, lose_physics),
        "physics of environment 2 became unstable",
        "states_before",
    ),
    "loss": (lose_loss, "loss is not finite (rewards of up to", "rollout"),
}


@pytest.mark.parametrize("cause, fragment, array", CAUSES.values(), ids=CAUSES.keys())
def test_non_finite_numbers_stop_the_run_and_keep_the_last_state(cause, fragment, array, folder, tmp_path, monkeypatch):
    cause(monkeypatch)
    with pytest.raises(NonFiniteError) as error:
        train(tmp_path)
    message = str(error.value)
    one_line(message, fragment)
    assert "failure" in message
    step, arrays, _ = Checkpoints(folder.checkpoints).latest()
    assert step == 3 * ITERATION
    assert all(np.isfinite(one).all() for name, one in arrays.items() if name.startswith("learner/algorithm"))
    [path] = folder.failure.iterdir()
    found, header = load_arrays(path)
    assert array in found and header["step"] == 3 * ITERATION and fragment in header["error"]
    if array == "rollout":
        assert found["rollout"].shape[:2] == (17, 4)
    assert read_metrics(folder.metrics)[-1]["event"] == "failure"
    assert not folder.policy.exists(), "no policy of such numbers is kept"


def test_training_in_float64_is_refused(tmp_path):
    with jax.enable_x64(True), pytest.raises(InputError, match="JAX_ENABLE_X64"):
        train(tmp_path)


def test_a_failed_run_resumes_from_its_last_checkpoint(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        spoil_advance(patch, answer_nan)
        with pytest.raises(NonFiniteError):
            train(tmp_path / "failed")
    failed = RunFolder(tmp_path / "failed" / "Hopper-v5" / "run")
    loop.resume(failed, Watcher())
    train(tmp_path)
    step, arrays, _ = Checkpoints(folder.checkpoints).latest()
    other_step, other_arrays, _ = Checkpoints(failed.checkpoints).latest()
    assert step == other_step
    assert all(arrays[name].tobytes() == other_arrays[name].tobytes() for name in arrays)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"reward": 3e20}, "the reward of environment 1 is 3e+20, too large"),
        ({"reward": 4e18}, "the loss is not finite (rewards of up to 4e+18 in size; lower wrappers.reward_scale)"),
        ({"reward": -7.5}, "the loss is not finite (rewards of up to 7.5 in size)"),
        (
            {"observation": [0, 2e30], "action": [np.nan]},
            "observation 1 ('v') of environment 1 is 2e+30, too large",
        ),
        ({"action": [np.nan]}, "action 0 of environment 1 is nan"),
    ],
)
def test_the_cause_of_a_loss_that_is_not_finite(values, message):
    layout = rollout_layout(2, 1)
    info = SimpleNamespace(observation_names=("x", "v"), action_names=None)
    rows = np.zeros((1500, 2, layout.size), np.float32)
    layout.write(rows[1400, 1], {name: np.float32(value) for name, value in values.items()})
    error = diverged(layout, info, rows, -3000)
    assert str(error) == message
    assert error.ahead == (0 if "loss" in message else -200)


def test_the_command_line_reports_non_finite_numbers_in_one_line(tmp_path, monkeypatch, capsys):
    spoil_advance(monkeypatch, answer_nan)
    words = ["train", "Hopper-v5", "--quiet", "--root", str(tmp_path)]
    for name, value in TINY.items():
        words += [f"--{name}", str(value)]
    assert main(words) == 1
    only_error(capsys)


def test_non_finite_numbers_in_an_evaluation_stop_the_run(folder, tmp_path, monkeypatch):
    stub_evaluations(monkeypatch, [np.nan])
    with pytest.raises(NonFiniteError, match="evaluation"):
        train(tmp_path)
    assert not folder.policy_file.exists()
    assert "returns" in load_arrays(next(folder.failure.iterdir()))[0]


def test_non_finite_numbers_on_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(loop, "save_arrays", full)
    spoil_advance(monkeypatch, answer_nan)
    with pytest.raises(NonFiniteError, match="could not be saved: No space left"):
        train(tmp_path)


def test_a_run_resumes_after_a_failure_of_the_simulator(folder, tmp_path, monkeypatch):
    def fail(engine, step):
        raise EngineError("the simulator broke")

    with monkeypatch.context() as patch:
        spoil_advance(patch, fail)
        with pytest.raises(EngineError, match="the simulator broke"):
            train(tmp_path)
    assert load_policy(folder.policy / "last.safetensors").origin["steps"] == 3 * ITERATION
    assert loop.resume(folder, Watcher()).counters.steps == 6 * ITERATION


# --- evaluations ------------------------------------------------------------------------------------------------------


def stub_evaluations(
    monkeypatch, selection: list[float], confirmation: list[float] | None = None, falls: list[int] | None = None
) -> list[int]:
    """Make evaluations return these means in turn; return a list that collects their numbers of episodes.

    `falls` are of all evaluations, in turn; without, the task cannot tell them.
    """
    counts: list[int] = []
    queues = {"selection": iter(selection), "confirmation": iter(confirmation or [])}
    fallen = iter(falls or [])

    def run(self, controller, episodes, seed, cancelled):
        assert seed >= SELECTION_SEEDS
        mean = next(queues["confirmation" if seed >= CONFIRMATION_SEEDS else "selection"])
        counts.append(episodes)
        spread = np.linspace(-1, 1, episodes)
        fell = None if falls is None else np.arange(episodes) < next(fallen)
        return Episodes(mean + spread, np.full(episodes, 10), np.zeros(episodes, bool), fell, 0.1)

    monkeypatch.setattr(EpisodeRunner, "run", run)
    return counts


EVERY = {"training__evaluate_every": ITERATION}


def test_a_task_is_solved_once_confirmed_on_more_episodes(folder, tmp_path, monkeypatch):
    # Thrice nearly reached: once refuted by the first quarter, once missed by a hair after the last, then confirmed.
    confirmation = [80, 110, 95, 97, 94, 99.7, 105, 96, 102]
    counts = stub_evaluations(monkeypatch, [50, 120, 99.2, 130, 99.4], confirmation)
    outcome = train(tmp_path, **EVERY, training__stop_at_return=100, training__confirm_episodes=10)
    assert outcome.reason == "solved" and outcome.counters.solved
    assert outcome.counters.steps == 5 * ITERATION
    assert counts == [2, *(2, 3), 2, *(2, 3, 3, 3, 1), *(2, 3, 3, 3, 1)]
    rows = [row for row in read_metrics(folder.metrics) if "evaluation/return" in row]
    means = [None, 80, None, (3 * (110 + 95 + 97) + 93) / 10, (3 * (99.7 + 105 + 96) + 101) / 10]
    assert [row.get("evaluation/confirmed_return") for row in rows] == pytest.approx(means)
    assert [row.get("evaluation/confirmed_episodes") for row in rows] == [None, 3, None, 10, 10]
    assert load_policy(folder.policy_file).origin["steps"] == 5 * ITERATION, "the one that was confirmed"
    assert loop.resume(folder, Watcher()).reason == "solved"


def test_resuming_a_solved_run_with_more_steps_continues_it(folder, tmp_path, monkeypatch):
    stub_evaluations(monkeypatch, [150, 50, 60], [150] * 4)
    assert train(tmp_path, **EVERY, training__stop_at_return=100).reason == "solved"
    assert loop.resume(folder, Watcher(), steps=ITERATION).reason == "solved", "there are none left"
    watcher = interrupting(1)
    outcome = loop.resume(folder, watcher, steps=3 * ITERATION)
    assert (outcome.reason, outcome.counters.steps) == ("interrupted", 2 * ITERATION)
    assert read_recipe(folder.recipe).training.steps == 3 * ITERATION
    outcome = loop.resume(folder, Watcher())
    assert (outcome.reason, outcome.counters.steps) == ("finished", 3 * ITERATION)


def test_a_locked_run_does_not_start_trackers(folder, tmp_path, monkeypatch):
    train(tmp_path, training__steps=ITERATION)
    monkeypatch.setattr(loop, "make_trackers", lambda *_: pytest.fail("started"))
    with folder.lock(), pytest.raises(RunError, match="in use"):
        loop.resume(folder, Watcher())


def test_a_task_is_not_solved_without_confirmation(tmp_path, monkeypatch):
    stub_evaluations(monkeypatch, [200] * 6, [99] * 6)
    outcome = train(tmp_path, **EVERY, training__stop_at_return=100)
    assert outcome.reason == "finished" and not outcome.counters.solved


def test_a_task_is_not_solved_with_too_many_falls(folder, tmp_path, monkeypatch):
    # In turn: fell while reaching it, fell too often while confirming it, and neither too often.
    confirmation = [135, 135, 120, 120, 120, 120]
    counts = stub_evaluations(monkeypatch, [150, 140, 130], confirmation, falls=[1, 0, 1, 1, 0, 0, 1, 0, 0])
    outcome = train(
        tmp_path,
        **EVERY,
        training__stop_at_return=100,
        training__confirm_episodes=10,
        training__stop_at_falls=0.1,
    )
    assert outcome.reason == "solved"
    assert counts == [2, 2, *(3, 3), 2, *(3, 3, 3, 1)]
    rows = [row for row in read_metrics(folder.metrics) if "evaluation/return" in row]
    assert [row.get("evaluation/confirmed_falls") for row in rows] == [None, 2, 1]
    assert load_policy(folder.policy_file).origin["steps"] == 3 * ITERATION, "the one that was confirmed"


def test_the_best_policy_is_saved(folder, tmp_path, monkeypatch):
    stub_evaluations(monkeypatch, [1, 5, 3, -7, 5, 4])
    outcome = train(tmp_path, **EVERY)
    assert outcome.counters.best_return == 5 and outcome.counters.last_return == 4
    assert load_policy(folder.policy_file).origin["steps"] == 2 * ITERATION
    assert load_policy(folder.policy / "last.safetensors").origin["steps"] == 6 * ITERATION


def test_a_lucky_evaluation_counts_with_its_confirmation(folder, tmp_path, monkeypatch):
    # The first and the third reach the goal by luck; the confirming episodes replace their scores.
    stub_evaluations(monkeypatch, [99.5, 97, 99.5, 98, 96, 90], [95, 96])
    outcome = train(tmp_path, **EVERY, training__stop_at_return=100, training__confirm_episodes=8)
    assert outcome.reason == "finished"
    assert outcome.counters.best_return == 99.5 and outcome.counters.best_score == 98
    assert load_policy(folder.policy_file).origin["steps"] == 4 * ITERATION


def test_the_best_return_may_be_negative(folder, tmp_path, monkeypatch):
    stub_evaluations(monkeypatch, [-9, -5, -7, -6, -8, -9])
    assert train(tmp_path, **EVERY).counters.best_return == -5
    assert load_policy(folder.policy_file).origin["steps"] == 2 * ITERATION


def test_evaluations_do_not_disturb_training(tmp_path):
    ends = []
    for name, every in (("often", ITERATION), ("seldom", 10**9)):
        outcome = train(tmp_path / name, training__evaluate_every=every)
        ends.append((outcome.counters.evaluations, Checkpoints(outcome.folder.checkpoints).latest()[1]))
    (often, one), (seldom, other) = ends
    assert (often, seldom) == (6, 1)
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name


def test_evaluations_are_due_by_steps(folder, tmp_path, monkeypatch):
    stub_evaluations(monkeypatch, [1.0] * 9)
    train(tmp_path, training__evaluate_every=100)
    rows = read_metrics(folder.metrics)
    assert [row["step"] for row in rows if "evaluation/return" in row] == [128, 256, 320, 384]


def test_seeds_of_trainings_are_below_those_of_evaluations():
    largest = next(bound.le for bound in Recipe.model_fields["seed"].metadata if hasattr(bound, "le"))
    assert max(largest * loop._SEED_STRIDE, loop._FIRST_SEEDS) + MOST_ENVS <= SELECTION_SEEDS


def test_the_seed_determines_the_training(tmp_path):
    ends = [
        Checkpoints(train(tmp_path / name, seed=seed).folder.checkpoints).latest()[1][
            "learner/algorithm/network/log_std"
        ]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert ends[0].tobytes() == ends[1].tobytes() != ends[2].tobytes()


# --- a full disk ------------------------------------------------------------------------------------------------------


class Patient(Watcher):
    """Call `wait` whenever the end of the training waits in memory."""

    def __init__(self, after, wait) -> None:
        super().__init__(after)
        self._wait = wait

    def warn(self, message: str) -> None:
        super().warn(message)
        if "waits in memory" in message and "end of the training" in message:
            self._wait()


@pytest.mark.parametrize("full_until", ["iteration 4", "the end", "the user gives up"])
def test_a_full_disk_loses_nothing(full_until, folder, tmp_path, monkeypatch):
    fsync, full = os.fsync, [False]

    def failing(descriptor):
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    def after(iteration):
        full[0] = iteration >= 2 and not (full_until == "iteration 4" and iteration >= 4)
        if iteration == 3:
            assert Checkpoints(folder.checkpoints).steps()[-1] == ITERATION, "the last good one is kept"

    def wait():
        if full_until == "the user gives up":
            signal.raise_signal(signal.SIGINT)
        full[0] = full_until != "the end"

    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(loop, "_RETRY_S", 0)
    watcher = Patient(after, wait)
    outcome = train(tmp_path, watcher)
    given_up = full_until == "the user gives up"
    assert outcome.reason == ("interrupted" if given_up else "finished")
    assert outcome.counters.steps == 6 * ITERATION
    for warning in watcher.warnings:
        one_line(warning, "waits in memory" if "end of the training" in warning else "No space left")
    assert any("no checkpoint at step 128" in warning and "MB; free: " in warning for warning in watcher.warnings)
    latest, _, _ = Checkpoints(folder.checkpoints).latest()
    assert latest == (ITERATION if given_up else 6 * ITERATION)
    for name in ("policy", "last"):
        assert (folder.policy / f"{name}.safetensors").exists() == (not given_up)
    assert not list(folder.path.rglob("*.tmp"))
    steps = [row["step"] for row in read_metrics(folder.metrics) if "loss/policy" in row]
    assert steps == [ITERATION * (1 + index) for index in range(6)]


def test_a_disk_that_is_full_from_the_start_stops_the_run_before_it_begins(tmp_path, monkeypatch):
    def full(path, arrays, header):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "save_arrays", full)
    watcher = Watcher()
    with pytest.raises(RunError, match="did not start, because its first checkpoint could not be saved"):
        train(tmp_path / "runs", watcher)
    (warning,) = watcher.warnings
    one_line(warning, "step-000000000000.safetensors' needs 0.", "MB; free: ")
    assert watcher.iterations == 0 and not list(tmp_path.iterdir()), "nothing is left behind"


# --- a run folder that disappears -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["deleted", "moved", "replaced", "deleted with all others"])
def test_a_run_whose_folder_disappears_stops_and_is_saved_beside_it(fate, folder, tmp_path, monkeypatch):
    def after(iteration):
        if iteration == 3:
            if fate == "moved":
                folder.path.rename(tmp_path / "elsewhere")
            else:
                shutil.rmtree(folder.path)
            if fate == "replaced":
                folder.path.mkdir()
            if fate == "deleted with all others":
                folder.path.parent.rmdir()
                folder.path.parent.touch()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    whole = train(tmp_path / "whole", **EVERY)
    with pytest.raises(SurefootError, match="was deleted or moved while it trained") as caught:
        train(tmp_path, Watcher(after), **EVERY)
    root = tmp_path / "temporary" if fate == "deleted with all others" else tmp_path
    rescued = RunFolder(root / "Hopper-v5" / "run-rescued")
    one_line(caught.value, f"surefoot resume {rescued.path}", f"step {3 * ITERATION}")
    assert folder.path.exists() == (fate == "replaced") and (fate != "replaced" or not list(folder.path.iterdir()))
    assert load_policy(rescued.policy_file).origin["steps"] <= 3 * ITERATION
    outcome = loop.resume(rescued, Watcher())
    assert outcome.reason == "finished"
    one, other = (Checkpoints(run.checkpoints).latest()[1] for run in (whole.folder, rescued))
    assert all(array.tobytes() == other[name].tobytes() for name, array in one.items())
    rows = [[row["step"] for row in read_metrics(run.metrics) if "event" not in row] for run in (whole.folder, rescued)]
    assert rows[0] == rows[1]


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_a_callback_sees_every_iteration_and_evaluation_and_can_stop(folder, tmp_path):
    seen: list[tuple[int, bool]] = []

    def callback(step: int, metrics: dict[str, float]) -> bool:
        seen.append((step, "evaluation/return" in metrics))
        return step == 3 * ITERATION

    recipe = make_recipe(**EVERY | {"training__evaluate_every": 2 * ITERATION})
    outcome = train_recipe(recipe, "run", tmp_path, Watcher(), callback)
    assert outcome.reason == "interrupted" and outcome.counters.steps == 3 * ITERATION
    assert seen == [(ITERATION, False), (2 * ITERATION, False), (2 * ITERATION, True), (3 * ITERATION, False)]


def test_a_run_can_start_from_another_runs_networks(tmp_path):
    first = train(tmp_path, training__steps=2 * ITERATION)
    wanted = Checkpoints(first.folder.checkpoints).latest()[1]
    for place in (str(first.folder.path), "Hopper-v5/run"):
        recipe = make_recipe(training__start_from=place, training__steps=ITERATION, ppo__learning_rate=1e-30)
        outcome = train_recipe(recipe, None, tmp_path)
        found = Checkpoints(outcome.folder.checkpoints).latest()[1]
        names = [
            name for name in wanted if name.startswith(("learner/algorithm/network/", "learner/algorithm/average/"))
        ]
        assert len(names) > 10
        for name in names:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
        counts = [arrays["learner/algorithm/normaliser/count"] for arrays in (wanted, found)]
        assert counts[1] == counts[0] + ITERATION
        assert json.loads(outcome.folder.transfer.read_text())["parts"]["optimiser"]["taken"]
    # A resumed run goes on by itself.
    shutil.rmtree(first.folder.path)
    outcome.folder.transfer.unlink()
    loop.resume(outcome.folder, Watcher(), 2 * ITERATION)
    assert not outcome.folder.transfer.exists()
    count = Checkpoints(outcome.folder.checkpoints).latest()[1]["learner/algorithm/normaliser/count"]
    assert count == counts[0] + 2 * ITERATION


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"training__start_from": "no/such-run"}, "no run 'no/such-run'"),
        ({"training__start_from": "Hopper-v5/run", "policy__actor": [5]}, "policy.actor is [8] there, [5] here"),
    ],
)
def test_unavailable_networks_are_a_one_line_error_and_leave_no_run(changes, message, tmp_path):
    train(tmp_path, training__steps=ITERATION)
    with pytest.raises(RunError) as error:
        train_recipe(make_recipe(**changes), "second", tmp_path)
    one_line(error.value, message)
    assert not (tmp_path / "Hopper-v5" / "second").exists()
