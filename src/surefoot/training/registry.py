"""All learners, by the name in an algorithm's record."""

from collections.abc import Callable, Sequence

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.recipes.recipe import Recipe
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.training.learner import Learner
from surefoot.training.off_policy import OffPolicyLearner
from surefoot.training.on_policy import OnPolicyLearner
from surefoot.training.random_search import RandomSearchLearner

LEARNERS: dict[str, type[Learner]] = {
    "on_policy": OnPolicyLearner,
    "off_policy": OffPolicyLearner,
    "random_search": RandomSearchLearner,
}


def make_learner(recipe: Recipe, info: TaskInfo, engines: Sequence[Engine], stop: Callable[[], bool]) -> Learner:
    """Make the learner of the recipe's algorithm; arguments as for `Learner`."""
    return LEARNERS[ALGORITHMS[recipe.algorithm].learner](recipe, info, engines, stop)
