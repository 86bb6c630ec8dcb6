"""Recipes: shipped ones are complete, writing and reading is exact, and invalid ones are one-line errors."""

import math
import os
import tomllib
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helpers import messages
from helpers.messages import one_line
from surefoot.errors import InputError
from surefoot.recipes.files import default_recipe, dump_recipe, load_recipe, read_recipe, recipe_names
from surefoot.recipes.make import make_recipe
from surefoot.recipes.overrides import parse_settings, setting_fields
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.settings import validate
from surefoot.simulation.factory import choose_engine
from surefoot.tasks.catalogue import find_task

# The file is overwritten by each example, so that sharing the folder does no harm.
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def refused(path) -> str:
    """Read an invalid recipe and return the message."""
    message = messages.refused(InputError, read_recipe, path)
    assert len(message) < 1000
    return message


# --- shipped --------------------------------------------------------------------------------------------------------


def test_there_are_shipped_recipes():
    assert {"half-cheetah", "bipedal-walker"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_is_valid_and_complete(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    info = find_task(recipe.task, recipe.task_options)
    assert recipe.task == info.name  # the short name, where there is one
    assert choose_engine(recipe.engine.name, info) != "auto"


def test_the_default_recipe_of_a_task_is_its_tuned_one():
    assert default_recipe("half-cheetah") == load_recipe("half-cheetah")
    assert default_recipe("Hopper-v5").name == "default"


# --- written and read ------------------------------------------------------------------------------------------------

numbers = st.floats(-1e9, 1e9, allow_nan=False)
texts = st.text(max_size=50)
scalars = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), numbers, texts)
widths = st.lists(st.integers(1, 2048), max_size=4)
changes = st.fixed_dictionaries(
    {},
    optional={
        "description": texts,
        "seed": st.integers(0, 100_000),
        "task_options": st.dictionaries(texts, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4),
        "engine.num_envs": st.integers(32, 1000),
        "policy.trunk": widths,
        "policy.actor": widths,
        "policy.activation": st.sampled_from(["tanh", "relu", "elu", "silu"]),
        "policy.layer_norm": st.booleans(),
        "policy.observation_clip": st.floats(1e-300, 1e300),
        "ppo.horizon": st.integers(32, 500),
        "ppo.clip_eps": st.floats(5e-324, 1e308),
        "ppo.learning_rate": st.floats(1e-12, 1.0),
        "training.stop_at_return": st.one_of(st.none(), numbers),
        "training.steps": st.integers(1, 10**12),
        "training.trackers": st.lists(st.sampled_from(["tensorboard", "wandb", "trackio"]), max_size=3),
    },
)


@shared_folder
@given(changes)
@example({"task_options": {'"]\n[ppo]\nclip = 9 # \\': ["\x00\x7f\u2028\U0001f9bf", -0.0, 5e-324]}})
@example({"description": '"""\\\r\n\t\ud7ff'})
def test_a_written_recipe_is_read_unchanged(tmp_path, changes):
    recipe = validate(Recipe, replaced(default_recipe("half-cheetah"), changes), "test")
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    assert read_recipe(path) == recipe


@pytest.mark.parametrize("algorithm", ["ppo", "ddpg", "td3", "sac", "ars"])
def test_a_written_recipe_contains_every_setting(algorithm):
    recipe = default_recipe("bipedal-walker" if algorithm == "ppo" else "Hopper-v5", algorithm)
    written = tomllib.loads(dump_recipe(recipe))
    others = {"ppo", "ddpg", "td3", "sac", "ars"} - {algorithm}
    assert not others & written.keys()
    for name, _ in setting_fields():
        table, value = written, recipe.model_dump()
        for part in name.split("."):
            value = value and value[part]
            table = table.get(part, {}) if value is not None else None
        if name.partition(".")[0] in others:
            assert value is None
        elif value is not None:  # TOML has no word for none
            assert table == (list(value) if isinstance(value, tuple) else value), name


@given(st.text(min_size=1, max_size=30), st.sampled_from([name for name, _ in setting_fields()]))
def test_any_text_for_any_setting_is_valid_or_a_one_line_error(text, name):
    try:
        changes = parse_settings({name: text})
        recipe = validate(Recipe, replaced(default_recipe("Hopper-v5"), changes), "settings")
    except InputError as error:
        one_line(error)
    else:
        assert isinstance(recipe, Recipe)


@given(st.text(max_size=60), st.text(max_size=10))
def test_any_name_of_a_setting_is_known_or_a_one_line_error(name, text):
    try:
        parse_settings({name: text}, ["--quiet"])
    except InputError as error:
        one_line(error)
    else:
        name = name.replace("-", "_")
        assert name in dict(setting_fields()) or name.startswith("task_options.")


