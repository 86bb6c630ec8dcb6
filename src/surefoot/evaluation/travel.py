"""Travel of a body: its speed along its path, its net speed, and how far it turns."""

from typing import Any

import gymnasium
import numpy as np

from surefoot.bodies.body import Body
from surefoot.evaluation.episodes import Actor, EpisodeStep, run_episodes
from surefoot.simulation.factory import make_single_env
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.wrappers import steps_per_second

_WINDOW_S = 1.0
_EPISODES, _SLOW_EPISODES = 5, 1  # OpenSim takes seconds for one


def measure_travel(
    policy: Actor, info: TaskInfo, seed: int, episodes: int, engine: str = "auto"
) -> dict[str, float] | None:
    """Return the mean of `summarise_travel` over up to 5 episodes (1 in OpenSim) from seed `seed` on, and their number.

    None for tasks whose body is unknown. `engine` is the name of the engine whose simulator is used.
    """
    if info.body is None:
        return None
    env, body, poses = make_single_env(engine, info), info.body, []

    def follow(step: EpisodeStep) -> bool:
        pose = trunk_pose(env, body)
        if step.length[0] == 0:
            poses.append([])
        poses[-1].append(pose)
        return pose is None

    try:
        result = run_episodes(
            policy, env, info, min(episodes, _SLOW_EPISODES if engine == "opensim" else _EPISODES), seed, follow
        )
        step_s = seconds_per_step(env, info)
    finally:
        env.close()
    if result is None:
        return None
    parts = [summarise_travel(path[:, :2], path[:, 2], step_s) for path in map(np.array, poses)]
    lengths = [len(path) - 1 for path in poses]
    means = {x: float(np.average([part[x] for part in parts], weights=lengths)) for x in parts[0]}
    return means | {"episodes": len(parts)}


def summarise_travel(position: np.ndarray, heading: np.ndarray, step_s: float) -> dict[str, float]:
    """Return the measures of one episode.

    Args:
        position: (T, 2 or 3) m, of the trunk.
        heading: (T,) rad.
        step_s: time between samples, s.

    Returns:
        `speed_m_s` along the path, `net_speed_m_s` from start to end, and `turn_deg_per_10_s`, the angle between the
        first and the last heading, full turns included, in degrees per 10 s.
    """
    seconds = max(1, len(position) - 1) * step_s
    turn = np.unwrap(heading)[[0, -1]]
    return {
        "speed_m_s": distance_travelled(position, step_s) / seconds,
        "net_speed_m_s": float(np.linalg.norm(position[-1, :2] - position[0, :2])) / seconds,
        "turn_deg_per_10_s": float(np.degrees(abs(turn[1] - turn[0]))) / seconds * 10,
    }


def distance_travelled(position: np.ndarray, step_s: float) -> float:
    """Return the horizontal distance travelled by the trunk (T, 2 or 3), m.

    Positions are sampled once per second, so that lateral sway within a stride does not count.
    """
    every = max(1, round(_WINDOW_S / step_s))
    samples = position[np.unique(np.append(np.arange(0, len(position), every), len(position) - 1)), :2]
    return float(np.linalg.norm(np.diff(samples, axis=0), axis=1).sum())


def trunk_pose(env: gymnasium.Env, body: Body) -> np.ndarray | None:
    """Return x and y (m) and the heading (rad) of the trunk; None if the environment has no trunk of this name."""
    base: Any = env.unwrapped
    if hasattr(base, "hull"):  # Gymnasium's BipedalWalker
        return np.array([base.hull.position[0], 0.0, 0.0])
    try:
        trunk = base.data.body(body.trunk)
    except (AttributeError, KeyError):
        return None
    return np.array([*trunk.xpos[:2], heading(trunk.xquat)])


def heading(orientation: np.ndarray) -> np.ndarray:
    """Return the angle about the vertical of quaternions w x y z (..., 4), rad; 0 for a body that moves in a plane."""
    w, x, y, z = np.moveaxis(orientation, -1, 0)
    planar = (np.abs(x) < 1e-9) & (np.abs(z) < 1e-9)
    return np.where(planar, 0.0, np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def seconds_per_step(env: gymnasium.Env, info: TaskInfo) -> float:
    """Return the simulated time of a policy step, s."""
    step = getattr(env.unwrapped, "dt", None)
    if not isinstance(step, int | float) or not step > 0:
        step = 1 / steps_per_second(env)
    return float(step) * info.action_repeat
