"""Episodes of one environment, step by step, with a policy that may change while they run."""

import collections
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np

from surefoot.errors import InputError, PolicyFileError
from surefoot.policies.files import load_policy
from surefoot.policies.policy import Policy
from surefoot.tasks.catalogue import TaskInfo, make_env
from surefoot.tasks.task_env import TaskEnv

SECONDS_SHOWN = 5.0


class Actor(Protocol):
    """Chooses actions."""

    label: str
    """Its name, for the panel."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the action, (A,), for an observation, (D,)."""
        ...

    def refresh(self) -> bool:
        """Look for new weights; return whether there were any."""
        ...


class SteadyActor:
    """A policy in memory."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.label = "policy"

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the deterministic action, (A,)."""
        return self.policy.predict(observation)[0]

    def refresh(self) -> bool:
        """Return False: there are no other weights."""
        return False


class PolicyActor(SteadyActor):
    """The policy in a file, which is read again when the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._read_stamp()
        super().__init__(load_policy(path))
        self.label = self._name()

    def refresh(self) -> bool:
        """Read the file if it changed; a policy of another shape, or one that cannot be read, is left alone."""
        stamp = self._read_stamp()
        if stamp is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            policy = load_policy(self._path)
        except PolicyFileError:
            return False
        old = self.policy
        if (policy.observation_size, policy.action_size) != (old.observation_size, old.action_size):
            return False
        self.policy = policy
        self.label = self._name()
        return True

    def _name(self) -> str:
        steps = self.policy.origin.get("steps")
        return f"{self._path.name}, {steps:,} steps" if isinstance(steps, int) else self._path.name

    def _read_stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


class FixedActor:
    """Acts without a policy: "zero" is the middle of the bounds, or 0; "random" is uniform within them."""

    def __init__(self, kind: str, info: TaskInfo, seed: int = 0) -> None:
        if kind not in ("zero", "random"):
            raise InputError(f"policy = '{kind}': choose zero or random")
        low = np.where(np.isfinite(info.action_low), info.action_low, -1)
        high = np.where(np.isfinite(info.action_high), info.action_high, 1)
        self._low, self._high = low.astype(np.float32), high.astype(np.float32)
        self._rng = np.random.default_rng(seed)
        self.label = kind

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the action, (A,)."""
        del observation
        if self.label == "zero":
            return np.clip(np.zeros_like(self._low), self._low, self._high)
        return self._rng.uniform(self._low, self._high).astype(np.float32)

    def refresh(self) -> bool:
        """Return False: there are no weights."""
        return False


class Episode:
    """One environment and what is shown of it.

    Attributes:
        env: the environment.
        actor: chooses the actions.
        seconds_per_action: simulated time of an action.
        command: forward and sideways speed, m/s, and turning rate, rad/s, given by hand; None: the task's own commands.
        total: sum of rewards of this episode.
        time_s: time since its start.
        number: number of this episode, from 1.
        falls: number of falls so far.
        history: of the last 5 s: time, reward terms by name, and torques by joint.
    """

    def __init__(self, info: TaskInfo, actor: Actor, seed: int = 0, **kwargs: Any) -> None:
        self._info = info
        self.env: gymnasium.Env = make_env(info, **kwargs)
        self.actor = actor
        self.seconds_per_action = seconds_per_action(self.env, info)
        self.command: tuple[float, float, float] | None = None
        self.number, self.falls = 0, 0
        self.history: collections.deque[tuple[float, dict[str, float], np.ndarray]] = collections.deque(
            maxlen=max(2, round(SECONDS_SHOWN / self.seconds_per_action))
        )
        self.reset(seed)

    @property
    def has_commands(self) -> bool:
        """Whether the task follows commands."""
        return "command" in self._state

    @property
    def _state(self) -> dict[str, np.ndarray]:
        env = self.env.unwrapped
        return env.state if isinstance(env, TaskEnv) else {}

    def reset(self, seed: int | None = None) -> None:
        """Start the next episode."""
        self._observation, _ = self.env.reset(seed=seed)
        self.total, self.time_s = 0.0, 0.0
        self.number += 1
        self.history.clear()

    def step(self) -> None:
        """Make one action; after the end of an episode, start the next one."""
        self._set_command()
        action = self.actor.act(self._observation)
        self._observation, reward, terminated, truncated, info = self.env.step(action)
        self._set_command()
        self.total += float(reward)
        self.time_s += self.seconds_per_action
        terms = {name: float(value) for name, value in info.get("reward_terms", {"reward": reward}).items()}
        self.history.append((self.time_s, terms, self.torques()))
        if terminated or truncated:
            fell = self._info.falls(np.array([terminated]), np.array([float(reward)]))
            self.falls += int(fell is not None and bool(fell[0]))
            self.reset()

    def torques(self) -> np.ndarray:
        """Return the torques of the joints that actions move, (J,) N m; empty without a MuJoCo model."""
        data, model = getattr(self.env.unwrapped, "data", None), getattr(self.env.unwrapped, "model", None)
        if data is None or model is None or self._info.body is None:
            return np.zeros(0)
        return np.array([data.joint(name).qfrc_actuator[0] for name in self._info.body.joints])

    def push(self, force: tuple[float, float, float]) -> None:
        """Set a force on the trunk, N in the world's frame, until it is set again; without a model, do nothing."""
        data = getattr(self.env.unwrapped, "data", None)
        if data is not None and self._info.body is not None:
            data.body(self._info.body.trunk).xfrc_applied[:3] = force

    def _set_command(self) -> None:
        if self.command is not None and self.has_commands:
            self._state["command"][:] = self.command

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def seconds_per_action(env: gymnasium.Env, info: TaskInfo) -> float:
    """Return the simulated time of an action, s; 1/50 if the task does not say."""
    rate = env.metadata.get("render_fps")
    seconds = getattr(env.unwrapped, "dt", None) or (1 / rate if rate else 0.02)
    return float(seconds) * info.action_repeat
