"""A page opened in headless Chromium: its messages, and the sizes of what it shows."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
)
_PROBE = """<script>
function luminance(colour) {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(view, element) {
  const style = view.getComputedStyle(element);
  let behind = element, ground = 'rgba(0, 0, 0, 0)';
  while (behind && ground === 'rgba(0, 0, 0, 0)') {
    ground = view.getComputedStyle(behind).backgroundColor;
    behind = behind.parentElement;
  }
  const both = [luminance(element.closest('svg') ? style.fill : style.color), luminance(ground)];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}
addEventListener('load', () => setTimeout(() => {
  const measured = [...document.querySelectorAll('iframe')].map(frame => {
    const inside = frame.contentDocument;
    const video = inside.querySelector('video');
    const pictures = [...inside.querySelectorAll('svg, video')];
    const texts = [...inside.querySelectorAll('h1, h2, p, dt, dd, th, td, figcaption, summary, footer, text')];
    return {
      pictures: pictures.length,
      small: pictures.filter(x => x.getBoundingClientRect().height < 40).length,
      video: video && [video.videoWidth, video.error && video.error.message],
      wide: inside.documentElement.scrollWidth,
      text: Math.min(...[...inside.querySelectorAll('svg text')].map(x => x.getBoundingClientRect().height)),
      contrast: Math.min(...texts.map(x => contrast(frame.contentWindow, x))),
    };
  });
  document.body.innerText = JSON.stringify(measured);
}, 1000));</script>"""


def browse(folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """Run Chromium; return its standard output and the messages of the console."""
    assert BROWSER is not None
    command = [BROWSER, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measure_page(page: Path, widths: tuple[int, ...], folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Open a page at several widths; return for each what it shows, and the messages of the console.

    Measured are the number of `pictures` (plots and videos) and of those that are `small`, the first `video`'s width
    and error, the width of the content (`wide`), the least height of a `text` in a plot in px, and the least `contrast`
    of a text. The page is in a frame, since it runs no scripts.
    """
    frames = "".join(f'<iframe src="{page.name}" width="{width}" height="900"></iframe>' for width in widths)
    frame = page.with_name("frame.html")
    frame.write_text(f"<body>{_PROBE}{frames}</body>")
    out, messages = browse(folder, "--allow-file-access-from-files", "--dump-dom", frame.as_uri())
    found = re.search(r"\[\{.*\}\]", out)
    assert found, out
    return json.loads(found.group()), messages
