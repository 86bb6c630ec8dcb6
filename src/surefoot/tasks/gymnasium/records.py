"""Gymnasium's tasks: what each states about itself, in the form of `tasks.task.Task`.

Names of parts are those of Gymnasium's models (gymnasium/envs/mujoco/assets). The physics classes, for the engine
`batch`, are in `tasks.gymnasium.mujoco`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from surefoot.bodies.body import Body, Foot
from surefoot.bodies.symmetry import standing
from surefoot.tasks.observation import (
    AXES,
    Part,
    axial,
    names_of,
    per_joint,
    polar,
    quaternion,
    scalars,
)
from surefoot.tasks.symmetry import Partners, derive_mirror, partners_by_name, partners_in_space
from surefoot.tasks.task import FallRule

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror


class GymnasiumTask:
    """One of Gymnasium's tasks.

    Attributes:
        id: Gymnasium id; older versions of the task share body and fall rule.
        short_name: name on the command line, or None.
        fall: how an episode shows a fall.
        model_body: names of the parts of Gymnasium's own model, or None.
        physics: "module:Class" that simulates the task on the engine `batch`, or None.
        body: names of the body's parts; None if an option replaces the model.
        observation: parts of the observation; empty if unknown.
    """

    id: str
    short_name: str | None = None
    fall: FallRule
    model_body: Body | None = None
    physics: str | None = None

    def __init__(self, env: Any, options: Mapping[str, Any]) -> None:
        """Describe an unwrapped environment that was made with these options."""
        self.env, self.options = env, options
        self.body = None if "xml_file" in options or "main_body" in options else self.model_body
        self.observation = self.observation_parts()

    @property
    def observation_names(self) -> tuple[str, ...] | None:
        """Name of each value of the observation."""
        return names_of(self.observation) or None

    @property
    def action_names(self) -> tuple[str, ...] | None:
        """Name of each value of an action, or None if unknown."""
        return None

    def observation_parts(self) -> tuple[Part, ...]:
        """Return the parts of the observation; empty if unknown."""
        return ()

    def mirror(self) -> "Mirror | None":
        """Return the mirror image, or None."""
        return None


class MujocoRecord(GymnasiumTask):
    """A task that observes positions, velocities and perhaps contact forces (gymnasium/envs/mujoco/*_v5.py)."""

    @property
    def action_names(self) -> tuple[str, ...] | None:
        """The joint that each action drives."""
        model = self.env.model
        return tuple(model.joint(joint).name for joint in model.actuator_trnid[:, 0]) if self.observation else None

    def observation_parts(self) -> tuple[Part, ...]:
        model, structure = self.env.model, getattr(self.env, "observation_structure", None)
        if structure is None:  # a version before v5
            return ()
        positions: list[Part] = []
        velocities: list[Part] = []
        for joint in range(model.njnt):
            position, velocity = _joint_parts(model.joint(joint).name or f"joint {joint}", model.jnt_type[joint])
            positions += position
            velocities += velocity
        parts = (*_joined(_without_first(positions, structure["skipped_qpos"])), *_joined(velocities))
        return (*parts, _wrenches(model)) if structure.get("cfrc_ext") else parts


class BipedalWalker(GymnasiumTask):
    """A walker with four joints, simulated by Box2D (gymnasium/envs/box2d/bipedal_walker.py).

    Seen from the side it has no left and right, only a first and a second leg, and is the same when they change places.
    """

    id = "BipedalWalker-v3"
    short_name = "bipedal-walker"
    fall = "reward"  # reaching the far end terminates too, but only a fall costs 100
    # Box2D has no geoms; these are the rigid bodies in env.unwrapped.legs.
    model_body = Body(
        name="BipedalWalker",
        trunk="hull",
        joints=("hip_1", "knee_1", "hip_2", "knee_2"),
        feet=(Foot("leg 1", ("lower_1",)), Foot("leg 2", ("lower_2",))),
        joint_pairs=(("hip_1", "hip_2"), ("knee_1", "knee_2")),
        foot_pairs=(("leg 1", "leg 2"),),
    )

    @property
    def action_names(self) -> tuple[str, ...] | None:
        return "hip 1", "knee 1", "hip 2", "knee 2"

    def observation_parts(self) -> tuple[Part, ...]:
        values = ("hip {} angle", "hip {} turning rate", "knee {} angle", "knee {} turning rate", "leg {} contact")
        names = tuple(value.format(leg) for leg in (1, 2) for value in values)
        return (
            scalars("hull angle", "hull turning rate", "hull x speed", "hull y speed"),
            Part(names, (1,) * 10, owners=("leg 1",) * 5 + ("leg 2",) * 5),
            scalars(*(f"lidar {beam}" for beam in range(10))),
        )

    def mirror(self) -> "Mirror | None":
        assert self.model_body is not None
        mirror = derive_mirror(self.observation, self.model_body.joints, partners_by_name(self.model_body))
        # Each hip counts its angle from the pose in which its leg is made, 0.05 rad behind or in front. The hips' stops
        # are apart by as much, which no mirror can put right.
        names = names_of(self.observation)
        mirror.observation_offset[names.index("hip 1 angle")] = 0.1
        mirror.observation_offset[names.index("hip 2 angle")] = -0.1
        return mirror


class BipedalWalkerHardcore(BipedalWalker):
    """The same walker on ground with obstacles."""

    id = "BipedalWalkerHardcore-v3"
    short_name = "bipedal-walker-hardcore"


class HalfCheetah(MujocoRecord):
    """A planar cheetah; by definition it cannot fall."""

    id = "HalfCheetah-v5"
    short_name = "half-cheetah"
    fall = "none"
    physics = "surefoot.tasks.gymnasium.mujoco:HalfCheetah"
    model_body = Body(
        name="HalfCheetah",
        trunk="torso",
        joints=("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"),
        feet=(Foot("fore", ("ffoot",)), Foot("hind", ("bfoot",))),
    )


class Ant(MujocoRecord):
    """A four-legged body that runs along x.

    Legs 1 to 4 stand at (x, y) = (+, +), (-, +), (-, -) and (+, -). So leg 1 is the left fore leg, in
    spite of the names in the model's file.
    """

    id = "Ant-v5"
    short_name = "ant"
    fall = "terminated"
    physics = "surefoot.tasks.gymnasium.mujoco:Ant"
    model_body = Body(
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

    def mirror(self) -> "Mirror | None":
        # A range of forces may favour a side; with positions in the observation no mirror is known.
        shown = not self.options.get("exclude_current_positions_from_observation", True)
        if self.body is None or not self.observation or shown or "contact_force_range" in self.options:
            return None
        model, start = self.env.model, self.env.init_qpos
        partners = partners_in_space(model, start, self.body)
        if partners is None:
            return None
        return derive_mirror(self.observation, self.body.joints, {**partners, **_link_partners(model, start)})


class Walker2d(MujocoRecord):
    """A planar biped."""

    id = "Walker2d-v5"
    fall = "terminated"
    physics = "surefoot.tasks.gymnasium.mujoco:Walker2d"
    model_body = Body(
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


class Hopper(MujocoRecord):
    """A planar body on one leg."""

    id = "Hopper-v5"
    fall = "terminated"
    physics = "surefoot.tasks.gymnasium.mujoco:Hopper"
    model_body = Body(
        name="Hopper",
        trunk="torso",
        joints=("thigh_joint", "leg_joint", "foot_joint"),
        feet=(Foot("foot", ("foot_geom",)),),
    )


class Swimmer(MujocoRecord):
    """A chain of three links in a fluid; it has no feet and cannot fall."""

    id = "Swimmer-v5"
    fall = "none"


_LEG, _ARM = ("hip_x", "hip_z", "hip_y", "knee"), ("shoulder1", "shoulder2", "elbow")


class Humanoid(GymnasiumTask):
    """A body with arms and legs."""

    id = "Humanoid-v5"
    fall = "terminated"
    model_body = Body(
        name="Humanoid",
        trunk="torso",
        joints=(
            *("abdomen_y", "abdomen_z", "abdomen_x"),
            *(f"{side}_{joint}" for limb in (_LEG, _ARM) for side in ("right", "left") for joint in limb),
        ),
        feet=(Foot("left", ("left_foot",)), Foot("right", ("right_foot",))),
        joint_pairs=tuple((f"left_{joint}", f"right_{joint}") for joint in (*_LEG, *_ARM)),
        foot_pairs=(("left", "right"),),
    )


RECORDS: tuple[type[GymnasiumTask], ...] = (
    *(BipedalWalker, BipedalWalkerHardcore, HalfCheetah, Ant),
    *(Walker2d, Hopper, Swimmer, Humanoid),
)


def find_record(id: str) -> type[GymnasiumTask] | None:
    """Return the record of a Gymnasium id of any version."""
    stem = id.rpartition("-v")[0]
    return next((record for record in RECORDS if record.id.rpartition("-v")[0] == stem), None)


def _joint_parts(name: str, kind: int) -> tuple[list[Part], list[Part]]:
    """Return the parts of a joint's position and of its velocity."""
    joint = mujoco.mjtJoint
    if kind == joint.mjJNT_SLIDE:
        return [per_joint("{} position", [name])], [per_joint("{} speed", [name])]
    if kind == joint.mjJNT_HINGE:
        return [per_joint("{} angle", [name])], [per_joint("{} turning rate", [name])]
    turned, turning = quaternion(f"{name} quaternion {{}}"), axial(f"{name} {{}} turning rate")
    if kind == joint.mjJNT_BALL:
        return [turned], [turning]
    return [polar(f"{name} {{}}"), turned], [polar(f"{name} {{}} speed"), turning]


def _without_first(parts: list[Part], count: int) -> list[Part]:
    """Return the parts without their first `count` values."""
    kept = []
    for part in parts:
        cut = min(count, len(part.names))
        count -= cut
        if cut < len(part.names):
            kept.append(Part(part.names[cut:], part.signs[cut:], part.owners[cut:]))
    return kept


def _joined(parts: list[Part]) -> list[Part]:
    """Return the parts with neighbouring joints in one, so that joints find their partners."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].owners and part.owners:
            last = joined[-1]
            joined[-1] = Part(last.names + part.names, last.signs + part.signs, last.owners + part.owners)
        else:
            joined.append(part)
    return joined


def _wrenches(model: Any) -> Part:
    """Return the part of contact forces: torque and force, three values each, on every link."""
    links = _link_names(model)
    kinds = [f"{axis} {kind}" for kind in ("torque", "force") for axis in AXES]
    signs = (*axial("{}").signs, *polar("{}").signs)
    names = tuple(f"{link} {kind}" for link in links for kind in kinds)
    return Part(names, signs * len(links), owners=tuple(link for link in links for _ in kinds))


def _link_names(model: Any) -> list[str]:
    return [model.body(body).name or f"body {body}" for body in range(1, model.nbody)]


def _link_partners(model: Any, qpos: np.ndarray) -> Partners:
    """Return for each link the one whose centre of mass is its own's mirror image, in the pose `qpos`."""
    centre, names = standing(model, qpos).xipos[1:], _link_names(model)
    distance = np.linalg.norm((centre * [1, -1, 1])[:, None] - centre[None], axis=2)
    return {name: (names[i], 1.0) for name, i in zip(names, distance.argmin(1), strict=True)}
