"""Files of a comparison: an HTML page, its figures as JSON, and a picture."""

import datetime
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.reports.media_files import output_path, save
from surefoot.runs.versions import revision, versions
from surefoot.studies.compare import Comparison, measure
from surefoot.studies.figures import write_picture
from surefoot.studies.films import MAX_FILMS, film_of
from surefoot.studies.folder import StudyFolder, write_json
from surefoot.studies.page import Films, write_page
from surefoot.studies.sweep_figures import draw_sweep

ENDINGS = (".html", ".json", ".png")

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the number of its finished parts, and the number of all parts."""


def write_comparison(
    comparison: Comparison,
    output: Path,
    command: str,
    title: str | None = None,
    sweeps: Sequence[StudyFolder] = (),
    video: bool = True,
    progress: Progress = lambda *_: None,
) -> tuple[dict[str, Any], list[Path]]:
    """Write a comparison.

    Args:
        comparison: the comparison.
        output: `.html` for the page, with a `.json` and a `.png` of the same name beside it; or one of these two only.
        command: the command line, for the files.
        title: title of the picture.
        sweeps: sweeps whose trials the page shows.
        video: whether the page contains films.
        progress: called as films are recorded.

    Returns:
        The figures, and the paths of the files written.

    Raises:
        InputError: the output has another ending.
        SurefootError: a file cannot be written.
    """
    output = output_path(output, *ENDINGS)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    origin = {"command": command, "date": date, "revision": revision(), "versions": versions()}
    measures = origin | measure(comparison)
    whole = output.suffix.lower() == ".html"
    written = [output.with_suffix(ending) for ending in ENDINGS] if whole else [output]
    for path in written:
        match path.suffix.lower():
            case ".json":
                write_json(path, measures)
            case ".png":
                write_picture(comparison, path, title)
            case _:
                films = _films(comparison, progress) if video else []
                page = write_page(
                    comparison, measures, films, [draw_sweep(sweep) for sweep in sweeps], path.with_suffix(".json").name
                )
                save(path, page.encode())
    return measures, written


def _films(comparison: Comparison, progress: Progress) -> Films:
    """Return films of the best run of each experiment, as far as their run folders are there."""
    films = []
    for experiment in comparison.experiments:
        run = max(experiment.runs, key=comparison.score)
        if run.folder is not None and len(films) < MAX_FILMS:
            data, caption = film_of(run.folder, partial(progress, f"film of {experiment.label}"))
            films.append((f"{experiment.label}, seed {run.seed}", data, caption))
    return films
