"""A policy file: it gives back the same policy bit for bit, and a damaged or hostile one is refused in one line."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import messages
from helpers.messages import one_line
from helpers.mirrors import MIRROR
from surefoot.errors import PolicyFileError
from surefoot.files import load_arrays, save_arrays
from surefoot.policies.files import FORMAT, load_policy, save_policy
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Policy, new_policy

# The file is overwritten by each example, so that sharing the folder does no harm.
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
OBSERVATIONS = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
LOW, HIGH = np.array([-1, -np.inf, 0], np.float32), np.array([1, np.inf, 2.5], np.float32)


def make_policy(**shape: Any) -> Policy:
    policy_settings = PolicySettings(**{"actor": (8, 4), "critic": (4,)} | shape)
    policy = new_policy(jax.random.PRNGKey(1), "ant", 5, LOW, HIGH, policy_settings, {"ctrl_cost_weight": 0.5})
    mean, variance = np.linspace(-1, 1, 5, dtype=np.float32), np.linspace(0, 4, 5, dtype=np.float32)
    normaliser = Normaliser(*map(jax.numpy.asarray, (mean, variance, np.float32(1000))))
    policy.controller = policy.controller._replace(normaliser=normaliser)
    policy.origin = {"algorithm": "ppo", "seed": 3, "versions": {"jax": "1"}}
    return policy


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "policy.safetensors"
    save_policy(make_policy(), path)
    return path


@pytest.fixture(scope="module")
def content(whole) -> bytes:
    return whole.read_bytes()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "policy.safetensors"


def refused(path: Path) -> str:
    message = messages.refused(PolicyFileError, load_policy, path)
    assert len(message) < 1000
    return message


# --- written and read ------------------------------------------------------------------------------------------------

SHAPES = [
    {},
    {"trunk": (6,), "actor": (), "critic": ()},
    {"layer_norm": True, "activation": "elu", "squash": "tanh"},
    {"std": "state_dependent", "normalise_observations": False},
    {"std": "scheduled", "activation": "silu"},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_loaded_policy_acts_the_same_bit_for_bit(shape, path):
    policy = make_policy(**shape)
    save_policy(policy, path)
    read = load_policy(path)
    np.testing.assert_array_equal(read.predict(OBSERVATIONS)[0], policy.predict(OBSERVATIONS)[0])
    np.testing.assert_array_equal(read.predict(OBSERVATIONS[0])[0], policy.predict(OBSERVATIONS[0])[0])
    for ours, theirs in zip(
        jax.tree.leaves(policy.controller),
        jax.tree.leaves(read.controller),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loaded_policy_has_the_same_description(path):
    policy = make_policy()
    save_policy(policy, path)
    read = load_policy(str(path))
    for name in ("task", "task_options", "observation_size", "settings", "origin"):
        assert getattr(read, name) == getattr(policy, name)
    np.testing.assert_array_equal(read.action_low, LOW)
    np.testing.assert_array_equal(read.action_high, HIGH)
    save_policy(read, path.with_name("again.safetensors"))
    assert path.with_name("again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size, allowed", [(None, True), (5, True), (4, False)])
def test_the_observation_count_may_differ_by_value(size, allowed, path):
    policy = make_policy()
    count = np.float32(3) if size is None else np.arange(size, dtype=np.float32)
    normaliser = policy.controller.normaliser._replace(count=count)
    policy.controller = policy.controller._replace(normaliser=normaliser)
    if allowed:
        save_policy(policy, path)
        np.testing.assert_array_equal(load_policy(path).controller.normaliser.count, count)
    else:
        with pytest.raises(PolicyFileError, match="normaliser/count"):
            save_policy(policy, path)


def test_the_mirror_of_an_averaged_policy_is_loaded(path):
    policy = make_policy()
    policy.controller = policy.controller._replace(mirror=MIRROR)
    save_policy(policy, path)
    read = load_policy(path)
    assert read.controller.mirror is not None
    for result, expected in zip(read.controller.mirror, MIRROR, strict=True):
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == expected.dtype
    action = read.predict(OBSERVATIONS)[0]
    np.testing.assert_array_equal(action, policy.predict(OBSERVATIONS)[0])
    assert (action != make_policy().predict(OBSERVATIONS)[0]).any()
    read.action_low, read.action_high = np.full(3, -np.inf), np.full(3, np.inf)  # bounds that a mirror leaves in place
    del read._act
    image = read.predict(np.asarray(MIRROR.observation(OBSERVATIONS)))[0]
    np.testing.assert_allclose(image, MIRROR.action(read.predict(OBSERVATIONS)[0]), rtol=1e-4, atol=1e-5)
    save_policy(load_policy(path), path.with_name("again.safetensors"))
    assert path.with_name("again.safetensors").read_bytes() == path.read_bytes()


def test_an_action_of_range_0_is_constant(path):
    policy = make_policy()
    policy.action_low, policy.action_high = np.float32([0.5, -1, 0]), np.float32([0.5, 1, 0])
    save_policy(policy, path)
    action = load_policy(path).predict(OBSERVATIONS, deterministic=False)[0]
    np.testing.assert_array_equal(action[:, [0, 2]], np.tile(np.float32([0.5, 0]), (len(OBSERVATIONS), 1)))


def test_a_policy_computed_in_float64_is_saved_in_float32(path):
    policy = make_policy()
    policy.controller = jax.tree.map(np.float64, policy.controller)
    save_policy(policy, path)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(load_policy(path).controller))


def test_a_policy_that_could_not_be_loaded_is_not_saved(path):
    policy = make_policy()
    policy.controller = policy.controller._replace(
        network=jax.tree.map(lambda x: x * np.nan, policy.controller.network)
    )
    with pytest.raises(PolicyFileError, match="not finite") as error:
        save_policy(policy, path)
    one_line(error.value)
    assert not path.exists()


def test_files_of_other_policies_have_no_mirror(whole):
    assert "mirror" not in load_arrays(whole)[1]
    assert load_policy(whole).controller.mirror is None


# --- damaged --------------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_refused(content, path):
    header = 8 + struct.unpack("<Q", content[:8])[0]
    offsets = {*range(0, 20), *range(20, len(content), 37), header - 1, header, header + 1, len(content) - 1}
    for offset in sorted(offsets):
        path.write_bytes(content[:offset])
        assert refused(path)


def test_a_file_with_trailing_bytes_is_refused(content, path):
    path.write_bytes(content + b"\0")
    refused(path)


@shared_folder
@given(st.integers(0, 2**30), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_a_number(tmp_path, content, at, bits):
    damaged = bytearray(content)
    damaged[at % len(content)] ^= bits
    path = tmp_path / "policy.safetensors"
    path.write_bytes(damaged)
    try:
        policy = load_policy(path)
    except PolicyFileError as error:
        one_line(error)
    else:
        assert np.isfinite(np.asarray(policy.controller.network.log_std)).all()
        assert policy.predict(OBSERVATIONS[0])[0].shape == (3,)


@shared_folder
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path, data):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("name", ["missing.safetensors", "a\x00b", "x" * 300, "loop"])
def test_a_missing_file_is_refused(name, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / name)


def test_a_folder_is_refused(tmp_path):
    assert "not a file" in refused(tmp_path)


class Harmful:
    def __reduce__(self):
        return open, ("harm", "w")


def test_a_pickle_is_not_opened(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(pickle.dumps(Harmful()))
    refused(path)
    assert not (path.parent / "harm").exists()


def test_a_zip_is_refused(path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("policy/data.pkl", pickle.dumps(Harmful()))
    path.write_bytes(archive.getvalue())
    refused(path)


# --- hostile --------------------------------------------------------------------------------------------------------


def changed(whole: Path, path: Path, header: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> str:
    """Write the file again with parts of its header and arrays replaced, None removing one; return what is said."""
    old_arrays, old_header = load_arrays(whole)
    new_header = {name: value for name, value in (old_header | (header or {})).items() if value is not None}
    new_arrays = {name: value for name, value in (old_arrays | (arrays or {})).items() if value is not None}
    save_arrays(path, new_arrays, new_header)
    return refused(path)


def mirrored(**changes: Any) -> dict[str, Any]:
    return {"mirror": {name: x.tolist() for name, x in MIRROR._asdict().items()} | changes}


def shape(**changes: Any) -> dict[str, Any]:
    return {"policy": PolicySettings(actor=(8, 4), critic=(4,)).model_dump(mode="json") | changes}


HEADERS = {
    "another kind": ({"kind": "surefoot checkpoint"}, "not a policy file"),
    "no kind": ({"kind": None}, "not a policy file"),
    "a later version": ({"format": FORMAT + 1}, f"reads format {FORMAT}"),
    "a version that is none": ({"format": [1] * 1000}, "format"),
    "no version": ({"format": None}, "format"),
    "something unknown": ({"run": "os.system"}, "'run'"),
    "no task": ({"task": None}, "'task'"),
    "empty task": ({"task": ""}, "task"),
    "long task": ({"task": "x" * 1000}, "task"),
    "task that is a table": ({"task": {"import": "os"}}, "task"),
    "deep options": ({"task_options": {"x": json.loads("[" * 10 + "]" * 10)}}, "task_options"),
    "option beyond all numbers": ({"task_options": {"x": 10**400}}, ""),
    "no network": ({"policy": None}, "'policy'"),
    "unknown shape": (shape(hidden=3), "'policy.hidden'"),
    "unknown activation": (shape(activation="os.system"), "policy.activation"),
    "layer of no width": (shape(actor=[0]), "policy.actor"),
    "layer of negative width": (shape(actor=[-8]), "policy.actor"),
    "huge layer": (shape(actor=[2**62]), "policy.actor"),
    "large layers": (shape(actor=[100_000] * 30, critic=[100_000] * 30, trunk=[100_000] * 30), ""),
    "many layers": (shape(actor=[1] * 1000), "policy.actor"),
    "another width": (shape(actor=[8, 5]), "array"),
    "one layer more": (shape(actor=[8, 4, 4]), "array"),
    "huge observation": ({"observation_size": 2**62}, "observation_size"),
    "large observation": ({"observation_size": 1_000_000}, "array"),
    "no observation": ({"observation_size": 0}, "observation_size"),
    "another observation": ({"observation_size": 6}, "array"),
    "no action": ({"action_low": [], "action_high": []}, "action_low"),
    "another action": ({"action_low": [-1.0], "action_high": [1.0]}, "array"),
    "bounds that differ in number": ({"action_low": [-1.0, -1.0]}, "action bounds"),
    "bounds the wrong way round": ({"action_low": [2.0, None, 0.0]}, "action bounds"),
    "bounds beyond float32": ({"action_high": [1.0, None, 1e300]}, ""),
    "a million bounds": ({"action_low": [0.0] * 200_000, "action_high": [1.0] * 200_000}, "action_low"),
    "bounds that are texts": ({"action_low": ["a", "b", "c"]}, "action_low"),
    "mirror that is none": ({"mirror": "left"}, "mirror"),
    "mirror without actions": ({"mirror": {"observation_index": [1, 0, 2, 4, 3]}}, "mirror.observation_sign"),
    "unknown part of a mirror": (mirrored(action_offset=[0, 0, 0]), "mirror.action_offset"),
    "mirror of another size": (mirrored(observation_index=[1, 0, 2]), "mirror.observation_index holds 3 numbers"),
    "mirror of other actions": (mirrored(action_sign=[1, 1]), "mirror.action_sign holds 2 numbers"),
    "mirror of nothing": (mirrored(action_index=[], action_sign=[]), "mirror.action_index holds 0 numbers"),
    "mirror that looks elsewhere": (mirrored(observation_index=[1, 0, 2, 5, 3]), "holds 5"),
    "mirror that looks back": (mirrored(observation_index=[1, 0, 2, -1, 3]), "mirror.observation_index.3 = -1"),
    "mirror that looks far away": (mirrored(action_index=[1, 0, 10**400]), "mirror.action_index.2"),
    "mirror that looks between": (mirrored(action_index=[1, 0, 0.5]), "mirror.action_index.2 = 0.5"),
    "mirror that enlarges": (mirrored(action_sign=[-1, -1, 2]), "mirror.action_sign.2 = 2"),
    "mirror that darkens": (mirrored(action_sign=[-1, -1, 0]), "mirror.action_sign.2 = 0"),
    "mirror that moves away": (mirrored(observation_offset=[0.1, -0.1, 0, 1e300, 0.7]), "mirror.observation_offset.3"),
    "mirror of no numbers": (mirrored(observation_offset=["a"] * 5), "mirror.observation_offset.0"),
    "mirror that turns in circles": (mirrored(action_index=[1, 2, 0]), "twice"),
    "mirror that sees double": (mirrored(action_index=[1, 1, 2]), "twice"),
    "mirror that turns one way": (mirrored(action_sign=[-1, 1, 1]), "twice"),
    "mirror that shifts": (mirrored(observation_offset=[0.1, 0.1, 0, 0.7, 0.7]), "twice"),
    "origin of another form": ({"origin": {"a": {"b": {"c": "d"}}}}, "origin"),
    "origin with a line break": ({"origin": {"a\nb": [[]]}}, "origin"),
}


@pytest.mark.parametrize("header, fragment", HEADERS.values(), ids=HEADERS.keys())
def test_an_invalid_description_is_refused(header, fragment, whole, path):
    assert fragment in changed(whole, path, header)


WEIGHT = "parameters/actor/0/weight"
ARRAYS = {
    "missing": ({WEIGHT: None}, "missing"),
    "one more": ({"parameters/actor/9/weight": np.zeros(3, np.float32)}, "not known"),
    "name of a megabyte": ({"x" * 1_000_000: np.zeros(3, np.float32)}, "not known"),
    "another shape": ({WEIGHT: np.zeros((8, 5), np.float32)}, "(8, 5)"),
    "another number of axes": ({WEIGHT: np.zeros(40, np.float32)}, "(40,)"),
    "another type": ({WEIGHT: np.zeros((5, 8), np.float64)}, "float64"),
    "whole numbers": ({WEIGHT: np.zeros((5, 8), np.int32)}, "int32"),
    "not a number": ({WEIGHT: np.full((5, 8), np.nan, np.float32)}, "not finite"),
    "one infinite": ({"parameters/log_std": np.array([0, np.inf, 0], np.float32)}, "not finite"),
    "infinite mean": ({"normaliser/mean": np.full(5, -np.inf, np.float32)}, "not finite"),
    "negative variance": ({"normaliser/variance": np.full(5, -1, np.float32)}, "variance"),
    "negative count": ({"normaliser/count": np.float32(-1)}, "count"),
}


@pytest.mark.parametrize("arrays, fragment", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_that_do_not_match_the_description_are_refused(arrays, fragment, whole, path):
    assert fragment in changed(whole, path, arrays=arrays)


def raw(table: Any, data: bytes = b"") -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, end: int, *size: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(size), "data_offsets": [start, end]}


DESCRIPTION = {"surefoot": '{"kind": "surefoot policy", "format": 1}'}
RAW = {
    "empty": b"",
    "header of claimed petabytes": struct.pack("<Q", 2**50) + b"{}",
    "negative length": b"\xff" * 8 + b"{}",
    "no description": raw({"a": entry(0, 4, 1)}, bytes(4)),
    "description that is no table": raw({"__metadata__": {"surefoot": "[1]"}}),
    "description that is no JSON": raw({"__metadata__": {"surefoot": "{"}}),
    "deep description": raw({"__metadata__": {"surefoot": "[" * 100_000 + "]" * 100_000}}),
    "deep table": raw(b"[" * 100_000 + b"]" * 100_000),
    "deep in the middle": raw(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "description with a huge number": raw({"__metadata__": {"surefoot": f'{{"format": {"9" * 10_000}}}'}}),
    "array of claimed petabytes": raw({"__metadata__": DESCRIPTION, "a": entry(0, 2**52, 2**50)}),
    "array that ends before it begins": raw({"__metadata__": DESCRIPTION, "a": entry(4, 0, 1)}, bytes(4)),
    "arrays that overlap": raw({"__metadata__": DESCRIPTION, "a": entry(0, 4, 1), "b": entry(0, 4, 1)}, bytes(4)),
    "shape whose size overflows": raw({"__metadata__": DESCRIPTION, "a": entry(0, 4, 2**33, 2**33)}, bytes(4)),
    "shape of negative size": raw({"__metadata__": DESCRIPTION, "a": entry(0, 4, -1)}, bytes(4)),
    "unknown type": raw({"__metadata__": DESCRIPTION, "a": entry(0, 4, 1) | {"dtype": "O"}}, bytes(4)),
    "not UTF-8": raw(b'{"\xff": 1}'),
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
def test_a_hostile_file_is_refused(data, path):
    path.write_bytes(data)
    refused(path)