# --- hostile --------------------------------------------------------------------------------------------------------

HEAD = 'task = "half-cheetah"\n'
HOSTILE = {
    "empty": ("", "'task' is missing"),
    "no task": ("seed = 3", "'task' is missing"),
    "unknown setting": (HEAD + "sed = 3", "'seed'"),
    "unknown setting in a table": (HEAD + "[ppo]\nclipp = 0.1", "'clip_eps'"),
    "unknown table": (HEAD + "[pppo]\nclip_eps = 0.1", "'ppo'"),
    "name with a line break": (HEAD + '"a\\nb" = 3', "unknown setting"),
    "long name": (HEAD + f'"{"x" * 60_000}" = 3', "unknown setting"),
    "long value": (HEAD + f'seed = "{"x" * 60_000}"', "seed = "),
    "wrong type": (HEAD + 'seed = "three"', "seed = 'three'"),
    "table for a number": (HEAD + "[seed]\na = 1", "seed = "),
    "number for a table": (HEAD + "ppo = 3", "ppo = 3"),
    "list for a table": (HEAD + "[[ppo]]\nclip_eps = 0.1", "ppo = "),
    "list for the whole": ("[[task]]\n", "task = "),
    "not a number": (HEAD + "[ppo]\nclip_eps = nan", "ppo.clip_eps = nan"),
    "infinite": (HEAD + "[ppo]\nclip_eps = inf", "ppo.clip_eps = inf"),
    "date as an option": (HEAD + "[task_options]\nx = 1979-05-27", "task_options"),
    "date": (HEAD + "seed = 1979-05-27", "seed = "),
    "huge number": (HEAD + f"seed = {10**4000}", "seed = "),
    "huger number": (HEAD + f"seed = {'9' * 60_000}", "TOML"),
    "huge hexadecimal number": (HEAD + f"seed = 0x{'f' * 60_000}", "seed = "),
    "huge option": (HEAD + f"[task_options]\nx = 0x{'f' * 60_000}", "task_options"),
    "deep list": (HEAD + f"seed = {'[' * 30_000}{']' * 30_000}", "nested"),
    "deep option": (HEAD + f"[task_options]\nx = {'[' * 200}{']' * 200}", "task_options"),
    "deep table": (HEAD + "a" + ".a" * 40 + " = 1", "unknown setting"),
    "deep table of options": (HEAD + "task_options.a" + ".a" * 40 + " = 1", "task_options"),
    "deepest table": (HEAD + "a" + ".a" * 32_000 + " = 1", "nested"),
    "deepest table with spaces": (HEAD + "a" + " . a" * 16_000 + " = 1", "nested"),
    "deepest header": (HEAD + "[a" + ".a" * 32_000 + "]", "nested"),
    "deepest inline table": (HEAD + "x = {a" + ".a" * 32_000 + " = 1}", "nested"),
    "option with a line break": (HEAD + '[task_options]\n"a\\nb" = {x = 1979-05-27}', "task_options"),
    "network of no width": (HEAD + "[policy]\nactor = [0]", "policy.actor"),
    "enormous network": (HEAD + "[policy]\nactor = [1000000000000]", "policy.actor"),
    "too many layers": (HEAD + f"[policy]\nactor = [{'8, ' * 10_000}]", "policy.actor"),
    "impossible name": (HEAD + 'name = "../../etc"', "name = "),
    "twice": (HEAD + HEAD, "TOML"),
    "not TOML": ("\x00", "TOML"),
    "a pickle": ("cos\nsystem\n(S'true'\ntR.", "TOML"),
}


