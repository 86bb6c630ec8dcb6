"""HTML elements of the report page; all text is escaped here."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

_NOTHING = "\N{EN DASH}"
_MOST_PLACES = 4  # after the decimal point


class Markup(str):
    """Text that already is HTML."""

    __slots__ = ()


def minus(text: str) -> str:
    """Replace hyphens by minus signs."""
    return text.replace("-", "\N{MINUS SIGN}")


def text(value: Any) -> Markup:
    """Return a value as HTML, escaped unless it is `Markup`."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """Format a number with `digits` significant digits; a dash for None and for non-finite values.

    At most four decimal places are shown, so that less than 0.00005 is 0.
    """
    if value is None or not math.isfinite(value):
        return _NOTHING
    return minus(f"{_rounded(value):,.{_places(value, digits)}f}") + _with_unit(unit)


def spread(values: dict[str, float] | None, digits: int = 3, scale: float = 1.0, unit: str = "") -> str:
    """Format a mean ± its standard deviation, with equal decimal places."""
    if values is None or not math.isfinite(values["mean"]):
        return _NOTHING
    mean, sd = values["mean"] * scale, values["sd"] * scale
    places = _places(max(abs(mean), abs(sd)), digits)
    return minus(f"{_rounded(mean):,.{places}f} ± {_rounded(sd):,.{places}f}") + _with_unit(unit)


def _rounded(value: float) -> float:
    return round(value, _MOST_PLACES) + 0.0  # not -0


def _places(value: float, digits: int) -> int:
    """Return the decimal places of a number with significant digits; none if it is shown as 0."""
    value = abs(_rounded(value))
    return min(_MOST_PLACES, max(0, digits - 1 - math.floor(math.log10(value)))) if value else 0


def _with_unit(unit: str) -> str:
    return f"\N{NO-BREAK SPACE}{unit}" if unit else ""


def percent(fraction: float | None) -> str:
    """Format a fraction in per cent."""
    if fraction is None or not math.isfinite(fraction):
        return _NOTHING
    return f"{100 * fraction:.{1 if 0 < fraction < 0.0995 else 0}f}\N{NO-BREAK SPACE}%"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], label: str) -> Markup:
    """Return a table that scrolls sideways on narrow pages; a row of one cell is the heading of a group."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
    lines = []
    for first, *rest in rows:
        if rest:
            lines.append(f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(x)}</td>" for x in rest)}</tr>')
        else:
            lines.append(f'<tr class="group"><th scope="rowgroup" colspan="{len(columns)}">{text(first)}</th></tr>')
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(rows: Iterable[tuple[str, Any]]) -> Markup:
    """Return a table of names and values."""
    lines = (f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>' for name, value in rows)
    return Markup(f'<div class="scroll"><table class="facts"><tbody>{"".join(lines)}</tbody></table></div>')


def tiles(entries: Iterable[tuple[str, Any, str, Any]]) -> Markup:
    """Return headline numbers from (name, value, unit, remark)."""
    entries = list(entries)
    columns = len(entries) if len(entries) <= 6 else -(-len(entries) // 2)
    boxes = "".join(
        f'<div><dt>{text(name)}</dt><dd><span class="value">{text(value)}'
        + (f' <span class="unit">{text(unit)}</span>' if unit else "")
        + f'</span><span class="more">{text(more)}</span></dd></div>'
        for name, value, unit, more in entries
    )
    return Markup(f'<dl class="tiles" style="--columns: {columns}">{boxes}</dl>')


def figures(plots: Iterable[tuple[str, str]], kind: str = "panels") -> Markup:
    """Return SVG plots with captions in a responsive grid."""
    captioned = [(svg, f"<figcaption>{text(caption)}</figcaption>" if caption else "") for svg, caption in plots]
    return Markup(
        f'<div class="{kind}">{"".join(f"<figure>{svg}{caption}</figure>" for svg, caption in captioned)}</div>'
    )


def wide(svg: str, label: str) -> Markup:
    """Return a wide plot that scrolls sideways on narrow pages."""
    return Markup(f'<div class="wide" tabindex="0" role="region" aria-label="{text(label)}">{svg}</div>')


def section(title: str, *parts: str) -> Markup:
    """Return a section with a heading."""
    return Markup(f"<section><h2>{text(title)}</h2>{''.join(map(text, parts))}</section>")


def paragraph(content: str, kind: str = "") -> Markup:
    """Return a paragraph of an optional CSS class."""
    return Markup(f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{text(content)}</p>")
