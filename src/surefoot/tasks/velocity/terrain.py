"""Uneven ground: hills of stairs and slopes, and rough fields, in ten levels of difficulty, with a curriculum.

One world serves all environments: tiles of 8 by 8 m, levels along x, kinds of terrain along y, on a floor at height 0.
A hill is square, with a valley around it. Stairs are boxes; slopes and rough ground are height fields
with cells of 25 cm, whose collisions take 1.5 times as long. Heights follow from a formula, without ray casting.
"""

from typing import ClassVar, Literal, get_args

import mujoco
import numpy as np
from pydantic import Field

from surefoot.bodies.scene import ALL_BITS, PLAIN
from surefoot.tasks.options import TaskOptions
from surefoot.tasks.task import State
from surefoot.tasks.velocity.hash_rng import uniform

Kind = Literal["flat", "rough", "slope", "stairs_up", "stairs_down", "mixed"]

LEVELS = 10
TILE_M = 8.0
_HILL_M = 3.3  # half the width of a hill at its foot
_TREAD_M, _STEPS = 0.3, 8
_CELL_M = 0.25
_CELLS = round(TILE_M / _CELL_M)
_BASE_M = 0.1  # depth of a height field below the floor
# Fractions of the environments on each kind in a mixed world (legged_gym's, without its obstacles).
_FRACTIONS = {"rough": 0.2, "slope": 0.2, "stairs_up": 0.35, "stairs_down": 0.25}
_HIGHEST_START = 5  # highest level of an environment's first episode
_STREAM, _GROUND_STREAM = 5, 6
# Progress is the speed along the command relative to the commanded speed, averaged with this time constant. A robot
# below `STUCK` is stuck: one that stands still, after 3.2 s.
_PROGRESS_S = 2.0
STUCK = 0.2
_COLOUR = [0.80, 0.74, 0.64, 1]


class Terrain:
    """A world of one kind of terrain, or of all kinds ("mixed").

    Attributes:
        kinds: kind of each column of tiles, along y.
    """

    def __init__(self, kind: Kind) -> None:
        """Compute the heights of a world of any kind but "flat"."""
        self.kinds: tuple[str, ...] = get_args(Kind)[1:-1] if kind == "mixed" else (kind,)
        # Heights of the corners of all cells, (columns, along y, along x); 0 where stairs stand.
        self._grid = np.stack([_grid(column, name) for column, name in enumerate(self.kinds)])
        self._riser_m = np.array([[riser_m(name, level) for level in range(LEVELS)] for name in self.kinds])

    def build(self, spec: mujoco.MjSpec, floor_m: float = 0.0) -> None:
        """Add the world, which collides with everything, to a scene with a floor at height `floor_m`."""
        for column, kind in enumerate(self.kinds):
            middle = [LEVELS * TILE_M / 2, (column + 0.5) * TILE_M]
            if kind.startswith("stairs"):
                for level in range(LEVELS):
                    self._add_stairs(spec, column, level, floor_m)
                continue
            heights = self._grid[column]
            top = float(heights.max())
            size = [LEVELS * TILE_M / 2, TILE_M / 2, top, _BASE_M]
            field = spec.add_hfield(
                name=f"surefoot terrain {column}", nrow=_CELLS + 1, ncol=LEVELS * _CELLS + 1, size=size
            )
            field.userdata = (heights / top).ravel().tolist()
            spec.worldbody.add_geom(
                PLAIN.default,
                type=mujoco.mjtGeom.mjGEOM_HFIELD,
                hfieldname=field.name,
                pos=[*middle, floor_m],
                contype=ALL_BITS,
                conaffinity=ALL_BITS,
                rgba=_COLOUR,
            )

    def _add_stairs(self, spec: mujoco.MjSpec, column: int, level: int, floor_m: float) -> None:
        riser = self._riser_m[column, level]
        for step in range(_STEPS):
            half = _HILL_M - step * _TREAD_M
            shade = [*(part * (0.86 + 0.14 * (step % 2)) for part in _COLOUR[:3]), 1]
            spec.worldbody.add_geom(
                PLAIN.default,
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[(level + 0.5) * TILE_M, (column + 0.5) * TILE_M, floor_m + (step + 0.5) * riser],
                size=[half, half, riser / 2],
                contype=ALL_BITS,
                conaffinity=ALL_BITS,
                rgba=shade,
            )

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the height of the ground above the floor at points (x, y) of any shape, m."""
        level, column = np.floor(x / TILE_M).astype(int), np.floor(y / TILE_M).astype(int)
        inside = (level >= 0) & (level < LEVELS) & (column >= 0) & (column < len(self.kinds))
        level, column = np.where(inside, level, 0), np.where(inside, column, 0)
        distance = np.maximum(np.abs(x - (level + 0.5) * TILE_M), np.abs(y - (column + 0.5) * TILE_M))
        steps = np.clip(np.floor((_HILL_M - distance) / _TREAD_M) + 1, 0, _STEPS)
        ground = steps * self._riser_m[column, level]
        # Each cell is two triangles: MuJoCo cuts it from its corner at low x, low y to the one at high x, high y.
        u = np.where(inside, x / _CELL_M, 0)
        v = np.where(inside, y / _CELL_M - column * _CELLS, 0)
        i, j = np.minimum(u.astype(int), LEVELS * _CELLS - 1), np.minimum(v.astype(int), _CELLS - 1)
        u, v = u - i, v - j
        grid = self._grid
        low, right, above, high = (grid[column, j + b, i + a] for a, b in ((0, 0), (1, 0), (0, 1), (1, 1)))
        below = low + u * (right - low) + v * (high - right)
        beyond = low + v * (above - low) + u * (high - above)
        return np.where(inside, ground + np.where(u > v, below, beyond), 0.0)

    def start(self, level: np.ndarray, column: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return initial positions (K, 2) m and directions (K,) rad from numbers (K, 4), uniform from -1 to 1.

        Stairs up: in the valley, facing the hill within 45 degrees. Stairs down and rough ground: in the middle of the
        tile, any direction. Slopes: either.
        """
        middle = (np.stack([level, column], axis=1) + 0.5) * TILE_M
        upwards = np.array([kind == "stairs_up" for kind in self.kinds])[column]
        upwards |= np.array([kind == "slope" for kind in self.kinds])[column] & (drawn[:, 3] > 0)
        side = np.floor((drawn[:, 0] + 1) * 2) * np.pi / 2
        toward = np.stack([np.cos(side), np.sin(side)], axis=1)
        along = toward[:, ::-1] * [-1, 1] * drawn[:, 1:2]
        place = np.where(upwards[:, None], middle - toward * (TILE_M / 2 - 0.1) + along, middle + 0.5 * drawn[:, :2])
        facing = np.where(upwards, side + np.pi / 4 * drawn[:, 2], np.pi * drawn[:, 2])
        return place, facing


