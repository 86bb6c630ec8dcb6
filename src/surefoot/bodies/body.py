"""The names of a body's parts: trunk, joints, feet and left-right pairs."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Foot:
    """A part that is meant to touch the ground."""

    name: str  # label in figures and tables, such as "LF"
    geoms: tuple[str, ...]  # names of its MuJoCo geoms


@dataclasses.dataclass(frozen=True)
class Body:
    """Names of a body's parts in its MuJoCo model."""

    name: str  # label in figures and tables
    trunk: str  # the MuJoCo body that represents the whole robot
    joints: tuple[str, ...]  # the joints that actions move, in the order of the actions
    feet: tuple[Foot, ...]  # in the order of a footfall diagram, top to bottom
    joint_pairs: tuple[tuple[str, str], ...] = ()  # (left, right) joints that a mirror exchanges
    foot_pairs: tuple[tuple[str, str], ...] = ()  # (left, right) names of feet that a mirror exchanges
    speed_limit: float | None = None  # no-load speed of the motors, rad/s; None if unknown


_SIDE = re.compile(r"^(LF|RF|LH|RH|FL|FR|RL|RR|HL|HR|left|right)_|_(left|right)(?=_|$)|_\d+$|_joint$")
_KINDS = {"HAA": "shoulder, open and close (HAA)", "HFE": "shoulder, rotation (HFE)", "KFE": "elbow (KFE)"}


def joint_kinds(body: Body) -> dict[str, tuple[str, ...]]:
    """Return the joints grouped by kind over all legs: the knees, the hips."""
    kinds: dict[str, tuple[str, ...]] = {}
    for joint in body.joints:
        kind = _SIDE.sub("", joint)
        kind = _KINDS.get(kind, kind.replace("_", " "))
        kinds[kind] = (*kinds.get(kind, ()), joint)
    return kinds
