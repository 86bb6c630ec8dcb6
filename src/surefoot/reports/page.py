"""The gait report: one self-contained HTML page."""

import base64
import dataclasses
import math
from typing import Any

from surefoot.bodies.body import Body, joint_kinds
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
from surefoot.reports.page_style import STYLE

# The page loads nothing and runs no scripts, even if a name or a recipe contains markup.
_CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


@dataclasses.dataclass(frozen=True, eq=False)
class ReportData:
    """Content of a page.

    Attributes:
        measures: as in gait.json.
        body: names of the body's parts, or None if they are unknown.
        curves: learning curves, SVG, with captions.
        plots: other plots, SVG, with captions, by section.
        video: MP4, or None.
        video_note: caption of the video, or why there is none.
        recipe: TOML, or "".
        command: the command that makes this page.
    """

    measures: dict[str, Any]
    body: Body | None
    curves: list[tuple[str, str]]
    plots: dict[str, list[tuple[str, str]]]
    video: bytes | None
    video_note: str
    recipe: str
    command: str


def write_page(data: ReportData) -> str:
    """Return the page as HTML."""
    measures = data.measures
    title = f"{measures['body'] or measures['task']}: gait report"
    parts = [
        _head(data),
        _video(data),
        _training(data),
        _gait(data),
        _footfalls(data),
        _joints(data),
        _motors(data),
        _traces(data),
        _provenance(data),
        _glossary(data),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CONTENT_SECURITY_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        + "\n".join(parts)
        + "\n<footer>Made by Surefoot. All numbers are in the file "
        f"<code>{text(measures['json_file'])}</code> next to this page.</footer>\n</main>\n</body>\n</html>\n"
    )


def _head(data: ReportData) -> Markup:
    measures, after = data.measures, data.measures["after"]
    training = measures["training"]
    which = {"policy": "best", "last": "last"}[measures["which"]]
    steps = training.get("steps")
    lead = f"The {which} policy"
    lead += f" of {training['algorithm'].upper()}" if training.get("algorithm") else ""
    lead += f" after {number(steps, 3) if steps < 1e6 else number(steps / 1e6, 3) + ' million'} steps" if steps else ""
    lead += f", deterministic, over {measures['episodes']} held-out episodes."
    return Markup(
        f'<header><p class="eyebrow">Gait report</p><h1>{text(_headline(data))}</h1>'
        f'<p class="lead"><b>{text(measures["id"])}</b>. {text(lead)}</p></header>' + tiles(_tiles(measures, after))
    )


def _headline(data: ReportData) -> str:
    """Return the body, its gait, speed and stride frequency in a few words."""
    measures, gait = data.measures, data.measures["after"]["gait"]
    name = measures["body"] or measures["task"]
    if not gait:
        return name
    stride = gait["stride"]
    if gait["name"] == UNCLEAR:
        return f"{name} at {number(gait['speed_m_s'], 2)} m/s"
    rate = f", {number(stride['frequency_hz']['mean'], 2)} strides per second" if stride else ""
    return f"{name}: {gait['name']} at {number(gait['speed_m_s'], 2)} m/s{rate}"


def _tiles(measures: dict, after: dict) -> list[tuple[str, Any, str, Any]]:
    returns, threshold = after["return"], measures["reward_threshold"]
    solved = f"; solved at {threshold:,g}" if threshold is not None else ""
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
        falls = Markup(f'<span class="{kind}">{after["falls"]}</span>')
        entries.append(("Falls", falls, f"of {after['episodes']}", f"untrained: {measures['before']['falls']}"))
    gait = after["gait"]
    if not gait:
        entries.append(("Episode length", number(after["seconds"]["mean"]), "s", "simulated time"))
        return entries
    stride = gait["stride"]
    entries.append(("Speed", number(gait["speed_m_s"]), "m/s", "of the trunk, horizontal"))
    if stride:
        entries.append(
            (
                "Stride length",
                number(stride["length_m"]["mean"]),
                "m",
                f"{spread(stride['frequency_hz'])} strides per second",
            )
        )
    entries.append(("Gait", gait["name"], "", f"by phase lags; flight {percent(gait['flight_fraction'])}"))
    entries.append(("Duty factor", number(gait["duty_factor"], 2), "", "mean of all feet"))
    entries.append(("Cost of transport", number(gait["cost_of_transport"], 2), "", "positive joint work"))
    return entries


