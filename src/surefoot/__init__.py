"""Surefoot teaches bodies with legs to walk, run and climb."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surefoot.face import evaluate, load, make, report, resume, train

__all__ = ["evaluate", "load", "make", "report", "resume", "train"]


def __getattr__(name: str):
    # Nothing heavy is imported before it is asked for, so that the command line answers at once.
    if name in __all__:
        from surefoot import face

        return getattr(face, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("surefoot")
        except PackageNotFoundError:  # run from its source, not installed
            return "unknown"
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
