"""Hostile or damaged array files are one-line errors, and nothing in them is executed."""

import json
import os
import pickle
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from helpers.messages import one_line
from surefoot.errors import RunError
from surefoot.files import MAX_HEADER_BYTES, load_arrays, read_header, save_arrays

TYPES = [
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
]
OURS = {"__metadata__": {"surefoot": "{}"}}


def only_line(error: pytest.ExceptionInfo, path: Path) -> str:
    return one_line(error.value, path.name)


def raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(code: str, shape: list[int], start: int, end: int) -> dict:
    return {"dtype": code, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"", b""),
        (b"{", b""),
        (b"[" * 100_000, b""),
        (b'{"a":' * 100_000, b""),
        (b"\xff\xfe{}", b""),
        ({}, b""),
        ({"__metadata__": {"other": "{}"}}, b""),
        ({"__metadata__": {"surefoot": "[]"}}, b""),
        ({"__metadata__": {"surefoot": "{"}}, b""),
        ({"__metadata__": {"surefoot": "[" * 100_000}}, b""),
        ({"__metadata__": {"surefoot": '{"a":' + "9" * 100_000 + "}"}}, b""),
        ({"__metadata__": {"surefoot": {"not": "text"}}}, b""),
        (OURS | {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, b"\0" * 4),
        (OURS | {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, b"\0" * 12),
        (OURS | {"a": entry("F32", [1], 4, 8)}, b"\0" * 8),
        (OURS | {"a": entry("F32", [1], 0, 4)}, b"\0" * 5),
        (OURS | {"a": entry("F32", [2], 0, 8)}, b"\0" * 7),
        (OURS | {"a": entry("F32", [-1], 0, 4)}, b"\0" * 4),
        (OURS | {"a": entry("F32", [2**62], 0, 4)}, b"\0" * 4),
        (OURS | {"a": entry("F32", [2**40, 2**40], 0, 0)}, b""),
        (OURS | {"a": entry("F32", [0, 2**62], 0, 0)}, b""),
        (OURS | {"a": entry("F32", [1] * 100, 0, 4)}, b"\0" * 4),
        (OURS | {"a": entry("BF16", [2], 0, 4)}, b"\0" * 4),
        (OURS | {"a": entry("F8_E4M3", [4], 0, 4)}, b"\0" * 4),
        (OURS | {"a": entry("C64", [1], 0, 8)}, b"\0" * 8),
        (OURS | {"a": entry("O", [1], 0, 8)}, b"\0" * 8),
        (OURS | {"a": entry("BOOL", [4], 0, 4)}, b"\0\1\2\1"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, header, data):
    path = raw(tmp_path / "hostile.safetensors", header, data)
    with pytest.raises(RunError) as error:
        load_arrays(path)
    assert len(only_line(error, path)) < 500


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 2**40, 2**63, 2**64 - 1])
def test_a_huge_header_is_refused_before_it_is_read(tmp_path, length):
    path = raw(tmp_path / "huge.safetensors", b"{}", length=length)
    with pytest.raises(RunError, match="not a safetensors file") as error:
        read_header(path)
    only_line(error, path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_executed(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(pickle.dumps(Trap(), protocol))
    with pytest.raises(RunError) as error:
        load_arrays(path)
    only_line(error, path)
    assert not (tmp_path / "sprung").exists()


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_arrays(path, {"a": np.arange(4.0), "b": np.array([True])}, {"step": 3})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        for read in (load_arrays, read_header):
            with pytest.raises(RunError) as error:
                read(path)
            only_line(error, path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_loads_or_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "damaged.safetensors"
    save_arrays(path, {"a": np.arange(4, dtype=np.int16), "b": np.array([[True, False]])}, {"step": 3})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        arrays, header = load_arrays(path)
    except RunError as error:
        one_line(error)
    else:
        assert isinstance(header, dict)
        assert all(array.dtype.name in TYPES for array in arrays.values())


def test_a_path_that_is_not_a_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").touch()
    for name in ("folder", "pipe", "loop", "absent", "empty", "a" * 300):
        with pytest.raises(RunError) as error:
            load_arrays(tmp_path / name)
        only_line(error, tmp_path / name)
    with pytest.raises(RunError):
        load_arrays(tmp_path / "nul\0byte")


def test_a_line_break_in_the_path_is_escaped(tmp_path):
    with pytest.raises(RunError) as error:
        load_arrays(tmp_path / "two\nlines")
    one_line(error.value)


def test_a_file_without_read_permission_is_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "secret.safetensors"
        save_arrays(path, {}, {})
        path.parent.chmod(0o755)
        path.chmod(0)
        user = os.geteuid()
        if user == 0:  # nothing is forbidden to root
            os.seteuid(65534)
        try:
            with pytest.raises(RunError, match="Permission denied") as error:
                load_arrays(path)
        finally:
            os.seteuid(user)
        only_line(error, path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    save_file({"a": np.zeros(2)}, tmp_path / "foreign.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="not one that Surefoot wrote"):
        load_arrays(tmp_path / "foreign.safetensors")
