"""The public functions `surefoot.seeds`, `surefoot.sweep` and `surefoot.compare`."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from surefoot.errors import InputError, RunError, check_range, suggestion
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.overrides import parse_settings, setting_text
from surefoot.runs.folder import RunFolder
from surefoot.studies.folder import Callback, StudyFolder, is_study
from surefoot.studies.seeds import Order, open_study, run_seeds, with_seed
from surefoot.studies.sweep import SweepOptions, run_sweep
from surefoot.studies.sweep_plan import open_sweep, plan_sweep
from surefoot.tasks.registry import is_local, name_of, short_names
from surefoot.training.loop import Outcome
from surefoot.training.progress import Progress
from surefoot.training.warm_start.inheritance import make_recipe_from

_VARIANT = re.compile(r"\w[\w.+-]{0,59}")
# Settings that a study chooses by itself, and their options on the command line.
_INSTEAD = {"seed": "--first-seed and --n", "task": "RECIPE", "training.start_from": "--from"}


@dataclasses.dataclass(frozen=True)
class StudyOutcome:
    """Result of `seeds` or `sweep`.

    Attributes:
        folder: the study's folder; `folder.run_folders()` are its runs.
        reason: "finished", or "interrupted"; the same call continues an interrupted study.
        results: the contents of `results.json`; {} for interrupted seeds.
    """

    folder: StudyFolder
    reason: str
    results: dict[str, Any]

    @property
    def statistics(self) -> dict[str, Any]:
        """Held-out return over training seeds: `mean`, `sd`, `iqm`, `ci_low`, `ci_high`, `min`, `max`, `n`.

        Of a study with variants, by variant. Of a sweep, over new seeds: `best`, the best settings; `start`, the recipe
        that the sweep began with; and `probability_of_improvement`. {} if there are none yet.
        """
        if "variants" in self.results:
            return {name: figures["over_seeds"] for name, figures in self.results["variants"].items()}
        return self.results.get("over_seeds") or self.results.get("new_seeds") or {}

    @property
    def best_recipe(self) -> Path | None:
        """The recipe file with the best settings of a sweep, for `train`; None if there is none."""
        path = self.folder.path / "best.toml"
        return path if path.exists() else None


@dataclasses.dataclass(frozen=True)
class ComparisonOutcome:
    """Result of `compare`.

    Attributes:
        figures: the contents of the JSON file. `experiments` has for each experiment its `label`, `task`, `n` seeds,
            `iqm` with interval, `mean`, `worst`, `time_to_threshold`, `curves`; `improvement` the probability that a
            seed of one scores more than a seed of another.
        files: the files written.
    """

    figures: dict[str, Any]
    files: list[Path]


def seeds(
    recipe: str | gymnasium.Env | Callable[..., gymnasium.Env],
    n: int = 5,
    first_seed: int = 0,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    start_from: str | Path | None = None,
    episodes: int = 100,
    workers: int = 1,
    name: str | None = None,
    root: Path | str = "studies",
    progress: bool | Progress = True,
    callback: Callback | None = None,
    **settings: Any,
) -> StudyOutcome:
    """Train a recipe with several seeds, each in its own process, and evaluate each policy on held-out episodes.

    The same call continues a study that was stopped.

    Args:
        recipe: a recipe, a .toml file, or a task as in `train`; an environment or function must be part of a module.
        n: number of seeds.
        first_seed: the first of them.
        variants: for an ablation, settings that differ in each variant, by its name; all are trained with all seeds.
        start_from: run or policy file of a warm start; `{seed}` in it is the seed.
        episodes: held-out episodes of each policy.
        workers: seeds trained at a time; they share the cores.
        name: name of the study; None: recipe and algorithm.
        root: folder of all studies.
        progress: whether to show each seed on standard error.
        callback: called as `callback(seed, figures)` for every seed that is done; True stops the study.
        **settings: changes of the recipe, as in `train`.

    Raises:
        SurefootError: a name or a setting is wrong, or trainings failed.
    """
    place = _importable(recipe)
    check_range("n", n, 1, 1000, whole=True)
    check_range("first_seed", first_seed, 0, 100_000, whole=True)
    check_range("episodes", episodes, 1, 1_000_000, whole=True)
    check_range("workers", workers, 1, 1_000, whole=True)
    arguments = {"n": n, "first_seed": first_seed, "variants": variants, "start_from": start_from, "episodes": episodes}
    command = _call("seeds", place, arguments | {"name": name} | settings)
    source = None if start_from is None else os.fspath(start_from)
    texts = {variant: _texts(changes) for variant, changes in (variants or {}).items()}
    numbers = range(first_seed, first_seed + n)
    order, default = plan_seeds(place, numbers, episodes, _texts(settings), texts, source, command)
    folder = open_study(root, name or default, order)
    shown = progress if isinstance(progress, Progress) else Progress(quiet=not progress)
    results = run_seeds(folder, order, workers, shown.say, callback=callback)
    return StudyOutcome(folder, "interrupted" if results is None else "finished", results or {})


def sweep(
    task: str | Path | gymnasium.Env | Callable[..., gymnasium.Env] | None = None,
    recipe: str | None = None,
    space: str | Path | None = None,
    search: Sequence[str] = (),
    trials: int = 30,
    minutes: float | None = None,
    workers: int = 0,
    new_seeds: int = 5,
    on: str | None = None,
    name: str | None = None,
    root: Path | str = "studies",
    progress: bool | Progress = True,
    callback: Callback | None = None,
    objective: str | None = None,
    pareto: Sequence[str] = (),
    episodes: int | None = None,
    pruning: bool = True,
    sampler_seed: int | None = None,
    **settings: Any,
) -> StudyOutcome:
    """Search for better settings of a training with Optuna, then train with the best ones on new seeds.

    The same call continues a sweep that was stopped; so does the folder of the sweep as `task`.

    Args:
        task: as in `train`, or the folder of a sweep to continue; None: the task of the search space.
        recipe: recipe of all settings that are not searched; None: as in `train`.
        space: search space: a name, or a .toml file.
        search: settings to search, within the algorithm's ranges or their own limits.
        trials: number of trials in all.
        minutes: begin no trial after this time.
        workers: trials at a time; 0: one per core, as far as the memory reaches.
        new_seeds: training seeds for the best settings and for the recipe of the start.
        on: Ray cluster, as `--on` of the command; None: this machine, without Ray.
        name: name of the study.
        root: folder of all studies.
        progress: whether to show each trial on standard error; warnings are always shown.
        callback: called as `callback(trial, figures)` at the end of every trial; True stops the sweep. Figures are its
            "state" (complete, pruned or fail), "values" and "settings".
        objective: average of held-out returns to maximise, "mean" or "iqm"; None: mean.
        pareto: further objectives, "time" and "entropy", for a Pareto front.
        episodes: held-out episodes per trial; None: 100.
        pruning: whether trials with poor learning curves are stopped; not with `pareto`.
        sampler_seed: seed of the sampler; None: 0.
        **settings: settings that are the same in all trials, as in `train`.

    Raises:
        SurefootError: a name or a setting is wrong, Optuna is not installed, or the first trials all fail.
    """
    check_range("trials", trials, 1, 9_999, whole=True)
    check_range("workers", workers, 0, 1_000, whole=True)
    check_range("new_seeds", new_seeds, 0, 1_000, whole=True)
    changes = _dotted(settings)
    options = {"average": objective, "pareto": tuple(pareto), "episodes": episodes, "seed": sampler_seed}
    options = {key: value for key, value in options.items() if value not in (None, ())}
    options |= {} if pruning else {"pruning": False}
    place = task if task is None else _importable(task)
    if place is not None and is_study(Path(place)):
        given = {"recipe": recipe, "space": space, "search": search, "name": name} | options | changes
        if fixed := [key for key, value in given.items() if value not in (None, ())]:
            raise InputError(f"{fixed[0]}: the sweep in '{place}' keeps its settings; start another")
        plan = place
    else:
        file = None if space is None else os.fspath(space)
        plan = plan_sweep(place, recipe, file, tuple(search), changes, name, **options)
    folder, plan = open_sweep(plan, root)
    shown = progress if isinstance(progress, Progress) else Progress(quiet=not progress)
    results = run_sweep(folder, plan, SweepOptions(trials, minutes, workers, new_seeds, on), shown, callback)
    return StudyOutcome(folder, "interrupted" if results["interrupted"] else "finished", results)


def compare(
    *sources: str | Path | Outcome | StudyOutcome,
    threshold: float | None = None,
    output: Path | str | None = None,
    title: str | None = None,
    video: bool = True,
    root: Path | str = "runs",
    studies: Path | str = "studies",
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> ComparisonOutcome:
    """Compare runs and studies: learning curves, intervals over seeds, probability of improvement, films.

    Args:
        *sources: run folders, TASK/NAME, studies, files of `surefoot seeds --output`, or what `train`, `seeds` or
            `sweep` returned; a text may begin with `LABEL=`. Runs that differ only in the seed are one experiment.
        threshold: return to reach; None: that at which the task counts as solved.
        output: `.html` for a page with a `.json` and a `.png` beside it, or one of these; None: compare.html, of one
            study in its folder.
        title: title of the picture.
        video: whether the page contains films.
        root: folder of all runs.
        studies: folder of all studies.
        progress: called with a stage, its finished parts and all its parts.

    Raises:
        SurefootError: there is no such run or study, it was not evaluated, or a file cannot be written.
    """
    texts = [_place(source) for source in sources]
    command = _call("compare", *texts, {"threshold": threshold, "title": title})
    return compare_sources(texts, threshold, output, title, video, root, studies, command, progress)


def compare_sources(
    sources: Sequence[str],
    threshold: float | None,
    output: Path | str | None,
    title: str | None,
    video: bool,
    root: Path | str,
    studies: Path | str,
    command: str,
    progress: Callable[[str, int, int], None],
) -> ComparisonOutcome:
    """Compare runs and studies by their names; otherwise as `compare`. `command` is written into the files."""
    from surefoot.reports.media_files import output_path
    from surefoot.studies.compare import compare
    from surefoot.studies.experiments import find_sweeps, load_experiments
    from surefoot.studies.report import ENDINGS, write_comparison  # imports matplotlib and MuJoCo's renderer

    path = None if output is None else output_path(output, *ENDINGS)
    comparison = compare(load_experiments(sources, root, studies), threshold)
    sweeps = find_sweeps(sources, root, studies)
    path = path or _default_page(sources, studies)
    return ComparisonOutcome(*write_comparison(comparison, path, command, title, sweeps, video, progress))


def plan_seeds(
    recipe: str,
    seeds: Sequence[int],
    episodes: int,
    settings: Mapping[str, str | None],
    variants: Mapping[str, Mapping[str, str | None]],
    start_from: str | None,
    command: str,
) -> tuple[Order, str]:
    """Return the checked trainings of a study with several seeds, and the default name of the study.

    Args:
        recipe: a recipe, a .toml file, or a task.
        seeds: training seeds.
        episodes: held-out episodes of each policy.
        settings: texts of changed settings by dotted name; None: the value is missing.
        variants: the same for each variant, by its name.
        start_from: run or policy file of a warm start.
        command: the command line, for the file with the results.

    Raises:
        InputError: a name or a setting is wrong.
    """
    task, file = _task_and_recipe(recipe)
    source = None if start_from is None else _source(start_from, seeds[0])
    for name in variants:
        if not _VARIANT.fullmatch(name):
            raise InputError(f"a variant cannot be called {name!r}; choose letters, digits, _ . + -")
    algorithm = ""
    for variant in variants or ("",):
        texts = {**settings, **variants.get(variant, {})}
        changes = parse_settings({name: text and with_seed(text, seeds[0]) for name, text in texts.items()})
        for name, instead in _INSTEAD.items():
            if name in changes:
                raise InputError(f"--{name}: of 'seeds', use {instead}")
        if source is not None:
            changes["training.start_from"] = with_seed(source, seeds[0])
        algorithm = make_recipe_from(task, file, changes, "runs", Progress(quiet=True)).algorithm
    default = f"{Path(recipe).stem if file else task}-{algorithm}".replace(":", "-").replace("/", "-")
    known, *own = (_without_none(part) for part in (settings, *variants.values()))
    named = dict(zip(variants, own, strict=True))
    return Order(task, file, known, source, seeds, episodes, command, named), default


def _task_and_recipe(text: str) -> tuple[str, str | None]:
    """Return task and recipe of `RECIPE`: a task stands for its own recipe, or for the defaults.

    Raises:
        InputError: there is no such recipe or task.
    """
    if text in short_names() or ":" in text:
        return text, None
    if text in recipe_names() or text.endswith(".toml"):
        return load_recipe(text).task, text
    if text in gymnasium.registry:
        return text, None
    hint = suggestion(text, [*recipe_names(), *short_names()], command="surefoot list")
    raise InputError(f"no recipe or task '{text}'{hint}")


def _source(text: str, seed: int) -> str:
    """Return the path of a warm start's source: a path, or TASK/NAME under `runs`."""
    if Path(with_seed(text, seed)).exists():
        return text
    RunFolder.open(with_seed(text, seed), "runs")
    return str(Path("runs") / text)


