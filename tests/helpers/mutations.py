"""Mutated files of every kind that Surefoot reads, and a check of how it reads them.

`tests/test_mutations.py` reads a few, `benchmarks/mutations.py` thousands. Each mutation is defined by its kind and its
number. `python -m helpers.mutations KIND,KIND START STOP [SECONDS]` reads some in an empty folder. It prints one JSON
line before each and one per fault; a reader that hangs or crashes ends the process.
"""

import contextlib
import json
import os
import random
import re
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from surefoot.errors import SurefootError

LIMIT_CPU_S, LIMIT_WALL_S, LIMIT_BYTES = 5.0, 60.0, 2**30
_LARGEST = 2**20  # bytes of a mutated file
_VALUES = (None, True, -1, 0, 2**31, 2**63, -(2**70), 1e308, 1e-320, float("nan"), "", "x" * 5000, "../up", [], {})
_WORDS = (
    *("", "-1", "0", "1e999", "-1e999", "nan", "inf", "1e-320", "9" * 5000, "true", "null", '"x"', "[]", "{}", "\0"),
    *("../../etc/passwd", "/dev/zero", "/dev/stdin", "surefoot", "[" * 3000, "{" * 3000, "a." * 30_000, "<a>" * 3000),
)
_SNIPPETS = (  # parts of models that take much memory or time
    '<size memory="100G"/>',
    '<size nstack="100000000000"/>',
    '<include file="{file}"/>',
    '<worldbody><replicate count="3000000"><geom size=".1"/></replicate></worldbody>',
    '<worldbody><composite type="grid" count="3000 3000 1" spacing="1"><geom size=".1"/></composite></worldbody>',
    '<asset><texture name="t" type="2d" builtin="flat" width="60000" height="60000"/></asset>',
    '<asset><hfield name="h" nrow="60000" ncol="60000" size="1 1 1 1"/></asset>',
    '<asset><mesh name="m" file="/dev/zero"/></asset>',
    '<option timestep="1e-9"/>',
    '<option iterations="2000000000"/>',
)


class Kind(NamedTuple):
    """A kind of file: those to mutate, by name, and a function that reads one."""

    originals: dict[str, bytes]
    read: Callable[[Path], object]


