"""The public functions of `import surefoot`."""

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from surefoot.errors import FolderLostError, InputError, RunError, check_range
from surefoot.evaluation.episodes import EVALUATION_SEEDS, MAX_SEED
from surefoot.evaluation.evaluate import evaluate_policy, evaluate_run, read_evaluation
from surefoot.files import atomic_write
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import dump_recipe, read_recipe
from surefoot.recipes.make import make_recipe as make_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.runs.trackers import make_trackers
from surefoot.simulation.factory import make_engine
from surefoot.simulation.stable_baselines import as_vec_env
from surefoot.tasks.catalogue import find_policy_task, find_task
from surefoot.tasks.registry import is_local, name_of, resolve
from surefoot.tasks.wrappers import wrapper_options
from surefoot.training import loop
from surefoot.training.loop import Callback, Outcome
from surefoot.training.progress import Progress
from surefoot.training.warm_start.inheritance import make_recipe_from


def train(
    task: str | gymnasium.Env | Callable[..., gymnasium.Env],
    recipe: str | None = None,
    name: str | None = None,
    root: Path | str = "runs",
    progress: bool | Progress = True,
    callback: Callback | None = None,
    **settings: Any,
) -> Outcome:
    """Train a policy in a new run folder.

    Args:
        task: a short name such as "half-cheetah", a Gymnasium id, or "module:Class"; or an environment that
            `gymnasium.make` made, or a class or function that makes one.
        recipe: name of a tuned recipe, or path of a TOML file; None: the task's own recipe, or the defaults.
        name: name of the run; None: made from the algorithm and the seed.
        root: folder of all runs.
        progress: whether to show progress on standard error; warnings are always shown.
        callback: called as `callback(step, metrics)` after every iteration and evaluation; True stops the training.
        **settings: changes of the recipe, with two underscores for each dot: `ppo__clip_eps=0.1, seed=3`.

    Returns:
        The run folder, the counters, and why the training ended.

    Raises:
        SurefootError: a name or a setting is wrong, or the training failed.
    """
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    progress = _shown(progress)
    if not isinstance(task, str):
        task = name_of(task)
    complete = make_recipe_from(task, recipe, changes, root, progress)
    if is_local(complete.task):
        progress.warn(
            f"only this process knows the task '{complete.task}': no other one can resume, evaluate or film the run; "
            "for that, define the task in a module and train it from there, as 'module:name'"
        )
    return train_recipe(complete, name, root, progress, callback)


def train_recipe(
    recipe: Recipe,
    name: str | None = None,
    root: Path | str = "runs",
    progress: bool | Progress = False,
    callback: Callback | None = None,
) -> Outcome:
    """Train with a complete recipe; otherwise as `train`."""
    with _new_folder(recipe, name, root) as folder:
        return loop.train(recipe, folder, _shown(progress), callback)


def resume(
    run: str | Path | Outcome,
    root: Path | str = "runs",
    progress: bool | Progress = True,
    steps: int | None = None,
    callback: Callback | None = None,
) -> Outcome:
    """Continue a run from its newest checkpoint, up to `steps` environment steps in total if given.

    Raises:
        SurefootError: there is no such run, or the training failed.
    """
    return loop.resume(RunFolder.open(_place(run), root), _shown(progress), steps, callback)


def evaluate(
    run: str | Path | Outcome | Policy, episodes: int = 100, root: Path | str = "runs", **options: Any
) -> dict[str, Any]:
    """Evaluate a policy, a policy file, or the policy of a run, on held-out episodes.

    Args:
        run: run folder, TASK/NAME, or policy file; or what `train` or `load` returned.
        episodes: number of episodes.
        root: folder of all runs.
        **options: as in `evaluation.evaluate.evaluate_policy`, which describes the result, and `evaluate_run`.

    Raises:
        SurefootError: there is no such run or policy, or an option is wrong.
    """
    if isinstance(run, Policy):
        return evaluate_policy(run, episodes=episodes, **options)
    place = _place(run)
    if os.path.isfile(place):
        return evaluate_policy(load_policy(place), episodes=episodes, run=Path(place).name, **options)
    return evaluate_run(RunFolder.open(place, root), episodes=episodes, **options)


