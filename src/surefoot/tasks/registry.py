"""Surefoot's own tasks and those of users, by Gymnasium id.

Surefoot's own classes are imported when first used, so that `import surefoot` is fast.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import gymnasium

if TYPE_CHECKING:
    from surefoot.tasks.task import Task

    TaskClass = TypeVar("TaskClass", bound=type[Task])


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered task.

    Attributes:
        id: Gymnasium id.
        source: the task's class; "module:Class" for those that come with Surefoot.
        short_name: name on the command line, or None.
        max_episode_steps: time limit in actions, or None.
    """

    id: str
    source: "str | type[Task]"
    short_name: str | None
    max_episode_steps: int | None

    @property
    def built_in(self) -> bool:
        """Whether the task comes with Surefoot."""
        return isinstance(self.source, str)

    @property
    def target(self) -> str:
        """Module and name of the class, "module:Class"."""
        if isinstance(self.source, str):
            return self.source
        return f"{self.source.__module__}:{self.source.__qualname__}"

    @property
    def task(self) -> "type[Task]":
        """The task's class."""
        if not isinstance(self.source, str):
            return self.source
        module, name = self.source.split(":")
        return getattr(importlib.import_module(module), name)

    @property
    def name(self) -> str:
        """Name by which recipes and policy files call the task; importing the module in it registers the task."""
        if self.built_in:
            return self.short_name or self.id
        return self.id if self.target.startswith("__main__:") or "<locals>" in self.target else self.target

    @property
    def gymnasium_id(self) -> str:
        """Id with the module that registers the task, so that worker processes can make it."""
        return f"{self.task.__module__}:{self.id}" if ":" in self.name else self.id


ENTRIES: dict[str, Entry] = {
    entry.id: entry
    for entry in (
        Entry("surefoot/AnymalC-v0", "surefoot.tasks.anymal:AnymalC", "anymal", 800),
        Entry("surefoot/AnymalCStep-v0", "surefoot.tasks.anymal:AnymalCStep", "anymal-step", 800),
        Entry("surefoot/AnymalCVelocity-v0", "surefoot.tasks.velocity.task:AnymalCVelocity", "anymal-velocity", 1000),
        Entry("surefoot/Velocity-v0", "surefoot.tasks.velocity.task:Velocity", "velocity", 1000),
        Entry("surefoot/Walk-v0", "surefoot.tasks.walk:Walk", "walk", 1000),
    )
}


def register(
    id: str, *, short_name: str | None = None, max_episode_steps: int | None = None
) -> "Callable[[TaskClass], TaskClass]":
    """Register a subclass of `Task` with Surefoot and Gymnasium; a class decorator.

    Args:
        id: Gymnasium id, such as "my/Hop-v0".
        short_name: name on the command line, once the module is imported.
        max_episode_steps: time limit in actions; None for no limit.

    Raises:
        TypeError: the class is not a `Task`, or does not set its fall rule.
        ValueError: the id or the short name belongs to another task.
    """

    from surefoot.tasks.gymnasium import GYMNASIUM_TASKS

    def decorate(task: "TaskClass") -> "TaskClass":
        _check(task)
        entry = Entry(id, task, short_name, max_episode_steps)
        for other in ENTRIES.values():
            same = other.target == entry.target  # the module was imported again
            if not same and (other.id == id or (short_name and other.short_name == short_name)):
                raise ValueError(f"{task.__name__}: '{other.id}' already has this id or short name")
        if short_name and any(other.short_name == short_name for other in GYMNASIUM_TASKS):
            raise ValueError(f"{task.__name__}: a task of Gymnasium already has the short name '{short_name}'")
        if id in gymnasium.registry and id not in ENTRIES:
            raise ValueError(f"{task.__name__}: Gymnasium already has a task '{id}'")
        ENTRIES[id] = entry
        _register_with_gymnasium(entry)
        return task

    return decorate


def register_built_in() -> None:
    """Register Surefoot's own tasks with Gymnasium, once."""
    for entry in ENTRIES.values():
        if entry.id not in gymnasium.registry:
            _register_with_gymnasium(entry)


def find_entry(id: str) -> Entry | None:
    """Return the registered task with a Gymnasium id, with or without "module:" before it."""
    return ENTRIES.get(id.rpartition(":")[2])


def make_task(id: str, options: dict[str, Any], headless: bool = False) -> "Task":
    """Construct a registered task; Gymnasium's own option `max_episode_steps` is ignored.

    Args:
        id: Gymnasium id.
        options: the task's options.
        headless: whether to leave out visual geometry.

    Raises:
        InputError: an option is unknown or has a wrong value; the message names it.
    """
    from surefoot.settings import validate

    entry = ENTRIES[id]
    own = {option: value for option, value in options.items() if option != "max_episode_steps"}
    if headless:
        own = {**entry.task.headless_options, **own}
    source = f"task '{entry.short_name or id}'"
    return entry.task(validate(entry.task.Options, own, source, noun="option"))


def _check(task: Any) -> None:
    """Raise a TypeError if a class is not a `Task` or lacks a required attribute."""
    from surefoot.settings import Settings
    from surefoot.tasks.task import FallRule, Task

    name = getattr(task, "__name__", repr(task))
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise TypeError(f"{name} is not a subclass of surefoot.tasks.Task")
    rules = get_args(FallRule)
    if getattr(task, "fall", None) not in rules:
        raise TypeError(f"{name} must state its fall rule: fall = {' or '.join(map(repr, rules))}")
    if not (isinstance(task.Options, type) and issubclass(task.Options, Settings)):
        raise TypeError(f"{name}.Options must be a subclass of surefoot.tasks.TaskOptions")


def _register_with_gymnasium(entry: Entry) -> None:
    gymnasium.registry.pop(entry.id, None)
    gymnasium.register(
        entry.id,
        entry_point="surefoot.tasks.task_env:TaskEnv",
        vector_entry_point="surefoot.simulation.factory:make_vector",
        max_episode_steps=entry.max_episode_steps,
        kwargs={"id": entry.id},
    )
