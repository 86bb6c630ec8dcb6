"""The public functions of `import surefoot`."""

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
    """Train a policy in a new run folder.

    Args:
        task: a short name such as "half-cheetah", a Gymnasium id, or "module:Class" of a subclass of `Task`.
        recipe: name of a tuned recipe, or path of a TOML file; None: the task's own recipe, or the defaults.
        name: name of the run; None: made from the algorithm and the seed.
        root: folder of all runs.
        progress: receives progress and warnings; None: prints only warnings.
        **settings: changes of the recipe, with two underscores for each dot: `ppo__clip_eps=0.1, seed=3`.

    Returns:
        The run folder, the counters, and why the training ended.

    Raises:
        SurefootError: a name or a setting is wrong, or the training failed.
    """
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    progress = progress or Progress(quiet=True)
    return train_recipe(make_recipe_from(task, recipe, changes, root, progress), name, root, progress)


def train_recipe(
    recipe: Recipe, name: str | None = None, root: Path | str = "runs", progress: Progress | None = None
) -> Outcome:
    """Train with a complete recipe; otherwise as `train`."""
    with _new_folder(recipe, name, root) as folder:
        return loop.train(recipe, folder, progress)


def resume(
    run: str | Path, root: Path | str = "runs", progress: Progress | None = None, steps: int | None = None
) -> Outcome:
    """Continue a run from its newest checkpoint, up to `steps` environment steps in total if given.

    Raises:
        SurefootError: there is no such run, or the training failed.
    """
    return loop.resume(RunFolder.open(str(run), root), progress, steps)


def evaluate(run: str | Path, episodes: int = 100, root: Path | str = "runs", **options: Any) -> dict[str, Any]:
    """Evaluate the policy of a run, or a policy file, on held-out episodes.

    Args:
        run: run folder, TASK/NAME, or policy file.
        episodes: number of episodes.
        root: folder of all runs.
        **options: as in `evaluation.evaluate.evaluate_policy` and `evaluate_run`.

    Returns:
        Statistics of returns and lengths, falls, seeds and all returns, as plain data.

    Raises:
        SurefootError: there is no such run or policy, or an option is wrong.
    """
    if os.path.isfile(run):
        return evaluate_policy(load_policy(run), episodes=episodes, run=Path(run).name, **options)
    return evaluate_run(RunFolder.open(str(run), root), episodes=episodes, **options)


def report(
    run: str | Path,
    episodes: int = 50,
    which: str = "policy",
    output: Path | str | None = None,
    root: Path | str = "runs",
    **options: Any,
) -> list[Path]:
    """Make the gait report of a run or of a policy file.

    Args:
        run: run folder, TASK/NAME, or policy file.
        episodes: number of recorded episodes.
        which: "policy", the best by the evaluations during training, or "last".
        output: the page, `.html`; None: in the run folder.
        root: folder of all runs.
        **options: `seed`, `video`, `progress` and `task_options` of `reports.report.report_run`.

    Returns:
        Paths of the HTML page and of the JSON file.

    Raises:
        SurefootError: there is no such run or policy, or an option is wrong.
    """
    from surefoot.reports.report import report_policy, report_run  # imports matplotlib

    options |= {"output": None if output is None else Path(output), "episodes": episodes}
    if os.path.isfile(run):
        return report_policy(run, **options)
    return report_run(RunFolder.open(str(run), root), which, **options)


def load(path: str | Path) -> Policy:
    """Load a policy file, or the best policy of a run folder.

    Raises:
        PolicyFileError: there is no policy, or the file is not a valid one.
    """
    path = Path(path)
    return load_policy(RunFolder(path).policy_file if path.is_dir() else path)


def make(
    task: str, num_envs: int = 1, engine: str = "auto", threads: int = 0, **options: Any
) -> gymnasium.vector.VectorEnv:
    """Make a Gymnasium vector environment of a task.

    Args:
        task: a short name or a Gymnasium id.
        num_envs: number of environments.
        engine: "auto" for the fastest engine that supports the task, or its name.
        threads: threads or worker processes; 0: one per CPU.
        **options: options of the task.

    Raises:
        InputError: there is no such task, option or engine.
    """
    return make_engine(engine, find_task(task, options), num_envs, threads)


def make_recipe_from(
    task: str, recipe: str | None, changes: dict[str, Any], root: Path | str, progress: Progress
) -> Recipe:
    """Return the complete recipe of a training, including the settings inherited at a warm start.

    Those are the shape of the networks, the observation wrappers, and, if neither a recipe nor an algorithm is given,
    the algorithm. `changes` take precedence; `progress` reports the inherited settings.

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
    """Create the folder of a new run with its recipe; remove it after a failure before the first checkpoint."""
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
                with contextlib.suppress(OSError):  # it contains other runs
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
