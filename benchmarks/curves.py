"""Draw the learning curves of trainings from the files that `seeds.py` wrote, one colour for each file.

    python benchmarks/curves.py results/bipedal-walker-{ppo,td3,ddpg}.json --output curves.png

A point is an evaluation on the way: episodes without noise, seeds apart from those that learning used. Thin lines are
seeds, the thick one is their mean, the band goes from the lowest to the highest of them; mean and band end where the
first seed has ended.
"""

import argparse
import json
from pathlib import Path

from surefoot.recipes.files import load_recipe
from surefoot.reports.curves import plot_curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--title")
    parser.add_argument("--threshold", type=float, help="a return to mark")
    parser.add_argument("--output", type=Path, required=True, help="a .png file")
    given = parser.parse_args()
    runs = []
    for path in given.files:
        result = json.loads(path.read_text())
        label = load_recipe(result["recipe"]).algorithm.upper()
        runs += [{"label": label, "metrics": rows(seed["curve"])} for seed in result["seeds"]]
    plot_curves(runs, given.output, threshold=given.threshold, title=given.title)


def rows(curve: list[list[float]]) -> list[dict[str, float]]:
    """Return what a run's metrics had said: step, seconds and return of each evaluation."""
    return [dict(zip(("step", "seconds", "evaluation/return"), point, strict=True)) for point in curve]


if __name__ == "__main__":
    main()
