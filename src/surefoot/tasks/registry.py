"""Tasks that have a class: Surefoot's own, some of Gymnasium's, and those of users; and the search by name."""

import dataclasses
import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import gymnasium

from surefoot.errors import InputError, message_of, suggestion
from surefoot.settings import Settings, validate
from surefoot.tasks import envpool_env
from surefoot.tasks.task import FallRule, Task, TaskDescription

TaskClass = TypeVar("TaskClass", bound=type[Task])
_LOCAL = "local/"  # ids of tasks that a class or function of a script makes


@dataclasses.dataclass(frozen=True)
class Entry:
    """A task that has a class.

    Attributes:
        id: Gymnasium id.
        source: the class; for built-in tasks "module:Class", imported when first used.
        short_name: name on the command line, or None.
        max_episode_steps: time limit in actions; None for no limit, and for Gymnasium's own limit.
    """

    id: str
    source: str | type[Task]
    short_name: str | None = None
    max_episode_steps: int | None = None

    @property
    def target(self) -> str:
        """Module and name of the class, "module:Class"."""
        return self.source if isinstance(self.source, str) else f"{self.source.__module__}:{self.source.__qualname__}"

    @property
    def task(self) -> type[TaskDescription]:
        """The class."""
        if not isinstance(self.source, str):
            return self.source
        module, name = self.source.split(":")
        return getattr(importlib.import_module(module), name)

    @property
    def name(self) -> str:
        """Name by which recipes and policy files call the task; importing the module in it registers the task."""
        if isinstance(self.source, str):
            return self.short_name or self.id
        return self.id if self.target.startswith("__main__:") or "<locals>" in self.target else self.target

    @property
    def gymnasium_id(self) -> str:
        """Id with the module that registers the task, so that worker processes can make it."""
        return f"{self.target.partition(':')[0]}:{self.id}" if ":" in self.name else self.id


_WALKER, _MUJOCO = "surefoot.tasks.gymnasium.bipedal_walker:BipedalWalker", "surefoot.tasks.gymnasium.mujoco"
ENTRIES: dict[str, Entry] = {
    entry.id: entry
    for entry in (
        Entry("BipedalWalker-v3", _WALKER, "bipedal-walker"),
        Entry("BipedalWalkerHardcore-v3", _WALKER, "bipedal-walker-hardcore"),
        Entry("HalfCheetah-v5", f"{_MUJOCO}:HalfCheetah", "half-cheetah"),
        Entry("Ant-v5", f"{_MUJOCO}:Ant", "ant"),
        *(Entry(f"{name}-v5", f"{_MUJOCO}:{name}") for name in ("Walker2d", "Hopper", "Swimmer", "Humanoid")),
        Entry("surefoot/AnymalC-v0", "surefoot.tasks.anymal:AnymalC", "anymal", 800),
        Entry("surefoot/AnymalCStep-v0", "surefoot.tasks.anymal:AnymalCStep", "anymal-step", 800),
        Entry("surefoot/AnymalCVelocity-v0", "surefoot.tasks.velocity.task:AnymalCVelocity", "anymal-velocity", 1000),
        Entry("surefoot/Velocity-v0", "surefoot.tasks.velocity.task:Velocity", "velocity", 1000),
        Entry("surefoot/LearningToRun-v0", "surefoot.tasks.running.task:LearningToRun", "learning-to-run", 1000),
        Entry("surefoot/Walk-v0", "surefoot.tasks.walk:Walk", "walk", 1000),
    )
}


def register(
    id: str, *, short_name: str | None = None, max_episode_steps: int | None = None
) -> Callable[[TaskClass], TaskClass]:
    """Register a subclass of `Task` with Surefoot and Gymnasium; a class decorator.

    Args:
        id: Gymnasium id, such as "my/Hop-v0".
        short_name: name on the command line, once the module is imported.
        max_episode_steps: time limit in actions; None for no limit.

    Raises:
        TypeError: the class is not a `Task`, or does not set its fall rule.
        ValueError: the id or the short name belongs to another task.
    """

    def decorate(task: TaskClass) -> TaskClass:
        name = getattr(task, "__name__", repr(task))
        if not (isinstance(task, type) and issubclass(task, Task)):
            raise TypeError(f"{name} is not a subclass of surefoot.tasks.Task")
        rules = get_args(FallRule)
        if getattr(task, "fall", None) not in rules:
            raise TypeError(f"{name} must state its fall rule: fall = {' or '.join(map(repr, rules))}")
        if not (isinstance(task.Options, type) and issubclass(task.Options, Settings)):
            raise TypeError(f"{name}.Options must be a subclass of surefoot.tasks.TaskOptions")
        entry = Entry(id, task, short_name, max_episode_steps)
        for other in ENTRIES.values():
            same = other.target == entry.target  # the module was imported again
            if not same and (other.id == id or (short_name and other.short_name == short_name)):
                raise ValueError(f"{name}: '{other.id}' already has this id or short name")
        if id in gymnasium.registry and id not in ENTRIES:
            raise ValueError(f"{name}: Gymnasium already has a task '{id}'")
        ENTRIES[id] = entry
        gymnasium.registry.pop(id, None)
        register_with_gymnasium()
        return task

    return decorate


def register_with_gymnasium() -> None:
    """Register the tasks that Gymnasium does not know yet; done when this module is imported."""
    for entry in ENTRIES.values():
        if entry.id not in gymnasium.registry:
            gymnasium.register(
                entry.id,
                entry_point="surefoot.tasks.task_env:TaskEnv",
                vector_entry_point="surefoot.simulation.factory:make_vector",
                max_episode_steps=entry.max_episode_steps,
                kwargs={"task": entry.id},
            )


