"""Make the report of a run: let its policy act, measure its gait, draw it, and keep a page and its figures."""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.bodies.body import Body
from surefoot.errors import InputError, PolicyFileError, SurefootError
from surefoot.evaluation.episodes import EVALUATION_SEEDS
from surefoot.gait.measures import (
    Cycles,
    Walk,
    find_cycles,
    find_walks,
    measure_gait,
    measure_joints,
    measure_returns,
)
from surefoot.gait.recording import Episode, Recording, record_episodes, untrained
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.recipes.files import dump_recipe, read_recipe
from surefoot.reports import gait_pictures as draw
from surefoot.reports import video
from surefoot.reports.curves import draw_curves, draw_losses, is_number
from surefoot.reports.figure_style import as_svg
from surefoot.reports.image_files import picture_path, save_picture
from surefoot.reports.page import write_page
from surefoot.reports.report_data import ReportData
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import read_metrics
from surefoot.runs.versions import revision, versions
from surefoot.tasks.anatomy import find_body
from surefoot.tasks.catalogue import TaskInfo, find_policy_task

MOST_EPISODES = 10_000
_FILM_S = 10.0
_MOST_FILM_BYTES = 3_000_000
_LARGEST_SEED = 100_000_000

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is of it."""


def report_run(
    folder: RunFolder,
    which: str = "policy",
    output: Path | None = None,
    episodes: int = 50,
    seed: int = 0,
    film: bool = True,
    progress: Progress = lambda *_: None,
) -> list[Path]:
    """Make the page of a run, and beside it the same figures as JSON.

    Args:
        folder: the run.
        which: "policy", the best by the evaluations on the way, or "last".
        output: the page, `.html`; None: report.html in the run's folder, with gait.json beside it.
        episodes: how many are recorded, of the policy and of an untrained one.
        seed: shifts the episodes' seeds.
        film: whether the page shows a film.
        progress: told how far it is.

    Returns:
        The files written: the page and its figures.

    Raises:
        InputError: a number out of range, no such policy, or a name that does not end in `.html`.
        SurefootError: a file cannot be written.
    """
    if which not in ("policy", "last"):
        raise InputError(f"which = '{which}': choose from policy, last")
    path = folder.policy / f"{which}.safetensors"
    if not path.exists():
        raise PolicyFileError(f"run '{folder.path}' has kept no {'best' if which == 'policy' else 'last'} policy yet")
    recipe = read_recipe(folder.recipe)
    rows = _sound(read_metrics(folder.metrics)) if folder.metrics.exists() else []
    policy = load_policy(path)
    training = _origin(policy) | {"algorithm": recipe.algorithm, "recipe": recipe.name, "seed": recipe.seed}
    until = math.inf if training["steps"] is None else training["steps"]
    training["seconds"] = max(
        (row["seconds"] for row in rows if "seconds" in row and row["step"] <= until), default=None
    )
    run = f"{folder.path.resolve().parent.name}/{folder.path.resolve().name}"
    maker = _Maker(policy, which, run, training, episodes, seed, progress)
    kept = folder.videos / ("best.mp4" if which == "policy" else "last.mp4")
    fresh = kept.exists() and kept.stat().st_mtime >= path.stat().st_mtime
    page = picture_path(output or folder.report, ".html")
    figures = page.with_suffix(".json") if output else folder.gait
    return maker.write(page, figures, film, kept if fresh else None, rows, dump_recipe(recipe))


def report_policy(
    path: str | Path,
    output: Path | None = None,
    episodes: int = 50,
    seed: int = 0,
    film: bool = True,
    progress: Progress = lambda *_: None,
) -> list[Path]:
    """Make the page of a policy file, by default `report.html` where one is; the rest as `report_run`."""
    policy = load_policy(path)
    maker = _Maker(policy, "policy", Path(path).name, _origin(policy), episodes, seed, progress)
    page = picture_path(output or Path("report.html"), ".html")
    return maker.write(page, page.with_suffix(".json") if output else page.with_name("gait.json"), film, None, [], "")


class _Maker:
    """Records and measures a policy and an untrained one, and puts the page together.

    Attributes:
        figures: everything that was measured.
    """

    def __init__(
        self, policy: Policy, which: str, run: str, training: dict, episodes: int, seed: int, progress: Progress
    ) -> None:
        if not 1 <= episodes <= MOST_EPISODES:
            raise InputError(f"episodes = {episodes}: choose 1 to {MOST_EPISODES}")
        if not 0 <= seed <= _LARGEST_SEED:
            raise InputError(f"seed = {seed}: choose 0 to {_LARGEST_SEED}")
        self.policy, self.progress, self.seed = policy, progress, seed
        self.info = find_policy_task(policy.task, policy.task_options)
        self.first = EVALUATION_SEEDS + seed
        self.figures: dict[str, Any] = {
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
        self, page: Path, figures: Path, film: bool, kept_film: Path | None, rows: list[dict], recipe: str
    ) -> list[Path]:
        """Do the work and return the files written."""
        body = find_body(self.info)
        after = self._record(self.policy, body, "trained policy")
        before = self._record(untrained(self.policy), body, "untrained policy")
        if after.build is None:
            body = None
        pictures = {"returns": [_returns_picture(after, before)], "losses": _losses(rows)}
        walks = find_walks(body, after.build, after.episodes) if body and after.build else []
        cycles = find_cycles(walks)
        if body is None or after.build is None:
            pictures["traces"] = _trace_pictures(after)
        else:
            pictures |= _gait_pictures(body, after, walks, cycles)
        self.figures |= {
            "body": body.name if body else None,
            "sample_s": after.build.step_s if after.build else None,
            "after": _measured(body, after, walks, cycles),
            "before": _measured(body, before),
            "figures_file": figures.name,
        }
        self.figures = _plain(self.figures)
        episode = _middle(after.episodes)
        lasting = min(_FILM_S, len(episode.reward) * after.step_s)
        data, note = self._film(kept_film, episode.seed, lasting) if film else (None, "none was asked for.")
        story = ReportData(
            self.figures, body, _curves(rows, self.info), pictures, data, note, recipe, self._command(film)
        )
        save_picture(figures, (json.dumps(self.figures, indent=1, allow_nan=False) + "\n").encode())
        save_picture(page, write_page(story).encode())
        return [page, figures]

    def _record(self, policy: Policy, body: Body | None, what: str) -> Recording:
        total, done = self.figures["episodes"], 0

        def one_more() -> None:
            nonlocal done
            done += 1
            self.progress(what, done, total)

        self.progress(what, 0, total)
        return record_episodes(policy, self.info, body, total, self.first, one_more)

    def _film(self, kept: Path | None, seed: int, seconds: float) -> tuple[bytes | None, str]:
        """Return a film and what it shows; no film, and why, where none can be made."""
        if kept is not None and kept.stat().st_size <= _MOST_FILM_BYTES:
            return kept.read_bytes(), f"The film that was kept with the run, {kept.name}."
        self.progress("film", 0, 1)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "film.mp4"
                video.record(self.policy, self.info, path, seconds=seconds, seed=seed)
                data = path.read_bytes()
        except (SurefootError, OSError) as error:
            return None, f"{error}."
        self.progress("film", 1, 1)
        if len(data) > _MOST_FILM_BYTES:
            return None, "it came out too large for a page."
        return data, f"The first {seconds:.3g} seconds of the episode of middle return, seed {seed:,}."

    def _command(self, film: bool) -> str:
        words = f"surefoot report {self.figures['run']} --episodes {self.figures['episodes']}"
        words += f" --seed {self.seed}" if self.seed else ""
        words += " --which last" if self.figures["which"] == "last" else ""
        return words + ("" if film else " --no-film")


def _measured(
    body: Body | None, recording: Recording, walks: list[Walk] | None = None, cycles: Cycles | None = None
) -> dict[str, Any]:
    """Return all figures of the episodes of one policy."""
    found = measure_returns(recording) | {"gait": None, "joints": None}
    if body is not None and recording.build is not None:
        if walks is None:
            walks = find_walks(body, recording.build, recording.episodes)
            cycles = find_cycles(walks)
        found["gait"] = measure_gait(body, recording.build, walks, cycles)
        found["joints"] = measure_joints(body, recording.build, recording.episodes)
    return found


def _middle(episodes: list[Episode]) -> Episode:
    """Return the episode of the median return."""
    return sorted(episodes, key=lambda episode: float(episode.reward.sum()))[len(episodes) // 2]


def _returns_picture(after: Recording, before: Recording) -> tuple[str, str]:
    earned = [[float(episode.reward.sum()) for episode in one.episodes] for one in (after, before)]
    caption = "Every episode's return; a dot each."
    label = f"Returns of {len(earned[0])} episodes, trained from {min(earned[0]):.4g} to {max(earned[0]):.4g}"
    return as_svg(draw.draw_returns(*earned), "returns", label), caption


def _gait_pictures(
    body: Body, recording: Recording, walks: list[Walk], cycles: Cycles | None
) -> dict[str, list[tuple[str, str]]]:
    """Draw everything that there is of a gait, by the part of the page that shows it."""
    build, found = recording.build, {}
    if not walks or build is None:
        return {}
    walk = walks[len(walks) // 2]
    groups = draw.joint_groups(body)
    caption = "When each foot is on the ground; grey where none is."
    found["footfalls"] = [(as_svg(draw.draw_footfalls(body, build.step_s, walk), "footfalls", caption), caption)]
    if cycles is not None:
        reference = body.feet[cycles.reference].name
        caption = f"How often each foot is on the ground over the stride of {reference}, mean of all strides."
        found["feet"] = [(as_svg(draw.draw_foot_cycle(body, cycles), "foot-cycle", caption), caption)]
        heights = draw.draw_foot_heights(body, cycles)
        if heights is not None:
            caption = "Height of each foot's lowest point above the ground, mean and standard deviation of strides."
            found["feet"].append((as_svg(heights, "foot-height", caption), caption))
        found["joints"] = [
            (as_svg(draw.draw_joint_cycle(body, build, cycles, group), f"joint-{i}", _label("Angle", group)), "")
            for i, group in enumerate(groups)
        ]
    found["portraits"] = [
        (
            as_svg(
                draw.draw_portrait(body, build.step_s, walk, cycles, group),
                f"portrait-{i}",
                _label("Phase portrait", group),
            ),
            "",
        )
        for i, group in enumerate(groups)
    ]
    found["motors"] = [
        (as_svg(draw.draw_motor(body, build, walks, group), f"motor-{i}", _label("Torque against speed", group)), "")
        for i, group in enumerate(groups)
    ]
    return found


def _label(what: str, joints: tuple[str, ...]) -> str:
    return f"{what} of {' and '.join(joints)}"


def _trace_pictures(recording: Recording) -> list[tuple[str, str]]:
    found = []
    for what in ("action", "observation"):
        caption = f"The first numbers of each {what}, over the first seconds of the first episode."
        figure = draw.draw_traces(recording.episodes[0], recording.step_s, what)
        found.append((as_svg(figure, f"trace-{what}", caption), caption))
    return found


def _curves(rows: list[dict], info: TaskInfo) -> list[tuple[str, str]]:
    """Draw the learning curves, as far as there is something to draw."""
    found = []
    for clock, caption in (
        ("step", "Return over environment steps."),
        ("seconds", "The same over training time."),
    ):
        try:
            runs = [{"label": "run", "rows": rows}]
            figure = draw_curves(runs, threshold=info.reward_threshold, clock=clock, width=4.6)
        except InputError:
            continue
        found.append((as_svg(figure, f"curve-{clock}", f"Learning curve. {caption}"), caption))
    return found


def _losses(rows: list[dict]) -> list[tuple[str, str]]:
    try:
        figure = draw_losses([{"label": "run", "rows": rows}])
    except InputError:
        return []
    caption = "What the updates measured, over environment steps."
    return [(as_svg(figure, "losses", caption), caption)]


def _origin(policy: Policy) -> dict[str, Any]:
    """Return what a policy's file says of its training, as far as it is of the kind that it should be."""
    origin, versions = policy.origin, policy.origin.get("versions")
    steps, seed = ((x if isinstance(x, int) and x >= 0 else None) for x in (origin.get("steps"), origin.get("seed")))
    words = {name: origin[name] if isinstance(origin.get(name), str) else None for name in ("algorithm", "recipe")}
    return words | {"seed": seed, "steps": steps, "versions": versions if isinstance(versions, dict) else {}}


def _sound(rows: list[dict]) -> list[dict]:
    """Return rows of metrics without what is no number."""
    return [
        {key: x for key, x in row.items() if key == "event" or x is None or is_number(x)}
        for row in rows
        if is_number(row.get("seconds", 0))
    ]


def _plain(value: Any) -> Any:
    """Return what JSON can hold: plain numbers, and None for one that is not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
