"""Loading of robots: an MJCF or URDF file, a TOML description of one, or a robot of MuJoCo Menagerie.

Parts that a description leaves out are detected (`parts`, `symmetry`, `servos`). Loading a model runs no code of its
author.
"""

import dataclasses
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from surefoot.bodies import parts
from surefoot.bodies.body import Body, Foot
from surefoot.bodies.description import BodyDescription, model_beside, read_description
from surefoot.bodies.model_file import explain, quiet_mujoco, read_model
from surefoot.bodies.scene import add_scenery
from surefoot.bodies.servos import Servo, add_servos, find_servo
from surefoot.bodies.symmetry import find_facing, find_foot_pairs, find_joint_pairs, joint_sign, standing
from surefoot.errors import InputError, suggestion

MENAGERIE = "menagerie:"
_MODELS = (".xml", ".mjcf", ".urdf")
_STANDING_KEYS = ("home", "stand", "standing", "default")
_LEAST_STEP_S = 1e-4  # 200 physics steps per action
_MOST_ITERATIONS = 1000
_LONGEST_NAME = 500  # shown in a message


class Pose(NamedTuple):
    """A standing pose."""

    qpos: np.ndarray  # (nq,) positions of the compiled model; its lowest part touches the floor
    ctrl: np.ndarray  # (nu,) targets of the servos, the joint positions of the pose
    height_m: float  # height of the trunk above the floor


class LoadedBody(NamedTuple):
    """A robot in its scene."""

    spec: mujoco.MjSpec  # model with a floor, light, a free trunk, and a servo for each joint, of the same name
    body: Body
    pose: Pose


def load_body(source: str) -> LoadedBody:
    """Load a robot and detect its parts.

    Args:
        source: a path to .xml, .mjcf, .urdf or .toml (see `description.BodyDescription`); or "menagerie:NAME" or
            "menagerie:NAME/ENTRY" for a robot of MuJoCo Menagerie, downloaded on first use.

    Raises:
        InputError: the source does not exist, or is not a robot with joints and feet.
    """
    path, description = _find_files(source)
    try:
        with warnings.catch_warnings(), quiet_mujoco():
            warnings.simplefilter("ignore", UserWarning)  # MuJoCo's, about old attributes
            spec = read_model(path)
            if description.name:
                spec.modelname = description.name
            return _complete(spec, description)
    except InputError as error:
        raise InputError(f"body '{source}': {error}") from None
    except (OSError, ValueError, mujoco.FatalError) as error:  # of MuJoCo, or a file that cannot be read
        raise InputError(f"body '{source}': {explain(str(error))}") from None


def _find_files(source: str) -> tuple[Path, BodyDescription]:
    """Return the model's file and its description."""
    if source.startswith(MENAGERIE):
        return _menagerie_file(source), BodyDescription(model=source)
    path = Path(source)
    if path.suffix.lower() == ".xacro":
        written = path.with_suffix("" if path.stem.lower().endswith(".urdf") else ".urdf")
        if not written.is_file():
            raise InputError(f"body '{source}' is a xacro file; write it out first: xacro {path.name} > {written.name}")
        path = written
    if path.suffix.lower() not in (*_MODELS, ".toml"):
        raise InputError(
            f"body '{source}' is neither anymal-c nor menagerie:NAME nor a file that ends with .xml, .mjcf, .urdf "
            "or .toml"
        )
    _check_file(path, source)
    if path.suffix.lower() != ".toml":
        return path, BodyDescription(model=path.name)
    description = read_description(path)
    if description.model.startswith(MENAGERIE):
        return _menagerie_file(description.model), description
    model = model_beside(path, description.model)
    if model.suffix.lower() not in _MODELS:
        raise InputError(f"body '{source}': the model '{description.model}' must end with .xml, .mjcf or .urdf")
    _check_file(model, description.model)
    return model, description


def _check_file(path: Path, name: str) -> None:
    try:
        exists = path.is_file()
    except (OSError, ValueError):  # such as a name too long, or with a null byte
        exists = False
    if not exists:
        raise InputError(f"body '{name[:_LONGEST_NAME]}': there is no such file")


