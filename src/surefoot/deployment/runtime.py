"""Loading of an exported policy: everything is checked before it acts."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.deployment.description import Deployment, check_names, read_description
from surefoot.deployment.onnx_file import INPUT, INSTALL, OUTPUT
from surefoot.errors import InputError, one_line

_MOST_BYTES = 1_000_000_000


class ExportedPolicy:
    """A policy that ONNX Runtime computes.

    Attributes:
        deployment: its description.
    """

    def __init__(self, deployment: Deployment, session: Any) -> None:
        self.deployment = deployment
        self._session = session

    def predict(self, observation: Any) -> np.ndarray:
        """Compute actions.

        Args:
            observation: (D,) or (B, D), as the task returns it.

        Returns:
            (A,) or (B, A) float32, in the task's units, within its bounds.

        Raises:
            InputError: the observation has the wrong shape or is not finite.
        """
        size = len(self.deployment.observation)
        try:
            observation = np.asarray(observation, np.float32)
        except (TypeError, ValueError):
            raise InputError(f"an observation must be {size} numbers") from None
        if observation.ndim not in (1, 2) or observation.shape[-1] != size:
            raise InputError(f"an observation has {size} numbers; got shape {observation.shape}")
        if not np.isfinite(observation).all():
            raise InputError("the observation holds numbers that are not finite")
        actions = run_session(self._session, np.atleast_2d(observation))[OUTPUT]
        return actions if observation.ndim == 2 else actions[0]


def load_exported(
    folder: Path | str,
    observation_names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
) -> ExportedPolicy:
    """Load a folder that `surefoot export` wrote.

    Args:
        folder: the folder.
        observation_names: names of the values that the robot will pass, in order; None: not checked.
        action_names: names of the actions that the robot expects, in order; None: not checked.

    Raises:
        InputError: a file is missing or was changed; sizes, names or their order do not match; the model reads other
            files; or onnx or onnxruntime is not installed.
    """
    folder = Path(folder)
    deployment = read_description(folder / "deploy.json")
    for kind, expected, stated in (
        ("observation", deployment.observation_names, observation_names),
        ("action", deployment.action_names, action_names),
    ):
        if stated is not None:
            check_names(kind, expected, tuple(stated))
    if "policy.onnx" not in deployment.files:
        raise InputError(f"'{folder}' was exported without ONNX; {INSTALL}, then export again")
    path = folder / "policy.onnx"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"'{path}' has more than {_MOST_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}': {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != deployment.files["policy.onnx"]:
        raise InputError(f"'{path}' is not the file that deploy.json describes: their SHA-256 differ")
    try:
        session = open_session(data)
    except InputError as error:
        raise InputError(f"'{path}': {error}") from None
    if (found := session.get_modelmeta().custom_metadata_map.get("network")) != deployment.network:
        raise InputError(f"'{path}' holds another network than deploy.json describes ({str(found)[:64]})")
    for ends, name, size in (
        (session.get_inputs(), INPUT, len(deployment.observation)),
        (session.get_outputs(), OUTPUT, len(deployment.action)),
    ):
        if len(ends) != 1 or ends[0].name != name or len(ends[0].shape) != 2 or ends[0].shape[1] != size:
            shapes = ", ".join(f"{end.name} {end.shape}" for end in ends)
            raise InputError(f"'{path}': expected {name} of {size} values; found {shapes}")
    return ExportedPolicy(deployment, session)


def open_session(data: bytes) -> Any:
    """Return an ONNX Runtime session of a model on one thread.

    Raises:
        InputError: the model is invalid, or reads other files; or onnx or onnxruntime is not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise InputError(f"ONNX Runtime is not installed; {INSTALL}") from None
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise InputError(f"not an ONNX model: {one_line(error)}") from None
    if _reads_files(model):
        raise InputError("the model reads other files; that is not allowed")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"ONNX Runtime refuses the model: {one_line(error)}") from None


def run_session(session: Any, observation: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs, by name, for observations (B, D)."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: observation}), strict=True))


def _reads_files(model: Any) -> bool:
    """Whether any tensor of a model, however deep, is stored in another file."""
    from google.protobuf.message import Message

    waiting: list[Message] = [model]
    while waiting:
        message = waiting.pop()
        for field, value in message.ListFields():
            if field.name in ("external_data", "data_location") and value:
                return True
            if field.message_type is not None:
                waiting.extend(value if hasattr(value, "__len__") else [value])
    return False
