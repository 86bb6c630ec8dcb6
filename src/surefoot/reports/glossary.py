"""Definitions of the terms in a gait report."""

from surefoot.gait import contacts as gait
from surefoot.gait.gait_names import UNCLEAR
from surefoot.gait.measures import MIN_AGREEMENT, MIN_FORCE, SETTLING_S

DEFINITIONS = (
    (
        "Contact",
        "A foot is in contact while the simulator reports a contact with static geometry and, if forces are known, its "
        f"normal force is at least {100 * MIN_FORCE:.0f} % of the body's weight. A gap of less than "
        f"{1000 * gait.SHORTEST_SWING_S:.0f} ms between two contacts is a bounce and counts as contact.",
    ),
    (
        "Stride, or gait cycle",
        "The interval from one landing of a foot to its next. Contacts shorter than "
        f"{100 * gait.MIN_CONTACT:.0f} % of the foot's typical contact (upper quartile) are ignored. Only strides of "
        "0.5 to 2 times the foot's median duration count; others contain a stop or a stumble. The reference foot is "
        "the one with the least variable stride duration; its landing is 0 % of the cycle.",
    ),
    (
        "Measured interval",
        f"From {SETTLING_S:g} s after the start to the end of an episode, without its last {SETTLING_S:g} s if it "
        "ended in a fall. Joint angles before and after training are measured over complete episodes.",
    ),
    (
        "Duty factor",
        "The fraction of its stride during which a foot is in contact. Below 0.5 the gait is a running gait "
        "(Hildebrand 1965; Lee and Harris 2018).",
    ),
    (
        "Phase lag and name of the gait",
        "Phase lag is the delay of a foot's mid-stance behind that of the reference foot, as a fraction of a stride. "
        "Mid-stance is the circular mean of the phases in contact. The phase lag is reported if the strides agree "
        f"(mean vector of at least {MIN_AGREEMENT:g}). Feet within 0.1 cycles move together; feet at least 0.4 "
        "cycles apart alternate. Trot, pace, bound, pronk and walk follow from these relations; "
        f"the gait is “{UNCLEAR}” if none applies.",
    ),
    ("Flight", "The fraction of time with no foot in contact."),
    (
        "Speed and stride length",
        "Speed is the horizontal distance of the trunk over time; the distance is summed over straight lines between "
        "positions 1 s apart. Stride length is the horizontal distance between two landings of the reference foot.",
    ),
    (
        "Cost of transport",
        "Mechanical work of the joints over weight and distance (Tucker 1975). Positive work counts the power that "
        "motors deliver; absolute work also counts the power that they absorb.",
    ),
    (
        "Foot clearance",
        "The height of a foot's lowest point above the ground. Peak clearance is the maximum of each swing, mid-swing "
        "clearance the minimum in its middle half. Heights in stance may be below zero, because simulated contacts "
        "are soft.",
    ),
    (
        "Symmetry index",
        "Right minus left in per cent of their mean; 0 is symmetric (Robinson, Herzog and Nigg 1987). The swing "
        "of a joint is the standard deviation of its angle.",
    ),
    (
        "Untrained",
        "A network of the same shape with new random weights, deterministic and on the same seeds: the policy before "
        "the first update.",
    ),
)
