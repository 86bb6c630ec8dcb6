"""Surefoot teaches bodies with legs to walk, run and climb.

To import it also tells Gymnasium of its tasks: `gymnasium.make("surefoot/AnymalC-v0")`.
"""

import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surefoot.api import evaluate, load, make, report, resume, train

__all__ = ["evaluate", "load", "make", "report", "resume", "train"]


def __getattr__(name: str):
    # Nothing heavy is imported before it is asked for, so that the command line answers at once.
    if name in __all__:
        from surefoot import api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("surefoot")
        except PackageNotFoundError:  # run from its source, not installed
            return "unknown"
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _OnceGymnasiumIsImported(importlib.abc.MetaPathFinder):
    """Registers our tasks as soon as somebody imports Gymnasium, which takes too long to do so for every command."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def and_register(module):
                execute(module)
                _register()

            spec.loader.exec_module = and_register
        return spec


def _register() -> None:
    from surefoot.tasks.registry import register_built_in

    register_built_in()


if "gymnasium" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _OnceGymnasiumIsImported())