@pytest.mark.parametrize("content, fragment", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_recipe_is_a_one_line_error(content, fragment, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    message = refused(path)
    assert fragment in message and str(path) in message


def test_another_encoding_is_a_one_line_error(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(HEAD.encode("utf-16"))
    assert "UTF-8" in refused(path)


def test_a_byte_order_mark_is_read(tmp_path):
    """Editors of Windows write it."""
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode())
    assert read_recipe(path).task == tomllib.loads(HEAD)["task"]


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "recipe.toml"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "too large" in refused(path)


def test_a_path_that_is_not_a_file(tmp_path):
    assert "not a file" in refused(tmp_path)
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    assert "not a file" in refused(pipe)
    assert "No such file" in refused(tmp_path / "none.toml")
    assert refused(tmp_path / "a\x00b.toml")
    assert "too long" in refused(tmp_path / f"{'x' * 300}.toml")
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    assert refused(loop)


@pytest.mark.parametrize("name", ["", "nothing", "a\x00b", "x" * 5000, "../half-cheetah", "half-cheetah\n", "files.py"])
def test_an_unknown_recipe_name(name):
    with pytest.raises(InputError) as error:
        load_recipe(name)
    one_line(error.value)


@shared_folder
@given(st.binary(max_size=300))
def test_random_bytes_are_never_a_recipe(tmp_path, content):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    refused(path)


names = st.one_of(
    st.sampled_from(["task", "ppo", "policy", "seed", "engine", "training", "name", "clip_eps", "actor"]), texts
)
hostile = st.one_of(
    scalars,
    st.integers(),
    st.floats(),
    st.sampled_from(["half-cheetah", "ppo", "auto", "none", "\n", "\x1b[2J"]),
)
values = st.recursive(hostile, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


@given(st.dictionaries(names, values, max_size=5))
def test_random_tables_are_a_recipe_or_a_one_line_error(data):
    try:
        recipe = validate(Recipe, data, "test")
    except InputError as error:
        assert len(one_line(error)) < 1000
    else:
        assert math.isfinite(recipe.settings.clip_eps) and recipe.task


@shared_folder
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_a_damaged_recipe_is_a_recipe_or_a_one_line_error(tmp_path, at, patch):
    whole = dump_recipe(default_recipe("half-cheetah")).encode()
    at %= len(whole)
    path = tmp_path / "recipe.toml"
    path.write_bytes(whole[:at] + patch + whole[at + len(patch) :])
    try:
        recipe = read_recipe(path)
    except InputError as error:
        one_line(error)
    else:
        assert read_recipe(path) == recipe


ANT = str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml")


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "ddpg", "ars"])
def test_no_number_may_be_true_or_false(algorithm: str) -> None:
    """They would be read as 1 and 0."""
    defaults = default_recipe("Pendulum-v1", algorithm)
    refused_names, others = set(), {"ppo", "sac", "td3", "ddpg", "ars"} - {algorithm}
    for name, field in setting_fields(defaults=defaults):
        if name.partition(".")[0] in others:
            continue
        is_list = isinstance(field.default, tuple)
        for value in ([True], [64, False]) if is_list else (True, False):
            try:
                recipe = validate(Recipe, replaced(defaults, {name: value}), "test")
            except InputError as error:
                refused_names.add(name)
                assert str(error).startswith(f"test: {name}")
            else:
                flat = {known: field.default for known, field in setting_fields(defaults=recipe)}
                assert flat[name] is value
            if not is_list and type(field.default) in (int, float):
                assert name in refused_names
    assert {"policy.actor", "training.stop_at_return", "training.from_std"} <= refused_names


@pytest.mark.parametrize(
    "settings",
    [
        {"ppo.learning_rate": True},
        {"ppo.learning_rate": {"kind": "linear", "start": True}},
        {"ppo.learning_rate": {"kind": "linear", "start": 1e-3, "until": True}},
        {"task_options": {"frame_skip": True}},
        {"task_options": {"healthy_z_range": [True, 2.0]}},
        {"task_options": {"max_episode_steps": True}},
    ],
)
def test_no_number_of_a_schedule_or_a_task_option_may_be_true(settings: dict) -> None:
    with pytest.raises(InputError, match=r"True.*: should be a number") as caught:
        recipe = validate(Recipe, replaced(default_recipe("Hopper-v5", "ppo"), settings), "test")
        find_task(recipe.task, recipe.task_options)
    one_line(caught.value)


def test_the_symmetry_of_a_recipe_is_off_if_an_option_leaves_no_mirror_image() -> None:
    assert make_recipe("ant", None, {}).settings.symmetry != "none"
    with pytest.warns(UserWarning, match=r"ppo.symmetry is 'none': no mirror image is known with these task options"):
        recipe = make_recipe("ant", None, {"task_options.xml_file": ANT})
    assert recipe.settings.symmetry == "none"
    with pytest.raises(InputError, match=r"ppo.symmetry = 'tied': no mirror image of task 'ant' is known"):
        make_recipe("ant", None, {"task_options.xml_file": ANT, "ppo.symmetry": "tied"})


def test_options_that_are_infinite_none_nested_or_of_numpy_are_written_and_read(tmp_path: Path) -> None:
    options = {"bounds": [0.2, np.inf], "none": None, "nested": [[1, 2], [np.float32(0.5)]], "count": np.int64(3)}
    recipe = Recipe(task="Pendulum-v1", task_options=options | {"table": {"a": -np.inf}})
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(recipe))
    plain = {"bounds": [0.2, "inf"], "none": "none", "nested": [[1, 2], [0.5]], "count": 3, "table": {"a": "-inf"}}
    assert recipe.task_options == read_recipe(path).task_options == plain
    assert isinstance(recipe.task_options["count"], int)
    with pytest.raises(InputError, match="should be true or false, a number, a text, none, or a list or table"):
        validate(Recipe, {"task": "Pendulum-v1", "task_options": {"x": {1, 2}}}, "settings")
