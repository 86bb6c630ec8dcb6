"""Algorithms in recipes: their settings, the defaults of their policies, and invalid combinations."""

import functools
from typing import Any

import pytest

from helpers import messages
from helpers.messages import one_line, only_error
from helpers.recipes import make_recipe
from surefoot import api
from surefoot.algorithms.ppo import PPOSettings
from surefoot.algorithms.sac import SACSettings
from surefoot.algorithms.td3 import DDPGSettings, TD3Settings
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.policies.networks import PolicySettings
from surefoot.recipes import make
from surefoot.recipes.files import default_recipe, dump_recipe, read_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.settings import validate

MODELS = {"ppo": PPOSettings, "ddpg": DDPGSettings, "td3": TD3Settings, "sac": SACSettings}
OFF_POLICY = [name for name in MODELS if name != "ppo"]


changed = functools.partial(make_recipe, "Hopper-v5")


def refused(algorithm: str, **changes: Any) -> str:
    """Make an invalid recipe and return the message."""
    message = messages.refused(InputError, changed, algorithm, **changes)
    assert len(message) < 300
    return message


@pytest.mark.parametrize("algorithm", MODELS)
def test_a_recipe_has_only_the_table_of_its_algorithm(algorithm: str) -> None:
    recipe = validate(Recipe, {"task": "Hopper-v5", "algorithm": algorithm}, "test")
    assert recipe == default_recipe("Hopper-v5", algorithm).model_copy(update={"name": "custom"})
    tables = {name: getattr(recipe, name) for name in MODELS}
    assert type(tables.pop(algorithm)) is MODELS[algorithm]
    assert set(tables.values()) == {None}
    assert recipe.settings is getattr(recipe, algorithm)


def test_ppo_collects_2048_transitions_by_default() -> None:
    for num_envs, steps in ((8, 256), (1, 2048), (32, 64), (1000, 16)):
        recipe = changed("ppo", **({} if num_envs == 8 else {"engine__num_envs": num_envs}))
        assert recipe.engine.num_envs == num_envs and recipe.settings.steps_per_rollout(num_envs) == steps
    assert changed("sac").engine.num_envs == 32


def test_the_default_algorithm_is_ppo() -> None:
    assert validate(Recipe, {"task": "Hopper-v5"}, "test") == validate(
        Recipe, {"task": "Hopper-v5", "algorithm": "ppo"}, "test"
    )


@pytest.mark.parametrize(
    "algorithm, wanted",
    [
        ("ppo", {}),
        ("ddpg", {"squash": "tanh", "std": "parameter", "initial_std": 0.1}),
        ("td3", {"squash": "tanh", "std": "parameter", "initial_std": 0.1}),
        ("sac", {"squash": "tanh_gaussian", "std": "state_dependent", "minimum_std": 1e-5}),
    ],
)
def test_an_algorithm_has_its_own_policy_defaults(algorithm: str, wanted: dict[str, Any]) -> None:
    if algorithm != "ppo":
        wanted |= {"actor": (256, 256), "critic": (256, 256), "activation": "relu", "normalise_observations": False}
    assert default_recipe("Hopper-v5", algorithm).policy == PolicySettings(**wanted)


@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_policy_settings_of_a_recipe_override_the_algorithms_defaults(algorithm: str) -> None:
    data = {"task": "Hopper-v5", "algorithm": algorithm, "policy": {"actor": [8], "normalise_observations": True}}
    policy = validate(Recipe, data, "test").policy
    assert policy.actor == (8,) and policy.normalise_observations
    assert policy.critic == (256, 256) and policy.activation == "relu"


def test_ddpg_is_td3_with_other_defaults() -> None:
    ddpg, td3, sac = (default_recipe("Hopper-v5", name).settings for name in ("ddpg", "td3", "sac"))
    assert (ddpg.critics, ddpg.policy_delay, ddpg.target_noise) == (1, 1, 0.0)
    assert (td3.critics, td3.policy_delay, td3.target_noise, td3.target_noise_clip) == (2, 2, 0.2, 0.5)
    assert (sac.critics, sac.policy_delay, sac.exploration.sigma.start) == (2, 1, 0.0)
    extras = {"critics": 1, "policy_delay": 1, "target_noise": 0.0}
    assert td3.model_copy(update=extras).model_dump() == ddpg.model_dump()


