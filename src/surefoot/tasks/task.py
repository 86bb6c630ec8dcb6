"""What a task on MuJoCo is made of, for one copy or many.

A task has two halves. The first runs beside the simulator, on NumPy rows, one per copy: it begins episodes, turns
actions into controls, and keeps count of what happened meanwhile. The second reads what was measured,
and is pure: observation, reward by named terms, and whether a copy fell. It is given the array module to compute with,
NumPy for a single copy (`tasks.physics_env`) or `jax.numpy`, fused with the policy, for many (`simulation.batch`).

This module must stay light: worker processes import it, and need no JAX.
"""

import abc
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np

from surefoot.bodies.body import Body

Rows = dict[str, np.ndarray]


class TaskOutput(NamedTuple):
    """What was measured after a step, read as the task does.

    Attributes:
        observation: (N, D).
        reward_terms: (N,) each; their sum is the reward.
        terminated: (N,) bool, which copies fell.
    """

    observation: Any
    reward_terms: dict[str, Any]
    terminated: Any


class Task(abc.ABC):
    """A task on a MuJoCo model.

    Its methods beside the simulator share `rows`: for N copies, the arrays of MuJoCo that `fields` and `randomised_fields` name,
    (N, ...) views into the simulator, those of `init_buffers`, and for `per_substep_control` and `recorded_fields` tasks what happens at each
    physics step of an action.

    Attributes:
        model: the MuJoCo model.
        body: the names of the body's parts, if the task knows them.
        frame_skip: physics steps per action.
        observation_space: of one copy.
        action_space: of one copy.
        fields: the arrays of MuJoCo's state (`MjData`) that the task reads or writes.
        randomised_fields: the arrays of the model (`MjModel`) that differ from copy to copy.
        per_substep_control: whether `apply_action` writes the controls of each physics step, rows["ctrl_schedule"],
            (N, frame_skip, nu), and not those of all, rows["ctrl"], (N, nu).
        recorded_fields: the fields of the state that are wanted as they were after each physics step of an action, "qpos" in
            rows["qpos_trace"], (N, frame_skip, nq), and so on.
        changes_model_constants: whether `reset` changes masses, inertias and the like, so that what follows from them must, too.
        needs_contact_forces: whether rows["contact_force"], (N, nbody - 1, 6), is filled after each step.
        headless_options: options with which the task moves the same but leaves out what is only there to be seen.
        columns: name and width of everything `gather` gives, in order.
    """

    model: mujoco.MjModel
    body: Body | None = None
    frame_skip: int
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Box
    fields: tuple[str, ...] = ("qpos", "qvel", "ctrl")
    randomised_fields: tuple[str, ...] = ()
    per_substep_control: bool = False
    recorded_fields: tuple[str, ...] = ()
    changes_model_constants: bool = False
    needs_contact_forces: bool = False
    headless_options: Mapping[str, Any] = MappingProxyType({})
    columns: dict[str, int]

    @property
    def timestep_s(self) -> float:
        """Seconds per action."""
        return self.frame_skip * self.model.opt.timestep

    def init_substep_buffers(self, count: int) -> Rows:
        """Return room for what `count` copies do at each physics step of an action, as `per_substep_control` and `recorded_fields` say."""
        widths = {"ctrl_schedule": self.model.nu} if self.per_substep_control else {}
        data = mujoco.MjData(self.model)
        widths |= {f"{field}_trace": getattr(data, field).size for field in self.recorded_fields}
        return {name: np.zeros((count, self.frame_skip, width)) for name, width in widths.items()}

    def init_buffers(self, count: int) -> Rows:
        """Return what the task remembers of `count` copies from step to step, (count, ...) each; the rows' own."""
        del count
        return {}

    def reset_curriculum(self, rows: Rows) -> None:
        """Forget what outlasts episodes, for all copies; called before the first ones after seeding."""
        del rows

    @abc.abstractmethod
    def reset(self, rows: Rows, copies: np.ndarray, randoms: Sequence[np.random.Generator]) -> None:
        """Begin an episode in some copies: write qpos and qvel, and whatever is remembered.

        Args:
            rows: of all copies.
            copies: (K,) int, the rows to write.
            randoms: each copy's own random numbers, for all N copies.
        """

    def after_reset(self, rows: Rows, copies: np.ndarray) -> None:
        """Take notice of a beginning, now that what follows from qpos is known too."""
        del rows, copies

    def apply_action(self, rows: Rows, action: np.ndarray) -> None:
        """Turn actions (N, A), within the bounds, into controls."""
        rows["ctrl"][:] = action

    def post_step(self, rows: Rows) -> None:
        """Look at all copies after the last physics step of an action."""
        del rows

    @abc.abstractmethod
    def gather(self, rows: Rows) -> Sequence[np.ndarray]:
        """Return what `observe_and_reward` needs, (N, ...) each, as `columns` has it."""

    @abc.abstractmethod
    def observe_and_reward(self, measured: Mapping[str, Any], action: Any, xp: Any) -> TaskOutput:
        """Read (N, width) arrays, by the names of `columns`, that followed `action` (N, A).

        Args:
            measured: the arrays.
            action: what was done.
            xp: `numpy` or `jax.numpy`, whichever the arrays are of.
        """

    def curriculum_metrics(self, rows: Rows) -> dict[str, float]:
        """Return how hard a curriculum has made it, over all copies, by name; empty without one."""
        del rows
        return {}

    def info(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return what a single copy's `info` shows besides the terms of the reward, (N, ...) each."""
        del rows
        return {}
