"""Observation, reward and termination of each task.

A task of your own is a subclass of `Task`, registered by the decorator `register`, in any module that can be imported;
`surefoot train my_tasks:Hop` trains it. See docs/howto/new_task.md.
"""

import importlib

# Worker processes import this package, so that nothing is imported before it is used.
_EXPORTS = {
    "Task": "surefoot.tasks.task",
    "TaskOutput": "surefoot.tasks.task",
    "State": "surefoot.tasks.task",
    "TaskOptions": "surefoot.tasks.task",
    "register": "surefoot.tasks.registry",
    "Body": "surefoot.bodies.body",
    "Foot": "surefoot.bodies.body",
}


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'surefoot.tasks' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(_EXPORTS)
