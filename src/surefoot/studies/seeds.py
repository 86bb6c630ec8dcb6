"""One recipe, or several variants of it, trained with several seeds; each policy evaluated on held-out episodes.

Each training is its own process, `surefoot train`, timed from start to stop: imports, compilation, evaluations and
checkpoints included. A stopped study continues: unfinished runs are resumed, finished ones are not repeated.
"""

import dataclasses
import datetime
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import InputError, RunError, SurefootError
from surefoot.evaluation.statistics import summarise, summarise_seeds
from surefoot.machine import background_load, describe_machine
from surefoot.recipes.files import read_recipe
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.runs.versions import revision, versions
from surefoot.studies.folder import Callback, StudyFolder, write_json
from surefoot.studies.processes import (
    describe_split,
    split_cores,
    start_surefoot,
    stopped_at_the_end,
    wait_until_free,
)
from surefoot.training.interruption import stop_on_signals

KIND = "seeds"
_POLL_S = 0.2
_SAVING_S = 120.0  # the longest time that a training of an earlier session may take to save its checkpoint
_ENDS = ("finished", "solved")
# Settings of a study that do not change when it continues.
_FIXED = ("kind", "task", "recipe", "settings", "start_from", "episodes", "variants")

Progress = Callable[[str, int, int], None]
"""Called with a run, its environment steps so far, and all its steps."""


@dataclasses.dataclass(frozen=True)
class Order:
    """The trainings of a study.

    Attributes:
        task: task, as `surefoot train` takes it.
        recipe: name or file of a recipe; None: the task's own.
        settings: texts of changed settings by their dotted names; `{seed}` in them becomes the seed.
        start_from: run or policy file of a warm start, `{seed}` as above; None: none.
        seeds: training seeds.
        episodes: held-out episodes of each policy's evaluation.
        command: the command line, for the file with the results.
        variants: by name, texts of the settings that differ in each variant; {}: the settings above only.
    """

    task: str
    recipe: str | None
    settings: Mapping[str, str]
    start_from: str | None
    seeds: Sequence[int]
    episodes: int
    command: str
    variants: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    def train_words(self, seed: int, variant: str, root: Path) -> list[str]:
        """Return the command line, without `surefoot`, of one training; `variant` is "" without variants."""
        name = run_name(seed, variant)
        words = ["train", self.task, "--seed", str(seed), "--name", name, "--root", str(root), "--quiet"]
        words += ["--recipe", self.recipe] if self.recipe else []
        words += ["--from", with_seed(self.start_from, seed)] if self.start_from else []
        settings = {**self.settings, **self.variants.get(variant, {})}
        return words + [f"--{name}={with_seed(value, seed)}" for name, value in settings.items()]

    def description(self) -> dict[str, Any]:
        """Return the content of study.json."""
        data = {"kind": KIND} | dataclasses.asdict(self) | {"seeds": list(self.seeds)}
        return {name: value for name, value in data.items() if name != "variants" or value}


def run_name(seed: int, variant: str) -> str:
    """Return the name of a run."""
    return f"{variant}-seed-{seed}" if variant else f"seed-{seed}"


def variant_of(run: str) -> str:
    """Return the variant in the name of a run, "" if there is none."""
    return run.rpartition("seed-")[0].rstrip("-")


def with_seed(text: str, seed: int) -> str:
    """Return a text with `{seed}` replaced by the seed."""
    return text.replace("{seed}", str(seed))


def open_study(root: Path | str, name: str, order: Order) -> StudyFolder:
    """Make the folder of a study, or return that of an earlier session, its seeds added to the order's.

    Raises:
        RunError: the study exists with other settings, or the name cannot be a folder's.
    """
    folder, description = StudyFolder(Path(root) / name), order.description()
    if not folder.description.exists():
        return StudyFolder.create(root, name, description)
    earlier = folder.read()
    changed = [key for key in _FIXED if earlier.get(key) != json.loads(json.dumps(description.get(key)))]
    if changed:
        was, now = (json.dumps(x.get(changed[0])) for x in (earlier, description))
        raise RunError(
            f"study '{folder.path}' exists with {changed[0]} = {was}, not {now}; choose another one with --name"
        )
    folder.write(description | {"seeds": sorted({*earlier["seeds"], *order.seeds})})
    return folder


