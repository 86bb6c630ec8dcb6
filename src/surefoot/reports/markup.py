"""Small pieces of HTML; whatever comes from elsewhere is escaped here."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

_NOTHING = "\N{EN DASH}"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """Return anything as HTML."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """Write a number to so many significant digits; a dash for none, and for what is not finite."""
    if value is None or not math.isfinite(value):
        return _NOTHING
    whole = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    written = f"{value:,.{min(whole, 6)}f}"
    return written.replace("-", "\N{MINUS SIGN}") + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def spread(values: dict[str, float] | None, digits: int = 3, scale: float = 1.0) -> str:
    """Write a mean and its standard deviation, both to the place that the mean's last digit has."""
    if values is None or not math.isfinite(values["mean"]):
        return _NOTHING
    mean, deviation = values["mean"] * scale, values["sd"] * scale
    largest = max(abs(mean), abs(deviation))
    places = min(6, max(0, digits - 1 - math.floor(math.log10(largest)))) if largest else 0
    return f"{mean:,.{places}f} ± {deviation:,.{places}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float | None) -> str:
    """Write a share of one in per cent."""
    if share is None or not math.isfinite(share):
        return _NOTHING
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f}\N{NO-BREAK SPACE}%"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], label: str) -> Markup:
    """Return a table that scrolls by itself where the page is narrow; a row of one cell names a group."""
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
    """Return a table of names and what stands behind them."""
    lines = "".join(f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>' for name, value in rows)
    return Markup(f'<div class="scroll"><table class="facts"><tbody>{lines}</tbody></table></div>')


def tiles(entries: Iterable[tuple[str, Any, str, Any]]) -> Markup:
    """Return headline figures: what, how much, unit, and what else there is to say of it."""
    entries = list(entries)
    columns = len(entries) if len(entries) <= 6 else -(-len(entries) // 2)
    boxes = "".join(
        f'<div><dt>{text(name)}</dt><dd><span class="value">{text(value)}'
        + (f' <span class="unit">{text(unit)}</span>' if unit else "")
        + f'</span><span class="more">{text(more)}</span></dd></div>'
        for name, value, unit, more in entries
    )
    return Markup(f'<dl class="tiles" style="--columns: {columns}">{boxes}</dl>')


def figures(pictures: Iterable[tuple[str, str]], kind: str = "panels") -> Markup:
    """Return SVG pictures with their captions, side by side as there is room."""
    return Markup(
        f'<div class="{kind}">'
        + "".join(
            f"<figure>{svg}{f'<figcaption>{text(caption)}</figcaption>' if caption else ''}</figure>"
            for svg, caption in pictures
        )
        + "</div>"
    )


def wide(svg: str, label: str) -> Markup:
    """Return a picture that is too wide for a phone and scrolls there."""
    return Markup(f'<div class="wide" tabindex="0" role="region" aria-label="{text(label)}">{svg}</div>')


def section(title: str, *parts: str) -> Markup:
    """Return a part of the page under its heading."""
    return Markup(f"<section><h2>{text(title)}</h2>{''.join(map(text, parts))}</section>")


def paragraph(words: str, kind: str = "") -> Markup:
    """Return a paragraph."""
    return Markup(f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{text(words)}</p>")
