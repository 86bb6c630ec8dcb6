"""Comparisons of experiments: the figures by hand, the files, and the page in a browser."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.browser import BROWSER, measure_page
from helpers.messages import one_line
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.recipes.files import default_recipe, dump_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import MetricsLog
from surefoot.settings import validate
from surefoot.studies import figures
from surefoot.studies.compare import compare, curve, differing_settings, measure
from surefoot.studies.experiments import load_experiments
from surefoot.studies.figures import pareto_front
from surefoot.studies.folder import StudyFolder, write_json

RESULTS = Path(__file__).parents[2] / "results"
GOOD, BAD = "ant-good", "ant-bad"


def make_run(root, name, seed, final, score=None, task="HalfCheetah-v5", **changes):
    """Write a run whose evaluations rise linearly to `final` in 4 steps of 1,000 and 60 s."""
    folder = RunFolder.create(root, task, name)
    recipe = validate(Recipe, replaced(default_recipe(task), {"seed": seed} | changes), "settings")
    folder.recipe.write_text(dump_recipe(recipe))
    with MetricsLog(folder.metrics) as log:
        for number in range(1, 5):
            values = {"seconds": 60.0 * number, "evaluation/return": final * number / 4}
            log.append(1000 * number, **values)
    if score is not None:
        returns = {"mean": score, "n": 10}
        evaluation = {"return": returns, "episodes": 10, "which": "policy", "falls": seed, "reward_threshold": 70.0}
        write_json(folder.evaluation, evaluation)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two studies of three and two seeds."""
    root = tmp_path_factory.mktemp("places")
    for name, scores, rate in ((GOOD, (90.0, 100.0, 80.0), 3e-4), (BAD, (40.0, 85.0), 1e-3)):
        study = StudyFolder.create(root / "studies", name, {"kind": "seeds"})
        for seed, score in enumerate(scores):
            make_run(study.runs, f"seed-{seed}", seed, score - 10, score, **{"ppo.learning_rate": rate})
    return root


@pytest.fixture(scope="module")
def measures(places):
    return measure(compare(load_experiments([GOOD, BAD], places / "runs", places / "studies")))


def test_the_figures_of_two_studies(measures):
    good, bad = measures["experiments"]
    assert (good["label"], good["task"], good["n"], bad["n"]) == (GOOD, "HalfCheetah-v5", 3, 2)
    assert (good["iqm"]["value"], good["mean"], good["worst"], good["best"]) == (90.0, 90.0, 80.0, 100.0)
    assert 80.0 <= good["iqm"]["low"] < 90.0 < good["iqm"]["high"] <= 100.0
    assert [run["falls"] for run in good["runs"]] == [0, 1, 2]
    # Of six pairs only 80 against 85 is lost.
    (pair,) = measures["improvement"]
    assert (pair["of"], pair["over"]) == (GOOD, BAD)
    assert pair["value"] == pytest.approx(5 / 6)
    # Evaluations of 80, 90, 70 and 30, 75 at the end; the threshold is 70.
    steps = good["time_to_threshold"]["steps"]
    assert (steps["reached"], steps["seeds"], steps["median"]) == (3, 3, 4000.0)
    assert bad["time_to_threshold"]["seconds"]["reached"] == 1
    assert bad["time_to_threshold"]["seconds"]["median"] is None
    assert measures["settings"] == {"ppo.learning_rate": [3e-4, 1e-3]}
    assert measures["scores"] == "held-out episodes"


def test_a_curve_is_the_interquartile_mean_of_the_seeds(places):
    (experiment,) = load_experiments([GOOD], places / "runs", places / "studies")
    values = curve(experiment, "seconds")
    assert (values["x"][0], values["x"][-1]) == (60.0, 240.0)
    assert values["iqm"][-1] == pytest.approx((80 + 90 + 70) / 3)
    assert (values["low"] <= values["iqm"]).all() and (values["iqm"] <= values["high"]).all()


def test_runs_that_differ_only_in_the_seed_are_one_experiment(tmp_path):
    for name, seed, changes in (("a", 0, {}), ("b", 1, {}), ("c", 0, {"ppo.epochs": 2})):
        make_run(tmp_path, name, seed, 50.0, **changes)
    names = [f"HalfCheetah-v5/{name}" for name in "abc"]
    experiments = load_experiments(names, tmp_path, tmp_path)
    assert [(one.label, len(one.runs)) for one in experiments] == [("a", 2), ("c", 1)]
    experiments = load_experiments([f"all={name}" for name in names], tmp_path, tmp_path)
    assert [(one.label, len(one.runs)) for one in experiments] == [("all", 3)]


