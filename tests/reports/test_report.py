"""Report pages: valid, self-contained and safe for any content of the run's files."""

import html.parser
import json
import math
import re
import shutil
import subprocess
import sys

import jax
import pytest

import surefoot
from helpers.messages import one_line
from surefoot.cli.main import main
from surefoot.errors import InputError, PolicyFileError, RunError
from surefoot.policies.files import save_policy
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.recipes.files import default_recipe, dump_recipe
from surefoot.reports import markup, page, report
from surefoot.reports.report import write_report
from surefoot.runs.folder import RunFolder
from surefoot.tasks.catalogue import find_task

STEPS = 100
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Checker(html.parser.HTMLParser):
    """Collects tags, ids, links and texts of a page, and tags that are not closed properly."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.wrong, self.tags, self.ids, self.links, self.texts = [], [], [], [], [], []
        self.feed(page)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
            if name.startswith("on"):
                self.wrong.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data):
        self.texts.append(data)


def make_policy(task, **options):
    info = find_task(task, {"max_episode_steps": STEPS} | options)
    settings = PolicySettings(actor=(8,), critic=(8,))
    shape = (info.observation_size, info.action_low, info.action_high)
    policy = new_policy(jax.random.key(3), info.name, *shape, settings, info.options)
    network = jax.tree.map(lambda x: 3 * x, policy.controller.network)
    policy.controller = policy.controller._replace(network=network)
    policy.origin = {"algorithm": "ppo", "steps": 500, "versions": {"python": "3"}}
    return policy


def make_run(root, task, policy, rows=None):
    folder = RunFolder.create(root, task, "run")
    folder.recipe.write_text(dump_recipe(default_recipe(task)))
    folder.policy.mkdir()
    save_policy(policy, folder.policy_file)
    if rows is None:
        rows = [{"step": 100 * i, "seconds": i, "train/return": i, "evaluation/return": 2.0 * i} for i in range(9)]
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def short_videos(monkeypatch):
    monkeypatch.setattr(report, "_VIDEO_S", 0.5)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A half-cheetah run and its report."""
    folder = make_run(tmp_path_factory.mktemp("runs"), "half-cheetah", make_policy("half-cheetah"))
    written = write_report(folder, episodes=2, video=False)
    return folder, written


