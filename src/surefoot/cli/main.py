"""The command line: one function per command; heavy modules are imported only by the commands that need them."""

import argparse
import contextlib
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.cli.arguments import make_parser, split_settings
from surefoot.cli.variables import faults
from surefoot.errors import EngineError, InputError, SurefootError, suggestion


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 success, 1 failure, 2 wrong input, 130 interrupted."""
    os.environ.pop("JAX_ENABLE_X64", None)  # Surefoot computes in float32
    warnings.showwarning = lambda message, *_, **__: print(f"surefoot: {message}", file=sys.stderr)
    # JAX warns about every fork. This program forks only to execute another one, such as ffmpeg.
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # now, so that an error of a closed pipe is handled below
        return status
    except InputError as error:
        print(f"surefoot: {error}", file=sys.stderr)
        return 2
    except EngineError as error:
        print(f"{error.details}surefoot: {error}", file=sys.stderr)
        return 1
    except SurefootError as error:
        print(f"surefoot: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("surefoot: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        with contextlib.suppress(OSError, ValueError):  # otherwise Python reports the error again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # for example a full disk or missing permissions
        where = f"'{error.filename}': " if error.filename else ""
        print(f"surefoot: {SurefootError(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    parser, commands = make_parser(COMMANDS)
    if not arguments:
        parser.print_help()
        return 0
    if arguments[0].startswith("-"):
        parser.parse_args(arguments[:1])  # prints and exits, unless the flag is unknown
        raise InputError(f"unexpected argument '{arguments[0]}' (see 'surefoot --help')")
    if arguments[0] not in commands:
        raise InputError(f"unknown command '{arguments[0]}'" + suggestion(arguments[0], commands))
    flags = [flag for action in commands[arguments[0]]._actions for flag in action.option_strings]
    settings: dict[str, str | None] = {}
    words = arguments
    if arguments[0] in ("train", "seeds", "sweep"):
        arguments, settings = split_settings(arguments, flags)
    elif arguments[0] in ("evaluate", "record", "report", "list"):
        arguments, settings = split_settings(arguments, flags, "task_options.")
    args, rest = parser.parse_known_args(arguments)
    if rest:
        hint = suggestion(rest[0], flags) if rest[0].startswith("-") else f" (see 'surefoot {arguments[0]} --help')"
        raise InputError(f"unexpected argument '{rest[0]}'{hint}")
    args.changes, args.flags, args.words = settings, flags, words
    if arguments[0] != "doctor":  # `doctor` reports them all
        for _, message in faults():
            raise InputError(message)
    return args.command(args)


def _train(args: argparse.Namespace) -> int:
    from surefoot.recipes.overrides import parse_settings

    changes = parse_settings(args.changes, args.flags)
    task = args.task or changes.pop("task", None)
    if task is None and args.recipe:
        from surefoot.recipes.files import load_recipe

        task = load_recipe(args.recipe).task
    if args.settings and task is None:
        if changes:
            raise InputError("the settings of which task? such as 'surefoot train ant --settings'")
        from surefoot.cli.listing import print_settings

        print_settings()
        return 0
    if task is None:
        raise InputError("which task? such as 'surefoot train half-cheetah' (see 'surefoot list')")
    if "task" in changes:
        raise InputError(f"two tasks: '{task}' and '{changes['task']}'; choose one")
    if args.start_from == "":
        raise InputError("--from '': name a run or a policy file")
    for flag, setting, value in (
        ("--from", "training.start_from", args.start_from),
        ("--engine", "engine.name", args.engine),
    ):
        if value is not None:
            if setting in changes:
                raise InputError(f"{flag} and --{setting} are the same setting; give one of them")
            changes[setting] = value
    from surefoot.api import make_recipe_from, train_recipe
    from surefoot.training.progress import Progress

    progress = Progress(args.quiet)
    recipe = make_recipe_from(task, args.recipe, changes, args.root, progress)
    if args.settings:
        from surefoot.cli.listing import print_settings

        print_settings(recipe, changes)
        return 0
    outcome = train_recipe(recipe, args.name, args.root, progress)
    status = _print_outcome(outcome)
    if args.video and status == 0:
        try:
            _record_video(args, str(outcome.folder.path))
        except SurefootError as error:
            raise SurefootError(f"the training has finished, but no video was recorded: {error}") from error
        from surefoot.api import send_media

        send_media(outcome, progress.warn)
    return status


def _resume(args: argparse.Namespace) -> int:
    from surefoot.runs.folder import RunFolder
    from surefoot.runs.metrics import read_metrics
    from surefoot.training import loop
    from surefoot.training.progress import Progress

    outcome = loop.resume(RunFolder.open(args.run, args.root), Progress(args.quiet), args.steps)
    status, steps = _print_outcome(outcome), outcome.counters.steps
    resumed_at = [row["step"] for row in read_metrics(outcome.folder.metrics) if row.get("event") == "resume"]
    if status == 0 and resumed_at[-1:] == [steps]:
        path = shlex.quote(str(outcome.folder.path))
        print(f"the run was complete already; train longer with: surefoot resume {path} --steps {2 * steps}")
    return status


def _sweep(args: argparse.Namespace) -> int:
    from surefoot.cli.sweeps import continue_sweep, start_sweep
    from surefoot.studies.folder import is_study

    if args.task and is_study(Path(args.task)):
        return continue_sweep(args)
    from surefoot.recipes.overrides import parse_settings

    return start_sweep(args, parse_settings(args.changes, args.flags))


def _print_outcome(outcome) -> int:
    counters, path = outcome.counters, shlex.quote(str(outcome.folder.path))
    best = "not evaluated yet" if counters.best_return is None else f"best evaluated return {counters.best_return:.1f}"
    minutes, seconds = divmod(round(counters.seconds), 60)
    print(f"{outcome.reason} at step {counters.steps:,} after {minutes} min {seconds} s; {best}")
    if outcome.reason == "interrupted":
        print(f"continue with: surefoot resume {path}")
        return 130
    print(f"next: surefoot evaluate {path}    surefoot record {path}    surefoot report {path}")
    return 0


def _seeds(args: argparse.Namespace) -> int:
    from surefoot.cli.studies import train_seeds

    return train_seeds(args)


def _compare(args: argparse.Namespace) -> int:
    from surefoot.cli.studies import compare_runs

    return compare_runs(args)


def _evaluate(args: argparse.Namespace) -> int:
    import json

    from surefoot.api import evaluate
    from surefoot.cli.tables import print_evaluations
    from surefoot.policies.files import load_policy

    for run in args.runs:  # report a missing run or a damaged policy before any evaluation
        load_policy(_find_policy(args, run))
    options = {"seed": args.seed, "engine": args.engine, "task": args.task, "task_options": _changed_options(args)}
    last, results = {"which": "last"} if args.last else {}, []
    with _stdout_as_stderr() if args.json else contextlib.nullcontext():
        for run in args.runs:
            results.append(evaluate(run, args.episodes, args.root, **options, **({} if os.path.isfile(run) else last)))
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        print_evaluations(results)
    return 0


@contextlib.contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """Send to standard error what environments print, in this process and in those it starts."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _find_policy(args: argparse.Namespace, run: str) -> Path:
    """Return a policy file, or that of a run; report if it is the last one because there is no best one."""
    from surefoot.runs.folder import RunFolder

    if os.path.isfile(run):
        return Path(run)
    folder = RunFolder.open(run, args.root)
    path = folder.find_policy("last" if args.last else "policy")
    if path != folder.policy_file and not args.last:
        print(f"'{folder.path}' has not been evaluated in training yet, so this is its last policy", file=sys.stderr)
    return path