def record(
    run: str | Path | Outcome | Policy,
    output: Path | str | None = None,
    which: str = "policy",
    seed: int = 0,
    root: Path | str = "runs",
    task: str | None = None,
    task_options: dict[str, Any] | None = None,
    engine: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    """Record a video of a policy on held-out episodes.

    Args:
        run: as in `evaluate`.
        output: the video: .mp4, or .webp or .gif for a short animation; None: in the run folder, or policy.mp4.
        which: of a run, "policy", the best or the last one if there is no best yet; or "last".
        seed: offset of the seeds, 0 to 100,000,000.
        root: folder of all runs.
        task: another task with the same spaces.
        task_options: task options that differ from the policy's own.
        engine: as in `evaluate`; "opensim" films the runner in OpenSim.
        **options: `episodes`, `seconds`, `start`, `size`, `fps`, `caption` and `progress` of `reports.video.record`.

    Returns:
        The "path", the number of "frames" and "episodes", and their mean "return" and "length".

    Raises:
        SurefootError: there is no such run or policy, an option is wrong, or the video cannot be made.
    """
    from surefoot.reports import video  # imports MuJoCo's renderer

    check_range("seed", seed, 0, MAX_SEED, whole=True)
    policy, folder, trusted = _policy_of(run, which, root)
    path = Path("policy.mp4")
    if folder is not None:
        path = folder.videos / ("last.mp4" if folder.find_policy(which).stem == "last" else "best.mp4")
    if (task and task != policy.task) or task_options:  # keep the video of the run's own task
        path = path.with_stem(f"{path.stem}-changed")
    if engine == "opensim":
        path = path.with_stem(f"{path.stem}-{engine}")
    info = find_policy_task(policy.task, policy.task_options, instead=task, changes=task_options, trusted=trusted)
    path = path if output is None else Path(output)
    return video.record(policy, info, path, seed=EVALUATION_SEEDS + seed, engine=engine, **options)


def report(
    run: str | Path | Outcome,
    episodes: int = 50,
    which: str = "policy",
    output: Path | str | None = None,
    root: Path | str = "runs",
    **options: Any,
) -> list[Path]:
    """Make the gait report of a run or of a policy file; return the paths of the HTML page and of the JSON file.

    Args:
        run: run folder, TASK/NAME, or policy file.
        episodes: number of recorded episodes.
        which: "policy", the best by the evaluations during training, or "last".
        output: the page, `.html`; None: in the run folder.
        root: folder of all runs.
        **options: `seed`, `video`, `progress`, `task`, `task_options` and `engine` of `reports.report.write_report`.

    Raises:
        SurefootError: there is no such run or policy, or an option is wrong.
    """
    from surefoot.reports.report import write_report  # imports matplotlib

    place = _place(run)
    source = Path(place) if os.path.isfile(place) else RunFolder.open(place, root)
    return write_report(source, which, None if output is None else Path(output), episodes, **options)


def export(
    run: str | Path | Outcome | Policy,
    output: Path | str | None = None,
    which: str = "policy",
    root: Path | str = "runs",
    task: str | None = None,
) -> list[Path]:
    """Export a policy for robots and other programs: ONNX, C, a description of inputs and outputs, a model card.

    policy.onnx is only written if the packages onnx and onnxruntime are installed (extra `onnx`).

    Args:
        run: as in `evaluate`.
        output: the folder; None: "export" in the run folder, or in the current one.
        which: as in `record`.
        root: folder of all runs.
        task: the policy's own task, to permit the import of its module.

    Returns:
        The files: policy.h, policy.onnx, deploy.json and README.md.

    Raises:
        SurefootError: there is no such run or policy, the task does not fit, or the folder cannot be written.
    """
    from surefoot.deployment.export import export_policy

    policy, folder, trusted = _policy_of(run, which, root)
    info = find_policy_task(policy.task, policy.task_options, instead=task, trusted=trusted)
    if (info.observation_size, info.action_size) != (policy.observation_size, policy.action_size):
        raise InputError(f"the policy does not fit the task '{info.name}', which has other sizes")
    evaluation = None if folder is None else read_evaluation(folder, folder.find_policy(which).stem)
    place = Path("export") if folder is None else folder.path / "export"
    return export_policy(policy, info, place if output is None else Path(output), evaluation)[0]


def watch(
    run: str | Path | Outcome | Policy,
    policy: str | None = None,
    which: str = "policy",
    root: Path | str = "runs",
    task: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    started: Callable[[str], Any] = print,
) -> None:
    """Show a robot live in the browser, controlled by a policy, until the viewer is closed or interrupted.

    The policy of a run in training is read again whenever it improves.

    Args:
        run: as in `evaluate`; or the name of a task.
        policy: "zero" or "random" actions instead of a policy; for the name of a task the default is "zero".
        which: "policy", the best of a run, or "last", the newest.
        root: folder of all runs.
        task: the policy's own task, to permit the import of its module.
        host: interface to bind; every program that can reach it can control the robot.
        port: 0: the first free one from 8080.
        seed: of the first episode.
        started: called with the address once the page can be opened.

    Raises:
        SurefootError: there is no such run, policy or task; the port is taken; or the task cannot be shown.
    """
    from surefoot.live import watch as live
    from surefoot.live.episode import Actor, FixedActor, PolicyActor, SteadyActor

    check_range("seed", seed, 0, MAX_SEED, whole=True)
    if isinstance(run, str) and (policy or _is_task(run, root)):
        info, title = find_task(run), run
        actor: Actor = FixedActor(policy or "zero", info, seed)
    else:
        own, folder, trusted = _policy_of(run, which, root)
        info = find_policy_task(own.task, own.task_options, instead=task, trusted=trusted)
        path = None if isinstance(run, Policy) else Path(_place(run)) if folder is None else folder.find_policy(which)
        actor = SteadyActor(own) if path is None else PolicyActor(path)
        title = own.task if folder is None else f"{folder.path.parent.name}/{folder.path.name}"
    live.watch(info, actor, title, host, port, EVALUATION_SEEDS + seed, started)


def _is_task(name: str, root: Path | str) -> bool:
    """Whether a name is that of a task, and neither a file nor a run."""
    if os.path.exists(name) or (Path(root) / name).exists():
        return False
    try:
        resolve(name)
    except InputError:
        return False
    return True


def load_exported(
    folder: str | Path,
    observation_names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
) -> Any:
    """Load an exported policy, with every check; see `deployment.runtime.load_exported`."""
    from surefoot.deployment import runtime

    return runtime.load_exported(folder, observation_names, action_names)


def send_media(run: str | Path | Outcome, warn: Callable[[str], object] = warnings.warn) -> None:
    """Send the learning curves and the videos of a run to its trackers, `training.trackers`.

    Args:
        run: run folder; or what `train` returned.
        warn: called with one line if a tracker fails.

    Raises:
        SurefootError: there is no such run, it has no returns yet, or a tracker's package is missing.
    """
    folder = RunFolder.open(_place(run))
    recipe = read_recipe(folder.recipe)
    names = [str(name) for name in recipe.training.trackers]
    if not names:
        return
    from surefoot.reports.curves import plot_curves  # imports matplotlib

    step = max(row["step"] for row in read_metrics(folder.metrics))
    videos = {f"video/{path.stem}": path for path in sorted(folder.videos.glob("*.mp4"))}
    with tempfile.TemporaryDirectory() as temporary:
        pictures = {"curves": plot_curves([folder], Path(temporary) / "curves.png")}
        for tracker in make_trackers(names, folder.path, recipe.model_dump(mode="json"), warn):
            tracker.log_media(step, pictures, videos)
            tracker.close()


def load(run: str | Path | Outcome) -> Policy:
    """Load a policy file, or the best policy of a run or an `Outcome`; warn if the policy repeats its actions.

    Raises:
        PolicyFileError: there is no policy, or the file is not a valid one.
    """
    path = Path(_place(run))
    policy = load_policy(RunFolder(path).policy_file if path.is_dir() else path)
    wrappers = wrapper_options(policy.task_options)
    if wrappers.action_repeat > 1:
        changed = ", ".join(f"{name}={value!r}" for name, value in policy.task_options.items())
        warnings.warn(
            f"{path}: this policy repeats each action {wrappers.action_repeat} times; step it in "
            f"surefoot.make({policy.task!r}, {changed}), not in a plain environment",
            stacklevel=2,
        )
    return policy


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


def make_sb3(task: str, num_envs: int = 1, engine: str = "auto", threads: int = 0, **options: Any) -> Any:
    """Make a vector environment of Stable-Baselines3, a `VecEnv`; otherwise as `make`."""
    return as_vec_env(make_engine(engine, find_task(task, options), num_envs, threads))


def _policy_of(
    run: str | Path | Outcome | Policy, which: str, root: Path | str
) -> tuple[Policy, RunFolder | None, bool]:
    """Return a policy; the folder, if it is a run's; and whether the modules of its task may be imported."""
    if isinstance(run, Policy):
        return run, None, False
    if os.path.isfile(place := _place(run)):
        return load_policy(place), None, False
    folder = RunFolder.open(place, root)
    policy = load_policy(folder.find_policy(which))
    return policy, folder, read_recipe(folder.recipe).names(policy.task, policy.task_options)


def _place(run: Any) -> str:
    """Return the path of a run or of a policy file, or the name of a run."""
    if isinstance(run, Outcome):
        return str(run.folder.path)
    if isinstance(run, str | os.PathLike):
        return os.fspath(run)
    raise InputError(
        f"{type(run).__name__} is neither a run nor a policy; give a run folder, TASK/NAME, a policy file, or what "
        "surefoot.train or surefoot.load returned"
    )


def _shown(progress: bool | Progress | None) -> Progress:
    return progress if isinstance(progress, Progress) else Progress(quiet=not progress)


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
    except FolderLostError:  # the folder that is there now belongs to another run
        raise
    except BaseException:
        if not any(folder.checkpoints.glob("*")):
            shutil.rmtree(folder.path, ignore_errors=True)
            for path in folder.path.parents:
                if path == existed:
                    break
                with contextlib.suppress(OSError):  # it contains other runs
                    path.rmdir()
        raise
