"""Make a gait report: record episodes, measure the gait, and write the HTML page and its numbers as JSON."""

import contextlib
import itertools
import json
import math
import shlex
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from surefoot.bodies.body import Body
from surefoot.errors import InputError, SurefootError, check_range
from surefoot.evaluation.episodes import EVALUATION_SEEDS, MAX_SEED
from surefoot.gait.measures import (
    GaitCycles,
    GaitSegment,
    find_cycles,
    find_segments,
    measure_gait,
    measure_joints,
    measure_returns,
)
from surefoot.gait.recording import Recording, record_episodes, untrained
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import dump_recipe, read_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.reports import gait_plots as draw
from surefoot.reports import video as videos
from surefoot.reports.curves import draw_curves, draw_losses
from surefoot.reports.figure_style import as_svg
from surefoot.reports.media_files import output_path, save
from surefoot.reports.page import Plots, write_page
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.runs.versions import revision, versions
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import TaskInfo, find_policy_task

MAX_EPISODES = 10_000
_VIDEO_S = 10.0
MAX_VIDEO_BYTES = 3_000_000

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the number of its finished parts, and the number of all parts."""


class _Subject(NamedTuple):
    """The policy of a report, its run if there is one, and the simulation."""

    source: RunFolder | Path
    path: Path
    policy: Policy
    recipe: Recipe | None
    trusted: bool
    info: TaskInfo
    engine: str

    @property
    def folder(self) -> RunFolder | None:
        return self.source if isinstance(self.source, RunFolder) else None


def write_report(
    source: RunFolder | Path,
    which: str = "policy",
    output: Path | None = None,
    episodes: int = 50,
    seed: int = 0,
    video: bool = True,
    progress: Progress = lambda *_: None,
    task: str | None = None,
    task_options: dict[str, Any] | None = None,
    engine: str = "auto",
) -> list[Path]:
    """Make the report of a run or of a policy file.

    Args:
        source: run folder or policy file.
        which: "policy", the best by the evaluations during training, or "last"; for run folders.
        output: the page, `.html`, with a JSON file of the same name; None: report.html and gait.json in the run folder,
            for a policy file in the working directory; in OpenSim report-opensim.html and gait-opensim.json.
        episodes: number of recorded episodes, each of the policy and of an untrained one; 1 to 10,000.
        seed: offset of the seeds, 0 to 100,000,000.
        video: whether the page contains a video.
        progress: called as the report proceeds.
        task: the policy's own "module:Class", which permits its import.
        task_options: task options that differ from the policy's own.
        engine: name of the engine whose simulator is used.

    Returns:
        The files written: the page and the JSON file.

    Raises:
        InputError: an option is wrong, the engine cannot simulate the task, or the run does not have the policy.
        SurefootError: a file cannot be written.
    """
    check_range("episodes", episodes, 1, MAX_EPISODES, whole=True)
    check_range("seed", seed, 0, MAX_SEED, whole=True)
    subject = _find_subject(source, which, task, task_options, engine)
    folder, recipe, changes = subject.folder, subject.recipe, task_options or {}
    page, numbers = _places(folder, output, engine)
    recordings = _record_both(subject, episodes, EVALUATION_SEEDS + seed, progress)
    metrics = read_metrics(folder.metrics) if folder and folder.metrics.exists() else []
    options = {"episodes": episodes, "seed": seed or None, "last": "" if which == "last" else None}
    options["task"] = task or (subject.policy.task if ":" in subject.policy.task and not subject.trusted else None)
    options |= {"engine": None if engine == "auto" else engine, "no-video": None if video else ""}
    options |= {f"task_options.{name}": value for name, value in changes.items()}
    measures, plots, body = _describe(subject, *recordings, metrics)
    measures |= {"json_file": numbers.name, "command": _command(source, options)}
    film = None, "not requested."
    if video:
        own = not (changes or engine == "opensim")
        film = (recorded_video(folder, subject.path) if own else None) or _film(subject, recordings[0], progress)
    save(numbers, (json.dumps(measures, indent=1, allow_nan=False) + "\n").encode())
    save(page, write_page(measures, body, plots, film, dump_recipe(recipe) if recipe else "").encode())
    return [page, numbers]


def _find_subject(
    source: RunFolder | Path, which: str, task: str | None, task_options: dict[str, Any] | None, engine: str
) -> _Subject:
    """Load the policy and find its task."""
    path = source.find_policy(which) if isinstance(source, RunFolder) else source
    policy = load_policy(path)
    recipe = read_recipe(source.recipe) if isinstance(source, RunFolder) else None
    trusted = recipe is not None and recipe.names(policy.task, policy.task_options)
    info = find_policy_task(policy.task, policy.task_options, instead=task, changes=task_options, trusted=trusted)
    return _Subject(source, path, policy, recipe, trusted, info, choose_engine(engine, info))


def _places(folder: RunFolder | None, output: Path | None, engine: str) -> tuple[Path, Path]:
    """Return the paths of the page and of its numbers."""
    page = output_path(output or (folder.report if folder else Path("report.html")), ".html")
    if output:
        return page, page.with_suffix(".json")
    suffix = "-opensim" if engine == "opensim" else ""
    return page.with_stem(page.stem + suffix), page.with_name(f"gait{suffix}.json")


def _record_both(subject: _Subject, episodes: int, seed: int, progress: Progress) -> tuple[Recording, Recording]:
    """Record the policy and an untrained one."""

    def record(policy: Policy, stage: str) -> Recording:
        done = itertools.count(1)
        progress(stage, 0, episodes)
        info, engine = subject.info, subject.engine
        return record_episodes(
            policy, info, info.body, episodes, seed, lambda: progress(stage, next(done), episodes), engine
        )

    return record(subject.policy, "trained policy"), record(untrained(subject.policy), "untrained policy")


def _describe(
    subject: _Subject, after: Recording, before: Recording, metrics: list[dict]
) -> tuple[dict[str, Any], Plots, Body | None]:
    """Return the numbers of the report but for `json_file` and `command`, its plots, and the body if it was measured.

    Args:
        subject: the policy.
        after: its episodes.
        before: episodes of an untrained policy.
        metrics: those of its training.
    """
    folder, info = subject.folder, subject.info
    model, body = after.model, info.body if after.model else None
    after_measures, segments, cycles = _measure(body, after)
    seeds = [episode.seed for episode in after.episodes]
    measures = {
        "task": info.name,
        "id": info.id,
        "task_options": info.options,
        "engine": subject.engine,
        "run": "/".join(folder.path.resolve().parts[-2:]) if folder else subject.path.name,
        "which": "last" if subject.path.stem == "last" else "policy",
        "training": _origin(subject.policy, subject.recipe, metrics),
        "episodes": len(seeds),
        "seeds": [seeds[0], seeds[-1]],
        "reward_threshold": info.reward_threshold,
        "body_fault": info.fault,
        "versions": versions(),
        "revision": revision(),
        "body": body.name if body else None,
        "sample_s": model.step_s if model else None,
        "after": after_measures,
        "before": _measure(body, before)[0],
    }
    plots = _plot_training(metrics, info) | _plot_motion(body, after, before, segments, cycles)
    return _to_json(measures), plots, body


def recorded_video(folder: RunFolder | None, policy: Path) -> tuple[bytes, str] | None:
    """Return the run's video and its caption, unless it is too large or older than the policy."""
    if folder is None:
        return None
    path = folder.videos / f"{'best' if policy.stem == 'policy' else policy.stem}.mp4"
    if not path.exists() or path.stat().st_mtime < policy.stat().st_mtime or path.stat().st_size > MAX_VIDEO_BYTES:
        return None
    return path.read_bytes(), f"The video of the run, {path.name}."


