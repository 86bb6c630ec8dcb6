"""Task options for training only (`train_task_options`)."""

import pytest

from helpers.messages import one_line
from helpers.recipes import TINY_PPO
from surefoot.api import make_recipe, train_recipe
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.runs.metrics import read_metrics
from surefoot.training.progress import Progress

TINY = TINY_PPO | {"training.steps": 256, "training.evaluate_every": 128}


def test_training_options_do_not_apply_to_evaluations(tmp_path) -> None:
    recipe = make_recipe("Hopper-v5", None, TINY | {"train_task_options.max_episode_steps": 3})
    outcome = train_recipe(recipe, "run", tmp_path, Progress(quiet=True))
    rows = list(read_metrics(outcome.folder.metrics))
    training = [row["train/length"] for row in rows if row.get("train/episodes")]
    evaluated = [row["evaluation/length"] for row in rows if "evaluation/length" in row]
    assert training and max(training) <= 3
    assert evaluated and min(evaluated) > 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"train_task_options.observe_ground": True}, "train_task_options change observations or actions"),
        ({"train_task_options.stepps": 3}, "stepps"),
        ({"train_task_options.step_height": -1}, "step_height = -1"),
    ],
)
def test_invalid_training_options_are_a_one_line_error(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_recipe("anymal-step", None, {"task_options.observe_ground": False} | options)
    one_line(caught.value)


def test_training_options_on_the_command_line(tmp_path, capsys: pytest.CaptureFixture) -> None:
    arguments = [f"--{name}={value}" for name, value in TINY.items() if not isinstance(value, list)]
    given = ["train", "Hopper-v5", "--root", str(tmp_path), "--train_task_options.healthy_reward", "-2.5", *arguments]
    assert main(given) == 0
    kept = (tmp_path / "Hopper-v5").glob("*/recipe.toml")
    assert "healthy_reward = -2.5" in next(kept).read_text()
