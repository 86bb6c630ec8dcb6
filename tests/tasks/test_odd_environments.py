"""Every odd environment trains, or is refused in one line that says what is wrong."""

from pathlib import Path

import jax
import numpy as np
import pytest

from helpers import odd_environments
from helpers.messages import one_line, refused
from helpers.recipes import TINY_PPO, make_recipe
from surefoot.api import train_recipe
from surefoot.cli.main import main
from surefoot.errors import EngineError, InputError, NonFiniteError, SurefootError
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.reports.video import record
from surefoot.tasks.catalogue import find_task, make_env

WORK = (
    *("Point", "Float64", "Float16", "IntObs", "Unbounded", "FarUnbounded", "HalfBounded", "Asymmetric", "HugeBounds"),
    *("ZeroRange", "IntAction", "Float64Action", "ManyActions", "Wide", "IntReward", "ArrayReward"),
    *("Chatty", "Slow", "NoRender", "RGBA", "RenderRaises", "GrowingPictures", "EmptyPictures", "LargePictures"),
    *("Falls", "OneStep", "Dies", "Single", "Endless", "EndlessFalls", "Wrapped"),
)
# The task cannot be described.
REFUSED = {
    "NoActions": "has no actions; there is nothing to learn",
    "NoObs": "has no observations; there is nothing to learn",
    "ScalarObs": "observes a box of shape ();",
    "Matrix": "observes a box of shape (3, 4);",
    "DictObs": "observes Dict;",
    "DiscreteObs": "observes Discrete;",
    "LateSpaces": "has no observation_space when it is made; set it in the constructor",
    "NoSpacesYet": "cannot be described: RuntimeError: connect first",
    "NeedsArg": "option 'mass' is missing",
}
# The first reset or step shows it.
WRONG = {
    "NoneReward": "its step returns None (NoneType) as the reward, not a number",
    "ShortObs": "shape (1,), type float32 as the observation, but its observation_space has numbers of shape (4,)",
    "LongObs": "shape (5,), type float32 as the observation, but its observation_space has numbers of shape (3,)",
    "OldReset": "its reset returns an array of shape (3,), type float32, not (observation, info)",
    "OldReset2": "its reset returns an array of shape (2,), type float32, not (observation, info)",
    "OldStep": "its step does not return the five values (observation, reward, terminated, truncated, info)",
    "NoSeed": "its reset takes no seed",
}
# It fails later on; numbers that are not finite stop the training.
FAIL = {
    "RaisesInStep": "step: RuntimeError: the gripper is open and so is the door",
    "RaisesInReset": "reset: OSError: cannot connect to the simulator at port 5000",
    "Exits": "step: SystemExit: 3",
}
NOT_FINITE = {
    "NanObs": "observation 1 of environment 0 is nan, at step 40",
    "InfReward": "the reward of environment 0 is inf, at step 40",
    "HugeReward": "the reward of environment 0 is -",
}
NO_FILM = {
    "NoRender": "cannot be made",
    "RenderRaises": "failed in its render: RuntimeError: no display",
    "LargePictures": "cannot be rendered: its pictures have 5000 x 2 pixels; choose --size",
    "EmptyPictures": "cannot be rendered: its pictures have 96 x 0 pixels",
}
TINY = [
    *("--training.steps", "256", "--training.evaluation_episodes", "2", "--engine.num_envs", "2"),
    *("--engine.threads", "1", "--ppo.horizon", "64", "--ppo.minibatch_size", "64"),
    *("--policy.actor", "[8]", "--policy.critic", "[8]", "--quiet", "--name", "run"),
]


def task(name: str) -> str:
    return f"{odd_environments.PREFIX}{name}-v0"


def live(name: str, episodes: int = 2) -> None:
    """Take random actions for some episodes, of 50 steps at most."""
    info = find_task(task(name))
    env = make_env(info)
    random = np.random.default_rng(0)
    low, high = np.clip(info.action_low, -2, 2), np.clip(info.action_high, -2, 2)
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        for _ in range(50):
            assert np.shape(observation) == (info.observation_size,)
            observation, reward, terminated, truncated, _ = env.step(random.uniform(low, high).astype(np.float32))
            assert np.isfinite(float(np.asarray(reward).item()))
            if terminated or truncated:
                break
    env.close()


def film(name: str, folder: Path) -> None:
    """Film half a second of a random policy."""
    info = find_task(name)
    policy = new_policy(
        jax.random.PRNGKey(0), info.name, 3, info.action_low, info.action_high, PolicySettings(actor=(8,), critic=(8,))
    )
    record(policy, info, folder / "film.mp4", seconds=0.5)


def test_every_odd_environment_is_tested() -> None:
    assert sorted((*WORK, *REFUSED, *WRONG, *FAIL, *NOT_FINITE)) == odd_environments.NAMES


@pytest.mark.parametrize("name", WORK)
def test_an_odd_environment_works(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odd_environments.time, "sleep", lambda _: None)
    live(name)


@pytest.mark.parametrize("name", REFUSED)
def test_an_environment_that_cannot_be_learned_is_refused(name: str) -> None:
    assert REFUSED[name] in refused(EngineError if name == "NoSpacesYet" else InputError, find_task, task(name))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_environment_is_noticed_at_once(name: str) -> None:
    one_line(refused(InputError, live, name), f"task '{task(name)}': its ", WRONG[name])


@pytest.mark.parametrize("name", FAIL)
def test_an_exception_of_an_environment_is_one_line(name: str) -> None:
    assert f"task '{task(name)}' failed in its {FAIL[name]}" in refused(EngineError, live, name, 3)


def test_a_reward_whose_square_is_not_finite_is_named(tmp_path: Path) -> None:
    name = "HugeReward"
    settings = make_recipe(task(name), settings=TINY_PPO, engine__num_envs=2, ppo__horizon=32)
    assert NOT_FINITE[name] in refused(NonFiniteError, train_recipe, settings, root=tmp_path)


@pytest.mark.parametrize("name", ["RGBA", "GrowingPictures"])
def test_unusual_pictures_are_filmed(name: str, tmp_path: Path) -> None:
    film(task(name), tmp_path)


@pytest.mark.parametrize("name", NO_FILM)
def test_an_environment_without_pictures_cannot_be_filmed(name: str, tmp_path: Path) -> None:
    assert f"task '{task(name)}' {NO_FILM[name]}" in refused(SurefootError, film, task(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", odd_environments.NAMES)
def test_every_command_ends_well_or_in_one_line(name: str, tmp_path: Path, monkeypatch, capfd) -> None:
    """`Dies` ends its worker process, which is replaced, until it has died too often."""
    monkeypatch.setenv("ODD_DIES", "1")
    status = main(["train", task(name), "--root", str(tmp_path), *TINY])
    error = capfd.readouterr().err.strip()
    fails = {**FAIL, **NOT_FINITE, "Dies": "", "Single": ""}
    refused_by_us = name != "NoSpacesYet" and (name in REFUSED or name in WRONG)
    assert status == (2 if refused_by_us else name in fails or name in REFUSED)
    if status:
        one_line(error.splitlines()[-1], "surefoot: ", {**REFUSED, **WRONG, **NOT_FINITE}.get(name, name))
        return
    run = str(next(tmp_path.rglob("recipe.toml")).parent)
    assert main(["evaluate", run, "--episodes", "2"]) == 0
    assert main(["record", run, "--seconds", "1", "--quiet"]) == {
        "NoRender": 2,
        "EmptyPictures": 2,
        "LargePictures": 2,
        "RenderRaises": 1,
    }.get(name, 0)
