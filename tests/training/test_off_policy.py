"""The off-policy learner: exact resume, counts of steps and updates, and asynchronous samplers."""

import contextlib
import dataclasses
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import recipes
from helpers.messages import one_line
from helpers.progress import Watcher, interrupting
from surefoot.algorithms import off_policy
from surefoot.algorithms.replay import Replay
from surefoot.api import train_recipe
from surefoot.errors import EngineError, InputError, NonFiniteError, RunError
from surefoot.files import load_arrays
from surefoot.policies.files import load_policy
from surefoot.recipes.files import default_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.settings import validate
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.processes import ProcessesEngine
from surefoot.tasks.catalogue import find_task
from surefoot.training import loop
from surefoot.training.loop import Outcome
from surefoot.training.off_policy import OffPolicyLearner
from surefoot.training.progress import Progress

ITERATION = 1000  # environment steps, of 4 copies that learn every 5 steps
TINY = {
    "engine.num_envs": 4,
    "policy.actor": [32, 32],
    "policy.critic": [32, 32],
    "policy.normalise_observations": True,
    "training.steps": ITERATION * 4,
    "training.evaluate_every": ITERATION * 2,
    "training.evaluation_episodes": 2,
    "training.checkpoint_every_s": 0,
}
TABLE = {
    "buffer_size": 2500,  # full before the end, so that the ring has gone round
    "learning_starts": 500,
    "train_freq": 5,
    "utd_ratio": 0.1,
    "batch_size": 16,
    "n_step": 3,
}
NOISE = {"exploration.parameter_noise": 0.3}


