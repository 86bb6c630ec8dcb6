"""Base of Gymnasium's tasks."""

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from surefoot.bodies.body import Body, Foot
from surefoot.tasks.gymnasium.mujoco_observation import observation_parts
from surefoot.tasks.observation import Part
from surefoot.tasks.task import TaskDescription


def _body(name: str, trunk: str, joints: list[str], feet: dict[str, list[str]], **pairs: Any) -> Body:
    pairs = {kind: tuple(map(tuple, names)) for kind, names in pairs.items()}
    return Body(name, trunk, tuple(joints), tuple(Foot(foot, tuple(geoms)) for foot, geoms in feet.items()), **pairs)


_FILE = resources.files("surefoot.tasks.gymnasium") / "bodies.toml"
BODIES = {name: _body(name, **parts) for name, parts in tomllib.loads(_FILE.read_text("utf-8")).items()}


class GymnasiumTask(TaskDescription):
    """One of Gymnasium's tasks, in any version; names of its values follow from its MuJoCo model.

    Attributes:
        env: the unwrapped environment.
        options: the options with which it was made.
    """

    def __init__(self, env: Any, options: Mapping[str, Any]) -> None:
        self.env, self.options = env, options
        if "xml_file" in options or "main_body" in options:
            self.body = None
        self.observation = self.observation_parts()

    @functools.cached_property
    def action_names(self) -> tuple[str, ...] | None:
        """The joint that each action drives."""
        model = self.env.model
        return tuple(model.joint(joint).name for joint in model.actuator_trnid[:, 0]) if self.observation else None

    def observation_parts(self) -> tuple[Part, ...]:
        """Return the parts of the observation; empty if unknown."""
        structure = getattr(self.env, "observation_structure", None)  # None before v5
        return () if structure is None else observation_parts(self.env.model, structure)
