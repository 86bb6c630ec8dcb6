"""The command `surefoot watch`: what to show, and by which viewer."""

import importlib.util
from collections.abc import Callable
from typing import Any

from surefoot.errors import InputError
from surefoot.live.episode import Actor, Episode
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.task_env import prepare_rendering

INSTALL = 'pip install "surefoot[viewer]"'
LOOPBACK = "127.0.0.1"


def watch(
    info: TaskInfo,
    actor: Actor,
    title: str,
    host: str = LOOPBACK,
    port: int = 0,
    seed: int = 0,
    started: Callable[[str], Any] = print,
) -> None:
    """Show a task in the browser, controlled by `actor`, until the viewer is closed or the program interrupted.

    Tasks with a MuJoCo model are shown by MuJoCo's web viewer, others by a page of rendered frames.

    Args:
        info: the task.
        actor: chooses the actions.
        title: name of the run.
        host: the interface to bind.
        port: 0: the first free one from 8080.
        seed: of the first episode.
        started: called with the address once the page can be opened.

    Raises:
        InputError: the port is taken, a package is missing, or the task cannot be shown.
    """
    episode = Episode(info, actor, seed)
    if has_model(episode):
        if importlib.util.find_spec("websockets") is None:
            raise InputError(f"the viewer needs the package websockets; {INSTALL}")
        from surefoot.live.viewer import run_viewer

        trunk = info.body.trunk if info.body else None
        run_viewer(episode, title, trunk, host, port, started)
    else:
        from surefoot.live.frames import run_page

        episode.close()
        prepare_rendering()
        run_page(Episode(info, actor, seed, render_mode="rgb_array"), title, host, port, started)


def has_model(episode: Episode) -> bool:
    """Whether an episode is simulated by MuJoCo."""
    import mujoco

    env = episode.env.unwrapped
    return isinstance(getattr(env, "model", None), mujoco.MjModel) and hasattr(env, "data")
