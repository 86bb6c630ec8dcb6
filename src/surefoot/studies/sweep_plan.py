"""The plan of a sweep: recipe, search space and objectives, kept in the study's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from surefoot.errors import InputError, RunError
from surefoot.recipes.make import make_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.folder import task_folder
from surefoot.settings import Settings, validate
from surefoot.studies.folder import StudyFolder, is_study
from surefoot.studies.search_space import (
    Space,
    SpaceFile,
    default_space,
    dump_space,
    fitted,
    load_space,
    named_space,
    parse_space,
)
from surefoot.studies.trial_book import require_optuna

_EVALUATIONS = 10  # of a trial by default, so that pruning has a learning curve


class SweepPlan(Settings):
    """Description of a sweep, in the study's folder."""

    kind: Literal["sweep"] = "sweep"
    name: str
    """Name of the study."""
    recipe: dict[str, Any]
    """Recipe that holds all settings outside the search space, as plain data."""
    space: dict[str, Any]
    """The search space."""
    average: Literal["mean", "iqm"] = "mean"
    """Average of held-out returns that is maximised."""
    pareto: tuple[Literal["time", "entropy"], ...] = ()
    """Further objectives: less training time, more entropy of the actions."""
    episodes: int = Field(100, ge=1, le=1_000_000)
    """Held-out episodes of each trial."""
    seed: int = Field(0, ge=0, le=100_000)
    """Seed of the sampler."""
    pruning: bool = True
    """Whether trials with poor learning curves are pruned; not with several objectives."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives in Optuna's order."""
        return ("return", *self.pareto)

    @property
    def base(self) -> Recipe:
        """The recipe outside the search space."""
        return validate(Recipe, self.recipe, f"study '{self.name}'")

    @property
    def ranges(self) -> Space:
        """The search space."""
        return parse_space(self.space, f"study '{self.name}'")


def plan_sweep(
    task: str | None,
    recipe: str | None = None,
    space: str | None = None,
    search: tuple[str, ...] = (),
    changes: Mapping[str, Any] | None = None,
    name: str | None = None,
    **options: Any,
) -> SweepPlan:
    """Return the plan of a new sweep.

    Args:
        task: a short name or a Gymnasium id; None: that of the search space.
        recipe: recipe of all settings outside the search space; None: the task's own, or the defaults.
        space: name or file of a search space.
        search: settings to search, with the ranges of the algorithm or their own limits.
        changes: settings by dotted name.
        name: name of the study.
        **options: other fields of `SweepPlan`.

    Raises:
        InputError: a name, a range or a value is wrong.
    """
    file = load_space(space) if space else SpaceFile(space={})
    if space and search:
        raise InputError("--space and --search both give the search space; choose one")
    task = task or file.task
    if task is None:
        raise InputError("which task? such as 'surefoot sweep half-cheetah' (see 'surefoot list')")
    if Path(task).is_dir():
        raise InputError(f"'{task}' is a folder without a study; name a task, or the folder of a sweep")
    changes = {**file.fixed(), **(changes or {})}
    base = make_recipe(task, recipe or file.recipe, changes)
    if "training.evaluate_every" not in changes:
        every = max(1, base.training.steps // _EVALUATIONS)
        base = validate(Recipe, replaced(base, {"training.evaluate_every": every}), "settings")
    own = named_space(search, base) if search else default_space(base)
    ranges = file.ranges(space) if space else own
    for setting in [name for name in ranges if name in changes]:
        if search:
            raise InputError(f"{setting} is both searched and set to {changes[setting]}; choose one")
        del ranges[setting]
    data = {
        "name": name or (file.name if space else f"{task_folder(base.task)}-{base.algorithm}-sweep"),
        "recipe": base.model_dump(mode="json", exclude_none=True),
        "space": dump_space(fitted(ranges, base)),
    }
    plan = validate(SweepPlan, data | options, "settings")
    if "entropy" in plan.pareto and base.algorithm not in ("ppo", "sac"):
        raise InputError(f"--pareto entropy: the actions of '{base.algorithm}' have no entropy")
    return plan


def open_sweep(plan: SweepPlan | str, root: Path | str) -> tuple[StudyFolder, SweepPlan]:
    """Make the folder of a sweep, or open it if it exists with the same plan; a text is an existing study.

    Raises:
        RunError: the study exists with another plan, or there is no such study.
    """
    require_optuna()
    if isinstance(plan, str):
        folder = StudyFolder.open(plan, root)
        return folder, _read(folder)
    path = Path(root) / plan.name
    if not is_study(path):
        return StudyFolder.create(root, plan.name, plan.model_dump(mode="json")), plan
    folder = StudyFolder(path)
    before, now = _read(folder).model_dump(mode="json"), plan.model_dump(mode="json")
    if differing := [name for name in now if now[name] != before[name]]:
        raise RunError(
            f"study '{path}' exists with another {differing[0]}; choose another --name, or continue it with: surefoot "
            f"sweep {path}"
        )
    return folder, plan


def _read(folder: StudyFolder) -> SweepPlan:
    data = folder.read()
    if data["kind"] != "sweep":
        raise RunError(f"'{folder.path}' is a study of kind '{data['kind']}', not a sweep")
    return validate(SweepPlan, data, str(folder.description))