def _changed_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the task options of the command line."""
    from surefoot.recipes.overrides import parse_settings

    return {name.partition(".")[2]: value for name, value in parse_settings(args.changes).items()}


def _record(args: argparse.Namespace) -> int:
    from surefoot.recipes.files import read_recipe
    from surefoot.runs.folder import RunFolder
    from surefoot.tasks.registry import resolve

    names = "episodes", "seconds", "start", "fps", "size", "seed", "engine", "task"
    options = {name: getattr(args, name) for name in names}
    options |= {"task_options": _changed_options(args), "which": "last" if args.last else "policy"}
    if not args.snapshots:
        if args.output is not None and args.output.suffix.lower() not in (".mp4", ".webp", ".gif"):
            raise InputError(f"--output '{args.output}' should end in .mp4, .webp or .gif")
        _find_policy(args, args.run)
        return _record_video(args, args.run, args.output, **options)
    if args.output:
        raise InputError("--output: the videos of --snapshots go to the run folder, named after their policies")
    folder = RunFolder.open(args.run, args.root)
    policies = sorted(folder.policy.glob("step-*.safetensors"))
    if not policies:
        raise InputError(f"'{folder.path}' has no snapshots; train with --training.snapshot_every STEPS")
    resolve(read_recipe(folder.recipe).task)  # imports its module
    for path in policies:
        _record_video(args, str(path), folder.videos / f"{path.stem}.mp4", **options)
    return 0


def _record_video(args: argparse.Namespace, run: str, output: Path | None = None, **options: Any) -> int:
    """Record a video with the options of `api.record`."""
    from surefoot.api import record
    from surefoot.cli.progress_bar import progress_bar

    with progress_bar(args.quiet) as progress:
        result = record(run, output, root=args.root, progress=partial(progress, "frames"), **options)
    print(f"{result['path']}: return {result['return']:.1f} in {result['length']:g} steps")
    return 0


def _report(args: argparse.Namespace) -> int:
    suffix = ".html" if args.output is None else args.output.suffix.lower()
    if suffix == ".png":
        return _draw_curves(args)
    if suffix != ".html":
        raise InputError(f"--output '{args.output}' should end in .html, or in .png for the curves only")
    if args.output is not None and len(args.runs) > 1:
        raise InputError(f"--output '{args.output}': each of {len(args.runs)} runs has its own page; name one run")
    from surefoot.api import report
    from surefoot.cli.progress_bar import progress_bar

    options = {"seed": args.seed, "engine": args.engine, "video": not args.no_video, "task": args.task}
    options |= {"task_options": _changed_options(args)}
    for run in args.runs:
        _find_policy(args, run)
        which = "last" if args.last else "policy"
        with progress_bar(args.quiet) as progress:
            written = report(run, args.episodes, which, args.output, args.root, progress=progress, **options)
        for path in written:
            print(path)
    return 0


def _draw_curves(args: argparse.Namespace) -> int:
    from surefoot.recipes.files import read_recipe
    from surefoot.reports.curves import plot_curves
    from surefoot.runs.folder import RunFolder
    from surefoot.tasks.catalogue import find_task

    folders = [RunFolder.open(run, args.root) for run in args.runs]
    recipes = {recipe.task: recipe for recipe in (read_recipe(folder.recipe) for folder in folders)}
    infos = {task: find_task(task, recipe.full_task_options) for task, recipe in recipes.items()}
    thresholds = {task: info.reward_threshold for task, info in infos.items() if info.reward_threshold is not None}
    one = next(iter(thresholds.values()), None)
    print(plot_curves(folders, args.output, threshold=one if len(recipes) == 1 else thresholds))
    return 0


def _export(args: argparse.Namespace) -> int:
    from surefoot.api import export
    from surefoot.deployment.export import onnx_installed
    from surefoot.deployment.onnx_file import INSTALL

    _find_policy(args, args.run)
    for path in export(args.run, args.output, "last" if args.last else "policy", args.root, args.task):
        print(path)
    if not onnx_installed():
        print(f"surefoot: no policy.onnx, because ONNX is not installed; {INSTALL}", file=sys.stderr)
    return 0


def _watch(args: argparse.Namespace) -> int:
    from surefoot.api import watch

    def announce(address: str) -> None:
        print(f"open {address} in a browser; Ctrl-C ends", flush=True)

    which = "last" if args.last else "policy"
    with contextlib.suppress(KeyboardInterrupt):  # the usual end
        watch(args.run, args.policy, which, args.root, args.task, args.host, args.port, args.seed, announce)
    return 0


def _list(args: argparse.Namespace) -> int:
    from surefoot.cli.listing import print_catalogue, print_task

    if args.task is None:
        print_catalogue()
    else:
        print_task(args.task, options=_changed_options(args))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from surefoot.cli.doctor import examine

    return examine()


COMMANDS = {
    "train": _train,
    "resume": _resume,
    "seeds": _seeds,
    "sweep": _sweep,
    "evaluate": _evaluate,
    "record": _record,
    "report": _report,
    "watch": _watch,
    "export": _export,
    "compare": _compare,
    "list": _list,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
