"""The task as it is while it is learnt, which may differ from the one that is judged."""

from surefoot.errors import InputError
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo, find_task


def practised_task(recipe: Recipe) -> TaskInfo:
    """Return the task with the recipe's `train_task_options`.

    Raises:
        InputError: there is no such option, or it changes what is observed or done.
    """
    judged = find_task(recipe.task, recipe.seen_options)
    if not recipe.train_task_options:
        return judged
    info = find_task(recipe.task, recipe.seen_options | recipe.train_task_options)
    if (info.observation_size, info.action_size) != (judged.observation_size, judged.action_size):
        raise InputError("train_task_options change what is observed or done; such options belong to task_options")
    return info
