"""Read thousands of mutated policies, checkpoints, recipes, robots and metrics, as in `tests/test_mutations.py`.

A fault is an exception other than Surefoot's own, a message of several lines, more than 5 s of computing, more than
1 GB of memory, or a file written outside the folder. Each is printed with its kind and number; `--save FOLDER` keeps
the files.

    python benchmarks/mutations.py --count 5000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from helpers.mutations import kinds, mutate  # noqa: E402

KINDS = ("policy", "checkpoint", "recipe", "robot", "metrics")


def faults(kind: str, start: int, stop: int, seconds: float = 1e9) -> Iterator[tuple[int, str]]:
    """Read mutations in other processes; yield the number of each fault and what is wrong."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    while start < stop:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "helpers.mutations", kind, str(start), str(stop), str(seconds)]
            result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        yield from ((line["fault"], line["what"]) for line in lines if "fault" in line)
        if lines and "done" in lines[-1]:
            return
        reading = [line["reading"] for line in lines if "reading" in line]
        if not reading:
            raise SystemExit(f"{kind}: no mutation was read\n{result.stderr}")
        yield reading[-1], f"the process ended with status {result.returncode}: {result.stderr[-300:]}"
        start = reading[-1] + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--count", type=int, default=5000, help="mutations of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--save", type=Path, help="folder for the files that are faults")
    arguments = parser.parse_args()
    total = 0
    for kind in arguments.kinds:
        count = 0
        for number, what in faults(kind, arguments.first, arguments.first + arguments.count):
            count += 1
            print(f"{kind} {number}: {what}", flush=True)
            if arguments.save:
                arguments.save.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory() as folder:
                    name, data = mutate(number, kinds()[kind](Path(folder)).originals)
                (arguments.save / f"{kind}-{number}-{name}").write_bytes(data)
        print(f"{kind}: {count} faults in {arguments.count} mutations", flush=True)
        total += count
    raise SystemExit(bool(total))


if __name__ == "__main__":
    main()
