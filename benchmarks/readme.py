"""Generate the tables of README.md, docs/results/index.md and docs/results/rivals.md from the files in results/.

python benchmarks/readme.py            # rewrite them
python benchmarks/readme.py --check    # exit status 1 if one is out of date
"""

import dataclasses
import json
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import rivals

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
INDEX = ROOT / "docs" / "results" / "index.md"
RIVALS = ROOT / "docs" / "results" / "rivals.md"
PICTURES = ROOT / "docs" / "pictures"
# Rows of the table in README.md: file, task, algorithm.
HIGHLIGHTS = (
    ("anymal-ppo", "ANYmal C runs", "PPO"),
    ("anymal-step-random-ppo", "ANYmal C crosses a 20 cm step, last of three trainings", "PPO"),
    ("bipedal-walker-td3", "BipedalWalker-v3", "TD3"),
    ("bipedal-walker-hardcore-sac", "BipedalWalkerHardcore-v3", "SAC"),
    ("half-cheetah-ppo", "HalfCheetah-v5", "PPO"),
    ("ant-sac", "Ant-v5", "SAC"),
    ("learning-to-run-ppo-33", "A body with 18 muscles runs, m in 10 s", "PPO"),
)
# One section for each task: title, introduction, and the trainings as file, algorithm, what differs.
SECTIONS = (
    (
        "ANYmal C, running",
        "Task `anymal`, motors limited as the real ones are; in the training of 3 M steps their limits were "
        "[explicit](experiments/2026-motor-limits.md). Findings: "
        "[ANYmal runs within a minute](experiments/2026-anymal-running.md), "
        "[servos without a speed limit](experiments/2026-unlimited-servos.md).",
        (
            ("anymal-ppo-6036", "PPO", "stopped at 6,500 with at most 1 % falls"),
            ("anymal-ppo", "PPO", "1.5 M steps, busy cores"),
            ("anymal-ppo-3m", "PPO", "3 M steps, shared core"),
        ),
    ),
    (
        "ANYmal C, a step of 20 cm",
        "Task `anymal-step`. Finding: [a step is climbed if it grows](experiments/2026-anymal-step.md).",
        (
            ("anymal-step-ppo", "PPO", "the recipe, from the shipped policy of `anymal`, shared core"),
            ("anymal-step-random-ppo", "PPO", "random heights, from an earlier policy for steps, shared core"),
        ),
    ),
    (
        "ANYmal C, velocity commands",
        "Task `anymal-velocity`. Finding: [following commands](experiments/2026-anymal-commands.md). Tracking by "
        "seed 0 is measured with the motors' implicit limits, all else with the "
        "[explicit](experiments/2026-motor-limits.md) ones.",
        (("anymal-velocity-ppo", "PPO", "shared core"),),
    ),
    (
        "BipedalWalker-v3",
        "Findings: [discounting favours speed](experiments/2026-discounting-favours-speed.md), "
        "[TD3, SAC and DDPG](experiments/2026-bipedal-walker-off-policy.md), "
        "[random search](experiments/2026-random-search.md).",
        (
            ("bipedal-walker-ppo", "PPO", "`envpool`, stopped at 304"),
            ("bipedal-walker-ppo-processes", "PPO", "`processes`, stopped at 304"),
            ("bipedal-walker-td3", "TD3", "`envpool`, one core, stopped at 301.5"),
            ("bipedal-walker-sac", "SAC", "`envpool`, one shared core, stopped at 301.5"),
            ("bipedal-walker-ddpg", "DDPG", "`envpool`, one core, stopped at 301.5"),
            ("bipedal-walker-ars", "ARS", "`envpool`, one shared core"),
            ("bipedal-walker-ars-one", "ARS", "`envpool`, one shared core, 8 M steps, not stopped at 308"),
        ),
    ),
    (
        "BipedalWalkerHardcore-v3",
        "Finding: [SAC crosses most of the hardcore course](experiments/2026-hardcore-sac.md).",
        (
            ("bipedal-walker-hardcore-sac", "SAC", "`envpool`, one shared core, stopped by hand"),
            ("bipedal-walker-hardcore-ppo", "PPO", "`envpool`, one shared core"),
        ),
    ),
    (
        "HalfCheetah-v5",
        "Finding on ARS: [random search learns from short episodes](experiments/2026-random-search.md).",
        (
            ("half-cheetah-ppo-5734", "PPO", "stopped at 5,800"),
            ("half-cheetah-ppo", "PPO", "10 M steps"),
            ("half-cheetah-td3", "TD3", "1 M steps, one core"),
            ("half-cheetah-ars", "ARS", "one core"),
        ),
    ),
    (
        "Ant-v5",
        "Finding: [SAC and DDPG without target networks](experiments/2026-ant-crossq.md).",
        (
            ("ant-sac", "SAC", "recipe `ant-sac`, one shared core, contact forces not observed"),
            ("ant-ddpg", "DDPG", "recipe `ant-ddpg`, one shared core, contact forces not observed"),
            ("ant-ppo", "PPO", "one shared core, contact forces observed"),
            ("claborne2023-ant", "DDPG", "recipe `claborne2023-ant`, 106,000 of 1 M steps, one shared core"),
        ),
    ),
    (
        "Learning to run",
        "Task `learning-to-run`, a body with 18 muscles; the return is the distance in metres. Finding: "
        "[a runner of muscles starts in a stride](experiments/2026-learning-to-run.md).",
        (
            ("learning-to-run-ppo-33", "PPO", "stopped at 35, shared core"),
            ("learning-to-run-ppo", "PPO", "3 M steps, shared core"),
        ),
    ),
)
# Policies in front of a step, and on rough terrain: file, and how they were trained.
STEPS = (
    ("anymal-flat-on-steps", "flat ground only"),
    ("anymal-step", "an earlier policy for steps, explicit motor limits"),
    ("anymal-step-random-seed0", "the earlier one, then random heights; shipped"),
)
TERRAIN = (
    ("anymal-flat-on-rough", "flat ground only"),
    ("anymal-rough", "then all terrains"),
)
TRACKING = (("anymal-velocity", "seed 0"), ("anymal-velocity-seed1", "seed 1"))
# A policy's row is from the last of these files that has it.
HALF_STEP = (
    "half_step",
    "half_step-ant-ddpg",
    "half_step-anymal-step",
    "half_step-anymal-step-random",
    "half_step-learning-to-run",
)
# Joints as the body names them, and as the experiment of 2023 did.
JOINTS = (("LF_HAA", "shoulder, abduction"), ("LF_HFE", "shoulder, rotation"), ("LF_KFE", "elbow"))
GAIT_COMMAND = "surefoot report results/anymal-ppo.safetensors --no-video --output results/anymal-gait.html"


