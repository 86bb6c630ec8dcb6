"""Metrics of training other than losses: reward terms and curriculum."""

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.recipes.recipe import Recipe
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.engine import StepResult
from surefoot.tasks.catalogue import TaskInfo, find_task
from surefoot.training.off_policy import OffPolicyLearner
from surefoot.training.on_policy import OnPolicyLearner

RECIPE = Recipe.model_validate(
    {"task": "half-cheetah", "engine": {"num_envs": 3}, "ppo": {"horizon": 8, "minibatch_size": 8, "epochs": 1}}
)


class Telling(BatchEngine):
    """Reward terms with known means over transitions: a constant, and one that is non-zero only after resets."""

    def __init__(self, info: TaskInfo, num_envs: int) -> None:
        super().__init__(info, num_envs)
        self.term_names = ("two", "beginning")

    def interpret(self, frame, action) -> StepResult:
        started = frame[:, -1]
        return super().interpret(frame, action)._replace(terms={"two": 2 + 5 * started, "beginning": started})


def test_reward_terms_are_averaged_over_transitions() -> None:
    """Episodes have five steps; every sixth call of the engine resets and is not a transition."""
    info = find_task("half-cheetah", {"max_episode_steps": 5})
    learner = OnPolicyLearner(RECIPE, info, [Telling(info, 3)])
    learner.start(0)
    for _ in range(3):
        values = learner.iterate(0.5)
        assert {name: values[name] for name in values if name.startswith("reward/")} == {
            "reward/beginning": 0.0,
            "reward/two": pytest.approx(2.0),
        }


def test_reward_terms_sum_to_the_reward() -> None:
    info = find_task("half-cheetah")
    engine = BatchEngine(info, 3)
    assert set(engine.term_names) == {"forward", "control"}
    frame = engine.begin(0)
    frame[:, -1] = 0
    signals = engine.interpret(jnp.asarray(frame), jnp.ones((3, info.action_size)))
    assert signals.terms is not None
    assert jnp.allclose(sum(signals.terms.values()), signals.reward)
    learner = OnPolicyLearner(RECIPE, info, [engine])
    learner.start(0)
    values = learner.iterate(0.5)
    assert values["reward/control"] < 0 and "reward/forward" in values


def test_curriculum_difficulty_is_logged() -> None:
    """On rough terrain the mean level for each kind of terrain; nothing for a task without a curriculum."""
    info = find_task("anymal-velocity", {"terrain": "mixed"})
    engine = BatchEngine(info, 16)
    learner = OnPolicyLearner(RECIPE, info, [engine])
    learner.start(0)
    engine.state["column"][:, 0] = np.arange(16) % 4
    engine.state["level"][:, 0] = np.arange(16) // 4 + np.arange(16) % 4
    values = learner.iterate(0.5)
    logged = {name: value for name, value in values.items() if name.startswith("curriculum/")}
    assert logged == {
        f"curriculum/{kind}": 1.5 + i for i, kind in enumerate(("rough", "slope", "stairs_up", "stairs_down"))
    }
    flat = find_task("anymal-velocity", {})
    learner = OnPolicyLearner(RECIPE, flat, [BatchEngine(flat, 2)])
    learner.start(0)
    assert not any(name.startswith("curriculum/") for name in learner.iterate(0.5))


def test_off_policy_learners_average_curriculum_metrics_over_samplers() -> None:
    info = find_task("anymal-step", {"curriculum": True, "lowest_step": 0.02, "steps": 2})
    settings = {"engine": {"num_envs": 4}, "td3": {"train_freq": 1}}
    recipe = Recipe.model_validate({"task": "anymal-step", "algorithm": "td3", **settings})
    engines = [BatchEngine(info, 2) for _ in range(2)]
    learner = OffPolicyLearner(recipe, info, engines)
    learner.start(0)
    for engine, level in zip(engines, (0.02, 0.15), strict=True):
        engine.state["level"][:] = level
    logged = learner.iterate(0.5)["curriculum/level_m"]
    assert engines[0].curriculum_metrics() != engines[1].curriculum_metrics()
    assert logged == pytest.approx(np.mean([engine.state["level"] for engine in engines]))
    learner.close()
