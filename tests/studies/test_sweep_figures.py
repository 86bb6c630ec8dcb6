"""The page of a comparison that contains a sweep."""

import re

import pytest

from helpers.browser import BROWSER, measure_page
from helpers.messages import only_error
from surefoot.cli.main import main
from surefoot.recipes.files import default_recipe, dump_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import MetricsLog
from surefoot.settings import validate
from surefoot.studies.experiments import load_experiments
from surefoot.studies.folder import StudyFolder
from surefoot.studies.sweep_figures import _ends, _heights


def make_run(root, name, value, seed=0):
    folder = RunFolder.create(root, "HalfCheetah-v5", name)
    recipe = validate(
        Recipe, replaced(default_recipe("HalfCheetah-v5"), {"seed": seed, "ppo.epochs": value}), "settings"
    )
    folder.recipe.write_text(dump_recipe(recipe))
    with MetricsLog(folder.metrics) as log:
        log.append(1000, seconds=1.0, **{"evaluation/return": float(value)})


@pytest.fixture
def sweep(tmp_path):
    folder = StudyFolder.create(tmp_path, "search", {"kind": "sweep", "pareto": ["time"]})
    for number in range(3):
        make_run(folder.runs, f"trial-{number:04d}", number + 1, number)
    return folder


def test_a_sweep_stands_for_its_repeated_settings_or_for_its_best_trial(sweep, tmp_path):
    (best,) = load_experiments(["search"], tmp_path, tmp_path)
    assert best.label == "trial 2" and [run.name for run in best.runs] == ["trial-0002"]
    for seed in (7, 8):
        make_run(sweep.runs, f"trial-0002-seed{seed}", 3, seed)
        make_run(sweep.runs, f"start-seed{seed}", 10, seed)
    experiments = load_experiments(["search"], tmp_path, tmp_path)
    assert {one.label: [run.seed for run in one.runs] for one in experiments} == {"trial 2": [7, 8], "start": [7, 8]}
    labels = [one.label for one in load_experiments(["mine=search"], tmp_path, tmp_path)]
    assert sorted(labels) == ["mine, start", "mine, trial 2"]


def test_the_page_shows_the_trials(sweep, tmp_path, capsys):
    optuna = pytest.importorskip("optuna")
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(sweep.journal)))
    study = optuna.create_study(study_name="sweep", storage=storage, directions=["maximize", "minimize"])
    for number in range(8):
        trial = study.ask()
        rate = trial.suggest_float("ppo.learning_rate", 1e-5, 1e-2, log=True)
        trial.suggest_categorical("ppo.symmetry", ["none", "loss"])
        for name in ("clip_eps", "gae_lambda", "value_coef", "entropy_coef", "discount", "max_grad_norm"):
            trial.suggest_float(f"ppo.{name}", 0.1, 0.9)
        study.tell(trial, [rate * 1e4, float(number)])
    page = tmp_path / "page.html"
    words = ["compare", "search", "--studies", str(tmp_path), "--no-video", "--quiet", "--output", str(page)]
    assert main(words) == 0
    text = page.read_text()
    with sweep.journal.open("ab") as file:
        file.write(b'{"op_code": 4, garbage\n{}\n')
    capsys.readouterr()
    assert main(words) == 2
    only_error(capsys, "journal.log' is damaged")
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    for start in ("Importance of each setting for the return", "Complete trials by return and time", "Settings of the"):
        assert sum(label.startswith(start) for label in labels) == 1
    assert "8 trials, 8 of them complete." in text
    if BROWSER is not None:
        (phone,), messages = measure_page(page, (390,), tmp_path)
        assert phone["wide"] <= 390 and phone["text"] >= 8 and messages == []


def test_axes_of_wide_ranges_are_logarithmic():
    assert _heights([1.0, 10.0, 100.0]).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert _heights([1.0, 2.0, 3.0]).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert _heights(["b", "a"]).tolist() == [1.0, 0.0]
    assert _heights([1024, None, 64]).tolist() == [0.5, 1.0, 0.0]
    assert sorted(_ends([1024, None, 64])) == [(0.0, "64"), (1.0, "none")]
    assert _heights([4, 4]).tolist() == [0.5, 0.5]
    assert sorted(_ends([1.0, 10.0, 100.0])) == [(0.0, "1"), (1.0, "100")]
