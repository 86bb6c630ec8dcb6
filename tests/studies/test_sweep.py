"""Sweeps: kills, pruning, refused and failed trials, new seeds. Optuna is an extra."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import surefoot
from helpers.messages import one_line, only_error
from helpers.recipes import TINY_PPO
from surefoot.cli.main import main
from surefoot.errors import EngineError, InputError, RunError, SurefootError
from surefoot.ranges import integer, log
from surefoot.recipes.files import read_recipe
from surefoot.runs.metrics import read_metrics
from surefoot.simulation import cluster
from surefoot.simulation.cluster import Result
from surefoot.studies import sweep
from surefoot.studies.sweep import SweepOptions, run_sweep
from surefoot.studies.sweep_plan import open_sweep, plan_sweep
from surefoot.studies.trials import Order, Report, TrialRunner, write_files
from surefoot.studies.workers import LocalWorkers
from surefoot.training.progress import Progress

pytest.importorskip("optuna", reason="Optuna is not installed")

from surefoot.studies.trial_book import TrialBook, open_study

SETTINGS = TINY_PPO | {"training.steps": 192, "training.evaluate_every": 64, "training.checkpoint_every_s": 0}
SEARCH = ("ppo.learning_rate", "ppo.clip_eps")
SPACE = {"x": log(1e-3, 1.0), "n": integer(1, 9)}


class Threads:
    """Workers in threads of this process, which keep its compiled functions."""

    def __init__(self, count: int = 1) -> None:
        self.runners = [TrialRunner() for _ in range(count)]
        self._results: dict[int, list[Any]] = {}

    @property
    def idle(self) -> list[int]:
        return [index for index in range(len(self.runners)) if index not in self._results]

    def call(self, index: int, method: str, *arguments: Any) -> None:
        results = self._results[index] = []
        call = getattr(self.runners[index], method)
        threading.Thread(target=lambda: results.append(call(*arguments)), daemon=True).start()

    def results(self, timeout_s: float) -> list[Result]:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if done := [index for index, results in self._results.items() if results]:
                return [Result(index, self._results.pop(index)[0], False) for index in done]
            time.sleep(0.002)
        return []

    def interrupt(self) -> bool:
        for runner in self.runners:
            runner.interrupt()
        return True

    def close(self) -> None:
        """Nothing to end."""


class Scripted(Threads):
    """Workers that report a learning curve without training; `curve(order)` gives its values."""

    def __init__(self, curve: Any, count: int = 1) -> None:
        super().__init__(count)
        self.curve, self.orders = curve, []
        self.runners = [ScriptedRunner(self) for _ in range(count)]


class ScriptedRunner(TrialRunner):
    """Reports evaluations at 64, 128, ... steps, then the last value as the held-out return."""

    def __init__(self, workers: Scripted) -> None:
        super().__init__()
        self._workers = workers

    def begin(self, order: Order) -> Report:
        self._workers.orders.append(order)
        try:
            self._values = list(self._workers.curve(order))
        except SurefootError as error:
            return Report("refused" if isinstance(error, InputError) else "failed", error=str(error))
        self._step = 0
        return self._next()

    def advance(self, go_on: bool) -> Report:
        return self._next() if go_on else Report("stopped", self._step)

    def _next(self) -> Report:
        if self._step // 64 == len(self._values):
            value = self._values[-1]
            result = {"return": {"mean": value, "iqm": value - 1}, "falls": 0}
            return Report("finished", self._step, value, result, seconds=10 * value, entropy=-value)
        self._step += 64
        return Report("evaluated", self._step, self._values[self._step // 64 - 1])


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that chooses the workers of sweeps."""
    return lambda workers: monkeypatch.setattr(sweep, "_make_workers", lambda options, progress: workers)


def start(root: Path, trials: int = 3, new_seeds: int = 0, changes: dict[str, Any] | None = None, **plan: Any) -> Any:
    """Run a sweep of tiny trainings, or continue it; return its folder and its results."""
    folder, made = open_sweep(plan_sweep("Hopper-v5", search=SEARCH, changes=SETTINGS | (changes or {}), **plan), root)
    return folder, run_sweep(folder, made, SweepOptions(trials, new_seeds=new_seeds), Progress(quiet=True))


