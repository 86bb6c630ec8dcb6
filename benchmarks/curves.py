"""Draw learning curves from files written by `seeds.py`, one colour per file.

    python benchmarks/curves.py results/bipedal-walker-{ppo,td3,ddpg}.json --output curves.png

A point is an evaluation during training: deterministic episodes on held-out seeds. Thin lines are seeds, the thick line
is their mean, the band spans lowest to highest; mean and band end with the first seed that ends.
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
    arguments = parser.parse_args()
    runs = []
    for path in arguments.files:
        result = json.loads(path.read_text())
        label = load_recipe(result["recipe"]).algorithm.upper()
        runs += [{"label": label, "metrics": rows(seed["curve"])} for seed in result["seeds"]]
    plot_curves(runs, arguments.output, threshold=arguments.threshold, title=arguments.title)


def rows(curve: list[list[float]]) -> list[dict[str, float]]:
    """Return step, seconds and return of each evaluation as metrics records."""
    return [dict(zip(("step", "seconds", "evaluation/return"), point, strict=True)) for point in curve]


if __name__ == "__main__":
    main()
