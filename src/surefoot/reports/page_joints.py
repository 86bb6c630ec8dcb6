"""The parts of a gait report that go joint by joint: angles before and after training, and what the motors do."""

import math

from surefoot.reports.markup import Markup, figures, number, paragraph, percent, section, table
from surefoot.reports.report_data import ReportData
from surefoot.tasks.anatomy import joint_kinds


def joints(story: ReportData) -> str:
    """Return the section on the angles of the joints, or nothing if they are not known."""
    after, before = story.figures["after"]["joints"], story.figures["before"]["joints"]
    if not after or story.body is None:
        return ""
    rows: list[tuple] = []
    kinds = joint_kinds(story.body)
    for kind, names in kinds.items():
        rows += [(kind,)] if len(names) > 1 else []
        rows += [_joint_row(name, after[name], before[name]) for name in names]
    columns = ("Joint, degrees", "the model's range", "untrained, mean ± sd", "trained, mean ± sd", "trained, from to")
    count = story.figures["episodes"]
    parts = [
        paragraph(
            f"Angles over {count} whole episodes, before and after training. An untrained body that falls over is done "
            "soon, and one that stands still has no spread."
        ),
        table(columns, rows, "Joint angles before and after training"),
    ]
    if story.pictures.get("joints"):
        parts += [
            paragraph("Over the gait cycle: mean of all strides, and one standard deviation around it.", "note"),
            figures(story.pictures["joints"]),
        ]
    if story.pictures.get("portraits"):
        parts += [
            paragraph("Phase portraits: a steady gait draws the same loop again and again.", "note"),
            figures(story.pictures["portraits"]),
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


def motors(story: ReportData) -> str:
    """Return the section on what the motors do beside what they can, or nothing if the joints are not known."""
    measured = story.figures["after"]["joints"]
    if not measured:
        return ""
    rows = [
        (
            name,
            _beside(one["torque_peak_nm"], one["torque_limit_nm"]),
            percent(one["share_at_torque_limit"]),
            number(one["torque_rms_nm"]),
            _beside(one["speed_peak_rad_s"], one["speed_limit_rad_s"]),
            number(one["power_peak_w"]),
            number(one["power_mean_abs_w"]),
        )
        for name, one in measured.items()
    ]
    columns = (
        *(
            "Motor",
            "torque, peak, N\N{NO-BREAK SPACE}m",
            "time at its limit",
            "torque, rms, N\N{NO-BREAK SPACE}m",
            "speed, peak, rad/s",
        ),
        *("power, peak, W", "power, mean size, W"),
    )
    stated = any(one["torque_limit_nm"] is not None for one in measured.values())
    return section(
        "Motors",
        paragraph(
            "Peaks stand beside the limits that the model states, where it states any; dashed lines in the pictures."
            if stated
            else "The model states no limits for its motors."
        ),
        table(columns, rows, "Torque, speed and power of the motors"),
        figures(story.pictures["motors"]) if story.pictures.get("motors") else "",
    )


def _beside(peak: float | None, limit: float | None) -> Markup:
    beside = "" if limit is None or not math.isfinite(limit) else f" <small>of {number(limit)}</small>"
    return Markup(f"{number(peak)}{beside}")
