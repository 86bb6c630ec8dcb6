"""Write the tables of results into README.md from the files in results/, so that no figure is typed by hand.

python benchmarks/readme.py            # rewrite
python benchmarks/readme.py --check    # exit status 1 if README.md says something else
"""

import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# File, what to call it; in the order in which they are shown.
LEARNING = (
    ("bipedal-walker-ppo", "BipedalWalker-v3, `envpool`, until 304"),
    ("bipedal-walker-ppo-processes", "BipedalWalker-v3, embedded default, until 304"),
    ("half-cheetah-ppo-5734", "HalfCheetah-v5 until 5,734"),
    ("half-cheetah-ppo", "HalfCheetah-v5, 10 M steps"),
    ("walker2d-ppo", "Walker2d-v5, untuned"),
    ("hopper-ppo", "Hopper-v5, untuned"),
    ("pendulum-ppo", "Pendulum-v1, untuned"),
    ("lunar-lander-ppo", "LunarLanderContinuous-v3, untuned"),
)


def main() -> int:
    text = README.read_text()
    wanted = _filled(_filled(text, "results", tables()), "walk", walk())
    if "--check" in sys.argv:
        return int(wanted != text)
    README.write_text(wanted)
    return 0


def _filled(text: str, name: str, content: str) -> str:
    """Put `content` between the two marks called `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, rest = text.split(begin)
    return before + begin + content + end + rest.split(end)[1]


def walk() -> str:
    """Say what `make walk` came to; its file is what `surefoot evaluate RUN --json` prints."""
    result = json.loads(_path("make-walk").read_text())[0]
    minutes, mean = result["training_seconds"] / 60, result["return"]["mean"]
    return (
        f"`make walk` made this one, by an earlier recipe, on two cores in {minutes:.1f} minutes of training. "
        f"Its policy\ncomes to {mean:.0f} points over {result['episodes']} fresh episodes and falls in "
        f"{result['falls']} of them\n([figures](results/make-walk.json)); 300 is called solved.\n"
    )


def tables() -> str:
    """Return the tables as Markdown."""
    lines = [
        "Returns are means over 100 fresh episodes of the policy without noise, first over all seeds, then of the "
        "worst one. Minutes are of whole trainings, from start to stop: compilation and evaluations included.",
        "",
        "| task, PPO | seeds | return | worst seed | falls per 100 | steps, millions | minutes (longest) | made by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_learning(name, label) for name, label in LEARNING if _path(name).exists()]
    if _path("ppo_throughput").exists():
        lines += ["", *_throughput()]
    return "\n".join(lines) + "\n"


def _learning(name: str, label: str) -> str:
    result = json.loads(_path(name).read_text())
    seeds = result["seeds"]
    falls = [one["falls"] for one in seeds]
    minutes = [one["training_seconds"] / 60 for one in seeds]
    cells = [
        label,
        str(len(seeds)),
        f"{result['over_seeds']['mean']:,.0f}",
        f"{min(one['return']['mean'] for one in seeds):,.0f}",
        "" if None in falls else f"{statistics.mean(falls):.1f}",
        f"{statistics.median(one['steps'] for one in seeds) / 1e6:.1f}",
        f"{statistics.median(minutes):.1f} ({max(minutes):.1f})",
        f"[`{result['command']}`](results/{name}.json)",
    ]
    return "| " + " | ".join(cells) + " |"


def _throughput() -> list[str]:
    result = json.loads(_path("ppo_throughput").read_text())
    lines = [
        "PPO on HalfCheetah-v5 at Stable-Baselines3's defaults (8 copies, minibatch 64, 10 epochs, 64-64), all in one "
        f"run, in turn ([`{result['command']}`](results/ppo_throughput.json)):",
        "",
        "| transitions per update | Surefoot, steps/s | Stable-Baselines3 | SBX |",
        "|---|---|---|---|",
    ]
    for transitions, reading in result["transitions"].items():
        ours = reading["surefoot"]["steps_per_second"]["median"]
        cells = [f"{int(transitions):,}", f"{ours:,.0f}"]
        for peer in ("stable-baselines3", "sbx"):
            theirs = reading[peer]
            ratio = theirs["surefoot_is_faster_by"]["steps_per_second"]["median"]
            cells.append(f"{theirs['steps_per_second']['median']:,.0f}; Surefoot is {ratio:.1f} times faster")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _path(name: str) -> Path:
    return ROOT / "results" / f"{name}.json"


if __name__ == "__main__":
    sys.exit(main())
