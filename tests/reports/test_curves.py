"""Learning curves: their lines equal the metrics, also with gaps and several seeds."""

import math

import numpy as np
import pytest
from PIL import Image

from helpers.messages import one_line
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.recipes.files import default_recipe, dump_recipe
from surefoot.recipes.recipe import Recipe, replaced
from surefoot.reports import curves
from surefoot.reports.curves import draw_losses, plot_curves
from surefoot.reports.figure_style import FAINT
from surefoot.runs.folder import RunFolder
from surefoot.runs.metrics import MetricsLog
from surefoot.settings import validate


def make_rows(count=40, height=100.0, evaluate_every=8):
    rows = []
    for index in range(count):
        value = height * (1 - math.exp(-index / 10))
        rows.append(
            {
                "step": 1000 * (index + 1),
                "seconds": 5.0 + index,
                "train/return": None if index == 0 else value - 10,
                "evaluation/return": value if index % evaluate_every == 0 else None,
                "loss/policy": -0.01 * index,
                "loss/value": math.exp(-index),
                "learning_rate": 3e-4,
            }
        )
    return rows


@pytest.fixture
def drawn(monkeypatch):
    """The saved figures."""
    figures = []
    save = curves._save
    monkeypatch.setattr(curves, "_save", lambda figure, path: (figures.append(figure), save(figure, path))[1])
    return figures


def lines_of(axes):
    return [line.get_xydata() for line in axes.lines]


