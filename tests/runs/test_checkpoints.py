"""A valid checkpoint remains after a kill at any moment, a full disk, or damage."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.messages import one_line
from surefoot.errors import RunError
from surefoot.runs import checkpoints as checkpoints_module
from surefoot.runs.checkpoints import Checkpoints


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def arrays(step: int, size: int = 1000) -> dict[str, np.ndarray]:
    return {"parameters": np.full(size, step, np.float32), "count": np.array(step)}


def consistent(found: tuple) -> int:
    step, loaded, header = found
    assert header == {"step": step}
    assert loaded["count"] == step
    assert np.all(loaded["parameters"] == step)
    return step


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def kept(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", keep=3, warn=warnings.append)


def test_the_newest_few_are_kept_and_the_newest_is_returned(kept, warnings):
    for step in (0, 5, 10, 1000, 10**12):
        assert kept.save(step, arrays(step), {"step": step})
        assert consistent(kept.latest()) == step
    assert kept.steps() == [10, 1000, 10**12]
    assert (kept.folder / "step-000000000010.safetensors").exists()
    assert warnings == []


def test_a_folder_without_checkpoints_is_a_one_line_error(kept):
    assert kept.steps() == []
    with pytest.raises(RunError, match=r"no checkpoint in .* was saved"):
        kept.latest()


def test_other_files_in_the_folder_are_not_touched(kept):
    kept.folder.mkdir()
    others = {"notes.txt", "step-1.safetensors", "step-00000000000x.safetensors", "best.safetensors"}
    for name in others:
        (kept.folder / name).touch()
    for step in range(5):
        kept.save(step, arrays(step), {"step": step})
    assert kept.steps() == [2, 3, 4]
    assert others <= set(names_in(kept.folder))


@pytest.mark.parametrize("content", [b"", b"garbage" * 10, b"\0" * 4000, "cut"])
def test_a_corrupt_newest_checkpoint_is_skipped_with_a_warning(kept, warnings, content):
    for step in (1, 2):
        kept.save(step, arrays(step), {"step": step})
    newest = kept.path(2)
    newest.write_bytes(newest.read_bytes()[:-1] if content == "cut" else content)
    assert consistent(kept.latest()) == 1
    assert len(warnings) == 1
    assert newest.name in warnings[0]
    one_line(warnings[0])


def test_no_readable_checkpoint_is_a_one_line_error(kept, warnings):
    kept.save(1, arrays(1), {"step": 1})
    kept.path(1).write_bytes(b"")
    with pytest.raises(RunError, match=r"can be used; checkpoint of step 1 is skipped: .* is cut short") as caught:
        kept.latest()
    one_line(caught.value)
    assert warnings == []


def test_saving_an_earlier_step_removes_later_checkpoints(kept):
    for step in (10, 20, 30):
        kept.save(step, arrays(step), {"step": step})
    kept.path(30).write_bytes(b"")
    assert consistent(kept.latest()) == 20
    kept.save(25, arrays(25), {"step": 25})
    assert kept.steps() == [10, 20, 25]


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("broken", ["fsync", "replace", "mkdir"])
def test_a_full_disk_loses_only_that_checkpoint(kept, warnings, monkeypatch, broken):
    for step in (1, 2, 3):
        kept.save(step, arrays(step), {"step": step})
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if broken == "fsync" else (Path, broken, fail)))
        assert kept.save(4, arrays(4), {"step": 4}) is False
    assert {path.name: path.read_bytes() for path in kept.folder.iterdir()} == before
    assert len(warnings) == 1
    assert "step 4" in warnings[0]
    assert "No space left on device" in warnings[0]
    assert consistent(kept.latest()) == 3
    assert kept.save(5, arrays(5), {"step": 5})
    assert kept.steps() == [2, 3, 5]


def test_a_disk_that_fills_up_during_a_save_loses_only_that_checkpoint(kept, warnings):
    kept.save(1, arrays(1), {"step": 1})
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, old[1]))
    try:
        assert kept.save(2, arrays(2, 10**6), {"step": 2}) is False
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert names_in(kept.folder) == [kept.path(1).name]
    assert consistent(kept.latest()) == 1
    assert len(warnings) == 1


def test_an_unreadable_new_checkpoint_replaces_nothing(kept, warnings, monkeypatch):
    for step in (1, 2, 3):
        kept.save(step, arrays(step), {"step": step})

    def save_rubbish(path, *_):
        path.write_bytes(b"rubbish")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module, "save_arrays", save_rubbish)
        assert kept.save(4, arrays(4), {"step": 4}) is False
    assert {1, 2, 3} <= set(kept.steps())
    assert consistent(kept.latest()) == 3
    assert len(warnings) == 2


def test_an_old_checkpoint_that_cannot_be_removed_is_a_warning(kept, warnings, monkeypatch):
    for step in (1, 2, 3):
        kept.save(step, arrays(step), {"step": step})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        assert kept.save(4, arrays(4), {"step": 4})
    assert consistent(kept.latest()) == 4
    assert ["step 1" in text for text in warnings] == [True]


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_zero_checkpoints_is_an_error(tmp_path, keep):
    with pytest.raises(ValueError, match="at least 1"):
        Checkpoints(tmp_path, keep)


SAVER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from surefoot.runs.checkpoints import Checkpoints

kept = Checkpoints(Path(sys.argv[1]), keep=2)
moment = sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

step = kept.steps()[-1] if kept.steps() else 0
while True:
    step += 1
    if moment != "any" and step == 4:
        moments = {"fsync": (os, "fsync"), "rename": (Path, "replace"), "removal": (Path, "unlink")}
        target, name = moments[moment]
        setattr(target, name, die)
    arrays = {"parameters": np.full(300_000, step, np.float32), "count": np.array(step)}
    kept.save(step, arrays, {"step": step})
    print(step, flush=True)
"""


def saver(folder: Path, moment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SAVER, str(folder), moment],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": PATH},
    )


PATH = os.pathsep.join([str(Path(checkpoints_module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize(("moment", "survivor"), [("fsync", 3), ("rename", 3), ("removal", 4)])
def test_a_kill_at_the_worst_moments_leaves_a_valid_checkpoint(kept, warnings, moment, survivor):
    with saver(kept.folder, moment) as process:
        assert process.stdout
        assert process.stdout.read().split() == [b"1", b"2", b"3"]
    assert process.returncode == -signal.SIGKILL
    assert consistent(kept.latest()) == survivor
    assert warnings == []
    kept.save(5, arrays(5), {"step": 5})
    assert not list(kept.folder.glob(".*"))


def test_a_kill_at_any_moment_leaves_a_valid_checkpoint(kept, warnings):
    chance = random.Random(0)
    said = 0
    for _ in range(6):
        with saver(kept.folder, "any") as process:
            assert process.stdout
            for _ in range(chance.randint(1, 6)):
                said = int(process.stdout.readline())
            # The saver is somewhere within its next save, or the one after.
            for _ in range(chance.randint(0, 20_000)):
                pass
            process.kill()
            said = int((process.stdout.read().split() or [said])[-1])
        # Every reported checkpoint exists; one more may have been complete before the kill.
        assert consistent(kept.latest()) in (said, said + 1)
        assert 1 <= len(kept.steps()) <= 3
    assert warnings == []