def _menagerie_file(source: str) -> Path:
    name, _, entry = source.removeprefix(MENAGERIE).partition("/")
    try:
        import mujoco_menagerie  # the extra `menagerie`
    except ImportError:
        raise InputError(
            f"body '{source}' needs the package mujoco-menagerie; install it by: pip install \"surefoot[menagerie]\""
        ) from None
    if name not in mujoco_menagerie.names():
        known = [robot.name for kind in ("quadruped", "humanoid", "biped") for robot in mujoco_menagerie.robots(kind)]
        raise InputError(f"body '{source}': MuJoCo Menagerie has no robot '{name}'" + suggestion(name, known, 1000))
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


def _complete(spec: mujoco.MjSpec, description: BodyDescription) -> LoadedBody:
    """Add floor, free joint and servos to a model, and detect its parts."""
    spec.compiler.fusestatic = False  # otherwise feet that are fixed to shins lose their names
    _name_parts(spec)
    original = spec.compile()
    spec.compiler.discardvisual = False  # true for URDF; it would remove the sky and the floor's material, too
    _check_option(original.opt)
    trunk = _find_trunk(original, description)
    joints = _known_joints(original, trunk, description)
    angles, quat = _find_angles(original, description), _find_quat(original, trunk, description)
    for key in list(spec.keys):  # the number of coordinates will change; deleting takes longer in a larger scene
        spec.delete(key)
    has_floor = parts.find_floor(original, trunk) is not None
    add_scenery(spec, None if has_floor else parts.free_floor_height(original))
    driven = [original.joint(j).name for j in parts.driven_joints(original)]
    moved = tuple(dict.fromkeys((*joints, *driven)))
    for field in ("kp", "kd"):
        gains = getattr(description, field)
        _check_names(field, gains if isinstance(gains, dict) else (), moved)
    servos = {joint: _servo(original, joint, description) for joint in moved}
    _free_trunk(spec, original, trunk)
    model = spec.compile()
    _, height_m = _stand(model, trunk, angles, quat)
    add_servos(spec, model, servos, height_m)
    model = spec.compile()
    qpos, height_m = _stand(model, trunk, angles, quat)
    place = model.jnt_qposadr[parts.free_joint(model, trunk)]
    facing = find_facing(standing(model, qpos), joints)
    if facing is not None:
        mujoco.mju_mulQuat(qpos[place + 3 : place + 7], facing, qpos[place + 3 : place + 7].copy())
    ctrl = np.array([angles.get(model.actuator(i).name, 0.0) for i in range(model.nu)])
    body = _name_body(model, qpos, height_m, trunk, joints, description, spec.modelname)
    return LoadedBody(spec, body, Pose(qpos, ctrl, height_m))


def _check_option(option: mujoco.MjOption) -> None:
    if option.timestep < _LEAST_STEP_S:
        raise InputError(f"its timestep is {option.timestep:g} s; it must be {_LEAST_STEP_S:g} or more")
    for name in ("iterations", "ls_iterations", "noslip_iterations", "ccd_iterations", "sdf_iterations"):
        if getattr(option, name) > _MOST_ITERATIONS:
            raise InputError(f"its option {name} is {getattr(option, name):,}; at most {_MOST_ITERATIONS:,} is allowed")


def _name_parts(spec: mujoco.MjSpec) -> None:
    """Name every unnamed body, joint, geom and actuator."""
    for group, word in ((spec.bodies, "body"), (spec.joints, "joint"), (spec.geoms, "geom"), (spec.actuators, "drive")):
        names = {element.name for element in group}
        for number, element in enumerate(group):
            if not element.name:
                stem = f"{element.parent.name} geom" if word == "geom" and element.parent.name else word
                element.name = next(name for i in itertools.count(number) if (name := f"{stem} {i}") not in names)
                names.add(element.name)


