"""Random search on an engine: each candidate runs one episode, with the return that it has alone."""

import dataclasses
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import recipes
from helpers.messages import one_line
from helpers.progress import interrupting
from surefoot.algorithms import ars
from surefoot.api import load, train_recipe
from surefoot.errors import InputError, RunError
from surefoot.evaluation.episodes import run_episodes
from surefoot.recipes.recipe import Recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.metrics import read_metrics
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import TaskInfo, find_task
from surefoot.tasks.symmetry import known_mirror
from surefoot.training.loop import resume
from surefoot.training.random_search import RandomSearchLearner

TINY = {"engine.num_envs": 4, "ars.directions": 4, "training.evaluation_episodes": 2, "training.checkpoint_every_s": 0}


def make_recipe(task: str, **changes: Any) -> Recipe:
    return recipes.make_recipe(task, "ars", TINY, **changes)


def start(recipe: Recipe, info: TaskInfo, engine_name: str = "auto") -> RandomSearchLearner:
    learner = RandomSearchLearner(recipe, info, [make_engine(engine_name, info, recipe.engine.num_envs, 1)])
    learner.start(7)
    return learner


@pytest.mark.parametrize("statistics", ["iteration", "step"])
def test_a_candidates_return_equals_a_plain_loop(statistics):
    """The loop uses Gymnasium's environment with the same seed, and NumPy's matrix products."""
    recipe = make_recipe("Pendulum-v1", engine__num_envs=8, ars__statistics=statistics, ars__reward_clip=5.0)
    info = find_task("Pendulum-v1")
    learner = start(recipe, info, "processes")
    actor = [{"weight": jnp.ones((3, 1)), "bias": jnp.zeros(1)}]
    learner._state = learner._state._replace(
        network=dataclasses.replace(learner._state.network, actor=actor),
        normaliser=learner._state.normaliser._replace(mean=jnp.array([0.1, 0.2, 0.3]), count=jnp.float32(1e6)),
    )
    state, directions = ars.sample_directions(learner._state, recipe.settings)
    results = learner.run_candidates(np.arange(8), state, directions, jnp.float32(0.03), 200)
    assert results is not None
    weights = np.asarray(ars.candidate_actors(state, directions, jnp.arange(8), jnp.float32(0.03))[0]["weight"])
    env: Any = gymnasium.make("Pendulum-v1")
    for number in range(8):
        observation, _ = env.reset(seed=7 + number)
        true, clipped = 0.0, 0.0
        for _ in range(200):
            scaled = (observation - np.array([0.1, 0.2, 0.3])) @ weights[number]
            observation, reward, *_ = env.step(np.clip(2 * scaled, -2, 2).astype(np.float32))
            true += reward
            clipped += np.clip(reward, -5, 5)
        assert results.returns[number] == pytest.approx(true, rel=1e-2)
        assert results.shaped_returns[number] == pytest.approx(clipped, rel=1e-2)
    assert results.lengths.tolist() == [200] * 8
    assert float(results.normaliser.count) == pytest.approx(1e6 + 8 * 200)
    learner.engine.close()


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_every_candidate_runs_once_for_any_number_of_environments(num_envs, monkeypatch):
    """Episodes have different lengths, and no step is wasted."""
    recipe = make_recipe("Hopper-v5", engine__num_envs=num_envs)
    learner = start(recipe, find_task("Hopper-v5"))
    advance, stepped, begun = learner.engine.advance, [], []

    def counting(action, finished, resting=None):
        stepped.append(int((~finished).sum()))
        begun.append(int((finished if resting is None else finished & ~resting).sum()))
        return advance(action, finished, resting)

    monkeypatch.setattr(learner.engine, "advance", counting)
    for iteration in range(2):
        stepped.clear(), begun.clear()
        values = learner.iterate(0.0)
        assert values is not None and values["train/episodes"] == 8
        assert sum(stepped) == learner.steps_per_iteration == round(8 * values["train/length"])
        assert sum(begun) == 8 - (num_envs if iteration == 0 else 0)
        assert not np.isclose(values["search/std"], 0)
    assert float(learner._state.normaliser.count) > 100
    learner.engine.close()


def test_v1_does_not_normalise_observations():
    recipe = make_recipe("Hopper-v5", policy__normalise_observations=False)
    learner = start(recipe, find_task("Hopper-v5"))
    learner.iterate(0.0)
    assert float(learner._state.normaliser.count) == 0
    learner.engine.close()


