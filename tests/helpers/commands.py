"""Commands of child processes, run in this process, where JAX and compiled functions are loaded already."""

from types import SimpleNamespace

import pytest

from surefoot.cli.main import main
from surefoot.studies import seeds


class _Finished(SimpleNamespace):
    """Stands for a process that has ended."""

    __hash__ = object.__hash__


def run_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `surefoot seeds` run its trainings and evaluations in this process, without measuring the machine's load."""

    def start(words, cores):
        status = main(words)
        return _Finished(returncode=status, poll=lambda: status, terminate=lambda: None, wait=lambda: status)

    monkeypatch.setattr(seeds, "start_surefoot", start)
    monkeypatch.setattr(seeds, "background_load", lambda: None)
    monkeypatch.setattr(seeds, "_POLL_S", 0.0)
