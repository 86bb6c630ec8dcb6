"""Films of the best runs of a comparison."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from surefoot.errors import SurefootError
from surefoot.evaluation.episodes import EVALUATION_SEEDS
from surefoot.policies.files import load_policy
from surefoot.recipes.files import read_recipe
from surefoot.reports import video
from surefoot.reports.report import recorded_video
from surefoot.runs.folder import RunFolder
from surefoot.tasks.catalogue import find_policy_task

MAX_FILMS = 6
_SECONDS = 6.0
_SIZE = (480, 360)
_FPS = 25.0


def film_of(folder: RunFolder, progress: Callable[[int, int], None]) -> tuple[bytes | None, str]:
    """Return the film of a run's best policy, MP4, and its caption; or None and the reason why there is none."""
    try:
        path = folder.find_policy()
        if (recorded := recorded_video(folder, path)) is not None:
            return recorded
        policy, recipe = load_policy(path), read_recipe(folder.recipe)
        trusted = recipe.names(policy.task, policy.task_options)
        info = find_policy_task(policy.task, policy.task_options, trusted=trusted)
        with tempfile.TemporaryDirectory() as temporary:
            film = Path(temporary) / "film.mp4"
            options = {"seconds": _SECONDS, "size": _SIZE, "fps": _FPS, "seed": EVALUATION_SEEDS}
            video.record(policy, info, film, progress=progress, **options)
            return film.read_bytes(), f"The first {_SECONDS:g} s of a held-out episode."
    except (SurefootError, OSError) as error:
        return None, f"{error}."
