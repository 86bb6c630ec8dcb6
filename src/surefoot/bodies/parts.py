"""Detection of trunk, joints and feet in any MuJoCo model."""

import re
from collections import Counter

import mujoco
import numpy as np

from surefoot.bodies.body import Foot
from surefoot.errors import InputError

_FOOT, _SHIN = ("foot", "feet", "toe", "sole"), ("ankle", "calf", "shank", "shin")
_WHEEL = ("wheel",)
_LABEL = re.compile(r"(?:^|[_\-. ])(left|right|[lr][fhbmr]|[fhbmr][lr]|l|r)(?=[_\-. ]|$)", re.IGNORECASE)
_LEVEL_M = 0.005  # geoms within this distance count as equally low
_NEAR_FLOOR = 0.1  # fraction of the trunk's height
_FAR_M = 100.0
# As plain integers: elements of MuJoCo's arrays do not compare equal to its enumerations inside a tuple.
HINGES = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_FREE = int(mujoco.mjtJoint.mjJNT_FREE)
BY_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


def find_trunk(model: mujoco.MjModel) -> str:
    """Return the root body with most joints below it; a free one is preferred.

    Raises:
        InputError: the model has no joints.
    """
    below = Counter(
        int(model.body_rootid[model.jnt_bodyid[j]]) for j in range(model.njnt) if model.jnt_type[j] in HINGES
    )
    if not below:
        raise InputError("it has no joints")
    root = max(below, key=lambda body: (is_free(model, model.body(body).name), below[body]))
    return model.body(root).name


def is_free(model: mujoco.MjModel, body: str) -> bool:
    """Whether a MuJoCo body has a free joint."""
    part = model.body(body)
    return bool(part.jntnum[0] and model.jnt_type[part.jntadr[0]] == _FREE)


def find_joints(model: mujoco.MjModel, trunk: str) -> tuple[str, ...]:
    """Return the actuated joints below the trunk, in the order of the actuators; if none, all limited hinges."""
    below = [
        j for j in range(model.njnt) if model.jnt_type[j] in HINGES and is_below(model, model.jnt_bodyid[j], trunk)
    ]
    driven = [j for j in driven_joints(model) if j in below]
    found = driven or [j for j in below if model.jnt_limited[j] and model.jnt_type[j] == HINGES[0]]
    if not found:
        raise InputError("none of its joints has an actuator or limits; state them as joints = [...] in a TOML file")
    return tuple(model.joint(j).name for j in dict.fromkeys(found))


def driven_joints(model: mujoco.MjModel) -> list[int]:
    """Return the joint of each actuator that drives one, in the order of the actuators."""
    return [int(model.actuator_trnid[i, 0]) for i in range(model.nu) if model.actuator_trntype[i] in BY_JOINT]


def is_below(model: mujoco.MjModel, body: int, trunk: str) -> bool:
    """Whether a MuJoCo body is the trunk or one of its descendants."""
    top = model.body(trunk).id
    while body and body != top:
        body = model.body_parentid[body]
    return bool(body == top)


