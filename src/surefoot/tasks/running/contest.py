"""The contest's obstacles and weakened muscles by difficulty (osim-rl 1.5, `generate_env` in run.py).

| difficulty | obstacles | strength of two muscles |
|---|---|---|
| 0 | none | 1 |
| 1 | three between 1 and 5 m, then one every 2 to 4 m | 1 |
| 2, 3 | as for 1 | max(0.5, 1 - N(0, 0.1)) |
"""

import mujoco
import numpy as np

from surefoot.bodies.runner import MUSCLES
from surefoot.tasks.running.measurements import NO_OBSTACLE

MOST_OBSTACLES = 20
_FIRST = 3  # obstacles between 1 and 5 m
_LEAST_RADIUS_M, _MEAN_EXCESS_M = 0.05, 0.05
_LEAST_STRENGTH, _STRENGTH_DEVIATION = 0.5, 0.1
# Obstacles are drawn with any radius. Broad-phase collision detection uses the model's radius.
_MODEL_RADIUS_M = 1.0
_COLOUR = [0.86, 0.66, 0.40, 1]
# The muscle whose strength is varied, left then right. The contest's code took the number of the left one wrongly: it
# weakened `glut_max_l` (11) instead of `iliopsoas_l` (12).
VARIED = (MUSCLES.index("iliopsoas_l"), MUSCLES.index("iliopsoas_r"))
VARIED_IN_THE_CONTEST = (MUSCLES.index("glut_max_l"), MUSCLES.index("iliopsoas_r"))


def draw_obstacles(rng: np.random.Generator, difficulty: int, count: int) -> np.ndarray:
    """Return the x, y (height of the centre) and radius of obstacles, sorted by x, (count, 3) m; (0, 3) without any."""
    if difficulty == 0:
        return np.zeros((0, 3))
    first = min(_FIRST, count)
    more = count - first
    x = np.concatenate([rng.uniform(1, 5, first), 5 + np.cumsum(rng.uniform(2, 4, more))])
    side = np.concatenate([rng.uniform(-0.25, 0.25, first), rng.uniform(-0.05, 0.25, more)])
    radius = _LEAST_RADIUS_M + rng.exponential(_MEAN_EXCESS_M, count)
    return np.stack([x, side * radius, radius], axis=1)[np.argsort(x)]


def draw_strength(rng: np.random.Generator, difficulty: int) -> np.ndarray:
    """Return the scale of the force of the two varied muscles, left then right, (2,)."""
    if difficulty < 2:
        return np.ones(2)
    return np.maximum(_LEAST_STRENGTH, 1 - rng.normal(0, _STRENGTH_DEVIATION, 2))


def next_obstacle(obstacles: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the first obstacle that does not end before the pelvis, (N, 3); `NO_OBSTACLE` if there is none.

    Args:
        obstacles: (N, K, 3), sorted by x.
        x: position of the pelvis, (N,) m.
    """
    ahead = obstacles[:, :, 0] + obstacles[:, :, 2] >= x[:, None]
    rows = np.arange(len(x))
    obstacle = obstacles[rows, ahead.argmax(1)] - np.stack([x, 0 * x, 0 * x], axis=1)
    return np.where(np.any(ahead, axis=1, keepdims=True), obstacle, NO_OBSTACLE)


def add_obstacles(spec: mujoco.MjSpec, count: int) -> list[str]:
    """Add spheres without friction that only the feet touch; return the names of their bodies."""
    names = [f"obstacle {number}" for number in range(count)]
    for name in names:
        body = spec.worldbody.add_body(name=name, pos=[-10, 0, 0])
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[_MODEL_RADIUS_M, 0, 0],
            condim=1,
            priority=2,
            contype=1,
            conaffinity=0,
            rgba=_COLOUR,
        )
    return names
