"""What the words of a gait report mean."""

from surefoot.gait import contacts as gait
from surefoot.gait.gait_names import UNCLEAR
from surefoot.gait.measures import AGREEMENT, FIRM, SETTLING_S

DEFINITIONS = (
    (
        "Contact",
        f"A foot is on the ground while the simulator reports a contact with something that does not move, and, where "
        f"forces are known, presses with at least {100 * FIRM:.0f} % of the body's weight. A gap of less than "
        f"{1000 * gait.SHORTEST_SWING_S:.0f} ms between two contacts is a bounce and counts as contact.",
    ),
    (
        "Stride, or gait cycle",
        f"From one landing of a foot to its next. A contact that lasts less than {100 * gait.TAP:.0f} % of the foot's "
        "usual one (the upper quartile) is a tap, which begins no stride. Only strides that last from half to "
        "twice as long as the foot's median one are counted; others hold a stop or a stumble. The reference is the "
        "foot whose strides differ least in length; its landing is 0 % of the cycle.",
    ),
    (
        "Where the gait is measured",
        f"From {SETTLING_S:g} s after the start to the end of an episode, without its last {SETTLING_S:g} s if it "
        "ended in a fall. Joints before and after training are measured over whole episodes.",
    ),
    (
        "Duty factor",
        "The share of its own stride that a foot is on the ground; below 0.5 there is a running gait (Hildebrand 1965; "
        "Lee and Harris 2018).",
    ),
    (
        "Phase lag and the gait's name",
        "By how much of a stride a foot's middle of stance, the circular mean of the phases in which it is on the "
        "ground, comes after the reference foot's. It is given if strides agree (mean vector at least "
        f"{AGREEMENT:g}). Feet within a tenth of a cycle are "
        "together, from four tenths on they alternate; trot, pace, bound, pronk and walk follow from that, and "
        f"“{UNCLEAR}” is said where none does.",
    ),
    ("Flight", "The share of time with no foot on the ground."),
    (
        "Speed and stride length",
        "Way of the trunk over the ground, along straight lines from second to second, over time; and from one landing "
        "of the reference foot to its next.",
    ),
    (
        "Cost of transport",
        "Mechanical work of the joints over weight and distance (Tucker 1975). “Given” adds up the power that motors "
        "give and gets nothing back for what they brake; “given and taken” adds both up.",
    ),
    (
        "Foot clearance",
        "Height of a foot's lowest point above the ground: the greatest of each swing, and the least in the middle "
        "half of it. Soft simulated contacts let a foot sink in, so heights in stance may be below zero.",
    ),
    (
        "Symmetry index",
        "Right minus left over their mean, in per cent; 0 is even (Robinson, Herzog and Nigg 1987). Of joints it "
        "compares the standard deviation of the angle.",
    ),
    (
        "Untrained",
        "A network of the same shape with freshly drawn weights, acting without noise on the same seeds: what there "
        "was before the first update.",
    ),
)