def _unused(name: str, group: Sequence) -> str:
    """Return `name`, with underscores appended until no element of the group has it."""
    names = {element.name for element in group}
    while name in names:
        name += "_"
    return name


def _find_trunk(model: mujoco.MjModel, description: BodyDescription) -> str:
    """Return the trunk, which is a root or fixed to one."""
    trunk = description.trunk or parts.find_trunk(model)
    known = [model.body(i).name for i in range(1, model.nbody)]
    if trunk not in known:
        raise InputError(f"it has no body '{trunk}'" + suggestion(trunk, known))
    body = model.body(trunk)
    root = model.body(body.rootid[0])
    if not parts.is_fixed(model, body.id, root.id):
        raise InputError(f"the trunk '{trunk}' is a child of '{model.body(body.parentid[0]).name}'")
    if root.jntnum[0] and parts.free_joint(model, trunk) is None:
        raise InputError(
            f"the trunk '{trunk}' is tied to the world by the joint '{model.joint(root.jntadr[0]).name}'; the trunk of "
            "a walker must have a free joint or no joint"
        )
    return trunk


def _free_trunk(spec: mujoco.MjSpec, model: mujoco.MjModel, trunk: str) -> None:
    """Add a free joint if the trunk has none, and move the frame of its root into the trunk's."""
    root = model.body(model.body(trunk).rootid[0])
    part = spec.body(root.name)
    if not root.jntnum[0]:
        part.add_freejoint(name=_unused(f"{trunk} free", spec.joints))
    if root.name != trunk:
        _move_frame(part, model, root.id, model.body(trunk).id)


def _move_frame(part: mujoco.MjsBody, model: mujoco.MjModel, root: int, trunk: int) -> None:
    """Move the frame of a root body into the frame of a body that is fixed to it; nothing else moves."""
    data = standing(model, model.qpos0)
    # The pose of the old frame in the new one.
    pos, quat, place, turn = np.zeros(3), np.zeros(4), np.zeros(3), np.zeros(4)
    mujoco.mju_negPose(place, turn, data.xpos[trunk], data.xquat[trunk])
    mujoco.mju_mulPose(pos, quat, place, turn, data.xpos[root], data.xquat[root])
    frame = part.add_frame(pos=pos, quat=quat)
    for element in (*part.bodies, *part.geoms, *part.sites, *part.cameras, *part.lights):
        if element.frame is None:
            element.set_frame(frame)
    if part.explicitinertial:
        part.fullinertia, part.inertia = [np.nan] * 6, model.body_inertia[root]
        mujoco.mju_mulPose(place, turn, pos, quat, model.body_ipos[root], model.body_iquat[root])
        part.ipos, part.iquat = place, turn
    part.pos, part.quat = data.xpos[trunk], data.xquat[trunk]


def _known_joints(model: mujoco.MjModel, trunk: str, description: BodyDescription) -> tuple[str, ...]:
    if description.joints is None:
        return parts.find_joints(model, trunk)
    hinges = [j for j in range(model.njnt) if model.jnt_type[j] in parts.HINGES]
    known = [model.joint(j).name for j in hinges if parts.is_below(model, model.jnt_bodyid[j], trunk)]
    _check_names("joints", description.joints, known)
    return description.joints


def _check_names(field: str, names, known) -> None:
    """Raise an InputError if a name is unknown or repeated."""
    for name in names:
        if name not in known:
            raise InputError(f"{field}: unknown name '{name}'" + suggestion(name, known))
    if len(set(names)) < len(list(names)):
        raise InputError(f"{field}: a name is repeated")


def _home(model: mujoco.MjModel) -> int:
    names = [model.key(k).name.lower() for k in range(model.nkey)]
    return next((names.index(name) for name in _STANDING_KEYS if name in names), 0)


