"""Bodies from elsewhere: an MJCF or URDF file, a TOML that describes one, or a robot of MuJoCo Menagerie.

What a description does not state is found (`parts`, `mirrored`, `servos`). MuJoCo reads the model, with the meshes and
files it names, and nothing of it is run.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from surefoot.bodies import parts
from surefoot.bodies.body import Body, Foot
from surefoot.bodies.description import BodyDescription, model_beside, read_stated
from surefoot.bodies.scene import add_scenery
from surefoot.bodies.servos import Servo, add_servos, find_servo
from surefoot.bodies.symmetry import find_facing, find_foot_pairs, find_joint_pairs, joint_sign, standing
from surefoot.errors import InputError, suggestion

MENAGERIE = "menagerie:"
_MODELS = (".xml", ".mjcf", ".urdf")
_HOME = ("home", "stand", "standing", "default")
_ALL_BITS = 2**31 - 1
_LEAST_STEP_S = 1e-4  # 200 steps an action


class Pose(NamedTuple):
    """How a body stands when an episode begins.

    Attributes:
        qpos: (nq,) of the compiled model, its lowest part just on the floor.
        ctrl: (nu,) what the actuators are told, so that it stays.
        height_m: of the trunk above the floor.
    """

    qpos: np.ndarray
    ctrl: np.ndarray
    height_m: float


class LoadedBody(NamedTuple):
    """A body in its scene.

    Attributes:
        spec: the model, which has a floor, light, a free trunk, and for each of the joints a servo of the same name.
        body: the names of its parts.
        pose: how it stands.
    """

    spec: mujoco.MjSpec
    body: Body
    pose: Pose


def load_body(source: str) -> LoadedBody:
    """Load a body and find its parts.

    Args:
        source: a path to .xml, .mjcf or .urdf; to a .toml, see `stated.Stated`; or "menagerie:NAME" or
            "menagerie:NAME/ENTRY" for a robot of MuJoCo Menagerie, which is downloaded when it is first wanted.

    Raises:
        InputError: in one line, what is wrong and what to do.
    """
    path, stated = _find_files(source)
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        if stated.name:
            spec.modelname = stated.name
        return _complete(spec, stated)
    except InputError as error:
        raise InputError(f"body '{source}': {error}") from None
    except (ValueError, mujoco.FatalError) as error:  # MuJoCo's own words on a model
        raise InputError(f"body '{source}' is no model that MuJoCo can read: {error}") from None


def _find_files(source: str) -> tuple[Path, BodyDescription]:
    """Return the model's file and what is stated of it."""
    if source.startswith(MENAGERIE):
        return _menagerie_file(source), BodyDescription(model=source)
    path = Path(source)
    if path.suffix.lower() not in (*_MODELS, ".toml"):
        raise InputError(
            f"body '{source}' is neither anymal-c nor menagerie:NAME nor a file that ends with .xml, .mjcf, .urdf "
            "or .toml"
        )
    _check_file(path, source)
    if path.suffix.lower() != ".toml":
        return path, BodyDescription(model=path.name)
    stated = read_stated(path)
    if stated.model.startswith(MENAGERIE):
        return _menagerie_file(stated.model), stated
    model = model_beside(path, stated.model)
    if model.suffix.lower() not in _MODELS:
        raise InputError(f"body '{source}': the model '{stated.model}' must end with .xml, .mjcf or .urdf")
    _check_file(model, stated.model)
    return model, stated


def _check_file(path: Path, name: str) -> None:
    try:
        there = path.is_file()
    except (OSError, ValueError):  # such as a name too long, or with a zero in it
        there = False
    if not there:
        raise InputError(f"body '{name}': there is no such file")


def _menagerie_file(source: str) -> Path:
    name, _, entry = source.removeprefix(MENAGERIE).partition("/")
    try:
        import mujoco_menagerie  # an extra
    except ImportError:
        raise InputError(
            f"body '{source}' needs the package mujoco-menagerie; install it by: pip install \"surefoot[menagerie]\""
        ) from None
    if name not in mujoco_menagerie.names():
        known = [robot.name for kind in ("quadruped", "humanoid", "biped") for robot in mujoco_menagerie.robots(kind)]
        raise InputError(f"body '{source}': MuJoCo Menagerie has no robot '{name}'" + suggestion(name, known))
    robot = mujoco_menagerie.get(name)
    if entry and entry not in robot.entry_names:
        raise InputError(f"body '{source}': '{name}' has no entry '{entry}'" + suggestion(entry, robot.entry_names))
    try:
        return robot.xml(entry or None)
    except (mujoco_menagerie.MenagerieError, OSError) as error:
        raise InputError(
            f"body '{source}' cannot be downloaded ({error}); connect to the network once, or let MENAGERIE_ROOT name "
            "a copy of github.com/google-deepmind/mujoco_menagerie"
        ) from None


