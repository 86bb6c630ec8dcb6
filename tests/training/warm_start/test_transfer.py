"""Warm starts: everything that fits is taken over, by name, and the policy acts as before."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.messages import one_line, only_error
from helpers.progress import Watcher
from surefoot.algorithms import ars, off_policy, ppo
from surefoot.algorithms.symmetry import Symmetry
from surefoot.api import make_recipe_from
from surefoot.cli.main import main
from surefoot.errors import InputError, RunError
from surefoot.files import load_arrays
from surefoot.policies.files import load_policy, save_policy
from surefoot.policies.normaliser import prepare
from surefoot.policies.policy import Controller, Policy, to_bounds
from surefoot.pytrees import flatten_tree, unflatten_tree
from surefoot.recipes.files import dump_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.folder import RunFolder
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import find_task
from surefoot.training.learner import snapshot
from surefoot.training.off_policy import OffPolicyLearner
from surefoot.training.on_policy import OnPolicyLearner
from surefoot.training.progress import Progress
from surefoot.training.random_search import RandomSearchLearner
from surefoot.training.warm_start.source import load_source
from surefoot.training.warm_start.transfer import Transfer

BEFORE, AFTER = ("a", "b", "c"), ("new", "c", "b", "newer", "a")
SHAPE = {"engine.num_envs": 2, "policy.actor": [6, 5], "policy.critic": [4]}
TINY = {
    "ppo": {"ppo.horizon": 8, "ppo.minibatch_size": 8},
    "ddpg": {},
    "td3": {"policy.normalise_observations": True},
    "sac": {},
    "ars": {"policy.critic": []},
}
ALGORITHMS = list(TINY)


class Named(gymnasium.Env):
    """A task whose observations are random numbers with names."""

    def __init__(self, names: tuple[str, ...] = BEFORE, actions: int = 2, nameless: bool = False) -> None:
        if not nameless:
            self.observation_names = tuple(names)
        self.observation_space = gymnasium.spaces.Box(-1, 1, (len(names),))
        self.action_space = gymnasium.spaces.Box(-2, 2, (actions,))


@pytest.fixture(scope="module", autouse=True)
def registered():
    tasks = {
        "Before-v0": {},
        "After-v0": {"names": AFTER},
        "Less-v0": {"names": ("c", "other")},
        "Foreign-v0": {"names": ("x", "y", "z")},
        "Nameless-v0": {"nameless": True},
        "NamelessMore-v0": {"names": AFTER, "nameless": True},
        "OtherActions-v0": {"actions": 3},
    }
    for name, options in tasks.items():
        gymnasium.register(name, Named, kwargs=options)
    # Orthogonal weights take a second to compile for each shape, and what they are is of no matter here.
    plain = pytest.MonkeyPatch()
    plain.setattr(
        jax.nn.initializers, "orthogonal", lambda gain: lambda key, shape, dtype: jnp.full(shape, gain, dtype)
    )
    yield
    plain.undo()
    for name in tasks:
        del gymnasium.registry[name]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def initial(recipe: Recipe) -> Any:
    """The initial state of the algorithm."""
    info = find_task(recipe.task, recipe.full_task_options)
    arguments = jax.random.PRNGKey(recipe.seed), info.observation_size, info.action_size
    if recipe.algorithm == "ppo":
        symmetry = Symmetry(recipe.settings.symmetry, info.mirror)
        return ppo.init(*arguments, recipe.engine.num_envs, recipe.policy, recipe.settings, symmetry)
    if recipe.algorithm == "ars":
        return ars.init(*arguments, recipe.policy)
    return off_policy.init(*arguments, recipe.policy, recipe.settings)


def scrambled(state: Any) -> Any:
    """A state in which every number has changed, as after a training."""
    random = np.random.default_rng(5)
    arrays = {}
    for name, array in flatten_tree(state, "s").items():
        arrays[name] = array
        if array.dtype == np.float32:
            arrays[name] = random.normal(size=array.shape).astype(np.float32)
            if name.endswith(("log_std", "log_value")):
                arrays[name] = arrays[name] / 10 - 2
            if name.endswith("variance") or "/nu/" in name:
                arrays[name] = np.abs(arrays[name])
        if name.endswith("count"):
            arrays[name] = np.asarray(3e6).astype(array.dtype)
    return unflatten_tree(state, arrays, "s")


def make_recipe(task: str, algorithm: str, changes: dict[str, Any], progress: Progress | None = None) -> Recipe:
    return make_recipe_from(
        task, None, {"algorithm": algorithm} | changes, Path("runs"), progress or Progress(quiet=True)
    )


def make_run(task: str = "Before-v0", algorithm: str = "ppo", /, **changes: Any) -> tuple[RunFolder, Recipe, Any]:
    """An earlier run: its folder, its recipe and its state."""
    settings = SHAPE | TINY[algorithm] | {name.replace("__", "."): value for name, value in changes.items()}
    recipe = make_recipe(task, algorithm, settings)
    state = scrambled(initial(recipe))
    folder = RunFolder.create("runs", task, None, "first")
    folder.recipe.write_text(dump_recipe(recipe))
    arrays = flatten_tree({"algorithm": state}, "learner")
    Checkpoints(folder.checkpoints).save(7000, arrays, {})
    policy = policy_of(recipe, state)
    policy.origin = {"algorithm": algorithm, "steps": 7000}
    folder.policy.mkdir()
    save_policy(policy, folder.policy_file)
    return folder, recipe, state


def policy_of(recipe: Recipe, state: Any) -> Policy:
    info = find_task(recipe.task, recipe.full_task_options)
    if recipe.algorithm == "ppo":
        mirror = info.mirror if recipe.settings.symmetry == "averaged" else None
        return snapshot(info, Controller(state.average, state.normaliser, mirror))
    if recipe.algorithm == "ars":
        return snapshot(info, Controller(state.average, recipe.settings.acting_statistics(state.normaliser)))
    return snapshot(info, Controller(state.average, state.normaliser))


def start(task: str, algorithm: str, place: str | Path, **changes: Any) -> tuple[Recipe, Any, Transfer]:
    """The recipe and the initial state of a warm start from `place`, and its transfer."""
    settings = {"engine.num_envs": 2} | {name.replace("__", "."): value for name, value in changes.items()}
    if algorithm == "ppo":
        settings |= TINY["ppo"]
    recipe = make_recipe(task, algorithm, settings | {"training.start_from": str(place)})
    transfer = Transfer(load_source(str(place), "runs"), recipe, find_task(recipe.task, recipe.full_task_options))
    return recipe, transfer.into(initial(recipe)), transfer


@jax.jit
def _act(controller: Controller, observation: jax.Array) -> jax.Array:
    return to_bounds(controller.action(observation), np.full(2, -2, np.float32), np.full(2, 2, np.float32))


def answer(recipe: Recipe, state: Any, seen: np.ndarray) -> np.ndarray:
    """Actions of its policy; as `Policy.predict`, but compiled once for all tests."""
    return np.asarray(_act(policy_of(recipe, state).controller, np.float32(seen)))


def observations(names: tuple[str, ...], others: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: random.normal(scale=1 if name in BEFORE else others, size=50) for name in (*BEFORE, *names)}


def as_seen(values: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    return np.stack([values[name] for name in names], 1).astype(np.float32)


# --- actions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_task_takes_over_the_whole_state(algorithm):
    _, earlier, state = make_run("Before-v0", algorithm)
    recipe, found, transfer = start("Before-v0", algorithm, "Before-v0/first")
    seen = as_seen(observations(()), BEFORE)
    np.testing.assert_array_equal(answer(recipe, found, seen), answer(earlier, state, seen))
    # Schedules, episodes and random numbers start again, and unused parts keep their initial values.
    initialised = {"ppo": ["learning_rate", "return_sums", "key"], "ars": ["key", "log_std"]}
    initialised |= {"td3": ["key"], "ddpg": ["key", "normaliser"], "sac": ["key", "normaliser"]}
    was, now, own = (flatten_tree(one, "") for one in (state, found, initial(recipe)))
    for name, array in was.items():
        new = any(part in name for part in initialised[algorithm])
        if name != "/return_statistics/count":  # which has its own test
            np.testing.assert_array_equal(now[name], own[name] if new else array, err_msg=name)
    assert transfer.parts["policy"].taken and transfer.parts.get("critic", transfer.parts["policy"]).taken


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_new_observation_values_have_no_influence_at_first(algorithm):
    _, earlier, state = make_run("Before-v0", algorithm)
    recipe, found, transfer = start("After-v0", algorithm, "Before-v0/first")
    values = observations(AFTER, 1e6)
    before, after = as_seen(values, BEFORE), as_seen(values, AFTER)
    got = answer(recipe, found, after)
    np.testing.assert_allclose(got, answer(earlier, state, before), rtol=1e-5, atol=1e-6)
    values["new"][:], values["newer"][:] = 0.5, -1e20
    np.testing.assert_array_equal(answer(recipe, found, as_seen(values, AFTER)), got)
    assert transfer.parts["policy"].detail == "observes 3 values as before (by name); 2 new: new, newer"
    if algorithm != "ars":
        judged = [judge(*one) for one in ((earlier, state, before), (recipe, found, after))]
        np.testing.assert_allclose(*judged, rtol=1e-5, atol=1e-5)
    for name, array in flatten_tree(found, "").items():
        first = name.endswith(("trunk/0/weight", "actor/0/weight", "layers/0/weight", "critic/0/weight"))
        if first:
            assert not array[..., [0, 3], :].any() and array[..., [1, 2, 4], :].all(), name


def judge(recipe: Recipe, state: Any, seen: np.ndarray) -> jax.Array:
    """Values of some observations, and of an action, according to the critic."""
    observation = prepare(recipe.policy, state.normaliser, jnp.asarray(seen))
    if recipe.algorithm == "ppo":
        return state.network(observation)[1]
    action = jnp.tile(jnp.array([0.3, -0.7]), (len(seen), 1))
    return state.critics(observation, action)


def test_trunk_and_layer_norms_are_transferred():
    _, earlier, state = make_run("Before-v0", "ppo", policy__trunk=[7], policy__layer_norm=True)
    recipe, found, _ = start("After-v0", "ppo", "Before-v0/first")
    assert recipe.policy.trunk == (7,)
    values = observations(AFTER)
    got, wanted = (
        answer(*one) for one in ((recipe, found, as_seen(values, AFTER)), (earlier, state, as_seen(values, BEFORE)))
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_removed_observation_values_are_dropped_and_reported():
    _, _, state = make_run("Before-v0", "ppo")
    _, found, transfer = start("Less-v0", "ppo", "Before-v0/first")
    weight = state.average.actor[0]["weight"]
    np.testing.assert_array_equal(found.average.actor[0]["weight"], np.stack([weight[2], 0 * weight[2]]))
    assert "1 new: other; 2 dropped: a, b" in transfer.parts["policy"].detail


def test_older_stacked_observations_have_no_influence_at_first():
    _, earlier, state = make_run("Nameless-v0", "ppo")
    with pytest.raises(
        RunError, match="observes 3 values, 'Nameless-v0' has 6, and 'Nameless-v0' does not name its own"
    ):
        start("Nameless-v0", "ppo", "Nameless-v0/first", wrappers__frame_stack=2)
    _, earlier, state = make_run("Before-v0", "ppo")
    recipe, found, _ = start("Before-v0", "ppo", "Before-v0/first", wrappers__frame_stack=2)
    now, past = (np.random.default_rng(seed).normal(size=(9, 3)) for seed in (0, 1))
    got = answer(recipe, found, np.concatenate([past, now], 1))
    np.testing.assert_allclose(got, answer(earlier, state, now), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "earlier, later, changes",
    [
        ("ppo", "td3", {}),
        ("td3", "sac", {"policy__std": "parameter"}),
        ("sac", "ppo", {}),
        ("ars", "ppo", {}),
        ("ppo", "ars", {}),
        ("ppo file", "ppo", {}),
        ("sac file", "sac", {}),
        ("ars file", "ars", {}),
        ("td3 file", "ddpg", {}),
    ],
)
def test_another_algorithm_or_a_file_provides_actor_and_statistics(earlier, later, changes):
    earlier, file = earlier.removesuffix(" file"), earlier.endswith("file")
    folder, was, state = make_run("Before-v0", earlier)
    place = folder.policy_file if file else folder.path
    recipe, found, transfer = start("Before-v0", later, place, **changes)
    seen = as_seen(observations(()), BEFORE)
    np.testing.assert_allclose(answer(recipe, found, seen), answer(was, state, seen), rtol=1e-5, atol=1e-6)
    if later != "ars":
        assert not transfer.parts["critic"].taken and not transfer.parts["optimiser"].taken
        own = flatten_tree(initial(recipe), "")
        for name, array in flatten_tree(found, "").items():
            if "moments" in name or "opt_state" in name or "critic" in name:
                np.testing.assert_array_equal(array, own[name], err_msg=name)


# --- other parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ppo", "ddpg", "td3", "sac"])
@pytest.mark.parametrize("change", ["training.from_critic", "policy.critic", "wrappers.reward_scale"])
def test_a_critic_that_is_not_wanted_or_does_not_fit_is_new(algorithm, change):
    _, _, state = make_run("Before-v0", algorithm)
    value = {"training.from_critic": False, "policy.critic": [9], "wrappers.reward_scale": 0.25}[change]
    recipe, found, transfer = start("Before-v0", algorithm, "Before-v0/first", **{change: value})
    assert not transfer.parts["critic"].taken and change in transfer.parts["critic"].detail
    own, was = flatten_tree(initial(recipe), ""), flatten_tree(state, "")
    for name, array in flatten_tree(found, "").items():
        if "critic" in name or "return_statistics" in name:
            np.testing.assert_array_equal(array, own[name], err_msg=name)
        elif "actor" in name:
            np.testing.assert_array_equal(array, was[name], err_msg=name)


def test_the_optimiser_has_its_own_reason():
    folder, *_ = make_run("Before-v0", "ppo")
    _, _, transfer = start("Before-v0", "ppo", folder.policy_file, training__from_critic=False)
    assert transfer.parts["optimiser"] == (False, "a policy file has none")


def test_another_number_of_critics_is_incompatible():
    make_run("Before-v0", "td3")
    _, _, transfer = start("Before-v0", "td3", "Before-v0/first", td3__critics=3)
    assert transfer.parts["critic"].detail == "td3.critics is 2 there, 3 here"


@pytest.mark.parametrize("sigma, taken", [(0.3, True), (-1.0, False), (np.ones(2), False)])
def test_the_scale_of_parameter_noise_continues(sigma, taken):
    folder, _, _ = make_run("Before-v0", "ddpg")
    rewrite(folder, lambda arrays: arrays.update({"learner/samplers/0/exploration/parameter_sigma": np.asarray(sigma)}))
    _, _, transfer = start("Before-v0", "ddpg", "Before-v0/first", ddpg__exploration__parameter_noise=0.5)
    assert transfer.parameter_sigma() == (0.3 if taken else None)
    assert transfer.parts["noise scale"].taken == taken
    _, _, transfer = start("Before-v0", "ddpg", "Before-v0/first")
    assert transfer.parameter_sigma() is None


def test_optimizer_moments_are_transferred_without_gradient_clipping():
    _, _, state = make_run("Before-v0", "ppo")
    _, found, _ = start("Before-v0", "ppo", "Before-v0/first", ppo__max_grad_norm=0)
    jax.tree.map(np.testing.assert_array_equal, found.opt_state, state.opt_state)


def test_the_return_scale_is_transferred_with_the_critic_and_can_change():
    _, _, state = make_run("Before-v0", "ppo")
    _, found, _ = start("Before-v0", "ppo", "Before-v0/first")
    assert found.return_statistics.count == 100_000 < state.return_statistics.count
    np.testing.assert_array_equal(found.return_statistics.variance, state.return_statistics.variance)


def test_the_action_std_continues_unless_another_is_set():
    _, earlier, state = make_run("Before-v0", "ppo")
    _, found, transfer = start("Before-v0", "ppo", "Before-v0/first")
    np.testing.assert_array_equal(found.network.log_std, state.network.log_std)
    assert transfer.parts["noise scale"].taken and "--training.from_std" in transfer.parts["noise scale"].detail
    recipe, found, transfer = start("Before-v0", "ppo", "Before-v0/first", training__from_std=0.3)
    np.testing.assert_allclose(np.exp(found.network.log_std), 0.3, rtol=1e-6)
    np.testing.assert_allclose(np.exp(found.average.log_std), 0.3, rtol=1e-6)
    assert transfer.parts["noise scale"] == (False, "std 0.3, from the recipe")
    seen = as_seen(observations(()), BEFORE)
    np.testing.assert_array_equal(answer(recipe, found, seen), answer(earlier, state, seen))


def test_a_schedule_of_the_std_continues_from_its_last_value():
    _, _, state = make_run("Before-v0", "ppo", policy__std="scheduled", policy__std_schedule__end=0.02)
    recipe, found, transfer = start("Before-v0", "ppo", "Before-v0/first")
    assert transfer.parts["noise scale"].taken
    std = float(np.exp(state.average.log_std).mean())
    assert recipe.policy.std == "scheduled" and recipe.policy.std_schedule.start == pytest.approx(std, rel=1e-4)
    np.testing.assert_allclose(np.exp(found.network.log_std), recipe.policy.std_schedule.start, rtol=1e-5)
    recipe, _, transfer = start("Before-v0", "ppo", "Before-v0/first", policy__std_schedule__start=0.5)
    assert recipe.policy.std_schedule.start == 0.5 and not transfer.parts["noise scale"].taken


@pytest.mark.parametrize(
    "algorithm, changes",
    [
        ("ppo", {}),
        ("ppo", {"training.start_from": "x", "policy.std": "state_dependent"}),
        ("td3", {"training.start_from": "x"}),
    ],
)
def test_from_std_without_a_learned_std_is_refused(algorithm, changes):
    with pytest.raises(InputError, match=r"training\.from_std needs .* a learned std"):
        make_recipe("Before-v0", algorithm, changes | {"training.from_std": 0.5})


@pytest.mark.parametrize("task, options", [("ant", {"include_cfrc_ext_in_observation": False})])
@pytest.mark.parametrize("algorithm", ["ppo", "td3", "ars"])
def test_a_checkpoint_with_two_counts_of_observations_is_restored(algorithm, task, options):
    """A learner on the real engine; only the creation of arrays is compiled."""
    folder, _, _ = make_run(task, algorithm, task_options=options, policy__normalise_observations=True)
    recipe = make_recipe(
        task, algorithm, SHAPE | TINY[algorithm] | {"training.start_from": str(folder.path), "policy.actor": [6, 5]}
    )
    info = find_task(recipe.task, recipe.full_task_options)
    engine = make_engine("auto", info, 2, 1)

    def learner() -> Any:
        if recipe.algorithm == "ppo":
            return OnPolicyLearner(recipe, info, [engine])
        if recipe.algorithm == "ars":
            return RandomSearchLearner(recipe, info, [engine])
        return OffPolicyLearner(recipe, info, [engine])

    first = learner()
    first.take_over(Transfer(load_source(str(folder.path)), recipe, info))
    first.start(3)
    if algorithm == "td3":
        noise = first._samplers[0]._sample_noise(0, 0.0)
        assert noise.policy is None and noise.random_action is None, "the policy acts from the first step"
    kept = flatten_tree(first.state(), "learner")
    count = kept["learner/algorithm/normaliser/count"]
    np.testing.assert_array_equal(count, [3e6] * 27 + [0] * 78)
    second = learner()
    second.start(4)
    second.restore(kept, "learner")
    for name, array in flatten_tree(second.state(), "learner").items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)
    path = folder.path / "two.safetensors"
    save_policy(first.policy(), path)
    np.testing.assert_array_equal(load_policy(path).controller.normaliser.count, count)
    first.close(), second.close(), engine.close()


# --- inherited settings ---------------------------------------------------------------------------------------


def test_networks_and_wrappers_are_inherited_and_reported():
    make_run("Before-v0", "td3", policy__activation="elu", wrappers__frame_stack=2, wrappers__action_repeat=3)
    watcher = Watcher()
    changes = {"training.start_from": "Before-v0/first"}
    recipe = make_recipe_from("Before-v0", None, changes, "runs", watcher)
    assert recipe.algorithm == "td3" and recipe.policy.actor == (6, 5) and recipe.policy.activation == "elu"
    assert recipe.wrappers.task_options == {"frame_stack": 2, "action_repeat": 3}
    (said,) = watcher.messages
    for part in ("algorithm = 'td3'", "policy.actor = [6, 5]", "policy.activation = 'elu'", "wrappers.frame_stack = 2"):
        assert part in said
    assert "policy.layer_norm" not in said  # the same as without a warm start
    watcher = Watcher()
    recipe = make_recipe_from("Before-v0", None, changes | {"wrappers.frame_stack": 1}, "runs", watcher)
    assert recipe.wrappers.frame_stack == 1
    own = make_recipe_from("Before-v0", None, changes | {"algorithm": "ddpg"}, "runs", watcher)
    assert own.algorithm == "ddpg" and own.policy.critic == (256, 256)


def test_an_averaged_policy_stays_averaged():
    folder, _, _ = make_run("anymal", "ppo", ppo__symmetry="averaged")
    for place in ("anymal/first", str(folder.policy_file)):
        assert load_source(place, "runs").averaged
        recipe, _, _ = start("anymal-step", "ppo", place)
        assert recipe.settings.symmetry == "averaged"
        with pytest.raises(RunError, match="its policy is averaged with its mirror image, the new one is not"):
            start("anymal-step", "ppo", place, ppo__symmetry="augment")


def test_the_minimum_std_is_not_inherited():
    make_run("Before-v0", "ppo", policy__minimum_std=0.05, policy__activation="elu")
    recipe, _, _ = start("Before-v0", "ppo", "Before-v0/first", policy__activation="elu")
    assert recipe.policy.activation == "elu" and recipe.policy.minimum_std == 0.01


@pytest.mark.parametrize("symmetry, wanted", [("augment", "none"), ("tied", "tied")])
def test_networks_are_tied_only_if_they_were(symmetry: str, wanted: str):
    make_run("anymal", "ppo", ppo__symmetry=symmetry, policy__actor=[6, 4], policy__critic=[4])
    recipe, _, _ = start("anymal-step", "ppo", "anymal/first")
    assert recipe.settings.symmetry == wanted


def test_a_recipe_with_its_own_start_from_inherits_nothing():
    folder, recipe, _ = make_run("Before-v0", "ppo")
    named = recipe.model_copy(update={"training": recipe.training.model_copy(update={"start_from": str(folder.path)})})
    Path("mine.toml").write_text(dump_recipe(named).replace("actor = [6, 5]", "actor = [9]"))
    assert make_recipe_from("Before-v0", "mine.toml", {}, "runs", Watcher()).policy.actor == (9,)


@pytest.mark.parametrize(
    "earlier, task, later, changes, fragments",
    [
        ("ppo", "Before-v0", "ppo", {"policy__actor": [9]}, ["policy.actor is [6, 5] there, [9] here"]),
        ("ppo", "Before-v0", "ppo", {"policy__activation": "elu"}, ["policy.activation is 'tanh' there, 'elu' here"]),
        ("ppo", "Before-v0", "sac", {}, ["policy.squash"]),
        ("td3", "Before-v0", "sac", {}, ["policy.std is 'parameter' there, 'state_dependent' here"]),
        ("sac", "Before-v0", "ars", {}, ["policy.std = 'state_dependent' is not for 'ars'"]),
        ("ppo", "OtherActions-v0", "ppo", {}, ["has 2 actions, 'OtherActions-v0' has 3"]),
        ("ppo", "Foreign-v0", "ppo", {}, ["its task and 'Foreign-v0' have no observation value in common"]),
        ("ppo", "NamelessMore-v0", "ppo", {}, ["it observes 3 values, 'NamelessMore-v0' has 5"]),
    ],
)
def test_a_source_that_does_not_fit_is_refused_in_one_line(earlier, task, later, changes, fragments):
    make_run("Before-v0", earlier)
    with pytest.raises(InputError) as caught:
        start(task, later, "Before-v0/first", **changes)
    for fragment in ("cannot start from", "Before-v0/first", *fragments):
        assert fragment in str(caught.value)
    one_line(caught.value)


def test_values_without_names_are_matched_by_position():
    _, earlier, state = make_run("Before-v0", "ppo")
    recipe, found, transfer = start("Nameless-v0", "ppo", "Before-v0/first")
    seen = as_seen(observations(()), BEFORE)
    np.testing.assert_array_equal(answer(recipe, found, seen), answer(earlier, state, seen))
    assert "(by position)" in transfer.parts["policy"].detail


# --- reports --------------------------------------------------------------------------------------------


def test_all_parts_are_reported_and_saved():
    make_run("Before-v0", "td3")
    _, _, transfer = start("After-v0", "td3", "Before-v0/first", training__from_critic=False)
    lines = list(transfer.lines())
    assert lines[0].endswith("Before-v0/first, step 7,000 (td3 on Before-v0)")
    for line, part in zip(lines[1:], ("policy", "normaliser", "optimiser", "critic", "noise", "replay"), strict=True):
        assert line.strip().startswith(part)
    transfer.save(Path("transfer.json"))
    record = json.loads(Path("transfer.json").read_text())
    assert record["observations"] == {"matched_by": "name", "new": ["new", "newer"], "dropped": []}
    assert record["parts"]["critic"] == {"taken": False, "detail": "training.from_critic = false"}
    assert record["parts"]["policy"]["taken"] and not record["parts"]["replay"]["taken"]


# --- damaged sources -------------------------------------------------------------------------------------------


def rewrite(folder: RunFolder, change: Any) -> None:
    """Change the arrays of a run's checkpoint."""
    (path,) = folder.checkpoints.iterdir()
    arrays, _ = load_arrays(path)
    change(arrays)
    Checkpoints(folder.checkpoints).save(7000, arrays, {})


