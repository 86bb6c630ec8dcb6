"""The gait report: one self-contained HTML page."""

import base64
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

from surefoot.bodies.body import Body, joint_kinds
from surefoot.gait.contacts import MIN_CONTACT, SHORTEST_SWING_S
from surefoot.gait.gait_names import UNCLEAR
from surefoot.gait.measures import MIN_AGREEMENT, MIN_FORCE, SETTLING_S
from surefoot.reports.markup import (
    Markup,
    facts,
    figures,
    minus,
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

Plots = dict[str, list[tuple[str, str]]]
"""Plots by section of the page: SVG elements with captions, which may be empty."""


def write_page(
    measures: dict[str, Any], body: Body | None, plots: Plots, video: tuple[bytes | None, str], recipe: str
) -> str:
    """Return the page as HTML; it loads nothing and runs no scripts, even if a name or a recipe contains markup.

    Args:
        measures: content of gait.json.
        body: names of the body's parts, or None if they are unknown.
        plots: plots by section.
        video: MP4 and its caption; or None and the reason why there is none.
        recipe: TOML, or "".
    """
    parts = [
        _head(measures),
        _video(measures, plots, *video),
        _training(plots),
        _gait(measures["after"]["gait"], body),
        _footfalls(plots),
        _joints(measures, body, plots),
        _motors(measures["after"]["joints"], plots),
        section("Observations and actions", *_wide(plots["traces"])) if plots.get("traces") else "",
        _provenance(measures, recipe),
        _glossary() if body else "",
    ]
    return whole_page(f"{measures['body'] or measures['task']}: gait report", parts, measures["json_file"])


def whole_page(title: str, parts: Iterable[str], json_file: str) -> Markup:
    """Return a page that loads nothing and runs no scripts, from HTML elements; `json_file` holds its numbers."""
    content, style = "\n".join(parts), _file("page.css")
    return _fill("page.html", title=text(title), style=style, content=content, json_file=text(json_file))


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _fill(name: str, **values: str) -> Markup:
    return Markup(Template(_file(name)).substitute(values))


def _head(measures: dict) -> Markup:
    training, steps = measures["training"], measures["training"].get("steps")
    lead = f"The {'last' if measures['which'] == 'last' else 'best'} policy"
    lead += f" of {training['algorithm'].upper()}" if training.get("algorithm") else ""
    lead += f" after {number(steps, 3) if steps < 1e6 else number(steps / 1e6, 3) + ' million'} steps" if steps else ""
    lead += f", deterministic, over {measures['episodes']} held-out episodes."
    fault = measures.get("body_fault")
    warning = paragraph(f"Before any training, at rest in its pose, {fault}.", "warning") if fault else ""
    return Markup(
        f'<header><p class="eyebrow">Gait report</p><h1>{text(_headline(measures))}</h1>'
        f'<p class="lead"><b>{text(measures["id"])}</b>. {text(lead)}</p>{warning}</header>{tiles(_tiles(measures))}'
    )


def _headline(measures: dict) -> str:
    """Return the body, its gait, speed and stride frequency in a few words."""
    name, gait = measures["body"] or measures["task"], measures["after"]["gait"]
    if not gait:
        return name
    speed, stride = f"at {number(gait['speed_m_s'], 2)} m/s", gait["stride"]
    if gait["name"] == UNCLEAR:
        return f"{name} {speed}"
    rate = f", {number(stride['frequency_hz']['mean'], 2)} strides per second" if stride else ""
    return f"{name}: {gait['name']} {speed}{rate}"


def _tiles(measures: dict) -> list[tuple[str, Any, str, Any]]:
    after, threshold = measures["after"], measures["reward_threshold"]
    returns, gait = after["return"], after["gait"]
    more = f"mean; 95 % interval {number(returns['ci_low'], 4)} to {number(returns['ci_high'], 4)}"
    more += f"; solved at {threshold:,g}" if threshold is not None else ""
    entries: list[tuple[str, Any, str, Any]] = [("Return", number(returns["mean"], 4), "", more)]
    if after["falls"] is not None:
        falls = Markup(f'<span class="{"bad" if after["falls"] else "good"}">{after["falls"]}</span>')
        entries.append(("Falls", falls, f"of {after['episodes']}", f"untrained: {measures['before']['falls']}"))
    if not gait:
        return [*entries, ("Episode length", number(after["seconds"]["mean"]), "s", "simulated time")]
    net, turn = number(gait["net_speed_m_s"]), number(gait["turn_deg_per_10_s"], 2)
    entries.append(("Speed", number(gait["speed_m_s"]), "m/s", f"along the path; net {net} m/s, turns {turn}° in 10 s"))
    if gait["stride"]:
        rate = f"{spread(gait['stride']['frequency_hz'])} strides per second"
        entries.append(("Stride length", number(gait["stride"]["length_m"]["mean"]), "m", rate))
    return [
        *entries,
        ("Gait", gait["name"], "", f"by phase lags; flight {percent(gait['flight_fraction'])}"),
        ("Duty factor", number(gait["duty_factor"], 2), "", "mean of all feet"),
        ("Cost of transport", number(gait["cost_of_transport"], 2), "", "positive joint work"),
    ]


def _video(measures: dict, plots: Plots, video: bytes | None, note: str) -> str:
    terms, before = measures["after"]["reward_terms"], measures["before"]["reward_terms"]
    rows = [(name, number(value, 4), number(before.get(name), 4)) for name, value in terms.items()]
    beside = table(("Reward term, sum per episode", "trained", "untrained"), rows, "Reward terms") if rows else ""
    beside += figures(plots["returns"], "beside")
    if video is None:
        return f'<div class="film">{paragraph(f"No video: {note}", "note")}{beside}</div>'
    return f'<div class="film two">{film(video, note)}<div>{beside}</div></div>'


def film(video: bytes, caption: str, autoplay: bool = True) -> Markup:
    """Return a video, MP4, with its caption."""
    source = f"data:video/mp4;base64,{base64.b64encode(video).decode()}"
    return Markup(
        f'<figure><video controls muted loop {"autoplay " if autoplay else ""}playsinline aria-label="{text(caption)}" '
        f'src="{source}"></video><figcaption>{text(caption)}</figcaption></figure>'
    )


def _training(plots: Plots) -> Markup:
    if not plots["curves"]:
        return section("Learning curves", paragraph("No returns of the training are available."))
    losses = [f"<details><summary>Training metrics</summary>{wide(*plot)}</details>" for plot in plots["losses"]]
    return section("Learning curves", figures(plots["curves"], "panels large"), *map(Markup, losses))


def _gait(gait: dict | None, body: Body | None) -> Markup:
    if gait is None:
        reason = "the parts of this task's body are unknown" if body is None else "every episode was too short"
        return section("Gait", paragraph(f"No gait measures: {reason}."))
    columns = (
        *("Foot", "strides", "duty factor", "phase lag, cycles", "peak clearance, cm"),
        *("mid-swing clearance, cm", "peak force, body weights"),
    )
    feet = [
        (
            name,
            f"{foot['strides']:,}",
            spread(foot["duty_factor"], 2),
            UNCLEAR if foot["phase_lag"] is None else number(foot["phase_lag"], 2),
            spread(foot["clearance_peak_m"], 2, 100),
            spread(foot["clearance_mid_swing_m"], 2, 100),
            number(foot["force_peak_body_weights"], 2),
        )
        for name, foot in gait["feet"].items()
    ]
    stride = gait["stride"] or {}
    count = f"{stride['count']:,} strides of {gait['reference_foot']}" if stride else "no foot steps regularly"
    names = ("none (flight)", "one", "two", "three", "four", *map(str, range(5, 99)))
    supports = zip(names, gait["support_fractions"], strict=False)
    cost = f"{number(gait['cost_of_transport'])} (positive work); "
    cost += f"{number(gait['cost_of_transport_absolute'])} (absolute work); "
    rows = [
        ("Gait", gait["name"]),
        ("Speed along the path", number(gait["speed_m_s"], unit="m/s")),
        ("Net speed", f"{number(gait['net_speed_m_s'], unit='m/s')}, from the start to the end of an episode"),
        ("Turn", f"{number(gait['turn_deg_per_10_s'])}° in 10 s"),
        ("Stride length", spread(stride.get("length_m"), unit="m")),
        ("Stride frequency", f"{spread(stride.get('frequency_hz'), unit='per second')} ({count})"),
        ("Feet in contact", ", ".join(f"{name} {percent(fraction)}" for name, fraction in supports)),
        ("Cost of transport", f"{cost}mean positive power {number(gait['mean_positive_power_w'], unit='W')}"),
    ]
    if gait["other_contact_fraction"] is not None:
        rows.append(("Other body parts in contact", f"{percent(gait['other_contact_fraction'])} of the time"))
    if gait["symmetry_percent"]:
        indices = "; ".join(f"{name}: {number(x, 2)} %" for name, x in gait["symmetry_percent"].items())
        rows.append(("Symmetry index", indices))
    return section("Gait", facts(rows), table(columns, feet, "Measures of the feet"))


def _footfalls(plots: Plots) -> str:
    if "footfalls" not in plots:
        return ""
    feet = figures(plots["feet"], "panels large") if "feet" in plots else ""
    return section("Footfalls", *_wide(plots["footfalls"]), feet)


def _wide(plots: list[tuple[str, str]]) -> list[Markup]:
    return [part for plot in plots for part in (wide(*plot), paragraph(plot[1], "note"))]


def _joints(measures: dict, body: Body | None, plots: Plots) -> str:
    after, before = measures["after"]["joints"], measures["before"]["joints"]
    if not after or body is None:
        return ""
    rows: list[tuple] = []
    for kind, names in joint_kinds(body).items():
        rows += [(kind,)] if len(names) > 1 else []
        rows += [_joint_row(name, after[name], before[name]) for name in names]
    columns = ("Joint, degrees", "range of the model", "untrained, mean ± sd", "trained, mean ± sd", "trained, range")
    parts = [
        paragraph(
            f"Joint angles over {measures['episodes']} complete episodes, before and after training. Episodes of an "
            "untrained policy may be short because the body falls, and its angles hardly vary if it stands still."
        ),
        table(columns, rows, "Joint angles before and after training"),
    ]
    for name, note in (
        ("joints", "Angles over the gait cycle: mean of all strides ± one standard deviation."),
        ("portraits", "Phase portraits: a steady gait repeats the same loop."),
    ):
        if plots.get(name):
            parts += [paragraph(note, "note"), figures(plots[name])]
    return section("Joints", *parts)


def _joint_row(name: str, trained: dict, untrained: dict) -> tuple[str, ...]:
    low, high = trained["range_low_deg"], trained["range_high_deg"]
    cells = (
        "free" if low is None else f"{low:.1f} to {high:.1f}",
        *(f"{joint['mean_deg']:.1f} ± {joint['sd_deg']:.1f}" for joint in (untrained, trained)),
        f"{trained['min_deg']:.1f} to {trained['max_deg']:.1f}",
    )
    return name, *map(minus, cells)


def _motors(joints: dict | None, plots: Plots) -> str:
    if not joints:
        return ""
    columns = (
        *("Motor", "peak torque, N\N{NO-BREAK SPACE}m", "time at torque limit", "RMS torque, N\N{NO-BREAK SPACE}m"),
        *("peak speed, rad/s", "peak power, W", "mean absolute power, W"),
    )
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
        for name, joint in joints.items()
    ]
    limited = any(joint["torque_limit_nm"] is not None for joint in joints.values())
    note = "Peak values and the limits of the model; dashed lines in the plots are limits."
    return section(
        "Motors",
        paragraph(note if limited else "The model has no motor limits."),
        table(columns, rows, "Torque, speed and power of the motors"),
        figures(plots["motors"]) if plots.get("motors") else "",
    )