def mutate(number: int, originals: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the name and the content of mutation `number` of one of the files."""
    rng = random.Random(number)
    name = rng.choice(sorted(originals))
    data = originals[name]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if name.endswith(".safetensors"):
            change = rng.choice((_bytes, _header, _header, _table, _values))
        else:
            change = rng.choice((_bytes, _words, _words, _words, _lines, _snippets if b"<" in data else _words))
        # Some changes need what an earlier one has destroyed.
        with contextlib.suppress(ValueError, TypeError, AttributeError, LookupError, RecursionError, struct.error):
            data = change(rng, data, name)
    return name, data[:_LARGEST]


def _bytes(rng: random.Random, data: bytes, _: str) -> bytes:
    changed = bytearray(data)
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 100, 1000))
    action = rng.randrange(5)
    if action == 0:
        return data[:at]
    if action == 1:
        changed[at : at + size] = rng.randbytes(size)
    elif action == 2:
        del changed[at : at + size]
    elif action == 3:
        changed[at:at] = changed[at : at + size] * rng.choice((1, 10, 1000))
    else:
        changed[at : at + 8] = struct.pack("<q", rng.choice((-1, 0, 1, 2**31, 2**62, len(data))))
    return bytes(changed)


def _words(rng: random.Random, data: bytes, _: str) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    words = list(re.finditer(r"[\w.+-]+", text))
    chosen, other = rng.choice(words), rng.choice(words)
    new = rng.choice((*_WORDS, other.group(), chosen.group() * rng.choice((2, 500))))
    return (text[: chosen.start()] + new + text[chosen.end() :]).encode("utf-8", "surrogateescape")


def _lines(rng: random.Random, data: bytes, _: str) -> bytes:
    lines = data.splitlines(keepends=True)
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(3)
    if action == 0:
        del lines[at]
    elif action == 1:
        lines[at:at] = lines[min(at, other) : max(at, other) + 1] * rng.choice((1, 30))
    else:
        lines[at], lines[other] = lines[other], lines[at]
    return b"".join(lines)


def _snippets(rng: random.Random, data: bytes, name: str) -> bytes:
    places = [match.start() for match in re.finditer(rb"</mujoco>|<worldbody>|<link ", data)]
    at = rng.choice(places)
    return data[:at] + rng.choice(_SNIPPETS).replace("{file}", name).encode() + data[at:]


def _parse(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _join(table: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def _header(rng: random.Random, data: bytes, _: str) -> bytes:
    """Change Surefoot's header; where there are checksums, they fit again."""
    from surefoot.runs.checkpoints import _SUMS, _checksums

    table, body = _parse(data)
    header = json.loads(table["__metadata__"]["surefoot"])
    sums = header.pop(_SUMS, None)
    _change(rng, header)
    if sums is not None:
        with contextlib.suppress(TypeError):
            header[_SUMS] = sums | _checksums({}, header)
    table["__metadata__"]["surefoot"] = json.dumps(header)
    return _join(table, body)


def _table(rng: random.Random, data: bytes, _: str) -> bytes:
    table, body = _parse(data)
    _change(rng, table)
    return _join(table, body)


def _values(rng: random.Random, data: bytes, _: str) -> bytes:
    """Change numbers of an array; where there are checksums, they fit again."""
    import numpy as np

    from surefoot.runs.checkpoints import _SUMS, _checksums

    table, body = _parse(data)
    name = rng.choice([name for name in table if name != "__metadata__"])
    code, (start, end) = table[name]["dtype"], table[name]["data_offsets"]
    types = {"BOOL": "u1", "F32": "f4", "F64": "f8", "F16": "f2", "I64": "i8", "I32": "i4", "U32": "u4", "U64": "u8"}
    array = np.frombuffer(body[start:end], types[code]).copy()
    with np.errstate(all="ignore"):
        array[rng.randrange(len(array))] = np.array(rng.choice((-1, 0, 255, 1e30, np.nan, np.inf))).astype(array.dtype)
    header = json.loads(table["__metadata__"]["surefoot"])
    if _SUMS in header:
        header[_SUMS] |= {key: value for key, value in _checksums({name: array}, {}).items() if key == name}
        header[_SUMS] |= _checksums({}, {key: value for key, value in header.items() if key != _SUMS})
        table["__metadata__"]["surefoot"] = json.dumps(header)
    return _join(table, body[:start] + array.tobytes() + body[end:])


def _change(rng: random.Random, tree: Any) -> None:
    """Replace, remove or rename one value somewhere in a JSON object."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = rng.choice(keys)
        inner = tree[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
            tree = inner
            continue
        action = rng.randrange(4)
        if action == 0:
            del tree[key]
        elif action == 1 and isinstance(tree, dict):
            tree[rng.choice(("", "x" * 300, key + "x"))] = tree.pop(key)
        else:
            tree[key] = rng.choice(_VALUES)
        return


def kinds() -> dict[str, Callable[[Path], Kind]]:
    """Return the kinds by name; each is made in a folder that it may write to."""
    return {"policy": _policy, "checkpoint": _checkpoint, "recipe": _recipe, "robot": _robot, "metrics": _metrics}


def _policy(folder: Path) -> Kind:
    import jax
    import numpy as np

    from surefoot.policies.files import load_policy, save_policy
    from surefoot.policies.networks import PolicySettings
    from surefoot.policies.policy import new_policy

    settings = PolicySettings(actor=(4,), critic=(3,))
    policy = new_policy(jax.random.PRNGKey(0), "Hopper-v5", 11, np.float32([-1] * 3), np.float32([1] * 3), settings, {})
    save_policy(policy, folder / "p.safetensors")

    def read(path: Path) -> None:
        read = load_policy(path)
        if read.observation_size < 1000:
            assert np.isfinite(read.predict(np.zeros(read.observation_size, np.float32))[0]).all(), "action not finite"

    return Kind({"p.safetensors": (folder / "p.safetensors").read_bytes()}, read)


def _checkpoint(folder: Path) -> Kind:
    """A checkpoint of a real run, restored into the objects of its training."""
    import surefoot
    from surefoot.recipes.files import read_recipe
    from surefoot.training import loop
    from surefoot.training.progress import Progress

    outcome = surefoot.train(
        *("Hopper-v5", None, "run", folder / "runs", False),
        **{"algorithm": "ars", "engine__num_envs": 2, "ars__directions": 1, "ars__top_directions": 1},
        **{"training__steps": 1, "training__evaluation_episodes": 1, "task_options__max_episode_steps": 5},
    )
    stack = contextlib.ExitStack()
    session = loop._Session(read_recipe(outcome.folder.recipe), outcome.folder, Progress(quiet=True), None, stack)
    name = session._checkpoints.path(session._checkpoints.steps()[-1]).name
    content = (outcome.folder.checkpoints / name).read_bytes()
    for path in outcome.folder.checkpoints.iterdir():
        path.unlink()

    def read(path: Path) -> None:
        session._checkpoints.folder = path.parent
        session._checkpoints.latest(use=session._use_checkpoint)

    return Kind({name: content}, read)


def _recipe(_: Path) -> Kind:
    from surefoot.recipes.files import _TUNED, read_recipe, recipe_names

    return Kind({f"{name}.toml": (_TUNED / f"{name}.toml").read_bytes() for name in recipe_names()}, read_recipe)


def _robot(_: Path) -> Kind:
    from helpers.walkers import biped, urdf_biped
    from surefoot.bodies.loader import load_body
    from surefoot.bodies.stance import find_fault

    description = 'model = "biped.xml"\ntrunk = "pelvis"\nkp = 40.0\nkd = 1.0\npose = { left_knee = 0.4 }\n'
    texts = {"biped.xml": biped(), "biped.urdf": urdf_biped(), "biped.toml": description}

    def read(path: Path) -> None:
        if path.suffix == ".toml":
            (path.parent / "biped.xml").write_text(biped())
        loaded = load_body(str(path))
        find_fault(loaded.spec.compile(), loaded.body, loaded.pose)

    return Kind({name: text.encode() for name, text in texts.items()}, read)


def _metrics(_: Path) -> Kind:
    from surefoot.runs.metrics import read_metrics

    rows = [{"event": "start", "step": 0, "time": 1.0, "seconds": 0.0, "versions": {"jax": "1"}}]
    rows += [{"step": 100 * i, "time": 1.0 + i, "seconds": 0.1 * i, "train/return": 5.0 * i} for i in range(1, 6)]
    rows += [{"event": "resume", "step": 300, "time": 9.0, "seconds": 1.0, "evaluated_at": 200}]
    rows += [{"event": "finished", "step": 500, "time": 19.0, "seconds": 2.0}]
    return Kind({"metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}, read_metrics)


def run(names: Sequence[str], start: int, stop: int, seconds: float = float("inf")) -> None:
    """Read mutations of some kinds in the present folder, and print what is wrong; see the module.

    Each kind takes at most `seconds`, its preparation not counted.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    inside = Path("inside").absolute()
    touched = _watch((str(inside), os.devnull, os.environ.get("JAX_COMPILATION_CACHE_DIR", os.devnull)))
    for kind in names:
        made = kinds()[kind](Path.cwd())
        inside.mkdir(exist_ok=True)
        outside, end = sorted(os.listdir()), time.monotonic() + seconds
        for number in range(start, stop):
            if time.monotonic() > end:
                break
            print(json.dumps({"kind": kind, "reading": number}), flush=True)
            name, data = mutate(number, made.originals)
            (inside / name).write_bytes(data)
            touched.clear()
            fault = _read(made.read, inside / name)
            if touched or sorted(os.listdir()) != outside:
                fault += f" touched {touched or os.listdir()}"
            for path in inside.iterdir():
                path.unlink()
            if fault:
                print(json.dumps({"kind": kind, "fault": number, "what": fault}), flush=True)
    print(json.dumps({"done": True}), flush=True)


def _watch(allowed: tuple[str, ...]) -> list[str]:
    """Return a list that is filled with what Python changes outside of some folders, and starts."""
    writes = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
    programs = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
    touched: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        opened = event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        changes = (opened or event in writes) and not str(arguments[0]).startswith(allowed)
        if changes or event in programs:
            touched.append(f"{event} {arguments[:2]!r:.100}")

    sys.addaudithook(watch)
    return touched


def _read(read: Callable[[Path], object], path: Path) -> str:
    """Read a file within the limits; return what is wrong, or ""."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, LIMIT_CPU_S)
    signal.alarm(int(LIMIT_WALL_S))
    fault = ""
    try:
        read(path)
    except SurefootError as error:
        if "\n" in str(error) or not 0 < len(str(error)) < 2000:
            fault = f"message of {len(str(error))} characters"
    except BaseException as error:
        fault = "".join(traceback.format_exception(error)[-4:])
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return fault + (f" {grown / 2**30:.1f} GB of memory" if grown > LIMIT_BYTES else "")


if __name__ == "__main__":
    run(sys.argv[1].split(","), *map(int, sys.argv[2:4]), *map(float, sys.argv[4:]))
