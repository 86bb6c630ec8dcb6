"""The command `sweep`: its options, its search space as a list, and its result."""

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from surefoot.cli.tables import print_table
from surefoot.errors import InputError
from surefoot.studies.sweep import SweepOptions, run_sweep
from surefoot.studies.sweep_plan import SweepPlan, open_sweep, plan_sweep
from surefoot.training.progress import Progress

# Options that describe a sweep; they cannot change when it continues.
_FIXED = ("recipe", "space", "search", "objective", "pareto", "episodes", "name", "no_pruning", "sampler_seed")


def start_sweep(args: argparse.Namespace, changes: Mapping[str, Any]) -> int:
    """Start a sweep, or continue the one with the same settings; return the exit status."""
    options = {"average": args.objective, "episodes": args.episodes, "seed": args.sampler_seed}
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"pareto": tuple(args.pareto), "pruning": not args.no_pruning}
    return _run(args, plan_sweep(args.task, args.recipe, args.space, tuple(args.search), changes, args.name, **options))


def continue_sweep(args: argparse.Namespace) -> int:
    """Continue the sweep in a folder; return the exit status.

    Raises:
        InputError: an option or a setting would change the sweep.
    """
    changed = [name for name in _FIXED if getattr(args, name) not in (None, [], False)] + list(args.changes)
    if changed:
        raise InputError(
            f"--{changed[0].replace('_', '-')}: the sweep in '{args.task}' keeps its settings; start another"
        )
    return _run(args, args.task)


def _run(args: argparse.Namespace, plan: SweepPlan | str) -> int:
    if args.settings:
        _print_space(plan if isinstance(plan, SweepPlan) else open_sweep(plan, args.root)[1])
        return 0
    folder, plan = open_sweep(plan, args.root)
    options = SweepOptions(args.trials, args.minutes, args.workers, args.new_seeds, args.on)
    results = run_sweep(folder, plan, options, Progress(args.quiet))
    path = shlex.quote(str(folder.path))
    _print_results(results)
    if results["interrupted"]:
        print(f"continue with: surefoot sweep {path}")
        return 130
    if results["best"]:
        print(f"next: surefoot train {shlex.quote(results['task'])} --recipe {path}/best.toml")
    return 0


def _print_space(plan: SweepPlan) -> None:
    """Print the ranges, with the values that all trials start from."""
    print_table(("setting", "range"), [(name, str(values)) for name, values in plan.ranges.items()])
    print("other settings: surefoot train TASK --settings")


def _print_results(results: Mapping[str, Any]) -> None:
    states = results["trials"]
    print(
        f"{sum(states.values())} trials: {states['complete']} complete, {states['pruned']} pruned or refused, "
        f"{states['fail']} failed, {states['running']} to continue"
    )
    rows = [
        (
            str(best["trial"]),
            ", ".join(f"{name} {value:,.1f}" for name, value in best["values"].items()),
            ", ".join(f"{name} {_short(value)}" for name, value in best["settings"].items()),
        )
        for best in results["best"]
    ]
    if rows:
        print_table(("best trial", "values", "settings"), rows)
    confirmed = results.get("new_seeds") or {}
    rows = [
        (label, str(part["n"]), f"{part['mean']:,.1f}", f"{part['ci_low']:,.1f} to {part['ci_high']:,.1f}")
        for name, label in (("best", "best settings"), ("start", "recipe of the start"))
        if (part := confirmed.get(name))
    ]
    if rows:
        print()
        print_table(("on new seeds", "seeds", "return, mean", "95 % interval"), rows, numbers_from=1)
    if chance := confirmed.get("probability_of_improvement"):
        between = "" if chance["low"] is None else f" ({chance['low']:.0%} to {chance['high']:.0%})"
        print(f"probability that a seed of the best settings is better: {chance['value']:.0%}{between}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
