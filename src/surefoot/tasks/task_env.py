"""One environment of a `Task`, with Gymnasium's interface."""

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import mujoco
import numpy as np

from surefoot.tasks.registry import make_task
from surefoot.tasks.task import Task, TaskOutput

if TYPE_CHECKING:
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer


def prepare_rendering() -> None:
    """Draw without a window if there is no display; MuJoCo would abort the process. MUJOCO_GL decides if it is set."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")


def prepare_other_rendering() -> None:
    """Do so for environments that a user's script makes without Surefoot, if there is an EGL library to draw with.

    Without one, MuJoCo could not even be imported with MUJOCO_GL=egl.
    """
    with contextlib.suppress(OSError):
        ctypes.CDLL("libEGL.so.1")
        prepare_rendering()


class TaskEnv(gymnasium.Env):
    """A `Task` in one environment; `info` holds the reward terms and the task's own entries."""

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "depth_array"]}  # noqa: RUF012

    def __init__(self, task: str, render_mode: str | None = None, **options: Any) -> None:
        """Make the task that is registered with the id `task`."""
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is {render_mode!r}; choose one of {self.metadata['render_modes']}")
        if render_mode:
            prepare_rendering()
        self.task: Task = make_task(task, options)
        self.model = self.task.model
        self.data = mujoco.MjData(self.model)
        # `mj_setConst` overwrites positions, so it needs separate data.
        self._constants_data = mujoco.MjData(self.model) if self.task.changes_model_constants else None
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        self.observation_names, self.action_names = self.task.observation_names, self.task.action_names
        self.metadata = self.metadata | {"render_fps": round(1 / self.task.timestep_s)}
        self.render_mode = render_mode
        sources = [(self.data, field) for field in self.task.fields]
        sources += [(self.model, field) for field in self.task.randomised_fields]
        self._state = {field: getattr(source, field)[None] for source, field in sources} | self.task.init_buffers(1)
        self._state |= self.task.init_substep_buffers(1)
        if self.task.needs_contact_forces:
            self._state["contact_force"] = np.zeros((1, self.model.nbody - 1, 6))
        self.task.reset_curriculum(self._state)
        self._env_indices = np.zeros(1, np.int32)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The task's arrays by name, (1, ...) each; changes hold from the next step on."""
        return self._state

    @property
    def dt(self) -> float:
        """Seconds per action."""
        return self.task.timestep_s

    @functools.cached_property
    def mujoco_renderer(self) -> "MujocoRenderer":
        """The renderer; made when first used."""
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer  # slow to import

        return MujocoRenderer(self.model, self.data, width=640, height=480)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; return the observation, (D,) float32, and the task's `info`."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        if seed is not None:
            self.task.reset_curriculum(self._state)
        self.task.reset(self._state, self._env_indices, [self.np_random])
        if self._constants_data is not None:
            mujoco.mj_setConst(self.model, self._constants_data)
        self.start()
        if self.task.needs_contact_forces:
            self._state["contact_force"][:] = 0
        self.task.after_reset(self._state, self._env_indices)
        if self.render_mode == "human":
            self.render()
        observation = self._output(np.zeros((1, *self.task.action_space.shape))).observation[0]
        return observation.astype(np.float32), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act for `dt` seconds; actions are clipped to the action space."""
        space = self.task.action_space
        action = np.clip(np.asarray(action, np.float32), space.low, space.high)[None]
        self.task.apply_action(self._state, action)
        self.simulate_action()
        if self.task.needs_contact_forces:
            mujoco.mj_rnePostConstraint(self.model, self.data)
            self._state["contact_force"][0] = self.data.cfrc_ext[1:]
        self.task.post_step(self._state)
        output = self._output(action)
        reward_terms = {name: float(value[0]) for name, value in output.reward_terms.items()}
        if self.render_mode == "human":
            self.render()
        observation = output.observation[0].astype(np.float32)
        info = {"reward_terms": reward_terms} | self._info()
        return observation, sum(reward_terms.values()), bool(output.terminated[0]), False, info

    def start(self) -> None:
        """Prepare the simulator for an episode, once the task has set its initial state."""
        mujoco.mj_forward(self.model, self.data)

    def simulate_action(self) -> None:
        """Make the physics steps of one action."""
        for step in range(self.task.frame_skip):
            if self.task.per_substep_control:
                self.data.ctrl[:] = self._state["ctrl_schedule"][0, step]
            if self.task.has_substep_forces:
                self.task.apply_substep_forces(self._state, slice(None))
            self.simulate()
            for field in self.task.recorded_fields:
                self._state[f"{field}_trace"][0, step] = getattr(self.data, field)

    def simulate(self) -> None:
        """Make one physics step."""
        mujoco.mj_step(self.model, self.data)

    def render(self) -> Any:
        """Render the current state in the render mode."""
        return self.mujoco_renderer.render(self.render_mode)

    def close(self) -> None:
        """Close the renderer's window."""
        if "mujoco_renderer" in vars(self):
            self.mujoco_renderer.close()
            del self.mujoco_renderer

    def measure(self) -> Mapping[str, np.ndarray]:
        """Return the inputs of the task's `observe_and_reward`, (1, ...) each."""
        return self.task.gather(self._state)

    def _info(self) -> dict[str, Any]:
        return {name: value[0] for name, value in self.task.info(self._state).items()}

    def _output(self, action: np.ndarray) -> TaskOutput:
        measured = {name: part.reshape(1, -1) for name, part in self.measure().items()}
        return self.task.observe_and_reward(measured, action, np)
