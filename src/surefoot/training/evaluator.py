"""Judging the policy of a training on the way: at once, or beside the learner in a thread of its own."""

import dataclasses
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from surefoot.errors import NonFiniteError
from surefoot.evaluation.episodes import CONFIRMATION_SEEDS, SELECTION_SEEDS, EpisodeRunner, Episodes
from surefoot.policies.policy import Policy
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo

# Fewer than lie between the first seeds of two uses.
_SEEDS_OF_A_USE = 200_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        policy: which policy it judged.
        step: environment steps it had been trained for.
        mean: its mean return.
        confirmed: that of the episodes that were to confirm `stop_at_return`, as far as they went; None if there were
            none.
        solved: whether they did confirm it, and few enough of them ended in a fall.
        values: what to log.
    """

    policy: Policy
    step: int
    mean: float
    confirmed: float | None
    solved: bool
    values: dict[str, float]

    @property
    def score(self) -> float:
        """By what it is compared with others: the mean of more episodes, where there are more."""
        return self.mean if self.confirmed is None else self.confirmed


class Evaluator:
    """Copies of the task kept ready for evaluations.

    Args:
        engine: the name of the engine.
        info: the task.
        recipe: how many episodes, and what shall be confirmed.
        stop: asked again and again; True breaks an evaluation off.
    """

    def __init__(self, engine: str, info: TaskInfo, recipe: Recipe, stop: Callable[[], bool]) -> None:
        self._engine = engine
        self._info = info
        self._recipe = recipe
        self._stop = stop
        # By how many episodes they are for: the more copies, the less a step costs.
        self._evaluators: dict[int, EpisodeRunner] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[EvaluationResult | None] | None = None

    def judge(self, policy: Policy, step: int, number: int) -> EvaluationResult | None:
        """Judge a policy by the episodes of the `number`th evaluation; None if broken off.

        Raises:
            NonFiniteError: a return is not finite.
            EngineError: a simulator failed.
        """
        settings = self._recipe.training
        count = settings.evaluation_episodes
        episodes = self._run(policy, count, count, SELECTION_SEEDS + number * count % _SEEDS_OF_A_USE)
        if episodes is None:
            return None
        if not np.isfinite(episodes.returns).all():
            found = {"returns": episodes.returns, "lengths": episodes.lengths}
            raise NonFiniteError("a return of an evaluation is not finite", found)
        mean, values, confirmed, solved = float(episodes.returns.mean()), _describe(episodes), None, False
        goal = settings.stop_at_return
        if goal is not None and _may_reach(episodes, goal) and self._stands(episodes):
            more = self._confirm(policy, number, goal)
            if more is None:
                return None
            values["evaluation/confirmed_return"] = confirmed = float(more.returns.mean())
            values["evaluation/confirmed_episodes"] = len(more.returns)
            if more.falls is not None:
                values["evaluation/confirmed_falls"] = int(np.sum(more.falls))
            solved = confirmed >= goal and self._stands(more)
        return EvaluationResult(policy, step, mean, confirmed, solved, values)

    def begin(self, policy: Policy, step: int, number: int) -> None:
        """Begin to judge beside the caller; `verdict` tells what was found."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "surefoot-judge")
        self._pending = self._pool.submit(self.judge, policy, step, number)

    @property
    def busy(self) -> bool:
        """Whether a verdict that was begun has not been fetched."""
        return self._pending is not None

    def verdict(self, wait: bool) -> EvaluationResult | None:
        """Fetch what was begun, once; None if it is not done yet, unless one waits, or if it was broken off.

        Raises:
            SurefootError: as `judge`.
        """
        pending = self._pending
        if pending is None or not (wait or pending.done()):
            return None
        self._pending = None
        return pending.result()

    def close(self) -> None:
        """Wait for what was begun, and release the copies; `stop` should say True by now."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for evaluator in self._evaluators.values():
            evaluator.close()

    def _confirm(self, policy: Policy, number: int, goal: float) -> Episodes | None:
        """Run the episodes that are to confirm, or as many quarters of them as it takes to fall short of the goal."""
        settings = self._recipe.training
        all_in_all = settings.confirm_episodes
        quarter = math.ceil(all_in_all / 4)
        so_far: Episodes | None = None
        for first in range(0, all_in_all, quarter):
            count = min(quarter, all_in_all - first)
            seed = CONFIRMATION_SEEDS + number * all_in_all % _SEEDS_OF_A_USE + first
            part = self._run(policy, quarter, count, seed)
            if part is None:
                return None
            so_far = part if so_far is None else so_far + part
            fallen = 0 if so_far.falls is None else so_far.falls.sum()
            if not _may_reach(so_far, goal) or fallen > settings.stop_at_falls * all_in_all:
                break
        return so_far

    def _stands(self, episodes: Episodes) -> bool:
        """Tell whether few enough of the episodes ended in a fall."""
        return episodes.falls is None or float(np.mean(episodes.falls)) <= self._recipe.training.stop_at_falls

    def _run(self, policy: Policy, prepared: int, episodes: int, seed: int) -> Episodes | None:
        """Run `episodes` episodes on copies that were made for `prepared` of them; None if broken off."""
        if prepared not in self._evaluators:
            self._evaluators[prepared] = EpisodeRunner(self._engine, self._info, prepared, self._recipe.engine.threads)
        return self._evaluators[prepared].run(policy.controller, episodes, seed, self._stop)


def _may_reach(episodes: Episodes, goal: float) -> bool:
    """Tell whether a mean return of `goal` is within a standard error of what was found, or below."""
    error = episodes.returns.std() / math.sqrt(len(episodes.returns))
    return episodes.returns.mean() + error >= goal


def _describe(episodes: Episodes) -> dict[str, float]:
    values = {
        "evaluation/return": float(episodes.returns.mean()),
        "evaluation/return_sd": float(episodes.returns.std()),
        "evaluation/length": float(episodes.lengths.mean()),
        "evaluation/episodes": len(episodes.returns),
        "evaluation/seconds": episodes.seconds,
    }
    if episodes.falls is not None:
        values["evaluation/falls"] = int(np.sum(episodes.falls))
    return values
