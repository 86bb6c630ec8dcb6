"""Observation sets of the running task against lists written by hand from their sources."""

import contextlib
from typing import Any

import numpy as np
import pytest

from surefoot.bodies.runner import COORDINATES, MUSCLES
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.running.measurements import BODIES, POINTS, measured_widths
from surefoot.tasks.running.observations import Observation

LUMBAR = -0.139626


@pytest.fixture(scope="module")
def measured() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=(2, width)) for name, width in measured_widths("everything").items()}


@pytest.fixture(scope="module")
def named(measured) -> dict[str, Any]:
    """The measured quantities of the second row by the name that osim-rl uses."""
    row = {name: part[1] for name, part in measured.items()}
    motion = row["body_motion"].reshape(6, 7)
    position = dict(zip(POINTS, row["positions"].reshape(7, 2), strict=True))
    return {
        "q": dict(zip(COORDINATES, row["coordinates"], strict=True)),
        "u": dict(zip(COORDINATES, row["speeds"], strict=True)),
        "a": dict(zip(COORDINATES, row["accelerations"], strict=True)),
        "xy": position,
        "body": dict(zip(BODIES, motion, strict=True)),
        "muscles": np.stack([row["activation"], *row["fibre"].reshape(2, 18)], axis=1),
        **row,
    }


def observed(measured, name: str, activations: bool = False, pelvis_x: bool = False) -> np.ndarray:
    observation = Observation(name, activations, pelvis_x, side=False)  # ty: ignore
    values = observation.observe(measured, np)
    assert values.shape == (2, len(observation.part.names)) and len(set(observation.part.names)) == values.shape[1]
    return values[1]


def test_contest(measured, named) -> None:
    q, u = named["q"], named["u"]
    angles = ["hip_r", "knee_r", "ankle_r", "hip_l", "knee_l", "ankle_l"]
    pelvis = ["pelvis_tilt", "pelvis_tx", "pelvis_ty"]
    expected = [q[name] for name in pelvis] + [u[name] for name in pelvis]
    expected += [q[name] for name in angles] + [u[name] for name in angles] + list(named["com"])
    for point in ("head", "pelvis", "torso", "toes_l", "toes_r", "talus_l", "talus_r"):
        expected += list(named["xy"][point])
    expected += [*named["strength"], *named["obstacle"]]
    assert len(expected) == 41
    np.testing.assert_array_equal(observed(measured, "contest"), expected)


def reduced(named) -> list[float]:
    q, u, x = named["q"], named["u"], named["q"]["pelvis_tx"]
    values = [x, q["pelvis_ty"]]
    for joint in ("hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r"):
        values += [q[joint], u[joint]]
    values += [q["pelvis_tilt"], u["pelvis_tilt"]]
    for body in ("head", "torso", "toes_l", "toes_r", "talus_l", "talus_r"):
        values += [named["xy"][body][0] - x, named["xy"][body][1]]
    com = named["com"]
    return [*values, com[0] - x, *com[1:], u["pelvis_tx"], u["pelvis_ty"]]


def test_reduced(measured, named) -> None:
    assert len(reduced(named)) == 34
    np.testing.assert_allclose(observed(measured, "reduced", pelvis_x=True), reduced(named))
    np.testing.assert_allclose(observed(measured, "reduced"), reduced(named)[1:])


def test_full(measured, named) -> None:
    q, u, a, x = named["q"], named["u"], named["a"], named["q"]["pelvis_tx"]
    expected = [x, q["pelvis_ty"]]
    for joint in ("hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r"):
        expected += [q[joint], u[joint], a[joint]]
    expected += [LUMBAR, 0, 0, q["pelvis_tilt"], u["pelvis_tilt"], a["pelvis_tilt"]]
    for body in ("head", "torso", "toes_l", "toes_r", "talus_l", "talus_r"):
        expected += [named["xy"][body][0] - x, named["xy"][body][1], *named["body"][body][:4]]
    expected += [named["com"][0] - x, *named["com"][1:], u["pelvis_tx"], u["pelvis_ty"]]
    assert len(expected) == 68
    np.testing.assert_allclose(observed(measured, "full", pelvis_x=True), expected)
    np.testing.assert_allclose(observed(measured, "full"), expected[1:])


def test_everything(measured, named) -> None:
    q, u, a, x = named["q"], named["u"], named["a"], named["q"]["pelvis_tx"]
    expected = [q["pelvis_ty"], u["pelvis_tx"], u["pelvis_ty"], a["pelvis_tx"], a["pelvis_ty"]]
    expected += [part["pelvis_tilt"] for part in (q, u, a)]
    for body in ("head", "torso", "toes_l", "toes_r", "talus_l", "talus_r"):
        expected += [named["xy"][body][0] - x, named["xy"][body][1], *named["body"][body]]
    for joint in ("ankle_l", "ankle_r", "back", "hip_l", "hip_r", "knee_l", "knee_r"):
        expected += [LUMBAR, 0, 0] if joint == "back" else [q[joint], u[joint], a[joint]]
    ending = [named["com"][0] - x, *named["com"][1:], *named["com_acceleration"]]
    complete = [*expected, *named["muscles"].ravel(), *ending]
    assert len(complete) == 143
    np.testing.assert_allclose(observed(measured, "everything", activations=True), complete)
    without = [*expected, *named["muscles"][:, 1:].ravel(), *ending]
    np.testing.assert_allclose(observed(measured, "everything"), without)


@pytest.mark.parametrize("name", ["contest", "reduced", "full"])
def test_activations_follow_the_set(measured, named, name: str) -> None:
    without = observed(measured, name)
    np.testing.assert_array_equal(observed(measured, name, activations=True), [*without, *named["activation"]])


def test_side_is_a_random_sign_that_the_mirror_changes() -> None:
    info = find_task("learning-to-run", {"observe_side": True})
    mirror, names = info.mirror, info.observation_names
    assert mirror is not None and names is not None and mirror.is_involution() and names[-1] == "side"
    np.testing.assert_array_equal(mirror.observation_sign, [1] * 51 + [-1])
    seen = []
    with contextlib.closing(make_env(info)) as env:
        for seed in range(20):
            first = env.reset(seed=seed)[0][-1]
            assert env.step(np.zeros(18))[0][-1] == first
            seen.append(first)
    assert 4 <= seen.count(1) <= 16 and seen.count(1) + seen.count(-1) == 20


@pytest.mark.parametrize("name", ["contest", "reduced", "full", "everything"])
def test_mirror_exchanges_left_and_right(name: str) -> None:
    info = find_task("learning-to-run", {"observation": name})
    mirror, names = info.mirror, info.observation_names
    assert mirror is not None and names is not None and mirror.is_involution()
    for i, image in zip(range(len(names)), mirror.observation_index, strict=True):
        swapped = names[i]
        for left, right in (("_l ", "_r "), ("left ", "right ")):
            swapped = swapped.replace(left, "*").replace(right, left).replace("*", right)
        assert names[image] == swapped
    np.testing.assert_array_equal(mirror.observation_sign, 1)
    np.testing.assert_array_equal(mirror.action_index, np.r_[9:18, 0:9])
    assert info.action_names == MUSCLES
