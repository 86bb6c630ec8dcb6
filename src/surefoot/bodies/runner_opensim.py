"""The muscle runner as a model of OpenSim: built from its figures, or read from a file.

The figures are those of gait9dof18musc.osim (CC BY 3.0; credits in gait9dof18musc.toml). Needs the extra `opensim`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surefoot.bodies.runner import LEG_JOINTS, MUSCLES
from surefoot.bodies.runner_figures import figures
from surefoot.errors import InputError

_COORDINATES = {"femur": "hip_flexion", "tibia": "knee_angle", "talus": "ankle_angle", "torso": "lumbar_extension"}
"""Coordinate of a body's joint; each leg's end in "_r" or "_l"."""
_LIMITED = {"hip": "hip_flexion", "knee": "knee_angle", "ankle": "ankle_angle"}
_SIDES = {"r": 1.0, "l": -1.0}
"""Suffix of each leg's names, and the sign of its z."""
_SPHERES = "heel", "toe"
"""Contact spheres of a foot."""
_CONTACT = {
    "Stiffness": "stiffness",
    "Dissipation": "dissipation",
    "StaticFriction": "static_friction",
    "DynamicFriction": "dynamic_friction",
    "ViscousFriction": "viscous_friction",
    "TransitionVelocity": "transition_velocity",
}
"""Names of the contact's figures, by OpenSim's names."""
# The contest's, osim-rl 1.5.
_OBSTACLE_STIFFNESS, _OBSTACLE_DISSIPATION = 1e6, 1e-5


class Variation(NamedTuple):
    """Differences of a model from the original.

    Attributes:
        strength: scale of each muscle's force, (18,) in the order of `runner.MUSCLES`.
        friction: friction coefficient of the feet.
        contact: factor of the stiffness of the feet's contact; its dissipation is divided by the square root.
        limits: factor of the stiffness of each joint limit, (6,) in the order of `runner.LEG_JOINTS`.
        obstacles: x, y and radius of spheres that the feet touch without friction, (K, 3) m.
    """

    strength: np.ndarray
    friction: float
    contact: float
    limits: np.ndarray
    obstacles: np.ndarray


def make_opensim_model(path: str = "", separate_spheres: bool = False) -> Any:
    """Make the `opensim.Model` from `figures`, or read the file `path`, such as gait9dof18musc.osim of `osim-rl`.

    Args:
        path: file of the model, "" to build it.
        separate_spheres: whether each sphere of a foot has its own contact force, "heel_r" and so on, instead of
            "foot_r" for both. In OpenSim 4.6 the toes' force is zero while the heel, still in contact, rises faster
            than 0.44 m/s; with separate forces it is not.

    Raises:
        InputError: there is no such file, or its model has other coordinates or muscles.
    """
    import opensim

    opensim.Logger.setLevelString("error")
    model = _Builder(opensim).build()
    if path:
        model = _read_model(path, model)
    if separate_spheres:
        _separate_spheres(model)
    return model


def _read_model(path: str, built: Any) -> Any:
    """Read a model from a file; its coordinates and muscles must be those of `built`."""
    import opensim

    if not Path(path).is_file():
        raise InputError(f"OpenSim model '{path}' does not exist")
    try:
        model = opensim.Model(path)
        model.finalizeConnections()
    except RuntimeError as error:
        raise InputError(f"OpenSim cannot read the model '{path}': {' '.join(str(error).split())[:200]}") from error
    for kind in ("Coordinates", "Muscles"):
        names, expected = (sorted(_names(each, kind)) for each in (model, built))
        if names != expected:
            raise InputError(f"OpenSim model '{path}' is not gait9dof18musc; its {kind.lower()} are {', '.join(names)}")
    return model


def _separate_spheres(model: Any) -> None:
    """Replace the contact force of each foot by one for each of its spheres."""
    import opensim

    forces = model.updForceSet()
    for side in _SIDES:
        index = forces.getIndex(f"foot_{side}")
        foot = opensim.HuntCrossleyForce.safeDownCast(forces.get(index))
        contact = {name: getattr(foot, f"get{name}")() for name in _CONTACT}
        forces.remove(index)
        for sphere in _SPHERES:
            model.addForce(_contact_force(f"{sphere}_{side}", [f"{side}_{sphere}"], contact))
    model.finalizeConnections()