@dataclasses.dataclass(frozen=True)
class Training:
    """One or several trainings of a recipe, from a file of `surefoot seeds` or of `surefoot evaluate --json`."""

    seeds: int
    mean: float
    worst: float
    falls_per_100: float | None
    steps: float
    minutes: float
    longest_minutes: float
    command: str

    @classmethod
    def load(cls, name: str) -> "Training":
        data = load(name)
        if isinstance(data, list):  # of `surefoot evaluate --json`
            run = data[0]
            seeds, steps_of = [run], "training_steps"
            mean, command = run["return"]["mean"], f"surefoot evaluate results/{name}.safetensors --json"
            if not (ROOT / "results" / f"{name}.safetensors").exists():
                command = f"surefoot train {run['task']} --recipe {run['recipe']}"
        else:
            seeds, steps_of = data["seeds"], "steps"
            mean, command = data["over_seeds"]["mean"], present(data["command"])
        falls = [run["falls"] for run in seeds]
        minutes = [run["training_seconds"] / 60 for run in seeds]
        return cls(
            len(seeds),
            mean,
            min(run["return"]["mean"] for run in seeds),
            None if None in falls else statistics.mean(falls),
            statistics.median(run[steps_of] for run in seeds),
            statistics.median(minutes),
            max(minutes),
            command,
        )


def main() -> int:
    readme = README.read_text()
    pages = {
        README: filled(filled(readme, "results", highlights()), "walk", walk_caption()),
        INDEX: results_page(),
        RIVALS: rivals.page(),
    }
    if "--check" in sys.argv:
        return int(any(not path.exists() or path.read_text() != text for path, text in pages.items()))
    for path, text in pages.items():
        path.write_text(text)
    return 0


