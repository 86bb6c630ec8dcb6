"""What is known of a body beside its physics: which parts are its trunk, its joints and its feet."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Foot:
    """A part that is meant to touch the ground.

    Attributes:
        name: as figures and tables show it, such as "LF".
        geoms: the MuJoCo geoms of which it is made.
    """

    name: str
    geoms: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Body:
    """The names of a body's parts in its MuJoCo model.

    Attributes:
        name: as figures and tables show it.
        trunk: the MuJoCo body whose movement is that of the whole.
        joints: the hinges that the actions move, in the order of the actions.
        feet: in the order in which a footfall diagram shows them, from top to bottom.
        joint_pairs: (left, right) joints that change places in a mirror.
        foot_pairs: (left, right) names of feet that change places in a mirror.
        speed_limit: how fast the motors can turn in rad/s, as their maker says, or None.
    """

    name: str
    trunk: str
    joints: tuple[str, ...]
    feet: tuple[Foot, ...]
    joint_pairs: tuple[tuple[str, str], ...] = ()
    foot_pairs: tuple[tuple[str, str], ...] = ()
    speed_limit: float | None = None
