"""Observation sets of the running task: the values of each, in order, and where they are measured.

`contest` is the observation of the contest Learning to Run (NIPS 2017), osim-rl 1.5. `reduced` and `full` are those of
Arcari, Gagliardi and Ghelfi (2018), who ran without the x of the pelvis and counted the x of other parts from it.
`everything` is the list in the comment of osim-rl's `ProstheticsEnv`; it names 143 values, although the comment counts
146 (it reckons with eight joints and lists seven). There, too, x is counted from the pelvis.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from surefoot.bodies.runner import COORDINATES, LEG_JOINTS, MUSCLES
from surefoot.bodies.runner_figures import figures
from surefoot.tasks.observation import Part
from surefoot.tasks.running.measurements import BODIES, BODY_MOTION, POINTS, measured_widths

ObservationSet = Literal["contest", "reduced", "full", "everything"]
LUMBAR_ANGLE = figures()["pose"]["lumbar_extension"]  # of the locked joint of the back, rad
_CONSTANTS = (LUMBAR_ANGLE, 0.0)
_PELVIS_X = COORDINATES.index("pelvis_tx")
# The joints in the order of the sets of 2018.
_ALPHABETICAL = ("ankle_l", "ankle_r", "back", "hip_l", "hip_r", "knee_l", "knee_r")
_FROM_THE_HIP = ("hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r")


class Value(NamedTuple):
    """One value of an observation.

    Attributes:
        name: name of the value.
        field: name of the measured quantity.
        column: its column there.
        owner: the part that a mirror exchanges with its partner, or "".
        relative: whether the x of the pelvis is subtracted.
        sign: -1 if a mirror changes its sign, else 1.
    """

    name: str
    field: str
    column: int
    owner: str = ""
    relative: bool = False
    sign: int = 1


class Observation:
    """One observation set.

    Attributes:
        part: names and owners of its values.
    """

    def __init__(self, name: ObservationSet, activations: bool, pelvis_x: bool, side: bool) -> None:
        """Choose a set.

        Args:
            name: name of the set.
            activations: whether it has the activations of the muscles.
            pelvis_x: whether `reduced` and `full` have the x of the pelvis.
            side: whether it has the side, the last value.
        """
        sets = {"contest": _contest, "reduced": _reduced, "full": _full, "everything": _everything}
        values = [value for value in sets[name]() if pelvis_x or value.name != "pelvis x" or name == "contest"]
        if name != "everything":
            values += [_activation(muscle) for muscle in range(len(MUSCLES))]
        values = [value for value in values if activations or value.field != "activation"]
        if side:
            values.append(Value("side", "side", 0, sign=-1))
        names, owners = tuple(value.name for value in values), tuple(value.owner for value in values)
        self.part = Part(names, tuple(value.sign for value in values), owners)
        starts, start = {"constants": 0}, len(_CONSTANTS)
        self._fields = tuple(measured_widths(name).items())
        for field, width in self._fields:
            starts[field] = start
            start += width
        self._columns = np.array([starts[value.field] + value.column for value in values])
        self._relative = np.array([value.relative for value in values], np.float32)

    def observe(self, measured: Mapping[str, Any], xp: Any) -> Any:
        """Return observations, (N, D), of measured quantities, (N, width) each; `xp` is `numpy` or `jax.numpy`."""
        coordinates = measured["coordinates"]
        constants = xp.tile(xp.asarray(_CONSTANTS, coordinates.dtype), (len(coordinates), 1))
        packed = xp.concatenate([constants, *(measured[field] for field, _ in self._fields)], axis=1)
        return packed[:, self._columns] - coordinates[:, _PELVIS_X : _PELVIS_X + 1] * self._relative


def partners() -> dict[str, tuple[str, float]]:
    """Return the mirror image of each owner of values; its sign stays, because the runner moves in a plane."""
    owners = {*LEG_JOINTS, *MUSCLES, *(point for point in POINTS if point[-2:] in ("_l", "_r"))}
    swapped = {owner: owner[:-1] + {"l": "r", "r": "l"}[owner[-1]] for owner in owners}
    swapped |= {"left muscle": "right muscle", "right muscle": "left muscle"}
    return {owner: (image, 1.0) for owner, image in swapped.items()}


def _owner(part: str) -> str:
    return part if part[-2:] in ("_l", "_r") else ""


def _pelvis(name: str) -> Value:
    """Return a value of the pelvis: tilt, x, y, and with v or a before it its velocity or acceleration."""
    kind, axis = ("", name) if name in ("tilt", "x", "y") else (name[0], name[1:])
    field = {"": "coordinates", "v": "speeds", "a": "accelerations"}[kind]
    return Value(f"pelvis {name}", field, ("tilt", "x", "y").index(axis))


def _joint(joint: str, *kinds: str) -> list[Value]:
    """Return the angle, velocity or acceleration of a joint."""
    fields = {"angle": "coordinates", "velocity": "speeds", "acceleration": "accelerations"}
    if joint == "back":
        return [Value(f"back {kind}", "constants", int(kind != "angle")) for kind in kinds]
    column = COORDINATES.index(joint)
    return [Value(f"{joint} {kind}", fields[kind], column, joint) for kind in kinds]


def _position(point: str, relative: bool) -> list[Value]:
    column = 2 * POINTS.index(point)
    return [
        Value(f"{point} x", "positions", column, _owner(point), relative),
        Value(f"{point} y", "positions", column + 1, _owner(point)),
    ]


def _body_motion(body: str, *kinds: str) -> list[Value]:
    start = len(BODY_MOTION) * BODIES.index(body)
    return [Value(f"{body} {kind}", "body_motion", start + BODY_MOTION.index(kind), _owner(body)) for kind in kinds]


def _centre_of_mass(relative: bool) -> list[Value]:
    names = ("x", "y", "vx", "vy")
    return [Value(f"COM {name}", "com", i, relative=relative and name == "x") for i, name in enumerate(names)]


def _activation(muscle: int) -> Value:
    return Value(f"{MUSCLES[muscle]} activation", "activation", muscle, MUSCLES[muscle])


def _contest() -> Iterator[Value]:
    """The 41 values of the contest."""
    yield from map(_pelvis, ("tilt", "x", "y", "vtilt", "vx", "vy"))
    for kind in ("angle", "velocity"):
        for joint in LEG_JOINTS:
            yield from _joint(joint, kind)
    yield from _centre_of_mass(relative=False)
    for point in POINTS:
        position = _position(point, relative=False)
        # The position of the pelvis appears twice.
        yield from (value._replace(name=f"{value.name} again") if point == "pelvis" else value for value in position)
    yield Value("left muscle strength", "strength", 0, "left muscle")
    yield Value("right muscle strength", "strength", 1, "right muscle")
    yield from (Value(f"obstacle {name}", "obstacle", i) for i, name in enumerate(("x", "y", "radius")))


def _reduced() -> Iterator[Value]:
    """The 34 values of the reduced state."""
    yield from map(_pelvis, ("x", "y"))
    for joint in _FROM_THE_HIP:
        yield from _joint(joint, "angle", "velocity")
    yield from map(_pelvis, ("tilt", "vtilt"))
    for body in BODIES:
        yield from _position(body, relative=True)
    yield from _centre_of_mass(relative=True)
    yield from map(_pelvis, ("vx", "vy"))


def _full() -> Iterator[Value]:
    """The 68 values of the full state."""
    yield from map(_pelvis, ("x", "y"))
    for joint in (*_FROM_THE_HIP, "back"):
        yield from _joint(joint, "angle", "velocity", "acceleration")
    yield from map(_pelvis, ("tilt", "vtilt", "atilt"))
    for body in BODIES:
        yield from (*_position(body, relative=True), *_body_motion(body, "vx", "vy", "ax", "ay"))
    yield from _centre_of_mass(relative=True)
    yield from map(_pelvis, ("vx", "vy"))


def _everything() -> Iterator[Value]:
    """The 143 values of osim-rl's list."""
    yield from map(_pelvis, ("y", "vx", "vy", "ax", "ay", "tilt", "vtilt", "atilt"))
    for body in BODIES:
        yield from (*_position(body, relative=True), *_body_motion(body, *BODY_MOTION))
    for joint in _ALPHABETICAL:
        yield from _joint(joint, "angle", "velocity", "acceleration")
    for muscle, name in enumerate(MUSCLES):
        yield _activation(muscle)
        yield Value(f"{name} fibre length", "fibre", muscle, name)
        yield Value(f"{name} fibre velocity", "fibre", len(MUSCLES) + muscle, name)
    yield from _centre_of_mass(relative=True)
    yield from (Value(f"COM {name}", "com_acceleration", i) for i, name in enumerate(("ax", "ay")))
