"""OpenGL for MuJoCo renderings, with or without a display."""

import functools
import importlib
import os
import sys
import warnings

NO_GL = (
    "cannot be rendered: no OpenGL context is available ({}); on Debian or Ubuntu run "
    "'apt install libegl1 libegl-mesa0 libgl1-mesa-dri'; everything else works without OpenGL"
)


def gl_available() -> bool:
    """Whether MuJoCo tasks can be rendered here; opens and closes a small OpenGL context."""
    prepare()
    return open_gl() is None


def prepare() -> None:
    """Select headless rendering if there is no display and the user has not chosen a backend."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def open_gl() -> str | None:
    """Return why MuJoCo cannot render, or None; sets MUJOCO_GL to a working backend unless the user has set it."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is not None:
        return gl_problem(chosen)
    problem = gl_problem("glfw")
    if problem is not None and sys.platform.startswith("linux") and gl_problem("egl") is None:
        os.environ["MUJOCO_GL"] = "egl"  # DISPLAY is set but does not answer, as often over ssh
        return None
    return problem


@functools.lru_cache
def gl_problem(backend: str) -> str | None:
    """Return the reason why no OpenGL context can be opened with this value of MUJOCO_GL, or None.

    Checked first, because Gymnasium's renderer prints a second traceback if its construction fails.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            context = importlib.import_module(f"mujoco.{backend}").GLContext(16, 16)
            context.make_current()
            context.free()
        # GLFW only warns, but MuJoCo would abort the process at the first rendering.
        problem = next((warning.message for warning in caught if warning.category.__name__ == "GLFWError"), None)
    except Exception as error:  # these libraries raise arbitrary exceptions
        problem = error
    return None if problem is None else f"MUJOCO_GL={backend}: " + " ".join(str(problem).split())[:150].rstrip(".")