def filled(text: str, name: str, content: str) -> str:
    """Put `content` between the two marks called `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, rest = text.split(begin)
    return before + begin + content + end + rest.split(end)[1]


def walk_caption() -> str:
    """Return the caption of README.md's first picture: the policy that `make walk` trains."""
    result = load("make-walk")[0]
    falls = f"{result['falls']} falls" if result["falls"] else "no falls"
    return (
        f"ANYmal C, trained by `make walk`: PPO, {result['training_seconds'] / 60:.1f} minutes on two cores, mean "
        f"return {result['return']['mean']:,.0f} over {result['episodes']} held-out episodes, {falls} "
        "([data](results/make-walk.json)).\n"
    )


def highlights() -> str:
    """Return README.md's table and its line on speed."""
    rows = []
    for name, task, algorithm in HIGHLIGHTS:
        training = Training.load(name)
        seeds = "1 seed" if training.seeds == 1 else f"{training.seeds} seeds"
        rows.append(
            (
                task,
                algorithm,
                f"[{training.mean:,.0f}](results/{name}.json) ({seeds})",
                falls_of(training),
                f"{training.minutes:.1f}" if training.minutes < 10 else f"{training.minutes:.0f}",
            )
        )
    lines = table(("task", "algorithm", "return", "falls per 100 episodes", "minutes"), rows)
    first = next(iter(load("ppo_throughput")["transitions"].values()))
    sb3, sbx = (first[peer]["speedup"]["steps_per_second"]["median"] for peer in ("stable-baselines3", "sbx"))
    lines += [
        "",
        f"PPO on HalfCheetah-v5 with the same settings trains {sb3:.1f} times as fast as Stable-Baselines3 and "
        f"{sbx:.1f} times as fast",
        "as SBX ([data](results/ppo_throughput.json)).",
    ]
    return "\n".join(lines) + "\n"


def results_page() -> str:
    """Return docs/results/index.md."""
    lines = [
        "# Results",
        "",
        "<!-- Generated by benchmarks/readme.py from the files in results/; do not edit. -->",
        "",
        "Returns are means over 100 held-out episodes of the deterministic policy: first over all seeds, then of the "
        "worst seed. Steps are medians over seeds. Minutes are the median and the longest wall-clock time of a whole "
        'training, compilation and evaluations included. A "shared core" had other work on it, so its time is an upper '
        "bound. The [protocol](protocol.md) has the details; each number links to the file it comes from.",
    ]
    extras = {
        "ANYmal C, running": joints,
        "ANYmal C, a step of 20 cm": step_crossing,
        "ANYmal C, velocity commands": lambda: [*tracking(), *terrain_crossing()],
        "BipedalWalker-v3": ablation,
    }
    for title, introduction, trainings in SECTIONS:
        lines += ["", f"## {title}", "", introduction, ""]
        lines += training_table(trainings)
        lines += extras.get(title, list)()
    lines += [*untuned(), *walking(), *physics_step(), *throughput()]
    return "\n".join(lines) + "\n"


