"""The command line: every command works, and every wrong input is a one-line error with exit status 2."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import jax
import numpy as np
import pytest
from PIL import Image

import surefoot.api
from helpers.messages import only_error
from surefoot.cli.main import main
from surefoot.errors import EngineError, InputError, SurefootError
from surefoot.policies.files import load_policy, save_policy
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.reports.opengl import gl_available
from surefoot.runs.folder import RunFolder
from surefoot.schedules import Schedule
from surefoot.training.loop import Counters, Outcome

COMMANDS = ("train", "resume", "sweep", "evaluate", "record", "report", "list", "doctor")
TINY = [
    "--engine.num_envs=4",
    "--ppo.horizon=32",
    "--ppo.minibatch_size",
    "64",
    "--ppo.epochs",
    "2",
    "--policy.actor",
    "8",
    "--policy.critic",
    "[8]",
    "--training.steps=512",
    "--training.evaluation_episodes",
    "2",
    "--training.evaluate_every",
    "256",
]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Working directory of every test, so that files written by a command are seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished tiny run."""
    root = tmp_path_factory.mktemp("trained") / "runs"
    assert main(["train", *TINY, "--quiet", "Hopper-v5", "--root", str(root)]) == 0
    return root / "Hopper-v5" / "ppo-seed0"


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """File of an untrained policy whose task is rendered without OpenGL."""
    path = tmp_path_factory.mktemp("pendulum") / "policy.safetensors"
    settings = PolicySettings(actor=(8,), critic=(8,))
    low, high = np.full(1, -2, np.float32), np.full(1, 2, np.float32)
    save_policy(new_policy(jax.random.PRNGKey(0), "Pendulum-v1", 3, low, high, settings), path)
    return path


@pytest.fixture
def recipe_of(monkeypatch):
    """Run `surefoot train` up to the start of the training; return the recipe, or None after wrong input."""

    def ask(*arguments: str):
        recipes = []

        def stop(recipe, *_):
            recipes.append(recipe)
            raise SurefootError("stopped by the test")

        monkeypatch.setattr(surefoot.api, "train_recipe", stop)
        status = main(["train", *arguments])
        assert status == (1 if recipes else 2)
        return recipes[0] if recipes else None

    return ask


