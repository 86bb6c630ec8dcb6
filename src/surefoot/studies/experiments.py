"""The experiments of a comparison, runs that differ only in the seed: from runs, studies, and files with results."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import InputError, RunError
from surefoot.recipes.files import load_recipe, read_recipe, recipe_names
from surefoot.recipes.recipe import Recipe
from surefoot.reports.curves import experiment_labels
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.studies.folder import StudyFolder, is_study
from surefoot.studies.seeds import variant_of
from surefoot.tasks.catalogue import find_task

EVALUATION = "evaluation/return"
# Settings that do not change what is learned.
_UNCOMPARED = ("seed", "name", "description", "training.start_from", "training.trackers")


@dataclasses.dataclass(frozen=True, eq=False)
class SeedRun:
    """One training.

    Attributes:
        name: name of the run.
        seed: its training seed.
        steps: environment steps of its evaluations during training, (E,).
        seconds: training time of these, (E,).
        returns: their mean returns, (E,).
        total_steps: environment steps of the whole training.
        total_seconds: its time.
        score: mean return over held-out episodes; None if it was not evaluated.
        episodes: number of those episodes.
        falls: falls in them; None if unknown.
        folder: run folder; None if only a file with results is left.
    """

    name: str
    seed: int
    steps: np.ndarray
    seconds: np.ndarray
    returns: np.ndarray
    total_steps: int
    total_seconds: float
    score: float | None
    episodes: int
    falls: int | None
    folder: RunFolder | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """Runs that differ only in the seed.

    Attributes:
        label: its name in tables and legends.
        task: the task.
        algorithm: the algorithm, "" if unknown.
        runs: the runs, by seed.
        threshold: return at which the task counts as solved, None if there is none.
        settings: settings by their dotted names; {} if unknown.
    """

    label: str
    task: str
    algorithm: str
    runs: Sequence[SeedRun]
    threshold: float | None
    settings: dict[str, Any]


def load_experiments(sources: Iterable[str], root: Path | str, studies: Path | str) -> list[Experiment]:
    """Read experiments.

    Args:
        sources: run folders, TASK/NAME, studies, or files of `surefoot seeds --output`; `LABEL=` may precede each. Runs
            without a label whose recipes differ only in the seed are one experiment.
        root: folder of all runs.
        studies: folder of all studies.

    Raises:
        InputError: there is no such run, study or file, or it holds no evaluation.
    """
    experiments: list[Experiment] = []
    folders: list[tuple[str | None, RunFolder]] = []
    for text in sources:
        label, place = _split_label(text, root, studies)
        if place.endswith(".json") and Path(place).is_file():
            experiments += _from_file(Path(place), label)
        elif (path := _study_path(place, studies)) is not None:
            study = StudyFolder(path)
            runs = study.run_folders()
            if not runs:
                raise RunError(f"study '{study.path}' has no runs yet")
            if study.read()["kind"] == "sweep":
                named = _confirmations(runs).items()
            else:
                named = ((name, same) for name, own in _by_variant(runs).items() for same in _by_settings(own))
            for name, same in named:
                experiments.append(_from_folders(_joined(label, name) or path.name, same))
        else:
            folders.append((label, RunFolder.open(place, root)))
    plain = iter(experiment_labels([folder for label, folder in folders if label is None]))
    labelled: dict[tuple[str, str], list[RunFolder]] = {}
    for label, folder in folders:
        key = label if label is not None else next(plain), read_recipe(folder.recipe).task
        labelled.setdefault(key, []).append(folder)
    experiments += [_from_folders(label, runs) for (label, _), runs in labelled.items()]
    if not experiments:
        raise InputError("there is nothing to compare; name at least one run or study")
    return _with_distinct_labels(experiments)


def find_sweeps(sources: Iterable[str], root: Path | str, studies: Path | str) -> list[StudyFolder]:
    """Return the sweeps among the sources of `load_experiments`."""
    paths = (_study_path(_split_label(text, root, studies)[1], studies) for text in sources)
    folders = [StudyFolder(path) for path in paths if path is not None]
    return [folder for folder in folders if folder.read()["kind"] == "sweep"]


def _confirmations(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """Return the runs of a sweep that repeat settings with new seeds, by what they repeat: "trial 12", "start".

    Trials have one seed each, and the best of many is flattered. Without repeated settings: the trial with the best
    return.
    """
    repeated: dict[str, list[RunFolder]] = {}
    for run in runs:
        settings, _, seed = run.path.name.partition("-seed")
        if seed:
            repeated.setdefault(_settings_name(settings), []).append(run)
    if repeated:
        return repeated
    evaluated = {}
    for run in runs:
        rows = read_metrics(run.metrics) if run.metrics.exists() else []
        if returns := [row[EVALUATION] for row in rows if row.get(EVALUATION) is not None]:
            evaluated[run] = max(returns)
    if not evaluated:
        raise RunError("no trial of the sweep was evaluated yet")
    best = max(evaluated, key=lambda run: evaluated[run])
    return {_settings_name(best.path.name): [best]}


def _by_variant(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """Return the runs of a study with several seeds by their variant, "" without variants."""
    variants: dict[str, list[RunFolder]] = {}
    for run in runs:
        variants.setdefault(variant_of(run.path.name), []).append(run)
    return variants


def _joined(label: str | None, name: str) -> str:
    """Return the label of a part of a study, "" if it has neither a label nor a name."""
    return ", ".join(part for part in (label, name) if part)


def _settings_name(text: str) -> str:
    """Return "trial 12" for "trial-0012"."""
    return re.sub(r"^trial-0*(?=\d)", "trial ", text)


def _split_label(text: str, root: Path | str, studies: Path | str) -> tuple[str | None, str]:
    """Return the label, if there is one, and the rest; the names of runs and files may contain "=", too."""
    label, equals, rest = text.partition("=")
    exists = Path(text).exists() or (Path(root) / text).exists() or _study_path(text, studies) is not None
    return (label, rest) if equals and label and rest and not exists else (None, text)


def _study_path(text: str, studies: Path | str) -> Path | None:
    return next((path for path in (Path(text), Path(studies) / text) if text and is_study(path)), None)


def _by_settings(folders: Sequence[RunFolder]) -> Iterator[list[RunFolder]]:
    """Yield the runs with equal settings."""
    groups: dict[str, list[RunFolder]] = {}
    for folder in folders:
        settings = compared_settings(read_recipe(folder.recipe))
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(folder)
    yield from groups.values()


def _with_distinct_labels(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Number experiments with the same label and task."""
    seen: dict[tuple[str, str], int] = {}
    result = []
    for experiment in experiments:
        key = experiment.label, experiment.task
        seen[key] = number = seen.get(key, 0) + 1
        label = experiment.label if number == 1 else f"{experiment.label} ({number})"
        result.append(dataclasses.replace(experiment, label=label))
    return result