def make_recipe(algorithm: str, task: str = "Hopper-v5", table: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    own = {f"{algorithm}.{name}": value for name, value in (TABLE | (table or {})).items()}
    return recipes.make_recipe(task, algorithm, TINY | own, **changes)


def train(root: Path, recipe: Recipe, progress: Progress | None = None) -> Outcome:
    return train_recipe(recipe, "run", root, progress or Watcher())


def newest(folder: RunFolder) -> dict[str, np.ndarray]:
    return Checkpoints(folder.checkpoints).latest()[1]


def logged(folder: RunFolder, name: str) -> list[float]:
    return [row[name] for row in read_metrics(folder.metrics) if name in row]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT where it is


@pytest.mark.parametrize(
    "algorithm, table",
    [
        ("ddpg", NOISE | {"exploration.noise": "ornstein-uhlenbeck"}),
        ("td3", NOISE | {"actor_learning_rate.kind": "linear", "exploration.sigma.kind": "linear"}),
        ("sac", NOISE),
    ],
)
def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(algorithm, table, tmp_path):
    recipe = make_recipe(algorithm, table=table)
    whole = train(tmp_path / "whole", recipe)
    assert whole.reason == "finished"
    outcome = train(tmp_path / "parts", recipe, interrupting(1))  # the replay is not yet full
    assert outcome.reason == "interrupted" and outcome.counters.steps == ITERATION
    outcome = loop.resume(outcome.folder, interrupting(2))  # it is
    assert outcome.reason == "interrupted" and outcome.counters.steps == 3 * ITERATION
    watcher = Watcher()
    outcome = loop.resume(outcome.folder, watcher)
    assert outcome.reason == "finished" and watcher.warnings == []
    one, other = newest(whole.folder), newest(outcome.folder)
    assert one.keys() == other.keys()
    assert any(name.startswith("learner/samplers/0/perturbed") for name in one)
    for name, array in one.items():
        assert array.dtype == other[name].dtype and array.shape == other[name].shape
        assert array.tobytes() == other[name].tobytes(), name
    for name in ("policy", "last"):
        policies = [(run.folder.policy / f"{name}.safetensors").read_bytes() for run in (whole, outcome)]
        assert policies[0] == policies[1]
    for name in ("loss/value", "loss/policy", "train/length", "updates", "evaluation/return"):
        assert logged(whole.folder, name) == logged(outcome.folder, name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [{}, {"training.mode": "asynchronous", "training.samplers": 2}], ids=["sync", "async"])
def test_a_run_killed_twenty_times_ends_like_an_uninterrupted_one(mode, killed_again_and_again, tmp_path):
    changes = {"training.steps": 60 * ITERATION, "training.evaluate_every": 10 * ITERATION} | mode
    recipe = validate(Recipe, replaced(make_recipe("td3", table=NOISE), changes), "test")
    folder, killed = killed_again_and_again(recipe, tmp_path, 20, random.Random(0), 4)
    assert killed == 20
    whole = newest(train(tmp_path / "whole", recipe).folder)
    found = newest(folder)
    assert whole.keys() == found.keys()
    for name, array in whole.items():
        assert array.tobytes() == found[name].tobytes(), name


def test_no_transition_connects_stored_and_restarted_episodes(tmp_path):
    table = {"train_freq": 5, "utd_ratio": 0.2, "learning_starts": 100}
    recipe = make_recipe(
        "ddpg",
        "Pendulum-v1",
        table,
        engine__name="processes",
        engine__num_envs=2,
        training__steps=2 * ITERATION,
        training__evaluation_episodes=1,
    )
    outcome = train(tmp_path, recipe, interrupting(1))
    before = newest(outcome.folder)
    assert not any(name.startswith("learner/samplers/0/engine") for name in before)
    rows = before["learner/replay/rows"]
    held = len(rows)
    assert held == ITERATION // 2 and (rows[-1, :, -2:] == 0).all(), "it was stopped amid episodes"
    watcher = Watcher()
    outcome = loop.resume(outcome.folder, watcher)
    assert outcome.reason == "finished" and outcome.counters.steps == 2 * ITERATION
    assert len(watcher.warnings) == 1 and "new episodes begin" in watcher.warnings[0]
    after = newest(outcome.folder)["learner/replay/rows"]
    assert (after[: held - 1] == rows[:-1]).all()
    assert (after[held - 1, :, :-1] == rows[-1, :, :-1]).all() and (after[held - 1, :, -1] == 1).all()
    replay = Replay(len(after) * 2, 2, 3, 1)
    replay.restore({"rows": after})
    drawn = replay.sample(np.random.default_rng(0), 1, 50_000, 1, 0.99)
    starts = {tuple(x) for x in drawn.observation[0]}
    last, first = ({tuple(x) for x in after[index, :, :3]} for index in (held - 1, held))
    assert not starts & last, "no transition leads from the old episodes into the new"
    assert first < starts and last <= {tuple(x) for x in drawn.next_observation[0]}


@pytest.mark.parametrize("algorithm, ratio", [("ddpg", 0.05), ("td3", 0.1), ("sac", 0.1)])
def test_the_update_to_data_ratio_holds_after_learning_starts(algorithm, ratio, tmp_path):
    # An actor that hardly learns and does not explore acts near 0, unlike random actions.
    table = {"utd_ratio": ratio, "learning_starts": 1200, "actor_learning_rate": 1e-9, "buffer_size": 10_000}
    if algorithm != "sac":
        table["exploration.sigma"] = 0.0
    outcome = train(tmp_path, make_recipe(algorithm, table=table))
    folder = outcome.folder
    assert logged(folder, "updates") == pytest.approx([0, 800 * ratio, 1000 * ratio, 1000 * ratio])
    assert len(logged(folder, "loss/value")) == 3, "there are no updates in the first iteration"
    arrays = newest(folder)
    assert arrays["learner/algorithm/critic_opt_state/2/count"] == 2800 * ratio
    assert logged(folder, "replay/size") == [1000, 2000, 3000, 4000]
    action = arrays["learner/replay/rows"][:, :, 11:14]
    random, own = action[:300], action[300:]
    assert random.min() < -0.99 and random.max() > 0.99
    assert np.abs(random.mean()) < 0.03 and random.std() == pytest.approx(1 / np.sqrt(3), abs=0.02)
    if algorithm == "sac":
        assert (np.abs(own) < 1).all() and own.std() > 0.3
    else:
        assert np.abs(own).max() < 0.2


def test_returns_and_lengths_are_of_complete_episodes(tmp_path):
    table = {"learning_starts": 10**6, "buffer_size": 10_000}
    recipe = make_recipe("td3", table=table, wrappers__reward_scale=0.1, wrappers__survival_bonus=-1.0)
    outcome = train(tmp_path, recipe)
    rows = newest(outcome.folder)["learner/replay/rows"]
    reward, ended = rows[:, :, -3], rows[:, :, -2:].max(2) > 0.5
    terminated = rows[:, :, -2] > 0.5
    found = []  # the step, the return and the length of each episode, from what is remembered
    for copy in range(4):
        first = 0
        for last in np.flatnonzero(ended[:, copy]):
            steps = slice(first + 1, last + 1)
            true = reward[steps, copy] / 0.1 + ~terminated[steps, copy]
            found.append((last, true.sum(), last - first))
            first = last + 1
    for index, (mean, length, count) in enumerate(
        zip(*(logged(outcome.folder, f"train/{name}") for name in ("return", "length", "episodes")), strict=True)
    ):
        inside = [(total, steps) for last, total, steps in found if last // 250 == index]
        assert count == len(inside) > 0
        assert (mean, length) == pytest.approx(np.mean(inside, 0), rel=1e-4)


def answer_nan(monkeypatch) -> None:
    advance, calls = BatchEngine.advance, []

    def spoilt(self, action, finished):
        calls.append(None)
        frame = advance(self, action, finished)
        if len(calls) == 2 * 250 + 5:
            frame = frame.copy()
            frame[1, 2] = np.nan
        return frame

    monkeypatch.setattr(BatchEngine, "advance", spoilt)


def lose_loss(monkeypatch) -> None:
    update, calls = off_policy.update, []

    def spoilt(*arguments, **options):
        state, metrics = update(*arguments, **options)
        calls.append(None)
        # 25 rounds in the second half of the first iteration, 50 in the second
        return state, {name: x * np.nan for name, x in metrics.items()} if len(calls) == 80 else metrics

    monkeypatch.setattr(off_policy, "update", spoilt)


def test_a_replay_that_barely_fits_is_announced(tmp_path, monkeypatch):
    monkeypatch.setattr("surefoot.training.off_policy.available_memory", lambda: (10**4, 10**12))
    watcher = Watcher()
    train(tmp_path, make_recipe("td3", training__evaluate_every=10**9), watcher)
    assert any("the replay takes" in warning and "td3.buffer_size" in warning for warning in watcher.warnings)


@pytest.mark.parametrize(
    "cause, fragment, array",
    [(answer_nan, " of environment 1 is nan", "row"), (lose_loss, "loss is not finite (rewards of up to", "metrics")],
)
def test_non_finite_numbers_stop_the_run_and_keep_the_last_state(cause, fragment, array, tmp_path, monkeypatch):
    cause(monkeypatch)
    with pytest.raises(NonFiniteError) as error:
        train(tmp_path, make_recipe("td3", training__evaluate_every=10**9))
    message = str(error.value)
    one_line(message, fragment)
    folder = RunFolder(tmp_path / "Hopper-v5" / "run")
    step, arrays, _ = Checkpoints(folder.checkpoints).latest()
    assert step == 2 * ITERATION
    assert all(
        np.isfinite(one).all() for name, one in arrays.items() if name.startswith(("learner/algorithm", "learner/r"))
    )
    [path] = folder.failure.iterdir()
    found, header = load_arrays(path)
    assert not np.isfinite(found[array]).all() and header["step"] == 2 * ITERATION
    assert read_metrics(folder.metrics)[-1]["event"] == "failure"
    assert not folder.policy.exists(), "no policy of such numbers is kept"


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_average_is_saved_and_the_newest_actor_explores(tmp_path: Path, decay: float) -> None:
    recipe = make_recipe("ddpg", table={"ema_decay": decay}, training__steps=ITERATION)
    folder = train(tmp_path, recipe).folder
    arrays, policy = newest(folder), load_policy(folder.policy / "last.safetensors")
    names = ("actor/0/weight", "actor/2/bias")
    average, actor = ([arrays[f"learner/algorithm/{part}/{name}"] for name in names] for part in ("average", "actor"))
    saved = [policy.controller.network.actor[0]["weight"], policy.controller.network.actor[2]["bias"]]
    for one, other, newest_one in zip(saved, average, actor, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one == newest_one).all() == (decay == 0)


BESIDE = {"training.mode": "asynchronous", "training.samplers": 2}


def threads_of_ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("surefoot")]


def test_asynchronous_training_keeps_the_ratio_and_resumes_exactly(tmp_path):
    recipe = validate(Recipe, replaced(make_recipe("td3", table=NOISE), BESIDE), "test")
    whole = train(tmp_path / "whole", recipe)
    # Updates use transitions of earlier rounds: of 475 of the 500 steps after the start of learning, then of all.
    assert logged(whole.folder, "updates") == [48, 100, 100, 100]
    assert logged(whole.folder, "utd_ratio") == pytest.approx([0.048, 0.1, 0.1, 0.1])
    assert [len(logged(whole.folder, "evaluation/return"))] == [2]
    outcome = train(tmp_path / "parts", recipe, interrupting(3))
    assert outcome.reason == "interrupted" and threads_of_ours() == []
    assert outcome.counters.evaluating_at == 2 * ITERATION, "its result counts from the next evaluation on"
    assert "evaluation/normaliser/mean" in newest(outcome.folder)
    outcome = loop.resume(outcome.folder)
    assert outcome.reason == "finished" and threads_of_ours() == []
    one, other = newest(whole.folder), newest(outcome.folder)
    assert one.keys() == other.keys() and any(name.startswith("learner/samplers/1/engine") for name in one)
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name
    assert read_metrics(outcome.folder.metrics)[-1]["event"] == "finished"
    policies = [
        [(run.folder.policy / f"{name}.safetensors").read_bytes() for name in ("policy", "last")]
        for run in (whole, outcome)
    ]
    assert policies[0] == policies[1], "the best policy and the last one"
    assert logged(whole.folder, "evaluation/return") == logged(outcome.folder, "evaluation/return")
    judged = {row["step"] for row in read_metrics(outcome.folder.metrics) if "evaluation/return" in row}
    assert judged == {2 * ITERATION, 4 * ITERATION}


def test_asynchronous_samplers_use_the_weights_of_the_previous_round(tmp_path):
    table = {"learning_starts": 0, "train_freq": 5, "utd_ratio": 0.2, "exploration.sigma": 0.0}
    recipes = [make_recipe("ddpg", table=table, policy__normalise_observations=False)]
    recipes.append(validate(Recipe, replaced(recipes[0], {"training.mode": "asynchronous"}), "test"))
    info = find_task("Hopper-v5")
    rows = []
    for recipe in recipes:
        with contextlib.closing(BatchEngine(info, 4, 1)) as engine:
            learner = OffPolicyLearner(recipe, info, [engine])
            learner.start(0)
            learner.iterate(0.1)
            rows.append(learner.state()["replay"]["rows"])
            learner.close()
    np.testing.assert_array_equal(rows[0][:5], rows[1][:5])
    assert (rows[0][5:10] != rows[1][5:10]).any(), "acting at once with what the first round taught"


def test_action_costs_are_charged_when_transitions_are_sampled(monkeypatch):
    """Costs are in the task's units, in which actions are within -2 and 2, and scaled like rewards."""
    wrappers = {"reward_scale": 0.1, "action_cost": 0.5, "action_cost_from": 200, "action_cost_until": 600}
    info = find_task("Pendulum-v1")
    rows, charged = [], []
    for cost in (True, False):
        changes = {f"wrappers__{name}": value for name, value in wrappers.items() if cost or name == "reward_scale"}
        recipe = make_recipe("td3", "Pendulum-v1", {"learning_starts": 0, "train_freq": 5}, **changes)
        with contextlib.closing(ProcessesEngine(info, 4, 1)) as engine:
            learner = OffPolicyLearner(recipe, info, [engine])
            learner.start(0)
            sample = learner._replay.sample

            def noting(*words, sample=sample, learner=learner, cost=cost):
                charged.append((cost, learner._steps, words[-2]))
                return sample(*words)

            monkeypatch.setattr(learner._replay, "sample", noting)
            learner.iterate(0.1)
            rows.append(learner.state()["replay"]["rows"][:6])
            learner.close()
    np.testing.assert_array_equal(*rows)
    for cost, steps, found in charged:
        share = np.clip((steps - 200) / 400, 0, 1) if cost else 0
        np.testing.assert_allclose(found, [share * 0.5 * 0.1 * 2], rtol=1e-6)
    moments = [steps for cost, steps, _ in charged if cost]
    assert min(moments) < 200 and max(moments) > 600, "before, while and after it grows"


def test_an_action_of_0_has_no_cost_for_any_bounds():
    pendulum = find_task("Pendulum-v1")
    info = dataclasses.replace(pendulum, action_low=np.zeros(1, np.float32), action_high=np.full(1, 4, np.float32))
    recipe = make_recipe("td3", "Pendulum-v1", wrappers__action_cost=0.5)
    with contextlib.closing(ProcessesEngine(pendulum, 1, 1)) as engine:
        learner = OffPolicyLearner(recipe, info, [engine])
        replay = Replay(10, 1, info.observation_size, 1)
        for action in (-1, -0.5, 1, 0):  # 0, 1 and 4 in the task's units; the last row only ends the one before
            row = np.zeros((1, info.observation_size + 4), np.float32)
            row[0, info.observation_size] = action
            replay.add(row)
        cost = 0.5 * learner._action_cost_scale
        drawn = replay.sample(np.random.default_rng(0), 1, 100, 1, 0.99, cost, learner._idle_action)
        found = dict(zip(drawn.action[0, :, 0].tolist(), drawn.reward[0].tolist(), strict=True))
        assert found == pytest.approx({-1.0: 0.0, -0.5: -0.5, 1.0: -2.0})
        learner.close()


def test_a_smaller_replay_buffer_is_a_one_line_error(tmp_path):
    outcome = train(tmp_path, make_recipe("ddpg"))
    text = outcome.folder.recipe.read_text()
    outcome.folder.recipe.write_text(text.replace("buffer_size = 2500", "buffer_size = 100"))
    with pytest.raises(RunError, match="buffer_size") as error:
        loop.resume(outcome.folder)
    one_line(error.value)


def test_an_error_in_a_sampler_ends_the_run_and_leaves_no_thread(tmp_path, monkeypatch):
    advance = BatchEngine.advance

    def failing(self, action, finished):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 200 and threading.current_thread() is not threading.main_thread():
            raise EngineError("copy 3 broke down")
        return advance(self, action, finished)

    monkeypatch.setattr(BatchEngine, "advance", failing)
    recipe = validate(Recipe, replaced(make_recipe("sac"), BESIDE), "test")
    with pytest.raises(EngineError, match="copy 3 broke down"):
        train(tmp_path, recipe)
    assert threads_of_ours() == []
    folder = RunFolder(tmp_path / "Hopper-v5" / "run")
    assert Checkpoints(folder.checkpoints).latest()[0] >= 0
    assert (folder.policy / "last.safetensors").exists()


@pytest.mark.parametrize(
    "algorithm, changes, message",
    [
        ("td3", {"training.samplers": 2}, "needs training.mode = 'asynchronous'"),
        ("td3", BESIDE | {"training.samplers": 3}, "engine.num_envs = 4 cannot be split equally among 3 samplers"),
        ("ppo", {"training.mode": "asynchronous"}, "is not for 'ppo'"),
    ],
)
def test_invalid_asynchronous_settings_are_a_one_line_error(algorithm, changes, message):
    with pytest.raises(InputError) as error:
        recipe = default_recipe("Hopper-v5", algorithm) if algorithm == "ppo" else make_recipe(algorithm)
        validate(Recipe, replaced(recipe, changes), "test")
    one_line(error.value, message)
