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
_FAR_M = 1e5
_LEAST_MASS_KG = 1e-3
_LEVEL = 0.999  # cosine
_FLOOR_GAP_M = 0.003
# As plain integers: elements of MuJoCo's arrays do not compare equal to its enumerations inside a tuple.
HINGES = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_FREE = int(mujoco.mjtJoint.mjJNT_FREE)
_PLANE, _BOX = int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_BOX)
_SOLID_GROUND = (_BOX, int(mujoco.mjtGeom.mjGEOM_HFIELD))
BY_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


def find_trunk(model: mujoco.MjModel) -> str:
    """Return the root body with most joints below it; a free one is preferred.

    If the root has no mass, such as the base_footprint of a URDF, return the heaviest body that is fixed to it.

    Raises:
        InputError: the model has no joints.
    """
    below = Counter(
        int(model.body_rootid[model.jnt_bodyid[j]]) for j in range(model.njnt) if model.jnt_type[j] in HINGES
    )
    if not below:
        raise InputError("it has no joints")
    root = max(below, key=lambda body: (free_joint(model, model.body(body).name) is not None, below[body]))
    if model.body_mass[root] < _LEAST_MASS_KG:
        fixed = [body for body in range(1, model.nbody) if is_fixed(model, body, root)]
        root = max(fixed, key=lambda body: model.body_mass[body])
    return model.body(root).name


def is_fixed(model: mujoco.MjModel, body: int, root: int) -> bool:
    """Whether a body is a root or fixed to it."""
    while body not in (0, root) and not model.body_jntnum[body]:
        body = model.body_parentid[body]
    return bool(body == root)


def free_joint(model: mujoco.MjModel, trunk: str) -> int | None:
    """Return the free joint that moves a trunk, or None."""
    root = model.body_rootid[model.body(trunk).id]
    free = model.body_jntnum[root] and model.jnt_type[model.body_jntadr[root]] == _FREE
    return int(model.body_jntadr[root]) if free else None


def find_joints(model: mujoco.MjModel, trunk: str) -> tuple[str, ...]:
    """Return the actuated joints below the trunk, in the order of the actuators; if none, all limited hinges."""
    below = [
        j for j in range(model.njnt) if model.jnt_type[j] in HINGES and is_below(model, model.jnt_bodyid[j], trunk)
    ]
    driven = [j for j in driven_joints(model) if j in below]
    # A joint that follows another one, by "mimic" in URDF, is not free to move.
    of_joints = (model.eq_type == int(mujoco.mjtEq.mjEQ_JOINT)) & (model.eq_obj2id >= 0)
    followers = model.eq_obj1id[of_joints]
    limited = [j for j in below if model.jnt_limited[j] and model.jnt_type[j] == HINGES[0]]
    found = driven or [j for j in limited if j not in followers]
    if not found:
        raise InputError("none of its joints has an actuator or limits; state them as joints = [...] in a TOML file")
    return tuple(model.joint(j).name for j in dict.fromkeys(found))


def driven_joints(model: mujoco.MjModel) -> list[int]:
    """Return the hinges and slides that actuators move, directly or by tendons, in the order of the actuators."""
    joints: list[int] = []
    for kind, target in zip(model.actuator_trntype, model.actuator_trnid[:, 0], strict=True):
        if kind in BY_JOINT:
            joints.append(int(target))
        elif kind == int(mujoco.mjtTrn.mjTRN_TENDON):
            wraps = range(model.tendon_adr[target], model.tendon_adr[target] + model.tendon_num[target])
            joints += [
                int(model.wrap_objid[i]) for i in wraps if model.wrap_type[i] == int(mujoco.mjtWrap.mjWRAP_JOINT)
            ]
    return [joint for joint in joints if model.jnt_type[joint] in HINGES]


def is_below(model: mujoco.MjModel, body: int, trunk: str) -> bool:
    """Whether a MuJoCo body belongs to the robot of a trunk."""
    return bool(body and model.body_rootid[body] == model.body_rootid[model.body(trunk).id])


def touches(model: mujoco.MjModel, first: int, second: int) -> bool:
    """Whether two geoms can collide: by their bits, or as a pair."""
    types, affinities, bodies = model.geom_contype, model.geom_conaffinity, model.geom_bodyid
    if {first, second} in [set(pair) for pair in zip(model.pair_geom1, model.pair_geom2, strict=True)]:
        return True
    low, high = sorted((int(bodies[first]), int(bodies[second])))
    if (low << 16) + high in model.exclude_signature:
        return False
    return bool(types[first] & affinities[second] or types[second] & affinities[first])