def riser_m(kind: str, level: int) -> float:
    """Return the height of each step of the stairs of a level, m; 0 for terrain without stairs."""
    return 0.03 + 0.017 * level if kind.startswith("stairs") else 0.0


def _grid(column: int, kind: str) -> np.ndarray:
    """Return the heights of the corners of a column's cells, (along y, along x); the border is at 0."""
    level = np.minimum(np.arange(LEVELS * _CELLS + 1) // _CELLS, LEVELS - 1)[None, :]
    x = np.arange(LEVELS * _CELLS + 1)[None, :] * _CELL_M - (level + 0.5) * TILE_M
    y = np.arange(_CELLS + 1)[:, None] * _CELL_M - TILE_M / 2
    distance = np.maximum(np.abs(x), np.abs(y))
    if kind == "slope":
        return (0.05 + 0.035 * level) * np.clip(_HILL_M - distance, 0, _TREAD_M * (_STEPS - 1))
    if kind == "rough":
        count = np.arange(distance.size, dtype=np.uint32)
        drawn = uniform(np.full(distance.size, column, np.uint32), _GROUND_STREAM, count, 1, np).reshape(distance.shape)
        return np.where(distance < TILE_M / 2 - 1e-9, (0.02 + 0.012 * level) * (drawn + 1) / 2, 0.0)
    return np.zeros((_CELLS + 1, LEVELS * _CELLS + 1))


class TerrainOptions(TaskOptions):
    """The ground."""

    terrain: Kind = "flat"
    """Kind of ground; "mixed" has all kinds except flat."""
    level: int | None = Field(None, ge=0, lt=LEVELS)
    """Fixed level of difficulty, 0 to 9; by default a curriculum raises and lowers it."""
    observe_heights: bool = False
    """Whether the heights of the ground around the robot are observed."""
    height_noise: float = Field(0.1, ge=0, le=1)
    """Largest error of an observed height at noise 1, m. The default, legged_gym's, makes low stairs invisible."""
    terminate_when_stuck: bool = False
    """Whether an episode terminates, as after a fall, when the robot has not followed its command for about 3 s. For
    training only: it prevents a policy that waits in front of stairs for a small, safe reward."""


class Curriculum:
    """Level of difficulty of each environment; the same, if `level` is given.

    As in legged_gym, the level rises after an episode that covers more than half a tile, and drops after one that
    covers less than half of the commanded distance. After the last level, a random one is drawn. The kind of terrain
    does not change. Distances are measured from start to end, because commands may lead in circles.
    """

    buffers: ClassVar = {"level": 1, "column": 1, "start": 2, "distance": 1, "commanded_pose": 3, "progress": 1}

    def __init__(self, terrain: Terrain, level: int | None) -> None:
        self._terrain = terrain
        self._fixed = level

    def clear(self, state: State) -> None:
        """Start without earlier episodes; stored as level -1."""
        state["level"][:] = -1

    def reset(self, state: State, env_indices: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose the levels of environments (K,) with random keys (K,).

        Returns initial positions (K, 2), m, and directions (K,), rad.
        """
        drawn = uniform(key, _STREAM, np.zeros(len(key), np.uint32), 6, np).astype(float)
        chance = (drawn[:, :2] + 1) / 2
        level, distance = state["level"][env_indices, 0], state["distance"][env_indices, 0]
        commanded = np.hypot(*state["commanded_pose"][env_indices, :2].T)
        new = level < 0
        bounds = np.cumsum([_FRACTIONS.get(kind, 1.0) for kind in self._terrain.kinds])
        column = np.searchsorted(bounds[:-1] / bounds[-1], chance[:, 0], side="right")
        state["column"][env_indices, 0] = np.where(new, column, state["column"][env_indices, 0])
        next_ = level + (distance > TILE_M / 2) - ((distance < commanded / 2) & (distance <= TILE_M / 2))
        next_ = np.where(next_ >= LEVELS, np.floor(chance[:, 1] * LEVELS), np.maximum(next_, 0))
        next_ = np.where(new, np.floor(chance[:, 1] * (_HIGHEST_START + 1)), next_)
        state["level"][env_indices, 0] = next_ if self._fixed is None else self._fixed
        position, facing = self._terrain.start(
            state["level"][env_indices, 0].astype(int), state["column"][env_indices, 0].astype(int), drawn[:, 2:]
        )
        state["start"][env_indices] = position
        state["distance"][env_indices] = state["commanded_pose"][env_indices] = 0
        state["progress"][env_indices] = 1
        return position, facing

    def metrics(self, state: State) -> dict[str, float]:
        """Return the mean level on each kind of terrain by name; empty if the level is fixed."""
        level, column = state["level"][:, 0], state["column"][:, 0]
        kinds = [] if self._fixed is not None else [(kind, column == i) for i, kind in enumerate(self._terrain.kinds)]
        return {kind: float(level[on].mean()) for kind, on in kinds if on.any()}

    def update(
        self, state: State, position: np.ndarray, facing: np.ndarray, velocity: np.ndarray, timestep_s: float
    ) -> None:
        """Update the distance covered, the progress, and the pose (m, m, rad) after exact tracking of all commands.

        Position (N, 3) m, direction (N,) rad and velocity (N, 3) m/s of the trunks are those in the world frame.
        """
        state["distance"][:, 0] = np.hypot(*(position[:, :2] - state["start"]).T)
        pose, step = state["commanded_pose"], state["tracked_command"] * timestep_s
        cos, sin = np.cos(pose[:, 2]), np.sin(pose[:, 2])
        pose[:, 0] += cos * step[:, 0] - sin * step[:, 1]
        pose[:, 1] += sin * step[:, 0] + cos * step[:, 1]
        pose[:, 2] += step[:, 2]
        following = _following(facing, velocity, state["tracked_command"])
        state["progress"][:, 0] += timestep_s / _PROGRESS_S * (following - state["progress"][:, 0])


def _following(facing: np.ndarray, velocity: np.ndarray, command: np.ndarray) -> np.ndarray:
    """Return the speed along the command relative to the commanded speed, clipped to -1 and 1, (N,); 1 if that is 0."""
    cos, sin = np.cos(facing), np.sin(facing)
    own = np.stack([cos * velocity[:, 0] + sin * velocity[:, 1], cos * velocity[:, 1] - sin * velocity[:, 0]], axis=1)
    commanded = command[:, :2]
    squared = np.square(commanded).sum(1)
    return np.where(squared > 0, np.clip((own * commanded).sum(1) / np.maximum(squared, 1e-9), -1, 1), 1.0)