@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_the_crossq_preset_implies_batch_normalisation(algorithm: str) -> None:
    recipe = changed(algorithm, **{f"{algorithm}__preset": "crossq"})
    assert recipe.policy.batch_norm and not changed(algorithm).policy.batch_norm
    choices = recipe.settings.choices
    assert choices == (False, 0.01, True, 0.5) and changed(algorithm).settings.choices == (True, 0.1, False, 0.9)


@pytest.mark.parametrize("algorithm", OFF_POLICY)
def test_settings_of_another_algorithm_are_an_error(algorithm: str) -> None:
    message = refused(algorithm, ppo__clip_eps=0.1)
    assert "'ppo'" in message and f"'{algorithm}'" in message
    message = refused("ppo", **{f"{algorithm}__discount": 0.9})
    assert f"'{algorithm}'" in message and "'ppo'" in message


def test_settings_of_another_algorithm_on_the_command_line(tmp_path, capsys) -> None:
    words = ["train", "Hopper-v5", "--root", str(tmp_path), "--algorithm", "td3", "--ppo.clip_eps", "0.1"]
    assert main(words) == 2
    err = only_error(capsys)
    assert "'ppo'" in err and "'td3'" in err
    assert not list(tmp_path.iterdir())


def test_the_algorithm_is_a_setting_like_others() -> None:
    recipe = api.make_recipe("Hopper-v5", None, {"algorithm": "td3", "td3.critics": 3})
    assert "ppo" not in recipe.model_dump(exclude_none=True) and recipe.settings.critics == 3
    assert recipe.policy.squash == "tanh"
    with pytest.raises(InputError, match="td4") as error:
        api.make_recipe("Hopper-v5", None, {"algorithm": "td4"})
    one_line(error.value)


@pytest.mark.parametrize(
    "algorithm, changes, fragments",
    [
        # 3 x 1 x 1 = 3 updates a round, of which every second moves the actor
        ("td3", {"engine__num_envs": 3, "td3__train_freq": 1}, ["3 updates a round", "td3.policy_delay = 2"]),
        ("ddpg", {"engine__num_envs": 1, "ddpg__utd_ratio": 0.25, "ddpg__train_freq": 1}, ["0.25 updates a round"]),
        ("sac", {"engine__num_envs": 2, "sac__utd_ratio": 0.75, "sac__train_freq": 1}, ["1.5 updates a round"]),
        ("sac", {"engine__num_envs": 1, "sac__utd_ratio": 0.0001}, ["0.0001 updates a round", "sac.train_freq"]),
        ("sac", {"policy__squash": "tanh"}, ["policy.squash = 'tanh'", "'sac'"]),
        ("sac", {"policy__squash": "clip"}, ["policy.squash = 'clip'", "'sac'"]),
        ("td3", {"policy__squash": "tanh_gaussian"}, ["policy.squash = 'tanh_gaussian'", "'td3'"]),
        ("ddpg", {"policy__squash": "tanh_gaussian"}, ["policy.squash = 'tanh_gaussian'", "'ddpg'"]),
        ("ppo", {"policy__squash": "tanh_gaussian"}, ["policy.squash = 'tanh_gaussian'", "'ppo'"]),
        ("ppo", {"policy__batch_norm": True}, ["policy.batch_norm = true", "'ppo'"]),
        (
            "sac",
            {"sac__preset": "crossq", "policy__batch_norm": False},
            ["sac.preset = 'crossq'", "policy.batch_norm = true"],
        ),
        (
            "ppo",
            {"ppo__learning_rate_rule": "adaptive", "ppo__learning_rate": {"kind": "linear", "start": 1e-3}},
            ["ppo.learning_rate.kind = 'linear'", "adaptive"],
        ),
        ("ddpg", {"policy__trunk": [32]}, ["policy.trunk = [32]", "'ddpg'"]),
        ("td3", {"policy__trunk": [32]}, ["policy.trunk = [32]", "'td3'"]),
        ("sac", {"policy__trunk": [32]}, ["policy.trunk = [32]", "'sac'"]),
        (
            "ddpg",
            {"policy__critic": [], "ddpg__critic_action_layer": "second"},
            ["ddpg.critic_action_layer = 'second'"],
        ),
        ("td3", {"policy__critic": [], "td3__critic_action_layer": "branch"}, ["td3.critic_action_layer = 'branch'"]),
        ("ddpg", {"ddpg__buffer_size": 100, "engine__num_envs": 64, "ddpg__n_step": 5}, ["ddpg.buffer_size = 100"]),
        ("sac", {"sac__policy_delay": 0}, ["sac.policy_delay = 0"]),
        ("ppo", {"ppo__symmetry": "tied", "policy__critic": [8, 9]}, ["policy.critic = [8, 9]", "even number"]),
        ("ddpg", {"ddpg__symmetry": "tied", "policy__actor": [65]}, ["policy.actor = [65]", "even number"]),
        ("sac", {"sac__symmetry": "averaged"}, ["sac.symmetry = 'averaged'"]),
        ("td3", {"td3__preset": "cross"}, ["td3.preset = 'cross'", "'crossq'"]),
        ("sac", {"sac__target_noise": 0.1}, ["sac.target_noise"]),
        ("td3", {"td3__temperature": 1.0}, ["td3.temperature"]),
        ("ddpg", {"ddpg__exploration.sigma": -1.0}, ["ddpg.exploration.sigma = -1.0"]),
    ],
)
def test_incompatible_settings_are_refused(algorithm: str, changes: dict, fragments: list[str]) -> None:
    message = refused(algorithm, **changes)
    assert all(fragment in message for fragment in fragments), message


