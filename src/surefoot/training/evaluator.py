"""Evaluation of the policy during training."""

import dataclasses
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from surefoot.errors import InputError, NonFiniteError, SurefootError
from surefoot.evaluation.episodes import CONFIRMATION_SEEDS, SELECTION_SEEDS, EpisodeRunner, Episodes
from surefoot.policies.policy import Policy
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo

# Less than the distance between two seed ranges of `evaluation.episodes`.
_SEEDS_PER_RANGE = 200_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Result of one evaluation."""

    policy: Policy  # the evaluated policy
    step: int  # environment steps it was trained for
    mean: float  # mean return
    confirmed: float | None  # mean return of the confirming episodes, if any
    solved: bool  # whether they confirmed `stop_at_return` and `stop_at_falls`
    values: dict[str, float]  # metrics to log

    @property
    def score(self) -> float:
        """Mean return by which the best policy is chosen: that of the confirming episodes, if there are any."""
        return self.mean if self.confirmed is None else self.confirmed


class Evaluator:
    """Evaluates policies on separate environments; in asynchronous mode, in a thread.

    Args:
        engine: name of the engine.
        info: the task.
        recipe: the run's recipe.
        stop: polled during an evaluation; once it returns True, the evaluation is cancelled.

    Raises:
        InputError: the environments cannot be made.

    Attributes:
        policy: the policy whose evaluation was started and whose result was not yet returned, or None.
    """

    def __init__(self, engine: str, info: TaskInfo, recipe: Recipe, stop: Callable[[], bool]) -> None:
        self._engine = engine
        self._info = info
        self._recipe = recipe
        self._stop = stop
        self._closed = False
        # By number of episodes. All episodes run in parallel, because larger batches take less time per environment.
        self._runners: dict[int, EpisodeRunner] = {}
        try:  # before the training, not after its first steps
            self._runner(recipe.training.evaluation_episodes)
        except SurefootError as error:
            raise InputError(f"evaluations need environments beside those of the training: {error}") from error
        self._pool: ThreadPoolExecutor | None = None
        if recipe.training.mode == "asynchronous":
            self._pool = ThreadPoolExecutor(1, "surefoot-evaluator")
        self.policy: Policy | None = None
        self._result: Callable[[], EvaluationResult | None] = lambda: None

    def start(self, policy: Policy, step: int, number: int) -> None:
        """Start the `number`th evaluation, of a policy trained for `step` steps."""
        evaluation = functools.partial(self._evaluate, policy, step, number)
        self.policy = policy
        self._result = self._pool.submit(evaluation).result if self._pool else evaluation

    def result(self) -> EvaluationResult | None:
        """Wait for the result of the evaluation that was started; None if it was cancelled.

        Raises:
            NonFiniteError: a return is not finite.
            EngineError: a simulator failed.
        """
        result = self._result()
        if result is not None:
            self.policy = None
        return result

    def close(self) -> None:
        """Cancel an evaluation and release the environments."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for runner in self._runners.values():
            runner.close()

    def _evaluate(self, policy: Policy, step: int, number: int) -> EvaluationResult | None:
        settings = self._recipe.training
        count = settings.evaluation_episodes
        episodes = self._run(policy, count, count, SELECTION_SEEDS + number * count % _SEEDS_PER_RANGE)
        if episodes is None:
            return None
        if not np.isfinite(episodes.returns).all():
            arrays = {"returns": episodes.returns, "lengths": episodes.lengths}
            first = np.flatnonzero(~np.isfinite(episodes.returns))[0]
            raise NonFiniteError(f"the return of episode {first} of an evaluation is {episodes.returns[first]}", arrays)
        mean, confirmed, solved = float(episodes.returns.mean()), None, False
        values = {
            "evaluation/return": mean,
            "evaluation/return_sd": float(episodes.returns.std()),
            "evaluation/length": float(episodes.lengths.mean()),
            "evaluation/episodes": len(episodes.returns),
            "evaluation/seconds": episodes.seconds,
        }
        if episodes.falls is not None:
            values["evaluation/falls"] = int(np.sum(episodes.falls))
        goal = settings.stop_at_return
        if goal is not None and _may_reach(episodes, goal) and self._few_falls(episodes):
            more = self._confirm(policy, number, goal)
            if more is None:
                return None
            values["evaluation/confirmed_return"] = confirmed = float(more.returns.mean())
            values["evaluation/confirmed_episodes"] = len(more.returns)
            if more.falls is not None:
                values["evaluation/confirmed_falls"] = int(np.sum(more.falls))
            solved = confirmed >= goal and self._few_falls(more)
        return EvaluationResult(policy, step, mean, confirmed, solved, values)

    def _confirm(self, policy: Policy, number: int, goal: float) -> Episodes | None:
        """Run the confirming episodes in quarters, until the goal is out of reach; None if cancelled."""
        settings = self._recipe.training
        total = settings.confirm_episodes
        quarter = math.ceil(total / 4)
        so_far: Episodes | None = None
        for first in range(0, total, quarter):
            count = min(quarter, total - first)
            seed = CONFIRMATION_SEEDS + number * total % _SEEDS_PER_RANGE + first
            part = self._run(policy, quarter, count, seed)
            if part is None:
                return None
            so_far = part if so_far is None else so_far + part
            fallen = 0 if so_far.falls is None else so_far.falls.sum()
            if not _may_reach(so_far, goal) or fallen > settings.stop_at_falls * total:
                break
        return so_far

    def _few_falls(self, episodes: Episodes) -> bool:
        """Whether the fraction of falls is at most `stop_at_falls`."""
        return episodes.falls is None or float(np.mean(episodes.falls)) <= self._recipe.training.stop_at_falls

    def _run(self, policy: Policy, most: int, episodes: int, seed: int) -> Episodes | None:
        """Run `episodes` episodes on environments made for up to `most` of them; None if cancelled."""
        return self._runner(most).run(policy.controller, episodes, seed, lambda _: self._closed or self._stop())

    def _runner(self, most: int) -> EpisodeRunner:
        if most not in self._runners:
            self._runners[most] = EpisodeRunner(self._engine, self._info, most, self._recipe.engine.threads)
        return self._runners[most]


def _may_reach(episodes: Episodes, goal: float) -> bool:
    """Whether `goal` is at most one standard error above the mean return."""
    error = episodes.returns.std() / math.sqrt(len(episodes.returns))
    return episodes.returns.mean() + error >= goal