def compared_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of a recipe by their dotted names, without the seed and texts."""
    data = recipe.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in _flat(data) if name not in _UNCOMPARED}


def _flat(data: dict[str, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{parent}{name}.")
        else:
            yield parent + name, value


def _from_folders(label: str, folders: Sequence[RunFolder]) -> Experiment:
    recipe = read_recipe(folders[0].recipe)
    runs = sorted((_run_of(folder) for folder in folders), key=lambda run: (run.seed, run.name))
    settings = compared_settings(recipe)
    return Experiment(label, recipe.task, recipe.algorithm, runs, _threshold(recipe, folders), settings)


def _threshold(recipe: Recipe, folders: Sequence[RunFolder]) -> float | None:
    """Return the return at which the task counts as solved."""
    evaluations = [read_evaluation(folder) for folder in folders]
    known = next((evaluation for evaluation in evaluations if evaluation is not None), None)
    if known is not None:
        return known.get("reward_threshold")
    return find_task(recipe.task, recipe.full_task_options).reward_threshold


def read_evaluation(folder: RunFolder) -> dict[str, Any] | None:
    """Return the evaluation of a run's best policy on held-out episodes; None if there is none, or an older one.

    Raises:
        RunError: the file is damaged.
    """
    if not folder.evaluation.exists():
        return None
    try:
        result = json.loads(folder.evaluation.read_bytes())
        float(result["return"]["mean"])
        best = folder.policy_file
        is_newer = not best.exists() or folder.evaluation.stat().st_mtime >= best.stat().st_mtime
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunError(
            f"'{folder.evaluation}' is damaged; write it again with: surefoot evaluate {folder.path}"
        ) from error
    return result if is_newer and result.get("which") == "policy" else None


def _run_of(folder: RunFolder) -> SeedRun:
    rows = [row for row in read_metrics(folder.metrics) if "seconds" in row and "event" not in row]
    points = [(row["step"], row["seconds"], row[EVALUATION]) for row in rows if row.get(EVALUATION) is not None]
    evaluation = read_evaluation(folder) or {}
    score = evaluation.get("return", {}).get("mean")
    if not points and score is None:
        raise RunError(f"run '{folder.path}' was not evaluated yet; train it longer, or use: surefoot evaluate")
    return SeedRun(
        folder.path.name,
        read_recipe(folder.recipe).seed,
        *_columns(points),
        rows[-1]["step"] if rows else 0,
        rows[-1]["seconds"] if rows else 0.0,
        score,
        evaluation.get("episodes", 0),
        evaluation.get("falls"),
        folder,
    )


def _columns(points: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = np.array(points, float).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def _from_file(path: Path, label: str | None) -> list[Experiment]:
    """Read a file of `surefoot seeds --output`: one experiment, or one for each variant."""
    try:
        data = json.loads(path.read_bytes())
        runs = {name: _runs_of(part) for name, part in data.get("variants", {"": data}).items()}
        task, recipe = str(data["task"]), str(data["recipe"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"'{path}' holds no results of 'surefoot seeds'") from error
    algorithm = load_recipe(recipe).algorithm if recipe in recipe_names() else ""
    # A file may not import a module, as the name of a user's task would.
    threshold = None if ":" in task else find_task(task).reward_threshold
    return [
        Experiment(_joined(label, name) or path.stem, task, algorithm, own, threshold, {}) for name, own in runs.items()
    ]


def _runs_of(data: dict[str, Any]) -> list[SeedRun]:
    return [
        SeedRun(
            f"seed-{seed['seed']}",
            int(seed["seed"]),
            *_columns(seed["curve"]),
            int(seed["steps"]),
            float(seed["training_seconds"]),
            float(seed["return"]["mean"]),
            int(seed["return"]["n"]),
            seed["falls"],
        )
        for seed in data["seeds"]
    ]
