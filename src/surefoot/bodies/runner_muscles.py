"""Muscles with elastic tendons for many runners at once: the model of Thelen (2003) as in OpenSim, on the fitted paths.

    D. G. Thelen, "Adjustment of muscle mechanics model parameters to simulate dynamic contractions in older adults",
    Journal of Biomechanical Engineering 125, 2003.

A tendon is in series with a fibre, whose length is a state: the tendon's force stretches the fibre, whose active force
follows Hill's curve of force and speed. Lengths in m, speeds in m/s, forces relative to the peak isometric force;
muscles in the order of `runner.MUSCLES`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.bodies.runner import LEGS
from surefoot.bodies.runner_figures import figures, fitted

# OpenSim's defaults.
_ACTIVE_WIDTH = 0.45
_HILL, _LENGTHENING_FORCE = 0.25, 1.4
_LINEAR_FROM = 0.95  # of the largest lengthening force
_MIN_ACTIVATION, _MIN_COSINE = 0.01, 0.1
_TOE_FORCE, _TOE_SHAPE, _TOE_STRAIN, _SLOPE = 0.33, 3.0, 0.609, 1.712
_MAX_SPEED = 15.0  # optimal lengths per second
_NEWTON_STEPS = 5
_BISECTIONS = 30


class _Muscles(NamedTuple):
    """Figures of the 18 muscles, (18,) each."""

    peak_force: np.ndarray
    optimal_length: np.ndarray
    slack_length: np.ndarray
    thickness: np.ndarray
    tendon_strain: np.ndarray
    passive_strain: np.ndarray
    passive_shape: np.ndarray


def _muscle_figures() -> _Muscles:
    rows = [
        (
            muscle["max_isometric_force"],
            muscle["optimal_fibre_length"],
            muscle["tendon_slack_length"],
            muscle["optimal_fibre_length"] * np.sin(muscle["pennation"]),
            muscle["max_tendon_strain"],
            muscle.get("max_passive_strain", 0.6),
            muscle.get("passive_shape", 5.0),
        )
        for _ in LEGS
        for muscle in figures()["muscles"]
    ]
    return _Muscles(*np.array(rows, np.float32).T)


MUSCLE = _muscle_figures()
SHORTEST = np.maximum(0.01 * MUSCLE.optimal_length, MUSCLE.thickness / np.sqrt(1 - _MIN_COSINE**2)) * np.float32(1.001)


class _Paths(NamedTuple):
    """Points of the paths of a leg's 9 muscles; a shorter path repeats its last point."""

    body: np.ndarray  # (9, P): 0 pelvis, 1 femur, 2 tibia, 3 foot
    x: np.ndarray  # (9, P), in the body
    y: np.ndarray
    z: np.ndarray
    excess: np.ndarray  # (9,), the path's length less the muscle's


def _leg_paths() -> _Paths:
    origins = {body["name"]: np.array(body["origin"]) for body in figures()["bodies"]}
    hip_z = origins["femur"][2]
    moved = {  # number of the body that carries the points, and where its origin lies in that body
        "pelvis": (0, [0, 0, 0]),
        "femur": (1, [0, 0, hip_z]),
        "tibia": (2, [*fitted()["knee"]["arm"][:2], hip_z]),
        "calcn": (3, origins["calcn"] + [0, 0, hip_z]),
    }
    longest = max(len(muscle["path"]) for muscle in fitted()["muscles"].values())
    bodies, points, excess = [], [], []
    for name in (muscle["name"] for muscle in figures()["muscles"]):
        path = fitted()["muscles"][name]["path"]
        path = path + path[-1:] * (longest - len(path))
        bodies.append([moved[point["body"]][0] for point in path])
        points.append([np.add(point["at"], moved[point["body"]][1]) for point in path])
        excess.append(fitted()["muscles"][name]["path_excess"])
    x, y, z = np.moveaxis(np.array(points, np.float32), -1, 0)
    return _Paths(np.array(bodies), x, y, z, np.array(excess, np.float32))


PATHS = _leg_paths()


def lengths_and_arms(angles: Any, xp: Any = jnp) -> tuple[Any, Any]:
    """Return lengths (N, 18) and moment arms (N, 2, 9, 3) of the muscles about hip, knee and ankle.

    Args:
        angles: of `runner.LEG_JOINTS`, (N, 6) rad.
        xp: numpy or jax.numpy.
    """
    total = xp.cumsum(angles.reshape(-1, 2, 3), axis=2)  # angles of femur, tibia and foot in the pelvis
    still = xp.zeros_like(total[..., :1])
    cos, sin = (
        xp.concatenate([first, part], 2) for first, part in ((still + 1, xp.cos(total)), (still, xp.sin(total)))
    )
    origins = {body["name"]: body["origin"] for body in figures()["bodies"]}
    # Centres of hip, knee and ankle, (N, 2, 3): each lies in the body before it.
    knee, ankle = fitted()["knee"]["centre"], np.add(fitted()["knee"]["arm"], origins["talus"])
    centre_x, centre_y = still + origins["femur"][0], still + origins["femur"][1]
    for body, (x, y) in ((1, knee[:2]), (2, ankle[:2])):
        c, s = cos[..., body : body + 1], sin[..., body : body + 1]
        centre_x = xp.concatenate([centre_x, centre_x[..., -1:] + c * x - s * y], 2)
        centre_y = xp.concatenate([centre_y, centre_y[..., -1:] + s * x + c * y], 2)
    c, s = cos[..., PATHS.body], sin[..., PATHS.body]
    base_x, base_y = (xp.concatenate([still, part], 2)[..., PATHS.body] for part in (centre_x, centre_y))
    x, y = base_x + c * PATHS.x - s * PATHS.y, base_y + s * PATHS.x + c * PATHS.y
    dx, dy, dz = (part[..., 1:] - part[..., :-1] for part in (x, y, xp.asarray(PATHS.z)))
    step = xp.sqrt(xp.maximum(dx**2 + dy**2 + dz**2, 1e-12))
    arms = []
    for joint in range(3):
        carried = (PATHS.body > joint).astype(np.float32)
        turn_x = -(y - centre_y[..., joint, None, None]) * carried
        turn_y = (x - centre_x[..., joint, None, None]) * carried
        change = dx * (turn_x[..., 1:] - turn_x[..., :-1]) + dy * (turn_y[..., 1:] - turn_y[..., :-1])
        arms.append(-(change / step).sum(-1))
    return (step.sum(-1) - PATHS.excess).reshape(len(angles), 18), xp.stack(arms, -1)


