"""A symmetry in a whole training: what it asks for, what it logs, and the policy that it leaves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import recipes
from helpers.messages import only_error
from helpers.recipes import TINY_PPO
from surefoot.api import train_recipe
from surefoot.cli.main import main
from surefoot.errors import InputError, RunError
from surefoot.evaluation.episodes import SELECTION_SEEDS, run_episodes
from surefoot.policies.files import load_policy
from surefoot.recipes.files import default_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.metrics import read_metrics
from surefoot.settings import validate
from surefoot.tasks.catalogue import find_task
from surefoot.tasks.symmetry import known_mirror

ITERATION = 64
OPTIONS = {"max_episode_steps": 20}
TINY = TINY_PPO | {
    "ppo.minibatch_size": 24,
    "ppo.learning_rate": 0.01,
    "training.steps": ITERATION * 2,
    "training.evaluate_every": ITERATION * 2,
    "task_options": OPTIONS,
}


def make_recipe(task: str = "ant", **changes: Any) -> Recipe:
    return recipes.make_recipe(task, "ppo", TINY, **changes)


@pytest.mark.parametrize("symmetry", ["augment", "loss", "averaged", "tied"])
def test_training_with_each_kind_of_symmetry(symmetry: str, tmp_path: Path) -> None:
    recipe = make_recipe(ppo__symmetry=symmetry)
    folder = train_recipe(recipe, "run", tmp_path).folder
    rows = read_metrics(folder.metrics)
    updates = [row for row in rows if "loss/policy" in row]
    assert len(updates) == 2
    for row in updates:
        assert ("loss/symmetry" in row) == (symmetry in ("augment", "loss"))

    policy = load_policy(folder.policy / "last.safetensors")
    info = find_task("ant", OPTIONS)
    mirror = known_mirror(info, "")
    x = np.random.default_rng(0).normal(size=(20, info.observation_size)).astype(np.float32)
    difference = np.abs(
        policy.predict(np.asarray(mirror.observation(x)))[0] - mirror.action(policy.predict(x)[0])
    ).max()
    assert difference < 1e-5 if symmetry in ("averaged", "tied") else difference > 1e-3
    assert (policy.controller.mirror is not None) == (symmetry == "averaged"), "a tied policy needs no mirror"
    # The policy that was evaluated during training is that of the file.
    judged = [row["evaluation/return"] for row in rows if "evaluation/return" in row]
    result = run_episodes(policy, "batch", info, 2, SELECTION_SEEDS).returns.mean()
    assert judged == [pytest.approx(result, rel=1e-6)]


def test_training_without_symmetry_logs_no_mirror_loss(tmp_path: Path) -> None:
    folder = train_recipe(make_recipe(ppo__symmetry="none"), "run", tmp_path).folder
    updates = [row for row in read_metrics(folder.metrics) if "loss/policy" in row]
    assert all("loss/symmetry" not in row for row in updates)
    assert load_policy(folder.policy / "last.safetensors").controller.mirror is None


def test_symmetry_without_a_known_mirror_is_refused_in_one_line(tmp_path: Path, capsys) -> None:
    words = ["train", "Hopper-v5", "--root", str(tmp_path), "--ppo.symmetry", "averaged"]
    assert main(words) == 2
    err = only_error(capsys)
    assert err.startswith("surefoot: ppo.symmetry = 'averaged': ") and "'Hopper-v5'" in err
    assert "no mirror image of task 'Hopper-v5' is known" in err
    assert not list(tmp_path.iterdir())
    # The same for a recipe made in Python.
    with pytest.raises(InputError, match=r"ppo\.symmetry = 'augment'"):
        train_recipe(make_recipe("Hopper-v5", ppo__symmetry="augment"), "run", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_invalid_symmetry_is_refused_in_one_line(tmp_path: Path, capsys) -> None:
    assert main(["train", "ant", "--root", str(tmp_path), "--ppo.symmetry", "averagd"]) == 2
    only_error(capsys, "ppo.symmetry = 'averagd'", "did you mean 'averaged'")


def test_tied_networks_start_from_tied_ones_only(tmp_path: Path) -> None:
    first = train_recipe(make_recipe(ppo__symmetry="tied", training__steps=ITERATION), "tied", tmp_path).folder
    kept = first.policy / "last.safetensors"
    again = make_recipe(ppo__symmetry="tied", training__steps=ITERATION, training__start_from=str(kept))
    policy = load_policy(train_recipe(again, "again", tmp_path).folder.policy / "last.safetensors")
    weight = np.asarray(policy.controller.network.actor[0]["weight"])
    mirror = known_mirror(find_task("ant", OPTIONS), "")
    image = weight[mirror.observation_index] * mirror.observation_sign[:, None]
    np.testing.assert_array_equal(weight[:, :4], image[:, 4:])
    train_recipe(make_recipe(ppo__symmetry="none", training__steps=ITERATION), "plain", tmp_path)
    plain = make_recipe(ppo__symmetry="tied", training__start_from=str(tmp_path / "ant/plain/policy/last.safetensors"))
    with pytest.raises(RunError, match="its weights are not tied in pairs"):
        train_recipe(plain, "never", tmp_path)


@pytest.mark.parametrize(
    "task, message",
    [
        ("bipedal-walker", "sac.symmetry = 'tied' needs policy.normalise_observations = true"),
        ("Pendulum-v1", "sac.symmetry = 'tied': no mirror image of task 'Pendulum-v1' is known"),
    ],
)
def test_tied_networks_need_a_mirror_without_offsets(task: str, message: str, tmp_path: Path) -> None:
    recipe = default_recipe(task, "sac")
    changes = {"sac.symmetry": "tied", "engine.name": "processes", "engine.num_envs": 2}
    recipe = validate(Recipe, replaced(recipe, changes), "test")
    with pytest.raises(InputError, match=message):
        train_recipe(recipe, "run", tmp_path)
