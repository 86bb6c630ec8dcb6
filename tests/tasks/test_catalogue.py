"""Descriptions of tasks, and errors for wrong names and options."""

import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pydantic
import pytest

from helpers.messages import one_line
from surefoot.errors import InputError
from surefoot.tasks.catalogue import TaskInfo, find_policy_task, find_task, make_env
from surefoot.tasks.registry import short_names


class Odd(gymnasium.Env):
    """An environment with given spaces."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


@pytest.fixture
def odd_task(monkeypatch: pytest.MonkeyPatch):
    """A function that registers a task with given spaces and returns its id."""
    registry = dict(gymnasium.registry)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry)
    monkeypatch.setattr(gymnasium, "registry", registry)

    def register(observation_space: gymnasium.Space, action_space: gymnasium.Space) -> str:
        id = "SurefootOdd-v0"
        gymnasium.register(id, entry_point=lambda: Odd(observation_space, action_space))
        return id

    return register


BOX = gymnasium.spaces.Box(-1, 1, (3,))


def message_of(name: str, options: dict | None = None) -> str:
    with pytest.raises(InputError) as caught:
        find_task(name, options)
    one_line(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("short, id", short_names().items())
def test_short_name_and_id_find_the_same_task(short: str, id: str) -> None:
    for name in (short, id):
        info = find_task(name)
        assert (info.name, info.id) == (short, id)


@pytest.mark.parametrize(
    "name, sizes, bounds, limit, threshold, fall",
    [
        ("half-cheetah", (17, 6), (-1, 1), 1000, 4800.0, "none"),
        ("ant", (105, 8), (-1, 1), 1000, 6000.0, "terminated"),
        ("Hopper-v5", (11, 3), (-1, 1), 1000, 3800.0, "terminated"),
        ("Walker2d-v5", (17, 6), (-1, 1), 1000, None, "terminated"),
        ("bipedal-walker", (24, 4), (-1, 1), 1600, 300, "reward"),
        ("Pendulum-v1", (3, 1), (-2, 2), 200, None, "none"),
    ],
)
def test_description_equals_gymnasiums_specification(name, sizes, bounds, limit, threshold, fall) -> None:
    info = find_task(name)
    assert (info.observation_size, info.action_size) == sizes
    assert info.action_low.dtype == info.action_high.dtype == np.float32
    np.testing.assert_array_equal(info.action_low, bounds[0])
    np.testing.assert_array_equal(info.action_high, bounds[1])
    assert (info.max_episode_steps, info.reward_threshold, info.fall) == (limit, threshold, fall)


def test_options_change_the_task_and_are_kept_in_its_description() -> None:
    info = find_task("ant", {"include_cfrc_ext_in_observation": False, "max_episode_steps": 50})
    assert (info.observation_size, info.max_episode_steps) == (27, 50)
    assert info.options == {"include_cfrc_ext_in_observation": False, "max_episode_steps": 50}
    assert find_task("ant").observation_size == 105
    env = make_env(info)
    assert env.observation_space.shape == (27,)
    assert env.spec is not None and env.spec.max_episode_steps == 50
    env.close()


def test_a_task_without_a_time_limit() -> None:
    assert find_task("Hopper-v5", {"max_episode_steps": -1}).max_episode_steps is None


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("half-chetah", "'half-cheetah'"),
        ("HalfCheetah", "'HalfCheetah-v"),
        ("hopper-v5", "'Hopper-v5'"),
        ("BIPEDAL-WALKER", "'bipedal-walker'"),
    ],
)
def test_an_unknown_task_suggests_the_nearest_names(name: str, wanted: str) -> None:
    message = message_of(name)
    assert message.startswith(f"unknown task '{name}'; did you mean ")
    assert wanted in message


def test_a_missing_module_is_named() -> None:
    assert "the module 'no_such_lab' cannot be imported" in message_of("no_such_lab:Walker-v0")


def test_a_module_that_exits_or_fails_without_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lab_that_exits.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "lab_that_fails.py").write_text("class Odd(Exception):\n    __str__ = None\nraise Odd")
    for module, reason in (("lab_that_exits", "3"), ("lab_that_fails", "Odd")):
        assert message_of(f"{module}:Walker-v0").endswith(f"the module '{module}' cannot be imported: {reason}")


@pytest.mark.parametrize(
    "options, part",
    [
        ({"no_such_option": 1}, "no_such_option"),
        ({"xml_file": "/nowhere/ant.xml"}, "/nowhere/ant.xml"),
        ({"disable_env_checker": False}, "disable_env_checker"),
        ({"main_body": {1, 2}}, "only numbers, texts and lists"),
        ({"main_body": object()}, "only numbers, texts and lists"),
        ({"main_body": np.float32(1)}, "main_body = 1.0: input should be a valid integer"),
    ],
)
def test_wrong_options_are_named(options: dict, part: str) -> None:
    assert part in message_of("ant", options)


@pytest.mark.parametrize(
    "task, options, message",
    [
        ("ant", {"terminate_when_unhealthy": "no"}, "terminate_when_unhealthy = 'no': input should be a valid boolean"),
        ("ant", {"include_cfrc_ext_in_observation": 1}, "include_cfrc_ext_in_observation = 1: input should be a valid"),
        ("ant", {"healthy_z_range": 0.5}, "healthy_z_range = 0.5: input should be a valid tuple"),
        ("ant", {"healthy_z_range": [0.2]}, "option 'healthy_z_range.1' is missing"),
        ("Hopper-v5", {"frame_skip": 2.5}, "frame_skip = 2.5: input should be a valid integer"),
        ("Walker2d-v5", {"healthy_reward": "much"}, "healthy_reward = 'much': input should be a valid number"),
        ("half-cheetah", {"reset_noise_scale": [0.1]}, "reset_noise_scale = (0.1,): input should be a valid number"),
        ("bipedal-walker", {"hardcore": "yes"}, "hardcore = 'yes': input should be a valid boolean"),
        ("bipedal-walker", {"hardcor": True}, "unknown option 'hardcor'; did you mean 'hardcore'?"),
        ("Pendulum-v1", {"g": "moon"}, "g = 'moon': input should be a valid number"),
        ("Pendulum-v1", {"max_episode_steps": 2.5}, "max_episode_steps = 2.5: input should be a valid integer"),
        ("anymal", {"max_episode_steps": "long"}, "max_episode_steps = 'long': input should be a valid integer"),
        ("anymal", {"fall_height": float("inf")}, "fall_height = inf: input should be a finite number"),
    ],
)
def test_options_of_the_wrong_type_are_refused(task: str, options: dict, message: str) -> None:
    assert f"task '{find_task(task).name}': {message}" in message_of(task, options)


def test_an_option_of_a_task_without_options_is_refused(odd_task) -> None:
    assert message_of(odd_task(BOX, BOX), {"speed": 1}) == "task 'SurefootOdd-v0': unknown option 'speed'"


@pytest.mark.parametrize(
    "task, stated, values",
    [
        ("ant", {"healthy_z_range": [0.2, float("inf")]}, {"healthy_z_range": (0.2, float("inf"))}),
        ("ant", {"healthy_z_range": [0.2, "inf"]}, {"healthy_z_range": (0.2, float("inf"))}),
        ("ant", {"contact_force_range": np.array([-1, 1])}, {"contact_force_range": (-1, 1)}),
        ("ant", {"frame_skip": np.int64(3)}, {"frame_skip": 3}),
        ("ant", {"reset_noise_scale": np.float32(0.25)}, {"reset_noise_scale": 0.25}),
        ("ant", {"xml_file": "ant.xml"}, {"xml_file": "ant.xml"}),
        ("Pendulum-v1", {"g": np.int32(9)}, {"g": 9}),
        ("Pendulum-v1", {"max_episode_steps": None}, {"max_episode_steps": -1}),
        ("anymal-step", {"lowest_step": None}, {"lowest_step": "none"}),
    ],
)
def test_infinity_none_lists_and_numbers_of_numpy_are_options(task: str, stated: dict, values: dict) -> None:
    info = find_task(task, stated)
    assert info.env_options == values
    assert [type(value) for value in info.env_options.values()] == [type(value) for value in values.values()]
    assert find_task(task, json.loads(json.dumps(info.options, allow_nan=False))).env_options == values


RESERVED = sorted({name for name in dir(pydantic.BaseModel) if not name.startswith("__")} | {"option_copy", "_x"})


class Reserved(Odd):
    """Its constructor takes arguments with the names of a Pydantic model's attributes."""

    def __init__(self, render_mode=None, **arguments) -> None:
        super().__init__(BOX, BOX)
        self.arguments = arguments


