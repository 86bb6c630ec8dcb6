"""Ground that is not flat: hills of stairs and slopes, and rough fields, in ten levels, and how high each point is.

One world serves all copies: tiles of 8 by 8 m, the levels along x, the kinds of terrain along y, all on a floor at
height 0. A hill is square, with a valley around it. Stairs are boxes, which are quick to touch; slopes and rough ground
are height fields of 25 cm, which take half as long again. Heights are found by formula, not by casting rays.
"""

import dataclasses
from typing import ClassVar, Literal, get_args

import mujoco
import numpy as np

from surefoot.tasks.options import check_choice, check_flag, check_number
from surefoot.tasks.rotations import yaw
from surefoot.tasks.task import State
from surefoot.tasks.velocity.hash_rng import uniform

Kind = Literal["flat", "rough", "slope", "stairs_up", "stairs_down", "mixed"]

LEVELS = 10
TILE_M = 8.0
_HILL_M = 3.3  # half the width of a hill at its foot
_TREAD_M, _STEPS = 0.3, 8
_CELL_M = 0.25
_CELLS = round(TILE_M / _CELL_M)
_BASE_M = 0.1  # how deep a height field reaches below the floor
# Of a world of all kinds, which share of the copies is on each (legged_gym's, whose obstacles we have not).
_SHARES = {"rough": 0.2, "slope": 0.2, "stairs_up": 0.35, "stairs_down": 0.25}
_HIGHEST_START = 5  # the level on which a copy's first episode may begin
_USE, _USE_OF_GROUND = 5, 6  # of chance
# A copy's progress is a moving average, over this time, of how fast it goes where it is told, as a share of how fast it
# should. Below `STUCK` it is stuck: so is one that has stood still for 3.2 s.
_PROGRESS_S = 2.0
STUCK = 0.2
_COLOUR = [0.80, 0.74, 0.64, 1]


