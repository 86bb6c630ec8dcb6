"""Measures of a gait: pure functions of what was recorded, T samples at a fixed step of time.

Definitions, and where they come from:

* A stride, or gait cycle, goes from one landing of a foot to its next; stance is the part in contact, swing the rest.
  Stride length, frequency and support shares follow from it (Hollman et al. 2011, Gait & Posture 34:111).
* Duty factor: stance over stride; above 0.5 a foot's gait is called walking, below running. Phase lag: by how much of a
  stride a foot's middle of stance comes after that of a reference foot. The two together name a symmetric gait
  (Hildebrand 1965, Science 150:701; Lee and Harris 2018, Frontiers in Robotics and AI 5:111).
* Symmetry index: the difference of right and left over their mean (Robinson et al. 1987; Herzog et al. 1989).
* Cost of transport: energy over weight and distance (Tucker 1975); here of mechanical work at the joints.
"""

import itertools

import numpy as np

SHORTEST_SWING_S = 0.04
TAP = 0.4
CYCLE_POINTS = 101  # 0, 1, ... 100 % of a stride


def without_bounces(contact: np.ndarray, step_s: float, shortest_s: float = SHORTEST_SWING_S) -> np.ndarray:
    """Count a foot (T,) bool that leaves the ground for less than `shortest_s` as standing: it bounced.

    Short contacts stay. A stiff simulated foot may be on the ground for a single sample in each of its strides.
    """
    joined = np.array(contact, bool)
    edges = np.flatnonzero(np.diff(joined)) + 1
    for start, end in itertools.pairwise(edges):
        if not joined[start] and (end - start) * step_s < shortest_s - 1e-9:
            joined[start:end] = True
    return joined


def find_landings(contact: np.ndarray) -> np.ndarray:
    """Return the samples (K,) at which a foot's contacts (T,) begin, without taps.

    A tap is a contact shorter than `TAP` of the upper quartile of the foot's contacts.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], contact, [False]]).astype(int)))
    begins, lasting = edges[::2], edges[1::2] - edges[::2]
    if not len(begins):
        return begins
    return begins[(lasting >= TAP * np.quantile(lasting, 0.75)) & (begins > 0)]


def find_strides(contact: np.ndarray) -> np.ndarray:
    """Return the strides (S, 2) in a foot's contacts (T,) bool: the samples of a landing and of the next one."""
    landings = find_landings(contact)
    return np.stack([landings[:-1], landings[1:]], axis=1)


def steady(strides: np.ndarray) -> np.ndarray:
    """Return the strides (S, 2) that last from half to twice as long as the median one; others hold a stumble."""
    lasting = strides[:, 1] - strides[:, 0]
    middle = np.median(lasting) if len(lasting) else 0
    return strides[(lasting >= 0.5 * middle) & (lasting <= 2 * middle)]


def duty_factors(contact: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return the share of each stride (S,) in which its foot is in contact."""
    return np.array([contact[start:end].mean() for start, end in strides])


def stride_lengths(position: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return how far the trunk (T, 2 or 3; x and y first) goes over the ground in each stride, (S,)."""
    return np.linalg.norm(position[strides[:, 1], :2] - position[strides[:, 0], :2], axis=1)


def phase_lags(contact: np.ndarray, reference: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return by how much of a stride a foot's middle of stance comes after the reference's, each from 0 to below 1.

    The middle is the circular mean of all phases in which a foot is on the ground, so that taps and double steps, which
    would each count as a landing, move it little. A stride in which one of the feet is never down gives none.

    Args:
        contact: (T,) bool, the foot's.
        reference: (T,) bool, the reference foot's.
        strides: (S, 2), the reference foot's.
    """
    lags = []
    for start, end in strides:
        turn = np.exp(2j * np.pi * np.arange(end - start) / (end - start))
        middle, other = turn[contact[start:end]].sum(), turn[reference[start:end]].sum()
        if min(abs(middle), abs(other)) > 1e-9:
            lags.append(np.angle(middle / other) / (2 * np.pi) % 1.0)
    return np.array(lags)


def circular_mean(phases: np.ndarray) -> tuple[float, float]:
    """Return the mean of phases (N,), 0 to 1 and round again, and how much they agree: 1 wholly, 0 not at all."""
    if not len(phases):
        return float("nan"), 0.0
    mean = np.exp(2j * np.pi * phases).mean()
    phase = round(float(np.angle(mean)) / (2 * np.pi), 12) % 1.0  # rounded, or a hair below 0 becomes 1
    return phase, float(abs(mean))


def phase_distance(first: float, second: float) -> float:
    """Return how far two phases are apart, 0 to 0.5."""
    return abs((first - second + 0.5) % 1.0 - 0.5)


def over_cycle(values: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Stretch what was measured (T, ...) linearly to strides of equal length, (S, CYCLE_POINTS, ...)."""
    at = strides[:, :1] + (strides[:, 1:] - strides[:, :1]) * np.linspace(0, 1, CYCLE_POINTS)
    low = np.floor(at).astype(int)
    share = (at - low).reshape(*at.shape, *(1,) * (values.ndim - 1))
    return values[low] * (1 - share) + values[np.minimum(low + 1, len(values) - 1)] * share


def swing_heights(height: np.ndarray, contact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, of each whole swing, the greatest height (W,) and the least in its middle half (W,).

    The least in the middle half stands for the toe clearance, on which stumbling hangs; near the ends of a swing every
    foot is low.
    """
    edges = np.flatnonzero(np.diff(contact)) + 1
    greatest, least = [], []
    for start, end in itertools.pairwise(edges):
        if not contact[start]:
            quarter = (end - start) // 4
            greatest.append(height[start:end].max())
            least.append(height[start + quarter : end - quarter].min())
    return np.array(greatest), np.array(least)


def support_shares(contact: np.ndarray) -> np.ndarray:
    """Return the shares of time (F + 1,) with 0, 1, ... F of the feet (T, F) in contact; the first is flight."""
    count = contact.sum(axis=1)
    return np.bincount(count, minlength=contact.shape[1] + 1) / max(1, len(count))


def symmetry_index(left: float, right: float) -> float:
    """Return by how many per cent of their mean the right exceeds the left; NaN where the mean is about zero."""
    mean = (left + right) / 2
    return float("nan") if abs(mean) < 1e-9 else 100 * (right - left) / mean


def travelled(position: np.ndarray, step_s: float, window_s: float = 1.0) -> float:
    """Return how far the trunk (T, 2 or 3) went over the ground, metres, along the line through its place at every
    second, so that swaying does not count as going."""
    every = max(1, round(window_s / step_s))
    places = position[np.unique(np.append(np.arange(0, len(position), every), len(position) - 1)), :2]
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def joint_work(torque: np.ndarray, speed: np.ndarray, step_s: float) -> tuple[float, float]:
    """Return the mechanical work of the joints (T, J), joules: what they give, and with it what they take counted too.

    The first is that of a body which gets back for nothing what it brakes with, the second that of one which must
    hold against every push with as much effort.
    """
    power = torque * speed
    return float(np.maximum(power, 0).sum() * step_s), float(np.abs(power).sum() * step_s)


def cost_of_transport(work_j: float, mass_kg: float, gravity: float, distance_m: float) -> float:
    """Return the work for each newton of weight and metre of way; NaN for a body that hardly left its place."""
    return float("nan") if distance_m < 0.1 else work_j / (mass_kg * gravity * distance_m)
