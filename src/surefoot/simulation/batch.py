"""Engine `batch`: all environments of a MuJoCo task on `mujoco.batch`, C++ threads over one array of states."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import mujoco
import mujoco.batch
import numpy as np

from surefoot.errors import EngineError, InputError, NonFiniteError, foreign_code
from surefoot.packing import Layout
from surefoot.pytrees import random_from_words, random_words
from surefoot.simulation.engine import Engine, StepResult
from surefoot.tasks.catalogue import TaskInfo, find_task, has_batch_physics, make_physics_task
from surefoot.tasks.task import State, Task, TaskOutput

# MuJoCo silently resets a state that diverged, and counts a warning of one of these kinds.
_BLOW_UPS = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)


def obstacle(info: TaskInfo) -> str:
    """Return why this engine cannot simulate the task, "" if it can."""
    if info.frame_stack > 1:
        return "it has no frame_stack"
    if not has_batch_physics(info):
        return "only subclasses of surefoot.tasks.Task and HalfCheetah-v5, Ant-v5, Hopper-v5, Walker2d-v5"
    return ""


class BatchEngine(Engine):
    """Environments of one MuJoCo task, bit-identical at any number of threads, whose whole state can be saved.

    The simulator output holds what the task gathers, then "truncated" and "started" (the episode has just begun). With
    `action_repeat` it holds one such block per environment step of an action. As with the wrapper, an action ends with
    its episode; the simulation of the steps that are left is ignored.

    Attributes:
        state: the arrays that the task reads, MuJoCo's and its own, (N, ...) each.
    """

    name = "batch"

    def __init__(self, info: TaskInfo, num_envs: int, threads: int = 0) -> None:
        """Make `num_envs` environments on `threads` threads (0: one per CPU core)."""
        super().__init__(info, num_envs)
        with self._guard():
            self.task = task = make_physics_task(info)
            self._repeat = info.action_repeat
            unrepeated = info if self._repeat == 1 else find_task(info.name, info.env_options)
            self._limit = unrepeated.max_episode_steps or np.inf
            # As in Gymnasium, contact wrenches are computed on an environment's MjData after the step. Only a
            # persistent batch keeps them.
            self._batch = mujoco.batch.Batch(task.model, num_envs, threads, persistent=task.needs_contact_forces)
            buffers = task.init_buffers(num_envs)
            if task.needs_contact_forces:
                buffers["contact_force"] = np.zeros((num_envs, task.model.nbody - 1, 6))
            self._saved = buffers | {field: self._batch.expand(field) for field in task.randomised_fields}
            self._substeps = task.init_substep_buffers(num_envs)
            self.state: State = {field: self._batch.bind(field) for field in task.fields} | self._saved | self._substeps
            self._data = mujoco.MjData(task.model)
            widths = {name: part[0].size for name, part in task.gather(self.state).items()}
            self.layout = Layout(**widths, truncated="flag", started="flag")
            self._elapsed = np.zeros(num_envs, np.int64)
            self._before_step = np.zeros_like(self._batch.state)
            self._rngs: list[np.random.Generator] = []
            self._blow_ups = self._batch.warning[:, _BLOW_UPS, 1]  # view of the warning counts
            self.term_names = tuple(_checked_output(task, info, num_envs, widths).reward_terms)

    def begin(self, seed: int | None) -> np.ndarray:
        self._rngs = [
            np.random.Generator(np.random.PCG64(np.random.SeedSequence(None if seed is None else seed + env)))
            for env in range(self.num_envs)
        ]
        with self._guard():
            self.task.reset_curriculum(self.state)
            self._reset(np.arange(self.num_envs, dtype=np.int32))
            return np.tile(self._sim_output(np.ones(self.num_envs, bool)), self._repeat)

    def stagger(self, random: np.random.Generator) -> None:
        """Let the current episodes reach their time limits at different times."""
        if limit := self._info.max_episode_steps:
            self._elapsed[:] = random.integers(0, limit, self.num_envs) * self._repeat

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        with self._guard():
            moving = np.flatnonzero(~finished).astype(np.int32) if finished.any() else None
            outputs = []
            for repetition in range(1, self._repeat + 1):
                self._simulate(action, moving)
                if repetition == self._repeat and moving is not None:
                    begun = finished if resting is None else finished & ~resting
                    self._reset(np.flatnonzero(begun).astype(np.int32))
                outputs.append(self._sim_output(finished))
            return outputs[0] if self._repeat == 1 else np.concatenate(outputs, axis=1)

    def _simulate(self, action: np.ndarray, moving: np.ndarray | None) -> None:
        """Make one environment step of the environments `moving`, (K,) int; None: of all."""
        self.task.apply_action(self.state, action)
        self._before_step[:] = self._batch.state
        self._step(moving)
        if self.task.needs_contact_forces:
            for env in range(self.num_envs) if moving is None else moving:
                self._batch.get_data(env, self._data)
                mujoco.mj_rnePostConstraint(self.task.model, self._data)
                self.state["contact_force"][env] = self._data.cfrc_ext[1:]
        self.task.post_step(self.state)
        self._elapsed += 1
        self._check_physics(action)

    def reset_some(self, which: np.ndarray) -> np.ndarray:
        with self._guard():
            self._reset(np.flatnonzero(which).astype(np.int32))
            return np.tile(self._sim_output(which), self._repeat)

    def interpret(self, sim_output: jax.Array, action: jax.Array) -> StepResult:
        if self._repeat == 1:
            return self._interpret_block(sim_output, action)
        num_envs = len(sim_output)
        blocks = sim_output.reshape(num_envs * self._repeat, self.layout.size)
        result = self._interpret_block(blocks, jnp.repeat(action, self._repeat, axis=0))
        result = jax.tree.map(lambda part: part.reshape(num_envs, self._repeat, *part.shape[1:]), result)
        ended = jnp.cumsum(result.terminated | result.truncated, axis=1) > 0
        counts = ~jnp.pad(ended[:, :-1], ((0, 0), (1, 0)))
        last = counts.sum(1) - 1
        rows = jnp.arange(num_envs)
        return StepResult(
            result.observation[rows, last],
            (result.reward * counts).sum(1),
            result.terminated[rows, last],
            result.truncated[rows, last],
            {name: (term * counts).sum(1) for name, term in (result.terms or {}).items()},
        )

    def _interpret_block(self, block: jax.Array, action: jax.Array) -> StepResult:
        """Read the simulator output (N, layout.size) of one environment step."""
        fields = self.layout.unpack(block)
        truncated, started = fields.pop("truncated"), fields.pop("started")
        output = self.task.observe_and_reward(fields, action, jnp)
        reward = sum(output.reward_terms.values(), jnp.zeros(len(block)))
        return StepResult(
            output.observation,
            jnp.where(started, 0, reward),
            output.terminated & ~started,
            truncated & ~started,
            output.reward_terms,
        )

    def curriculum_metrics(self) -> dict[str, float]:
        return self.task.curriculum_metrics(self.state)

    def get_state(self) -> dict[str, np.ndarray]:
        state = {
            "physics": self._batch.state.copy(),
            "elapsed": self._elapsed.copy(),
            "finished": self._finished.copy(),
            "random": np.stack([random_words(rng) for rng in self._rngs]),
        }
        return state | {name: array.copy() for name, array in self._saved.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._batch.state[:] = state["physics"]
        for name, array in self._saved.items():
            array[:] = state[name]
        if self.task.changes_model_constants:
            self._batch.set_const()
        self._elapsed[:] = state["elapsed"]
        self._finished = np.array(state["finished"], bool)
        self._begun = True
        self._rngs = [random_from_words(words) for words in state["random"]]

    def _guard(self) -> contextlib.AbstractContextManager[None]:
        """Report an exception of the task, which may be a user's, in one line."""
        return foreign_code(f"task '{self._info.name}' failed")

    def _step(self, moving: np.ndarray | None) -> None:
        task = self.task
        try:
            if task.has_substep_forces:
                self._step_with_forces(moving)
                return
            if not self._substeps:
                self._batch.step(moving, nstep=task.frame_skip)
                return
            stepped = slice(None) if moving is None else moving
            recorded = self._batch.rollout(
                task.frame_skip,
                self.state["ctrl_schedule"][stepped] if task.per_substep_control else None,
                mujoco.mjtState.mjSTATE_CTRL.value,
                task.recorded_fields,
                moving,
            )
        except mujoco.batch.SimulationError as error:
            raise EngineError(f"MuJoCo stopped: {error}") from error
        for field in task.recorded_fields:
            self.state[f"{field}_trace"][stepped] = recorded[field]

    def _step_with_forces(self, moving: np.ndarray | None) -> None:
        task, state = self.task, self.state
        stepped = slice(None) if moving is None else moving
        for substep in range(task.frame_skip):
            if task.per_substep_control:
                state["ctrl"][stepped] = state["ctrl_schedule"][stepped, substep]
            task.apply_substep_forces(state, stepped)
            self._batch.step(moving, nstep=1)

    def _reset(self, env_indices: np.ndarray) -> None:
        self._batch.reset(env_indices, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.task.reset(self.state, env_indices, self._rngs)
        if self.task.changes_model_constants:
            self._batch.set_const(env_indices)
        self._batch.forward(env_indices)
        self._elapsed[env_indices] = 0
        if self.task.needs_contact_forces:
            self.state["contact_force"][env_indices] = 0
        self.task.after_reset(self.state, env_indices)

    def _check_physics(self, action: np.ndarray) -> None:
        if self._blow_ups.any():
            env = int(np.flatnonzero(self._blow_ups.any(1))[0])
            self._batch.warning[:] = 0
            raise NonFiniteError(
                f"the physics of environment {env} became unstable",
                {"states_before": self._before_step.copy(), "ctrl": np.array(action)},
            )

    def _sim_output(self, started: np.ndarray) -> np.ndarray:
        sim_output = np.empty((self.num_envs, self.layout.size), np.float32)
        gathered = self.task.gather(self.state).items()
        fields = {name: part.reshape(self.num_envs, -1) for name, part in gathered}
        fields |= {"truncated": self._elapsed >= self._limit, "started": started}
        self.layout.write(sim_output, fields)
        return sim_output


def _checked_output(task: Task, info: TaskInfo, num_envs: int, widths: dict[str, int]) -> TaskOutput:
    """Return shapes and types of what `observe_and_reward` returns for N environments and measured arrays of `widths`.

    Raises:
        InputError: a shape or type is wrong; JAX would silently broadcast some shapes.
        EngineError: `observe_and_reward` failed.
    """
    measured = {name: jax.ShapeDtypeStruct((num_envs, width), jnp.float32) for name, width in widths.items()}
    action = jax.ShapeDtypeStruct((num_envs, info.action_size), jnp.float32)
    with foreign_code(f"task '{info.name}': observe_and_reward failed"):
        output = jax.eval_shape(functools.partial(task.observe_and_reward, xp=jnp), measured, action)
    if not isinstance(output, TaskOutput):
        raise InputError(f"task '{info.name}': observe_and_reward returns no TaskOutput")
    returned = {f"reward term '{name}'": value for name, value in output.reward_terms.items()}
    for name, value in (returned | {"terminated": output.terminated}).items():
        shape = getattr(value, "shape", None)
        if shape != (num_envs,):
            raise InputError(
                f"task '{info.name}': {name} has shape {shape} for {num_envs} environments, not ({num_envs},)"
            )
    if output.terminated.dtype != bool:
        raise InputError(f"task '{info.name}': terminated has type {output.terminated.dtype}, not bool")
    names = task.observation_space.shape[0]
    if output.observation.shape != (num_envs, names):
        raise InputError(
            f"task '{info.name}': observe_and_reward returns {output.observation.shape[-1]} values, but `observation` "
            f"names {names}"
        )
    return output
