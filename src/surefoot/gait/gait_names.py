"""Names of gaits, from phase lags and duty factors."""

from collections.abc import Mapping

from surefoot.bodies.body import Body
from surefoot.gait.contacts import phase_distance

UNCLEAR = "unclear"

# Phase distances in cycles: feet closer than the first move together, feet further apart than the second alternate.
_TOGETHER, _APART = 0.1, 0.4
# Other common names of left and right, fore and hind feet.
_FEET = {"FL": "LF", "FR": "RF", "RL": "LH", "RR": "RH", "HL": "LH", "HR": "RH"}


def name_gait(body: Body, lags: Mapping[str, float | None], duty: float, flight: float) -> str:
    """Classify a gait by its footfall sequence (Hildebrand 1965).

    Args:
        body: the body; the possible names depend on the number of its feet and on their left-right pairs.
        lags: phase of each foot, 0 to 1; None if it varies too much between strides.
        duty: mean duty factor.
        flight: fraction of time without ground contact.

    Returns:
        The name of the gait, or "unclear".
    """
    phases = {_FEET.get(name.upper(), name): lag for name, lag in lags.items() if lag is not None}
    if len(phases) < len(body.feet):
        return UNCLEAR
    if len(body.feet) == 1:
        return "hop" if flight > 0.02 else UNCLEAR
    if set(phases) == {"LF", "RF", "LH", "RH"}:
        return _of_four(phases, duty)
    if len(phases) == 2:
        apart = phase_distance(*phases.values())
        return _of_two_legs(apart, duty) if body.foot_pairs else _of_fore_and_hind(apart)
    return UNCLEAR


def _of_two_legs(apart: float, duty: float) -> str:
    if apart >= _APART:
        return "walk" if duty > 0.5 else "run"
    return "hop on both feet" if apart <= _TOGETHER else UNCLEAR


def _of_fore_and_hind(apart: float) -> str:
    """A planar body has one fore and one hind foot; each stands for a left and a right foot that move together."""
    if apart <= _TOGETHER:
        return "pronk"
    return "bound" if apart >= 2 * _TOGETHER else UNCLEAR


def _of_four(phase: Mapping[str, float], duty: float) -> str:
    def apart(first: str, second: str) -> float:
        return phase_distance(phase[first], phase[second])

    fore, hind = apart("LF", "RF"), apart("LH", "RH")
    diagonal = max(apart("LF", "RH"), apart("RF", "LH"))
    lateral = max(apart("LF", "LH"), apart("RF", "RH"))
    if min(fore, hind) >= _APART:
        if diagonal <= _TOGETHER:
            return "trot"
        if lateral <= _TOGETHER:
            return "pace"
        # Four evenly spaced beats; as a running gait this is the amble (rack, toelt).
        if abs(lateral - 0.25) <= _TOGETHER:
            return "walk" if duty > 0.5 else "amble"
        return UNCLEAR
    if max(fore, hind) <= _TOGETHER:
        return "pronk" if lateral <= _TOGETHER else "bound" if lateral >= 2 * _TOGETHER else UNCLEAR
    return UNCLEAR
