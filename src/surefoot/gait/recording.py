"""Record episodes of a policy with the motion of its body."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np

from surefoot.algorithms.registry import ALGORITHMS
from surefoot.bodies.body import Body
from surefoot.errors import SurefootError
from surefoot.evaluation.episodes import Actor, EpisodeStep, run_episodes
from surefoot.evaluation.travel import seconds_per_step
from surefoot.gait.probes import BodyModel, Motion, Probe, find_probe
from surefoot.policies.policy import Policy, new_policy
from surefoot.simulation.factory import make_single_env
from surefoot.tasks.catalogue import TaskInfo

_TERM = "reward_"  # prefix of reward terms in the `info` of Gymnasium's tasks


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """One recorded episode of N steps."""

    seed: int  # seed of its reset
    reward: np.ndarray  # (N,)
    terms: dict[str, np.ndarray]  # reward terms by name, (N,) each; NaN for steps without the term
    action: np.ndarray  # (N, A)
    observation: np.ndarray  # (N, D), before each action; empty for all episodes but the first
    terminated: bool  # whether the task ended it, rather than the time limit
    fell: bool | None  # whether it ended in a fall; None if the task cannot detect falls
    motion: Motion | None  # motion of the body; None if its parts are not known


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Episodes of one policy."""

    episodes: list[Episode]  # at least one
    step_s: float  # simulated time of one policy step, s
    model: BodyModel | None  # properties of the simulated body; None if its parts are not known


def record_episodes(
    policy: Actor,
    info: TaskInfo,
    body: Body | None,
    episodes: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
    engine: str = "auto",
) -> Recording:
    """Record `episodes` episodes of the deterministic policy, from seed `seed` on.

    Each episode gets a new environment, because Box2D keeps state across resets.

    Args:
        policy: the policy.
        info: the task.
        body: names of the body's parts; if None, or if the model lacks these names, no motion is recorded.
        episodes: their number.
        seed: seed of the first episode.
        progress: called after each episode.
        engine: name of the engine whose simulator is used.

    Raises:
        SurefootError: an observation or a reward is not finite.
    """
    recorded, step_s, model = [], 0.0, None
    for index in range(episodes):
        env = make_single_env(engine, info)
        try:
            probe = None if body is None else find_probe(env, body)
            recorded.append(_record(policy, info, env, probe, seed + index, index == 0))
            step_s, model = seconds_per_step(env, info), probe.model if probe else None
        finally:
            env.close()
        progress()
    return Recording(recorded, step_s, model)


def untrained(policy: Policy) -> Policy:
    """Return an untrained policy of the same shape: new random weights and no normalisation statistics.

    A symmetric policy stays symmetric, and a linear one is zero if its algorithm starts with zero weights.
    """
    initial = new_policy(
        jax.random.key(0),
        policy.task,
        policy.observation_size,
        policy.action_low,
        policy.action_high,
        policy.settings,
        policy.task_options,
    )
    network = initial.controller.network
    algorithm = ALGORITHMS.get(str(policy.origin.get("algorithm")))
    if algorithm is not None and algorithm.starts_at_zero and not policy.settings.actor:
        network = dataclasses.replace(network, actor=jax.tree.map(np.zeros_like, network.actor))
    initial.controller = initial.controller._replace(network=network, mirror=policy.controller.mirror)
    return initial


def _record(policy: Actor, info: TaskInfo, env: gymnasium.Env, probe: Probe | None, seed: int, first: bool) -> Episode:
    steps: list[EpisodeStep] = []

    def keep(step: EpisodeStep) -> None:
        if step.number:
            steps.append(step)
        elif probe is not None:
            probe.begin()
        if not math.isfinite(step.reward[0]):
            raise SurefootError(f"episode of seed {seed}: the reward of step {step.number} is {step.reward[0]}")

    result = run_episodes(policy, env, info, 1, seed, keep)
    assert result is not None
    terms = [_terms(step.info) for step in steps]
    names = sorted({name for named in terms for name in named})
    observations = [step.observation[0] for step in steps if step.observation is not None] if first else []
    return Episode(
        seed=seed,
        reward=np.array([step.reward[0] for step in steps]),
        terms={name: np.array([named.get(name, math.nan) for named in terms]) for name in names},
        action=np.array([step.action[0] for step in steps if step.action is not None]),
        observation=np.array(observations, np.float32).reshape(len(observations), info.observation_size),
        terminated=bool(result.terminated[0]),
        fell=None if result.falls is None else bool(result.falls[0]),
        motion=None if probe is None else probe.motion(),
    )


def _terms(info: dict[str, Any]) -> dict[str, float]:
    """Return the reward terms in the `info` of a step, by name."""
    terms = info.get("reward_terms")
    if not isinstance(terms, dict):
        terms = {name.removeprefix(_TERM): value for name, value in info.items() if name.startswith(_TERM)}
    return {str(name): float(value) for name, value in terms.items() if np.ndim(value) == 0}