def find_floor(model: mujoco.MjModel, trunk: str) -> int | None:
    """Return the highest level plane or box under a trunk that the robot can touch, or None.

    Raises:
        InputError: the ground is a height field, or is tilted.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    place = data.body(trunk).xpos
    own = [geom for geom in range(model.ngeom) if is_below(model, model.geom_bodyid[geom], trunk)]
    fixed = set(np.flatnonzero(model.body_weldid[model.geom_bodyid] == 0).tolist()).difference(own)
    ground = [geom for geom in fixed if any(touches(model, geom, part) for part in own)]
    tops = {geom: top for geom in ground if (top := _top(data, geom, place)) is not None}
    below = [geom for geom in tops if tops[geom] <= place[2]]
    slopes = {geom: height for geom in ground if (height := _slope_height(data, geom, place)) is not None}
    steepest = max(slopes, key=lambda geom: slopes[geom], default=None)
    if steepest is not None and all(tops[geom] < slopes[steepest] for geom in below):
        tilt = np.degrees(np.arccos(min(_upward(data, steepest), 1)))
        raise InputError(
            f"its ground '{model.geom(steepest).name}' is tilted by {tilt:.0f} degrees; make it level, or remove it, "
            "and a level floor is added"
        )
    if not tops:
        return None
    floor = max(below, key=lambda geom: tops[geom]) if below else min(tops, key=lambda geom: tops[geom])
    if model.geom_type[floor] == int(mujoco.mjtGeom.mjGEOM_HFIELD):
        raise InputError("its ground is a height field; choose a file without it, and a level floor is added")
    return floor


def known_floor(model: mujoco.MjModel, trunk: str) -> int:
    """Return the floor under a trunk (`find_floor`).

    Raises:
        InputError: there is none.
    """
    floor = find_floor(model, trunk)
    if floor is None:
        raise InputError("no geom of the robot can touch the ground")
    return floor


def free_floor_height(model: mujoco.MjModel) -> float:
    """Return the height of a floor to be added, m: 0, or lower if the file has a level surface there.

    Pictures of two surfaces at the same height flicker.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    fixed = [geom for geom in range(model.ngeom) if model.body_weldid[model.geom_bodyid[geom]] == 0]
    tops = [top for geom in fixed if (top := _level_top(data, geom)) is not None]
    height = 0.0
    while any(abs(top - height) < _FLOOR_GAP_M for top in tops):
        height -= _FLOOR_GAP_M
    return height


def _upward(data: mujoco.MjData, geom: int) -> float:
    """Return the cosine of the tilt of a plane, or of the most level face of another shape."""
    axes = data.geom_xmat[geom].reshape(3, 3)
    return float(axes[2, 2] if data.model.geom_type[geom] == _PLANE else np.abs(axes[2]).max())


def _level_top(data: mujoco.MjData, geom: int) -> float | None:
    """Return the height of a plane, box or height field, None if it is another shape or not level."""
    kind, axes = data.model.geom_type[geom], data.geom_xmat[geom].reshape(3, 3)
    if kind not in (_PLANE, *_SOLID_GROUND) or _upward(data, geom) < _LEVEL:
        return None
    half = 0.0 if kind == _PLANE else data.model.geom_size[geom, int(np.abs(axes[2]).argmax())]
    return float(data.geom_xpos[geom, 2] + half)


def _slope_height(data: mujoco.MjData, geom: int, place: np.ndarray) -> float | None:
    """Return the height of a tilted plane or box under a place, (3,); None if it is another shape, or level."""
    kind, upward = int(data.model.geom_type[geom]), _upward(data, geom)
    if kind not in (_PLANE, _BOX) or not 0 < upward < _LEVEL:
        return None
    shape = data.geom_xpos[geom], data.geom_xmat[geom], data.model.geom_size[geom]
    distance = mujoco.mju_rayGeom(*shape, place, np.array([0.0, 0.0, -1.0]), kind)
    return float(place[2] - distance) if distance >= 0 else None


def _top(data: mujoco.MjData, geom: int, place: np.ndarray) -> float | None:
    """Return the height of a plane, box or height field if it is level and extends under a place, (3,), else None."""
    top = _level_top(data, geom)
    if top is None or data.model.geom_type[geom] == _PLANE:
        return top
    axes = data.geom_xmat[geom].reshape(3, 3)
    offset = np.abs(axes.T @ (place - data.geom_xpos[geom]))
    sides = [axis for axis in range(3) if axis != int(np.abs(axes[2]).argmax())]
    is_under = (offset[sides] + max(place[2] - top, 0) <= data.model.geom_size[geom, sides]).all()
    return top if is_under else None


def floor_height(data: mujoco.MjData, floor: int) -> float:
    """Return the height of the surface of a level floor, m."""
    height = _level_top(data, floor)
    if height is None:
        raise ValueError(f"the floor '{data.model.geom(floor).name}' is not level")
    return height


def clearances(data: mujoco.MjData, floor: int, trunk: str) -> np.ndarray:
    """Return the height of each geom's lowest point above the floor, (ngeom,) m.

    Geoms that cannot touch the floor or do not belong to the robot are at infinity.
    """
    model = data.model
    above = np.full(model.ngeom, np.inf)
    for geom in range(model.ngeom):
        if is_below(model, model.geom_bodyid[geom], trunk) and touches(model, floor, geom):
            above[geom] = mujoco.mj_geomDistance(model, data, floor, geom, _FAR_M, None)
    return above


def find_feet(model: mujoco.MjModel, clearance: np.ndarray, trunk: str, height_m: float) -> tuple[Foot, ...]:
    """Return the feet: last links of limbs with a foot or shin in their names; else the last links near the floor.

    `clearance` is that of each geom above the floor in the standing pose, (ngeom,); `height_m` that of the trunk.

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


def _last_links(model: mujoco.MjModel, trunk: str) -> list[int]:
    """Return the moving bodies without moving descendants."""
    moving = [b for b in range(1, model.nbody) if model.body_weldid[b] == b and is_below(model, b, trunk)]
    parents = {int(model.body_weldid[model.body_parentid[b]]) for b in moving}
    return [b for b in moving if b not in parents and b != model.body_weldid[model.body(trunk).id]]


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