def training_table(trainings: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the table of some trainings, and their commands."""
    rows, commands = [], []
    for name, algorithm, variant in trainings:
        training = Training.load(name)
        rows.append(
            (
                variant,
                algorithm,
                str(training.seeds),
                f"[{training.mean:,.0f}]({data_link(name)})",
                f"{training.worst:,.0f}",
                falls_of(training),
                f"{training.steps / 1e6:.1f}",
                f"{training.minutes:.1f} ({training.longest_minutes:.1f})",
            )
        )
        commands.append(training.command)
    columns = ("", "algorithm", "seeds", "return", "worst seed", "falls per 100", "steps (M)", "minutes (longest)")
    return [*table(columns, rows), *shell(commands)]


def joints() -> list[str]:
    """Return joint angles before and after training, as the experiment of 2023 gave them, and motor loads."""
    result = load("anymal-gait")
    rows = []
    for joint, name in JOINTS:
        before, after = result["before"]["joints"][joint], result["after"]["joints"][joint]
        rows.append(
            (
                f"{name} (`{joint}`)",
                *(f"{angles['mean_deg']:.1f} ± {angles['sd_deg']:.1f}" for angles in (before, after)),
                f"{after['torque_peak_nm']:.0f} of {after['torque_limit_nm']:g} N m",
                f"{after['speed_peak_rad_s']:.1f} of {after['speed_limit_rad_s']:g} rad/s",
            )
        )
    return [
        "",
        f"Left foreleg of the [shipped policy]({data_link('anymal-ppo.safetensors')}) over {result['episodes']} "
        f"held-out episodes, degrees, mean ± standard deviation ([data]({data_link('anymal-gait')})):",
        "",
        *table(("joint", "untrained", "trained", "peak torque", "peak speed"), rows),
        *shell([GAIT_COMMAND]),
    ]


def step_crossing() -> list[str]:
    results = [(name, label, load(name)) for name, label in STEPS]
    heights = sorted({trial["step_height_m"] for *_, result in results for trial in result["trials"]})
    rows, commands = [], []
    for name, label, result in results:
        trials = {trial["step_height_m"]: trial for trial in result["trials"]}
        cells = [
            "{crossed} / {falls} ({return[mean]:,.0f})".format(**trials[height]) if height in trials else ""
            for height in heights
        ]
        rows.append((f"[{label}]({data_link(name)})", millions(result["trained"]["steps"]), *cells))
        commands.append(result["command"])
    return [
        "",
        "Of 100 episodes in front of a step: crossed without a fall / fell (mean return):",
        "",
        *table(("trained on", "steps (M)", *(f"{100 * height:g} cm" for height in heights)), rows),
        *shell(commands),
    ]


def tracking() -> list[str]:
    results = [(name, label, load(name)) for name, label in TRACKING]
    measures = (
        ("velocity error, instantaneous, m/s", lambda r: f"{r['error']['velocity_m_s']:.3f}"),
        ("velocity error, averaged over a stride, m/s", lambda r: f"{r['error']['velocity_over_a_stride_m_s']:.3f}"),
        ("yaw rate error, instantaneous, rad/s", lambda r: f"{r['error']['turning_rad_s']:.3f}"),
        ("yaw rate error, averaged over a stride, rad/s", lambda r: f"{r['error']['turning_over_a_stride_rad_s']:.3f}"),
        ("falls in 100 episodes", lambda r: str(r["falls"])),
        ("joint speed, 99th percentile (limit 7.5 rad/s)", lambda r: f"{r['joint_speed_rad_s']['p99']:.2f}"),
        ("torque, 99th percentile (limit 80 N m)", lambda r: f"{r['torque_n_m']['p99']:.0f}"),
        ("foot lift, median, cm", lambda r: f"{100 * r['foot_lift_m']['p50']:.0f}"),
        ("training steps (M)", lambda r: millions(r["trained"]["steps"])),
    )
    rows = [(text, *(measure(result) for *_, result in results)) for text, measure in measures]
    return [
        "",
        "Command tracking over 100 held-out episodes of 20 s: commands of up to 1 m/s, drawn every 10 s, with pushes, "
        "sensor noise, latency and randomised loads, friction and motors:",
        "",
        *table(("", *(f"[{label}]({data_link(name)})" for name, label, _ in results)), rows),
        *shell(result["command"] for *_, result in results),
    ]


def terrain_crossing() -> list[str]:
    results = [(name, label, load(name)) for name, label in TERRAIN]
    last = results[-1][-1]
    levels = sorted({trial["level"] for trial in last["trials"]})
    rows = []
    for kind in dict.fromkeys(trial["terrain"] for trial in last["trials"]):
        for name, label, result in results:
            success = {
                trial["level"]: f"{100 * trial['crossed'] / trial['episodes']:.0f}"
                for trial in result["trials"]
                if trial["terrain"] == kind
            }
            cells = [success.get(level, "") for level in levels]
            kind_of = kind.replace("_", " ")
            rows.append((kind_of, f"[{label}]({data_link(name)})", millions(result["trained"]["steps"]), *cells))
    return [
        "",
        f"Success rate (%) on rough terrain by difficulty level: walk {last['distance_m']:g} m straight at "
        f"{last['speed_m_s']:g} m/s within {last['seconds']:g} s without falling. Only the second policy observes the "
        "terrain. Level 0 has stairs of 3 cm, slopes of 5 % and bumps of 2 cm; each level adds 1.7 cm, 3.5 % and "
        "1.2 cm. Finding: [stairs](experiments/2026-anymal-stairs.md).",
        "",
        *table(("terrain", "trained on", "steps (M)", *map(str, levels)), rows),
        *shell(result["command"] for *_, result in results),
    ]


_VARIANTS = """\
    --variant neither ddpg.symmetry=none ddpg.exploration.parameter_noise=0 \\
    --variant mirror ddpg.symmetry=augment ddpg.exploration.parameter_noise=0 \\
    --variant parameter-noise ddpg.symmetry=none ddpg.exploration.parameter_noise=0.3 \\
    --variant both ddpg.symmetry=augment ddpg.exploration.parameter_noise=0.3"""
ABLATIONS = (
    "surefoot seeds bipedal-walker-ddpg --n 3 --name ddpg-ablation --training.steps 200_000 \\\n"
    f"    --training.evaluate_every 20_000 --training.stop_at_return none \\\n{_VARIANTS}",
    "surefoot seeds ghelfi2019 --n 1 --name learning-to-run-ablation --training.steps 100_000 \\\n"
    "    --training.evaluate_every 10_000 --training.stop_at_return none --engine.threads 1 \\\n"
    f"    --training.mode synchronous --training.samplers 1 \\\n{_VARIANTS} \\\n"
    "    --variant no-layer-norm ddpg.symmetry=augment ddpg.exploration.parameter_noise=0.3 policy.layer_norm=false",
)


def ablation() -> list[str]:
    result = load("ddpg-ablation")
    rows = []
    for name, variant in result["variants"].items():
        rows.append(
            (
                name,
                *(interval(variant[key]) for key in ("over_seeds", "mean_during_training")),
                ", ".join(f"{run['return']['mean']:.0f}" for run in variant["seeds"]),
                f"{statistics.mean(run['minutes'] for run in variant['seeds']):.1f}",
            )
        )
    return [
        "",
        "Ablation of DDPG's mirrored batches and parameter noise; all else as in the recipe. Return of the last "
        "policy, and mean return of all evaluations during training (learning speed), with 95 % intervals over seeds "
        f"([data]({data_link('ddpg-ablation')}), [finding](experiments/2026-ddpg-ablation.md)):",
        "",
        *table(("", "last policy", "during training", "each seed", "minutes"), rows),
        "",
        "These trainings, and those of the [ablation of the experiment of 2018]"
        "(experiments/2026-runner-ddpg-ablation.md), by commands; they evaluate the best policy of each run instead of "
        "the last one:",
        *shell(ABLATIONS),
    ]


def untuned() -> list[str]:
    """Return the section on tasks without a recipe."""
    result, libraries = load("ppo-defaults"), ("Surefoot", "Stable-Baselines3")
    rows = []
    for task, runs in result["tasks"].items():
        each = [runs.get(library) for library in libraries]
        returns = [f"{interval(run)} ({run['n']})" if run else "" for run in each]
        seconds = [[value for value in run["processor_seconds"] if value] if run else [] for run in each]
        medians = [f"{statistics.median(values):.0f}" if values else "" for values in seconds]
        rows.append((task, f"{runs['steps']:,}", *returns, *medians))
    columns = ("task", "steps", *libraries, *(f"{library}, s" for library in libraries))
    return [
        "",
        "## Gymnasium tasks without a recipe",
        "",
        "PPO with the [defaults](../algorithms/ppo.md#defaults) of each library: mean return of the last policy, with "
        "the 95 % interval over seeds if there are several (number of seeds), and median processor time of a training "
        "with one thread on a shared core, Surefoot's with compiled code from its cache. Empty cells were not measured "
        f"([data]({data_link('ppo-defaults')})):",
        "",
        *table(columns, rows),
        *shell([result["command"]]),
    ]


def walking() -> list[str]:
    """Return the section on robots of other projects that learned to walk."""
    result = load("walking")
    rows = [
        (
            run["body"]
            + (f" ([film](../pictures/{film}))" if (PICTURES / (film := f"walk-{name}.webp")).exists() else ""),
            millions(run["steps"]),
            f"{run['net_speed_m_s']:.2f}",
            f"{run['path_speed_m_s']:.2f}",
            f"{run['turn_deg']:.0f} ({run['largest_turn_deg']:.0f})",
            str(run["falls"]),
        )
        for name, run in result["runs"].items()
    ]
    columns = ("robot", "steps (M)", "net speed, m/s", "path speed, m/s", "turn, degrees (largest)", "falls per 100")
    return [
        "",
        "## Walk, robots from files",
        "",
        "Recipe `walk`, one seed, desired speed 1 m/s, 100 held-out episodes of 20 s "
        f"([data]({data_link('walking')}), [finding](experiments/2026-walking-straight.md)):",
        "",
        *table(columns, rows),
        *shell([result["command"]]),
    ]


def physics_step() -> list[str]:
    """Return the section on the physics step."""
    results = {file: load(file) for file in HALF_STEP}
    files = {name: file for file, result in results.items() for name in result["policies"]}
    rows = []
    for name, file in sorted(files.items()):
        runs = results[file]["policies"][name]
        cells = [f"{runs['full'][key]:,.1f} / {runs['half'][key]:,.1f}" for key in runs["change"]]
        largest = max(runs["change"], key=lambda key: abs(runs["change"][key]))
        low, high = runs.get("interval", {}).get(largest, (None, None))
        interval = "" if low is None else f" [{low:+.1%}, {high:+.1%}]"
        steps = f"{runs['full']['step_ms']:g} / {runs['half']['step_ms']:g}"
        label, change = f"[`{name}`]({data_link(file)})", f"{runs['change'][largest]:+.1%}{interval}"
        rows.append((label, str(results[file]["episodes"]), steps, *cells, change))
    measures = ("return", "distance, m", "peak torque, N m", "peak speed, rad/s", "largest change [95 % interval]")
    return [
        "",
        "## Physics step",
        "",
        "Shipped policies at the physics step of their task and at half of it, over held-out episodes; peak speeds are "
        "means over episodes ([finding](experiments/2026-motor-limits.md)):",
        "",
        *table(("policy", "episodes", "step, ms", *measures), rows),
        *shell([result["command"] for result in results.values()]),
    ]


def throughput() -> list[str]:
    """Return the section on speed."""
    return [
        "",
        "## Throughput",
        "",
        "Environment steps per second. Contenders run in turn, several rounds; ratios are medians over rounds.",
        *_ppo_throughput(),
        *_off_policy_throughput(),
        *_ars_throughput(),
        *_simulator_fraction(),
        *_symmetry_cost(),
    ]


def _ppo_throughput() -> list[str]:
    result = load("ppo_throughput")
    rows = []
    for transitions, reading in result["transitions"].items():
        cells = [f"{int(transitions):,}", f"{reading['surefoot']['steps_per_second']['median']:,.0f}"]
        for peer in ("stable-baselines3", "sbx"):
            cells.append(f"{reading[peer]['steps_per_second']['median']:,.0f}")
            cells.append(f"{reading[peer]['speedup']['steps_per_second']['median']:.1f}")
        rows.append(cells)
    return [
        "",
        f"PPO on {result['task']} with Stable-Baselines3's default settings ({result['num_envs']} environments, "
        f"minibatches of 64, 10 epochs, networks of 64-64) ([data]({data_link('ppo_throughput')})):",
        "",
        *table(("transitions per update", "Surefoot", "Stable-Baselines3", "ratio", "SBX", "ratio"), rows),
        *shell([result["command"]]),
    ]


def _off_policy_throughput() -> list[str]:
    result = load("off_policy_throughput")
    rates, speedup = result["steps_per_second"], result["speedup"]
    rows = [
        ("Surefoot, `envpool`", f"{rates['surefoot, auto']['median']:,.0f}", "", ""),
        ("Surefoot, `processes`", f"{rates['surefoot, processes']['median']:,.0f}", "", ""),
    ]
    for peer, name in (("stable-baselines3", "Stable-Baselines3"), ("sbx", "SBX")):
        ratios = [f"{speedup[peer][engine]['median']:.1f}" for engine in ("auto", "processes")]
        rows.append((name, f"{rates[peer]['median']:,.0f}", *ratios))
    return [
        "",
        f"DDPG on {result['task']}, one environment, one update per step, batches of {result['batch_size']}, networks "
        f"of {'-'.join(map(str, result['widths']))} units. An update takes {result['update_ms']['median']:.1f} ms, its "
        f"matrix products alone {result['matmul_ms']['median']:.1f} ms ([data]({data_link('off_policy_throughput')}), "
        "[finding](experiments/2026-large-networks.md)):",
        "",
        *table(("", "steps/s", "`envpool` is faster by", "`processes` is faster by"), rows),
        *shell([result["command"]]),
    ]


def _ars_throughput() -> list[str]:
    result = load("ars_throughput")
    rows = [("Surefoot", f"{result['steps_per_second']['surefoot']['median']:,.0f}", "")]
    for peer, name in (("sb3-contrib", "sb3-contrib"), ("engine, random actions", "engine alone, random actions")):
        rows.append(
            (name, f"{result['steps_per_second'][peer]['median']:,.0f}", f"{result['speedup'][peer]['median']:.2f}")
        )
    return [
        "",
        f"ARS on {result['task']}, {result['directions']} directions ([data]({data_link('ars_throughput')})):",
        "",
        *table(("", "steps/s", "Surefoot over this"), rows),
        *shell([result["command"]]),
    ]


def _simulator_fraction() -> list[str]:
    rows, commands = [], []
    for name in ("physics_share", "physics_share_velocity"):
        result = load(name)
        rates, fractions = result["steps_per_second"], result["fraction_of_mujoco_batch"]
        rows.append(
            (
                f"[{result['task']}]({data_link(name)}), {result['num_envs']} environments",
                result["machine"]["cpu"],
                f"{rates['mujoco.batch']['median']:,.0f}",
                f"{rates['engine']['median']:,.0f} ({fractions['engine']['median']:.0%})",
                f"{rates['training']['median']:,.0f} ({fractions['training']['median']:.0%})",
            )
        )
        commands.append(result["command"])
    half_cheetah = load("ppo_shares")
    return [
        "",
        "Fraction of the simulator's speed that reaches a task and a training. The second row predates the tied "
        "networks that the recipe has now ([finding](experiments/2026-simulator-speed.md)):",
        "",
        *table(("", "processor", "`mujoco.batch` alone", "engine", "PPO training"), rows),
        *shell(commands),
        "",
        f"PPO with the recipe `half-cheetah` trains at {half_cheetah['training_steps_per_second']:,.0f} steps/s; the "
        f"engine alone makes {half_cheetah['random_steps_per_second']:,.0f}. Peak memory: "
        f"{half_cheetah['peak_memory_mib']:,.0f} MiB ([data]({data_link('ppo_shares')})).",
        *shell([half_cheetah["command"]]),
    ]


def _symmetry_cost() -> list[str]:
    result = load("symmetry_cost")
    rows = [
        (
            f"`{symmetry}`",
            f"{times['median']:.1f}",
            f"{result['relative_to_none'][symmetry]['median']:.2f}" if symmetry != "none" else "",
        )
        for symmetry, times in result["update_ms"].items()
    ]
    return [
        "",
        "One PPO update of the recipe `anymal` by the kind of symmetry "
        f"([data]({data_link('symmetry_cost')}), [why](../algorithms/symmetry.md)):",
        "",
        *table(("symmetry", "ms", "relative to none"), rows),
        *shell([result["command"]]),
    ]


def load(name: str) -> Any:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def data_link(name: str) -> str:
    """Return the link from docs/results/index.md to a file in results/."""
    return f"../../results/{name}" + ("" if "." in name else ".json")


def falls_of(training: Training) -> str:
    return "" if training.falls_per_100 is None else f"{training.falls_per_100:.1f}"


def millions(steps: float) -> str:
    return f"{steps / 1e6:.1f}"


def interval(values: dict[str, float]) -> str:
    """Return a mean and its interval, the mean alone of a single value."""
    digits = 1 if abs(values["mean"]) < 10 else 0
    mean, low, high = (f"{values[key]:z.{digits}f}" for key in ("mean", "ci_low", "ci_high"))
    return f"{mean} [{low}, {high}]" if values["n"] > 1 else mean


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def present(command: str) -> str:
    """Return the present form of the command of an older file: `surefoot seeds` replaces `benchmarks/seeds.py`."""
    script = "python benchmarks/seeds.py"
    if not command.startswith(script):
        return command
    words = command.removeprefix(script).replace(" --seeds ", " --n ").replace(" --root runs/seeds", "")
    # Runs of an earlier study are in its folder.
    return "surefoot seeds" + re.sub(
        r"--from '(\w+)/([\w-]+)-\{seed\}'", r"--from 'studies/\2/runs/\1/seed-{seed}'", words
    )


def shell(commands: Iterable[str]) -> list[str]:
    """Return a block of commands, after an empty line."""
    return ["", "```sh", *commands, "```"]


if __name__ == "__main__":
    sys.exit(main())
