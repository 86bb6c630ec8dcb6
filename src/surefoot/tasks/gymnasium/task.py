"""Base of Gymnasium's tasks: their properties, named as in `tasks.task.Task`."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from surefoot.bodies.body import Body
from surefoot.tasks.observation import Part, names_of
from surefoot.tasks.task import FallRule

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror


class GymnasiumTask:
    """One of Gymnasium's tasks.

    Attributes:
        id: Gymnasium id; older versions of the task share body and fall rule.
        short_name: name on the command line, or None.
        fall: how falls are detected.
        body: names of the body's parts; None if they are unknown or an option replaces the model.
        env: the unwrapped environment.
        options: the options with which it was made.
        observation: parts of the observation; empty if unknown.
    """

    id: str
    short_name: str | None = None
    fall: FallRule
    body: Body | None = None

    def __init__(self, env: Any, options: Mapping[str, Any]) -> None:
        self.env, self.options = env, options
        if "xml_file" in options or "main_body" in options:
            self.body = None
        self.observation = self.observation_parts()

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Name of each value of the observation; empty if unknown."""
        return names_of(self.observation)

    @functools.cached_property
    def action_names(self) -> tuple[str, ...] | None:
        """Name of each value of an action, or None if unknown."""
        return None

    def observation_parts(self) -> tuple[Part, ...]:
        """Return the parts of the observation; empty if unknown."""
        return ()

    def mirror(self) -> "Mirror | None":
        """Return the mirror image, or None."""
        return None