def _video(data: ReportData) -> str:
    parts: list[str] = []
    if data.video is None:
        parts.append(paragraph(f"No video: {data.video_note}", "note"))
    else:
        encoded = base64.b64encode(data.video).decode()
        parts.append(
            f'<figure><video controls muted loop autoplay playsinline aria-label="{text(data.video_note)}" '
            f'src="data:video/mp4;base64,{encoded}"></video><figcaption>{text(data.video_note)}</figcaption></figure><div>'
        )
    terms = data.measures["after"]["reward_terms"]
    if terms:
        before = data.measures["before"]["reward_terms"]
        rows = [(name, number(value, 4), number(before.get(name), 4)) for name, value in terms.items()]
        parts.append(table(("Reward term, sum per episode", "trained", "untrained"), rows, "Reward terms"))
    parts.append(figures(data.plots["returns"], "beside") + ("</div>" if data.video is not None else ""))
    return f'<div class="film{" two" if data.video is not None else ""}">{"".join(parts)}</div>'


def _training(data: ReportData) -> str:
    if not data.curves:
        return section("Learning curves", paragraph("No returns of the training are available."))
    parts = [figures(data.curves, "panels large")]
    for svg, caption in data.plots.get("losses", []):
        parts.append(Markup(f"<details><summary>Training metrics</summary>{wide(svg, caption)}</details>"))
    return section("Learning curves", *parts)


def _gait(data: ReportData) -> str:
    gait = data.measures["after"]["gait"]
    if gait is None:
        if data.body is None:
            return section("Gait", paragraph("No gait measures: the parts of this task's body are unknown."))
        return section("Gait", paragraph("No gait measures: every episode was too short."))
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
        for name, foot in gait["feet"].items()
    ]
    columns = (
        *("Foot", "strides", "duty factor", "phase lag, cycles", "peak clearance, cm"),
        *("mid-swing clearance, cm", "peak force, body weights"),
    )
    stride = gait["stride"] or {}
    rows_of_body = [
        ("Gait", gait["name"]),
        ("Speed", number(gait["speed_m_s"], 3, "m/s")),
        ("Stride length", f"{spread(stride.get('length_m'))} m"),
        ("Stride frequency", f"{spread(stride.get('frequency_hz'))} per second ({_stride_count(gait)})"),
        ("Feet in contact", _supports(gait["support_fractions"])),
        (
            "Cost of transport",
            f"{number(gait['cost_of_transport'], 3)} (positive work); "
            f"{number(gait['cost_of_transport_absolute'], 3)} (absolute work); "
            f"mean positive power {number(gait['mean_positive_power_w'], 3, 'W')}",
        ),
    ]
    if gait["other_contact_fraction"] is not None:
        rows_of_body.append(("Other body parts in contact", f"{percent(gait['other_contact_fraction'])} of the time"))
    if gait["symmetry_percent"]:
        indices = "; ".join(f"{name}: {number(x, 2)} %" for name, x in gait["symmetry_percent"].items())
        rows_of_body.append(("Symmetry index", indices))
    return section("Gait", facts(rows_of_body), table(columns, rows, "Measures of the feet"))


def _stride_count(gait: dict) -> str:
    stride = gait["stride"]
    return f"{stride['count']:,} strides of {gait['reference_foot']}" if stride else "no foot steps regularly"


def _supports(fractions: list[float]) -> str:
    names = ["none (flight)", "one", "two", "three", "four"]
    return ", ".join(
        f"{names[count] if count < len(names) else count} {percent(fraction)}"
        for count, fraction in enumerate(fractions)
    )


def _footfalls(data: ReportData) -> str:
    parts: list[str] = []
    for svg, caption in data.plots.get("footfalls", []):
        parts += [wide(svg, caption), paragraph(caption, "note")]
    if data.plots.get("feet"):
        parts.append(figures(data.plots["feet"], "panels large"))
    return section("Footfalls", *parts) if parts else ""


def _joints(data: ReportData) -> str:
    """Return the section on joint angles, or "" if the joints are unknown."""
    after, before = data.measures["after"]["joints"], data.measures["before"]["joints"]
    if not after or data.body is None:
        return ""
    rows: list[tuple] = []
    kinds = joint_kinds(data.body)
    for kind, names in kinds.items():
        rows += [(kind,)] if len(names) > 1 else []
        rows += [_joint_row(name, after[name], before[name]) for name in names]
    columns = ("Joint, degrees", "range of the model", "untrained, mean ± sd", "trained, mean ± sd", "trained, range")
    count = data.measures["episodes"]
    parts = [
        paragraph(
            f"Joint angles over {count} complete episodes, before and after training. Episodes of an untrained policy "
            "may be short because the body falls, and its angles hardly vary if it stands still."
        ),
        table(columns, rows, "Joint angles before and after training"),
    ]
    if data.plots.get("joints"):
        parts += [
            paragraph("Angles over the gait cycle: mean of all strides ± one standard deviation.", "note"),
            figures(data.plots["joints"]),
        ]
    if data.plots.get("portraits"):
        parts += [
            paragraph("Phase portraits: a steady gait repeats the same loop.", "note"),
            figures(data.plots["portraits"]),
        ]
    return section("Joints", *parts)


