"""Put a gait report together as one HTML page that needs nothing but itself."""

import base64
from typing import Any

from surefoot.gait.gait_names import UNCLEAR
from surefoot.reports.glossary import DEFINITIONS
from surefoot.reports.markup import (
    Markup,
    facts,
    figures,
    number,
    paragraph,
    percent,
    section,
    spread,
    table,
    text,
    tiles,
    wide,
)
from surefoot.reports.page_joints import joints, motors
from surefoot.reports.page_style import STYLE
from surefoot.reports.report_data import ReportData

# Nothing is fetched and nothing is run, whatever a name or a recipe may hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def write_page(story: ReportData) -> str:
    """Return the page, HTML."""
    kept = story.figures
    title = f"{kept['body'] or kept['task']}: gait report"
    parts = [
        _head(story),
        _film(story),
        _training(story),
        _gait(story),
        _footfalls(story),
        joints(story),
        motors(story),
        _traces(story),
        _made(story),
        _definitions(story),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        + "\n".join(parts)
        + "\n<footer>Made by Surefoot. All figures are in the file beside this page, "
        f"<code>{text(kept['figures_file'])}</code>.</footer>\n</main>\n</body>\n</html>\n"
    )


def _head(story: ReportData) -> Markup:
    kept, after = story.figures, story.figures["after"]
    training = kept["training"]
    which = {"policy": "best", "last": "last"}[kept["which"]]
    steps = training.get("steps")
    lead = f"The {which} policy"
    lead += f" of {training['algorithm'].upper()}" if training.get("algorithm") else ""
    lead += f" after {number(steps, 3) if steps < 1e6 else number(steps / 1e6, 3) + ' million'} steps" if steps else ""
    lead += f", acting without noise in {kept['episodes']} episodes that no training has seen."
    return Markup(
        f'<header><p class="eyebrow">Gait report</p><h1>{text(_headline(story))}</h1>'
        f'<p class="lead"><b>{text(kept["id"])}</b>. {text(lead)}</p></header>' + tiles(_tiles(kept, after))
    )


def _headline(story: ReportData) -> str:
    """Say in a few words what is to be seen."""
    kept, measured = story.figures, story.figures["after"]["gait"]
    name = kept["body"] or kept["task"]
    if not measured:
        return name
    stride = measured["stride"]
    if measured["name"] == UNCLEAR:
        return f"{name} at {number(measured['speed_m_s'], 2)} m/s"
    rate = f", {number(stride['frequency_hz']['mean'], 2)} strides a second" if stride else ""
    return f"{name}: a {measured['name']} at {number(measured['speed_m_s'], 2)} m/s{rate}"


def _tiles(kept: dict, after: dict) -> list[tuple[str, Any, str, Any]]:
    returns, threshold = after["return"], kept["reward_threshold"]
    solved = f"; solved from {threshold:,g}" if threshold is not None else ""
    entries: list[tuple[str, Any, str, Any]] = [
        (
            "Return",
            number(returns["mean"], 4),
            "",
            f"mean; 95 % interval {number(returns['ci_low'], 4)} to {number(returns['ci_high'], 4)}{solved}",
        )
    ]
    if after["falls"] is not None:
        kind = "good" if after["falls"] == 0 else "bad"
        fallen = Markup(f'<span class="{kind}">{after["falls"]}</span>')
        entries.append(("Falls", fallen, f"of {after['episodes']}", f"untrained: {kept['before']['falls']}"))
    measured = after["gait"]
    if not measured:
        entries.append(("Length of an episode", number(after["seconds"]["mean"]), "s", "simulated"))
        return entries
    stride = measured["stride"]
    entries.append(("Speed", number(measured["speed_m_s"]), "m/s", "of the trunk, over the ground"))
    if stride:
        entries.append(
            (
                "Stride",
                number(stride["length_m"]["mean"]),
                "m",
                f"{spread(stride['frequency_hz'])} a second",
            )
        )
    entries.append(("Gait", measured["name"], "", f"by phase lags; flight {percent(measured['flight_share'])}"))
    entries.append(("Duty factor", number(measured["duty_factor"], 2), "", "mean of the feet"))
    entries.append(
        ("Cost of transport", number(measured["cost_of_transport_given"], 2), "", "work given by the joints")
    )
    return entries


def _film(story: ReportData) -> str:
    parts: list[str] = []
    if story.film is None:
        parts.append(paragraph(f"No film: {story.film_note}", "note"))
    else:
        data = base64.b64encode(story.film).decode()
        parts.append(
            f'<figure><video controls muted loop autoplay playsinline aria-label="{text(story.film_note)}" '
            f'src="data:video/mp4;base64,{data}"></video><figcaption>{text(story.film_note)}</figcaption></figure><div>'
        )
    terms = story.figures["after"]["reward_terms"]
    if terms:
        before = story.figures["before"]["reward_terms"]
        rows = [(name, number(value, 4), number(before.get(name), 4)) for name, value in terms.items()]
        parts.append(table(("Reward, sum of an episode", "trained", "untrained"), rows, "What the reward is made of"))
    parts.append(figures(story.pictures["returns"], "beside") + ("</div>" if story.film is not None else ""))
    return f'<div class="film{" two" if story.film is not None else ""}">{"".join(parts)}</div>'