class Terrain:
    """A world of one kind, or of all ("mixed").

    Attributes:
        kinds: what the columns of tiles are, along y.
    """

    def __init__(self, kind: Kind) -> None:
        """Lay out the world; not for "flat", which needs none."""
        self.kinds: tuple[str, ...] = get_args(Kind)[1:-1] if kind == "mixed" else (kind,)
        # Heights of the corners of all cells, (columns, along y, along x); 0 where stairs stand.
        self._grid = np.stack([_grid(column, one) for column, one in enumerate(self.kinds)])
        self._riser_m = np.array([[riser_m(one, level) for level in range(LEVELS)] for one in self.kinds])

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add the world to a scene."""
        for column, kind in enumerate(self.kinds):
            middle = [LEVELS * TILE_M / 2, (column + 0.5) * TILE_M]
            if kind.startswith("stairs"):
                for level in range(LEVELS):
                    self._add_stairs(spec, column, level)
                continue
            heights = self._grid[column]
            top = float(heights.max())
            size = [LEVELS * TILE_M / 2, TILE_M / 2, top, _BASE_M]
            field = spec.add_hfield(name=f"terrain {column}", nrow=_CELLS + 1, ncol=LEVELS * _CELLS + 1, size=size)
            field.userdata = (heights / top).ravel().tolist()
            spec.worldbody.add_geom(
                name=f"terrain {column}",
                type=mujoco.mjtGeom.mjGEOM_HFIELD,
                hfieldname=field.name,
                pos=[*middle, 0],
                contype=1,
                conaffinity=0,
                rgba=_COLOUR,
            )

    def _add_stairs(self, spec: mujoco.MjSpec, column: int, level: int) -> None:
        riser = self._riser_m[column, level]
        for step in range(_STEPS):
            half = _HILL_M - step * _TREAD_M
            shade = [*(part * (0.86 + 0.14 * (step % 2)) for part in _COLOUR[:3]), 1]
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[(level + 0.5) * TILE_M, (column + 0.5) * TILE_M, (step + 0.5) * riser],
                size=[half, half, riser / 2],
                contype=1,
                conaffinity=0,
                rgba=shade,
            )

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how high the ground is at points of any shape, m."""
        level, column = np.floor(x / TILE_M).astype(int), np.floor(y / TILE_M).astype(int)
        inside = (level >= 0) & (level < LEVELS) & (column >= 0) & (column < len(self.kinds))
        level, column = np.where(inside, level, 0), np.where(inside, column, 0)
        away = np.maximum(np.abs(x - (level + 0.5) * TILE_M), np.abs(y - (column + 0.5) * TILE_M))
        steps = np.clip(np.floor((_HILL_M - away) / _TREAD_M) + 1, 0, _STEPS)
        ground = steps * self._riser_m[column, level]
        # Within a cell, a plane through three of its corners: MuJoCo cuts cells from low x, low y to high x, high y.
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
        """Return where and facing whither episodes begin, (K, 2) m and (K,) rad, by numbers (K, 4) from -1 to 1.

        Up the stairs one begins in the valley, facing the hill more or less; down the stairs and on rough ground in the
        middle of the tile, facing anywhere; on slopes either way.
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
    """Return how high each step of the stairs of a level is, m; 0 where there are none."""
    return 0.03 + 0.017 * level if kind.startswith("stairs") else 0.0


def _grid(column: int, kind: str) -> np.ndarray:
    """Return the heights of the corners of a column's cells, (along y, along x); its border is at 0."""
    level = np.minimum(np.arange(LEVELS * _CELLS + 1) // _CELLS, LEVELS - 1)[None, :]
    x = np.arange(LEVELS * _CELLS + 1)[None, :] * _CELL_M - (level + 0.5) * TILE_M
    y = np.arange(_CELLS + 1)[:, None] * _CELL_M - TILE_M / 2
    away = np.maximum(np.abs(x), np.abs(y))
    if kind == "slope":
        return (0.05 + 0.035 * level) * np.clip(_HILL_M - away, 0, _TREAD_M * (_STEPS - 1))
    if kind == "rough":
        count = np.arange(away.size, dtype=np.uint32)
        drawn = uniform(np.full(away.size, column, np.uint32), _USE_OF_GROUND, count, 1, np).reshape(away.shape)
        return np.where(away < TILE_M / 2 - 1e-9, (0.02 + 0.012 * level) * (drawn + 1) / 2, 0.0)
    return np.zeros((_CELLS + 1, LEVELS * _CELLS + 1))


@dataclasses.dataclass(frozen=True)
class TerrainSettings:
    """What the robot walks on."""

    terrain: Kind = "flat"
    """The kind of ground; "mixed" has all but the flat."""
    level: int | None = None
    """A level of difficulty, 0 to 9, instead of one that rises and falls with success."""
    observe_heights: bool = False
    """Whether the heights of the ground around the robot are observed."""
    height_noise: float = 0.1
    """How far off each of them is at most, m, where sensor noise is 1. (legged_gym's value, which hides low stairs.)"""
    terminate_when_stuck: bool = False
    """Whether an episode ends, as by a fall, once the robot has hardly gone where it was told for some 3 s. For
    practice: waiting before stairs is safe, and pays a little."""

    def __post_init__(self) -> None:
        check_choice("terrain", self.terrain, Kind)
        if self.level is not None and (isinstance(self.level, bool) or self.level not in range(LEVELS)):
            raise ValueError(f"level is {self.level!r}; it must be a whole number from 0 to {LEVELS - 1}")
        check_flag("observe_heights", self.observe_heights)
        check_number("height_noise", self.height_noise, 0, 1)
        check_flag("terminate_when_stuck", self.terminate_when_stuck)


class Curriculum:
    """Which level each copy is on: up once it leaves its tile's half behind, down if it hardly goes where it is told.

    Much as in legged_gym: after an episode in which the robot came more than half a tile away, the next is a level
    higher; after one in which it came less than half as far from its start as the commands would have taken it, a level
    lower; past the last level, at any. A copy keeps to one kind of terrain. (legged_gym counts the length of the way;
    but its robots are told where to face, while ours may be told to go in circles.)

    Args:
        terrain: the world.
        level: a level to stay on, or None.
    """

    remembered: ClassVar[dict[str, int]] = {
        **{"level": 1, "column": 1, "start": 2, "walked": 1},
        **{"asked": 3, "progress": 1},
    }

    def __init__(self, terrain: Terrain, level: int | None) -> None:
        self._terrain = terrain
        self._fixed = level

    def reset_curriculum(self, state: State) -> None:
        """Begin with no past; `level` -1 stands for none."""
        state["level"][:] = -1

    def begin(self, state: State, env_indices: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place some copies (K,) whose episodes have these keys; return the places, (K, 2), and directions, (K,)."""
        drawn = uniform(key, _USE, np.zeros(len(key), np.uint32), 6, np).astype(float)
        chance = (drawn[:, :2] + 1) / 2
        level, walked = state["level"][env_indices, 0], state["walked"][env_indices, 0]
        asked = np.hypot(*state["asked"][env_indices, :2].T)
        new = level < 0
        bounds = np.cumsum([_SHARES.get(kind, 1.0) for kind in self._terrain.kinds])
        column = np.searchsorted(bounds[:-1] / bounds[-1], chance[:, 0], side="right")
        state["column"][env_indices, 0] = np.where(new, column, state["column"][env_indices, 0])
        next_ = level + (walked > TILE_M / 2) - ((walked < asked / 2) & (walked <= TILE_M / 2))
        next_ = np.where(next_ >= LEVELS, np.floor(chance[:, 1] * LEVELS), np.maximum(next_, 0))
        next_ = np.where(new, np.floor(chance[:, 1] * (_HIGHEST_START + 1)), next_)
        state["level"][env_indices, 0] = next_ if self._fixed is None else self._fixed
        place, facing = self._terrain.start(
            state["level"][env_indices, 0].astype(int), state["column"][env_indices, 0].astype(int), drawn[:, 2:]
        )
        state["start"][env_indices] = place
        state["walked"][env_indices] = state["asked"][env_indices] = 0
        state["progress"][env_indices] = 1
        return place, facing

    def curriculum_metrics(self, state: State) -> dict[str, float]:
        """Return the mean level of the copies on each kind of terrain, by its name; empty if levels never change."""
        level, column = state["level"][:, 0], state["column"][:, 0]
        kinds = [] if self._fixed is not None else [(kind, column == i) for i, kind in enumerate(self._terrain.kinds)]
        return {kind: float(level[on].mean()) for kind, on in kinds if on.any()}

    def after(self, state: State, timestep_s: float) -> None:
        """Note how far the copies have come, and where (m, m, rad) one would be that did as it was told."""
        state["walked"][:, 0] = np.hypot(*(state["qpos"][:, :2] - state["start"]).T)
        asked, step = state["asked"], state["followed"] * timestep_s
        ahead, aside = np.cos(asked[:, 2]), np.sin(asked[:, 2])
        asked[:, 0] += ahead * step[:, 0] - aside * step[:, 1]
        asked[:, 1] += aside * step[:, 0] + ahead * step[:, 1]
        asked[:, 2] += step[:, 2]
        obedience = _obedience(state["qpos"], state["qvel"], state["followed"])
        state["progress"][:, 0] += timestep_s / _PROGRESS_S * (obedience - state["progress"][:, 0])


def _obedience(qpos: np.ndarray, qvel: np.ndarray, followed: np.ndarray) -> np.ndarray:
    """Return how fast copies go where they are told, as a share of how fast they should, from -1 to 1, (N,)."""
    heading = yaw(qpos[:, 3:7])
    ahead, aside = np.cos(heading), np.sin(heading)
    velocity = np.stack([ahead * qvel[:, 0] + aside * qvel[:, 1], ahead * qvel[:, 1] - aside * qvel[:, 0]], axis=1)
    told = followed[:, :2]
    squared = np.square(told).sum(1)
    return np.where(squared > 0, np.clip((velocity * told).sum(1) / np.maximum(squared, 1e-9), -1, 1), 1.0)