def values_of(folder: Any) -> list[tuple[dict[str, Any], Any]]:
    return [(trial.params, trial.values) for trial in open_study(folder.journal).trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sweep of three trials that nothing interrupted; its folder and its results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_make_workers", lambda options, progress: Threads())
        return start(tmp_path_factory.mktemp("whole"), new_seeds=1, episodes=3)


def test_trials_are_ordinary_runs(whole: Any):
    folder, results = whole
    assert results["trials"] == {"complete": 3, "pruned": 0, "fail": 0, "running": 0}
    runs = {run.path.name: run for run in folder.run_folders()}
    assert {f"trial-{number:04d}" for number in range(3)} <= runs.keys()
    for trial in open_study(folder.journal).trials:
        run = runs[f"trial-{trial.number:04d}"]
        recipe = read_recipe(run.recipe)
        assert recipe.ppo.learning_rate.start == trial.params["ppo.learning_rate"]
        assert recipe.ppo.clip_eps == trial.params["ppo.clip_eps"] and recipe.seed == trial.number
        assert json.loads(run.evaluation.read_text())["return"]["mean"] == trial.value
        assert len(trial.intermediate_values) == 3
    # The first trial has the settings of the recipe that the sweep begins with.
    assert read_recipe(runs["trial-0000"].recipe).ppo.learning_rate.start == 3e-4


def test_the_best_trial_is_a_recipe_with_returns_on_new_seeds(whole: Any):
    folder, results = whole
    best = results["best"][0]
    recipe = read_recipe(folder.path / "best.toml")
    assert recipe.ppo.clip_eps == best["settings"]["ppo.clip_eps"]
    runs = {run.path.name for run in folder.run_folders()}
    assert f"trial-{best['trial']:04d}-seed10000" in runs
    assert len(results["new_seeds"]["best"]["values"]) == 1
    assert ("start" in results["new_seeds"]) == (best["trial"] != 0)
    assert json.loads(folder.results.read_text()) == results


def test_a_sweep_that_is_killed_and_continued_equals_one_that_is_not(whole: Any, tmp_path: Path):
    settings = [f"--{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "surefoot", "sweep", "Hopper-v5", *settings, "--search", *SEARCH, "--root", "."]
    command += ["--trials=3", "--new-seeds=0", "--episodes=3", "--workers=1", "--quiet"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, start_new_session=True)
    checkpoints = tmp_path / "Hopper-v5-ppo-sweep" / "runs" / "Hopper-v5" / "trial-0001" / "checkpoints"
    end = time.monotonic() + 300
    while not list(checkpoints.glob("*.safetensors")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    study = open_study(tmp_path / "Hopper-v5-ppo-sweep" / "journal.log")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "3 trials: 3 complete" in result.stdout
    folder, _ = whole
    continued = open_sweep("Hopper-v5-ppo-sweep", tmp_path)[0]
    assert values_of(continued) == values_of(folder)
    events = [row["event"] for row in read_metrics(checkpoints.parent / "metrics.jsonl") if "event" in row]
    assert events == ["start", "resume", "finished"]


def test_a_request_to_stop_leaves_trials_to_continue(whole: Any, tmp_path: Path, use: Any):
    class Stopping(Threads):
        def results(self, timeout_s: float) -> list[Result]:
            results = super().results(timeout_s)
            if any(result.value.kind == "evaluated" for result in results):
                os.kill(os.getpid(), signal.SIGINT)
            return results

    use(Stopping())
    folder, results = start(tmp_path, episodes=3)
    assert results["interrupted"] and results["trials"]["running"] == 1
    use(Threads())
    _, results = start(tmp_path, episodes=3)
    assert not results["interrupted"]
    assert values_of(folder) == values_of(whole[0])


def test_poor_trials_are_pruned(tmp_path: Path, use: Any):
    use(Scripted(lambda order: [1, 2, 3, 4] if read_seed(order) == 7 else [5, 6, 7, 8]))
    folder, results = start(tmp_path, trials=8)
    assert results["trials"] == {"complete": 7, "pruned": 1, "fail": 0, "running": 0}
    pruned = open_study(folder.journal).trials[7]
    assert pruned.state.name == "PRUNED" and pruned.intermediate_values == {1: 1, 2: 2, 3: 3}


def test_no_trial_is_pruned_without_pruning(tmp_path: Path, use: Any):
    use(Scripted(lambda order: [1, 2, 3, 4] if read_seed(order) == 7 else [5, 6, 7, 8]))
    _, results = start(tmp_path, trials=8, pruning=False)
    assert results["trials"] == {"complete": 8, "pruned": 0, "fail": 0, "running": 0}


def test_the_interquartile_mean_and_a_pareto_front(tmp_path: Path, use: Any):
    use(Scripted(lambda order: [read_seed(order)]))
    _, results = start(tmp_path, trials=3, average="iqm", pareto=("time", "entropy"))
    # A larger return takes more time and leaves less entropy, so no trial is better in everything.
    assert [best["trial"] for best in results["best"]] == [2, 1, 0]
    assert results["best"][0]["values"] == {"return": 1, "time": 20, "entropy": -2}


def read_seed(order: Order) -> int:
    return int(next(line for line in order.recipe.splitlines() if line.startswith("seed")).rpartition(" ")[2])


def test_a_trial_that_is_refused_counts_as_the_worst_and_one_that_fails_is_reported(tmp_path: Path, use: Any):
    def curve(order: Order) -> list[float]:
        if read_seed(order) == 1:
            raise InputError("the numbers do not fit")
        if read_seed(order) == 2:
            raise EngineError("the simulator failed")
        return [1.0]

    use(Scripted(curve))
    folder, results = start(tmp_path, trials=4)
    assert results["trials"] == {"complete": 2, "pruned": 1, "fail": 1, "running": 0}
    trials = open_study(folder.journal).trials
    assert trials[1].user_attrs["error"] == "the numbers do not fit"
    assert trials[2].user_attrs["error"] == "the simulator failed"


def test_the_sweep_ends_if_the_first_trials_fail(tmp_path: Path, use: Any):
    def fail(order: Order) -> list[float]:
        raise EngineError("no simulator")

    use(Scripted(fail))
    with pytest.raises(SurefootError, match="the first 3 trials failed; the last one: no simulator"):
        start(tmp_path, trials=9)


def test_settings_that_do_not_fit_each_other_are_not_trained(tmp_path: Path, use: Any):
    workers = Scripted(lambda order: [1.0])
    use(workers)
    plan = plan_sweep("Hopper-v5", search=("ppo.minibatch_size",), changes={"engine.num_envs": 4, "ppo.horizon": 16})
    folder, plan = open_sweep(plan, tmp_path)
    results = run_sweep(folder, plan, SweepOptions(6, new_seeds=0), Progress(quiet=True))
    assert results["trials"]["pruned"] == 6 - len(workers.orders) > 0  # an iteration has 64 transitions
    errors = [trial.user_attrs.get("error", "") for trial in open_study(folder.journal).trials]
    assert any("more than the 64 transitions" in error for error in errors)


def test_two_workers_train_different_trials(tmp_path: Path, use: Any):
    workers = Scripted(lambda order: [1.0], count=2)
    use(workers)
    _, results = start(tmp_path, trials=5)
    assert results["trials"]["complete"] == 5
    assert len({order.run for order in workers.orders}) == len(workers.orders) == 5


def test_no_trial_begins_after_the_time_is_spent(tmp_path: Path, use: Any):
    use(Scripted(lambda order: [1.0]))
    folder, plan = open_sweep(plan_sweep("Hopper-v5", search=SEARCH, changes=SETTINGS), tmp_path)
    results = run_sweep(folder, plan, SweepOptions(9, minutes=0.0), Progress(quiet=True))
    assert sum(results["trials"].values()) == 0 and results["best"] == []


def test_a_sweep_from_python(tmp_path: Path, use: Any):
    use(Scripted(lambda order: [1, 2, read_seed(order)]))
    changes = {name.replace(".", "__"): value for name, value in SETTINGS.items()}
    options = {"search": SEARCH, "trials": 2, "new_seeds": 0, "root": tmp_path, "progress": False}
    done = []
    stopped = surefoot.sweep("Hopper-v5", **options, **changes, callback=lambda *trial: done.append(trial) or True)
    assert stopped.reason == "interrupted" and len(done) == 1 and stopped.statistics == {}
    number, figures = done[0]
    assert (number, figures["state"], figures["values"]) == (0, "complete", {"return": 0})
    assert figures["settings"].keys() == set(SEARCH)
    outcome = surefoot.sweep(stopped.folder.path, trials=3, new_seeds=0, progress=False)
    assert outcome.reason == "finished" and outcome.results["best"][0]["trial"] == 2
    assert outcome.best_recipe is not None and read_recipe(outcome.best_recipe).task == "Hopper-v5"
    with pytest.raises(InputError, match="keeps its settings") as error:
        surefoot.sweep(stopped.folder.path, episodes=3)
    one_line(error.value, "episodes")


def test_another_plan_with_the_same_name_is_refused(tmp_path: Path):
    open_sweep(plan_sweep("Hopper-v5", search=SEARCH), tmp_path)
    open_sweep(plan_sweep("Hopper-v5", search=SEARCH), tmp_path)
    with pytest.raises(RunError, match="exists with another space") as error:
        open_sweep(plan_sweep("Hopper-v5", search=SEARCH[:1]), tmp_path)
    one_line(error.value, "--name")


def test_the_trials_of_a_book_that_is_opened_again_and_again(tmp_path: Path):
    def book(name: str) -> TrialBook:
        made = TrialBook(tmp_path / name, SPACE, ["return"], seed=3, pruning=True)
        made.first({"x": 0.5})
        return made

    whole, asked = book("whole.log"), []
    for _ in range(13):  # more than those with random settings
        number, settings = whole.ask()
        asked.append(settings)
        whole.complete(number, [settings["n"] - settings["x"]], {})
    assert asked[0]["x"] == 0.5 and len({settings["x"] for settings in asked}) == 13
    again = []
    for number in range(13):
        book("killed.log").ask()
        (tmp_path / "killed.log").open("ab").write(b'{"op_code":4,"worker')  # a line that a kill cut
        reopened = book("killed.log")
        assert reopened.unfinished() == [number]
        same, settings = reopened.again(number)
        assert not reopened.report(number, 1, 0.0) and not reopened.report(number, 1, 0.0)
        again.append(settings)
        reopened.complete(same, [settings["n"] - settings["x"]], {})
    assert again == asked


def test_a_worker_process_that_dies_is_replaced():
    workers = LocalWorkers([[]])
    try:
        workers.call(0, "begin", Order("task/run", "", 1, 0, root="/nowhere"))
        first = workers.pids[0]
        os.kill(first, signal.SIGKILL)
        with pytest.warns(UserWarning, match="out of memory"):
            (result,) = workers.results(60)
        assert result.died and workers.idle == [0] and workers.pids[0] != first
    finally:
        workers.close()


def test_the_space_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["sweep", "Hopper-v5", "--settings", "--ppo.epochs", "3", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "ppo.learning_rate" in out and "logarithmic" in out and "ppo.epochs" not in out
    assert list(tmp_path.iterdir()) == []


def test_wrong_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, message in (
        ([], "which task?"),
        ([str(tmp_path)], "is a folder without a study"),
        (["Hopper-v5", "--space", "aidl2023"], "did you mean 'aidl2023-sweep'"),
        (["Hopper-v5", "--algorithm", "td3", "--pareto", "entropy"], "no entropy"),
        (["Hopper-v5", "--space", "claborne2023-sweep"], "is for task 'ant'"),
        (["Hopper-v5", "--space", "aidl2023-sweep", "--search", "ppo.epochs"], "choose one"),
        (["Hopper-v5", "--search", "ppo.epochs", "--ppo.epochs", "3"], "searched and set"),
    ):
        assert main(["sweep", *arguments, "--root", str(tmp_path)]) == 2
        only_error(capsys, message)
    folder, _ = open_sweep(plan_sweep("Hopper-v5", search=SEARCH), tmp_path)
    for words in (["--ppo.epochs", "3"], ["--episodes", "50"], ["--objective", "iqm"]):
        assert main(["sweep", str(folder.path), *words]) == 2
        only_error(capsys, "keeps its settings")


@pytest.mark.slow
@pytest.mark.skipif(bool(cluster.obstacle()), reason="Ray is not installed")
def test_a_node_of_the_cluster_is_lost(whole: Any, tmp_path: Path):
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args=small | {"include_dashboard": False})
    node = nodes.add_node(**small)
    try:
        changes = SETTINGS | {"training.steps": 1280, "training.evaluate_every": 64}
        folder, plan = open_sweep(plan_sweep("Hopper-v5", search=SEARCH, changes=changes, episodes=3), tmp_path)
        both = [folder.runs / "Hopper-v5" / f"trial-{number:04d}" / "checkpoints" for number in range(2)]

        def lose_a_node() -> None:
            end = time.monotonic() + 300
            while not all(list(path.glob("*")) for path in both) and time.monotonic() < end:
                time.sleep(0.05)
            nodes.remove_node(node, allow_graceful=False)

        thread = threading.Thread(target=lose_a_node)
        thread.start()
        with pytest.warns(RuntimeWarning, match="its training goes on from its last evaluation"):
            results = run_sweep(folder, plan, SweepOptions(4, new_seeds=0, address=nodes.address), Progress(quiet=True))
        thread.join()
    finally:
        nodes.shutdown()
    assert results["trials"] == {"complete": 4, "pruned": 0, "fail": 0, "running": 0}
    assert len(open_study(folder.journal).trials) == 4
    events = [[row["event"] for row in read_metrics(path.parent / "metrics.jsonl") if "event" in row] for path in both]
    assert sorted(events) == [["start", "finished"], ["start", "resume", "finished"]]


def test_a_lost_training_goes_on_from_the_files_of_its_last_report(whole: Any, tmp_path: Path):
    run = whole[0].runs / "Hopper-v5" / "trial-0000"
    order = Order("Hopper-v5/trial", (run / "recipe.toml").read_text(), 3, sweep._TRIAL_EPISODES)
    first = TrialRunner().begin(order)
    assert first.kind == "evaluated" and any(name.startswith("checkpoints/") for name in first.files)
    runner = TrialRunner()
    report = runner.begin(dataclasses.replace(order, files=first.files))
    while report.kind == "evaluated":
        report = runner.advance(True)
    assert report.kind == "finished"
    assert report.value == json.loads((run / "evaluation.json").read_text())["return"]["mean"]
    write_files(tmp_path, report.files)
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["event"] == "finished"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