def test_an_option_may_have_a_name_that_pydantic_reserves(odd_task, recwarn: pytest.WarningsRecorder) -> None:
    id = odd_task(BOX, BOX)
    named = "".join(f", {name}: int = {number}" for number, name in enumerate(RESERVED))
    scope: dict = {"Reserved": Reserved}
    exec(f"def make(render_mode=None{named}):\n return Reserved(**{{name: v for name, v in locals().items()}})", scope)
    for entry_point in (scope["make"], lambda **arguments: Reserved(**arguments)):
        gymnasium.register(id, entry_point=entry_point)
        given = {name: number + 1 for number, name in enumerate(RESERVED)}
        info = find_task(id, given)
        assert info.env_options == given
        arguments = make_env(info).unwrapped.arguments
        assert {name: arguments[name] for name in RESERVED} == given
    gymnasium.register(id, entry_point=scope["make"])
    assert find_task(id, {"copy": 3}).env_options == {"copy": 3}
    assert "copy = 'x': input should be a valid" in message_of(id, {"copy": "x"})
    assert "unknown option 'copi'; did you mean 'copy'?" in message_of(id, {"copi": 1})
    assert not [warning for warning in recwarn if "pydantic" in str(warning.category.__module__)]


def test_a_registered_task_that_changes_is_described_again(odd_task) -> None:
    for size in (3, 5):
        box = gymnasium.spaces.Box(-size, size, (size,), np.float32)
        info = find_task(odd_task(box, box))
        assert (info.observation_size, info.action_high.tolist()) == (size, [size] * size)


