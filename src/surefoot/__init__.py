"""Surefoot teaches legged robots to walk, run and climb.

The import registers its tasks with Gymnasium: `gymnasium.make("surefoot/AnymalC-v0")`.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surefoot.api import evaluate, export, load, load_exported, make, make_sb3, record, report, resume, train, watch
    from surefoot.studies.api import compare, seeds, sweep

__all__ = [
    "compare",
    "evaluate",
    "export",
    "load",
    "load_exported",
    "make",
    "make_sb3",
    "record",
    "report",
    "resume",
    "seeds",
    "sweep",
    "train",
    "watch",
]
_STUDIES = ("compare", "seeds", "sweep")


def __getattr__(name: str):
    # Heavy modules are imported on first use, so that the command line starts fast.
    if name in __all__:
        module = importlib.import_module("surefoot.studies.api" if name in _STUDIES else "surefoot.api")
        return getattr(module, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("surefoot")
        except PackageNotFoundError:  # run from the source tree, not installed
            return "unknown"
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _RegisterWithGymnasium(importlib.abc.MetaPathFinder):
    """Registers Surefoot's tasks when Gymnasium is imported; importing it here would slow down every command."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                if "surefoot.tasks" not in sys.modules:  # otherwise its import is in progress and registers them
                    importlib.import_module("surefoot.tasks")

            spec.loader.exec_module = execute_and_register
        return spec


if "gymnasium" in sys.modules:
    importlib.import_module("surefoot.tasks")
else:
    sys.meta_path.insert(0, _RegisterWithGymnasium())