def _complete(spec: mujoco.MjSpec, stated: BodyDescription) -> LoadedBody:
    """Give a model what it lacks, and find its parts."""
    spec.compiler.fusestatic = False  # a foot that is fixed to its shin keeps its name
    _name_parts(spec)
    given = spec.compile()
    if given.opt.timestep < _LEAST_STEP_S:
        raise InputError(f"its timestep is {given.opt.timestep:g} s; it must be {_LEAST_STEP_S:g} or more")
    trunk = _free_trunk(spec, given, stated)
    joints = _known_joints(given, trunk, stated)
    angles, quat = _find_angles(given, stated), _find_quat(given, trunk, stated)
    complete = parts.is_free(given, trunk)
    if parts.find_floor(given) is None:
        add_scenery(spec, contype=_ALL_BITS, conaffinity=_ALL_BITS)
        complete = False
    actuated = [given.joint(j).name for j in dict.fromkeys(parts.driven_joints(given))]
    servos = {joint: _servo(given, joint, stated) for joint in dict.fromkeys((*joints, *actuated))}
    for key in list(spec.keys):  # of another size, once the trunk is free
        spec.delete(key)
    model = given if complete else spec.compile()
    _, height_m = _stand(model, trunk, angles, quat)
    add_servos(spec, model, servos, height_m)
    model = spec.compile()
    qpos, height_m = _stand(model, trunk, angles, quat)
    place = model.joint(model.body(trunk).jntadr[0]).qposadr[0]
    facing = find_facing(standing(model, qpos), joints)
    if facing is not None:
        mujoco.mju_mulQuat(qpos[place + 3 : place + 7], facing, qpos[place + 3 : place + 7].copy())
    ctrl = np.array([angles.get(model.actuator(i).name, 0.0) for i in range(model.nu)])
    body = _name_body(model, qpos, height_m, trunk, joints, stated, spec.modelname)
    return LoadedBody(spec, body, Pose(qpos, ctrl, height_m))


def _name_parts(spec: mujoco.MjSpec) -> None:
    """Give every body, joint, geom and actuator a name."""
    for group, word in ((spec.bodies, "body"), (spec.joints, "joint"), (spec.geoms, "geom"), (spec.actuators, "drive")):
        names = {one.name for one in group}
        for number, one in enumerate(group):
            if not one.name:
                stem = f"{one.parent.name} geom" if word == "geom" and one.parent.name else word
                one.name = next(name for i in itertools.count(number) if (name := f"{stem} {i}") not in names)
                names.add(one.name)


def _free_trunk(spec: mujoco.MjSpec, model: mujoco.MjModel, stated: BodyDescription) -> str:
    """Return the trunk, and free it if it is fixed."""
    trunk = stated.trunk or parts.find_trunk(model)
    known = [model.body(i).name for i in range(1, model.nbody)]
    if trunk not in known:
        raise InputError(f"it has no body '{trunk}'" + suggestion(trunk, known))
    if model.body(trunk).parentid[0] != 0:
        raise InputError(f"the trunk '{trunk}' hangs on '{model.body(model.body(trunk).parentid[0]).name}'")
    if not parts.is_free(model, trunk):
        if model.body(trunk).jntnum[0]:
            tie = model.joint(model.body(trunk).jntadr[0]).name
            raise InputError(
                f"the trunk '{trunk}' is tied to the world by the joint '{tie}'; a walker's moves freely, "
                "by a free joint or by none"
            )
        spec.body(trunk).add_freejoint(name=f"{trunk} free")
    return trunk


def _known_joints(model: mujoco.MjModel, trunk: str, stated: BodyDescription) -> tuple[str, ...]:
    if stated.joints is None:
        return parts.find_joints(model, trunk)
    hinges = [j for j in range(model.njnt) if model.jnt_type[j] in parts.HINGES]
    known = [model.joint(j).name for j in hinges if parts.is_below(model, model.jnt_bodyid[j], trunk)]
    _check_names("joints", stated.joints, known)
    return stated.joints


def _check_names(field: str, names, known) -> None:
    """Raise an InputError if a name is unknown or stands there twice."""
    for name in names:
        if name not in known:
            raise InputError(f"{field}: there is no '{name}'" + suggestion(name, known))
    if len(set(names)) < len(list(names)):
        raise InputError(f"{field}: a name stands there twice")


