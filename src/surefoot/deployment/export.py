"""Export of a policy to a folder: ONNX, C, deploy.json, a model card; and the check that they give the same actions."""

import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.deployment.c_header import to_c
from surefoot.deployment.card import model_card
from surefoot.deployment.description import describe
from surefoot.deployment.network import Network, export_network
from surefoot.deployment.onnx_file import OUTPUT, to_onnx
from surefoot.deployment.runtime import open_session, run_session
from surefoot.errors import InputError, SurefootError
from surefoot.files import atomic_write
from surefoot.policies.policy import Policy
from surefoot.tasks.catalogue import TaskInfo, make_env

ONNX_FILE, C_FILE, DESCRIPTION_FILE, CARD_FILE = "policy.onnx", "policy.h", "deploy.json", "README.md"
CHECKED_OBSERVATIONS = 10_000
TOLERANCE = 1e-5  # of actions, relative to the larger of 1 and the action


def export_policy(
    policy: Policy, info: TaskInfo, folder: Path, evaluation: dict[str, Any] | None = None
) -> tuple[list[Path], float]:
    """Write a policy for other runtimes; policy.onnx only if the packages onnx and onnxruntime are installed.

    Args:
        policy: the policy.
        info: its task.
        folder: the folder to write to, which is created; files of an earlier export are replaced.
        evaluation: result of an evaluation for the model card.

    Returns:
        The files, and the largest difference from the policy's own actions over 10,000 observations, relative to the
        larger of 1 and the action.

    Raises:
        InputError: the folder cannot be written.
        SurefootError: the exported network gives other actions than the policy; nothing is written.
    """
    network = export_network(policy)
    description = describe(policy, info, network, find_rate(info), importlib.metadata.version("surefoot"))
    controls = [
        (part.offset, part.scale) for part in description.action if part.offset is not None and part.scale is not None
    ]
    names = description.observation_names, description.action_names
    header = to_c(network, description.network, description.timing.rate_hz, *names, controls)
    contents = {C_FILE: header.encode()}
    if onnx_installed():
        contents[ONNX_FILE] = to_onnx(network, {"task": policy.task, "network": description.network})
    difference = _check(policy, network, contents.get(ONNX_FILE))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    description = description.model_copy(update={"files": hashes})
    text = json.dumps(description.model_dump(mode="json"), indent=1, allow_nan=False, ensure_ascii=False)
    contents[DESCRIPTION_FILE] = (text + "\n").encode()
    contents[CARD_FILE] = model_card(description, info, evaluation, difference).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            atomic_write(folder / name, data)
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror or error}") from None
    return [folder / name for name in contents], difference


def onnx_installed() -> bool:
    """Whether the packages onnx and onnxruntime are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def find_rate(info: TaskInfo) -> float | None:
    """Return the actions per second of a task, None if it does not say."""
    env = make_env(info)
    try:
        seconds = getattr(env.unwrapped, "dt", None) or 1 / env.metadata["render_fps"]
        rate = 1 / (float(seconds) * info.action_repeat)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    finally:
        env.close()
    return round(rate, 9) if 0 < rate < 1e6 else None


def _check(policy: Policy, network: Network, onnx: bytes | None) -> float:
    """Return the largest difference of the exported network from the policy; SurefootError if it is too large."""
    mean, variance, _ = policy.controller.normaliser
    random = np.random.default_rng(0).standard_normal((CHECKED_OBSERVATIONS, policy.observation_size))
    observation = np.asarray(np.asarray(mean) + np.sqrt(np.asarray(variance)) * random, np.float32)
    expected, _ = policy.predict(observation)
    exported = [network(observation)]
    if onnx is not None:
        exported.append(run_session(open_session(onnx), observation)[OUTPUT])
    size = np.maximum(1, np.abs(expected))
    difference = max(float((np.abs(actions - expected) / size).max()) for actions in exported)
    # Rounding errors of float32 grow with the weights; double precision shows their size.
    rounding = float((np.abs(network.in_double(observation) - exported[0]) / size).max())
    if not difference <= max(TOLERANCE, 4 * rounding):
        raise SurefootError(f"the exported network gives other actions than the policy (they differ by {difference:g})")
    return difference
