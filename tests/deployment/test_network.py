"""Exported networks, in NumPy, ONNX and C, give the policy's own actions, for every kind of network."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from helpers.mirrors import MIRROR
from surefoot.deployment.c_header import to_c
from surefoot.deployment.export import onnx_installed
from surefoot.deployment.network import Network, export_network
from surefoot.deployment.onnx_file import OUTPUT, to_onnx
from surefoot.deployment.runtime import open_session, run_session
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Policy, new_policy

D, A = 5, 3
LOW, HIGH = np.array([-1, -np.inf, 0], np.float32), np.array([1, np.inf, 2.5], np.float32)
OBSERVATIONS = np.random.default_rng(0).normal(0, 3, (200, D)).astype(np.float32)
KINDS: dict[str, dict[str, Any]] = {
    "tanh": {},
    "elu, layer norm, a trunk": {"activation": "elu", "layer_norm": True, "trunk": (7,)},
    "relu, batch norm, tanh": {"activation": "relu", "batch_norm": True, "squash": "tanh"},
    "silu, state-dependent std": {"activation": "silu", "std": "state_dependent", "squash": "tanh_gaussian"},
    "linear, not normalised": {"actor": (), "normalise_observations": False},
    "both norms, narrow clip": {"layer_norm": True, "batch_norm": True, "observation_clip": 0.5},
    "averaged": {"mirror": MIRROR, "activation": "elu"},
    "averaged, tanh of a Gaussian": {"mirror": MIRROR, "squash": "tanh_gaussian", "std": "state_dependent"},
}
HEADER_ARGUMENTS: Any = (50.0, [f"o{i}" for i in range(D)], [f"a{i}" for i in range(A)], [])


@pytest.fixture(params=KINDS)
def policy(request) -> Policy:
    """A policy whose arrays are all random, so that none can be left out unnoticed."""
    shape = {"actor": (8, 6)} | KINDS[request.param]
    mirror = shape.pop("mirror", None)
    policy = new_policy(jax.random.PRNGKey(1), "ant", D, LOW, HIGH, PolicySettings(**shape))
    rng = np.random.default_rng(2)
    network = jax.tree.map(lambda x: x + 0.5 * rng.standard_normal(x.shape).astype(np.float32), policy.controller[0])
    for layer in (*network.trunk, *network.actor):
        if "batch_variance" in layer:
            layer["batch_variance"] = abs(layer["batch_variance"]) + 0.1
    normaliser = Normaliser(*(np.float32(x) for x in (rng.normal(size=D), rng.uniform(0.1, 4, D), 100.0)))
    policy.controller = policy.controller._replace(network=network, normaliser=normaliser, mirror=mirror)
    return policy


def check(actions: np.ndarray, policy: Policy) -> None:
    expected, _ = policy.predict(OBSERVATIONS)
    assert np.std(expected, axis=0).min() > 0.05  # not all at a bound
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)


def test_the_operations_give_the_policys_actions_also_in_double_precision(policy) -> None:
    network = export_network(policy)
    assert network.sizes == (D, A)
    check(network(OBSERVATIONS), policy)
    check(network.in_double(OBSERVATIONS), policy)


@pytest.mark.skipif(not onnx_installed(), reason="the extra onnx is not installed")
def test_the_onnx_model_gives_the_policys_actions_for_any_number_of_observations(policy) -> None:
    session = open_session(to_onnx(export_network(policy), {"task": "ant"}))
    check(run_session(session, OBSERVATIONS)[OUTPUT], policy)
    one = run_session(session, OBSERVATIONS[:1])[OUTPUT]
    np.testing.assert_allclose(one, policy.predict(OBSERVATIONS[:1])[0], rtol=1e-5, atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map == {"task": "ant"}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_c_header_compiles_without_warnings_and_gives_the_policys_actions(policy, tmp_path) -> None:
    library = compile_header(export_network(policy), tmp_path)
    actions = np.zeros((len(OBSERVATIONS), A), np.float32)
    for observation, action in zip(OBSERVATIONS, actions, strict=True):
        assert library.act(observation.ctypes.data_as(ctypes.c_void_p), action.ctypes.data_as(ctypes.c_void_p)) == 0
    check(actions, policy)
    bad = OBSERVATIONS[0].copy()
    bad[3] = np.nan
    before = actions[0].copy()
    assert library.act(bad.ctypes.data_as(ctypes.c_void_p), actions[0].ctypes.data_as(ctypes.c_void_p)) == -1
    np.testing.assert_array_equal(actions[0], before)


def compile_header(network: Network, folder: Path) -> ctypes.CDLL:
    (folder / "policy.h").write_text(to_c(network, network.fingerprint(), *HEADER_ARGUMENTS))
    source = '#include "policy.h"\nint act(const float *o, float *a) { return surefoot_policy(o, a); }\n'
    (folder / "act.c").write_text(source)
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable"]
    command = ["cc", *strict, "-O1", "-shared", "-fPIC", "-o", "act.so", "act.c", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "act.so"))


def test_the_fingerprint_changes_with_any_number_and_with_the_activation() -> None:
    def fingerprint(scale: float = 1.0, **shape: Any) -> str:
        policy = new_policy(jax.random.PRNGKey(1), "ant", D, LOW, HIGH, PolicySettings(**shape))
        network = jax.tree.map(lambda x: x * np.float32(scale), policy.controller.network)
        policy.controller = policy.controller._replace(network=network)
        return export_network(policy).fingerprint()

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(1.0001), fingerprint(activation="elu"), fingerprint(layer_norm=True)}) == 4


def test_names_with_quotes_and_other_scripts_are_valid_c() -> None:
    policy = new_policy(jax.random.PRNGKey(1), "ant", 1, LOW[:1], HIGH[:1], PolicySettings(actor=()))
    network = export_network(policy)
    text = to_c(network, network.fingerprint(), None, ['a"b\\c\n é??/'], ["x"], [(0.1, 0.5)])
    assert r'{"a\042b\134c\012 \303\251\077\077/"}' in text
    assert "surefoot_offset[] = {0.1}" in text and "SUREFOOT_RATE_HZ" not in text