@pytest.mark.parametrize(
    "algorithm, changes",
    [
        ("td3", {"engine__num_envs": 3, "td3__train_freq": 2}),
        ("td3", {"engine__num_envs": 3, "td3__policy_delay": 3}),
        ("ddpg", {"engine__num_envs": 1, "ddpg__utd_ratio": 0.25, "ddpg__train_freq": 4}),
        ("sac", {"engine__num_envs": 10, "sac__utd_ratio": 0.1}),  # 0.1 x 10 is 1 but for rounding
        ("ddpg", {"policy__batch_norm": True, "ddpg__critic_action_layer": "branch"}),
        ("ddpg", {"policy__critic": []}),
    ],
)
def test_compatible_settings_are_accepted(algorithm: str, changes: dict) -> None:
    assert changed(algorithm, **changes).algorithm == algorithm


@pytest.mark.parametrize(
    "algorithm, num_envs, changes, steps",
    [
        ("td3", 1, {}, 2),
        ("td3", 3, {}, 2),
        ("td3", 32, {}, 1),
        ("td3", 1, {"policy_delay": 3}, 3),
        ("ddpg", 1, {}, 1),
        ("sac", 1, {"utd_ratio": 0.25}, 4),
        ("sac", 2, {"utd_ratio": 0.75}, 2),
        ("sac", 10, {"utd_ratio": 0.1}, 1),
        ("sac", 1, {"train_freq": 5}, 5),
    ],
)
def test_a_round_is_by_default_as_short_as_whole_updates_allow(algorithm, num_envs, changes, steps) -> None:
    recipe = changed(algorithm, engine__num_envs=num_envs, **{f"{algorithm}__{k}": v for k, v in changes.items()})
    assert recipe.settings.steps_per_round(num_envs) == steps


def test_a_replay_larger_than_the_memory_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(make, "available_memory", lambda: (10**8, 10**9))
    message = messages.refused(
        InputError, api.make_recipe, "Hopper-v5", None, {"algorithm": "sac", "sac.buffer_size": 10**8}
    )
    assert "sac.buffer_size = 100000000" in message and "6.3 GiB" in message and "0.9 GiB" in message
    assert api.make_recipe("Hopper-v5", None, {"algorithm": "sac", "sac.buffer_size": 10**6})


@pytest.mark.parametrize("algorithm", MODELS)
def test_a_written_recipe_of_any_algorithm_is_read_unchanged(algorithm: str, tmp_path) -> None:
    recipe = changed(algorithm, policy__critic=[16, 8], seed=7, **{f"{algorithm}__discount": 0.97})
    if algorithm != "ppo":
        recipe = validate(Recipe, replaced(recipe, {f"{algorithm}.exploration.sigma.kind": "linear"}), "test")
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(recipe))
    found = read_recipe(path)
    assert found == recipe and type(getattr(found, algorithm)) is MODELS[algorithm]
    assert getattr(found, algorithm).discount == 0.97