def run_seeds(
    folder: StudyFolder,
    order: Order,
    workers: int = 1,
    say: Callable[[str], object] = lambda _: None,
    progress: Progress = lambda *_: None,
    callback: Callback | None = None,
) -> dict[str, Any] | None:
    """Train and evaluate all seeds of a study that are not done yet.

    Args:
        folder: from `open_study`.
        order: the trainings; their seeds are those of the study's description.
        workers: number of seeds trained at a time; the cores are divided among them.
        say: called with a line at the start, and for each seed that is done.
        progress: called as the trainings proceed.
        callback: called as `callback(seed, figures)` for each seed that is done; True stops the study.

    Returns:
        The figures, as they are in results.json; None: interrupted.

    Raises:
        InputError: a setting is wrong, or there are fewer cores than workers.
        RunError: another process continues this study.
        SurefootError: trainings failed; the others are done.
    """
    shares = split_cores(workers)
    with folder.lock():
        load = background_load()
        seeds = folder.read()["seeds"]
        order = dataclasses.replace(order, seeds=seeds)
        count = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
        each = f" of {len(order.variants)} variants" if order.variants else ""
        say(f"{count}{each} of '{order.task}' in {folder.path}, {describe_split(shares)}")
        if load is not None and load > 0.1:
            say(f"other programs use {load:.0%} of this machine; training times will be too long")
        # Seed by seed, so that an interrupted study has as many of each variant.
        jobs = [_Job(folder, order, seed, variant) for seed in seeds for variant in order.variants or ("",)]
        if not _run_all(jobs, shares, say, progress, callback):
            return None
        results = _results(order, jobs, say) | {"workers": workers}
        machine = describe_machine() | {"background_load": load}
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        origin = {"command": order.command, "date": date, "commit": revision(), "machine": machine}
        results = origin | {"versions": versions()} | results
        write_json(folder.results, results)
        return results


class _Job:
    """One seed: a training, then an evaluation."""

    def __init__(self, study: StudyFolder, order: Order, seed: int, variant: str) -> None:
        self.seed, self.variant = seed, variant
        self.label = f"{variant}, seed {seed}" if variant else f"seed {seed}"
        self._order, self._root = order, study.runs
        self._times = study.path / "times.jsonl"  # durations of whole trainings, one per line
        self._began: float | None = None  # start of a whole training
        self._was_evaluated = False

    @property
    def folder(self) -> RunFolder | None:
        """The run's folder, None before its start."""
        paths = list(self._root.glob(f"*/{run_name(self.seed, self.variant)}"))
        return RunFolder(paths[0]) if paths else None

    def next_words(self) -> list[str] | None:
        """Return the next command line, None if the seed is done."""
        folder = self.folder
        self._began = None
        if folder is not None:
            wait_until_free(folder, _SAVING_S)
            if not any(folder.checkpoints.glob("*")):  # killed before its first checkpoint, so there is nothing in it
                shutil.rmtree(folder.path)
                folder = None
        if folder is None:
            self._began = time.monotonic()
            return self._order.train_words(self.seed, self.variant, self._root)
        if not has_ended(folder):
            return ["resume", str(folder.path), "--quiet"]
        if not is_evaluated(folder, self._order.episodes):
            if self._was_evaluated:
                raise SurefootError(f"'{folder.evaluation}' was not written; is the disk full?")
            self._was_evaluated = True
            return ["evaluate", str(folder.path), "--json", f"--episodes={self._order.episodes}"]
        return None

    def ended(self) -> None:
        """Note the duration of a whole training, start and stop of its process included."""
        if self._began is not None:
            line = {"seed": self.seed, "variant": self.variant, "seconds": time.monotonic() - self._began}
            with self._times.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def steps(self) -> tuple[int, int]:
        """Return the steps so far and in all."""
        folder = self.folder
        try:
            return (_last_step(folder), read_recipe(folder.recipe).training.steps) if folder else (0, 0)
        except (OSError, SurefootError):  # it is being written
            return 0, 0

    def result(self) -> dict[str, Any]:
        """Return the figures of this seed."""
        folder = self.folder
        assert folder is not None
        rows = [row for row in read_metrics(folder.metrics) if "seconds" in row and "event" not in row]
        evaluation = json.loads(folder.evaluation.read_bytes())
        lines = self._times.read_text().splitlines() if self._times.exists() else []
        known = [time for time in map(json.loads, lines) if time.get("variant", "") == self.variant]
        times = [time["seconds"] for time in known if time["seed"] == self.seed]
        return {
            "seed": self.seed,
            "recipe": read_recipe(folder.recipe).name,
            "steps": rows[-1]["step"],
            # A resumed training has only the time in its metrics.
            "training_seconds": round(times[-1] if times else rows[-1]["seconds"], 1),
            "return": evaluation["return"],
            "length": evaluation["length"],
            "falls": evaluation["falls"],
            "evaluation_seeds": evaluation["seeds"],
            "curve": [
                [row["step"], row["seconds"], row["evaluation/return"]]
                for row in rows
                if row.get("evaluation/return") is not None
            ],
            "returns": evaluation["returns"],
        }


