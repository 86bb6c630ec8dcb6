"""What the words of a gait report mean."""

from surefoot.reports import gait
from surefoot.reports.gait_names import UNCLEAR
from surefoot.reports.measures import FIRM, SETTLING_S

DEFINITIONS = (
    (
        "Contact",
        f"A foot is on the ground while the simulator reports a contact with something that does not move, and, where "
        f"forces are known, presses with at least {FIRM:.0%} of the body's weight. A gap of less than "
        f"{1000 * gait.SHORTEST_SWING_S:.0f} ms between two contacts is a bounce and counts as contact.",
    ),
    (
        "Stride, or gait cycle",
        "From one touchdown of a foot to its next. Only strides that last from half to twice as long as the foot's "
        "median one are counted; others hold a stop or a stumble. The reference is the foot whose strides differ least "
        "in length; its touchdown is 0 % of the cycle.",
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
        "Where in the reference foot's stride another foot touches down: a circular mean, given only if touchdowns "
        "agree (mean vector at least 0.7) and there is about one in each stride. Feet within a tenth of a cycle are "
        "together, from four tenths on they alternate; trot, pace, bound, pronk and walk follow from that, and "
        f"“{UNCLEAR}” is said where none does.",
    ),
    ("Flight", "The share of time with no foot on the ground."),
    (
        "Speed and stride length",
        "Way of the trunk over the ground, along straight lines from second to second, over time; and from touchdown "
        "to touchdown.",
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
