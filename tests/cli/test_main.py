"""The command line: every command does its work, and every wrong input is met by one line and exit status 2."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import surefoot.api
from surefoot.cli.main import main
from surefoot.errors import EngineError, InputError, SurefootError
from surefoot.policies.files import load_policy, save_policy
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.recipes.overrides import setting_fields
from surefoot.reports.opengl import gl_available
from surefoot.runs.folder import RunFolder
from surefoot.schedules import Schedule
from surefoot.simulation.factory import ENGINES
from surefoot.training.loop import Counters, Outcome

COMMANDS = ("train", "resume", "evaluate", "record", "report", "list", "doctor")
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
    """Where every test runs; what a command leaves behind shows in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run that is done."""
    root = tmp_path_factory.mktemp("trained") / "runs"
    assert main(["train", *TINY, "--quiet", "Hopper-v5", "--root", str(root)]) == 0
    return root / "Hopper-v5" / "ppo-seed0"


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """The file of an untrained policy whose task can be drawn without OpenGL."""
    path = tmp_path_factory.mktemp("pendulum") / "policy.safetensors"
    settings = PolicySettings(actor=(8,), critic=(8,))
    low, high = np.full(1, -2, np.float32), np.full(1, 2, np.float32)
    save_policy(new_policy(jax.random.PRNGKey(0), "Pendulum-v1", 3, low, high, settings), path)
    return path


def assert_one_line(capsys, *fragments: str) -> None:
    out, err = capsys.readouterr()
    assert err.startswith("surefoot: ") and err.endswith("\n") and err.count("\n") == 1
    assert out == ""
    for fragment in fragments:
        assert fragment in err


@pytest.fixture
def asked(monkeypatch):
    """Run `surefoot train` up to where the training would begin; return the recipe, or None if it was refused."""

    def ask(*words: str):
        recipes = []

        def stop(recipe, *_):
            recipes.append(recipe)
            raise SurefootError("enough")

        monkeypatch.setattr(surefoot.api, "train_recipe", stop)
        status = main(["train", *words])
        assert status == (1 if recipes else 2)
        return recipes[0] if recipes else None

    return ask


# --- help -----------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    script = f"""
import contextlib, io, sys
from surefoot.cli.main import main
for words in ([], ["--help"], *([name, "--help"] for name in {COMMANDS}), ["trian"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(words)
        except SystemExit as exit:
            assert not exit.code
print(*(name for name in ("jax", "numpy", "gymnasium", "mujoco", "pydantic", "rich") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_says_what_there_is(words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: surefoot")
    if words == ["--help"]:
        assert all(name in out for name in COMMANDS)


def test_no_command_is_a_wish_for_help(capsys):
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


# --- wrong input ----------------------------------------------------------------------------------------------------

WRONG = {
    "command": ("trian ant", "unknown command 'trian'", "'train'"),
    "command that is none": ("fly", "unknown command 'fly'", "train"),
    "flag before the command": ("--root x train ant", "--root"),
    "unknown flag alone": ("--hlep", "--hlep"),
    "no task": ("train", "which task?"),
    "task": ("train half-cheeta", "unknown task 'half-cheeta'", "'half-cheetah'"),
    "task like nothing": ("train qqqqqqqqqqqq", "unknown task", "surefoot list"),
    "task's module": ("train nothing_of_this_name:Foo-v0", "cannot be imported"),
    "task's empty module": ("train :Foo-v0", "cannot be imported"),
    "task gone from Gymnasium": ("train Ant-v3", "cannot be made"),
    "discrete task": ("train MountainCar-v0", "continuous", "MountainCarContinuous-v0"),
    "two tasks": ("train ant --task half-cheetah", "two tasks"),
    "stray word": ("train ant half-cheetah", "'half-cheetah'"),
    "setting": ("train ant --ppo.clipp 0.1", "unknown setting '--ppo.clipp'", "'--ppo.clip_eps'"),
    "setting without its group": ("train ant --learning_rate 1", "'--ppo.learning_rate'"),
    "setting like nothing": ("train ant --xyzzy 1", "--settings"),
    "setting below a setting": ("train ant --ppo.clip_eps.x 1", "unknown setting"),
    "setting's name is empty": ("train ant --=3", "unknown setting"),
    "group of settings": ("train ant --engine batch", "--engine.name"),
    "flag taken for a setting": ("train --quite ant", "'--quiet'"),
    "flag given a value": ("train ant --quiet=yes", "--quiet"),
    "value missing at the end": ("train ant --seed", "--seed", "needs a value"),
    "value missing before a flag": ("train ant --seed --quiet", "--seed", "needs a value"),
    "value of another type": ("train ant --seed three", "seed = 'three'"),
    "value too small": ("train ant --seed -3", "seed = -3", "greater than or equal to 0"),
    "value too large": ("train ant --seed 99999999999999999999", "seed = "),
    "digits by the thousand": (f"train ant --seed {'9' * 5000}", "seed = "),
    "fraction": ("train ant --engine.num_envs 2.5", "engine.num_envs = 2.5"),
    "not a number": ("train ant --ppo.clip_eps nan", "ppo.clip_eps = nan"),
    "infinite": ("train ant --training.steps inf", "training.steps = inf"),
    "list for a number": ("train ant --ppo.clip_eps [1]", "ppo.clip_eps = [1]"),
    "number below": ("train ant --policy.actor [64,-1]", "policy.actor.1 = -1"),
    "choice": ("train ant --ppo.value_loss hubr", "'huber'"),
    "algorithm": ("train ant --algorithm pppo", "algorithm = 'pppo'", "'ppo'"),
    "algorithm that is a number": ("train ant --algorithm 5", "algorithm"),
    "engine": ("train ant --engine.name batsh", "'batch'"),
    "engine that cannot": ("train BipedalWalker-v3 --engine.name batch", "engine 'batch'"),
    "tracker": ("train ant --training.trackers tensorbord", "'tensorboard'"),
    "minibatch too large": ("train ant --ppo.minibatch_size 1e9", "ppo.minibatch_size"),
    "too much at once": ("train ant --engine.num_envs 100000 --ppo.horizon 10000", "50 million"),
    "task's option": ("train ant --task_options.wings 2", "wings"),
    "recipe": ("train half-cheetah --recipe half-cheeta", "unknown recipe", "'half-cheetah'"),
    "recipe's file": ("train half-cheetah --recipe none.toml", "none.toml", "No such file"),
    "recipe of another task": ("train half-cheetah --recipe bipedal-walker", "is for task 'bipedal-walker'"),
    "recipe is a device": ("train half-cheetah --recipe /dev/zero", "not a file"),
    "recipe's name too long": (f"train half-cheetah --recipe {'x' * 300}", "unknown recipe"),
    "no such run to start from": ("train ant --from ant/ppo", "no run 'ant/ppo'"),
    "no such file to start from": ("train ant --from none.safetensors", "none.safetensors", "No such file"),
    "two runs to start from": ("train ant --from a --training.start_from b", "--training.start_from say the same"),
    "start from nothing": ("train ant --from=", "--from"),
    "deviation of no earlier run": ("train ant --training.from_std 0.1", "training.from_std"),
    "run's name": ("train ant --name a/b", "cannot be called 'a/b'"),
    "run's name empty": ("train ant --name=", "cannot be called"),
    "root is a file": ("train ant --root /dev/null", "cannot make", "/dev/null"),
    "root cannot be made": ("train ant --root /dev/null/runs", "cannot make", "/dev/null"),
    "root cannot be written": ("train ant --root /proc/1/runs", "cannot make"),
    "no such run to resume": ("resume ant/ppo", "no run 'ant/ppo'"),
    "run's name far too long": (f"resume {'x' * 300}", "name too long"),
    "steps of resume": ("resume x --steps 0", "--steps 0"),
    "fraction for resume": ("resume x --steps 1.5", "'1.5' is not a whole number"),
    "no run given": ("resume", "required: run"),
    "no such run to evaluate": ("evaluate ant/ppo", "no run 'ant/ppo'"),
    "nothing to evaluate": ("evaluate", "RUN"),
    "flag of evaluate": ("evaluate x --engin batch", "'--engine'"),
    "no such run to record": ("record ant/ppo", "no run 'ant/ppo'"),
    "episodes of record": ("record x --episodes 0", "--episodes 0"),
    "seed of record": ("record x --seed -1", "--seed -1"),
    "no such run to report": ("report ant/ppo", "no run 'ant/ppo'"),
    "no such run to draw": ("report ant/ppo --output both.png", "no run 'ant/ppo'"),
    "episodes of report": ("report x --episodes 0", "--episodes 0"),
    "seed of report": ("report x --seed -1", "--seed -1"),
    "which policy of report": ("report x --which worst", "'worst'", "policy", "last"),
    "pages of two runs in one file": ("report x y --output page.html", "page.html", "name one run"),
    "stray word after list": ("list ant", "'ant'"),
    "stray flag after doctor": ("doctor --fast", "'--fast'"),
}


@pytest.mark.parametrize("line, fragments", [(line, rest) for line, *rest in WRONG.values()], ids=WRONG.keys())
def test_wrong_input_is_met_by_one_line(line, fragments, capsys, empty_folder):
    assert main(line.split()) == 2
    assert_one_line(capsys, *fragments)
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    "words, fragment",
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
def test_a_line_break_or_escape_in_the_input_gives_one_line_all_the_same(words, fragment, capsys, empty_folder):
    assert main(words) == 2
    assert_one_line(capsys, fragment)
    assert list(empty_folder.iterdir()) == []


def test_wrong_input_leaves_an_existing_root_as_it_is(capsys, empty_folder):
    (empty_folder / "runs").mkdir()
    assert main(["train", "Hopper-v5", "--training.trackers", "wandb,tensorbord"]) == 2
    assert_one_line(capsys, "tensorboard")
    assert list((empty_folder / "runs").iterdir()) == []


def test_a_task_that_can_be_learnt_only_with_its_options():
    recipe = surefoot.api.make_recipe("LunarLander-v3", None, {"task_options.continuous": True})
    assert recipe.task_options == {"continuous": True}


def test_a_name_that_is_taken(trained, capsys):
    root = trained.parents[1]
    assert main(["train", "Hopper-v5", "--name", "ppo-seed0", "--root", str(root)]) == 2
    assert_one_line(capsys, "exists", "surefoot resume")
    assert (trained / "checkpoints").exists()


@pytest.mark.parametrize("command", ["resume", "evaluate", "record", "report"])
def test_the_nearest_run_is_named(command, trained, capsys):
    assert main([command, "Hopper-v5/ppo-sed0", "--root", str(trained.parents[1])]) == 2
    assert_one_line(capsys, "'Hopper-v5/ppo-seed0'")


@pytest.mark.parametrize(
    "words, fragment",
    [
        (["evaluate", "{}", "--engine", "batsh"], "'batch'"),
        (["evaluate", "{}", "--episodes", "0"], "episodes"),
        (["evaluate", "{}", "--seed", "-1"], "seed"),
        (["evaluate", "{}", "--task_options.healthy_rewart", "2"], "healthy_rewart"),
        (["evaluate", "{}", "--task_options.healthy_reward"], "needs a value"),
        (["evaluate", "{}", "--ppo.clip_eps", "0.1"], "unexpected argument '--ppo.clip_eps'"),
        (["record", "{}", "--task_options.exclude_current_positions_from_observation", "false"], "has 11 numbers"),
        (["record", "{}", "--output", "new/film.avi"], ".mp4"),
        (["report", "{}", "--output", "new/curve.txt"], ".png"),
        (["resume", "{}", "--root"], "--root"),
    ],
)
def test_wrong_options_for_a_run(words, fragment, trained, capsys, empty_folder):
    assert main([word.format(trained) for word in words]) == 2
    assert_one_line(capsys, fragment)
    assert list(empty_folder.iterdir()) == []


def test_no_room_for_the_recipe(monkeypatch, capsys, empty_folder):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(surefoot.api, "atomic_write", full)
    assert main(["train", "Hopper-v5"]) == 2
    assert_one_line(capsys, "recipe.toml", "No space left")
    assert list(empty_folder.iterdir()) == []


# --- other ends -----------------------------------------------------------------------------------------------------


def test_a_simulator_that_cannot_start_leaves_nothing(monkeypatch, capsys, empty_folder):
    def fail(*_):
        raise EngineError("the simulator is broken", "its traceback\n")

    monkeypatch.setattr("surefoot.training.loop.make_engine", fail)
    assert main(["train", "Hopper-v5", "--root", "some/where"]) == 1
    assert capsys.readouterr().err == "its traceback\nsurefoot: the simulator is broken\n"
    assert list(empty_folder.iterdir()) == []


def test_ctrl_c_before_the_training_leaves_nothing(monkeypatch, capsys, empty_folder):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("surefoot.training.loop.make_engine", interrupt)
    assert main(["train", "Hopper-v5"]) == 130
    assert_one_line(capsys, "interrupted")
    assert list(empty_folder.iterdir()) == []


def test_an_error_of_the_system_is_one_line(trained, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "some/file")

    monkeypatch.setattr(surefoot.api, "evaluate", fail)
    assert main(["evaluate", str(trained)]) == 1
    assert_one_line(capsys, "'some/file': No space left on device")


def test_a_bug_is_not_hidden(trained, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(surefoot.api, "evaluate", fail)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", str(trained)])


def test_a_reader_that_has_left_is_no_accident():
    command = [sys.executable, "-m", "surefoot.cli.main", "train", "--settings"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, name, value",
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
def test_values_as_people_type_them(words, name, value, asked):
    found = asked(*words.split())
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value and type(found) in (type(value), float)


def test_a_value_may_hold_spaces(asked):
    assert asked("ant", "--description", 'say "no" # twice').description == 'say "no" # twice'
    assert asked("ant", "--policy.actor", "[64, 32]").policy.actor == (64, 32)


def test_the_run_name_is_not_the_recipe_name(asked):
    assert asked("half-cheetah", "--name", "mine").name == "half-cheetah"


def test_settings_are_all_listed(capsys):
    assert main(["train", "--settings"]) == 0
    table, parts = capsys.readouterr().out.split("\n\n")
    header, *lines = table.splitlines()
    assert header.split()[:1] == ["setting"]
    assert all(f"--NAME.{part}" in parts for part in Schedule.model_fields)
    listed = {line.split()[0]: line for line in lines}
    assert listed.keys() == {f"--{name}" for name, _ in setting_fields()} - {"--name", "--task"}
    assert (
        "0.2" in listed["--ppo.clip_eps"]
        and "> 0" in listed["--ppo.clip_eps"]
        and "Epsilon" in listed["--ppo.clip_eps"]
    )
    assert "tanh, relu" in listed["--policy.activation"]
    assert "[64, 64]" in listed["--policy.actor"] and "list of whole numbers" in listed["--policy.actor"]
    for line in lines:  # each is explained by a sentence
        assert line.rstrip().endswith(".") and "et al." not in line.rstrip()[-6:]


ALGORITHMS = ("ppo", "ddpg", "td3", "sac", "ars")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_defaults_as_listed_can_be_given_back(algorithm, capsys, asked):
    main(["train", "--settings"])
    words = []
    for line in capsys.readouterr().out.partition("\n\n")[0].splitlines()[1:]:
        name, _, default = [cell for cell in line.split("  ") if cell.strip()][:3]
        table = name.strip().removeprefix("--").partition(".")[0]
        # Networks are listed as PPO has them; the table of another algorithm would be refused.
        wanted = table == algorithm or (algorithm == "ppo" and table not in ALGORITHMS)
        if wanted and default.strip() != "-" and table != "algorithm":
            words += [name.strip(), default.strip()]
    chosen = ["Pendulum-v1", "--algorithm", algorithm]
    plain, given = asked(*chosen), asked(*chosen, *words)
    assert given is not None and given == plain and len(words) >= 20


# --- list and doctor ------------------------------------------------------------------------------------------------


def test_list_shows_what_there_is(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (*ENGINES, "ppo", "half-cheetah", "HalfCheetah-v5", "bipedal-walker", "aidl2023-half-cheetah"):
        assert name in out
    engines = out[out.index("\nengine ") :].split("\n\n")[0].strip().splitlines()[1:]
    assert [line.split()[0] for line in engines] == list(ENGINES)
    assert all(len(line.split()) > 3 for line in engines)


def marks(out: str) -> dict[str, str]:
    return {line[9:22].strip(): line.split()[0] for line in out.split("\n\n")[0].splitlines()}


def test_doctor_finds_this_machine_well(capsys, empty_folder):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    found = marks(out)
    for name in ("Python", "jax", "mujoco", "gymnasium", "engines", "runs folder"):
        assert found[name] == "ok"
    assert found.keys() >= {"envpool", "menagerie", "wandb", "tensorboard", "trackio", "gpu"}
    assert found.keys() >= {"processor", "memory", "disk", "OpenGL", "ffmpeg", "environment"}
    assert "missing" not in found.values()
    assert "training works here" in out
    assert list(empty_folder.iterdir()) == []


def test_doctor_names_a_package_that_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optax", None)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert marks(out)["optax"] == "missing" and "pip install" in out


def test_doctor_says_how_to_get_an_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert marks(out)["envpool"] == "note" and 'pip install "surefoot[envpool]"' in out
    engines = next(line for line in out.splitlines() if line[9:].startswith("engines"))
    assert "envpool" not in engines


def test_doctor_tries_the_runs_folder(capsys, empty_folder):
    (empty_folder / "runs").write_text("a file")
    assert main(["doctor"]) == 1
    assert marks(capsys.readouterr().out)["runs folder"] == "missing"


def test_doctor_knows_why_pictures_are_missing(monkeypatch, capsys):
    monkeypatch.setattr("surefoot.reports.opengl.gl_available", lambda: False)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert marks(out)["OpenGL"] == "note"
    assert "libegl1 libegl-mesa0 libgl1-mesa-dri" in out and "pictures" in out


@pytest.mark.parametrize(
    "name, value", [("JAX_DISABLE_JIT", "1"), ("NPROC", "1"), ("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")]
)
def test_doctor_sees_what_slows_training_down(name, value, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("surefoot.cli.doctor._cores", lambda: 4)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert marks(out)["environment"] == "note" and name in out


# --- a run from start to end ----------------------------------------------------------------------------------------


def test_a_run_leaves_what_it_promises(trained):
    folder = RunFolder(trained)
    assert folder.recipe.is_file() and folder.metrics.is_file() and folder.policy_file.is_file()
    assert (folder.policy / "last.safetensors").is_file()
    assert [path.name for path in folder.checkpoints.iterdir()][-1:] != []
    assert load_policy(folder.policy_file).settings.actor == (8,)


def test_train_tells_what_to_do_next(capfd, empty_folder):
    short = [word.replace("512", "128") for word in TINY]
    assert main(["train", "Hopper-v5", *short, "--seed", "3"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0].startswith("finished at step 128")
    assert "surefoot evaluate runs/Hopper-v5/ppo-seed3" in out
    assert "'Hopper-v5' by ppo" in err


def test_resume_goes_on(trained, tmp_path, capfd):
    shutil.copytree(trained, tmp_path / "copy")
    assert main(["resume", "copy", "--steps", "6.4e2"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("finished at step 640") and "from step 512" in err


def test_evaluate_prints_a_table_and_keeps_the_result(trained, capsys):
    assert main(["evaluate", str(trained), str(trained / "policy" / "last.safetensors"), "--episodes", "3"]) == 0
    out, _ = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "Hopper-v5/ppo-seed0" in out
    assert json.loads((trained / "evaluation.json").read_text())["episodes"] == 3


def test_nothing_is_evaluated_if_one_of_the_runs_is_not_there(trained, capsys, monkeypatch):
    monkeypatch.setattr(surefoot.api, "evaluate", lambda *_, **__: pytest.fail("evaluated"))
    assert main(["evaluate", str(trained), "typo"]) == 2
    assert_one_line(capsys, "no run 'typo'")


def test_evaluate_with_other_options_of_the_task(trained, capsys):
    found = []
    for options in ([], ["--task_options.max_episode_steps", "4", "--task_options.healthy_reward=3"]):
        assert main(["evaluate", str(trained), "--episodes", "2", "--json", *options]) == 0
        found.append(json.loads(capsys.readouterr().out)[0])
    assert found[0]["length"]["mean"] > 4 == found[1]["length"]["mean"]
    assert found[1]["task_options"] == {"healthy_reward": 3, "max_episode_steps": 4}
    assert 2.5 < found[1]["return"]["mean"] / 4 < 3.5


def test_evaluate_as_json_equals_itself(trained, capsys):
    results = []
    words = [
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
        assert main(words) == 0
        results.append(json.loads(capsys.readouterr().out)[0])
    assert results[0]["returns"] == results[1]["returns"] and len(results[0]["returns"]) == 2


def test_evaluate_without_a_best_policy_says_what_to_do(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy" / "policy" / "policy.safetensors").unlink()
    assert main(["evaluate", "copy"]) == 2
    assert_one_line(capsys, "--last")


def test_report_makes_a_page_of_each_run(trained, capsys, empty_folder):
    words = ["report", str(trained), "--episodes", "1", "--no-video"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert [Path(path).name for path in out.splitlines()] == ["report.html", "gait.json"] and err == ""
    assert (trained / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main([*words, "--which", "last", "--seed", "5", "--output", "new/page.html"]) == 0
    assert "--seed 5 --which last --no-video" in (empty_folder / "new" / "page.html").read_text()
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


def test_record_what_was_kept_on_the_way(empty_folder, capsys):
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
    assert_one_line(capsys, "--output")


def test_snapshots_of_a_run_that_kept_none(trained, capsys):
    assert main(["record", str(trained), "--snapshots"]) == 2
    assert_one_line(capsys, "has no snapshots", "training.snapshot_every")


@pytest.mark.gl
@pytest.mark.skipif(not gl_available(), reason="no OpenGL context (EGL) on this machine")
def test_record_a_run(trained, capsys):
    assert main(["record", str(trained)]) == 0
    film = (trained / "videos" / "best.mp4").read_bytes()
    assert b"ftyp" in film[:16]
    assert main(["record", str(trained), "--task_options.max_episode_steps", "4"]) == 0
    assert (trained / "videos" / "best-changed.mp4").exists()
    assert (trained / "videos" / "best.mp4").read_bytes() == film, "the run's own film stays"


def test_a_film_that_fails_does_not_undo_the_training(trained, monkeypatch, capsys):
    outcome = Outcome(RunFolder(trained), Counters(steps=512), "finished")

    def fail(*_, **__):
        raise InputError("this machine cannot draw")

    monkeypatch.setattr(surefoot.api, "train_recipe", lambda *_: outcome)
    monkeypatch.setattr("surefoot.reports.video.record", fail)
    assert main(["train", "Hopper-v5", "--video"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("finished at step 512")
    assert err == "surefoot: the training is done, but no film was made: this machine cannot draw\n"