def labels_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def read(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_one_run_has_training_and_evaluation_returns_over_steps_and_minutes(tmp_path, drawn):
    rows = make_rows()
    path = plot_curves([{"label": "run", "metrics": rows}], tmp_path / "curve.png", threshold=90, title="a title")
    pixels = read(path)
    assert pixels.shape[1] >= 1600 and pixels.std() > 5
    steps, minutes = drawn[0].axes
    assert (steps.get_xlabel(), minutes.get_xlabel()) == ("environment steps", "training time, minutes")
    training, evaluation, threshold = lines_of(steps)
    assert np.isnan(training[0, 1]) and training[1:, 1] == pytest.approx([row["train/return"] for row in rows[1:]])
    assert evaluation[:, 0].tolist() == [1000, 9000, 17000, 25000, 33000]
    assert set(threshold[:, 1]) == {90}
    assert lines_of(minutes)[1][:, 0] == pytest.approx((5.0 + np.arange(0, 40, 8)) / 60)
    assert labels_of(drawn[0]) == ["while training (exploring)", "evaluation (deterministic)"]


def test_seeds_of_one_label_have_a_mean_and_a_range(tmp_path, drawn):
    heights = (90.0, 100.0, 140.0)
    runs = [{"label": "ppo", "metrics": make_rows(height=height)} for height in heights]
    plot_curves([*runs, {"label": "other", "metrics": make_rows(height=50)}], tmp_path / "curve.png")
    steps = drawn[0].axes[0]
    mean = next(line for line in steps.lines if len(line.get_xdata()) == curves._GRID_POINTS).get_xydata()
    assert mean[0, 0] == 1000 and mean[-1, 0] == 33000
    assert mean[-1, 1] == pytest.approx(110 * (1 - math.exp(-3.2)))
    band = steps.collections[0].get_paths()[0].get_extents()
    assert band.ymax == pytest.approx(140 * (1 - math.exp(-3.2)))
    assert labels_of(drawn[0]) == ["ppo (3 seeds)", "other"]


def test_the_mean_of_seeds_ends_with_the_shortest_seed(tmp_path, drawn):
    runs = [{"label": "ppo", "metrics": make_rows(count=count)} for count in (40, 20)]
    plot_curves(runs, tmp_path / "curve.png")
    mean = next(line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == curves._GRID_POINTS)
    assert mean.get_xdata()[-1] == 17000


def test_without_times_there_is_one_panel(tmp_path, drawn):
    rows = [{"step": 1, "train/return": 1.0}, {"step": 2, "train/return": 2.0}]
    plot_curves([{"label": "run", "metrics": rows}], tmp_path / "curve.png")
    assert len(drawn[0].axes) == 1


def test_a_single_point_has_a_marker(tmp_path, drawn):
    plot_curves([{"label": "run", "metrics": [{"step": 5, "train/return": 1.0}]}], tmp_path / "curve.png")
    assert drawn[0].axes[0].lines[0].get_marker() == "o"


def make_run(path, seed=0, **changes) -> RunFolder:
    folder = RunFolder(path)
    folder.path.mkdir(parents=True)
    recipe = replaced(default_recipe("Hopper-v5"), {"seed": seed} | changes)
    folder.recipe.write_text(dump_recipe(validate(Recipe, recipe, "test")))
    with MetricsLog(folder.metrics) as log:
        for row in make_rows():
            log.append(**row)
        log.mark("resume", step=40_000)
    return folder


def test_run_folders_are_read_and_labelled(tmp_path, drawn):
    runs = [make_run(tmp_path / "first"), make_run(tmp_path / "second", **{"ppo.clip_eps": 0.1})]
    read(plot_curves(runs, tmp_path / "new" / "curve.png"))
    assert labels_of(drawn[0]) == labels_of(draw_losses(runs)) == ["first", "second"]


def test_names_with_dollar_signs_are_no_formulas(tmp_path):
    rows = [row | {"loss/$x_{$": 1.0} for row in make_rows()]
    runs = [{"label": label, "metrics": rows} for label in ("$x_{$", "other")]
    plot_curves(runs, tmp_path / "curve.png")
    draw_losses(runs).canvas.draw()


def test_runs_that_differ_only_in_the_seed_are_one_experiment(tmp_path, drawn):
    root = tmp_path / "Hopper-v5"
    runs = [make_run(root / "ppo-seed0"), make_run(root / "ppo-seed1", seed=1), make_run(root / "again")]
    plot_curves(runs, tmp_path / "curve.png")
    assert labels_of(drawn[0]) == ["ppo-seed0 (2 seeds)", "again"]
    # Runs of different tasks are different experiments, even with equal names.
    plot_curves([runs[0], make_run(tmp_path / "Ant-v5" / "ppo-seed0", task="Ant-v5")], tmp_path / "curve.png")
    assert labels_of(drawn[1]) == ["Hopper-v5/ppo-seed0", "Ant-v5/ppo-seed0"]


def test_several_tasks_have_their_own_thresholds(tmp_path, drawn):
    runs = [make_run(tmp_path / task / "run", task=task) for task in ("Hopper-v5", "Ant-v5", "Pendulum-v1")]
    arguments = ["report", *(str(run.path) for run in runs), "--output", str(tmp_path / "curves.png")]
    assert main(arguments) == 0
    axes = drawn[0].axes[0]
    lines = [line.get_ydata()[0] for line in axes.lines if line.get_color() == FAINT]
    assert lines == [3800, 6000]
    assert [text.get_text() for text in axes.texts] == ["Hopper-v5 solved: 3,800", "Ant-v5 solved: 6,000"]
    assert main([*arguments[:2], *arguments[-2:]]) == 0
    assert [text.get_text() for text in drawn[1].axes[0].texts] == ["solved: 3,800"]


def test_each_loss_has_a_panel_and_other_losses_follow():
    rows = [row | {"loss/my_own": 1.0, "train/entropy": 2.0} for row in make_rows()]
    rows[10]["loss/value"] = None
    figure = draw_losses([{"label": "run", "metrics": rows}])
    figure.canvas.draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["policy loss", "value loss", "entropy", "learning rate", "my own"]
    value = figure.axes[1].lines[0].get_ydata()
    assert np.isnan(value[10]) and np.isfinite(value[[9, 11]]).all()


def test_long_runs_are_averaged_to_fewer_points():
    x, y = curves._thin(np.arange(10_001.0), np.ones(10_001))
    assert len(x) <= curves._MAX_POINTS and x[0] == 2.5 and set(y) == {1.0}


def test_tick_values_are_short():
    labels = [curves.short_number(value) for value in (0, 0.5, 250, 200_000, 1_500_000, -2e9)]
    assert labels == ["0", "0.5", "250", "200 k", "1.5 M", "\N{MINUS SIGN}2 G"]


@pytest.mark.parametrize(
    "rows",
    [[], [{"step": 1}], [{"step": 1, "train/return": None, "evaluation/return": None}], [{"event": "start"}]],
)
def test_metrics_without_values_are_an_error(tmp_path, rows):
    runs = [{"label": "run", "metrics": rows}]
    with pytest.raises(InputError):
        plot_curves(runs, tmp_path / "curve.png")
    with pytest.raises(InputError):
        draw_losses(runs)
    assert not list(tmp_path.iterdir())


def test_bad_paths_and_missing_runs_are_errors(tmp_path):
    run = {"label": "run", "metrics": make_rows()}
    for runs, path in (([run], tmp_path / "curve.jpg"), ([run], tmp_path), ([], tmp_path / "curve.png")):
        with pytest.raises(InputError) as error:
            plot_curves(runs, path)
        one_line(error.value)
