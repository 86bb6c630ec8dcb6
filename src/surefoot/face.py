"""The public face: what `import surefoot` offers."""

from pathlib import Path
from typing import Any

import gymnasium

from surefoot.errors import InputError, PolicyFileError
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import default_recipe, load_recipe
from surefoot.recipes.settings import Recipe, replaced
from surefoot.reports.evaluation import evaluate_policy, evaluate_run
from surefoot.runs.folder import RunFolder
from surefoot.settings import validate
from surefoot.simulation.choose import make_engine
from surefoot.tasks.catalogue import find_task
from surefoot.training import loop
from surefoot.training.loop import Outcome
from surefoot.training.progress import Progress


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
        **settings: changes, dots written as two underscores: `ppo__clip=0.1, seed=3`.

    Raises:
        SurefootError: a wrong name or setting, or the training failed.
    """
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    complete = make_recipe(task, recipe, changes)
    folder = start_folder(complete, name, root)
    return loop.train(complete, folder, progress)


def resume(run: str | Path, root: Path | str = "runs", progress: Progress | None = None) -> Outcome:
    """Go on with a run from its newest checkpoint."""
    return loop.resume(RunFolder.open(str(run), root), progress)


def evaluate(run: str | Path, episodes: int = 100, root: Path | str = "runs", **options: Any) -> dict[str, Any]:
    """Judge the policy of a run, or of a policy file, on fresh episodes; see `reports.evaluation`."""
    if Path(run).is_file():
        return evaluate_policy(load_policy(run), episodes=episodes, **options)
    return evaluate_run(RunFolder.open(str(run), root), episodes=episodes, **options)


def load(path: str | Path) -> Policy:
    """Read a policy from its file, or the best one of a run folder.

    Raises:
        PolicyFileError: there is none, or it is not one.
    """
    path = Path(path)
    return load_policy(RunFolder(path).policy_file if path.is_dir() else path)


def make(
    task: str, copies: int = 1, engine: str = "auto", threads: int = 0, **options: Any
) -> gymnasium.vector.VectorEnv:
    """Make copies of a task as a Gymnasium vector environment, by the fastest engine that knows it."""
    return make_engine(engine, find_task(task, options), copies, threads)


def make_recipe(task: str, recipe: str | None, changes: dict[str, Any]) -> Recipe:
    """Put together the complete recipe of a training.

    Raises:
        InputError: a wrong name or value.
    """
    info = find_task(task)
    algorithm = changes.get("algorithm", "ppo")
    base = load_recipe(recipe) if recipe else default_recipe(info.name, algorithm)
    base_info = find_task(base.task, base.task_options)
    if base_info.id != info.id:
        raise InputError(f"recipe '{base.name}' is for task '{base.task}', not '{task}'")
    complete = validate(Recipe, replaced(base, changes), "settings")
    find_task(complete.task, complete.task_options)
    return complete


def start_folder(recipe: Recipe, name: str | None, root: Path | str) -> RunFolder:
    """Make the folder of a new run and write its recipe into it."""
    from surefoot.files import atomic_write
    from surefoot.recipes.files import dump_recipe

    folder = RunFolder.create(root, recipe.task, name, f"{recipe.algorithm}-seed{recipe.seed}")
    atomic_write(folder.recipe, dump_recipe(recipe).encode())
    return folder


__all__ = ["PolicyFileError", "evaluate", "load", "make", "make_recipe", "resume", "start_folder", "train"]
