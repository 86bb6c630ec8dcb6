"""Style of plots, as PNG files and as SVG elements of a page."""

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Palette of Okabe and Ito, distinguishable with all common colour blindness; without yellow, too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT, GRID = "#24292f", "#6e7781", "#d8dee4"
_DPI = 200

# In a page these colours become CSS variables, so that plots follow its dark mode.
_VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid"} | {
    colour.lower(): f"--series-{index}" for index, colour in enumerate(COLOURS)
}
_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)), re.IGNORECASE)
_FONT = re.compile(r"(font-family:|font: [^;\"]*?px) [^;\"]*")
_LONG = re.compile(r"(\d\.\d\d)\d+")
_TAG = re.compile(r"<[^>]*>")
_NAMED = re.compile(r'\b(id="|xlink:href="#|url\(#)')


def new_figure(width: float, height: float, rows: int, columns: int, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of `rows` x `columns` panels with a light grid and without frames; no global state is changed."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, **kwargs).ravel())
    for axes in panels:
        axes.grid(True, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(FAINT)
        axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9, length=0)
        axes.xaxis.label.set(color=INK, size=10)
        axes.yaxis.label.set(color=INK, size=10)
        axes.margins(x=0.02)
    return figure, panels


def as_svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an SVG element in the colours and fonts of the page.

    Args:
        figure: the figure.
        name: unique on the page; letters, digits and hyphens.
        label: description for screen readers.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = _NAMED.sub(rf"\g<1>{name}-", text)
    text = _COLOUR.sub(lambda match: f"var({_VARIABLES[match.group().lower()]})", text)
    text = _FONT.sub(r"\g<1> var(--font)", text)
    text = _TAG.sub(lambda tag: _LONG.sub(r"\g<1>", tag.group()), text)  # not in the texts between them
    text = re.sub(r"\s*\n\s*", " ", text)
    box = re.search(r'viewBox="[^"]*"', text)
    start = f'<svg role="img" aria-label="{html.escape(label)}" {box.group() if box else ""}>'
    return start + text[text.index(">") + 1 :]
