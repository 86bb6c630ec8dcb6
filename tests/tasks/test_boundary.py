"""Environments of users are checked at their first reset and step, and what they raise ends in one line."""

import os
import sys
import warnings
from pathlib import Path
from typing import ClassVar

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from helpers.messages import one_line
from surefoot.errors import EngineError, InputError
from surefoot.simulation.processes import ProcessesEngine
from surefoot.tasks.catalogue import find_task, make_env

OBSERVATION = np.zeros(2, np.float32)
GOOD_RESET, GOOD_STEP = (OBSERVATION, {}), (OBSERVATION, 0.5, False, False, {})


class Odd(gymnasium.Env):
    """Returns what the test asks for."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    first, second, fault = GOOD_RESET, GOOD_STEP, ""

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fault == "reset":
            raise RuntimeError("no\nport")
        return self.first

    def step(self, action):
        if self.fault == "step":
            raise SystemExit(3)
        return self.second

    def render(self):
        raise KeyError("picture")

    def close(self):
        if self.fault == "close":
            raise OSError("the port is lost")


class NoSeed(Odd):
    def reset(self):
        return self.first


class NoOptions(Odd):
    def reset(self, *, seed=None):
        return self.first


@pytest.fixture
def odd_task():
    """Return the description of a task of an `Odd` environment with other attributes."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes cannot import the tests

    def make(base=Odd, **attributes):
        kind = type("Odd", (base,), attributes)
        gymnasium.register("SurefootOdd-v0", entry_point=kind, max_episode_steps=attributes.get("limit"))
        return find_task("SurefootOdd-v0")

    yield make
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    gymnasium.registry.pop("SurefootOdd-v0", None)


def first_step(info):
    env = make_env(info)
    env.reset(seed=0)
    return env.step(np.zeros(1, np.float32))


WRONG = [
    ({"first": OBSERVATION}, "its reset returns an array of shape (2,), type float32, not (observation, info)"),
    ({"first": (0.1, 0.2)}, "its reset returns (float, float), not (observation, info)"),
    ({"first": (OBSERVATION[:1], {})}, "array of shape (1,), type float32 as the observation"),
    ({"first": (np.zeros((1, 2)), {})}, "observation_space has numbers of shape (2,)"),
    ({"first": (["a", "b"], {})}, "as the observation"),
    ({"second": GOOD_STEP[:4]}, "its step returns (ndarray, float, bool, bool), not (observation, reward, "),
    ({"second": GOOD_STEP[:4], "limit": 9}, "its step does not return the five values (observation, reward, "),
    ({"second": (OBSERVATION[:1], *GOOD_STEP[1:])}, "its step returns an array of shape (1,)"),
    ({"second": (OBSERVATION, None, False, False, {})}, "None (NoneType) as the reward, not a number"),
    ({"second": (OBSERVATION, np.zeros(2), False, False, {})}, "as the reward, not a number"),
    ({"second": (OBSERVATION, 0.0, np.array([False]), False, {})}, "as terminated, not True or False"),
    ({"second": (OBSERVATION, 0.0, 1, False, {})}, "1 (int) as terminated, not True or False"),
    ({"second": (OBSERVATION, 0.0, False, {}, {})}, "{} (dict) as truncated, not True or False"),
    ({"first": ([0.1, [0.2]], {})}, "its reset returns [0.1, [0.2]] (list) as the observation"),
    ({"base": NoSeed}, "its reset takes no seed"),
    ({"base": NoOptions, "limit": 9}, "its reset takes no options"),
]


@pytest.mark.parametrize("attributes, text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_reset_or_step_is_named_in_one_line(odd_task, attributes, text):
    info = odd_task(**attributes)
    with pytest.raises(InputError) as caught:
        first_step(info)
    one_line(caught.value, "task 'SurefootOdd-v0': its ", text)


@pytest.mark.parametrize("attributes, text", [WRONG[0], WRONG[2], WRONG[5], WRONG[10]])
def test_worker_processes_check_it_too(odd_task, attributes, text):
    engine = ProcessesEngine(odd_task(**attributes), 2, 1)
    with pytest.raises(InputError) as caught:
        engine.reset(seed=0)
        engine.step(np.zeros((2, 1), np.float32))
    one_line(caught.value, "task 'SurefootOdd-v0': its ", text)
    assert engine.closed


@pytest.mark.parametrize(
    "reward, terminated", [(np.float64(0.5), np.bool_(True)), (np.array([0.5]), np.array(True)), (1, True)]
)
def test_numbers_and_flags_of_numpy_are_taken(odd_task, reward, terminated):
    _, got, ended, *_ = first_step(odd_task(second=([0.0, 1.0], reward, terminated, False, {})))
    assert float(np.asarray(got).item()) == float(np.asarray(reward).item()) and ended


def test_later_steps_are_not_checked_again(odd_task):
    env = make_env(odd_task())
    env.reset(seed=0)
    env.step(np.zeros(1, np.float32))
    inner = env.env
    assert inner.step == inner.env.step and inner.reset == inner.env.reset


@pytest.mark.parametrize("method, text", [("reset", "RuntimeError: no port"), ("step", "SystemExit: 3")])
def test_an_exception_outside_training_is_one_line_with_the_traceback_before_it(odd_task, method, text):
    with pytest.raises(EngineError) as caught:
        first_step(odd_task(fault=method))
    assert str(caught.value) == f"task 'SurefootOdd-v0' failed in its {method}: {text}"
    assert "test_boundary.py" in caught.value.details and caught.value.details.startswith("Traceback")


def test_an_exception_while_rendering_is_one_line(odd_task):
    env = make_env(odd_task(), render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(EngineError, match="task 'SurefootOdd-v0' failed in its render: KeyError: 'picture'"):
        env.render()


def test_an_exception_while_closing_loses_nothing(odd_task):
    with pytest.warns(RuntimeWarning, match="task 'SurefootOdd-v0' failed in its close: OSError: the port is lost"):
        info = odd_task(fault="close")
    env = make_env(info)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env.close()


class Panic(BaseException):
    """Extensions in Rust raise such exceptions."""


class Panics(Odd):
    def step(self, action):
        raise Panic("index out of bounds")


class Moves(Odd):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        os.chdir("/")


def test_an_exception_that_is_no_exception_class_is_one_line(odd_task):
    with pytest.raises(EngineError, match="failed in its step: Panic: index out of bounds"):
        first_step(odd_task(base=Panics))

    def make(render_mode=None):
        raise Panic("no port")

    gymnasium.register("SurefootOdd-v0", entry_point=make)
    with pytest.raises(InputError, match="cannot be made: no port"):
        find_task("SurefootOdd-v0")


def test_an_environment_that_changes_the_working_folder_does_not_move_the_runs(odd_task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info = odd_task(base=Moves)
    make_env(info).close()
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    "dtype, action, expected", [(np.bool_, [0.4, 0.6], [False, True]), (np.float16, [0.4, 2], [0.4, 1])]
)
def test_actions_of_booleans_are_rounded_and_those_of_float16_clipped(odd_task, dtype, action, expected):
    box = Box(0, 1, (2,), dtype)
    actions = []

    def step(self, action):
        actions.append(action)
        return self.second

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = odd_task(action_space=box, step=step)
        env = make_env(info)
        env.reset(seed=0)
        env.step(np.array(action, np.float32))
    assert actions[0].dtype == dtype
    np.testing.assert_array_equal(actions[0], np.array(expected, dtype))
    assert (info.action_low.tolist(), info.action_high.tolist()) == ([0, 0], [1, 1])