def finite(value):
    if isinstance(value, dict | list):
        return all(map(finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def test_the_page_and_its_json_file_are_in_the_run_folder(reported):
    folder, written = reported
    assert written == [folder.report, folder.path / "gait.json"]
    measures = json.loads(written[1].read_text(), parse_constant=lambda name: pytest.fail(name))
    assert finite(measures)
    assert measures["body"] == "HalfCheetah" and measures["training"]["steps"] == 500
    assert measures["training"]["seconds"] == 5  # up to the step of the policy, not of the whole training
    assert measures["seeds"] == [1_500_000_000, 1_500_000_001]
    assert set(measures["after"]["joints"]) == {"bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"}
    assert measures["after"]["return"]["n"] == measures["before"]["return"]["n"] == 2
    assert measures["after"]["return"]["mean"] != measures["before"]["return"]["mean"]
    assert measures["after"]["gait"]["speed_m_s"] >= 0


def test_the_page_is_valid_and_self_contained(reported):
    text = reported[1][0].read_text()
    page = Checker(text)
    assert page.wrong == [] and len(page.ids) == len(set(page.ids))
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert not re.search(r"https?://|@import|<script", text)
    assert page.tags.count("h1") == 1 and page.tags.count("svg") > 15
    assert text.count('<svg role="img" aria-label="') == page.tags.count("svg")
    assert len(text) < 3_000_000


def test_the_page_contains_its_provenance(reported):
    content = " ".join(Checker(reported[1][0].read_text()).texts)
    for part in (
        "surefoot report half-cheetah/run --episodes 2 --no-video",
        "500 environment steps in 0.0833 minutes",
        "[ppo]",
        "jax",
    ):
        assert part in content
    assert "No video: not requested." in content


def test_task_options_replace_the_policys_own(reported, tmp_path, capsys):
    words = ["report", str(reported[0].path), "--output", str(tmp_path / "page.html"), "--episodes", "1", "--no-video"]
    assert main([*words, "--quiet", "--task_options.reset_noise_scale", "0.0"]) == 0
    assert json.loads((tmp_path / "page.json").read_text())["task_options"]["reset_noise_scale"] == 0
    content = " ".join(Checker((tmp_path / "page.html").read_text()).texts)
    assert "surefoot report half-cheetah/run --episodes 1 --no-video --task_options.reset_noise_scale 0.0" in content
    assert main([*words, "--task_options.nosuch", "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_same_run_gives_the_same_measures(reported, tmp_path):
    folder, written = reported
    again = write_report(folder, output=tmp_path / "new" / "other.html", episodes=2, video=False)
    assert [path.name for path in again] == ["other.html", "other.json"]
    first, second = (json.loads(path.read_text()) for path in (written[1], again[1]))
    assert {key: x for key, x in first.items() if key != "json_file"} == {
        key: x for key, x in second.items() if key != "json_file"
    }


@pytest.mark.parametrize("task", ["bipedal-walker", "Pendulum-v1"])
def test_the_page_contains_a_video(task, tmp_path):
    policy = make_policy(task)
    save_policy(policy, tmp_path / "policy.safetensors")
    page, numbers = write_report(tmp_path / "policy.safetensors", output=tmp_path / "page.html", episodes=1)
    text = page.read_text()
    assert 'src="data:video/mp4;base64,' in text and Checker(text).wrong == []
    assert (json.loads(numbers.read_text())["body"] is None) == (task == "Pendulum-v1")
    assert ("No gait measures" in text) == (task == "Pendulum-v1")


def test_a_video_of_the_run_is_reused(tmp_path):
    folder = make_run(tmp_path, "Pendulum-v1", make_policy("Pendulum-v1"))
    folder.videos.mkdir()
    (folder.videos / "best.mp4").write_bytes(b"a video")
    page, _ = write_report(folder, episodes=1)
    assert "data:video/mp4;base64,YSB2aWRlbw==" in page.read_text()


def test_without_opengl_there_is_a_page_without_a_video(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nothing")
    save_policy(make_policy("Hopper-v5"), tmp_path / "policy.safetensors")
    page, _ = write_report(tmp_path / "policy.safetensors", output=tmp_path / "page.html", episodes=1)
    text = page.read_text()
    assert "No video: task &#x27;Hopper-v5&#x27; cannot be rendered" in text and "<video" not in text


def test_content_of_a_run_is_escaped(tmp_path):
    bad = '<img src=x onerror="alert(1)">$x_{$'
    policy = make_policy("Pendulum-v1")
    policy.origin = {"steps": bad, "seed": bad, "algorithm": 7, "versions": {bad: bad}}
    rows = [
        {"step": 1, "seconds": 1.0, "train/return": 1.0, "evaluation/return": None, bad: 1.0},
        {"step": 3, "seconds": 3.0, "train/return": None, "evaluation/return": 4.0, f"loss/{bad}": 2.0},
    ]
    folder = make_run(tmp_path, "Pendulum-v1", policy, rows)
    hostile = folder.path.with_name(bad)
    shutil.move(folder.path, hostile)
    page, numbers = write_report(RunFolder(hostile), episodes=1, video=False)
    checked = Checker(page.read_text())
    assert checked.wrong == [] and "img" not in checked.tags and bad in "".join(checked.texts)
    assert finite(json.loads(numbers.read_text()))


def test_damaged_metrics_are_an_error(tmp_path):
    folder = make_run(tmp_path, "Pendulum-v1", make_policy("Pendulum-v1"), [{"step": 1, "train/return": True}])
    with pytest.raises(RunError) as error:
        write_report(folder, episodes=1, video=False)
    one_line(error.value, "line 1", "is damaged")


def test_without_returns_there_are_no_learning_curves(tmp_path):
    policy = make_policy("Pendulum-v1")
    policy.origin = {}
    folder = make_run(tmp_path, "Pendulum-v1", policy, rows=[])
    page, _ = write_report(folder, episodes=1, video=False)
    assert "No returns of the training are available" in page.read_text()


@pytest.mark.parametrize(
    "options, fragment",
    [
        ({"episodes": 0}, "episodes = 0"),
        ({"episodes": 10**9}, "choose 1 to"),
        ({"seed": -1}, "seed = -1"),
        ({"which": "worst"}, "policy, last"),
        ({"which": "last"}, "no policy yet"),
        ({"output": "page.txt"}, ".html"),
        ({"output": "."}, ".html"),
    ],
)
def test_wrong_options_raise_one_line_errors(options, fragment, reported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InputError, PolicyFileError)) as error:
        surefoot.report(reported[0].path, **options)
    one_line(error.value, fragment)
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_does_not_stand_is_warned_of_on_its_page(reported):
    measures = json.loads(reported[1][1].read_text())
    measures |= {"body_fault": "it does not stand: its feet ended 9 cm above the ground", "training": {"seed": None}}
    plots = {"returns": [], "curves": [], "losses": []}
    content = page.write_page(measures, None, plots, (None, "no OpenGL"), "")
    checked = Checker(content)
    assert not checked.wrong
    sentence = "Before any training, at rest in its pose, it does not stand: its feet ended 9 cm above the ground."
    assert f'<p class="warning">{sentence}</p>' in content
    seed = checked.texts.index("Training seed")
    assert "unknown" in checked.texts[seed : seed + 3] and "None" not in checked.texts
    assert 'class="warning"' not in reported[1][0].read_text()


def test_a_missing_run_is_an_error(tmp_path):
    with pytest.raises(RunError):
        surefoot.report("no/such", root=tmp_path)


def test_training_does_not_import_reports():
    script = "import sys, surefoot.api; sys.exit('surefoot.reports.report' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    "value, digits, formatted",
    [
        (None, 3, "\N{EN DASH}"),
        (math.nan, 3, "\N{EN DASH}"),
        (0.0, 3, "0"),
        (1234.56, 3, "1,235"),
        (-0.01234, 2, "\N{MINUS SIGN}0.012"),
        (99.96, 3, "100.0"),
        (0.000049, 2, "0"),
        (-0.000049, 2, "0"),
        (0.00123456, 4, "0.0012"),
    ],
)
def test_format_of_numbers(value, digits, formatted):
    assert markup.number(value, digits) == formatted


@pytest.mark.parametrize(
    "name, headline", [("amble", "Spot: amble at 0.80 m/s, 2.0 strides per second"), ("unclear", "Spot at 0.80 m/s")]
)
def test_the_headline_names_the_gait_and_the_speed(name, headline):
    gait = {"name": name, "speed_m_s": 0.8, "stride": {"frequency_hz": {"mean": 2.0, "sd": 0.1}}}
    assert page._headline({"body": "Spot", "after": {"gait": gait}}) == headline


def test_elements_escape_their_content():
    bad = '<b>&"'
    elements = [
        markup.table([bad], [[bad, bad], [bad]], bad),
        markup.facts([(bad, bad)]),
        markup.tiles([(bad, bad, bad, bad)]),
        markup.figures([("<svg></svg>", bad)]),
        markup.wide("<svg></svg>", bad),
        markup.section(bad, bad),
        markup.paragraph(bad),
    ]
    for element in elements:
        assert "<b>" not in element and "&lt;b&gt;&amp;&quot;" in element and Checker(element).wrong == []
    assert markup.percent(0.0512) == "5.1\N{NO-BREAK SPACE}%" and markup.percent(0.94) == "94\N{NO-BREAK SPACE}%"
    assert markup.spread({"mean": 2.834, "sd": 0.4567}) == "2.83 ± 0.46"
