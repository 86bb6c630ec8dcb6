"""Observation, reward and termination of each task.

A task of your own is a subclass of `Task`, registered by the decorator `register`, in any module that can be imported;
`surefoot train my_tasks:Hop` trains it. See docs/howto/new_task.md. Worker processes import this package; it must not
import JAX.
"""

from surefoot.bodies.body import Body, Foot
from surefoot.tasks.options import TaskOptions
from surefoot.tasks.registry import register
from surefoot.tasks.task import State, Task, TaskOutput
from surefoot.tasks.task_env import prepare_other_rendering

__all__ = ["Body", "Foot", "State", "Task", "TaskOptions", "TaskOutput", "register"]

prepare_other_rendering()
