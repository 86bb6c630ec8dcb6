"""Gait measures: pure functions of recordings with T samples at a fixed time step.

Definitions and sources:

* A stride, or gait cycle, lasts from one landing of a foot to its next. Stance is the part in contact, swing the rest.
  Stride length, stride frequency and support fractions: Hollman et al. 2011, Gait & Posture 34:111.
* Duty factor: stance over stride duration; walking above 0.5, running below. Phase lag: delay of a foot's mid-stance
  behind that of a reference foot, as a fraction of a stride. Both together classify a symmetric gait
  (Hildebrand 1965, Science 150:701; Lee and Harris 2018, Frontiers in Robotics and AI 5:111).
* Symmetry index: right minus left over their mean (Robinson et al. 1987; Herzog et al. 1989).
* Cost of transport: energy over weight and distance (Tucker 1975); here the mechanical work of the joints.
"""

import itertools

import numpy as np

SHORTEST_SWING_S = 0.04
MIN_CONTACT = 0.4  # of the foot's typical contact; shorter contacts start no stride
CYCLE_POINTS = 101  # 0, 1, ... 100 % of a stride


def without_bounces(contact: np.ndarray, step_s: float, shortest_s: float = SHORTEST_SWING_S) -> np.ndarray:
    """Fill gaps shorter than `shortest_s` in the contacts (T,) of a foot: the foot bounced.

    Short contacts remain, because a stiff simulated foot may touch the ground for a single sample per stride.
    """
    joined = np.array(contact, bool)
    edges = np.flatnonzero(np.diff(joined)) + 1
    for start, end in itertools.pairwise(edges):
        if not joined[start] and (end - start) * step_s < shortest_s - 1e-9:
            joined[start:end] = True
    return joined


def find_landings(contact: np.ndarray) -> np.ndarray:
    """Return the samples (K,) at which a foot's contacts (T,) begin.

    Contacts shorter than `MIN_CONTACT` times the upper quartile of the foot's contact durations are ignored.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], contact, [False]]).astype(int)))
    starts, durations = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return starts
    return starts[(durations >= MIN_CONTACT * np.quantile(durations, 0.75)) & (starts > 0)]


def find_strides(contact: np.ndarray) -> np.ndarray:
    """Return the strides (S, 2) of a foot with contacts (T,): indices of consecutive landings."""
    landings = find_landings(contact)
    return np.stack([landings[:-1], landings[1:]], axis=1)


def steady(strides: np.ndarray) -> np.ndarray:
    """Return the strides (S, 2) of 0.5 to 2 times the median duration; others contain a stop or a stumble."""
    durations = strides[:, 1] - strides[:, 0]
    median = np.median(durations) if len(durations) else 0
    return strides[(durations >= 0.5 * median) & (durations <= 2 * median)]


def duty_factors(contact: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return the fraction of each stride, (S,), in which its foot is in contact."""
    return np.array([contact[start:end].mean() for start, end in strides])


def stride_lengths(position: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return the horizontal distance, (S,), that the trunk (T, 2 or 3) travels in each stride."""
    return np.linalg.norm(position[strides[:, 1], :2] - position[strides[:, 0], :2], axis=1)


def phase_lags(contact: np.ndarray, reference: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Return the delays of a foot's mid-stance behind the reference foot's, as fractions of a stride in [0, 1).

    Mid-stance is the circular mean of all phases in contact, which short extra contacts change little. Strides in which
    one of the two feet has no contact are left out.

    Args:
        contact: (T,) bool, contacts of the foot.
        reference: (T,) bool, contacts of the reference foot.
        strides: (S, 2), strides of the reference foot.
    """
    lags = []
    for start, end in strides:
        circle = np.exp(2j * np.pi * np.arange(end - start) / (end - start))
        stance, reference_stance = circle[contact[start:end]].sum(), circle[reference[start:end]].sum()
        if min(abs(stance), abs(reference_stance)) > 1e-9:
            lags.append(np.angle(stance / reference_stance) / (2 * np.pi) % 1.0)
    return np.array(lags)


def circular_mean(phases: np.ndarray) -> tuple[float, float]:
    """Return the circular mean of phases (N,) of period 1, and the length of the mean vector, 0 to 1."""
    if not len(phases):
        return float("nan"), 0.0
    mean = np.exp(2j * np.pi * phases).mean()
    phase = round(float(np.angle(mean)) / (2 * np.pi), 12) % 1.0  # rounded, because slightly below 0 would become 1
    return phase, float(abs(mean))


def phase_distance(first: float, second: float) -> float:
    """Return the distance of two phases, 0 to 0.5."""
    return abs((first - second + 0.5) % 1.0 - 0.5)


def over_cycle(values: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Resample values (T, ...) of each stride to 0, 1, ... 100 % of the cycle, linearly, (S, CYCLE_POINTS, ...)."""
    at = strides[:, :1] + (strides[:, 1:] - strides[:, :1]) * np.linspace(0, 1, CYCLE_POINTS)
    low = np.floor(at).astype(int)
    weight = (at - low).reshape(*at.shape, *(1,) * (values.ndim - 1))
    return values[low] * (1 - weight) + values[np.minimum(low + 1, len(values) - 1)] * weight


def swing_heights(height: np.ndarray, contact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum height of each complete swing, (W,), and the minimum in its middle half, (W,).

    The minimum in the middle half measures the toe clearance; at the ends of a swing every foot is low.
    """
    edges = np.flatnonzero(np.diff(contact)) + 1
    peaks, clearances = [], []
    for start, end in itertools.pairwise(edges):
        if not contact[start]:
            quarter = (end - start) // 4
            peaks.append(height[start:end].max())
            clearances.append(height[start + quarter : end - quarter].min())
    return np.array(peaks), np.array(clearances)


def support_fractions(contact: np.ndarray) -> np.ndarray:
    """Return the fractions of time (F + 1,) with 0, 1, ... F of the feet (T, F) in contact; the first is flight."""
    count = contact.sum(axis=1)
    return np.bincount(count, minlength=contact.shape[1] + 1) / max(1, len(count))


def symmetry_index(left: float, right: float) -> float:
    """Return right minus left in % of their mean; NaN if the mean is about zero."""
    mean = (left + right) / 2
    return float("nan") if abs(mean) < 1e-9 else 100 * (right - left) / mean


def joint_work(torque: np.ndarray, speed: np.ndarray, step_s: float) -> tuple[float, float]:
    """Return the positive and the absolute mechanical work of the joints (T, J), J.

    Positive work counts only the power that motors deliver. Absolute work also counts the power that they absorb, as
    if braking took as much energy as driving.
    """
    power = torque * speed
    return float(np.maximum(power, 0).sum() * step_s), float(np.abs(power).sum() * step_s)


def cost_of_transport(work_j: float, mass_kg: float, gravity: float, distance_m: float) -> float:
    """Return work over weight and distance; NaN for distances below 0.1 m."""
    return float("nan") if distance_m < 0.1 else work_j / (mass_kg * gravity * distance_m)
