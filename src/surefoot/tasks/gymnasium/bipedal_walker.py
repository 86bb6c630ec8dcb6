"""Gymnasium's bipedal walker, simulated by Box2D."""

from typing import TYPE_CHECKING

from surefoot.tasks.gymnasium.task import BODIES, GymnasiumTask
from surefoot.tasks.observation import Part, scalars
from surefoot.tasks.symmetry import derive_mirror

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror


class BipedalWalker(GymnasiumTask):
    """A walker with four joints (gymnasium/envs/box2d/bipedal_walker.py), on flat ground or among obstacles.

    It is planar: instead of left and right it has a first and a second leg, and exchanging them gives its mirror image.
    """

    fall = "reward"  # reaching the far end terminates too, but only a fall costs 100
    body = BODIES["BipedalWalker"]
    action_names = ("hip 1", "knee 1", "hip 2", "knee 2")

    def observation_parts(self) -> tuple[Part, ...]:
        values = ("hip {} angle", "hip {} turning rate", "knee {} angle", "knee {} turning rate", "leg {} contact")
        names = tuple(value.format(leg) for leg in (1, 2) for value in values)
        return (
            scalars("hull angle", "hull turning rate", "hull x speed", "hull y speed"),
            Part(names, (1,) * 10, owners=("leg 1",) * 5 + ("leg 2",) * 5),
            scalars(*(f"lidar {beam}" for beam in range(10))),
        )

    def mirror(self) -> "Mirror | None":
        body = BODIES["BipedalWalker"]
        pairs = (*body.joint_pairs, *body.foot_pairs)
        partners = {part: (partner, 1.0) for pair in pairs for part, partner in (pair, pair[::-1])}
        mirror = derive_mirror(self.observation, body.joints, partners)
        # Each hip's angle is relative to the initial pose of its leg, 0.05 rad to the back or the front. The hips'
        # joint limits differ by the same offset, which no mirror can correct.
        names = self.observation_names
        mirror.observation_offset[names.index("hip 1 angle")] = 0.1
        mirror.observation_offset[names.index("hip 2 angle")] = -0.1
        return mirror
