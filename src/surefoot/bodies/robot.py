"""A legged robot ready for position control: standing pose, servos, limits and the sizes that rewards depend on.

`load_robot` derives this record from any body; `anymal_c.make_robot` defines it for ANYmal C.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import mujoco
import numpy as np

from surefoot.bodies import parts
from surefoot.bodies.body import Body
from surefoot.bodies.loader import Pose, load_body
from surefoot.bodies.scene import ALL_BITS
from surefoot.bodies.symmetry import foot_place, standing
from surefoot.errors import InputError

# ANYmal C as it stands. Lengths and torques of other robots are scaled by height and by weight times height.
REFERENCE_HEIGHT_M, REFERENCE_MASS_KG = 0.549, 52.13
_KNEE_RADIUS_M, _GAIT_HZ, _LOAD_FRACTION = 0.065, 1.75, 0.1
# A knee is the lowest joint of a leg above this fraction of the standing height; lower joints are ankles.
_LOWEST_KNEE = 0.25
_SOLVER_ITERATIONS, _LINE_SEARCH_ITERATIONS = 100, 50  # MuJoCo's defaults
_IN_PLANE = 0.5  # cosine between a joint's axis and the y axis
# A biped on its knees has fallen: the trunk's clearance must stay above this fraction of the one in the pose.
_BIPED_CLEARANCE = 0.5


class TrunkHull(NamedTuple):
    """Two cylinders along x that enclose the trunk.

    Attributes:
        half_length_m: half length of both.
        half_width_m: distance of their axes from the centre, along y.
        radius_m: radius of both.
        centre: (3,) position in the trunk's frame as it stands, m.
    """

    half_length_m: float
    half_width_m: float
    radius_m: float
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Robot:
    """A robot with A joints and F feet in its scene. Joints and feet are in the order of `body`.

    Attributes:
        spec: scene with a floor; the trunk is free, every joint has a position servo of the same name.
        body: names of its parts.
        pose: standing pose.
        standing_height: height of a level trunk whose lowest foot touches the floor, (K,) m, from joint angles (K, A).
        stiffness: (A,) gains of the servos, N m / rad.
        torque_limit: (A,) N m; inf if unknown.
        speed_limit: (A,) rad/s; inf if unknown.
        sole_m: (F,) distance from a foot's centre down to its sole.
        stance_m: distance of the feet from the trunk's centre, forward and sideways.
        trunk: hull of the trunk.
        knees: MuJoCo bodies whose origins are the knees.
        knee_radius_m: height of a knee's centre below which the knee touches the ground.
        lateral_joints: indices of joints that move legs sideways or turn them.
        look_height_m: height of the trunk from which the observed ground heights are counted.
        back_emf: braking torque of the motors per speed, which their drivers compensate, N m s / rad.
        floor_m: height of the floor in the world frame.
        fall_clearance_m: least clearance of the trunk above the ground; below it the robot has fallen.
        gait_hz: default number of strides per second.
        load_kg: default range of the load added to the trunk.
        length_scale: its size relative to ANYmal C.
        torque_scale: weight times height relative to ANYmal C.
        collides_with: (contype, conaffinity) of a ground that it collides with.
    """

    spec: mujoco.MjSpec
    body: Body
    pose: Pose
    standing_height: Callable[[np.ndarray], np.ndarray]
    stiffness: np.ndarray
    torque_limit: np.ndarray
    speed_limit: np.ndarray
    sole_m: np.ndarray
    stance_m: tuple[float, float]
    trunk: TrunkHull
    knees: tuple[str, ...]
    knee_radius_m: float
    lateral_joints: tuple[int, ...]
    look_height_m: float
    back_emf: float = 0.0
    floor_m: float = 0.0
    fall_clearance_m: float = 0.0
    gait_hz: float = _GAIT_HZ
    load_kg: float = 5.0
    length_scale: float = 1.0
    torque_scale: float = 1.0
    collides_with: tuple[int, int] = (1, 0)

    @property
    def power_scale(self) -> float:
        """Its typical motor power relative to ANYmal C: weight times the square root of height."""
        return self.torque_scale / self.length_scale**0.5


def load_robot(source: str) -> Robot:
    """Load a body from a file or from Menagerie and derive its record.

    Args:
        source: see `loader.load_body`.

    Raises:
        InputError: the body cannot be loaded, or has no feet that can touch the ground.
    """
    spec, body, pose = load_body(source)
    # By priority, the friction of the feet applies and not that of the ground.
    for foot in body.feet:
        for geom in foot.geoms:
            spec.geom(geom).priority = 1
    # Models made for MJX cap the solver at few iterations; under pushes their physics then becomes unstable.
    spec.option.iterations = max(spec.option.iterations, _SOLVER_ITERATIONS)
    spec.option.ls_iterations = max(spec.option.ls_iterations, _LINE_SEARCH_ITERATIONS)
    model = spec.compile()
    data = standing(model, pose.qpos)
    floor = parts.find_floor(model)
    if floor is None:
        raise InputError(f"body '{source}' has no level floor")
    floor_m = float(data.geom_xpos[floor, 2])
    servos = [model.actuator(joint).id for joint in body.joints]
    limited = model.actuator_forcelimited[servos] > 0
    centre = data.body(body.trunk).xpos
    feet = np.array([foot_place(data, foot.geoms) for foot in body.feet])
    soles = [min(_distance(data, floor, geom) for geom in foot.geoms) for foot in body.feet]
    hull = _find_hull(data, body.trunk)
    trunk = model.body(body.trunk).id
    mass = float(model.body_subtreemass[trunk])
    scale = pose.height_m / REFERENCE_HEIGHT_M
    clearance = pose.height_m + hull.centre[2] - hull.radius_m
    speed_limit = np.inf if body.speed_limit is None else body.speed_limit
    return Robot(
        spec=spec,
        body=body,
        pose=pose,
        standing_height=_height_by_kinematics(model, body, pose, floor),
        stiffness=model.actuator_gainprm[servos, 0].copy(),
        torque_limit=np.where(limited, model.actuator_forcerange[servos, 1], np.inf),
        speed_limit=np.full(len(body.joints), speed_limit),
        sole_m=feet[:, 2] - floor_m - np.array(soles),
        stance_m=(float(np.abs(feet[:, 0] - centre[0]).max()), float(np.abs(feet[:, 1] - centre[1]).max())),
        trunk=hull,
        knees=_find_knees(data, body, floor_m, pose.height_m),
        knee_radius_m=_KNEE_RADIUS_M * scale,
        lateral_joints=tuple(i for i, joint in enumerate(body.joints) if abs(data.joint(joint).xaxis[1]) < _IN_PLANE),
        look_height_m=pose.height_m,
        floor_m=floor_m,
        fall_clearance_m=_BIPED_CLEARANCE * max(clearance, 0.0) if len(body.feet) < 3 else 0.0,
        gait_hz=_GAIT_HZ / float(np.sqrt(scale)),
        load_kg=min(_LOAD_FRACTION * mass, float(model.body_mass[trunk]) / 2),
        length_scale=scale,
        torque_scale=scale * mass / REFERENCE_MASS_KG,
        collides_with=(ALL_BITS, ALL_BITS),
    )


def _distance(data: mujoco.MjData, floor: int, geom: str) -> float:
    """Return the height of a geom's lowest point above the floor, m."""
    return mujoco.mj_geomDistance(data.model, data, floor, data.model.geom(geom).id, 100.0, None)


