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
# File, algorithm, what to call it; in the order in which they are shown.
LEARNING = (
    ("anymal-ppo-6036", "PPO", "ANYmal C until 6,500 and 1 fall of 100, motors limited"),
    ("anymal-ppo", "PPO", "ANYmal C, motors limited"),
    ("anymal-step-ppo", "PPO", "ANYmal C and a step of 15 cm, from the flat's seeds, two of them on busy cores"),
    ("anymal-velocity-ppo", "PPO", "ANYmal C follows commands, one busy core"),
    ("anymal-servo-ppo", "PPO", "ANYmal C, motors as in the experiment"),
    ("bipedal-walker-ppo", "PPO", "BipedalWalker-v3, `envpool`, until 304"),
    ("bipedal-walker-ppo-processes", "PPO", "BipedalWalker-v3, embedded default, until 304"),
    ("bipedal-walker-td3", "TD3", "BipedalWalker-v3, `envpool`, one core, until 301.5"),
    ("bipedal-walker-sac", "SAC", "BipedalWalker-v3, `envpool`, one busy core, until 301.5"),
    ("bipedal-walker-ddpg", "DDPG", "BipedalWalker-v3, `envpool`, one core, until 301.5"),
    ("bipedal-walker-ars", "ARS", "BipedalWalker-v3, `envpool`"),
    ("half-cheetah-ppo-5734", "PPO", "HalfCheetah-v5 until 5,734"),
    ("half-cheetah-ppo", "PPO", "HalfCheetah-v5, 10 M steps"),
    ("half-cheetah-td3", "TD3", "HalfCheetah-v5, 1 M steps, one core"),
    ("half-cheetah-ddpg", "DDPG", "HalfCheetah-v5, 1 M steps, one core"),
    ("half-cheetah-ars", "ARS", "HalfCheetah-v5, one core"),
    ("ant-ppo", "PPO", "Ant-v5, 3 M steps, one busy core"),
    ("bipedal-walker-hardcore-ppo", "PPO", "BipedalWalkerHardcore-v3, `envpool`, 8 M steps, one busy core"),
    ("walker2d-ppo", "PPO", "Walker2d-v5, untuned"),
    ("hopper-ppo", "PPO", "Hopper-v5, untuned"),
    ("pendulum-ppo", "PPO", "Pendulum-v1, untuned"),
    ("lunar-lander-ppo", "PPO", "LunarLanderContinuous-v3, untuned"),
)
# Policies in front of a step: file, and how they were trained.
CROSSING = (
    ("anymal-flat-on-steps", "on the flat only"),
    ("anymal-step-from-scratch", "on steps, from scratch"),
    ("anymal-step", "on the flat, then on steps"),
)
# Policies on ground that is not flat: file, and how they were trained.
GROUND = (
    ("anymal-flat-on-rough", "on the flat only"),
    ("anymal-rough", "then on all of them"),
)
# Joints as they are called in the body, and in the experiment.
JOINTS_BY = "surefoot report results/anymal-ppo.safetensors --no-video --output results/anymal-gait.html"
JOINTS = (("LF_HAA", "shoulder, opening"), ("LF_HFE", "shoulder, rotation"), ("LF_KFE", "elbow"))


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
        f"`make walk` made this one, with PPO, on two cores in {minutes:.1f} minutes of training. Its policy\n"
        f"comes to {mean:,.0f} points over {result['episodes']} fresh episodes and falls in {result['falls']} of them\n"
        "([figures](results/make-walk.json)); the experiment of 2023 that it repeats came to 6,036 in 20 hours.\n"
    )


