"""Make a gait report: record episodes, measure the gait, and write the HTML page and its numbers as JSON."""

import contextlib
import json
import math
import shlex
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from surefoot.bodies.body import Body
from surefoot.errors import InputError, PolicyFileError, SurefootError
from surefoot.evaluation.episodes import EVALUATION_SEEDS
from surefoot.gait.measures import (
    GaitCycles,
    GaitSegment,
    find_cycles,
    find_segments,
    measure_gait,
    measure_joints,
    measure_returns,
)
from surefoot.gait.probes import BodyModel
from surefoot.gait.recording import Episode, Recording, record_episodes, untrained
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import dump_recipe, read_recipe
from surefoot.reports import gait_plots as draw
from surefoot.reports import video
from surefoot.reports.curves import draw_curves, draw_losses, is_number
from surefoot.reports.figure_style import as_svg
from surefoot.reports.image_files import picture_path, save_picture
from surefoot.reports.page import ReportData, write_page
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.runs.versions import revision, versions
from surefoot.tasks.catalogue import TaskInfo, find_policy_task

MAX_EPISODES = 10_000
_VIDEO_S = 10.0
_MAX_VIDEO_BYTES = 3_000_000
_MAX_SEED = 100_000_000

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the number of its finished parts, and the number of all parts."""


def report_run(
    folder: RunFolder,
    which: str = "policy",
    output: Path | None = None,
    episodes: int = 50,
    seed: int = 0,
    video: bool = True,
    progress: Progress = lambda *_: None,
    task_options: dict[str, Any] | None = None,
) -> list[Path]:
    """Make the report of a run.

    Args:
        folder: the run.
        which: "policy", the best by the evaluations during training, or "last".
        output: the page, `.html`, with a JSON file of the same name; None: report.html and gait.json in the run folder.
        episodes: number of recorded episodes, each of the policy and of an untrained one; 1 to 10,000.
        seed: offset of the seeds, 0 to 100,000,000.
        video: whether the page contains a video.
        progress: called as the report proceeds.
        task_options: task options that differ from the policy's own.

    Returns:
        The files written: the page and the JSON file.

    Raises:
        InputError: a number is out of range, or the output does not end in `.html`.
        PolicyFileError: the run does not have the policy.
        SurefootError: a file cannot be written.
    """
    if which not in ("policy", "last"):
        raise InputError(f"which = '{which}': choose from policy, last")
    path = folder.policy / f"{which}.safetensors"
    if not path.exists():
        raise PolicyFileError(f"run '{folder.path}' has no {'best' if which == 'policy' else 'last'} policy yet")
    recipe = read_recipe(folder.recipe)
    metrics = _numbers_only(read_metrics(folder.metrics)) if folder.metrics.exists() else []
    policy = load_policy(path)
    training = _origin(policy) | {"algorithm": recipe.algorithm, "recipe": recipe.name, "seed": recipe.seed}
    until = math.inf if training["steps"] is None else training["steps"]
    training["seconds"] = max(
        (row["seconds"] for row in metrics if "seconds" in row and row["step"] <= until), default=None
    )
    run = f"{folder.path.resolve().parent.name}/{folder.path.resolve().name}"
    trusted = recipe.names(policy.task, policy.task_options)
    maker = _ReportMaker(policy, which, run, training, episodes, seed, progress, task_options, trusted)
    recorded = folder.videos / ("best.mp4" if which == "policy" else "last.mp4")
    is_current = not task_options and recorded.exists() and recorded.stat().st_mtime >= path.stat().st_mtime
    page = picture_path(output or folder.report, ".html")
    numbers = page.with_suffix(".json") if output else folder.gait
    return maker.write(page, numbers, video, recorded if is_current else None, metrics, dump_recipe(recipe))


def report_policy(
    path: str | Path,
    output: Path | None = None,
    episodes: int = 50,
    seed: int = 0,
    video: bool = True,
    progress: Progress = lambda *_: None,
    task_options: dict[str, Any] | None = None,
) -> list[Path]:
    """Make the report of a policy file, by default report.html in the working directory; otherwise as `report_run`."""
    policy = load_policy(path)
    maker = _ReportMaker(policy, "policy", Path(path).name, _origin(policy), episodes, seed, progress, task_options)
    page = picture_path(output or Path("report.html"), ".html")
    numbers = page.with_suffix(".json") if output else page.with_name("gait.json")
    return maker.write(page, numbers, video, None, [], "")


class _ReportMaker:
    """Records and measures a policy and an untrained one, and writes the report.

    Attributes:
        changes: task options that differ from the policy's own.
        measures: content of the JSON file.
    """

    def __init__(
        self,
        policy: Policy,
        which: str,
        run: str,
        training: dict,
        episodes: int,
        seed: int,
        progress: Progress,
        changes: dict[str, Any] | None,
        trusted: bool = False,
    ) -> None:
        if not 1 <= episodes <= MAX_EPISODES:
            raise InputError(f"episodes = {episodes}: choose 1 to {MAX_EPISODES}")
        if not 0 <= seed <= _MAX_SEED:
            raise InputError(f"seed = {seed}: choose 0 to {_MAX_SEED}")
        self.policy, self.progress, self.seed = policy, progress, seed
        self.changes = changes or {}
        self.info = find_policy_task(policy.task, policy.task_options, changes=self.changes, trusted=trusted)
        self.first = EVALUATION_SEEDS + seed
        self.measures: dict[str, Any] = {
            "task": self.info.name,
            "id": self.info.id,
            "task_options": self.info.options,
            "run": run,
            "which": which,
            "training": training,
            "episodes": episodes,
            "seeds": [self.first, self.first + episodes - 1],
            "reward_threshold": self.info.reward_threshold,
            "versions": versions(),
            "revision": revision(),
        }

    def write(
        self, page: Path, numbers: Path, with_video: bool, recorded: Path | None, metrics: list[dict], recipe: str
    ) -> list[Path]:
        """Write the page and the JSON file `numbers`; return both. A `recorded` video is reused."""
        body = self.info.body
        after = self._record(self.policy, body, "trained policy")
        before = self._record(untrained(self.policy), body, "untrained policy")
        if after.model is None:
            body = None
        after_measures, segments, cycles = _measure(body, after)
        before_measures, _, _ = _measure(body, before)
        plots = {"returns": [_plot_returns(after, before)], "losses": _plot_losses(metrics)}
        if body is None or after.model is None:
            plots["traces"] = _plot_traces(after)
        elif segments:
            plots |= _plot_gait(body, after.model, segments, cycles)
        self.measures |= {
            "body": body.name if body else None,
            "sample_s": after.model.step_s if after.model else None,
            "after": after_measures,
            "before": before_measures,
            "json_file": numbers.name,
        }
        self.measures = _to_json(self.measures)
        episode = _median_episode(after.episodes)
        duration = min(_VIDEO_S, len(episode.reward) * after.step_s)
        mp4, note = self._video(recorded, episode.seed, duration) if with_video else (None, "not requested.")
        curves, command = _plot_curves(metrics, self.info), self._command(with_video)
        data = ReportData(self.measures, body, curves, plots, mp4, note, recipe, command)
        save_picture(numbers, (json.dumps(self.measures, indent=1, allow_nan=False) + "\n").encode())
        save_picture(page, write_page(data).encode())
        return [page, numbers]

    def _record(self, policy: Policy, body: Body | None, stage: str) -> Recording:
        total, done = self.measures["episodes"], 0

        def count() -> None:
            nonlocal done
            done += 1
            self.progress(stage, done, total)

        self.progress(stage, 0, total)
        return record_episodes(policy, self.info, body, total, self.first, count)

    def _video(self, recorded: Path | None, seed: int, seconds: float) -> tuple[bytes | None, str]:
        """Return a video and its caption; or None and the reason why there is none."""
        if recorded is not None and recorded.stat().st_size <= _MAX_VIDEO_BYTES:
            return recorded.read_bytes(), f"The video of the run, {recorded.name}."
        self.progress("video", 0, 1)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "video.mp4"
                video.record(self.policy, self.info, path, seconds=seconds, seed=seed)
                data = path.read_bytes()
        except (SurefootError, OSError) as error:
            return None, f"{error}."
        self.progress("video", 1, 1)
        if len(data) > _MAX_VIDEO_BYTES:
            return None, "it is too large for a page."
        return data, f"The first {seconds:.3g} s of the episode with the median return, seed {seed:,}."

    def _command(self, video: bool) -> str:
        command = f"surefoot report {shlex.quote(self.measures['run'])} --episodes {self.measures['episodes']}"
        command += f" --seed {self.seed}" if self.seed else ""
        command += " --which last" if self.measures["which"] == "last" else ""
        command += "" if video else " --no-video"
        for name, value in self.changes.items():
            command += f" --task_options.{name} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
        return command


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


def _median_episode(episodes: list[Episode]) -> Episode:
    """Return the episode with the median return."""
    return sorted(episodes, key=lambda episode: float(episode.reward.sum()))[len(episodes) // 2]


Plot = tuple[str, str]
"""An SVG element and its caption, which may be empty."""


def _plot(figure: Figure, name: str, caption: str) -> Plot:
    return as_svg(figure, name, caption), caption


def _plot_returns(after: Recording, before: Recording) -> Plot:
    returns = [[float(episode.reward.sum()) for episode in recording.episodes] for recording in (after, before)]
    trained = returns[0]
    label = f"Returns of {len(trained)} episodes; trained: {min(trained):.4g} to {max(trained):.4g}"
    return as_svg(draw.draw_returns(*returns), "returns", label), "Return of each episode."


def _plot_gait(
    body: Body, model: BodyModel, segments: list[GaitSegment], cycles: GaitCycles | None
) -> dict[str, list[Plot]]:
    """Plot the gait; plots with captions by section of the page."""
    segment, step_s = segments[len(segments) // 2], model.step_s
    groups = draw.joint_groups(body)

    def plot_groups(name: str, quantity: str, draw_group: Callable[[tuple[str, ...]], Figure]) -> list[Plot]:
        """Plot each group of joints; the legends name the joints, so there are no captions."""
        return [
            (as_svg(draw_group(group), f"{name}-{i}", f"{quantity} of {' and '.join(group)}"), "")
            for i, group in enumerate(groups)
        ]

    caption = "Contacts of each foot; grey: no foot in contact."
    plots = {"footfalls": [_plot(draw.draw_footfalls(body, step_s, segment), "footfalls", caption)]}
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


def _plot_traces(recording: Recording) -> list[Plot]:
    plots = []
    for quantity in ("action", "observation"):
        caption = f"First components of the {quantity} over the first 10 s of the first episode."
        figure = draw.draw_traces(recording.episodes[0], recording.step_s, quantity)
        plots.append(_plot(figure, f"trace-{quantity}", caption))
    return plots


def _plot_curves(metrics: list[dict], info: TaskInfo) -> list[Plot]:
    """Plot the learning curves for which there are metrics."""
    plots = []
    for clock, caption in (("step", "Return over environment steps."), ("seconds", "Return over training time.")):
        with contextlib.suppress(InputError):
            runs = [{"label": "run", "metrics": metrics}]
            figure = draw_curves(runs, threshold=info.reward_threshold, clock=clock, width=4.6)
            plots.append((as_svg(figure, f"curve-{clock}", f"Learning curve. {caption}"), caption))
    return plots


def _plot_losses(metrics: list[dict]) -> list[Plot]:
    with contextlib.suppress(InputError):
        figure = draw_losses([{"label": "run", "metrics": metrics}])
        return [_plot(figure, "losses", "Training metrics over environment steps.")]
    return []


def _origin(policy: Policy) -> dict[str, Any]:
    """Training of a policy according to its file; values of a wrong type become None."""
    origin, versions = policy.origin, policy.origin.get("versions")
    steps, seed = ((x if isinstance(x, int) and x >= 0 else None) for x in (origin.get("steps"), origin.get("seed")))
    texts = {name: origin[name] if isinstance(origin.get(name), str) else None for name in ("algorithm", "recipe")}
    return texts | {"seed": seed, "steps": steps, "versions": versions if isinstance(versions, dict) else {}}


def _numbers_only(metrics: list[dict]) -> list[dict]:
    """Return rows of metrics without values that are not numbers."""
    return [
        {key: x for key, x in row.items() if key == "event" or x is None or is_number(x)}
        for row in metrics
        if is_number(row.get("seconds", 0))
    ]


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