def _joint_row(name: str, trained: dict, untrained: dict) -> tuple[str, ...]:
    low, high = trained["range_low_deg"], trained["range_high_deg"]
    return (
        name,
        "free" if low is None else _from_to(low, high),
        _angle(untrained),
        _angle(trained),
        _from_to(trained["min_deg"], trained["max_deg"]),
    )


def _from_to(low: float, high: float) -> str:
    return f"{low:.1f} to {high:.1f}".replace("-", "\N{MINUS SIGN}")


def _angle(joint: dict) -> str:
    return f"{joint['mean_deg']:.1f} ± {joint['sd_deg']:.1f}".replace("-", "\N{MINUS SIGN}")


def _motors(data: ReportData) -> str:
    """Return the section on motor torque, speed and power, or "" if the joints are unknown."""
    measured = data.measures["after"]["joints"]
    if not measured:
        return ""
    rows = [
        (
            name,
            _with_limit(joint["torque_peak_nm"], joint["torque_limit_nm"]),
            percent(joint["fraction_at_torque_limit"]),
            number(joint["torque_rms_nm"]),
            _with_limit(joint["speed_peak_rad_s"], joint["speed_limit_rad_s"]),
            number(joint["power_peak_w"]),
            number(joint["power_mean_abs_w"]),
        )
        for name, joint in measured.items()
    ]
    columns = (
        *(
            "Motor",
            "peak torque, N\N{NO-BREAK SPACE}m",
            "time at torque limit",
            "RMS torque, N\N{NO-BREAK SPACE}m",
            "peak speed, rad/s",
        ),
        *("peak power, W", "mean absolute power, W"),
    )
    limited = any(joint["torque_limit_nm"] is not None for joint in measured.values())
    return section(
        "Motors",
        paragraph(
            "Peak values and the limits of the model; dashed lines in the plots are limits."
            if limited
            else "The model has no motor limits."
        ),
        table(columns, rows, "Torque, speed and power of the motors"),
        figures(data.plots["motors"]) if data.plots.get("motors") else "",
    )


def _with_limit(peak: float | None, limit: float | None) -> Markup:
    suffix = "" if limit is None or not math.isfinite(limit) else f" <small>of {number(limit)}</small>"
    return Markup(f"{number(peak)}{suffix}")


def _traces(data: ReportData) -> str:
    parts: list[str] = []
    for svg, caption in data.plots.get("traces", []):
        parts += [wide(svg, caption), paragraph(caption, "note")]
    return section("Observations and actions", *parts) if parts else ""


def _provenance(data: ReportData) -> str:
    measures = data.measures
    training = measures["training"]
    rows: list[tuple[str, Any]] = [
        ("Task", f"{measures['task']} ({measures['id']})"),
        ("Run", measures["run"] or "a policy file"),
        ("Algorithm", str(training.get("algorithm") or "unknown").upper()),
        ("Recipe", training.get("recipe") or "unknown"),
        ("Training seed", training.get("seed", "unknown")),
        ("Training", _effort(training)),
        ("Episodes", f"{measures['episodes']}, seeds {measures['seeds'][0]:,} to {measures['seeds'][1]:,}"),
        ("Sampling interval", f"{number(1000 * measures['sample_s'], 3)} ms" if measures["sample_s"] else "each step"),
        ("Command", Markup(f"<code>{text(data.command)}</code>")),
        ("Trained with", _versions(training.get("versions") or {})),
        ("Reported with", _versions(measures["versions"])),
    ]
    recipe = (
        Markup(f"<details><summary>Complete recipe</summary><pre>{text(data.recipe)}</pre></details>")
        if data.recipe
        else ""
    )
    return section("Provenance", facts(rows), recipe)


def _effort(training: dict) -> str:
    steps, seconds = training.get("steps"), training.get("seconds")
    effort = f"{steps:,} environment steps" if steps else "unknown"
    return effort + (f" in {number(seconds / 60, 3)} minutes" if seconds else "")


def _versions(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"


def _glossary(data: ReportData) -> str:
    if data.body is None:
        return ""
    entries = "".join(f"<div><dt>{text(name)}</dt><dd>{text(meaning)}</dd></div>" for name, meaning in DEFINITIONS)
    return section("Glossary", Markup(f'<dl class="terms">{entries}</dl>'))