def _contact_force(name: str, spheres: list[str], contact: dict[str, float]) -> Any:
    """Return the force between the floor and some spheres; `contact` has the values of `_CONTACT`."""
    import opensim

    force = opensim.HuntCrossleyForce()
    force.setName(name)
    for geometry in ("floor", *spheres):
        force.addGeometry(geometry)
    for parameter, value in contact.items():
        getattr(force, f"set{parameter}")(value)
    return force


def vary_opensim_model(model: Any, variation: Variation) -> None:
    """Change a model of `make_opensim_model` before its system is initialised."""
    import opensim

    for name, scale in zip(MUSCLES, variation.strength.tolist(), strict=True):
        muscle = model.updMuscles().get(name)
        muscle.setMaxIsometricForce(muscle.getMaxIsometricForce() * scale)
    forces = model.updForceSet()
    for name in (f"{part}_{side}" for part in ("foot", *_SPHERES) for side in _SIDES):
        if not forces.contains(name):
            continue
        foot = opensim.HuntCrossleyForce.safeDownCast(forces.get(name))
        foot.setStiffness(foot.getStiffness() * variation.contact)
        foot.setDissipation(foot.getDissipation() / variation.contact**0.5)
        foot.setStaticFriction(variation.friction)
        foot.setDynamicFriction(variation.friction)
    for joint, scale in zip(LEG_JOINTS, variation.limits.tolist(), strict=True):
        limit = opensim.CoordinateLimitForce.safeDownCast(forces.get(limit_force(joint)))
        limit.setUpperStiffness(limit.getUpperStiffness() * scale)
        limit.setLowerStiffness(limit.getLowerStiffness() * scale)
    for index, (x, y, radius) in enumerate(variation.obstacles.tolist()):
        name = f"obstacle_{index}"
        sphere = opensim.ContactSphere(radius, opensim.Vec3(x, y, 0), model.getGround(), name)
        model.addContactGeometry(sphere)
        force = opensim.HuntCrossleyForce()
        force.setName(f"{name}_force")
        for geometry in (name, *(f"{side}_{part}" for side in _SIDES for part in _SPHERES)):
            force.addGeometry(geometry)
        force.setStiffness(_OBSTACLE_STIFFNESS / radius)
        force.setDissipation(_OBSTACLE_DISSIPATION)
        model.addForce(force)
    model.finalizeConnections()


def limit_force(joint: str) -> str:
    """Return the name of the force that limits a joint, such as "hip_r"."""
    name, side = joint.split("_")
    return f"{name.capitalize()}Limit_{side}"


def crossed_joints() -> list[list[int]]:
    """Return the indices in `LEG_JOINTS` of the joints that each of `MUSCLES` crosses."""
    segments = {"pelvis": 0, "femur": 1, "tibia": 2, "talus": 3, "calcn": 3, "toes": 3}
    ends = [[segments[point["body"]] for point in muscle["path"]] for muscle in figures()["muscles"]]
    return [list(range(leg + min(end), leg + max(end))) for leg in (0, 3) for end in ends]


def initialise(model: Any) -> tuple[Any, list[Any]]:
    """Return the initial state of a model, and the functions that set the excitations, in the order of `MUSCLES`."""
    import opensim

    controller = opensim.PrescribedController()
    for muscle in MUSCLES:
        controller.addActuator(model.getMuscles().get(muscle))
        controller.prescribeControlForActuator(muscle, opensim.Constant(0.0))
    model.addController(controller)
    state, functions = model.initSystem(), controller.get_ControlFunctions()
    # The order of the functions is that in which they were added.
    return state, [opensim.Constant.safeDownCast(functions.get(index)) for index in range(len(MUSCLES))]


def opensim_coordinate(coordinate: str) -> str:
    """Return OpenSim's name of one of `runner.COORDINATES`."""
    name, _, side = coordinate.partition("_")
    return f"{_LIMITED[name]}_{side}" if name in _LIMITED else coordinate


