"""The public face: what `import surefoot` offers."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium

from surefoot.errors import PolicyFileError, RunError
from surefoot.evaluation.evaluate import evaluate_policy, evaluate_run
from surefoot.files import atomic_write
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import dump_recipe
from surefoot.recipes.make import make_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.folder import RunFolder
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import find_task
from surefoot.training import loop
from surefoot.training.loop import Outcome
from surefoot.training.progress import Progress
from surefoot.training.warm_start.inherited_settings import plan
from surefoot.training.warm_start.source import load_source


def train(
    task: str,
    recipe: str | None = None,
    name: str | None = None,
    root: Path | str = "runs",
    progress: Progress | None = None,
    **settings: Any,
) -> Outcome:
    """Train a policy and keep everything in a run folder.

    Args:
        task: a short name ("half-cheetah") or any Gymnasium id.
        recipe: the name of a recipe that comes with Surefoot, or the path of a TOML file; None takes the task's own.
        name: the run's name; None makes one.
        root: the folder of all runs.
        progress: where to show how it goes; None shows only warnings.
        **settings: changes, dots written as two underscores: `ppo__clip_eps=0.1, seed=3`.

    Raises:
        SurefootError: a wrong name or setting, or the training failed.
    """
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    progress = progress or Progress(quiet=True)
    return train_recipe(make_recipe_from(task, recipe, changes, root, progress), name, root, progress)


def train_recipe(
    recipe: Recipe, name: str | None = None, root: Path | str = "runs", progress: Progress | None = None
) -> Outcome:
    """Train by a complete recipe; the rest as `train`."""
    with _new_folder(recipe, name, root) as folder:
        return loop.train(recipe, folder, progress)


def resume(
    run: str | Path, root: Path | str = "runs", progress: Progress | None = None, steps: int | None = None
) -> Outcome:
    """Go on with a run from its newest checkpoint, until so many environment steps if that is given."""
    return loop.resume(RunFolder.open(str(run), root), progress, steps)


def evaluate(run: str | Path, episodes: int = 100, root: Path | str = "runs", **options: Any) -> dict[str, Any]:
    """Judge the policy of a run, or of a policy file, on fresh episodes; see `reports.evaluation`."""
    if os.path.isfile(run):
        return evaluate_policy(load_policy(run), episodes=episodes, **options)
    return evaluate_run(RunFolder.open(str(run), root), episodes=episodes, **options)


def report(
    run: str | Path,
    episodes: int = 50,
    which: str = "policy",
    output: Path | str | None = None,
    root: Path | str = "runs",
    **options: Any,
) -> list[Path]:
    """Make the page of a run, or of a policy file, and return the files written; see `reports.report`."""
    from surefoot.reports.report import report_policy, report_run  # with them comes all that draws

    options |= {"output": None if output is None else Path(output), "episodes": episodes}
    if os.path.isfile(run):
        return report_policy(run, **options)
    return report_run(RunFolder.open(str(run), root), which, **options)


def load(path: str | Path) -> Policy:
    """Read a policy from its file, or the best one of a run folder.

    Raises:
        PolicyFileError: there is none, or it is not one.
    """
    path = Path(path)
    return load_policy(RunFolder(path).policy_file if path.is_dir() else path)


def make(
    task: str, num_envs: int = 1, engine: str = "auto", threads: int = 0, **options: Any
) -> gymnasium.vector.VectorEnv:
    """Make copies of a task as a Gymnasium vector environment, by the fastest engine that knows it."""
    return make_engine(engine, find_task(task, options), num_envs, threads)


def make_recipe_from(
    task: str, recipe: str | None, changes: dict[str, Any], root: Path | str, progress: Progress
) -> Recipe:
    """Return the complete recipe of a training, including the settings inherited at a warm start.

    Those are the form of the networks, the observation wrappers, and, if neither a recipe nor an algorithm is named,
    the algorithm; `changes` go first. `progress` shows them.

    Raises:
        InputError: a name or a value is wrong; or the source of the warm start is missing or does not fit.
    """
    own = make_recipe(task, recipe, changes)
    if "training.start_from" not in changes or not own.training.start_from:
        return own
    source = load_source(own.training.start_from, root, progress.warn)
    complete, inherited = plan(source, own, recipe, changes)
    if inherited:
        progress.say(f"as in {source.name}: {inherited}")
    return complete


@contextlib.contextmanager
def _new_folder(recipe: Recipe, name: str | None, root: Path | str) -> Iterator[RunFolder]:
    """Make the folder of a new run with its recipe; take it away again if nothing is left that could be resumed."""
    root = Path(root)
    existed = next((path for path in (root, *root.parents) if path.exists()), None)
    folder = RunFolder.create(root, recipe.task, name, f"{recipe.algorithm}-seed{recipe.seed}")
    try:
        try:
            atomic_write(folder.recipe, dump_recipe(recipe).encode())
        except OSError as error:
            raise RunError(f"cannot write '{folder.recipe}': {error.strerror}") from error
        yield folder
    except BaseException:
        if not folder.checkpoints.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
            for path in folder.path.parents:
                if path == existed:
                    break
                with contextlib.suppress(OSError):  # other runs are in it
                    path.rmdir()
        raise


__all__ = [
    "PolicyFileError",
    "evaluate",
    "load",
    "make",
    "make_recipe",
    "make_recipe_from",
    "report",
    "resume",
    "train",
    "train_recipe",
]
