"""`surefoot.seeds` and `surefoot.compare` from Python, and variants; `surefoot.sweep` is in test_sweep."""

import json
import os
import sys
from pathlib import Path

import pytest

import surefoot
from helpers.messages import one_line
from helpers.reach import Reach
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.recipes.files import default_recipe, dump_recipe
from surefoot.recipes.overrides import parse_settings, setting_text
from surefoot.studies import processes, seeds
from surefoot.studies.experiments import load_experiments

FAKE = (sys.executable, str(Path(__file__).with_name("fake_surefoot.py")))
VARIANTS = {"short": {"ppo__epochs": 2}, "long": {"ppo.epochs": 30}}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The folder of a study of fake trainings, whose mean returns are their seeds."""
    monkeypatch.setattr(processes, "SUREFOOT", FAKE)
    monkeypatch.setattr(seeds, "background_load", lambda: None)
    monkeypatch.setattr(seeds, "_POLL_S", 0.01)
    path = tmp_path / "studies" / "first"
    path.mkdir(parents=True)
    (path / "recipe.toml").write_text(dump_recipe(default_recipe("Pendulum-v1")))
    return path


def train(study, **options):
    arguments = {"n": 2, "first_seed": 4, "episodes": 2, "name": study.name, "root": study.parent, "progress": False}
    return surefoot.seeds("Pendulum-v1", **arguments | options)


def test_seeds_returns_the_statistics_over_seeds(study):
    done = []
    outcome = train(study, callback=lambda seed, figures: done.append((seed, figures["return"]["mean"])))
    assert (outcome.reason, outcome.folder.path) == ("finished", study)
    assert done == [(4, 4.0), (5, 5.0)]
    assert (outcome.statistics["mean"], outcome.statistics["n"]) == (4.5, 2)
    assert outcome.results["command"].startswith("surefoot.seeds('Pendulum-v1', n=2, first_seed=4, episodes=2")
    assert outcome.best_recipe is None


def test_a_callback_stops_a_study_that_the_same_call_continues(study):
    stopped = train(study, callback=lambda seed, figures: True)
    assert (stopped.reason, stopped.statistics) == ("interrupted", {})
    outcome = train(study, callback=lambda seed, figures: seed == 5)  # nothing is left to stop
    assert (outcome.reason, outcome.statistics["n"]) == ("finished", 2)
    assert (study / "calls").read_text().splitlines() == ["train 4", "evaluate 4", "train 5", "evaluate 5"]


def test_variants_are_trained_seed_by_seed_and_compared_by_their_names(study):
    done = []
    outcome = train(study, variants=VARIANTS, callback=lambda seed, figures: done.append((figures["variant"], seed)))
    assert done == [("short", 4), ("long", 4), ("short", 5), ("long", 5)]
    assert {name: figures["mean"] for name, figures in outcome.statistics.items()} == {"short": 4.5, "long": 4.5}
    assert {run.path.name for run in outcome.folder.run_folders()} == {
        f"{variant}-seed-{seed}" for variant in VARIANTS for seed in (4, 5)
    }
    page = study / "c.json"
    compared = surefoot.compare(outcome, output=page)
    assert [(row["label"], row["n"], row["in_training"]["mean"]) for row in compared.figures["experiments"]] == [
        ("long", 2, 4.5),
        ("short", 2, 4.5),
    ]
    assert compared.files == [page] and json.loads(page.read_text()) == compared.figures
    named = load_experiments([f"A={outcome.folder.results}"], "runs", "studies")
    assert [(one.label, len(one.runs)) for one in named] == [("A, short", 2), ("A, long", 2)]


def test_the_settings_of_a_variant_reach_its_trainings(study):
    order = seeds.Order("ant", None, {"ppo.epochs": "3"}, None, [0], 2, "", {"a": {"ppo.epochs": "9"}, "b": {}})
    lines = {variant: order.train_words(0, variant, study) for variant in order.variants}
    assert "--ppo.epochs=9" in lines["a"] and "--ppo.epochs=3" not in lines["a"]
    assert "--ppo.epochs=3" in lines["b"] and "b-seed-0" in lines["b"]


def test_the_command_shows_a_row_for_each_variant(study, capsys):
    words = ["--variant", "short", "ppo.epochs=2", "--variant", "long", "ppo.epochs=30", "--n=1", "--first-seed=4"]
    words += ["--episodes=2", "--name=first", "--root", str(study.parent), "--quiet"]
    assert main(["seeds", "Pendulum-v1", *words]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("short", "long"))] == ["short", "long"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--variant", "a", "ppo.epochs"], "'ppo.epochs' has no value"),
        (["--variant", "ppo.epochs=3"], "write: --variant NAME SETTING=VALUE"),
        (["--variant", "a", "ppo.epochs=3", "--variant", "a"], "two variants have this name"),
        (["--variant", "a/b", "ppo.epochs=3"], "a variant cannot be called 'a/b'"),
        (["--variant", "a", "ppo.epoch=3"], "did you mean '--ppo.epochs'"),
        (["--variant", "a", "seed=3"], "use --first-seed and --n"),
    ],
)
def test_a_wrong_variant_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["seeds", "Pendulum-v1", *words]) == 2
    one_line(capsys.readouterr().err.rstrip("\n"), message)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: surefoot.seeds(3), "task 3: give a name"),
        (lambda: surefoot.seeds("Pendulum-v2"), "no recipe or task 'Pendulum-v2'"),
        (lambda: surefoot.seeds(lambda: Reach()), "only this process knows the task"),
        (lambda: surefoot.seeds("Pendulum-v1", n=0), "n = 0: choose 1 to 1,000"),
        (lambda: surefoot.seeds("Pendulum-v1", workers="2"), "workers = '2': choose a whole number"),
        (lambda: surefoot.seeds("Pendulum-v1", ppo__clip_eps=-1), "ppo.clip_eps"),
        (lambda: surefoot.compare(), "name at least one run or study"),
        (lambda: surefoot.compare(3), "int is neither a run nor a study"),
        (lambda: surefoot.compare("nowhere"), "no run 'nowhere'"),
        (lambda: surefoot.compare("a", output="a.svg"), "should end in .html or .json or .png"),
    ],
)
def test_a_wrong_argument_is_one_line(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        call()
    one_line(caught.value, message)
    assert not os.listdir(tmp_path)


def test_a_setting_as_text_becomes_the_same_value():
    schedule = {"kind": "linear", "start": 3e-4, "end": 0.0}
    settings = {
        "ppo.clip_eps": 0.1,
        "ppo.horizon": None,
        "policy.actor": [8, 16],
        "policy.normalise_observations": True,
        "ppo.learning_rate": schedule,
        "ppo.value_loss": "huber",
        "task_options.xml_file": "a b.xml",
    }
    assert parse_settings({name: setting_text(value) for name, value in settings.items()}) == settings
