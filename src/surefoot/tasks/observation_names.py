"""What each value of an observation and of an action is called, so that one task serves another."""

from typing import Any, NamedTuple

import mujoco

from surefoot.tasks.catalogue import TaskInfo, make_env

# Tasks of Gymnasium that observe positions, velocities and perhaps contact forces, in this order.
_MUJOCO = ("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Swimmer-v5", "Walker2d-v5")
_WALKERS = ("BipedalWalker-v3", "BipedalWalkerHardcore-v3")

_FREE = ("x", "y", "z", "quaternion w", "quaternion x", "quaternion y", "quaternion z")
_FREE_SPEED = ("x speed", "y speed", "z speed", "x turning rate", "y turning rate", "z turning rate")
# The parts of a joint's position and of its velocity.
_JOINT_PARTS = {
    int(mujoco.mjtJoint.mjJNT_FREE): (_FREE, _FREE_SPEED),
    int(mujoco.mjtJoint.mjJNT_BALL): (_FREE[3:], _FREE_SPEED[3:]),
    int(mujoco.mjtJoint.mjJNT_SLIDE): (("position",), ("speed",)),
    int(mujoco.mjtJoint.mjJNT_HINGE): (("angle",), ("turning rate",)),
}
# MuJoCo's order within a spatial force.
_WRENCH = ("x torque", "y torque", "z torque", "x force", "y force", "z force")


class Names(NamedTuple):
    """What the values that a policy sees and gives are called.

    Attributes:
        observation: D names, or None where they are not known.
        action: A names, or None.
    """

    observation: tuple[str, ...] | None
    action: tuple[str, ...] | None


def find_names(info: TaskInfo) -> Names:
    """Return what a task's values are called.

    A task may say so itself, by the attributes `observation_names` and `action_names` of the unwrapped environment. Of
    several observations seen at once the older ones carry their age: "hull angle", "hull angle (1 before)".
    """
    env: Any = make_env(info)
    try:
        inner = env.unwrapped
        known = Names(None, None)
        if info.id in _WALKERS:
            known = _walker()
        elif info.id in _MUJOCO:
            known = _of_joints(inner)
        observation = _own(inner, "observation_names") or known.observation
        action = _own(inner, "action_names") or known.action
    finally:
        env.close()
    # A wrapper that was registered with the task may have changed what is seen or done.
    if observation is not None and len(observation) * info.frame_stack != info.observation_size:
        observation = None
    if action is not None and len(action) != info.action_size:
        action = None
    return Names(observation and _aged(observation, info.frame_stack), action)


def _aged(names: tuple[str, ...], frame_stack: int) -> tuple[str, ...]:
    """Name the last `frame_stack` observations, oldest first as in `tasks.view`."""
    ages = range(frame_stack - 1, -1, -1)
    return tuple(f"{name} ({age} before)" if age else name for age in ages for name in names)


def _own(env: Any, attribute: str) -> tuple[str, ...] | None:
    """Return what a task calls its values, if it does so by texts of which no two are the same."""
    found: Any = getattr(env, attribute, None)
    if isinstance(found, str) or not hasattr(found, "__iter__"):
        return None
    names = tuple(found)
    return names if all(isinstance(name, str) for name in names) and len(set(names)) == len(names) else None


def _walker() -> Names:
    """Name what gymnasium/envs/box2d/bipedal_walker.py lists as `state`."""
    hull = ("hull angle", "hull turning rate", "hull x speed", "hull y speed")
    joints = ("hip {} angle", "hip {} turning rate", "knee {} angle", "knee {} turning rate", "leg {} contact")
    legs = tuple(name.format(leg) for leg in (1, 2) for name in joints)
    lidar = tuple(f"lidar {beam}" for beam in range(10))
    return Names((*hull, *legs, *lidar), ("hip 1", "knee 1", "hip 2", "knee 2"))


def _of_joints(env: Any) -> Names:
    """Name what one of Gymnasium's MuJoCo tasks observes (gymnasium/envs/mujoco/*_v5.py, `_get_obs`) by its model."""
    model, structure = env.model, env.observation_structure
    positions: list[str] = []
    speeds: list[str] = []
    for joint in range(model.njnt):
        name = model.joint(joint).name or f"joint {joint}"
        position, speed = _JOINT_PARTS[int(model.jnt_type[joint])]
        positions += (f"{name} {part}" for part in position)
        speeds += (f"{name} {part}" for part in speed)
    names = positions[structure["skipped_qpos"] :] + speeds
    if structure.get("cfrc_ext"):
        bodies = [model.body(body).name or f"body {body}" for body in range(1, model.nbody)]
        names += (f"{name} {part}" for name in bodies for part in _WRENCH)
    driven = [model.joint(model.actuator_trnid[actuator, 0]).name for actuator in range(model.nu)]
    return Names(tuple(names), tuple(driven))