def has_ended(folder: RunFolder) -> bool:
    """Whether a run has made all its steps or solved its task."""
    if not folder.metrics.exists():
        return False
    events = [row["event"] for row in read_metrics(folder.metrics) if "event" in row]
    return events[-1:] != [] and events[-1] in _ENDS


def is_evaluated(folder: RunFolder, episodes: int) -> bool:
    """Whether evaluation.json holds the run's best policy over this number of held-out episodes."""
    try:
        result = json.loads(folder.evaluation.read_bytes())
        newer = folder.evaluation.stat().st_mtime >= folder.find_policy().stat().st_mtime
        return newer and (result["episodes"], result["which"]) == (episodes, folder.find_policy().stem)
    except (OSError, ValueError, LookupError, TypeError, SurefootError):
        return False


def _run_all(
    jobs: Iterable["_Job"],
    shares: Sequence[list[int]],
    say: Callable[[str], object],
    progress: Progress,
    callback: Callback | None,
) -> bool:
    """Run the commands of all jobs; return False if interrupted.

    Raises:
        SurefootError: commands failed.
    """
    waiting, free = list(jobs), list(shares)
    running: dict[subprocess.Popen[bytes], tuple[_Job, list[int]]] = {}
    failed: list[str] = []
    stop = threading.Event()
    with stopped_at_the_end(running), stop_on_signals(stop, lambda: None):
        while running or (waiting and not stop.is_set()):
            while waiting and free and not stop.is_set():
                words = waiting[0].next_words()
                if words is None:
                    if _show(waiting.pop(0), say, callback) and (waiting or running):
                        stop.set()
                    continue
                cores = free.pop(0)
                running[start_surefoot(words, cores)] = waiting.pop(0), cores
            time.sleep(_POLL_S)
            if stop.is_set():
                for process in running:
                    process.terminate()
            for process in [process for process in running if process.poll() is not None]:
                job, cores = running.pop(process)
                free.append(cores)
                if process.returncode == 0:
                    job.ended()
                    waiting.insert(0, job)  # for its evaluation, or for its line
                elif not stop.is_set():
                    failed.append(f"{job.label} (status {process.returncode})")
                    if process.returncode == 2:
                        raise InputError(f"{job.label} was not trained, for the reason above")
            for job, _ in running.values():
                progress(job.label, *job.steps())
    if failed:
        raise SurefootError(
            f"{', '.join(failed)} failed, for the reasons above; the same command tries again, without repeating others"
        )
    return not stop.is_set()


def _last_step(folder: RunFolder) -> int:
    """Return the step of the last complete line of a run's metrics."""
    with folder.metrics.open("rb") as file:
        file.seek(max(0, folder.metrics.stat().st_size - 8192))
        lines = file.read().split(b"\n")[:-1]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def _check_equal(jobs: Sequence[_Job], say: Callable[[str], object]) -> None:
    """Warn if the seeds differ in other settings: a recipe may have changed between two sessions."""
    recipes = {}
    for job in jobs:
        assert job.folder is not None
        recipe = read_recipe(job.folder.recipe)
        data = recipe.model_dump(mode="json", exclude={"seed"})
        data["training"].pop("start_from")
        recipes.setdefault(json.dumps(data, sort_keys=True), []).append(str(job.seed))
    if len(recipes) > 1:
        groups = "; ".join(", ".join(seeds) for seeds in recipes.values())
        say(f"warning: the seeds were trained with different settings (seeds {groups}): a recipe has changed")


def _results(order: Order, jobs: Sequence[_Job], say: Callable[[str], object]) -> dict[str, Any]:
    """Return the figures over seeds; with variants, those of each by its name."""
    figures = {}
    for variant in order.variants or ("",):
        own = [job for job in jobs if job.variant == variant]
        _check_equal(own, say)
        seeds = [job.result() for job in own]
        returns = [np.array(seed.pop("returns")) for seed in seeds]
        figures[variant] = {
            "over_seeds": summarise_seeds(returns),
            "training_seconds": summarise([seed["training_seconds"] for seed in seeds]),
            "seeds": seeds,
        }
    origin = {"task": order.task, "recipe": jobs[0].result()["recipe"]}
    return origin | ({"variants": figures} if order.variants else figures[""])


def _show(job: _Job, say: Callable[[str], object], callback: Callback | None) -> bool:
    """Show the result of a job; return whether the callback stops the study."""
    result = job.result()
    figures, falls = result["return"], "" if result["falls"] is None else f", falls {result['falls']}"
    say(
        f"{job.label}: {result['steps']:,} steps in {result['training_seconds']:.0f} s; return "
        f"{figures['mean']:.1f} [{figures['ci_low']:.1f}, {figures['ci_high']:.1f}]{falls}"
    )
    return callback is not None and bool(callback(job.seed, result | {"variant": job.variant or None}))
