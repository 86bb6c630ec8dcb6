"""The page in a browser: plots have a size, the video plays, nothing is too wide, the console is empty."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.browser import BROWSER, browse, measure_page
from surefoot.reports import report

WALKER = Path(__file__).parents[2] / "results" / "bipedal-walker-td3.safetensors"
WIDTHS = (390, 1280)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


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


def test_plots_have_a_size_and_nothing_is_too_wide(page, tmp_path):
    for width, measured in zip(WIDTHS, measure_page(page, WIDTHS, tmp_path)[0], strict=True):
        assert measured["pictures"] > 5 and measured["small"] == 0
        assert measured["video"] == [600, None]
        assert measured["wide"] <= width
        assert measured["contrast"] >= 4.5  # of text, WCAG 2.2 level AA