def _importable(task: Any) -> str:
    """Return the name of a task that other processes can import, or a path.

    Raises:
        InputError: only this process knows the task.
    """
    text = os.fspath(task) if isinstance(task, str | os.PathLike) else name_of(task)
    if not isinstance(task, str | os.PathLike) and is_local(text):
        raise InputError(
            f"only this process knows the task '{text}', and the trainings of a study are others; define it in a "
            "module, and name it as 'module:name'"
        )
    return text


def _place(source: Any) -> str:
    """Return the path or the name of a source of `compare`."""
    if isinstance(source, Outcome | StudyOutcome):
        return str(source.folder.path)
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    raise InputError(
        f"{type(source).__name__} is neither a run nor a study; give a run folder, TASK/NAME, a study, a file of "
        "'surefoot seeds --output', or what surefoot.train, surefoot.seeds or surefoot.sweep returned"
    )


def _default_page(sources: Sequence[str], studies: Path | str) -> Path:
    """Return the default page: of one study in its folder, otherwise in the working directory."""
    if len(sources) == 1:
        with contextlib.suppress(RunError):
            return StudyFolder.open(sources[0].rpartition("=")[2], studies).page
    return Path("compare.html")


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in settings.items()}


def _without_none(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text is not None}


def _texts(settings: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: setting_text(value) for name, value in _dotted(settings).items()}


def _call(function: str, *arguments: Any) -> str:
    """Return a call as text; the last argument holds the keyword arguments, None where one is not given."""
    words = [repr(argument) for argument in arguments[:-1]]
    words += [f"{name}={value!r}" for name, value in arguments[-1].items() if value is not None]
    return f"surefoot.{function}({', '.join(words)})"