def _height_by_kinematics(
    model: mujoco.MjModel, body: Body, pose: Pose, floor: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `Robot.standing_height` for a compiled model."""
    data = mujoco.MjData(model)
    places = [model.joint(joint).qposadr[0] for joint in body.joints]
    z = model.joint(model.body(body.trunk).jntadr[0]).qposadr[0] + 2
    geoms = [geom for foot in body.feet for geom in foot.geoms]

    def height(angles: np.ndarray) -> np.ndarray:
        heights = np.zeros(len(angles))
        for i, row in enumerate(angles):
            data.qpos[:] = pose.qpos
            data.qpos[places] = row
            data.qpos[z] += pose.height_m  # high enough for all distances to be positive
            mujoco.mj_kinematics(model, data)
            heights[i] = 2 * pose.height_m - min(_distance(data, floor, geom) for geom in geoms)
        return heights

    return height


def _find_hull(data: mujoco.MjData, trunk: str) -> TrunkHull:
    """Return the hull of the geoms that are fixed to the trunk, those that can collide if there are any."""
    model = data.model
    geoms = np.flatnonzero(model.body_weldid[model.geom_bodyid] == model.body(trunk).id)
    solid = [geom for geom in geoms if parts.collides(model, int(geom))]
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = [
        data.geom_xpos[geom]
        + (model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]) @ data.geom_xmat[geom].reshape(3, 3).T
        for geom in solid or geoms
    ]
    if not corners:
        return TrunkHull(0.0, 0.0, 0.0)
    points = np.concatenate(corners) - data.body(trunk).xpos
    low, high = points.min(0), points.max(0)
    half, centre = (high - low) / 2, (high + low) / 2
    x, y, z = map(float, centre)
    return TrunkHull(float(half[0]), float(max(half[1] - half[2], 0)), float(half[2]), (x, y, z))


def _find_knees(data: mujoco.MjData, body: Body, floor_m: float, height_m: float) -> tuple[str, ...]:
    """Return the links below the knees, one per leg; for legs without a knee, the links below the hips."""
    model = data.model
    trunk = model.body(body.trunk).id
    knees = []
    for foot in body.feet:
        link, knee = int(model.geom_bodyid[model.geom(foot.geoms[0]).id]), None
        while link and link != trunk:
            if model.body_jntnum[link]:
                knee = link
                if data.xpos[link, 2] - floor_m > _LOWEST_KNEE * height_m:
                    break
            link = int(model.body_parentid[link])
        if knee is None:
            raise InputError(f"the foot '{foot.name}' of {body.name} is fixed to its trunk")
        knees.append(model.body(knee).name)
    return tuple(dict.fromkeys(knees))
