"""The names of a body's parts: trunk, joints, feet and left-right pairs."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Foot:
    """A part that is meant to touch the ground.

    Attributes:
        name: label in figures and tables, such as "LF".
        geoms: names of its MuJoCo geoms.
    """

    name: str
    geoms: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Body:
    """Names of a body's parts in its MuJoCo model.

    Attributes:
        name: label in figures and tables.
        trunk: the MuJoCo body that represents the whole robot.
        joints: the joints that actions move, in the order of the actions.
        feet: in the order of a footfall diagram, top to bottom.
        joint_pairs: (left, right) joints that a mirror exchanges.
        foot_pairs: (left, right) names of feet that a mirror exchanges.
        speed_limit: no-load speed of the motors, rad/s; None if unknown.
    """

    name: str
    trunk: str
    joints: tuple[str, ...]
    feet: tuple[Foot, ...]
    joint_pairs: tuple[tuple[str, str], ...] = ()
    foot_pairs: tuple[tuple[str, str], ...] = ()
    speed_limit: float | None = None