def test_help_imports_nothing_heavy():
    script = f"""
import contextlib, io, sys
from surefoot.cli.main import main
for arguments in ([], ["--help"], *([name, "--help"] for name in {COMMANDS}), ["trian"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as exit:
            assert not exit.code
print(*(name for name in ("jax", "numpy", "gymnasium", "mujoco", "pydantic", "rich") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_lists_the_commands(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: surefoot")
    if arguments == ["--help"]:
        assert all(name in out for name in COMMANDS)


def test_without_a_command_help_is_printed(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: surefoot")


def test_train_help_mentions_settings(capsys):
    with pytest.raises(SystemExit):
        main(["train", "-h"])
    out = capsys.readouterr().out
    assert "--settings" in out and "--ppo.learning_rate" in out


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith("surefoot ")


WRONG = {
    "command": ("trian ant", "unknown command 'trian'", "'train'"),
    "unknown command": ("fly", "unknown command 'fly'", "train"),
    "flag before the command": ("--root x train ant", "--root"),
    "unknown flag alone": ("--hlep", "--hlep"),
    "no task": ("train", "which task?"),
    "task": ("train half-cheeta", "unknown task 'half-cheeta'", "'half-cheetah'"),
    "task unlike any other": ("train qqqqqqqqqqqq", "unknown task", "surefoot list"),
    "task's module": ("train nothing_of_this_name:Foo-v0", "cannot be imported"),
    "task's empty module": ("train :Foo-v0", "cannot be imported"),
    "task gone from Gymnasium": ("train Ant-v3", "cannot be made"),
    "discrete task": ("train MountainCar-v0", "continuous", "MountainCarContinuous-v0"),
    "two tasks": ("train ant --task half-cheetah", "two tasks"),
    "extra argument": ("train ant half-cheetah", "'half-cheetah'"),
    "setting": ("train ant --ppo.clipp 0.1", "unknown setting '--ppo.clipp'", "'--ppo.clip_eps'"),
    "setting without its group": ("train ant --learning_rate 1", "'--ppo.learning_rate'"),
    "setting by its name in version 0.1": ("train ant --engine.copies 8", "did you mean '--engine.num_envs'?"),
    "setting by its name in other libraries": ("train ant --ppo.gamma 0.9", "did you mean '--ppo.discount'?"),
    "setting by a part of its name": ("train ant --ppo.gae 0.9", "did you mean '--ppo.gae_lambda'?"),
    "setting unlike others of its group": ("train ant --wrappers.x 1", "--wrappers.frame_stack, --wrappers."),
    "reward weight": ("train anymal-velocity --task_options.weights {nosuch=1}", "choose from", "action_rate"),
    "setting unlike any other": ("train ant --xyzzy 1", "--settings"),
    "setting below a setting": ("train ant --ppo.clip_eps.x 1", "unknown setting"),
    "empty name of a setting": ("train ant --=3", "unknown setting"),
    "group of settings": ("train ant --training 5", "--training.steps"),
    "flag taken for a setting": ("train --quite ant", "'--quiet'"),
    "flag given a value": ("train ant --quiet=yes", "--quiet"),
    "value missing at the end": ("train ant --seed", "--seed", "needs a value"),
    "value missing before a flag": ("train ant --seed --quiet", "--seed", "needs a value"),
    "value of another type": ("train ant --seed three", "seed = 'three'"),
    "value too small": ("train ant --seed -3", "seed = -3", "greater than or equal to 0"),
    "value too large": ("train ant --seed 99999999999999999999", "seed = "),
    "thousands of digits": (f"train ant --seed {'9' * 5000}", "seed = "),
    "fraction": ("train ant --engine.num_envs 2.5", "engine.num_envs = 2.5"),
    "not a number": ("train ant --ppo.clip_eps nan", "ppo.clip_eps = nan"),
    "infinite": ("train ant --training.steps inf", "training.steps = inf"),
    "list for a number": ("train ant --ppo.clip_eps [1]", "ppo.clip_eps = [1]"),
    "negative layer width": ("train ant --policy.actor [64,-1]", "policy.actor.1 = -1"),
    "number for a table": ("train ant --task_options 5", "task_options = 5"),
    "choice": ("train ant --ppo.value_loss hubr", "'huber'"),
    "algorithm": ("train ant --algorithm pppo", "algorithm = 'pppo'", "'ppo'"),
    "algorithm that is a number": ("train ant --algorithm 5", "algorithm"),
    "engine": ("train ant --engine.name batsh", "'batch'"),
    "engine without the task": ("train BipedalWalker-v3 --engine.name batch", "engine 'batch'"),
    "tracker": ("train ant --training.trackers tensorbord", "'tensorboard'"),
    "minibatch too large": ("train ant --ppo.minibatch_size 1e9", "ppo.minibatch_size"),
    "too much at once": ("train ant --engine.num_envs 100000 --ppo.horizon 10000", "50 million"),
    "task's option": ("train ant --task_options.wings 2", "wings"),
    "recipe": ("train half-cheetah --recipe half-cheeta", "unknown recipe", "'half-cheetah'"),
    "recipe's file": ("train half-cheetah --recipe none.toml", "none.toml", "No such file"),
    "recipe of another task": ("train half-cheetah --recipe bipedal-walker", "is for task 'bipedal-walker'"),
    "recipe that is a device": ("train half-cheetah --recipe /dev/zero", "not a file"),
    "recipe's name too long": (f"train half-cheetah --recipe {'x' * 300}", "unknown recipe"),
    "no such run to start from": ("train ant --from ant/ppo", "no run 'ant/ppo'"),
    "no such file to start from": ("train ant --from none.safetensors", "none.safetensors", "No such file"),
    "two runs to start from": (
        "train ant --from a --training.start_from b",
        "are the same setting",
    ),
    "start from nothing": ("train ant --from=", "--from"),
    "two engines": ("train ant --engine batch --engine.name batch", "--engine and --engine.name are the same setting"),
    "no such engine": ("train ant --engine bacth", "engine.name", "bacth"),
    "engine for another task": ("train ant --engine opensim", "engine 'opensim' cannot simulate task 'ant'"),
    "std without an earlier run": ("train ant --training.from_std 0.1", "training.from_std"),
    "run's name": ("train ant --name a/b", "cannot be called 'a/b'"),
    "run's name empty": ("train ant --name=", "cannot be called"),
    "root is a file": ("train ant --root /dev/null", "cannot make", "/dev/null"),
    "root cannot be made": ("train ant --root /dev/null/runs", "cannot make", "/dev/null"),
    "root cannot be written": ("train ant --root /proc/1/runs", "cannot make"),
    "no such run to resume": ("resume ant/ppo", "no run 'ant/ppo'"),
    "run's name far too long": (f"resume {'x' * 300}", "name too long"),
    "steps of resume": ("resume x --steps 0", "--steps", "0: choose 1 or more"),
    "fraction for resume": ("resume x --steps 1.5", "'1.5' is not an integer"),
    "no run given": ("resume", "required: run"),
    "no such run to evaluate": ("evaluate ant/ppo", "no run 'ant/ppo'"),
    "nothing to evaluate": ("evaluate", "RUN"),
    "flag of evaluate": ("evaluate x --engin batch", "'--engine'"),
    "no such run to record": ("record ant/ppo", "no run 'ant/ppo'"),
    "episodes of record": ("record x --episodes 0", "--episodes", "0: choose 1 to"),
    "seed of record": ("record x --seed -1", "--seed", "-1: choose 0 to"),
    "size of record": ("record x --size 640", "--size", "'640' is not a size such as 640x480"),
    "rate of record": ("record x --fps fast", "--fps", "'fast' is not a number"),
    "no such run to report": ("report ant/ppo", "no run 'ant/ppo'"),
    "no such run to draw": ("report ant/ppo --output both.png", "no run 'ant/ppo'"),
    "episodes of report": ("report x --episodes 0", "--episodes", "0: choose 1 to"),
    "seed of report": ("report x --seed -1", "--seed", "-1: choose 0 to"),
    "which policy of report": ("report x --which last", "--which"),
    "pages of two runs in one file": ("report x y --output page.html", "page.html", "name one run"),
    "task of list": ("list half-cheeta", "unknown task 'half-cheeta'", "'half-cheetah'"),
    "extra argument of list": ("list ant ant", "'ant'"),
    "recipe of settings": ("train ant --recipe nosuch --settings", "unknown recipe 'nosuch'", "surefoot list"),
    "recipe of settings without a task": ("train --recipe nosuch --settings", "unknown recipe 'nosuch'"),
    "changed settings without a task": ("train --seed 3 --settings", "of which task?"),
    "option of a Gymnasium task": ("train ant --task_options.wings 2", "'wings'", "ctrl_cost_weight"),
    "option of a task": ("train anymal --task_options.wings 2", "'wings'", "Choose from base, ", "motor"),
    "task of settings": ("train half-cheeta --settings", "unknown task 'half-cheeta'"),
    "setting of settings": ("train ant --settings --seed three", "seed = 'three'"),
    "unknown flag of doctor": ("doctor --fast", "'--fast'"),
}


@pytest.mark.parametrize("line, fragments", [(line, rest) for line, *rest in WRONG.values()], ids=WRONG.keys())
def test_wrong_input_is_a_one_line_error(line, fragments, capsys, empty_folder):
    assert main(line.split()) == 2
    only_error(capsys, *fragments)
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, fragment",
    [
        (["train", "a\nb"], "unknown task 'a b'"),
        (["tr\nain"], "unknown command"),
        (["train", "ant", "--policy.std", "a\nb"], "policy.std"),
        (["train", "ant", "--ppo.clip_eps", "0.1\nseed = 3"], "ppo.clip_eps"),
        (["train", "ant", "--recipe", "a\nb.toml"], "No such file"),
        (["resume", "a\nb"], "no run"),
        (["train", "\x1b[2Jant"], "unknown task '?[2Jant'"),
    ],
)
def test_line_breaks_and_escapes_in_the_input_give_one_line(arguments, fragment, capsys, empty_folder):
    assert main(arguments) == 2
    only_error(capsys, fragment)
    assert list(empty_folder.iterdir()) == []


def test_wrong_input_does_not_change_the_root_folder(capsys, empty_folder):
    (empty_folder / "runs").mkdir()
    assert main(["train", "Hopper-v5", "--training.trackers", "wandb,tensorbord"]) == 2
    only_error(capsys, "tensorboard")
    assert list((empty_folder / "runs").iterdir()) == []


def test_a_task_that_is_continuous_only_with_an_option():
    recipe = surefoot.api.make_recipe("LunarLander-v3", None, {"task_options.continuous": True})
    assert recipe.task_options == {"continuous": True}


def test_an_existing_run_name_is_an_error(trained, capsys):
    root = trained.parents[1]
    assert main(["train", "Hopper-v5", "--name", "ppo-seed0", "--root", str(root)]) == 2
    only_error(capsys, "exists", "surefoot resume")
    assert (trained / "checkpoints").exists()


@pytest.mark.parametrize("command", ["resume", "evaluate", "record", "report"])
def test_errors_suggest_the_nearest_run(command, trained, capsys):
    assert main([command, "Hopper-v5/ppo-sed0", "--root", str(trained.parents[1])]) == 2
    only_error(capsys, "'Hopper-v5/ppo-seed0'")


@pytest.mark.parametrize(
    "arguments, fragment",
    [
        (["evaluate", "{}", "--engine", "batsh"], "'batch'"),
        (["evaluate", "{}", "--episodes", "0"], "episodes"),
        (["evaluate", "{}", "--seed", "-1"], "seed"),
        (["evaluate", "{}", "--task_options.healthy_rewart", "2"], "healthy_rewart"),
        (["evaluate", "{}", "--task_options.healthy_reward"], "needs a value"),
        (["evaluate", "{}", "--ppo.clip_eps", "0.1"], "unexpected argument '--ppo.clip_eps'"),
        (["record", "{}", "--task_options.exclude_current_positions_from_observation", "false"], "has 11 numbers"),
        (["record", "{}", "--output", "new/film.avi"], ".mp4"),
        (["record", "{}", "--fps", "0"], "fps = 0.0: choose 1 to 1,000"),
        (["record", "{}", "--seconds", "-1"], "seconds = -1.0"),
        (["record", "{}", "--size", "8x480"], "width = 8: choose 16 to 4,096"),
        (["report", "{}", "--output", "new/curve.txt"], ".png"),
        (["resume", "{}", "--root"], "--root"),
    ],
)
def test_wrong_options_for_a_run_are_errors(arguments, fragment, trained, capsys, empty_folder):
    assert main([argument.format(trained) for argument in arguments]) == 2
    only_error(capsys, fragment)
    assert list(empty_folder.iterdir()) == []


def test_a_full_disk_leaves_no_run_folder(monkeypatch, capsys, empty_folder):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(surefoot.api, "atomic_write", full)
    assert main(["train", "Hopper-v5"]) == 2
    only_error(capsys, "recipe.toml", "No space left")
    assert list(empty_folder.iterdir()) == []


def test_a_simulator_failure_leaves_no_run_folder(monkeypatch, capsys, empty_folder):
    def fail(*_):
        raise EngineError("the simulator is broken", "its traceback\n")

    monkeypatch.setattr("surefoot.training.loop.make_engine", fail)
    assert main(["train", "Hopper-v5", "--root", "some/where"]) == 1
    assert capsys.readouterr().err == "its traceback\nsurefoot: the simulator is broken\n"
    assert list(empty_folder.iterdir()) == []


def test_ctrl_c_before_the_training_leaves_no_run_folder(monkeypatch, capsys, empty_folder):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("surefoot.training.loop.make_engine", interrupt)
    assert main(["train", "Hopper-v5"]) == 130
    only_error(capsys, "interrupted")
    assert list(empty_folder.iterdir()) == []


def test_an_os_error_is_one_line(trained, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "some/file")

    monkeypatch.setattr(surefoot.api, "evaluate", fail)
    assert main(["evaluate", str(trained)]) == 1
    only_error(capsys, "'some/file': No space left on device")


def test_a_bug_is_not_hidden(trained, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(surefoot.api, "evaluate", fail)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", str(trained)])


def test_a_closed_pipe_is_not_an_error():
    command = [sys.executable, "-m", "surefoot.cli.main", "train", "--settings"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments, name, value",
    [
        ("ant --seed 3", "seed", 3),
        ("--seed 3 ant", "seed", 3),
        ("--seed=3 ant --quiet", "seed", 3),
        ("--task ant --seed 3", "seed", 3),
        ("ant --seed 1 --seed 3", "seed", 3),
        ("ant --training.steps 1e6", "training.steps", 1_000_000),
        ("ant --training.steps 1_000_000", "training.steps", 1_000_000),
        ("ant --training.steps 5_000.0", "training.steps", 5_000),
        ("ant --training.stop_at_return -100", "training.stop_at_return", -100),
        ("ant --training.stop_at_return -1.5e2", "training.stop_at_return", -150),
        ("bipedal-walker --training.stop_at_return none", "training.stop_at_return", None),
        ("ant --ppo.learning_rate 1e-3", "ppo.learning_rate", Schedule(start=1e-3)),
        ("ant --ppo.learning-rate .5", "ppo.learning_rate", Schedule(start=0.5)),
        ("ant --ppo.learning_rate.end 1e-4", "ppo.learning_rate", Schedule(kind="linear", start=7e-4, end=1e-4)),
        (
            "half-cheetah --ppo.learning_rate.kind linear --ppo.learning_rate.end 0",
            "ppo.learning_rate",
            Schedule(kind="linear", start=7e-4, end=0),
        ),
        (
            "ant --ppo.learning-rate.kind cosine --ppo.learning_rate 1e-3",
            "ppo.learning_rate",
            Schedule(kind="cosine", start=1e-3),
        ),
        (
            "half-cheetah --algorithm sac --sac.actor_learning_rate.kind linear",
            "sac.actor_learning_rate",
            Schedule(kind="linear", start=3e-4),
        ),
        ("ant --ppo.learning_rate {kind='linear',start=1}", "ppo.learning_rate", Schedule(kind="linear", start=1)),
        ("ant --ppo.normalise_advantages none", "ppo.normalise_advantages", "none"),
        ("ant --policy.layer_norm true", "policy.layer_norm", True),
        ("ant --policy.actor [64,32]", "policy.actor", (64, 32)),
        ("ant --policy.actor 64,32", "policy.actor", (64, 32)),
        ("ant --policy.actor 64", "policy.actor", (64,)),
        ("ant --policy.actor []", "policy.actor", ()),
        ("ant --policy.activation relu", "policy.activation", "relu"),
        ("ant --policy.activation 'relu'", "policy.activation", "relu"),
        ("ant --training.trackers tensorboard", "training.trackers", ("tensorboard",)),
        ("ant --training.trackers [tensorboard,wandb]", "training.trackers", ("tensorboard", "wandb")),
        ("ant --description 2024", "description", "2024"),
        ("ant --description=a=b", "description", "a=b"),
        ("ant --engine.name batch --seed 0", "engine.name", "batch"),
        ("ant --task_options.ctrl_cost_weight 0", "task_options", {"ctrl_cost_weight": 0}),
        ("half-cheetah --recipe half-cheetah --ppo.epochs 1", "ppo.epochs", 1),
    ],
)
def test_forms_of_values(arguments, name, value, recipe_of):
    setting = recipe_of(*arguments.split())
    for part in name.split("."):
        setting = getattr(setting, part)
    assert setting == value and type(setting) in (type(value), float)


def test_values_may_contain_spaces(recipe_of):
    assert recipe_of("ant", "--description", 'say "no" # twice').description == 'say "no" # twice'
    assert recipe_of("ant", "--policy.actor", "[64, 32]").policy.actor == (64, 32)


def test_the_run_name_is_not_the_recipe_name(recipe_of):
    assert recipe_of("half-cheetah", "--name", "mine").name == "half-cheetah"


def test_the_files_of_a_run(trained):
    folder = RunFolder(trained)
    assert folder.recipe.is_file() and folder.metrics.is_file() and folder.policy_file.is_file()
    assert (folder.policy / "last.safetensors").is_file()
    assert [path.name for path in folder.checkpoints.iterdir()][-1:] != []
    assert load_policy(folder.policy_file).settings.actor == (8,)


def test_train_prints_the_next_commands(capfd, empty_folder):
    short = [word.replace("512", "128") for word in TINY]
    assert main(["train", "Hopper-v5", *short, "--seed", "3"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0].startswith("finished at step 128")
    assert "surefoot evaluate runs/Hopper-v5/ppo-seed3" in out
    assert "'Hopper-v5' by ppo" in err


def test_resume_continues(trained, tmp_path, capfd):
    shutil.copytree(trained, tmp_path / "copy")
    assert main(["resume", "copy", "--steps", "6.4e2"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("finished at step 640") and "from step 512" in err


def test_resume_of_a_complete_run_names_the_option_that_continues_it(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "a copy")
    assert main(["resume", "a copy", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "surefoot resume 'a copy' --steps 1024" in out
    assert "surefoot evaluate 'a copy'" in out, "printed commands are quoted"


def test_evaluate_prints_a_table_and_writes_the_result(trained, capsys):
    assert main(["evaluate", str(trained), str(trained / "policy" / "last.safetensors"), "--episodes", "3"]) == 0
    out, _ = capsys.readouterr()
    assert len(out.splitlines()) == 5 and "Hopper-v5/ppo-seed0" in out and "m/s net, turns 0° in 10 s" in out
    assert json.loads((trained / "evaluation.json").read_text())["episodes"] == 3


def test_nothing_is_evaluated_if_a_run_is_missing(trained, capsys, monkeypatch):
    monkeypatch.setattr(surefoot.api, "evaluate", lambda *_, **__: pytest.fail("evaluated"))
    assert main(["evaluate", str(trained), "typo"]) == 2
    only_error(capsys, "no run 'typo'")


def test_evaluate_with_changed_task_options(trained, capsys):
    results = []
    for options in ([], ["--task_options.max_episode_steps", "4", "--task_options.healthy_reward=3"]):
        assert main(["evaluate", str(trained), "--episodes", "2", "--json", *options]) == 0
        results.append(json.loads(capsys.readouterr().out)[0])
    assert results[0]["length"]["mean"] > 4 == results[1]["length"]["mean"]
    assert results[1]["task_options"] == {"healthy_reward": 3, "max_episode_steps": 4}
    assert 2.5 < results[1]["return"]["mean"] / 4 < 3.5


def test_evaluations_are_reproducible(trained, capsys):
    results = []
    arguments = [
        "evaluate",
        "Hopper-v5/ppo-seed0",
        "--root",
        str(trained.parents[1]),
        "--episodes",
        "2",
        "--json",
        "--last",
    ]
    for _ in range(2):
        assert main(arguments) == 0
        results.append(json.loads(capsys.readouterr().out)[0])
    assert results[0]["returns"] == results[1]["returns"] and len(results[0]["returns"]) == 2


@pytest.mark.parametrize("command", [["evaluate", "--episodes", "1"], ["report", "--episodes", "1", "--no-video"]])
def test_a_run_without_a_best_policy_is_shown_by_its_last(command, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy" / "policy" / "policy.safetensors").unlink()
    assert main([*command, "copy"]) == 0
    assert "so this is its last policy" in capsys.readouterr().err
    (tmp_path / "copy" / "policy" / "last.safetensors").unlink()
    assert main([*command, "copy"]) == 2
    only_error(capsys, "has no policy yet")


def test_report_makes_a_page_of_each_run(trained, capsys, empty_folder):
    arguments = ["report", str(trained), "--episodes", "1", "--no-video"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert [Path(path).name for path in out.splitlines()] == ["report.html", "gait.json"] and err == ""
    assert (trained / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main([*arguments, "--last", "--seed", "5", "--output", "new/page.html"]) == 0
    assert "--seed 5 --last --no-video" in (empty_folder / "new" / "page.html").read_text()
    assert (empty_folder / "new" / "page.json").exists()


def test_report_of_a_policy_file(pendulum, capsys, empty_folder):
    assert main(["report", str(pendulum), "--episodes", "1", "--no-video"]) == 0
    assert capsys.readouterr().out.split() == ["report.html", "gait.json"]
    assert sorted(path.name for path in empty_folder.iterdir()) == ["gait.json", "report.html"]


def test_report_draws_the_curves_of_several_runs(trained, capsys, empty_folder):
    assert main(["report", str(trained), str(trained), "--output", "both.png"]) == 0
    assert capsys.readouterr().out == "both.png\n"
    assert (empty_folder / "both.png").read_bytes().startswith(b"\x89PNG")


def test_record_a_policy_file(pendulum, capsys, empty_folder):
    assert main(["record", str(pendulum), "--output", "new/film.mp4"]) == 0
    assert "in 200 steps" in capsys.readouterr().out
    assert b"ftyp" in (empty_folder / "new" / "film.mp4").read_bytes()[:16]


def test_record_a_film_of_a_given_length_size_and_rate(pendulum, capsys, empty_folder):
    arguments = ["--seconds", "0.5", "--fps", "10", "--size", "120x90", "--start", "1", "--quiet"]
    assert main(["record", str(pendulum), "--output", "film.mp4", *arguments]) == 0
    reader = imageio_ffmpeg.read_frames("film.mp4")
    meta = next(reader)
    assert meta["size"] == (120, 90) and meta["fps"] == 10 and len(list(reader)) == 5
    assert main(["record", str(pendulum), "--output", "film.gif", *arguments]) == 0
    with Image.open("film.gif") as picture:
        assert picture.size == (120, 90) and getattr(picture, "n_frames", 1) == 5


def test_record_the_snapshots_of_a_run(empty_folder, capsys):
    command = ["train", *TINY, "--quiet", "Pendulum-v1", "--name", "run", "--training.snapshot_every", "300"]
    assert main(command) == 0
    run = empty_folder / "runs" / "Pendulum-v1" / "run"
    names = [f"step-{steps:012d}" for steps in (128, 384)]  # the first, and the first after 300 steps
    assert sorted(path.stem for path in (run / "policy").glob("step-*")) == names
    assert [load_policy(run / "policy" / f"{name}.safetensors").origin["steps"] for name in names] == [128, 384]
    capsys.readouterr()
    assert main(["record", str(run), "--snapshots"]) == 0
    assert sorted(path.name for path in (run / "videos").iterdir()) == [f"{name}.mp4" for name in names]
    capsys.readouterr()
    assert main(["record", str(run), "--snapshots", "--output", "film.mp4"]) == 2
    only_error(capsys, "--output")


def test_record_snapshots_of_a_run_without_any(trained, capsys):
    assert main(["record", str(trained), "--snapshots"]) == 2
    only_error(capsys, "has no snapshots", "training.snapshot_every")


@pytest.mark.gl
@pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine")
def test_record_a_run(trained, capsys):
    assert main(["record", str(trained)]) == 0
    video = (trained / "videos" / "best.mp4").read_bytes()
    assert b"ftyp" in video[:16]
    assert main(["record", str(trained), "--task_options.max_episode_steps", "4"]) == 0
    assert (trained / "videos" / "best-changed.mp4").exists()
    assert (trained / "videos" / "best.mp4").read_bytes() == video, "the video of the run's own task remains"


def test_a_failed_video_does_not_undo_the_training(trained, monkeypatch, capsys):
    outcome = Outcome(RunFolder(trained), Counters(steps=512), "finished")

    def fail(*_, **__):
        raise InputError("rendering failed")

    monkeypatch.setattr(surefoot.api, "train_recipe", lambda *_: outcome)
    monkeypatch.setattr("surefoot.reports.video.record", fail)
    assert main(["train", "Hopper-v5", "--video"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("finished at step 512")
    assert err == "surefoot: the training has finished, but no video was recorded: rendering failed\n"
