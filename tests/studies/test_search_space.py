"""Search spaces: of the algorithms, of TOML files, of single settings."""

from pathlib import Path
from typing import Any

import pytest

from helpers.messages import one_line
from helpers.recipes import make_recipe
from surefoot.algorithms.registry import ALGORITHMS
from surefoot.errors import InputError
from surefoot.ranges import Range, choice, integer, log, uniform
from surefoot.studies.search_space import (
    default_space,
    dump_space,
    fitted,
    known_values,
    load_space,
    named_space,
    parse_space,
    space_names,
    suggest,
)
from surefoot.studies.sweep_plan import plan_sweep


class Highest:
    """A trial of Optuna that takes the last or largest value."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        assert all(value is None or isinstance(value, bool | int | float | str) for value in choices)
        return choices[-1]

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return high

    def suggest_float(self, name: str, low: float, high: float, log: bool) -> float:
        return high


def toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_has_a_space_within_the_limits_of_its_settings(algorithm: str):
    recipe = make_recipe("Hopper-v5", algorithm)
    space = fitted(default_space(recipe), recipe)
    assert len(space) >= 3
    # The sweep begins with the recipe's own values.
    assert len(known_values(space, recipe)) >= len(space) - 1


@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces(name: str):
    plan = plan_sweep(None, space=name)
    assert plan.name == name
    assert plan.base.training.steps <= 1_000_000
    assert known_values(plan.ranges, plan.base)


def test_all_kinds_of_ranges(tmp_path: Path):
    text = """
        [space]
        "ppo.clip_eps" = { kind = "uniform", low = 0.1, high = 0.3 }
        [space.ppo]
        epochs = { kind = "integer", low = 2, high = 4 }
        learning_rate = { kind = "log", low = 1e-4, high = 1e-3 }
        horizon = { kind = "choice", values = ["none", 64] }
        [space.policy]
        actor = { kind = "choice", values = [[8], [16, 16]] }
        [space.task_options]
        healthy_reward = { kind = "uniform", low = 0.5, high = 1.5 }
    """
    recipe = make_recipe("Hopper-v5")
    space = fitted(load_space(toml(tmp_path, text)).ranges("test"), recipe)
    assert space == {
        "ppo.clip_eps": uniform(0.1, 0.3),
        "ppo.epochs": integer(2, 4),
        "ppo.learning_rate": log(1e-4, 1e-3),
        "ppo.horizon": choice(None, 64),
        "policy.actor": choice([8], [16, 16]),
        "task_options.healthy_reward": uniform(0.5, 1.5),
    }
    assert suggest(Highest(), space) == {
        "ppo.clip_eps": 0.3,
        "ppo.epochs": 4,
        "ppo.learning_rate": 1e-3,
        "ppo.horizon": 64,
        "policy.actor": [16, 16],
        "task_options.healthy_reward": 1.5,
    }
    assert parse_space(dump_space(space), "test") == space


def test_the_start_of_a_schedule_that_moves():
    recipe = make_recipe("Hopper-v5", ppo__learning_rate={"kind": "linear", "start": 1e-3})
    space = fitted({"ppo.learning_rate": log(1e-4, 1e-3)}, recipe)
    assert list(space) == ["ppo.learning_rate.start"]


def test_single_settings_have_the_range_of_the_algorithm_or_their_own_limits():
    recipe = make_recipe("Hopper-v5")
    space = named_space(["ppo.clip-eps", "ppo.normalise_returns", "ppo.value_loss", "ppo.discount"], recipe)
    assert space == {
        "ppo.clip_eps": recipe.settings.search_space["clip_eps"],
        "ppo.normalise_returns": choice(False, True),
        "ppo.value_loss": choice("squared", "huber"),
        "ppo.discount": recipe.settings.search_space["discount"],
    }
    assert named_space(["policy.minimum_std"], recipe) == {"policy.minimum_std": uniform(1e-6, 10)}
    assert named_space(["training.confirm_episodes"], recipe) == {"training.confirm_episodes": integer(1, 10_000)}


def test_a_setting_without_an_upper_limit():
    with pytest.raises(InputError, match="no limits on both sides") as error:
        named_space(["ppo.value_coef"], make_recipe("Hopper-v5"))
    one_line(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[space]\nppo.clip_epss = { kind = 'uniform', low = 0.1, high = 0.2 }", "did you mean '--ppo.clip_eps'"),
        ("[space]\nppo.clip_eps = { kind = 'uniform', low = -0.1, high = 0.2 }", "ppo.clip_eps = -0.1"),
        ("[space]\nppo.clip_eps = { kind = 'uniform', low = 0.3, high = 0.2 }", "above it"),
        ("[space]\nppo.clip_eps = { kind = 'log', low = 0.0, high = 0.2 }", "above 0"),
        ("[space]\nppo.epochs = { kind = 'integer', low = 1.5, high = 3 }", "whole numbers"),
        ("[space]\nppo.epochs = { kind = 'choice', values = [1] }", "at least two"),
        ("[space]\nppo.epochs = { kind = 'normal', low = 1, high = 3 }", "kind = 'normal'"),
        ("[space]\nseed = { kind = 'integer', low = 1, high = 3 }", "not for a search space"),
        ("[space]\n[space.task_options]\nno = { kind = 'integer', low = 1, high = 3 }", "unknown"),
        ("[space]", "empty"),
        ("[spaces]", "setting 'space' is missing"),
        ("[space", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_an_error_of_one_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError) as error:
        plan_sweep("Hopper-v5", space=toml(tmp_path, text))
    one_line(error.value, message)


def test_values_in_a_range():
    assert 3 in integer(1, 5) and 2.5 not in integer(1, 5) and 6 not in integer(1, 5)
    assert None in choice(None, 1) and 2 not in choice(None, 1)
    assert 0.2 in uniform(0.1, 0.3) and None not in uniform(0.1, 0.3)
    assert str(Range("log", 1e-4, 1e-3)) == "0.0001 to 0.001, logarithmic"
