"""Whether MuJoCo can draw here, with a screen or without one."""

import functools
import importlib
import os
import sys
import warnings

NO_GL = (
    "cannot be drawn: this machine offers no OpenGL context ({}); on Debian or Ubuntu run "
    "'apt install libegl1 libegl-mesa0 libgl1-mesa-dri'; only pictures are skipped, all else works without"
)


def gl_available() -> bool:
    """Tell whether MuJoCo tasks can be drawn here, by opening and closing a small OpenGL context."""
    prepare()
    return open_gl() is None


def prepare() -> None:
    """Choose ways to draw that need no screen, where there is none and nobody chose."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def open_gl() -> str | None:
    """Return why MuJoCo cannot draw, or None; leaves MUJOCO_GL at what works, where nobody chose."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is not None:
        return gl_problem(chosen)
    problem = gl_problem("glfw")
    if problem is not None and sys.platform.startswith("linux") and gl_problem("egl") is None:
        os.environ["MUJOCO_GL"] = "egl"  # the display that is named does not answer, as often over ssh
        return None
    return problem


@functools.lru_cache
def gl_problem(backend: str) -> str | None:
    """Return why no OpenGL context can be opened with this value of MUJOCO_GL, or None where one can.

    Asked first because Gymnasium's own viewer, half made, prints a second traceback while it is cleaned up.
    """
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            context = importlib.import_module(f"mujoco.{backend}").GLContext(16, 16)
            context.make_current()
            context.free()
        # GLFW only warns of what it lacks, and MuJoCo ends the process when it draws all the same.
        problem = next((note.message for note in said if note.category.__name__ == "GLFWError"), None)
    except Exception as error:  # these libraries raise whatever they like
        problem = error
    return None if problem is None else f"MUJOCO_GL={backend}: " + " ".join(str(problem).split())[:150].rstrip(".")