def test_a_model_file_that_changes_is_read_again(tmp_path) -> None:
    text = (Path(gymnasium.__file__).parent / "envs/mujoco/assets/half_cheetah.xml").read_text()
    model = tmp_path / "model.xml"
    for limit in (1, 2):
        model.write_text(text.replace('ctrlrange="-1 1"', f'ctrlrange="-{limit} {limit}"'))
        assert find_task("half-cheetah", {"xml_file": str(model)}).action_high.tolist() == [limit] * 6


def test_discrete_actions_are_refused_with_a_continuous_alternative() -> None:
    message = message_of("MountainCar-v0")
    assert "acts by Discrete; Surefoot needs a flat box of continuous actions" in message
    assert "MountainCarContinuous-v0" in message


@pytest.mark.parametrize(
    "observation, part",
    [
        (gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8), "a box of shape (8, 8, 3) (an image)"),
        (gymnasium.spaces.Box(0, 1, (4, 2)), "a box of shape (4, 2)"),
        (gymnasium.spaces.Dict({"joints": BOX}), "Dict"),
        (gymnasium.spaces.Discrete(4), "Discrete"),
    ],
)
def test_observations_must_be_a_flat_box(odd_task, observation: gymnasium.Space, part: str) -> None:
    hint = "; wrap it in gymnasium.wrappers.FlattenObservation"
    message = message_of(odd_task(observation, BOX))
    assert f"observes {part}; Surefoot learns from flat boxes of numbers{hint}" in message
    assert hint not in message_of(odd_task(gymnasium.spaces.Sequence(BOX), BOX))


def test_actions_must_be_a_flat_box(odd_task) -> None:
    message = message_of(odd_task(BOX, gymnasium.spaces.MultiBinary(3)))
    assert message.endswith("acts by MultiBinary; Surefoot needs a flat box of continuous actions")


def test_unbounded_actions_stay_unbounded(odd_task) -> None:
    info = find_task(odd_task(BOX, gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)))
    np.testing.assert_array_equal(info.action_low, -np.inf)
    np.testing.assert_array_equal(info.action_high, np.inf)
    assert (info.max_episode_steps, info.reward_threshold, info.fall) == (None, None, "none")


def info_with(fall: str) -> TaskInfo:
    return TaskInfo(**{**vars(find_task("Pendulum-v1")), "fall": fall})


def test_falls_by_each_rule() -> None:
    terminated = np.array([True, True, False, False])
    last_reward = np.array([-100.0, 0.3, -100.0, 0.3])
    assert info_with("none").falls(terminated, last_reward) is None
    for rule, wanted in (("terminated", terminated), ("reward", [True, False, False, False])):
        np.testing.assert_array_equal(info_with(rule).falls(terminated, last_reward), wanted)


def test_a_policy_files_task_name_imports_no_module() -> None:
    assert "this_is_not_imported" not in sys.modules
    with pytest.raises(InputError, match="would import the module 'this_is_not_imported'"):
        find_policy_task("this_is_not_imported:Walker-v0", {})
    assert find_policy_task("half-cheetah", {}).id == "HalfCheetah-v5"


@pytest.mark.parametrize(
    "stated", [5, True, {"this_is_not_imported": 1}, "this_is_not_imported", ["this_is_not_imported:x"]]
)
def test_a_policy_files_task_option_imports_no_module(stated: object) -> None:
    with pytest.raises(InputError, match="reward_terms would import the module"):
        find_policy_task("velocity", {"reward_terms": stated})
    assert "this_is_not_imported" not in sys.modules