def test_an_interrupted_iteration_changes_nothing():
    recipe = make_recipe("Hopper-v5")
    info = find_task("Hopper-v5")
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 5

    learner = RandomSearchLearner(recipe, info, [make_engine("batch", info, 4, 1)], stop)
    learner.start(0)
    before = jax.tree.map(np.array, learner.state())
    assert learner.iterate(0.0) is None
    jax.tree.map(np.testing.assert_array_equal, learner.state(), before)
    learner.engine.close()


@pytest.mark.parametrize("stops", [[1], [2, 1, 2]])
def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(stops, tmp_path):
    changes = {
        "training.steps": 4000,
        "training.evaluate_every": 1000,
        "ars.step_size.kind": "linear",
        "ars.noise.kind": "linear",
    }
    recipe = make_recipe("Hopper-v5", **changes)
    whole = train_recipe(recipe, "whole", tmp_path)
    assert whole.counters.iterations > 5
    cut = train_recipe(recipe, "cut", tmp_path, interrupting(stops[0]))
    for after in [*stops[1:], 0]:
        assert cut.reason == "interrupted"
        cut = resume(cut.folder, interrupting(after))
    one, other = (Checkpoints(outcome.folder.checkpoints).latest() for outcome in (whole, cut))
    assert one[0] == other[0]
    for name, array in one[1].items():
        np.testing.assert_array_equal(array, other[1][name], err_msg=name)
    returns = [[row.get("train/return") for row in read_metrics(o.folder.metrics)] for o in (whole, cut)]
    assert [x for x in returns[0] if x is not None] == [x for x in returns[1] if x is not None]


@pytest.mark.parametrize("engine", ["batch", "processes", "envpool"])
def test_the_rollout_length_limits_training_but_not_evaluation(engine, tmp_path):
    if engine == "envpool":
        pytest.importorskip("envpool")
    changes = {"training.steps": 1, "ars.rollout_length": 9, "engine.name": engine}
    outcome = train_recipe(make_recipe("HalfCheetah-v5", **changes), "run", tmp_path)
    rows = read_metrics(outcome.folder.metrics)
    assert [row["train/length"] for row in rows if "train/length" in row] == [9.0]
    assert [row["evaluation/length"] for row in rows if "evaluation/length" in row] == [1000.0]


@pytest.mark.parametrize("engine", ["processes", "envpool"])
def test_the_rollout_length_holds_for_each_candidate_of_an_environment(engine):
    if engine == "envpool":
        pytest.importorskip("envpool")
    recipe = make_recipe("BipedalWalker-v3", **{"ars.rollout_length": 30, "ars.noise": 3.0, "engine.num_envs": 3})
    learner = start(recipe, find_task("BipedalWalker-v3"), engine)
    for _ in range(2):  # some fall, others stand
        state, directions = ars.sample_directions(learner._state, recipe.settings)
        results = learner.run_candidates(np.arange(8), state, directions, jnp.float32(3.0), 70)
        assert results is not None
        returns, lengths = results.returns, results.lengths
        assert lengths.max() == 70 and 20 < lengths.min() < 70
        assert ((lengths < 70) == (returns < -80)).all()
        learner._state = state
    learner.engine.close()


@pytest.mark.parametrize(
    "last, until, expected",
    [(None, 1, [5, 5, 5, 5]), (20, 1, [10, 15, 20]), (0, 1, [28, 50]), (21, 0.5, [13, 21, 21, 21])],
)
def test_the_rollout_length_grows_to_a_length_or_the_tasks_limit(last, until, expected, tmp_path):
    growing = {"kind": "linear", "start": 5, "end": last, "until": until}
    few = {"task_options.max_episode_steps": 50, "ars.rollout_length": 5 if last is None else growing}
    few |= {"ars.directions": 2, "ars.top_directions": 2, "engine.num_envs": 4, "training.evaluation_episodes": 1}
    recipe = make_recipe("HalfCheetah-v5", **few)
    learner = start(recipe, find_task("HalfCheetah-v5", recipe.task_options))
    lengths = []
    for number in range(len(expected)):
        values = learner.iterate((number + 1) / len(expected))
        assert values is not None
        lengths.append(values["train/length"])
        assert learner.steps_per_iteration == 4 * lengths[-1]
    assert lengths == expected
    learner.engine.close()


def test_the_average_is_saved_and_a_warm_start_restores_both(tmp_path):
    few = {"ars.ema_decay": 0.8, "training.steps": 400}
    first = train_recipe(make_recipe("Hopper-v5", **few), "first", tmp_path)
    arrays = Checkpoints(first.folder.checkpoints).latest()[1]
    newest, average = (arrays[f"learner/algorithm/{part}/actor/0/weight"] for part in ("network", "average"))
    assert not np.allclose(newest, average)
    saved = load(first.folder.policy / "last.safetensors").controller.network.actor[0]["weight"]
    np.testing.assert_array_equal(saved, average)
    changes = {"training.steps": 1, "training.start_from": "Hopper-v5/first", "ars.step_size": 1e-9}
    second = train_recipe(make_recipe("Hopper-v5", **few | changes), "second", tmp_path)
    arrays = Checkpoints(second.folder.checkpoints).latest()[1]
    np.testing.assert_allclose(arrays["learner/algorithm/network/actor/0/weight"], newest, atol=1e-6)
    expected = 0.8 * average + 0.2 * newest
    np.testing.assert_allclose(arrays["learner/algorithm/average/actor/0/weight"], expected, atol=1e-6)


