"""Damaged and hostile files of every kind are refused in one line, in time, in little memory, and touch nothing else.

`benchmarks/mutations.py` reads thousands of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.mutations import mutate

KINDS = ("policy", "recipe", "robot", "metrics", "checkpoint")
COUNT, SECONDS = 60, 1.5


def test_mutated_files_of_every_kind_are_read_or_refused_in_one_line(tmp_path):
    command = [sys.executable, "-m", "helpers.mutations", ",".join(KINDS), "0", str(COUNT), str(SECONDS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line for line in lines if "fault" in line] == []
    assert lines and lines[-1] == {"done": True}, (lines[-1:], result.stderr[-1000:])
    assert {line.get("kind") for line in lines} >= set(KINDS)


def test_a_mutation_is_defined_by_its_number():
    originals = {"a.toml": b"kp = 40.0\nname = 'x'\n", "b.xml": b"<mujoco><worldbody/></mujoco>"}
    mutations = [mutate(number, originals) for number in range(200)]
    assert mutations == [mutate(number, originals) for number in range(200)]
    assert len({data for _, data in mutations}) > 100
