"""Engine `batch`: every copy of a MuJoCo task on `mujoco.batch`, C++ threads over one array of states."""

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from surefoot.errors import EngineError, NonFiniteError
from surefoot.runs.trees import random_from_words, random_words
from surefoot.simulation.engine import Engine, Signals
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.gymnasium_mujoco import MUJOCO_TASKS, Physics

# MuJoCo answers a state that blew up by resetting it in silence and counting a warning of one of these kinds.
_BLOW_UPS = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)


def supports(info: TaskInfo) -> bool:
    """Tell whether this engine knows the task."""
    return info.id in MUJOCO_TASKS and not info.sees_otherwise


class BatchEngine(Engine):
    """Copies of one MuJoCo task, bit-identical at any number of threads, whose whole state can be kept.

    A frame's columns: qpos, qvel, displacement of the tracked position, contact wrenches, truncated, started.
    """

    name = "batch"

    def __init__(self, info: TaskInfo, num_envs: int, threads: int = 0) -> None:
        """Make `num_envs` copies on `threads` threads (0: one per CPU)."""
        self.task = task = MUJOCO_TASKS[info.id](info)
        self._limit = info.max_episode_steps
        size = task.observation_space.shape
        super().__init__(
            num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, size, np.float32),
            gymnasium.spaces.Box(info.action_low, info.action_high, dtype=np.float32),
        )
        model = task.model
        # Contact wrenches are computed on one MjData per copy, after the step, as Gymnasium does; a batch keeps those
        # only if it is persistent.
        self._batch = mujoco.batch.Batch(model, num_envs, threads, persistent=task.needs_contact_forces)
        self._qpos, self._qvel, self._ctrl = (self._batch.bind(field) for field in ("qpos", "qvel", "ctrl"))
        self._xpos = self._batch.bind("xpos") if task.tracked_size > 1 else None
        self._data = mujoco.MjData(model)
        bodies = model.nbody - 1 if task.needs_contact_forces else 0
        self._contact_force = np.zeros((num_envs, bodies, 6))
        widths = (model.nq, model.nv, task.tracked_size, bodies * 6, 1, 1)
        self._columns = np.cumsum((0, *widths)).tolist()
        self._position = np.zeros((num_envs, task.tracked_size))
        self._elapsed = np.zeros(num_envs, np.int64)
        self._before_step = np.zeros_like(self._batch.state)
        self._randoms: list[np.random.Generator] = []
        self._blow_ups = self._batch.warning[:, _BLOW_UPS, 1]  # a view of how often each kind was counted

    def begin(self, seed: int | None) -> np.ndarray:
        self._randoms = [
            np.random.Generator(np.random.PCG64(np.random.SeedSequence(None if seed is None else seed + copy)))
            for copy in range(self.num_envs)
        ]
        self._reset(np.arange(self.num_envs, dtype=np.int32))
        return self._frame(np.ones(self.num_envs, bool), self._position)

    def stagger(self, random: np.random.Generator) -> None:
        """Let the copies' present episodes end at different times, so that they are not all in step for ever."""
        if self._limit:
            self._elapsed[:] = random.integers(0, self._limit, self.num_envs)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        self._ctrl[:] = action
        before = self._position.copy()
        self._before_step[:] = self._batch.state
        some_finished = finished.any()
        moving = np.flatnonzero(~finished).astype(np.int32) if some_finished else None
        try:
            self._batch.step(moving, nstep=self.task.frame_skip)
        except mujoco.batch.SimulationError as error:
            raise EngineError(f"MuJoCo stopped: {error}") from error
        if self.task.needs_contact_forces:
            self._compute_contact_forces(range(self.num_envs) if moving is None else moving)
        self._position[:] = self.task.tracked_position(self._qpos, self._xpos)
        self._elapsed += 1
        self._check_physics(action)
        if some_finished:
            begun = finished if resting is None else finished & ~resting
            self._reset(np.flatnonzero(begun).astype(np.int32))
            before[finished] = self._position[finished]
        return self._frame(finished, before)

    def interpret(self, frame: jax.Array, action: jax.Array) -> Signals:
        parts = jnp.split(frame, self._columns[1:-1], axis=1)
        qpos, qvel, displacement, force, truncated, started = parts
        physics = Physics(qpos, qvel, displacement, force.reshape(len(frame), -1, 6))
        going = started[:, 0] < 0.5
        reward = sum(self.task.reward_terms(physics, action).values(), jnp.zeros(len(frame)))
        return Signals(
            self.task.observe(physics),
            jnp.where(going, reward, 0),
            self.task.terminated(physics) & going,
            (truncated[:, 0] > 0.5) & going,
        )

    def get_state(self) -> dict[str, np.ndarray]:
        return {
            "physics": self._batch.state.copy(),
            "position": self._position.copy(),
            "contact_force": self._contact_force.copy(),
            "elapsed": self._elapsed.copy(),
            "finished": self._finished.copy(),
            "random": np.stack([random_words(random) for random in self._randoms]),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._batch.state[:] = state["physics"]
        self._position[:] = state["position"]
        self._contact_force[:] = state["contact_force"]
        self._elapsed[:] = state["elapsed"]
        self._finished = np.array(state["finished"], bool)
        self._begun = True
        self._randoms = [random_from_words(words) for words in state["random"]]

    def _reset(self, copies: np.ndarray) -> None:
        self._batch.reset(copies, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        for copy in copies:
            self._qpos[copy], self._qvel[copy] = self.task.initial_state(self._randoms[copy])
        self._batch.forward(copies)
        self._elapsed[copies] = 0
        self._contact_force[copies] = 0
        self._position[copies] = self.task.tracked_position(self._qpos, self._xpos)[copies]

    def _compute_contact_forces(self, copies) -> None:
        for copy in copies:
            self._batch.get_data(copy, self._data)
            mujoco.mj_rnePostConstraint(self.task.model, self._data)
            self._contact_force[copy] = self._data.cfrc_ext[1:]

    def _check_physics(self, action: np.ndarray) -> None:
        if self._blow_ups.any():
            copy = int(np.flatnonzero(self._blow_ups.any(1))[0])
            self._batch.warning[:] = 0
            raise NonFiniteError(
                f"the physics of copy {copy} became unstable",
                {"states_before": self._before_step.copy(), "ctrl": np.array(action)},
            )

    def _frame(self, started: np.ndarray, before: np.ndarray) -> np.ndarray:
        frame = np.empty((self.num_envs, self._columns[-1]), np.float32)
        edges = self._columns
        frame[:, : edges[1]] = self._qpos
        frame[:, edges[1] : edges[2]] = self._qvel
        frame[:, edges[2] : edges[3]] = self._position - before
        frame[:, edges[3] : edges[4]] = self._contact_force.reshape(self.num_envs, -1)
        frame[:, edges[4]] = self._elapsed >= self._limit if self._limit else False
        frame[:, edges[5]] = started
        return frame