def test_a_warm_start_uses_the_earlier_weights(tmp_path):
    first = train_recipe(make_recipe("Hopper-v5", **{"training.steps": 400}), "first", tmp_path)
    changes = {"training.steps": 1, "training.start_from": "Hopper-v5/first", "ars.step_size": 1e-9}
    second = train_recipe(make_recipe("Hopper-v5", **changes), "second", tmp_path)
    policies = [load(outcome.folder.policy / "last.safetensors") for outcome in (first, second)]
    weights = [np.asarray(policy.controller.network.actor[0]["weight"]) for policy in policies]
    assert np.any(weights[0])
    np.testing.assert_allclose(*weights, atol=1e-6)


def test_averaged_search_evaluates_and_saves_symmetric_policies(tmp_path):
    options = {"max_episode_steps": 20}
    few: dict[str, Any] = {"task_options": options, "ars__top_directions": None, "training__steps": 160}
    recipe = make_recipe("ant", **few, ars__symmetry="averaged", engine__num_envs=8)
    info = find_task("ant", options)
    mirror = known_mirror(info, "")
    learner = start(recipe, info)
    state, directions = ars.sample_directions(learner._state, recipe.settings)
    results = learner.run_candidates(np.arange(8), state, directions, jnp.float32(0.03), 20)
    assert results is not None
    returns = results.returns
    # The return of candidate 3 equals that of a mirror-averaged policy with its weights.
    weights = ars.candidate_actors(state, directions, jnp.array([3]), jnp.float32(0.03))
    policy = learner.policy()
    network = dataclasses.replace(policy.controller.network, actor=jax.tree.map(lambda x: np.asarray(x[0]), weights))
    policy.controller = policy.controller._replace(network=network)
    assert policy.controller.mirror is not None
    assert returns[3] == pytest.approx(run_episodes(policy, "batch", info, 8, 7).returns[3], rel=1e-4)
    policy.controller = policy.controller._replace(mirror=None)
    assert returns[3] != pytest.approx(run_episodes(policy, "batch", info, 8, 7).returns[3], rel=1e-4)
    learner.engine.close()

    run = train_recipe(recipe, "run", tmp_path).folder
    kept = load(run.policy / "last.safetensors")
    x = np.random.default_rng(0).normal(size=(20, info.observation_size)).astype(np.float32)
    action = kept.predict(x)[0]
    assert np.abs(action).max() > 1e-3
    np.testing.assert_allclose(kept.predict(np.asarray(mirror.observation(x)))[0], mirror.action(action), atol=1e-6)
    with pytest.raises(
        RunError, match=r"its policy is averaged with its mirror image, the new one is not \(ars.symmetry\)"
    ):
        train_recipe(make_recipe("ant", **few, training__start_from="ant/run"), "again", tmp_path)


@pytest.mark.parametrize(
    "changes, fragment",
    [
        ({"engine.num_envs": 9}, "engine.num_envs = 9 is more than the 8 episodes"),
        ({"ars.top_directions": 5}, "ars.top_directions = 5 is more than ars.directions = 4"),
        ({"ars.rollout_length": 0.5}, "ars.rollout_length = 0.5 is not a whole number of steps"),
        ({"policy.trunk": [8]}, "policy.trunk = [8]"),
        ({"policy.critic": [8]}, "policy.critic = [8]"),
        ({"policy.std": "state_dependent"}, "policy.std = 'state_dependent' is not for 'ars'"),
        ({"policy.squash": "tanh_gaussian"}, "policy.squash = 'tanh_gaussian' is not for 'ars'"),
        ({"policy.batch_norm": True}, "policy.batch_norm = true is not for 'ars'"),
        ({"ars.noise.kind": "exponential", "ars.noise.end": 0.0}, "an exponential schedule needs"),
        ({"training.mode": "asynchronous"}, "'asynchronous' is not for 'ars'"),
    ],
)
def test_invalid_settings_are_a_one_line_error(changes, fragment):
    with pytest.raises(InputError) as caught:
        make_recipe("Hopper-v5", **changes)
    one_line(caught.value, fragment)
