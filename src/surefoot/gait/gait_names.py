"""Call a gait by its name, where its phase lags honestly allow it."""

from collections.abc import Mapping

from surefoot.bodies.body import Body
from surefoot.gait.contacts import phase_distance

UNCLEAR = "unclear"

# In cycles. Feet closer than the first are together; feet at least so far apart as the second alternate.
_TOGETHER, _APART = 0.1, 0.4
# How others call left and right, fore and hind.
_FEET = {"FL": "LF", "FR": "RF", "RL": "LH", "RR": "RH", "HL": "LH", "HR": "RH"}


def name_gait(body: Body, lags: Mapping[str, float | None], duty: float, flight: float) -> str:
    """Name a gait by the order in which its feet stand (Hildebrand 1965).

    Args:
        body: the body; how many feet it has, and which mirror each other, says what names there are.
        lags: phase of each foot, 0 to 1; None where it is not steady enough to be told.
        duty: the mean duty factor.
        flight: the share of time without any foot on the ground.

    Returns:
        A name, or "unclear".
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
    """A body with one fore and one hind foot moves as if its left and right were tied together."""
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
        # Four beats about evenly spaced; running, a horse is said to amble (rack, toelt).
        if abs(lateral - 0.25) <= _TOGETHER:
            return "walk" if duty > 0.5 else "amble"
        return UNCLEAR
    if max(fore, hind) <= _TOGETHER:
        return "pronk" if lateral <= _TOGETHER else "bound" if lateral >= 2 * _TOGETHER else UNCLEAR
    return UNCLEAR