def _training(story: ReportData) -> str:
    if not story.curves:
        words = "There are no learning curves: no returns of the training are at hand."
        return section("How it learnt", paragraph(words))
    parts = [figures(story.curves, "panels large")]
    for svg, caption in story.pictures.get("losses", []):
        parts.append(Markup(f"<details><summary>Inside the updates</summary>{wide(svg, caption)}</details>"))
    return section("How it learnt", *parts)


def _gait(story: ReportData) -> str:
    measured = story.figures["after"]["gait"]
    if measured is None:
        if story.body is None:
            return section(
                "Gait", paragraph("The parts of this task's body are not known, so its gait cannot be measured.")
            )
        return section("Gait", paragraph("No episode went on for long enough to measure a gait."))
    feet = measured["feet"]
    rows = [
        (
            name,
            f"{foot['strides']:,}",
            spread(foot["duty_factor"], 2),
            number(foot["phase_lag"], 2) if foot["phase_lag"] is not None else UNCLEAR,
            spread(foot["clearance_peak_m"], 2, 100),
            spread(foot["clearance_mid_swing_m"], 2, 100),
            number(foot["force_peak_body_weights"], 2),
        )
        for name, foot in feet.items()
    ]
    columns = (
        *("Foot", "strides", "duty factor", "phase lag, cycles", "clearance, greatest, cm"),
        *("clearance, mid-swing, cm", "force, peak, body weights"),
    )
    stride = measured["stride"] or {}
    whole = [
        ("Gait", measured["name"]),
        ("Speed", number(measured["speed_m_s"], 3, "m/s")),
        ("Stride length", f"{spread(stride.get('length_m'))} m"),
        ("Stride frequency", f"{spread(stride.get('frequency_hz'))} per second ({_counted(measured)})"),
        ("Feet on the ground", _supports(measured["support_shares"])),
        (
            "Cost of transport",
            f"{number(measured['cost_of_transport_given'], 3)} given; "
            f"{number(measured['cost_of_transport_all'], 3)} given and taken; "
            f"mean power given {number(measured['mean_power_given_w'], 3, 'W')}",
        ),
    ]
    if measured["other_parts_share"] is not None:
        whole.append(("Other parts on the ground", f"{percent(measured['other_parts_share'])} of the time"))
    if measured["symmetry_percent"]:
        indices = "; ".join(f"{name}: {number(x, 2)} %" for name, x in measured["symmetry_percent"].items())
        whole.append(("Symmetry index", indices))
    return section("The gait", facts(whole), table(columns, rows, "Measures of the feet"))


def _counted(measured: dict) -> str:
    stride = measured["stride"]
    return f"{stride['count']:,} strides of {measured['reference_foot']}" if stride else "no foot steps regularly"


def _supports(shares: list[float]) -> str:
    names = ["none (flight)", "one", "two", "three", "four"]
    return ", ".join(
        f"{names[count] if count < len(names) else count} {percent(share)}" for count, share in enumerate(shares)
    )


def _footfalls(story: ReportData) -> str:
    parts: list[str] = []
    for svg, caption in story.pictures.get("footfalls", []):
        parts += [wide(svg, caption), paragraph(caption, "note")]
    if story.pictures.get("feet"):
        parts.append(figures(story.pictures["feet"], "panels large"))
    return section("Footfalls", *parts) if parts else ""


def _traces(story: ReportData) -> str:
    parts: list[str] = []
    for svg, caption in story.pictures.get("traces", []):
        parts += [wide(svg, caption), paragraph(caption, "note")]
    return section("What it sees and does", *parts) if parts else ""


def _made(story: ReportData) -> str:
    kept = story.figures
    training = kept["training"]
    rows: list[tuple[str, Any]] = [
        ("Task", f"{kept['task']} ({kept['id']})"),
        ("Run", kept["run"] or "a policy file"),
        ("Algorithm", str(training.get("algorithm") or "unknown").upper()),
        ("Recipe", training.get("recipe") or "unknown"),
        ("Training seed", training.get("seed", "unknown")),
        ("Training", _effort(training)),
        ("Episodes", f"{kept['episodes']}, from seeds {kept['seeds'][0]:,} to {kept['seeds'][1]:,}"),
        ("Sampled", f"every {number(1000 * kept['sample_s'], 3)} ms" if kept["sample_s"] else "each step"),
        ("Command", Markup(f"<code>{text(story.command)}</code>")),
        ("Trained with", _versions(training.get("versions") or {})),
        ("Reported with", _versions(kept["versions"])),
    ]
    recipe = (
        Markup(f"<details><summary>The whole recipe</summary><pre>{text(story.recipe)}</pre></details>")
        if story.recipe
        else ""
    )
    return section("How this was made", facts(rows), recipe)


def _effort(training: dict) -> str:
    steps, seconds = training.get("steps"), training.get("seconds")
    words = f"{steps:,} environment steps" if steps else "unknown"
    return words + (f" in {number(seconds / 60, 3)} minutes" if seconds else "")


def _versions(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"


def _definitions(story: ReportData) -> str:
    if story.body is None:
        return ""
    entries = "".join(f"<div><dt>{text(name)}</dt><dd>{text(words)}</dd></div>" for name, words in DEFINITIONS)
    return section("What the words mean", Markup(f'<dl class="terms">{entries}</dl>'))