def find_floor(model: mujoco.MjModel) -> int | None:
    """Return the geom of a level floor, or None if there is none.

    Raises:
        InputError: the ground is a height field.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for geom in range(model.ngeom):
        if model.body_weldid[model.geom_bodyid[geom]] == 0 and collides(model, geom):
            if model.geom_type[geom] == int(mujoco.mjtGeom.mjGEOM_HFIELD):
                raise InputError("its ground is a height field; choose a file without it, and a level floor is added")
            if model.geom_type[geom] == int(mujoco.mjtGeom.mjGEOM_PLANE) and data.geom_xmat[geom, 8] > 0.999:
                return geom
    return None


def clearances(data: mujoco.MjData, trunk: str) -> np.ndarray:
    """Return the height of each geom's lowest point above the floor, (ngeom,) m.

    Geoms that do not collide or do not belong to the robot are at infinity.

    Args:
        data: a robot in a scene with a floor.
        trunk: name of its trunk.
    """
    model = data.model
    floor = find_floor(model)
    above = np.full(model.ngeom, np.inf)
    for geom in range(model.ngeom):
        if collides(model, geom) and is_below(model, model.geom_bodyid[geom], trunk):
            above[geom] = mujoco.mj_geomDistance(model, data, floor, geom, _FAR_M, None)
    return above


def find_feet(model: mujoco.MjModel, clearance: np.ndarray, trunk: str, height_m: float) -> tuple[Foot, ...]:
    """Return the feet: last links of limbs with a foot or shin in their names; else the last links near the floor.

    Args:
        model: the model.
        clearance: of each geom above the floor in the standing pose, (ngeom,).
        trunk: name of the trunk.
        height_m: standing height of the trunk.

    Raises:
        InputError: no feet are found.
    """
    links = [link for link in _last_links(model, trunk) if np.isfinite(clearance[_geoms_of(model, link)]).any()]
    named = {link: _names_of(model, link) for link in links}
    links = [link for link in links if not _any_word(named[link], _WHEEL)]
    legs = [link for link in links if _any_word(named[link], _FOOT + _SHIN)]
    if not legs:
        legs = [link for link in links if clearance[_geoms_of(model, link)].min() < _NEAR_FLOOR * height_m]
    if not legs:
        raise InputError("no feet are found; state them as feet = [...] in a TOML file")
    labels = [_label(named[leg]) for leg in legs]
    if None in labels or len(set(labels)) < len(labels):
        labels = [model.body(leg).name for leg in legs]
    return tuple(Foot(str(label), _sole(model, clearance, leg)) for label, leg in zip(labels, legs, strict=True))


def named_feet(model: mujoco.MjModel, clearance: np.ndarray, names: tuple[str, ...]) -> tuple[Foot, ...]:
    """Return feet from the names of geoms, or of bodies with all their colliding geoms.

    Raises:
        InputError: a part does not exist or cannot touch the ground.
    """
    feet = []
    for name in names:
        geoms = [g for g in range(model.ngeom) if model.geom(g).name == name]
        geoms = geoms or [g for g in range(model.ngeom) if model.body(model.geom_bodyid[g]).name == name]
        geoms = [g for g in geoms if np.isfinite(clearance[g])]
        if not geoms:
            raise InputError(f"the foot '{name}' is not a geom or body below the trunk that can touch the ground")
        feet.append(Foot(name, tuple(model.geom(g).name for g in geoms)))
    return tuple(feet)


def last_joint(model: mujoco.MjModel, geom: str, joints: tuple[str, ...]) -> str | None:
    """Return the nearest of `joints` above a geom, or None."""
    body = int(model.geom_bodyid[model.geom(geom).id])
    while body:
        start, count = model.body_jntadr[body], model.body_jntnum[body]
        for joint in reversed(range(start, start + count)):
            if model.joint(joint).name in joints:
                return model.joint(joint).name
        body = int(model.body_parentid[body])
    return None


def collides(model: mujoco.MjModel, geom: int) -> bool:
    """Whether a geom can collide with any other."""
    paired = geom in model.pair_geom1 or geom in model.pair_geom2
    return bool(model.geom_contype[geom] or model.geom_conaffinity[geom] or paired)


def _last_links(model: mujoco.MjModel, trunk: str) -> list[int]:
    """Return the moving bodies without moving descendants."""
    moving = [b for b in range(1, model.nbody) if model.body_weldid[b] == b and is_below(model, b, trunk)]
    parents = {int(model.body_weldid[model.body_parentid[b]]) for b in moving}
    return [b for b in moving if b not in parents and b != model.body(trunk).id]


def _geoms_of(model: mujoco.MjModel, link: int) -> np.ndarray:
    return np.flatnonzero(model.body_weldid[model.geom_bodyid] == link)


def _names_of(model: mujoco.MjModel, link: int) -> list[str]:
    bodies = [model.body(int(b)).name for b in np.flatnonzero(model.body_weldid == link)]
    return bodies + [model.geom(int(g)).name for g in _geoms_of(model, link)]


def _any_word(names: list[str], words: tuple[str, ...]) -> bool:
    """Whether a part of a name begins or ends with one of the words."""
    parts = [part for name in names for part in re.split(r"[^a-z]+", name.lower())]
    return any(part.startswith(words) or part.endswith(words) for part in parts)


def _label(names: list[str]) -> str | None:
    return next((found[1] for name in names if (found := _LABEL.search(name))), None)


def _sole(model: mujoco.MjModel, clearance: np.ndarray, link: int) -> tuple[str, ...]:
    """Return the geoms of a leg's last link with a foot in their own or their body's name; without any, the lowest."""
    geoms = [int(g) for g in _geoms_of(model, link) if np.isfinite(clearance[g])]
    named = [g for g in geoms if _any_word([model.geom(g).name, model.body(model.geom_bodyid[g]).name], _FOOT)]
    geoms = named or [g for g in geoms if clearance[g] <= clearance[geoms].min() + _LEVEL_M]
    return tuple(model.geom(g).name for g in geoms)
