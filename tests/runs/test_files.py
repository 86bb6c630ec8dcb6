"""Writes are atomic, and arrays are restored bit for bit."""

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from surefoot.files import (
    MAX_HEADER_BYTES,
    atomic_file,
    atomic_write,
    load_arrays,
    read_header,
    save_arrays,
)

TYPES = [
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(TYPES).flatmap(
        lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    ),
    max_size=5,
)
SLOW_DISK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@SLOW_DISK
@given(arrays=ARRAYS, header=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_arrays_and_header_are_restored_bit_for_bit(tmp_path, arrays, header):
    path = tmp_path / "arrays.safetensors"
    save_arrays(path, arrays, header)
    loaded, loaded_header = load_arrays(path)
    assert loaded_header == header
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()
        assert loaded[name].flags.writeable
        assert loaded[name].flags.owndata
    assert read_header(path) == (header, {name: array.shape for name, array in arrays.items()})


def test_other_programs_read_the_file(tmp_path):
    arrays = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "flag": np.array(True),
        "n": np.array([7], np.uint32),
    }
    save_arrays(tmp_path / "a.safetensors", arrays, {"version": 1})
    loaded = load_file(tmp_path / "a.safetensors")
    assert {name: array.tolist() for name, array in loaded.items()} == {
        "w": [[0, 1, 2], [3, 4, 5]],
        "flag": True,
        "n": [7],
    }


def test_views_and_foreign_byte_orders_are_saved_by_value(tmp_path):
    grid = np.arange(12.0).reshape(3, 4)
    arrays = {"transposed": grid.T, "strided": grid[::2, 1::2], "big": np.arange(3, dtype=">i4")}
    save_arrays(tmp_path / "a.safetensors", arrays, {})
    loaded, _ = load_arrays(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize(
    ("arrays", "header"),
    [
        ({"a": np.array([object()])}, {}),
        ({"a": np.array(["text"])}, {}),
        ({"a": np.zeros(2, np.complex128)}, {}),
        ({"__metadata__": np.zeros(2)}, {}),
        ({"a": np.zeros(2)}, {"best": float("nan")}),
        ({"a": np.zeros(2)}, {"object": object()}),
        ({"a": np.zeros(2)}, {"long": "x" * MAX_HEADER_BYTES}),
    ],
)
def test_unsupported_content_is_refused_and_the_old_file_stays(tmp_path, arrays, header):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"old": np.ones(1)}, {})
    with pytest.raises((ValueError, TypeError)):
        save_arrays(path, arrays, header)
    assert list(load_arrays(path)[0]) == ["old"]
    assert names_in(tmp_path) == [path.name]


def test_file_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "a"
    atomic_write(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", fail) if broken == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_a_disk_that_fills_up_during_a_write_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.ones(3)}, {"step": 1})
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, old[1]))
    try:
        with pytest.raises(OSError):
            save_arrays(path, {"a": np.ones(2**16)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert load_arrays(path)[1] == {"step": 1}
    assert names_in(tmp_path) == [path.name]


def test_only_requested_arrays_are_read(tmp_path):
    path = tmp_path / "arrays.safetensors"
    save_arrays(path, {"large": np.ones(9), "small": np.arange(2)}, {"step": 1})
    arrays, header = load_arrays(path, lambda name: name != "large")
    assert list(arrays) == ["small"] and list(arrays["small"]) == [0, 1] and header == {"step": 1}


def test_an_interrupted_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


def test_concurrent_writers_do_not_mix(tmp_path):
    path = tmp_path / "a"
    contents = [bytes([65 + n]) * 100_000 for n in range(4)]

    def write(data: bytes) -> None:
        for _ in range(10):
            atomic_write(path, data)

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert path.read_bytes() in contents
    assert path.read_bytes() in contents
    assert names_in(tmp_path) == ["a"]