def _names(model: Any, kind: str) -> list[str]:
    parts = model.getCoordinateSet() if kind == "Coordinates" else model.getMuscles()
    return [parts.get(index).getName() for index in range(parts.getSize())]


class _Builder:
    """Adds the parts of the model one after the other, in the order of the original file."""

    def __init__(self, opensim: Any) -> None:
        self._osim = opensim
        self._model = opensim.Model()
        self._bodies: dict[str, Any] = {"ground": self._model.getGround()}
        self._coordinates: dict[str, Any] = {}

    def build(self) -> Any:
        """Return the model."""
        data = figures()
        self._model.setName("gait9dof18musc")
        self._model.setGravity(self._vector(data["gravity"]))
        legs = [body for body in data["bodies"] if body["name"] in ("femur", "tibia", "talus", "calcn", "toes")]
        trunk = [body for body in data["bodies"] if body not in legs]
        self._add_body(trunk[0])
        for side in _SIDES:
            for body in legs:
                self._add_body(body, side)
        for body in trunk[1:]:
            self._add_body(body)
        for side in _SIDES:
            for muscle in data["muscles"]:
                self._add_muscle(muscle, side)
        self._add_floor(data["contact"])
        contact = {name: data["contact"][figure] for name, figure in _CONTACT.items()}
        for side in _SIDES:
            spheres = [f"{side}_{sphere}" for sphere in _SPHERES]
            self._model.addForce(_contact_force(f"foot_{side}", spheres, contact))
        for limit in data["limits"]:
            for side in _SIDES:
                self._add_limit(limit, side)
        self._model.finalizeConnections()
        return self._model

    def _vector(self, values: list[float], side: str = "") -> Any:
        x, y, z = values
        return self._osim.Vec3(x, y, z * _SIDES.get(side, 1.0))

    def _body(self, name: str, side: str) -> Any:
        return self._bodies.get(f"{name}_{side}") or self._bodies[name]

    def _given(self, function: Any) -> Any:
        """Return a function for OpenSim to own, so that Python does not free it, too."""
        function.thisown = False
        return function

    def _spline(self, angles: list[float], values: list[float]) -> Any:
        spline = self._osim.SimmSpline()
        for angle, value in zip(angles, values, strict=True):
            spline.addPoint(angle, value)
        return spline

    def _add_body(self, body: dict[str, Any], side: str = "") -> None:
        osim, suffix = self._osim, side and f"_{side}"
        added = osim.Body(
            body["name"] + suffix,
            body["mass"],
            self._vector(body["com"], side),
            osim.Inertia(*body["inertia"], 0.0, 0.0, 0.0),
        )
        self._model.addBody(added)
        self._bodies[added.getName()] = added
        parent = self._body(body["parent"], side), self._vector(body["origin"], side), osim.Vec3(0)
        ends = *parent, added, osim.Vec3(0), osim.Vec3(0)
        name = f"{body['name']}_joint{suffix}"
        if body["joint"] == "planar":
            joint, coordinates = osim.PlanarJoint(name, *ends), ("pelvis_tilt", "pelvis_tx", "pelvis_ty")
        elif body["joint"] == "weld":
            joint, coordinates = osim.WeldJoint(name, *ends), ()
        else:
            coordinates = (_COORDINATES[body["name"]] + suffix,)
            joint = self._knee(name, ends, *coordinates) if body["joint"] == "knee" else osim.PinJoint(name, *ends)
        self._model.addJoint(joint)  # first, because it makes the knee's coordinate
        for index, coordinate in enumerate(coordinates):
            self._coordinates[coordinate] = part = joint.upd_coordinates(index)
            part.setName(coordinate)
            part.setDefaultValue(figures()["pose"].get(coordinate, 0.0))
            part.setDefaultLocked(body["name"] == "torso")
            if "range" in body:
                part.setRangeMin(body["range"][0])
                part.setRangeMax(body["range"][1])

    def _knee(self, name: str, ends: tuple, coordinate: str) -> Any:
        """Return the joint whose axis moves with its angle."""
        osim, knee = self._osim, figures()["knee"]
        motion = osim.SpatialTransform()
        turning = osim.ArrayStr()
        turning.append(coordinate)
        functions = (osim.LinearFunction(1.0, 0.0), *(self._spline(**knee[axis]) for axis in "xy"))
        axes = osim.Vec3(0, 0, 1), osim.Vec3(1, 0, 0), osim.Vec3(0, 1, 0)
        parts = motion.updTransformAxis(0), motion.updTransformAxis(3), motion.updTransformAxis(4)
        for part, axis, function in zip(parts, axes, functions, strict=True):
            part.setAxis(axis)
            part.setCoordinateNames(turning)
            part.setFunction(self._given(function))
        for index, axis in ((1, osim.Vec3(0, 1, 0)), (2, osim.Vec3(1, 0, 0)), (5, osim.Vec3(0, 0, 1))):
            part = motion.updTransformAxis(index)
            part.setAxis(axis)
            part.setFunction(self._given(osim.Constant(0.0)))
        return osim.CustomJoint(name, *ends, motion)

    def _add_muscle(self, figure: dict[str, Any], side: str) -> None:
        names = "max_isometric_force", "optimal_fibre_length", "tendon_slack_length", "pennation"
        name = f"{figure['name']}_{side}"
        muscle = self._osim.Thelen2003Muscle(name, *(figure[each] for each in names))
        muscle.setMaxContractionVelocity(15.0)
        muscle.set_activation_time_constant(0.01)
        muscle.set_deactivation_time_constant(0.04)
        muscle.set_FmaxTendonStrain(figure["max_tendon_strain"])
        if "max_passive_strain" in figure:
            muscle.set_FmaxMuscleStrain(figure["max_passive_strain"])
        if "passive_shape" in figure:
            muscle.set_KshapePassive(figure["passive_shape"])
        points = muscle.updGeometryPath().updPathPointSet()
        for index, point in enumerate(figure["path"], 1):
            added = self._path_point(point, side)
            added.setName(f"{name}-P{index}")
            points.adoptAndAppend(added)
        self._model.addForce(muscle)

    def _path_point(self, point: dict[str, Any], side: str) -> Any:
        osim, at = self._osim, self._vector(point["at"], side)
        if "while" in point:
            part = osim.ConditionalPathPoint()
            part.setCoordinate(self._coordinates[f"{_LIMITED[point['while']]}_{side}"])
            part.setRangeMin(point["range"][0])
            part.setRangeMax(point["range"][1])
            part.setLocation(at)
        elif "angles" in point:
            part = osim.MovingPathPoint()
            knee = self._coordinates[f"knee_angle_{side}"]
            part.set_x_location(self._spline(point["angles"], point["x"]))
            part.set_y_location(self._spline(point["angles"], point["y"]))
            part.set_z_location(osim.Constant(at.get(2)))
            for connect in (part.setXCoordinate, part.setYCoordinate, part.setZCoordinate):
                connect(knee)
        else:
            part = osim.PathPoint()
            part.setLocation(at)
        part.setParentFrame(self._body(point["body"], side))
        return part

    def _add_floor(self, contact: dict[str, Any]) -> None:
        """Add the half space below y = 0 and the spheres of the feet."""
        osim = self._osim
        floor = osim.ContactHalfSpace(osim.Vec3(0), osim.Vec3(0, 0, -1.5707963267949), self._bodies["ground"], "floor")
        self._model.addContactGeometry(floor)
        for side in _SIDES:
            for part in _SPHERES:
                at = self._vector(contact[part]["at"], side)
                frame, name = self._body(contact[part]["body"], side), f"{side}_{part}"
                self._model.addContactGeometry(osim.ContactSphere(contact["radius"], at, frame, name))

    def _add_limit(self, limit: dict[str, Any], side: str) -> None:
        names = ("upper_limit", "upper_stiffness", "lower_limit", "lower_stiffness", "damping", "transition")
        coordinate = f"{_LIMITED[limit['joint']]}_{side}"
        force = self._osim.CoordinateLimitForce(coordinate, *(limit[name] for name in names))
        force.setName(limit_force(f"{limit['joint']}_{side}"))
        self._model.addForce(force)