def set_nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["learner/algorithm/average/actor/1/bias"][0] = np.nan


def set_negative(arrays: dict[str, np.ndarray]) -> None:
    arrays["learner/algorithm/normaliser/variance"][1] = -1


def cut_mean(arrays: dict[str, np.ndarray]) -> None:
    arrays["learner/algorithm/normaliser/mean"] = arrays["learner/algorithm/normaliser/mean"][:0]


def cut_variance(arrays: dict[str, np.ndarray]) -> None:
    arrays["learner/algorithm/normaliser/variance"] = arrays["learner/algorithm/normaliser/variance"][:2]


def lose_layer(arrays: dict[str, np.ndarray]) -> None:
    del arrays["learner/algorithm/average/actor/1/weight"]


def lose_moments(arrays: dict[str, np.ndarray]) -> None:
    for name in [name for name in arrays if "/opt_state/" in name]:
        del arrays[name]


def flatten_first(arrays: dict[str, np.ndarray]) -> None:
    arrays["learner/algorithm/network/actor/0/weight"] = np.zeros(18, np.float32)


def other_type(arrays: dict[str, np.ndarray]) -> None:
    arrays["learner/algorithm/average/critic/0/bias"] = np.zeros(4, np.int64)


@pytest.mark.parametrize(
    "change", [set_nan, set_negative, cut_mean, cut_variance, lose_layer, lose_moments, flatten_first, other_type]
)
def test_damaged_arrays_are_a_one_line_error(change):
    folder, _, _ = make_run("Before-v0", "ppo")
    rewrite(folder, change)
    with pytest.raises(RunError, match=r"^cannot start from '.*Before-v0/first': ") as caught:
        start("After-v0", "ppo", "Before-v0/first")
    one_line(caught.value)