def tendon_force(length: Any, xp: Any = jnp) -> Any:
    """Return the force of tendons: exponential at first, then linear."""
    strain = length / MUSCLE.slack_length - 1
    toe = _TOE_STRAIN * MUSCLE.tendon_strain
    bent = _TOE_FORCE * xp.expm1(_TOE_SHAPE * xp.minimum(strain, toe) / toe) / np.expm1(_TOE_SHAPE)
    straight = _TOE_FORCE + _SLOPE / MUSCLE.tendon_strain * (strain - toe)
    return xp.maximum(xp.where(strain < toe, bent, straight), 0)


def passive_force(fibre: Any, xp: Any = jnp) -> Any:
    """Return the force of fibres without activation."""
    stretch = xp.maximum(fibre / MUSCLE.optimal_length - 1, 0)
    shape = MUSCLE.passive_shape
    return xp.expm1(shape * stretch / MUSCLE.passive_strain) / np.expm1(shape)


def fibre_speed(fibre: Any, length: Any, activation: Any, xp: Any = jnp) -> Any:
    """Return the speed at which fibres lengthen, the forces of fibre and tendon being equal.

    Args:
        fibre: length of the fibres, (..., 18).
        length: of the muscles with their tendons, (..., 18).
        activation: from 0 to 1, (..., 18).
        xp: numpy or jax.numpy.
    """
    activation = xp.maximum(activation, _MIN_ACTIVATION)
    cosine = _cosine(fibre, xp)
    active = tendon_force(length - fibre * cosine, xp) / cosine - passive_force(fibre, xp)
    isometric = activation * xp.exp(-xp.square(fibre / MUSCLE.optimal_length - 1) / _ACTIVE_WIDTH)
    # Hill's curve between no force and nearly the largest, continued by its tangents.
    largest = _LENGTHENING_FORCE * isometric
    inside = xp.clip(active, 0, _LINEAR_FROM * largest)
    shortens = inside <= isometric
    slope = xp.where(shortens, 1 / _HILL, -(2 + 2 / _HILL) / (_LENGTHENING_FORCE - 1))
    base = xp.where(shortens, isometric + inside / _HILL, -slope * (largest - inside))
    scale = (0.25 + 0.75 * activation) * _MAX_SPEED * MUSCLE.optimal_length
    excess = inside - isometric
    tangent = (base - excess * slope) / base**2
    return scale * (excess / base + tangent * (active - inside))


def _cosine(fibre: Any, xp: Any) -> Any:
    """Return the cosine of the pennation angle; the fibres' thickness is constant."""
    return xp.sqrt(xp.maximum(1 - xp.square(MUSCLE.thickness / fibre), _MIN_COSINE**2))


def equilibrium(length: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Return the length of fibres at rest, by bisection, (..., 18)."""
    low, high = np.broadcast_to(SHORTEST, length.shape), np.maximum(length, SHORTEST)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        lengthens = fibre_speed(middle, length, activation, np) > 0
        low, high = np.where(lengthens, middle, low), np.where(lengthens, high, middle)
    return (low + high) / 2


def next_fibre(fibre: jax.Array, length: jax.Array, activation: jax.Array, seconds: float) -> jax.Array:
    """Return the length of fibres after a backward Euler step, (..., 18).

    The equation of the step has one root, because a longer fibre lengthens more slowly. Newton's method finds it; an
    iterate that leaves the bracket of the root is replaced by the bracket's middle.
    """
    low, high = jnp.broadcast_to(SHORTEST, fibre.shape), jnp.maximum(length, SHORTEST)
    later = jnp.clip(fibre, low, high)
    for _ in range(_NEWTON_STEPS):
        speed, slope = jax.jvp(lambda x: fibre_speed(x, length, activation), (later,), (jnp.ones_like(later),))
        excess = later - fibre - seconds * speed
        low, high = jnp.where(excess < 0, later, low), jnp.where(excess < 0, high, later)
        later = later - excess / (1 - seconds * slope)
        later = jnp.where((later >= low) & (later <= high), later, (low + high) / 2)
    return later


def advance(
    angles: jax.Array, activation: jax.Array, fibre: jax.Array, strength: jax.Array, seconds: float
) -> tuple[jax.Array, jax.Array]:
    """Advance the fibres by one physics step; return their lengths (N, 18) and the torques of the joints (N, 6), N m.

    Args:
        angles: of `runner.LEG_JOINTS`, (N, 6) rad.
        activation: (N, 18).
        fibre: length of the fibres, (N, 18).
        strength: scale of the muscles' forces, (N, 18) or (18,).
        seconds: physics time step.
    """
    length, arms = lengths_and_arms(angles)
    fibre = next_fibre(fibre, length, activation, seconds)
    force = MUSCLE.peak_force * strength * tendon_force(length - fibre * _cosine(fibre, jnp))
    return fibre, (arms * force.reshape(-1, 2, 9, 1)).sum(2).reshape(len(angles), 6)
