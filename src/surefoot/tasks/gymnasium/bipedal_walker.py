"""Gymnasium's bipedal walkers, simulated by Box2D."""

import functools
from typing import TYPE_CHECKING

from surefoot.bodies.body import Body, Foot
from surefoot.tasks.gymnasium.task import GymnasiumTask
from surefoot.tasks.observation import Part, scalars
from surefoot.tasks.symmetry import derive_mirror, partners_by_name

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror


class BipedalWalker(GymnasiumTask):
    """A walker with four joints (gymnasium/envs/box2d/bipedal_walker.py).

    It is planar: instead of left and right it has a first and a second leg, and exchanging them gives its mirror image.
    """

    id = "BipedalWalker-v3"
    short_name = "bipedal-walker"
    fall = "reward"  # reaching the far end terminates too, but only a fall costs 100
    # Box2D has no geoms; these are the rigid bodies in env.unwrapped.legs.
    body = Body(
        name="BipedalWalker",
        trunk="hull",
        joints=("hip_1", "knee_1", "hip_2", "knee_2"),
        feet=(Foot("leg 1", ("lower_1",)), Foot("leg 2", ("lower_2",))),
        joint_pairs=(("hip_1", "hip_2"), ("knee_1", "knee_2")),
        foot_pairs=(("leg 1", "leg 2"),),
    )

    @functools.cached_property
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
        assert self.body is not None
        mirror = derive_mirror(self.observation, self.body.joints, partners_by_name(self.body))
        # Each hip's angle is relative to the initial pose of its leg, 0.05 rad to the back or the front. The hips'
        # joint limits differ by the same offset, which no mirror can correct.
        names = self.observation_names
        mirror.observation_offset[names.index("hip 1 angle")] = 0.1
        mirror.observation_offset[names.index("hip 2 angle")] = -0.1
        return mirror


class BipedalWalkerHardcore(BipedalWalker):
    """The same walker on ground with obstacles."""

    id = "BipedalWalkerHardcore-v3"
    short_name = "bipedal-walker-hardcore"
