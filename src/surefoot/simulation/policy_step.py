"""One control step of all environments, compiled together with the policy; for training and evaluation alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.packing import Layout
from surefoot.policies.policy import to_bounds
from surefoot.simulation.engine import Engine
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.reward_shaping import WrapperSettings, wrapped_reward


class Experience(NamedTuple):
    """One step of N environments, the input of a policy: the fields of `StepResult`, and two more.

    Attributes:
        shaped_reward: (N,), the reward to learn from.
        started: (N,) bool, the episode started here: no action led to this observation.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    terms: dict[str, jax.Array] | None
    shaped_reward: jax.Array
    started: jax.Array


class Command(NamedTuple):
    """The unpacked result of a policy step.

    Attributes:
        action: (N, A) float32, the next actions in the task's units.
        reward: (N,) float32, the task's own reward of the previous step; `shaped_reward` is the one to learn from.
    """

    action: Any
    reward: Any
    shaped_reward: Any
    terminated: Any
    truncated: Any

    @property
    def finished(self) -> np.ndarray:
        """(N,) bool, the episode ended; the next action resets the environment."""
        return self.terminated | self.truncated


class PolicyStep:
    """Reads the simulator output, chooses actions, and packs them into a command, in one compiled call.

    Args:
        engine: the environments.
        info: their task.
        decide: called while tracing as `decide(carry, experience, *arguments)`. It returns the next carry and the
            actions (N, A), in units in which the bounds are -1 and 1.
        wrappers: changes to the reward; None: none.

    Attributes:
        layout: fields of a packed command, those of `Command`.
    """

    def __init__(
        self,
        engine: Engine,
        info: TaskInfo,
        decide: Callable[..., tuple[Any, jax.Array]],
        wrappers: WrapperSettings | None = None,
    ) -> None:
        self.layout = Layout(
            action=info.action_size, reward="scalar", shaped_reward="scalar", terminated="flag", truncated="flag"
        )
        self._engine = engine
        self._info = info
        self._decide = decide
        self._wrappers = wrappers
        self._compiled = jax.jit(self._step, donate_argnums=0)

    def __call__(
        self, carry: Any, sim_output: np.ndarray, command: jax.Array | np.ndarray, *arguments: Any
    ) -> tuple[Any, jax.Array]:
        """Return the next carry and the next command, packed.

        Args:
            carry: passed through `decide`; its arrays must not be used again.
            sim_output: (N, K), from the engine.
            command: (N, layout.size), packed; the command that led to `sim_output`.
            *arguments: passed to `decide`.
        """
        return self._compiled(carry, sim_output, command, *arguments)

    def first_command(self) -> jax.Array:
        """Return the packed command (N, layout.size) to pass with the first simulator output."""
        return jnp.zeros((self._engine.num_envs, self.layout.size))

    def unpack(self, command: jax.Array | np.ndarray) -> Command:
        """Return the fields of a packed command on the host."""
        return Command(**self.layout.unpack(np.asarray(command)))

    def _step(self, carry: Any, sim_output: jax.Array, command: jax.Array, *arguments: Any) -> tuple[Any, jax.Array]:
        previous, info = self.layout.unpack(command), self._info
        result = self._engine.interpret(sim_output, previous["action"])
        started = previous["terminated"] | previous["truncated"]
        reward = result.reward
        if self._wrappers is not None:
            reward = wrapped_reward(self._wrappers, info, reward, result.terminated, started, previous["action"])
        carry, action = self._decide(carry, Experience(*result, reward, started), *arguments)
        action = to_bounds(action, info.action_low, info.action_high)
        fields = Command(action, result.reward, reward, result.terminated, result.truncated)
        return carry, self.layout.pack(fields._asdict(), jnp)
