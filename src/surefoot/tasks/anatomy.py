"""Which body moves in a task, and what its parts are called.

The names are those of the models that Gymnasium brings; a test looks every one of them up there.
"""

import importlib
import importlib.util
import re

from surefoot.bodies.body import Body, Foot
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.registry import make_task

# Options of Gymnasium's tasks that put another body in the place of their own.
_OTHER_BODY = ("xml_file", "main_body")

# The same four-jointed walker on both terrains; it is simulated by Box2D, so that its "geoms" are the rigid bodies of
# which env.unwrapped.legs consists. Seen from the side it has no left and right, only a first and a second leg.
_BIPEDAL_WALKER = Body(
    name="BipedalWalker",
    trunk="hull",
    joints=("hip_1", "knee_1", "hip_2", "knee_2"),
    feet=(Foot("leg 1", ("lower_1",)), Foot("leg 2", ("lower_2",))),
    joint_pairs=(("hip_1", "hip_2"), ("knee_1", "knee_2")),
    foot_pairs=(("leg 1", "leg 2"),),
)

_HALF_CHEETAH = Body(
    name="HalfCheetah",
    trunk="torso",
    joints=("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"),
    feet=(Foot("fore", ("ffoot",)), Foot("hind", ("bfoot",))),
)

# Legs 1 to 4 stand at (x, y) = (+, +), (-, +), (-, -) and (+, -), and an ant is paid for running along x. So leg 1 is
# its left fore leg, whatever the names in its file say, and left and right are as in `tasks.symmetry`.
_ANT = Body(
    name="Ant",
    trunk="torso",
    joints=("hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3"),
    feet=(
        Foot("LF", ("left_ankle_geom",)),
        Foot("RF", ("fourth_ankle_geom",)),
        Foot("LH", ("right_ankle_geom",)),
        Foot("RH", ("third_ankle_geom",)),
    ),
    joint_pairs=(("hip_1", "hip_4"), ("ankle_1", "ankle_4"), ("hip_2", "hip_3"), ("ankle_2", "ankle_3")),
    foot_pairs=(("LF", "RF"), ("LH", "RH")),
)

_WALKER2D = Body(
    name="Walker2d",
    trunk="torso",
    joints=("thigh_joint", "leg_joint", "foot_joint", "thigh_left_joint", "leg_left_joint", "foot_left_joint"),
    feet=(Foot("left", ("foot_left_geom",)), Foot("right", ("foot_geom",))),
    joint_pairs=(
        ("thigh_left_joint", "thigh_joint"),
        ("leg_left_joint", "leg_joint"),
        ("foot_left_joint", "foot_joint"),
    ),
    foot_pairs=(("left", "right"),),
)

_HOPPER = Body(
    name="Hopper",
    trunk="torso",
    joints=("thigh_joint", "leg_joint", "foot_joint"),
    feet=(Foot("foot", ("foot_geom",)),),
)

_HUMANOID_PAIRS = ("hip_x", "hip_z", "hip_y", "knee", "shoulder1", "shoulder2", "elbow")
_HUMANOID = Body(
    name="Humanoid",
    trunk="torso",
    joints=(
        *("abdomen_y", "abdomen_z", "abdomen_x"),
        *(f"right_{name}" for name in _HUMANOID_PAIRS[:4]),
        *(f"left_{name}" for name in _HUMANOID_PAIRS[:4]),
        *(f"right_{name}" for name in _HUMANOID_PAIRS[4:]),
        *(f"left_{name}" for name in _HUMANOID_PAIRS[4:]),
    ),
    feet=(Foot("left", ("left_foot",)), Foot("right", ("right_foot",))),
    joint_pairs=tuple((f"left_{name}", f"right_{name}") for name in _HUMANOID_PAIRS),
    foot_pairs=(("left", "right"),),
)

# By the Gymnasium id without its version; a text names the module of a body of our own, imported when asked for.
_BODIES: dict[str, Body | str] = {
    "BipedalWalker": _BIPEDAL_WALKER,
    "BipedalWalkerHardcore": _BIPEDAL_WALKER,
    "HalfCheetah": _HALF_CHEETAH,
    "Ant": _ANT,
    "Walker2d": _WALKER2D,
    "Hopper": _HOPPER,
    "Humanoid": _HUMANOID,
    "surefoot/AnymalC": "surefoot.bodies.anymal_c",
    "surefoot/AnymalCStep": "surefoot.bodies.anymal_c",
    "surefoot/AnymalCVelocity": "surefoot.bodies.anymal_c",
}

_SIDE = re.compile(r"^(LF|RF|LH|RH|FL|FR|RL|RR|HL|HR|left|right)_|_(left|right)(?=_|$)|_\d+$|_joint$")
_KINDS = {"HAA": "shoulder, open and close (HAA)", "HFE": "shoulder, rotation (HFE)", "KFE": "elbow (KFE)"}


def joint_kinds(body: Body) -> dict[str, tuple[str, ...]]:
    """Return the joints by what they are, whichever leg they are in: the knees, the hips."""
    kinds: dict[str, tuple[str, ...]] = {}
    for joint in body.joints:
        kind = _SIDE.sub("", joint)
        kind = _KINDS.get(kind, kind.replace("_", " "))
        kinds[kind] = (*kinds.get(kind, ()), joint)
    return kinds


def find_body(info: TaskInfo) -> Body | None:
    """Return the body that moves in a task, or None where there is none or its parts are not known."""
    if any(name in info.options for name in _OTHER_BODY):
        return None
    stem = info.id.rpartition(":")[2].rpartition("-v")[0]
    if stem == "surefoot/Walk":  # whichever it was given
        return make_task(info.id, info.env_options).body
    body = _BODIES.get(stem)
    if isinstance(body, str):
        return importlib.import_module(body).BODY if importlib.util.find_spec(body) else None
    return body