def tables() -> str:
    """Return the tables as Markdown."""
    lines = [
        "Returns are means over 100 fresh episodes of the policy without noise, first over all seeds, then of the "
        "worst one. Minutes are of whole trainings, from start to stop: compilation and evaluations included.",
        "",
        "| task | by | seeds | return | worst seed | falls per 100 | steps, millions | minutes (longest) | made by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_learning(*entry) for entry in LEARNING if _path(entry[0]).exists()]
    lines += ["", *_crossing()]
    if _path("anymal-gait").exists():
        lines += ["", *_joints()]
    if _path("anymal-velocity").exists():
        lines += ["", *_tracking()]
    if _path("anymal-rough").exists():
        lines += ["", *_ground()]
    if _path("ddpg-ablation").exists():
        lines += ["", *_ablation()]
    if _path("ppo_throughput").exists():
        lines += ["", *_throughput()]
    if _path("off_policy_throughput").exists():
        lines += ["", *_off_policy_throughput()]
    if _path("ars_throughput").exists():
        lines += ["", *_search_throughput()]
    return "\n".join(lines) + "\n"


def _learning(name: str, algorithm: str, label: str) -> str:
    result = json.loads(_path(name).read_text())
    seeds = result["seeds"]
    falls = [one["falls"] for one in seeds]
    minutes = [one["training_seconds"] / 60 for one in seeds]
    cells = [
        label,
        algorithm,
        str(len(seeds)),
        f"{result['over_seeds']['mean']:,.0f}",
        f"{min(one['return']['mean'] for one in seeds):,.0f}",
        "" if None in falls else f"{statistics.mean(falls):.1f}",
        f"{statistics.median(one['steps'] for one in seeds) / 1e6:.1f}",
        f"{statistics.median(minutes):.1f} ({max(minutes):.1f})",
        f"[`{result['command']}`](results/{name}.json)",
    ]
    return "| " + " | ".join(cells) + " |"


def _crossing() -> list[str]:
    results = {
        f"[{label}](results/{name}.json)": json.loads(_path(name).read_text())
        for name, label in CROSSING
        if _path(name).exists()
    }
    heights = sorted({trial["step_height_m"] for result in results.values() for trial in result["trials"]})
    lines = [
        "ANYmal C with a step in its way: of 100 fresh episodes, how many cross it without a fall, and their return:",
        "",
        "| trained | steps, millions | " + " | ".join(f"{100 * height:g} cm" for height in heights) + " |",
        "|---|---|" + "---|" * len(heights),
    ]
    for label, result in results.items():
        trials = {trial["step_height_m"]: trial for trial in result["trials"]}
        told = [trials.get(height) for height in heights]
        cells = [f"{trial['crossed']} ({trial['return']['mean']:,.0f})" if trial else "" for trial in told]
        lines.append(f"| {label} | {result['trained']['steps'] / 1e6:.1f} | " + " | ".join(cells) + " |")
    return lines


def _joints() -> list[str]:
    """Tell what the experiment of 2023 told: a shoulder and an elbow, before and after; and what their motors do."""
    result = json.loads(_path("anymal-gait").read_text())
    before, after = result["before"]["joints"], result["after"]["joints"]
    lines = [
        f"The left fore leg of [the ANYmal C that runs](results/anymal-ppo.safetensors) in {result['episodes']} fresh "
        f"episodes, degrees ([`{JOINTS_BY}`](results/anymal-gait.json)):",
        "",
        "| joint | untrained, mean ± sd | trained, mean ± sd | torque, peak | speed, peak |",
        "|---|---|---|---|---|",
    ]
    for joint, name in JOINTS:
        angles = [f"{one['mean_deg']:.1f} ± {one['sd_deg']:.1f}" for one in (before[joint], after[joint])]
        motor = after[joint]
        peaks = [
            f"{motor['torque_peak_nm']:.0f} of {motor['torque_limit_nm']:g} N m",
            f"{motor['speed_peak_rad_s']:.1f} of {motor['speed_limit_rad_s']:g} rad/s",
        ]
        lines.append(f"| {name} | " + " | ".join([*angles, *peaks]) + " |")
    return lines


def _tracking() -> list[str]:
    result = json.loads(_path("anymal-velocity").read_text())
    error, speed, torque = result["error"], result["joint_speed_rad_s"], result["torque_n_m"]
    now, stride = (error[f"velocity{kind}_m_s"] for kind in ("", "_over_a_stride"))
    falls = result["falls"]
    turning, stride_turning = (error[f"turning{kind}_rad_s"] for kind in ("", "_over_a_stride"))
    return [
        f"ANYmal C follows commands of up to 1 m/s, drawn anew every 10 s, in {result['episodes']} fresh episodes of "
        "20 s with pushes, noise, latency and changed loads, friction and motors, after "
        f"{result['trained']['steps'] / 1e6:.1f} M steps: off by {now:.3f} m/s and {turning:.3f} rad/s from moment to "
        f"moment, by {stride:.3f} m/s and {stride_turning:.3f} rad/s on average over a stride; falls: {falls}; "
        f"99 % of joint speeds under {speed['p99'] + 0.005:.2f} rad/s, of torques under {torque['p99'] + 0.5:.0f} N m; "
        f"feet lifted {100 * result['foot_lift_m']['p50']:.0f} cm "
        f"([`{result['command']}`](results/anymal-velocity.json)).",
    ]


def _ground() -> list[str]:
    results = [(name, label, json.loads(_path(name).read_text())) for name, label in GROUND]
    levels = sorted({trial["level"] for *_, result in results for trial in result["trials"]})
    _, _, last = results[-1]
    lines = [
        "The same on ground that is not flat, which the second one sees, told to keep straight ahead at "
        f"{last['speed_m_s']:g} m/s: in how many per cent of fresh episodes it comes {last['way_m']:g} m ahead within "
        f"{last['seconds']:g} s and does not fall, by level. Steps of stairs are 3 cm high at level 0, 1.7 cm higher "
        "each level, slopes rise by 5 % and 3.5 % more, rough ground has 2 cm and 1.2 cm more:",
        "",
        "| ground | trained | steps, millions | " + " | ".join(str(level) for level in levels) + " |",
        "|---|---|---|" + "---|" * len(levels),
    ]
    for kind in dict.fromkeys(trial["terrain"] for trial in last["trials"]):
        for name, label, result in results:
            crossed = {
                trial["level"]: f"{100 * trial['crossed'] / trial['episodes']:.0f}"
                for trial in result["trials"]
                if trial["terrain"] == kind
            }
            cells = [
                kind.replace("_", " "),
                f"[{label}](results/{name}.json)",
                f"{result['trained']['steps'] / 1e6:.1f}",
            ]
            lines.append("| " + " | ".join([*cells, *(crossed.get(level, "") for level in levels)]) + " |")
    return lines


def _ablation() -> list[str]:
    result = json.loads(_path("ddpg-ablation").read_text())
    lines = [
        "What mirrored batches and parameter noise are worth to DDPG on BipedalWalker-v3, all else as in the recipe: "
        "the last policy of each training in 100 fresh episodes, and the mean of all evaluations on the way, which "
        "tells how soon it learnt; in brackets 95 % intervals over seeds "
        f"([`{result['command']}`](results/ddpg-ablation.json)):",
        "",
        "| | last policy | each seed | on the way | minutes |",
        "|---|---|---|---|---|",
    ]
    for name, variant in result["variants"].items():
        last, way, seeds = variant["over_seeds"], variant["on_the_way"], variant["seeds"]
        told = [f"{one['mean']:.0f} [{one['ci_low']:.0f}, {one['ci_high']:.0f}]" for one in (last, way)]
        each = ", ".join(f"{one['return']['mean']:.0f}" for one in seeds)
        minutes = statistics.mean(one["minutes"] for one in seeds)
        lines.append(f"| {name} | {told[0]} | {each} | {told[1]} | {minutes:.1f} |")
    return lines


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


def _off_policy_throughput() -> list[str]:
    result = json.loads(_path("off_policy_throughput").read_text())
    rates = {name: spread["median"] for name, spread in result["steps_per_second"].items()}
    ratios = [
        f"{rates[peer]:,.0f} by {name} ({faster['auto']['median']:.1f} times; "
        f"{faster['processes']['median']:.1f} times on the peers' own environment)"
        for (peer, faster), name in zip(
            result["surefoot_is_faster_by"].items(), ("Stable-Baselines3", "SBX"), strict=True
        )
    ]
    return [
        f"DDPG on BipedalWalker-v3, one environment, one update a step, batches of {result['batch']}, "
        f"{'-'.join(map(str, result['widths']))} units, all in one run, in turn: "
        f"{rates['surefoot, auto']:,.0f} steps/s beside {' and '.join(ratios)} "
        f"([`{result['command']}`](results/off_policy_throughput.json)).",
    ]


def _search_throughput() -> list[str]:
    result = json.loads(_path("ars_throughput").read_text())
    rates = {name: spread["median"] for name, spread in result["steps_per_second"].items()}
    ratios = {name: spread["median"] for name, spread in result["surefoot_per"].items()}
    return [
        f"ARS on BipedalWalker-v3, {result['directions']} directions, all in one run, in turn: "
        f"{rates['surefoot']:,.0f} steps/s beside {rates['sb3-contrib']:,.0f} by sb3-contrib "
        f"({ratios['sb3-contrib']:.1f} times), {ratios['engine, random actions']:.0%} of what the engine makes with "
        f"random actions ([`{result['command']}`](results/ars_throughput.json)).",
    ]


def _path(name: str) -> Path:
    return ROOT / "results" / f"{name}.json"


if __name__ == "__main__":
    sys.exit(main())
