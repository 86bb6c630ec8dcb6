"""Let a policy act and write down how its body moved."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from surefoot.bodies.body import Body
from surefoot.errors import SurefootError
from surefoot.evaluation.episodes import MOST_STEPS
from surefoot.gait.probes import Build, Motion, Probe, find_probe
from surefoot.policies.policy import Policy, new_policy
from surefoot.tasks.catalogue import TaskInfo, make_env

_TERM = "reward_"  # what Gymnasium's tasks put before the names of a reward's terms


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """What came of one episode of N steps of the policy.

    Attributes:
        seed: from which it started.
        reward: (N,).
        terms: the parts of the reward, (N,) each, where the task tells them; NaN for a step that did not.
        action: (N, A).
        observation: (N, D), before each action; only of the first episode, for others empty.
        terminated: whether it ended by what happened, not by the time limit.
        fell: whether that was a fall; None where the task cannot tell.
        motion: how the body moved; None where its parts are not known.
    """

    seed: int
    reward: np.ndarray
    terms: dict[str, np.ndarray]
    action: np.ndarray
    observation: np.ndarray
    terminated: bool
    fell: bool | None
    motion: Motion | None


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Episodes of one policy.

    Attributes:
        episodes: at least one.
        step_s: seconds of simulated time that each step of the policy takes, as far as the task says it.
        build: what the model states of the body; None where its parts are not known.
    """

    episodes: list[Episode]
    step_s: float
    build: Build | None


def record_episodes(
    policy: Policy,
    info: TaskInfo,
    body: Body | None,
    episodes: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Recording:
    """Let the deterministic policy act for `episodes` episodes, from seeds `seed` on.

    Each has a fresh copy of the task: one that has been used before remembers it in Box2D, beyond any reset.

    Args:
        policy: what acts.
        info: the task.
        body: the names of the body's parts; None, or names that the model does not hold: its movement is left out.
        episodes: how many.
        seed: of the first episode.
        progress: called after each episode.

    Raises:
        SurefootError: an observation or a reward that is not finite.
    """
    recorded, step_s, build = [], 0.0, None
    for index in range(episodes):
        env = make_env(info)
        try:
            probe = None if body is None else find_probe(env, body)
            recorded.append(_record(policy, info, env, probe, seed + index, index == 0))
            step_s, build = _step_s(env, info), probe.build if probe else None
        finally:
            env.close()
        progress()
    return Recording(recorded, step_s, build)


def untrained(policy: Policy, seed: int = 0) -> Policy:
    """Return what the policy was before any training: networks of its shape, freshly drawn, and nothing normalised.

    Those that are symmetric by their making are so from the start, and random search starts a linear one at zero.
    """
    before = new_policy(
        jax.random.key(seed),
        policy.task,
        policy.observation_size,
        policy.action_low,
        policy.action_high,
        policy.settings,
        policy.task_options,
    )
    before.mirror = policy.mirror
    if policy.origin.get("algorithm") == "ars" and not policy.settings.actor:
        before.parameters["actor"] = jax.tree.map(np.zeros_like, before.parameters["actor"])
    return before


def _record(policy: Policy, info: TaskInfo, env: Any, probe: Probe | None, seed: int, keep: bool) -> Episode:
    observation, _ = env.reset(seed=seed)
    if probe is not None:
        probe.begin()
    observations, actions, rewards, extras = [], [], [], []
    terminated = truncated = False
    while not (terminated or truncated) and len(rewards) < MOST_STEPS:
        action = policy.predict(observation)[0]
        if keep:
            observations.append(np.array(observation, np.float32))
        observation, reward, terminated, truncated, extra = env.step(action)
        actions.append(action)
        rewards.append(float(reward))
        extras.append(_terms(extra))
        if not math.isfinite(rewards[-1]):
            raise SurefootError(f"episode of seed {seed}: the reward of step {len(rewards)} is {rewards[-1]}")
    names = sorted({name for terms in extras for name in terms})
    falls = info.falls(np.array([terminated]), np.array(rewards[-1:]))
    return Episode(
        seed=seed,
        reward=np.array(rewards),
        terms={name: np.array([terms.get(name, math.nan) for terms in extras]) for name in names},
        action=np.array(actions),
        observation=np.array(observations, np.float32).reshape(len(observations), policy.observation_size),
        terminated=bool(terminated),
        fell=None if falls is None else bool(falls[0]),
        motion=None if probe is None else probe.motion(),
    )


def _terms(extra: dict[str, Any]) -> dict[str, float]:
    """Return the terms of a reward, by name, from what a step tells beside it."""
    given = extra.get("reward_terms")
    found = given if isinstance(given, dict) else {k[len(_TERM) :]: v for k, v in extra.items() if k.startswith(_TERM)}
    return {str(name): float(value) for name, value in found.items() if np.ndim(value) == 0}


def _step_s(env: Any, info: TaskInfo) -> float:
    """Return the simulated seconds of a step of the policy."""
    base = env.unwrapped
    step = getattr(base, "dt", None)
    if not isinstance(step, int | float) or not step > 0:
        step = 1 / float(env.metadata.get("render_fps") or 30)
    return float(step) * info.action_repeat