def _find_angles(model: mujoco.MjModel, description: BodyDescription) -> dict[str, float]:
    """Return the position of each hinge and slide in the standing pose: from the description, a keyframe, or zero."""
    numbers = [j for j in range(model.njnt) if model.jnt_type[j] in parts.HINGES]
    if description.pose is not None:
        _check_names("pose", description.pose, [model.joint(j).name for j in numbers])
        pose = np.zeros(model.nq)
        for joint, value in description.pose.items():
            pose[model.joint(joint).qposadr[0]] = value
    else:
        pose = model.key_qpos[_home(model)] if model.nkey else np.zeros(model.nq)
    angles = {}
    for j in numbers:
        low, high = model.jnt_range[j] if model.jnt_limited[j] else (-np.inf, np.inf)
        angles[model.joint(j).name] = float(np.clip(pose[model.jnt_qposadr[j]], low, high))
    return angles


def _find_quat(model: mujoco.MjModel, trunk: str, description: BodyDescription) -> np.ndarray | None:
    """Return the trunk's orientation in the keyframe of the standing pose, or None without one."""
    joint = parts.free_joint(model, trunk)
    if description.pose is not None or not model.nkey or joint is None:
        return None
    # A trunk that is fixed to its root may be rotated relative to it.
    data = standing(model, model.key_qpos[_home(model)])
    return data.body(trunk).xquat.copy()


def _servo(model: mujoco.MjModel, joint: str, description: BodyDescription) -> Servo:
    servo = find_servo(model, joint)
    changes = {}
    for name in ("kp", "kd"):
        value = getattr(description, name)
        value = value.get(joint) if isinstance(value, dict) else value
        if value is not None:
            changes[name] = value
    if "kp" in changes and "kd" not in changes:
        changes["kd"] = None  # the model's damping suits only the model's stiffness
    return dataclasses.replace(servo, **changes)


def _stand(model: mujoco.MjModel, trunk: str, angles: dict[str, float], quat: np.ndarray | None):
    """Return qpos with the lowest part on the floor, and the height of the trunk above it, m."""
    qpos = model.qpos0.copy()
    for joint, value in angles.items():
        qpos[model.joint(joint).qposadr[0]] = value
    place = model.jnt_qposadr[parts.free_joint(model, trunk)]
    if quat is not None:
        qpos[place + 3 : place + 7] = quat
    floor = parts.known_floor(model, trunk)
    qpos[place + 2] += 10  # high enough for all distances to be positive
    data = standing(model, qpos)
    qpos[place + 2] -= parts.clearances(data, floor, trunk).min()
    return qpos, float(qpos[place + 2] - parts.floor_height(data, floor))


def _name_body(
    model: mujoco.MjModel,
    qpos: np.ndarray,
    height_m: float,
    trunk: str,
    joints: tuple[str, ...],
    description: BodyDescription,
    name: str,
) -> Body:
    """Return the names of the parts of a completed model in its standing pose."""
    data = standing(model, qpos)
    clearance = parts.clearances(data, parts.known_floor(model, trunk), trunk)
    if description.feet is None:
        feet: tuple[Foot, ...] = parts.find_feet(model, clearance, trunk, height_m)
    else:
        _check_names("feet", description.feet, description.feet)
        feet = parts.named_feet(model, clearance, description.feet)
    joint_pairs, foot_pairs = description.joint_pairs, description.foot_pairs
    if joint_pairs is None:
        joint_pairs = find_joint_pairs(data, trunk, joints)
    else:
        _check_names("joint_pairs", [joint for pair in joint_pairs for joint in pair], joints)
        for left, right in joint_pairs:
            if joint_sign(data, trunk, left, right) is None:
                raise InputError(f"joint_pairs: '{left}' and '{right}' are not each other's image as the body stands")
    if foot_pairs is None:
        ends = {foot.name: parts.last_joint(model, foot.geoms[0], joints) for foot in feet}
        foot_pairs = find_foot_pairs(data, trunk, [(foot.name, foot.geoms) for foot in feet], ends, joint_pairs)
    else:
        _check_names("foot_pairs", [foot for pair in foot_pairs for foot in pair], [foot.name for foot in feet])
    return Body(name, trunk, joints, feet, joint_pairs, foot_pairs, description.speed_limit)
