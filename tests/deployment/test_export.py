"""A folder that `surefoot export` wrote: its contents, and everything that makes the loader refuse it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import surefoot
from surefoot.cli.main import main
from surefoot.deployment import export
from surefoot.deployment.description import read_description
from surefoot.deployment.export import onnx_installed
from surefoot.errors import InputError, SurefootError
from surefoot.tasks.catalogue import find_task

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "results" / "bipedal-walker-ars.safetensors"
needs_onnx = pytest.mark.skipif(not onnx_installed(), reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "walker"
    surefoot.export(POLICY, folder)
    return folder


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(exported, tmp_path / "walker"))


def names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    info = find_task("bipedal-walker")
    assert info.observation_names and info.action_names
    return info.observation_names, info.action_names


def change(folder: Path, **fields: Any) -> None:
    path = folder / "deploy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_description_holds_what_a_robot_must_agree_on() -> None:
    policy = surefoot.load(ROOT / "results" / "anymal-velocity-ppo.safetensors")
    info = find_task(policy.task, policy.task_options)
    network = export.export_network(policy)
    described = export.describe(policy, info, network, export.find_rate(info), "1.0")
    assert described.timing.rate_hz == 50 and described.network == network.fingerprint()
    assert described.observation_names == info.observation_names
    mean, variance, _ = policy.controller.normaliser
    forward = described.observation[0]
    assert (forward.mean, forward.std) == (float(mean[0]), pytest.approx(float(variance[0]) ** 0.5))
    knee = described.action[2]
    assert (knee.name, knee.joint, knee.kind, knee.kp, knee.kd) == ("LF_KFE", "LF_KFE", "position", 80.0, 2.0)
    assert (knee.low, knee.high, knee.scale, knee.speed_limit, knee.reference) == (-2.0, 2.0, 0.5, 7.5, -0.8)
    assert knee.torque_limits == (-80.0, 80.0)


@needs_onnx
def test_a_loaded_export_acts_as_the_policy_does(exported) -> None:
    policy, loaded = surefoot.load(POLICY), surefoot.load_exported(exported, *names())
    observations = np.random.default_rng(0).normal(size=(50, 24)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(observations), policy.predict(observations)[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(loaded.predict(observations[0]), policy.predict(observations[0])[0], atol=1e-5)
    card = (exported / "README.md").read_text()
    assert "50 Hz" in card and "0. hull angle" in card and loaded.deployment.network in card
    assert loaded.deployment.network in (exported / "policy.h").read_text()
    for bad in (np.zeros(23), np.full(24, np.nan), "text"):
        with pytest.raises(InputError, match="observation"):
            loaded.predict(bad)


@needs_onnx
def test_other_names_another_order_and_other_sizes_are_refused(exported) -> None:
    observation, action = names()
    swapped = (observation[1], observation[0], *observation[2:])
    with pytest.raises(InputError, match=r"value 0 of the policy is 'hull angle', not 'hull .*\(the same names in an"):
        surefoot.load_exported(exported, swapped)
    with pytest.raises(InputError, match="the policy has 24 observation values, not 23"):
        surefoot.load_exported(exported, observation[:-1])
    with pytest.raises(InputError, match=r"action value 3 of the policy is '.*', not 'tail'$"):
        surefoot.load_exported(exported, observation, (*action[:3], "tail"))


@needs_onnx
def test_changed_files_are_refused(folder, tmp_path) -> None:
    model = folder / "policy.onnx"
    data = model.read_bytes()
    model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=r"is not the file that deploy\.json describes"):
        surefoot.load_exported(folder)
    model.unlink()
    with pytest.raises(InputError, match=r"policy.onnx': No such file"):
        surefoot.load_exported(folder)
    # A model of the same shape from another policy, with its own hash.
    other = tmp_path / "other"
    policy = surefoot.load(POLICY)
    policy.action_low = policy.action_low * np.float32(0.5)
    surefoot.export(policy, other)
    model.write_bytes((other / "policy.onnx").read_bytes())
    files = {"policy.onnx": hashlib.sha256(model.read_bytes()).hexdigest()}
    change(folder, files=files)
    with pytest.raises(InputError, match=r"holds another network than deploy\.json describes"):
        surefoot.load_exported(folder)
    # A description whose sizes are not those of the model.
    description = json.loads((folder / "deploy.json").read_text())
    change(folder, network=read_description(other / "deploy.json").network, action=description["action"][:3])
    with pytest.raises(InputError, match=r"expected action of 3 values; found action \['batch', 4\]"):
        surefoot.load_exported(folder)


@needs_onnx
def test_a_model_that_reads_other_files_is_refused_however_deep_it_says_so(folder, tmp_path) -> None:
    import onnx

    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096))

    def refuse(model: Any) -> None:
        (folder / "policy.onnx").write_bytes(model.SerializeToString())
        change(folder, files={"policy.onnx": hashlib.sha256(model.SerializeToString()).hexdigest()})
        with pytest.raises(InputError, match="the model reads other files"):
            surefoot.load_exported(folder)

    original = onnx.load(folder / "policy.onnx")
    model = onnx.load(folder / "policy.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(secret))
    refuse(model)
    branch = onnx.helper.make_graph([], "branch", [], [], [tensor])
    original.graph.node.add(op_type="If", attribute=[onnx.helper.make_attribute("then_branch", branch)])
    refuse(original)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "deploy.json"),
        ('{"kind": "surefoot policy"}', "kind"),
        ("\xff", "is not JSON"),
    ],
)
def test_descriptions_that_are_none_are_refused_in_one_line(folder, text, message) -> None:
    (folder / "deploy.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as caught:
        surefoot.load_exported(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "fields",
    [
        {"format": 2},
        {"extra": 1},
        {"network": "abc"},
        {"observation": []},
        {"timing": {"rate_hz": 0, "action_repeat": 1, "frame_stack": 1}},
        {"timing": {"rate_hz": float("inf"), "action_repeat": 1, "frame_stack": 1}},
        {"observation": [{"name": "x", "mean": 0, "std": 1}] * 24},
    ],
)
def test_fields_that_are_not_of_the_schema_are_refused(folder, fields) -> None:
    change(folder, **fields)
    with pytest.raises(InputError, match=r"deploy\.json"):
        surefoot.load_exported(folder)


def test_a_network_that_differs_from_the_policy_is_not_written(tmp_path, monkeypatch) -> None:
    right = export.export_network

    def wrong(policy):
        network = right(policy)
        return network._replace(inner=(network.inner[0]._replace(mean=network.inner[0].mean + 0.1), *network.inner[1:]))

    monkeypatch.setattr(export, "export_network", wrong)
    with pytest.raises(SurefootError, match="gives other actions than the policy"):
        surefoot.export(POLICY, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_without_onnx_the_other_files_are_written_and_the_loader_says_why(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(export, "onnx_installed", lambda: False)
    assert main(["export", str(POLICY), "--output", str(tmp_path / "x")]) == 0
    printed = capsys.readouterr()
    assert [Path(line).name for line in printed.out.split()] == ["policy.h", "deploy.json", "README.md"]
    assert 'no policy.onnx, because ONNX is not installed; pip install "surefoot[onnx]"' in printed.err
    with pytest.raises(InputError, match="was exported without ONNX"):
        surefoot.load_exported(tmp_path / "x")


def test_wrong_input_of_the_command_is_met_by_one_line(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["no-such-run"], [str(POLICY), "--output", str(tmp_path / "file")]):
        assert main(["export", *arguments]) in (1, 2)
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