def _film(subject: _Subject, recording: Recording, progress: Progress) -> tuple[bytes | None, str]:
    """Record the episode with the median return; return MP4 and its caption, or None and the reason."""
    episode = sorted(recording.episodes, key=lambda episode: episode.reward.sum())[len(recording.episodes) // 2]
    seconds = min(_VIDEO_S, len(episode.reward) * recording.step_s)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            options = {"seconds": seconds, "seed": episode.seed, "engine": subject.engine}
            videos.record(subject.policy, subject.info, path, progress=partial(progress, "video"), **options)
            data = path.read_bytes()
    except (SurefootError, OSError) as error:
        return None, f"{error}."
    if len(data) > MAX_VIDEO_BYTES:
        return None, "it is too large for a page."
    return data, f"The first {seconds:.3g} s of the episode with the median return, seed {episode.seed:,}."


def _command(source: RunFolder | Path, options: dict[str, Any]) -> str:
    """Return the command line that makes the report, quoted for a shell."""
    words = ["surefoot", "report", str(source)]
    if isinstance(source, RunFolder):
        *_, task, name = source.path.resolve().parts
        words[2] = f"{task}/{name}"
        root = source.path.parent.parent
        options |= {"root": None if root.resolve() == Path("runs").resolve() else str(root)}
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", *([value if isinstance(value, str) else json.dumps(value)] if value != "" else [])]
    return shlex.join(words)


def _measure(body: Body | None, recording: Recording) -> tuple[dict[str, Any], list[GaitSegment], GaitCycles | None]:
    """Return all measures of the episodes of one policy, and the segments and cycles of its gait."""
    measures = measure_returns(recording) | {"gait": None, "joints": None}
    model = recording.model
    if body is None or model is None:
        return measures, [], None
    segments = find_segments(body, model, recording.episodes)
    cycles = find_cycles(segments)
    measures["gait"] = measure_gait(body, model, segments, cycles)
    measures["joints"] = measure_joints(body, model, recording.episodes)
    return measures, segments, cycles


def _plot(figure: Figure, name: str, caption: str) -> tuple[str, str]:
    return as_svg(figure, name, caption), caption


def _plot_motion(
    body: Body | None,
    after: Recording,
    before: Recording,
    segments: list[GaitSegment],
    cycles: GaitCycles | None,
) -> Plots:
    trained, untrained = ([float(x.reward.sum()) for x in recording.episodes] for recording in (after, before))
    label = f"Returns of {len(trained)} episodes; trained: {min(trained):.4g} to {max(trained):.4g}"
    svg = as_svg(draw.draw_returns(trained, untrained), "returns", label)
    plots = {"returns": [(svg, "Return of each episode.")]}
    model = after.model
    if body is None or model is None:
        caption = "First components of the {} over the first 10 s of the first episode."
        plots["traces"] = [
            _plot(draw.draw_traces(after.episodes[0], after.step_s, x), f"trace-{x}", caption.format(x))
            for x in ("action", "observation")
        ]
    if body is None or model is None or not segments:
        return plots
    segment, step_s = segments[len(segments) // 2], model.step_s
    groups = draw.joint_groups(body)

    def plot_groups(name: str, quantity: str, draw_group: Callable[[tuple[str, ...]], Figure]) -> list[tuple[str, str]]:
        """Plot each group of joints; the legends name the joints, so there are no captions."""
        return [
            (as_svg(draw_group(group), f"{name}-{i}", f"{quantity} of {' and '.join(group)}"), "")
            for i, group in enumerate(groups)
        ]

    caption = "Contacts of each foot; grey: no foot in contact."
    plots["footfalls"] = [_plot(draw.draw_footfalls(body, step_s, segment), "footfalls", caption)]
    if cycles is not None:
        reference = body.feet[cycles.reference].name
        caption = f"Fraction of strides with each foot in contact, over the gait cycle of {reference}."
        plots["feet"] = [_plot(draw.draw_foot_cycle(body, cycles), "foot-cycle", caption)]
        heights = draw.draw_foot_heights(body, cycles)
        if heights is not None:
            caption = "Height of each foot's lowest point above the ground, mean ± standard deviation of strides."
            plots["feet"].append(_plot(heights, "foot-height", caption))
        plots["joints"] = plot_groups("joint", "Angle", partial(draw.draw_joint_cycle, body, model, cycles))
    portrait = partial(draw.draw_portrait, body, step_s, segment, cycles)
    plots["portraits"] = plot_groups("portrait", "Phase portrait", portrait)
    motor = partial(draw.draw_motor, body, model, segments)
    plots["motors"] = plot_groups("motor", "Torque against speed", motor)
    return plots


def _plot_training(metrics: list[dict], info: TaskInfo) -> Plots:
    """Plot the learning curves and losses for which there are metrics."""
    runs, curves, losses = [{"label": "run", "metrics": metrics}], [], []
    for clock, caption in (("step", "Return over environment steps."), ("seconds", "Return over training time.")):
        with contextlib.suppress(InputError):
            figure = draw_curves(runs, threshold=info.reward_threshold, clock=clock, width=4.6)
            curves.append((as_svg(figure, f"curve-{clock}", f"Learning curve. {caption}"), caption))
    with contextlib.suppress(InputError):
        losses.append(_plot(draw_losses(runs), "losses", "Training metrics over environment steps."))
    return {"curves": curves, "losses": losses}


def _origin(policy: Policy, recipe: Recipe | None, metrics: list[dict]) -> dict[str, Any]:
    """Training of a policy according to its file, with None for values of wrong types, and its run, if there is one."""
    origin, versions = policy.origin, policy.origin.get("versions")
    steps, seed = ((x if isinstance(x, int) and x >= 0 else None) for x in (origin.get("steps"), origin.get("seed")))
    texts = {name: origin[name] if isinstance(origin.get(name), str) else None for name in ("algorithm", "recipe")}
    training = texts | {"seed": seed, "steps": steps, "versions": versions if isinstance(versions, dict) else {}}
    if recipe:
        until = math.inf if steps is None else steps
        seconds = (row["seconds"] for row in metrics if "seconds" in row and row["step"] <= until)
        training |= {"algorithm": recipe.algorithm, "recipe": recipe.name, "seed": recipe.seed}
        training["seconds"] = max(seconds, default=None)
    return training


def _to_json(value: Any) -> Any:
    """Convert to JSON types; non-finite numbers become None."""
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_to_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