def _home(model: mujoco.MjModel) -> int:
    names = [model.key(k).name.lower() for k in range(model.nkey)]
    return next((names.index(name) for name in _HOME if name in names), 0)


def _find_angles(model: mujoco.MjModel, stated: BodyDescription) -> dict[str, float]:
    """Return where each hinge and slide is as the body stands: as stated, else as in a keyframe, else at zero."""
    numbers = [j for j in range(model.njnt) if model.jnt_type[j] in parts.HINGES]
    if stated.pose is not None:
        _check_names("pose", stated.pose, [model.joint(j).name for j in numbers])
        pose = np.zeros(model.nq)
        for joint, value in stated.pose.items():
            pose[model.joint(joint).qposadr[0]] = value
    else:
        pose = model.key_qpos[_home(model)] if model.nkey else np.zeros(model.nq)
    angles = {}
    for j in numbers:
        low, high = model.jnt_range[j] if model.jnt_limited[j] else (-np.inf, np.inf)
        angles[model.joint(j).name] = float(np.clip(pose[model.jnt_qposadr[j]], low, high))
    return angles


def _find_quat(model: mujoco.MjModel, trunk: str, stated: BodyDescription) -> np.ndarray | None:
    """Return how a keyframe turns the trunk, or None where the model's own frame counts."""
    if stated.pose is not None or not model.nkey or not parts.is_free(model, trunk):
        return None
    place = model.jnt_qposadr[model.body(trunk).jntadr[0]]
    return model.key_qpos[_home(model), place + 3 : place + 7]


def _servo(model: mujoco.MjModel, joint: str, stated: BodyDescription) -> Servo:
    servo = find_servo(model, joint)
    given = {}
    for name in ("kp", "kd"):
        value = getattr(stated, name)
        value = value.get(joint) if isinstance(value, dict) else value
        if value is not None:
            given[name] = value
    if "kp" in given and "kd" not in given:
        given["kd"] = None  # the model's own belongs to its own stiffness
    return dataclasses.replace(servo, **given)


def _stand(model: mujoco.MjModel, trunk: str, angles: dict[str, float], quat: np.ndarray | None):
    """Return qpos with the lowest part on the floor, and the trunk's height above it in metres."""
    qpos = model.qpos0.copy()
    for joint, value in angles.items():
        qpos[model.joint(joint).qposadr[0]] = value
    place = model.joint(model.body(trunk).jntadr[0]).qposadr[0]
    if quat is not None:
        qpos[place + 3 : place + 7] = quat
    qpos[place + 2] += 10  # a place from which all distances are positive
    data = standing(model, qpos)
    above = parts.clearances(data, trunk).min()
    if not np.isfinite(above):
        raise InputError("nothing below its trunk can touch the ground")
    qpos[place + 2] -= above
    return qpos, float(qpos[place + 2] - data.geom_xpos[parts.find_floor(model), 2])


def _name_body(
    model: mujoco.MjModel,
    qpos: np.ndarray,
    height_m: float,
    trunk: str,
    joints: tuple[str, ...],
    stated: BodyDescription,
    name: str,
) -> Body:
    """Find feet and pairs of the finished model as it stands."""
    data = standing(model, qpos)
    clearance = parts.clearances(data, trunk)
    if stated.feet is None:
        feet: tuple[Foot, ...] = parts.find_feet(model, clearance, trunk, height_m)
    else:
        _check_names("feet", stated.feet, stated.feet)
        feet = parts.stated_feet(model, clearance, stated.feet)
    joint_pairs, foot_pairs = stated.joint_pairs, stated.foot_pairs
    if joint_pairs is None:
        joint_pairs = find_joint_pairs(data, trunk, joints)
    else:
        _check_names("joint_pairs", [one for pair in joint_pairs for one in pair], joints)
        for left, right in joint_pairs:
            if joint_sign(data, trunk, left, right) is None:
                raise InputError(f"joint_pairs: '{left}' and '{right}' are not each other's image as the body stands")
    if foot_pairs is None:
        ends = {foot.name: parts.last_joint(model, foot.geoms[0], joints) for foot in feet}
        foot_pairs = find_foot_pairs(data, trunk, [(foot.name, foot.geoms) for foot in feet], ends, joint_pairs)
    else:
        _check_names("foot_pairs", [one for pair in foot_pairs for one in pair], [foot.name for foot in feet])
    return Body(name, trunk, joints, feet, joint_pairs, foot_pairs)
