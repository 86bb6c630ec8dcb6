"""Engine `batch`: every copy of a MuJoCo task on `mujoco.batch`, C++ threads over one array of states."""

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from surefoot.errors import EngineError, NonFiniteError
from surefoot.pytrees import random_from_words, random_words
from surefoot.simulation.engine import Engine, StepResult
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.gymnasium.mujoco import MUJOCO_TASKS
from surefoot.tasks.registry import TASKS, make_task
from surefoot.tasks.task import Rows, Task

# MuJoCo answers a state that blew up by resetting it in silence and counting a warning of one of these kinds.
_BLOW_UPS = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)


def supports(info: TaskInfo) -> bool:
    """Tell whether this engine knows the task."""
    return info.id in (*MUJOCO_TASKS, *TASKS) and not info.sees_otherwise


def make_physics_task(info: TaskInfo) -> Task:
    """Return the physics of a task that this engine `supports`."""
    if info.id in MUJOCO_TASKS:
        return MUJOCO_TASKS[info.id](info)
    return make_task(info.id, info.env_options, seen=False)


class BatchEngine(Engine):
    """Copies of one MuJoCo task, bit-identical at any number of threads, whose whole state can be kept.

    A frame's columns: those of the task, truncated, started.
    """

    name = "batch"
    term_names: tuple[str, ...]

    def __init__(self, info: TaskInfo, num_envs: int, threads: int = 0) -> None:
        """Make `num_envs` copies on `threads` threads (0: one per CPU)."""
        self.task = task = make_physics_task(info)
        self._limit = info.max_episode_steps
        super().__init__(
            num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, task.observation_space.shape, np.float32),
            gymnasium.spaces.Box(info.action_low, info.action_high, dtype=np.float32),
        )
        # Contact wrenches are computed on one MjData per copy, after the step, as Gymnasium does; a batch keeps those
        # only if it is persistent.
        self._batch = mujoco.batch.Batch(task.model, num_envs, threads, persistent=task.needs_contact_forces)
        self._remembered = task.init_buffers(num_envs)
        if task.needs_contact_forces:
            self._remembered["contact_force"] = np.zeros((num_envs, task.model.nbody - 1, 6))
        own = {field: self._batch.expand(field) for field in task.randomised_fields}
        self._within = task.init_substep_buffers(num_envs)
        self._rows = {field: self._batch.bind(field) for field in task.fields} | own | self._remembered | self._within
        self._data = mujoco.MjData(task.model)
        self._columns = np.cumsum((0, *task.columns.values(), 1, 1)).tolist()
        self._elapsed = np.zeros(num_envs, np.int64)
        self._before_step = np.zeros_like(self._batch.state)
        self._randoms: list[np.random.Generator] = []
        self._blow_ups = self._batch.warning[:, _BLOW_UPS, 1]  # a view of how often each kind was counted
        shapes = (
            jax.ShapeDtypeStruct((num_envs, width), jnp.float32) for width in (self._columns[-1], info.action_size)
        )
        self.term_names = tuple(jax.eval_shape(self.interpret, *shapes).terms or ())

    @property
    def rows(self) -> Rows:
        """What the task sees of all copies, arrays of MuJoCo and its own, (N, ...) each; not to be changed."""
        return self._rows

    def begin(self, seed: int | None) -> np.ndarray:
        self._randoms = [
            np.random.Generator(np.random.PCG64(np.random.SeedSequence(None if seed is None else seed + copy)))
            for copy in range(self.num_envs)
        ]
        self.task.reset_curriculum(self._rows)
        self._reset(np.arange(self.num_envs, dtype=np.int32))
        return self._frame(np.ones(self.num_envs, bool))

    def stagger(self, random: np.random.Generator) -> None:
        """Let the copies' present episodes end at different times, so that they are not all in step for ever."""
        if self._limit:
            self._elapsed[:] = random.integers(0, self._limit, self.num_envs)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        self.task.apply_action(self._rows, action)
        self._before_step[:] = self._batch.state
        some_finished = finished.any()
        moving = np.flatnonzero(~finished).astype(np.int32) if some_finished else None
        self._step(moving)
        if self.task.needs_contact_forces:
            self._compute_contact_forces(range(self.num_envs) if moving is None else moving)
        self.task.post_step(self._rows)
        self._elapsed += 1
        self._check_physics(action)
        if some_finished:
            begun = finished if resting is None else finished & ~resting
            self._reset(np.flatnonzero(begun).astype(np.int32))
        return self._frame(finished)

    def interpret(self, frame: jax.Array, action: jax.Array) -> StepResult:
        *parts, truncated, started = jnp.split(frame, self._columns[1:-1], axis=1)
        reading = self.task.observe_and_reward(dict(zip(self.task.columns, parts, strict=True)), action, jnp)
        going = started[:, 0] < 0.5
        reward = sum(reading.reward_terms.values(), jnp.zeros(len(frame)))
        return StepResult(
            reading.observation,
            jnp.where(going, reward, 0),
            reading.terminated & going,
            (truncated[:, 0] > 0.5) & going,
            reading.reward_terms,
        )

    def curriculum_metrics(self) -> dict[str, float]:
        return self.task.curriculum_metrics(self._rows)

    def get_state(self) -> dict[str, np.ndarray]:
        kept = {
            "physics": self._batch.state.copy(),
            "elapsed": self._elapsed.copy(),
            "finished": self._finished.copy(),
            "random": np.stack([random_words(random) for random in self._randoms]),
        }
        return kept | {name: self._rows[name].copy() for name in self._own_rows()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._batch.state[:] = state["physics"]
        for name in self._own_rows():
            self._rows[name][:] = state[name]
        if self.task.changes_model_constants:
            self._batch.set_const()
        self._elapsed[:] = state["elapsed"]
        self._finished = np.array(state["finished"], bool)
        self._begun = True
        self._randoms = [random_from_words(words) for words in state["random"]]

    def _own_rows(self) -> tuple[str, ...]:
        """Return the names of the rows that are no part of the physics' state."""
        return *self._remembered, *self.task.randomised_fields

    def _step(self, moving: np.ndarray | None) -> None:
        task = self.task
        try:
            if not self._within:
                self._batch.step(moving, nstep=task.frame_skip)
                return
            chosen = slice(None) if moving is None else moving
            found = self._batch.rollout(
                task.frame_skip,
                self._rows["ctrl_schedule"][chosen] if task.per_substep_control else None,
                mujoco.mjtState.mjSTATE_CTRL.value,
                task.recorded_fields,
                moving,
            )
        except mujoco.batch.SimulationError as error:
            raise EngineError(f"MuJoCo stopped: {error}") from error
        for field in task.recorded_fields:
            self._rows[f"{field}_trace"][chosen] = found[field]

    def _reset(self, copies: np.ndarray) -> None:
        self._batch.reset(copies, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.task.reset(self._rows, copies, self._randoms)
        if self.task.changes_model_constants:
            self._batch.set_const(copies)
        self._batch.forward(copies)
        self._elapsed[copies] = 0
        if self.task.needs_contact_forces:
            self._rows["contact_force"][copies] = 0
        self.task.after_reset(self._rows, copies)

    def _compute_contact_forces(self, copies) -> None:
        for copy in copies:
            self._batch.get_data(copy, self._data)
            mujoco.mj_rnePostConstraint(self.task.model, self._data)
            self._rows["contact_force"][copy] = self._data.cfrc_ext[1:]

    def _check_physics(self, action: np.ndarray) -> None:
        if self._blow_ups.any():
            copy = int(np.flatnonzero(self._blow_ups.any(1))[0])
            self._batch.warning[:] = 0
            raise NonFiniteError(
                f"the physics of copy {copy} became unstable",
                {"states_before": self._before_step.copy(), "ctrl": np.array(action)},
            )

    def _frame(self, started: np.ndarray) -> np.ndarray:
        frame = np.empty((self.num_envs, self._columns[-1]), np.float32)
        for start, stop, part in zip(self._columns, self._columns[1:], self.task.gather(self._rows), strict=False):
            frame[:, start:stop] = part.reshape(self.num_envs, -1)
        frame[:, -2] = self._elapsed >= self._limit if self._limit else False
        frame[:, -1] = started
        return frame
