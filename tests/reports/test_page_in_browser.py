"""The page in a browser: plots have a size, the video plays, nothing is too wide, the console is empty."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surefoot.reports import report

WALKER = Path(__file__).parents[2] / "results" / "bipedal-walker-td3.safetensors"

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
)
PROBE = """<script>addEventListener('load', () => setTimeout(() => {
  const inside = document.querySelector('iframe').contentDocument;
  const video = inside.querySelector('video');
  const pictures = [...inside.querySelectorAll('svg, video')];
  document.body.innerText = JSON.stringify({
    pictures: pictures.length,
    small: pictures.filter(x => x.getBoundingClientRect().height < 40).length,
    video: video && [video.videoWidth, video.error && video.error.message],
    wide: inside.documentElement.scrollWidth,
  });
}, 1000));</script>"""


def browse(folder, *arguments):
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, messages


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_VIDEO_S", 0.5)
        return report.write_report(WALKER, output=tmp_path_factory.mktemp("page") / "page.html", episodes=1)[0]


def test_a_screenshot_shows_the_page_without_console_messages(page, tmp_path):
    picture = tmp_path / "page.png"
    _, messages = browse(tmp_path, "--window-size=1280,1600", f"--screenshot={picture}", page.as_uri())
    assert messages == []
    with Image.open(picture) as shown:
        pixels = np.asarray(shown.convert("L")).astype(int)
    assert pixels.shape == (1600, 1280) and pixels.std() > 15
    assert all(part.std() > 5 for part in np.array_split(pixels, 4))  # no part of it is blank


@pytest.mark.parametrize("width", [390, 1280])
def test_plots_have_a_size_and_nothing_is_too_wide(page, width, tmp_path):
    # In a frame, because the page itself runs no scripts.
    frame = page.with_name(f"frame-{width}.html")
    frame.write_text(f'<body>{PROBE}<iframe src="{page.name}" width="{width}" height="900"></iframe></body>')
    out, _ = browse(tmp_path, "--allow-file-access-from-files", "--dump-dom", frame.as_uri())
    measured = json.loads(re.search(r"\{.*\}", out).group())
    assert measured["pictures"] > 5 and measured["small"] == 0
    assert measured["video"] == [600, None]
    assert measured["wide"] <= width