def test_scores_are_the_last_evaluations_if_a_run_was_not_evaluated_afterwards(tmp_path):
    make_run(tmp_path, "a", 0, 50.0, 99.0)
    make_run(tmp_path, "b", 1, 30.0)
    comparison = compare(load_experiments(["HalfCheetah-v5/a", "HalfCheetah-v5/b"], tmp_path, tmp_path))
    assert not comparison.held_out
    assert comparison.scores(comparison.experiments[0]).tolist() == [50.0, 30.0]


def test_scores_of_several_tasks_are_normalised(tmp_path):
    sources = []
    for task, scores in {"HalfCheetah-v5": (20.0, 70.0), "Hopper-v5": (1000.0, 2000.0)}.items():
        for label, score in zip(("low", "high"), scores, strict=True):
            make_run(tmp_path, label, 0, score, score, task)
            sources.append(f"{label}={task}/{label}")
    comparison = compare(load_experiments(sources, tmp_path, tmp_path))
    # HalfCheetah from 20 to its threshold of 70; Hopper to its highest score, since its threshold is below the lowest.
    assert comparison.methods() == {"low": [0.0, 0.0], "high": [1.0, 1.0]}
    assert [row["value"] for row in measure(comparison)["over_tasks"]] == [0.0, 1.0]
    with pytest.raises(InputError, match="is for one task"):
        compare(comparison.experiments, 5.0)


def test_a_point_is_on_the_front_unless_another_one_is_better():
    points = [(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 3.0), (2.0, 3.0)]
    assert pareto_front(points, (False, True)) == [0, 1, 4]
    assert pareto_front(points, (True, True)) == [3]


def test_settings_are_not_compared_if_some_are_unknown(places):
    experiments = load_experiments([GOOD, str(RESULTS / "bipedal-walker-td3.json")], places, places / "studies")
    assert differing_settings(experiments) == {}


@pytest.fixture(scope="module")
def page(places):
    """The page of the two studies, with the picture and the JSON file beside it."""
    path = places / "out" / "page.html"
    words = ["compare", f"First & <b>best</b>={GOOD}", BAD, "--studies", str(places / "studies"), "--no-video"]
    assert main([*words, "--output", str(path)]) == 0
    return path


def test_the_files_of_a_comparison(page):
    measures = json.loads(page.with_suffix(".json").read_text())
    assert len(measures["experiments"]) == 2
    assert str(page.parent) not in json.dumps(measures)
    with Image.open(page.with_suffix(".png")) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5


def test_the_page_loads_nothing_and_describes_its_plots(page):
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "<script" not in text and "<b>best</b>" not in text
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert len(labels) == text.count("<svg") == 6
    assert any("mean 90" in label for label in labels)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_page_fits_a_phone_and_a_desktop(page, tmp_path):
    widths = (390, 1280)
    shown, messages = measure_page(page, widths, tmp_path)
    assert messages == []
    for width, measured in zip(widths, shown, strict=True):
        assert measured["pictures"] == 6 and measured["small"] == 0
        assert measured["wide"] <= width and measured["text"] >= 8
        assert measured["contrast"] >= 4.5  # of text, WCAG 2.2 level AA


def test_methods_differ_in_colour_and_in_dashes(places):
    chosen = figures.styles(compare(load_experiments([GOOD, BAD], places, places / "studies")))
    first, second = chosen.values()
    assert all(one != other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "no run 'nowhere'"),
        (["a.json"], "no run 'a.json'"),
        ([str(RESULTS)], "holds no recipe.toml"),
        ([str(RESULTS / "half_step.json")], "holds no results of 'surefoot seeds'"),
        ([GOOD, "--output", "a.svg"], "should end in .html or .json or .png"),
    ],
)
def test_wrong_input_is_one_line(words, message, places, capsys):
    assert main(["compare", *words, "--studies", str(places / "studies")]) == 2
    error = capsys.readouterr().err
    assert message in error
    one_line(error.rstrip("\n"))


def test_a_damaged_evaluation_names_the_command_that_repeats_it(tmp_path):
    make_run(tmp_path, "a", 0, 50.0, 99.0).evaluation.write_text('{"return": 3}')
    with pytest.raises(InputError, match="surefoot evaluate") as error:
        load_experiments(["HalfCheetah-v5/a"], tmp_path, tmp_path)
    one_line(error.value)
