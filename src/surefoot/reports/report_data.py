"""What a gait report tells, before it is put into words."""

import dataclasses
from typing import Any

from surefoot.bodies.body import Body


@dataclasses.dataclass(frozen=True, eq=False)
class ReportData:
    """All that a page tells.

    Attributes:
        figures: as kept in gait.json.
        body: the names of the body's parts, or None.
        curves: SVG pictures of the training.
        pictures: SVG pictures by what they show, each with its caption.
        film: MP4, or None.
        film_note: what the film shows, or why there is none.
        recipe: the recipe, TOML, or "".
        command: what makes this page.
    """

    figures: dict[str, Any]
    body: Body | None
    curves: list[tuple[str, str]]
    pictures: dict[str, list[tuple[str, str]]]
    film: bytes | None
    film_note: str
    recipe: str
    command: str