def find_entry(id: str) -> Entry | None:
    """Return the entry of a Gymnasium id, with or without "module:"; versions of a Gymnasium task share an entry."""
    id = id.rpartition(":")[2]
    stem = id.rpartition("-v")[0]
    versions = (entry for entry in ENTRIES.values() if "/" not in stem and entry.id.rpartition("-v")[0] == stem)
    return ENTRIES.get(id) or next(versions, None)


def short_names() -> dict[str, str]:
    """Return the Gymnasium ids of all tasks that have a short name."""
    return {entry.short_name: entry.id for entry in ENTRIES.values() if entry.short_name}


def resolve(name: str) -> tuple[str, str]:
    """Return a task's canonical name, by which recipes call it, and its Gymnasium id; no environment is made.

    Args:
        name: a short name, a Gymnasium id, "module:id", or "module:Class". The module is imported, which registers its
            tasks.

    Raises:
        InputError: no such task.
    """
    if not isinstance(name, str):
        raise InputError(f"a task is named by a text, not by {name!r:.60}")
    module, colon, rest = name.partition(":")
    id, target, stated = short_names().get(name, name), None, None
    if colon:
        stated = getattr(_import(name, module), rest, None)
        if isinstance(stated, type) and issubclass(stated, TaskDescription):
            target = f"{stated.__module__}:{stated.__qualname__}"
        id = rest
    for entry in ENTRIES.values():
        if target == entry.target or (target is None and id == entry.id):
            return entry.name, entry.gymnasium_id
    if target:
        raise InputError(
            f"task '{name}': the class '{rest}' is not registered; put @surefoot.tasks.register(...) above it"
        )
    if id in gymnasium.registry or (not colon and envpool_env.register(id)):
        return name, name
    if id.startswith(_LOCAL):
        raise InputError(
            f"task '{name}' was made by a class or function of another process; define it in a module and train it "
            "from there, as 'module:name'"
        )
    if callable(stated):
        return name, f"{module}:{_register_factory(rest, stated)}"
    own = {entry.target.partition(":")[2] for entry in ENTRIES.values() if entry.target.startswith(f"{module}:")}
    names = own or gymnasium.registry if colon else {*short_names(), *gymnasium.registry, *envpool_env.envpool_ids()}
    raise InputError(f"unknown task '{name}'" + suggestion(id, names, command="surefoot list"))


def name_of(task: Any) -> str:
    """Return the name of the task of an environment, or of a class or function that makes one; register it if needed.

    Other processes know the task only if its class or function can be imported from a module.

    Raises:
        InputError: it is none of these, or an environment that cannot be made again.
    """
    if isinstance(task, gymnasium.Env):
        if task.spec is None:
            raise InputError(
                f"{type(task).__name__}: an environment that gymnasium.make did not make cannot be made again; give "
                "its class, or a function that makes it"
            )
        spec, plain = task.spec, gymnasium.spec(task.spec.id)
        changed = (spec.kwargs, spec.max_episode_steps) != (plain.kwargs, plain.max_episode_steps)
        if not spec.additional_wrappers and not changed:
            return resolve(spec.id)[0]
        return _register_factory(spec.name, lambda **kwargs: gymnasium.make(spec, **kwargs))
    if not callable(task):
        raise InputError(f"task {task!r}: give a name, an environment, or a class or function that makes one")
    if (entry := next((entry for entry in ENTRIES.values() if entry.source is task), None)) is not None:
        return entry.name
    module, name = getattr(task, "__module__", ""), getattr(task, "__qualname__", type(task).__name__)
    if module != "__main__" and getattr(sys.modules.get(module), name, None) is task:
        return resolve(f"{module}:{name}")[0]
    return _register_factory(name, task)


def is_local(name: str) -> bool:
    """Whether no other process can make a task: its class or function is part of a script, not of a module."""
    id = resolve(name)[1]
    if ":" in id:
        return id.startswith("__main__:")
    entry = find_entry(id)
    if entry and entry.id == id:
        return not isinstance(entry.source, str)
    entry_point = gymnasium.spec(id).entry_point
    return not isinstance(entry_point, str) or entry_point.startswith("__main__:")


def _register_factory(name: str, make: Callable[..., gymnasium.Env]) -> str:
    """Register a class or function that makes environments with Gymnasium; return its id."""
    id = f"{_LOCAL}{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'Task'}-v0"
    gymnasium.registry.pop(id, None)
    gymnasium.register(id, entry_point=make)
    return id


def make_task(id: str, options: dict[str, Any], headless: bool = False) -> Task:
    """Construct the task registered as `id`, without visual geometry if `headless`.

    Gymnasium's own option `max_episode_steps` is ignored.

    Raises:
        InputError: an option is unknown or has a wrong value; the message names it.
    """
    entry = ENTRIES[id]
    assert issubclass(entry.task, Task)
    own = {option: value for option, value in options.items() if option != "max_episode_steps"}
    if headless:
        own = {**entry.task.headless_options, **own}
    return entry.task(validate(entry.task.Options, own, f"task '{entry.short_name or id}'", noun="option"))


def _import(task: str, module: str) -> Any:
    """Import the module of a task; also from the current folder, after other folders."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the module may raise anything
        reason = message_of(error)
        raise InputError(f"task '{task}': the module '{module}' cannot be imported: {reason}") from error


register_with_gymnasium()
