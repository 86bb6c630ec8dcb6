"""The persistent compilation cache: its folder, its repair, and its use by two processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from surefoot import compilation_cache
from surefoot.compilation_cache import VARIABLE, cache_folder, use_compilation_cache

pytest.importorskip("filelock")

# Prints the number of functions that were read from the cache.
_COMPILE = """
import jax
from surefoot.compilation_cache import use_compilation_cache
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None)
assert use_compilation_cache() is not None
jax.jit(lambda x: x @ x)(jax.numpy.ones((3, 3)))
print(len(hits))
"""


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No cache is configured; what a test configures is undone."""
    for name in [name for name in os.environ if name.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))]:
        monkeypatch.delenv(name)
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield monkeypatch
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_second_process_reads_what_the_first_one_compiled(tmp_path: Path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION")}
    environment |= {VARIABLE: str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    hits = []
    for _ in range(2):
        result = subprocess.run([sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        hits.append(int(result.stdout))
    assert hits[0] == 0 and hits[1] > 0


def test_size_limit_and_folder(tmp_path: Path, unset: pytest.MonkeyPatch):
    unset.setenv(VARIABLE, str(tmp_path))
    folder = use_compilation_cache()
    assert folder is not None and folder.parent == tmp_path and "jaxlib-" in folder.name
    assert jax.config.jax_compilation_cache_max_size == compilation_cache.MAX_BYTES


def test_switched_off(unset: pytest.MonkeyPatch):
    unset.setenv(VARIABLE, "off")
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_the_users_own_cache_is_left_alone(tmp_path: Path, unset: pytest.MonkeyPatch):
    unset.setenv(VARIABLE, str(tmp_path / "other"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert use_compilation_cache() == tmp_path
    assert not (tmp_path / "other").exists()


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path, unset: pytest.MonkeyPatch):
    unset.setenv(VARIABLE, str(tmp_path))
    folder = cache_folder()
    assert folder is not None
    folder.mkdir()
    folder.chmod(0o777)
    assert use_compilation_cache() is None


def test_entries_cut_by_a_kill_are_removed(tmp_path: Path, unset: pytest.MonkeyPatch):
    unset.setenv(VARIABLE, str(tmp_path))
    folder = cache_folder()
    assert folder is not None
    folder.mkdir(mode=0o700)
    for name in ("whole-cache", "whole-atime", "cut-cache", "lost-atime"):
        (folder / name).write_bytes(b"12345678")
    use_compilation_cache()
    assert {path.name for path in folder.glob("*-*")} == {"whole-cache", "whole-atime"}
