"""`surefoot list` and `surefoot train --settings`."""

import io
import shlex

import pytest

from surefoot.api import make_recipe
from surefoot.cli.listing import print_settings, print_task
from surefoot.cli.main import main
from surefoot.cli.setting_rows import SettingRow, setting_groups
from surefoot.recipes.overrides import parse_settings, setting_fields
from surefoot.schedules import Schedule
from surefoot.simulation.factory import ENGINES

ALGORITHMS = ("ppo", "ddpg", "td3", "sac", "ars")


def rows_of(*arguments) -> dict[str, SettingRow]:
    return {row.name: row for rows in setting_groups(*arguments).values() for row in rows}


def test_all_settings_are_listed(capsys):
    assert main(["train", "--settings"]) == 0
    out = capsys.readouterr().out
    rows = rows_of()
    assert rows.keys() == dict(setting_fields()).keys() - {"name", "task"}
    assert all(f"  --{name}" in out for name in rows)
    assert all(f"--NAME.{part}" in out for part in Schedule.model_fields)
    clip = rows["ppo.clip_eps"]
    assert (clip.value, clip.default, clip.mark) == ("0.2", "0.2", " ")
    assert clip.allowed == "number > 0" and "psilon" in clip.meaning
    assert "tanh, relu" in rows["policy.activation"].allowed
    assert rows["policy.actor"].value == "[64,64]" and "list of integers" in rows["policy.actor"].allowed
    for row in rows.values():
        assert row.meaning.endswith("."), row


def test_settings_are_wrapped_to_100_columns_if_piped(capsys):
    for arguments in ([], ["half-cheetah"], ["anymal", "--algorithm", "sac"]):
        assert main(["train", *arguments, "--settings"]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_settings_are_wrapped_to_the_given_width():
    file = io.StringIO()
    print_settings(make_recipe("ant", None, {}), file=file, width=70)
    assert max(map(len, file.getvalue().splitlines())) <= 70


def test_settings_of_a_training_are_those_of_its_recipe(capsys):
    assert main(["train", "half-cheetah", "--seed", "3", "--ppo.epochs", "7", "--settings"]) == 0
    out = capsys.readouterr().out
    recipe = make_recipe("half-cheetah", None, {"seed": 3, "ppo.epochs": 7})
    rows = rows_of(recipe, {"seed", "ppo.epochs"})
    assert rows["seed"].mark == rows["ppo.epochs"].mark == "+"
    assert rows["seed"].value == "3" and rows["ppo.epochs"].value == "7"
    changed = [row for row in rows.values() if row.mark == "*"]
    assert changed and all(row.value != row.default for row in changed)
    assert f"* --training.steps {recipe.training.steps:_}" in out and "+ --ppo.epochs 7" in out
    assert not any(name.startswith(("sac", "ars", "td3", "ddpg")) for name in rows)


@pytest.mark.parametrize("task", ["half-cheetah", "anymal", "walk", "anymal-velocity"])
def test_task_options_are_listed(task):
    changes = {"task_options.max_episode_steps": 33}
    options = setting_groups(make_recipe(task, None, changes), changes)["task options"]
    assert len(options) > 1
    limit = next(row for row in options if row.name == "task_options.max_episode_steps")
    assert (limit.value, limit.mark) == ("33", "+")
    assert all(row.allowed and row.mark != "+" for row in options if row is not limit)
    if task != "half-cheetah":
        assert all(row.meaning.endswith(".") for row in options)


def test_a_recipe_without_a_task_is_of_its_own_task(capsys):
    shown = []
    for arguments in (["ant", "--recipe", "ant-sac"], ["--recipe", "ant-sac"]):
        assert main(["train", *arguments, "--settings"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "Settings of training 'ant' with sac, recipe 'ant-sac'" in " ".join(
        shown[0].split()
    )


def test_options_that_a_task_needs_and_repeated_actions_do_not_change_its_time_limit():
    recipe = make_recipe("LunarLander-v3", None, {"task_options.continuous": True, "wrappers.action_repeat": 3})
    limit = rows_of(recipe)["task_options.max_episode_steps"]
    assert (limit.value, limit.mark) == ("1_000", " ")
    assert rows_of(recipe)["task_options.continuous"].mark == "*"


def test_train_task_options_are_listed():
    recipe = make_recipe("ant", None, {"train_task_options.reset_noise_scale": 0.2})
    row = rows_of(recipe, {"train_task_options.reset_noise_scale"})["train_task_options.reset_noise_scale"]
    assert (row.value, row.mark) == ("0.2", "+")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_printed_settings_are_accepted_by_train(algorithm):
    recipe = make_recipe("Pendulum-v1", None, {"algorithm": algorithm})
    file = io.StringIO()
    print_settings(recipe, file=file)
    settings = {}
    for line in file.getvalue().splitlines():
        if line[2:4] == "--" and "NAME" not in line and "--task_options" not in line:
            # The value ends at two spaces, behind which the type stands.
            name, *value = shlex.split(line[2:].split("  ")[0])
            settings |= {name[2:]: text for text in value}
    assert len(settings) >= 20
    again = make_recipe("Pendulum-v1", None, {"algorithm": algorithm} | parse_settings(settings))
    assert again == recipe


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    for name in (*ENGINES, *ALGORITHMS, "half-cheetah", "HalfCheetah-v5", "bipedal-walker", "aidl2023-half-cheetah"):
        assert name in out
    engines = out[out.index("\nengine ") :].split("\n\n")[0].strip().splitlines()[1:]
    assert [line.split()[0] for line in engines] == list(ENGINES)
    assert all(len(line.split()) > 3 for line in engines)


def test_list_of_a_task(capsys):
    assert main(["list", "HalfCheetah-v5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "half-cheetah (HalfCheetah-v5)\n17 observations, 6 actions, at most 1,000 steps, engine batch"
    )
    for text in ("half-cheetah-td3", "aidl2023-half-cheetah", "--task_options.ctrl_cost_weight 0.1"):
        assert text in out
    assert "surefoot train half-cheetah uses recipe half-cheetah" in out


def test_list_of_a_task_names_shipped_policies():
    file = io.StringIO()
    print_task("ant", file, width=100)
    assert "ant-sac.safetensors" in file.getvalue() and "half-cheetah" not in file.getvalue()


def test_list_of_a_task_in_a_users_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "listed_module.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('listed/Pendulum-v0', 'gymnasium.envs.classic_control:PendulumEnv', max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["list", "listed_module:listed/Pendulum-v0"]) == 0
    out = capsys.readouterr().out
    assert "at most 7 steps" in out and "--task_options.g 10" in out


def test_list_of_a_task_without_recipes(capsys):
    assert main(["list", "InvertedPendulum-v5"]) == 0
    out = capsys.readouterr().out
    assert "\nrecipe" not in out and "--task_options.max_episode_steps 1_000" in out
