"""Load every robot file of the installed packages, and report whether it stands.

    python benchmarks/robot_files.py [FOLDER ...] --output results/robot-files.json

By default those of Gymnasium and of EnvPool's assets: MJCF and URDF files with joints. Each either stands, does not and
says why, or is refused in one line; the time of the check is measured.
"""

import argparse
import importlib.util
import pkgutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measuring import background_load, print_table, write_results
from surefoot.bodies.loader import load_body
from surefoot.bodies.stance import find_fault
from surefoot.errors import InputError

_ENDINGS = (".xml", ".mjcf", ".urdf")


def main() -> None:
    """Load the files, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    load = background_load()
    folders = arguments.folders or _package_folders()
    files = sorted({path for folder in folders for path in folder.rglob("*") if path.suffix in _ENDINGS})
    results = [{"file": _short(path, folders), **examine(path)} for path in files]
    for result in results:
        print(f"{result['load_s']:6.2f} s {result['check_s']:6.2f} s  {result['file']}  {result['result']}")
    counts = Counter(result["result"].partition(":")[0] for result in results)
    print_table("robot files", ("result", "files"), [(result, str(count)) for result, count in counts.items()])
    if arguments.output:
        write_results(arguments.output, load, {"counts": counts, "files": results})


def _package_folders() -> list[Path]:
    """Return the folders of Gymnasium and of the packages with EnvPool's assets that are installed."""
    names = [module.name for module in pkgutil.iter_modules() if module.name.startswith("envpool_assets")]
    specs = [importlib.util.find_spec(name) for name in ("gymnasium", *sorted(names))]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]


def _short(path: Path, folders: list[Path]) -> str:
    return next(str(path.relative_to(folder.parent)) for folder in folders if path.is_relative_to(folder))


def examine(path: Path) -> dict[str, Any]:
    """Return whether a robot stands, or why it does not or cannot be loaded, and the seconds of both steps."""
    begun = time.perf_counter()
    try:
        spec, body, pose = load_body(str(path))
        model = spec.compile()
    except InputError as error:
        return {
            "result": str(error).replace(f"body '{path}': ", "refused: "),
            "load_s": time.perf_counter() - begun,
            "check_s": 0.0,
        }
    loaded = time.perf_counter()
    fault = find_fault(model, body, pose)
    return {"result": fault or "stands", "load_s": loaded - begun, "check_s": time.perf_counter() - loaded}


if __name__ == "__main__":
    main()
