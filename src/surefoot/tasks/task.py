"""Base class of tasks on a MuJoCo model, for one environment or many.

A task has two halves. One runs on the host with the simulator, on NumPy arrays with one row per environment: it resets
episodes, turns actions into controls, and keeps counters. The other is pure: it computes observation, named reward
terms and termination. It uses NumPy for one environment (`tasks.task_env`), and `jax.numpy` for many, compiled together
with the policy (`simulation.batch`).
"""

import abc
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import gymnasium
import mujoco
import numpy as np

from surefoot.bodies.body import Body
from surefoot.settings import Settings
from surefoot.tasks.observation import Part
from surefoot.tasks.options import TaskOptions

if TYPE_CHECKING:
    from surefoot.policies.symmetry import Mirror

State = dict[str, np.ndarray]
# Detection of falls: by termination; by termination with a last reward of about -100; or not at all.
FallRule = Literal["terminated", "reward", "none"]


class TaskOutput(NamedTuple):
    """Observation (N, D), named terms of the reward (N,) each, and termination (N,) bool, after a step."""

    observation: Any
    reward_terms: dict[str, Any]
    terminated: Any


class TaskDescription:
    """Facts about a task that policies, reports and mirror images need.

    Attributes:
        fall: how falls are detected. Every task must set it, so that no fall goes uncounted.
        body: names of the body's parts, or None.
        observation: parts of the observation, in order; empty if unknown.
        module_options: options that name Python modules to import; a policy file alone does not import them.
    """

    fall: FallRule
    body: Body | None = None
    observation: Sequence[Part] = ()
    module_options: tuple[str, ...] = ()

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Name of each value of the observation."""
        return tuple(name for part in self.observation for name in part.names)

    @functools.cached_property
    def action_names(self) -> tuple[str, ...] | None:
        """Name of each value of an action: the body's joints unless the task sets others; None if unknown."""
        return None if self.body is None else self.body.joints

    @property
    def reference_angles(self) -> Mapping[str, float]:
        """Joint angles, rad, or positions, m, from which the observed offsets are measured; empty: from 0."""
        return {}

    def mirror(self) -> "Mirror | None":
        """Return the task's mirror image (`tasks.symmetry.derive_mirror`), or None if left and right differ."""
        return None


class Task(TaskDescription, abc.ABC):
    """A task on a MuJoCo model.

    The methods that run with the simulator work on `state`: for N environments, the MuJoCo arrays named by `fields` and
    `randomised_fields`, (N, ...) views into the simulator; the arrays of `init_buffers`; and those of
    `init_substep_buffers`. `env_indices` is (K,) int: which environments to write.

    Attributes:
        Options: settings class of the task's options; its instance is the constructor's argument.
        headless_options: options that leave out visual geometry and change no physics.
        model: MuJoCo model.
        frame_skip: physics steps per action (decimation).
        fields: arrays of `MjData` that the task reads or writes.
        randomised_fields: arrays of `MjModel` that differ between environments.
        per_substep_control: whether `apply_action` writes the controls of each physics step,
            state["ctrl_schedule"] (N, frame_skip, nu), instead of state["ctrl"] (N, nu).
        recorded_fields: arrays of `MjData` recorded after each physics step of an action: "qpos" in
            state["qpos_trace"], (N, frame_skip, nq), and so on.
        changes_model_constants: whether `reset` changes masses or inertias, so that `mj_setConst` must follow.
        has_substep_forces: whether `apply_substep_forces` is called before each physics step; not with
            `recorded_fields`.
        needs_contact_forces: whether state["contact_force"], (N, nbody - 1, 6), is computed after each action.
    """

    Options: type[Settings] = TaskOptions
    headless_options: Mapping[str, Any] = MappingProxyType({})
    model: mujoco.MjModel
    frame_skip: int
    fields: tuple[str, ...] = ("qpos", "qvel", "ctrl")
    randomised_fields: tuple[str, ...] = ()
    per_substep_control: bool = False
    recorded_fields: tuple[str, ...] = ()
    changes_model_constants: bool = False
    has_substep_forces: bool = False
    needs_contact_forces: bool = False

    def __init__(self, options: Any) -> None:
        self.options = options

    @functools.cached_property
    def observation_space(self) -> gymnasium.spaces.Box:
        """Observation space of one environment, unbounded unless the task sets another."""
        return gymnasium.spaces.Box(-np.inf, np.inf, (len(self.observation_names),), np.float32)

    @functools.cached_property
    def action_space(self) -> gymnasium.spaces.Box:
        """Action space of one environment: from -1 to 1 for each control unless the task sets another."""
        return gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)

    @property
    def timestep_s(self) -> float:
        """Seconds per action."""
        return self.frame_skip * self.model.opt.timestep

    def fault(self) -> str | None:
        """Return why the body does not stand, in one line; None if it does or if that is unknown."""
        return None

    def init_substep_buffers(self, num_envs: int) -> State:
        """Return the arrays for `per_substep_control` and `recorded_fields`."""
        widths = {"ctrl_schedule": self.model.nu} if self.per_substep_control else {}
        data = mujoco.MjData(self.model)
        widths |= {f"{field}_trace": getattr(data, field).size for field in self.recorded_fields}
        return {name: np.zeros((num_envs, self.frame_skip, width)) for name, width in widths.items()}

    def init_buffers(self, num_envs: int) -> State:
        """Return the task's own arrays, (N, ...) each, kept from step to step and saved in checkpoints."""
        return {}

    def reset_curriculum(self, state: State) -> None:
        """Clear the curriculum, which persists between episodes; called before the first reset after seeding."""

    @abc.abstractmethod
    def reset(self, state: State, env_indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """Start an episode in some environments: write qpos, qvel and the task's own arrays.

        `rngs` holds the random generator of each of the N environments.
        """

    def after_reset(self, state: State, env_indices: np.ndarray) -> None:
        """Finish a reset once the quantities that follow from qpos are computed."""

    def apply_action(self, state: State, action: np.ndarray) -> None:
        """Turn actions (N, A), within the action space, into controls."""
        state["ctrl"][:] = action

    def apply_substep_forces(self, state: State, moving: Any) -> None:
        """Write forces or contacts of the next physics step, such as state["qfrc_applied"].

        `moving` indexes the environments that make it.
        """

    def post_step(self, state: State) -> None:
        """Update the task's own arrays after the last physics step of an action."""

    def gather(self, state: State) -> Mapping[str, np.ndarray]:
        """Return the inputs of `observe_and_reward` by name, (N, ...) each; by default `fields` except the controls."""
        return {name: state[name] for name in self.fields if name != "ctrl"}

    @abc.abstractmethod
    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        """Compute observation, reward terms and termination; a pure function with `xp`, `numpy` or `jax.numpy`.

        `measured` holds the arrays of `gather`, flattened to (N, width); `action`, (N, A), is the one that led to them.
        """

    def curriculum_metrics(self, state: State) -> dict[str, float]:
        """Return the curriculum's mean difficulty by name; empty without a curriculum."""
        return {}

    def info(self, state: State) -> dict[str, np.ndarray]:
        """Return further entries of Gymnasium's `info`, (N, ...) each."""
        return {}