def remove_recipe(folder: RunFolder) -> None:
    folder.recipe.unlink()


def spoil_recipe(folder: RunFolder) -> None:
    folder.recipe.write_text("policy = 3\n[")


def remove_checkpoints(folder: RunFolder) -> None:
    shutil.rmtree(folder.checkpoints)


def truncate(folder: RunFolder) -> None:
    (path,) = folder.checkpoints.iterdir()
    os.truncate(path, path.stat().st_size // 2)


def spoil_checkpoint(folder: RunFolder) -> None:
    (path,) = folder.checkpoints.iterdir()
    path.write_bytes(b"\xff" * 1000)


def spoil_array(folder: RunFolder) -> None:
    rewrite(folder, set_nan)


@pytest.mark.parametrize(
    "change", [remove_recipe, spoil_recipe, remove_checkpoints, truncate, spoil_checkpoint, spoil_array]
)
def test_a_damaged_run_is_a_one_line_error_and_leaves_no_folder(change, capsys):
    folder, _, _ = make_run("Before-v0", "ppo")
    change(folder)
    assert_refused(capsys, str(folder.path))


def test_a_damaged_file_is_a_one_line_error_and_leaves_no_folder(capsys):
    folder, _, _ = make_run("Before-v0", "ppo")
    whole = folder.policy_file.read_bytes()
    (checkpoint,) = folder.checkpoints.iterdir()
    for content in (b"", whole[:7], whole[:-9], whole[:300], b"\0" * 500, checkpoint.read_bytes()):
        Path("policy.safetensors").write_bytes(content)
        assert_refused(capsys, "policy.safetensors")
    assert_refused(capsys, "none.safetensors")
    assert_refused(capsys, "Before-v0/none")
    assert_refused(capsys, "")


def assert_refused(capsys, place: str) -> None:
    existing = sorted(Path().rglob("*"))
    assert main(["train", "Before-v0", "--from", place]) == 2
    only_error(capsys)
    assert sorted(Path().rglob("*")) == existing


def test_a_policy_file_does_not_import_the_module_of_its_task_but_a_run_does(tmp_path, monkeypatch):
    """Without the module, names of values are not looked up; the sizes must then be the same."""
    (tmp_path / "stranger.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    folder, recipe, state = make_run("Before-v0", "ppo")
    policy = policy_of(recipe, state)
    policy.task = "stranger:Before-v0"
    save_policy(policy, folder.policy_file)
    _, _, transfer = start("Before-v0", "ppo", folder.policy_file)
    assert "(by position)" in transfer.parts["policy"].detail and "stranger" not in sys.modules
    folder.recipe.write_text(folder.recipe.read_text().replace('"Before-v0"', '"stranger:Before-v0"'))
    _, _, transfer = start("Before-v0", "ppo", "Before-v0/first")
    assert "(by name)" in transfer.parts["policy"].detail and sys.modules.pop("stranger")