def _with_limit(peak: float | None, limit: float | None) -> Markup:
    return Markup(number(peak) + ("" if limit is None else f" <small>of {number(limit)}</small>"))


def _provenance(measures: dict, recipe: str) -> Markup:
    training, (first, last) = measures["training"], measures["seeds"]
    steps, seconds = training.get("steps"), training.get("seconds")
    effort = f"{steps:,} environment steps" if steps else "unknown"
    rows: list[tuple[str, Any]] = [
        ("Task", f"{measures['task']} ({measures['id']})"),
        ("Run", measures["run"] or "a policy file"),
        ("Algorithm", str(training.get("algorithm") or "").upper() or "unknown"),
        ("Recipe", training.get("recipe") or "unknown"),
        ("Training seed", "unknown" if training.get("seed") is None else training["seed"]),
        ("Training", effort + (f" in {number(seconds / 60, 3)} minutes" if seconds else "")),
        ("Episodes", f"{measures['episodes']}, seeds {first:,} to {last:,}"),
        ("Sampling interval", f"{number(1000 * measures['sample_s'], 3)} ms" if measures["sample_s"] else "each step"),
        ("Command", Markup(f"<code>{text(measures['command'])}</code>")),
        ("Trained with", _versions(training.get("versions") or {})),
        ("Reported with", _versions(measures["versions"])),
    ]
    details = f"<details><summary>Complete recipe</summary><pre>{text(recipe)}</pre></details>" if recipe else ""
    return section("Provenance", facts(rows), Markup(details))


def _versions(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"


def _glossary() -> Markup:
    return _fill(
        "glossary.html",
        min_force=f"{100 * MIN_FORCE:.0f}",
        shortest_swing=f"{1000 * SHORTEST_SWING_S:.0f}",
        min_contact=f"{100 * MIN_CONTACT:.0f}",
        settling=f"{SETTLING_S:g}",
        min_agreement=f"{MIN_AGREEMENT:g}",
    )
