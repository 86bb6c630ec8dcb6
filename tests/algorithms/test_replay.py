"""Replay against a history kept in plain lists, in which every true transition is found by a slow loop."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms.replay import Replay, Transitions, row_size
from surefoot.algorithms.rollout import Rollout, rollout_layout

COPIES, OBSERVATION, ACTION = 3, 4, 2
DISCOUNT = 0.9


class Moment(NamedTuple):
    """What one copy went through at one moment."""

    observation: np.ndarray
    action: np.ndarray
    reward: float
    terminated: bool
    truncated: bool


def play(seed: int, moments: int) -> list[list[Moment]]:
    """Make episodes of one to about ten steps; the first two numbers of an observation say which copy and moment."""
    random = np.random.default_rng(seed)
    history: list[list[Moment]] = []
    for copy in range(COPIES):
        rows: list[Moment] = []
        for t in range(moments):
            first = not rows or rows[-1].terminated or rows[-1].truncated
            observation = np.array([copy, t, *random.normal(size=OBSERVATION - 2)], np.float32)
            reward = 0.0 if first else float(np.float32(random.normal()))
            # Now and then both at once.
            terminated, truncated = (not first and random.random() < 0.1 for _ in range(2))
            action = random.uniform(-1, 1, ACTION).astype(np.float32)
            rows.append(Moment(observation, action, reward, terminated, truncated))
        history.append(rows)
    return history


def packed(history: list[list[Moment]], t: int) -> np.ndarray:
    observation, action, reward, terminated, truncated = zip(*(rows[t] for rows in history), strict=True)
    fields = (jnp.asarray(np.array(x)) for x in (observation, action, np.float32(reward), terminated, truncated))
    return rollout_layout(OBSERVATION, ACTION).pack(Rollout(*fields)._asdict(), np)


def filled(history: list[list[Moment]], capacity: int, moments: int | None = None) -> Replay:
    replay = Replay(capacity, COPIES, OBSERVATION, ACTION)
    for t in range(len(history[0]) if moments is None else moments):
        replay.add(packed(history, t))
    return replay


def transition(rows: list[Moment], t: int, steps: int) -> tuple[float, int, float]:
    """Return reward sum, last moment and discount of the transition that starts at moment t."""
    assert not rows[t].terminated and not rows[t].truncated, "an ended episode goes nowhere"
    total = 0.0
    for k in range(1, steps + 1):
        row = rows[t + k]
        total += DISCOUNT ** (k - 1) * row.reward
        if row.terminated:
            return total, t + k, 0.0
        if row.truncated or t + k == len(rows) - 1 or k == steps:
            return total, t + k, DISCOUNT**k
    raise AssertionError


def starts(history: list[list[Moment]], oldest: int) -> set[tuple[int, int]]:
    """Return copy and moment of all transitions that a replay still knows."""
    moments = range(oldest, len(history[0]) - 1)
    return {
        (copy, t) for copy, rows in enumerate(history) for t in moments if not (rows[t].terminated or rows[t].truncated)
    }


def check(drawn: Transitions, history: list[list[Moment]], steps: int) -> list[tuple[int, int]]:
    """Compare everything drawn with the true transitions, and return where those start."""
    found = []
    flat = [x.reshape(-1, *x.shape[2:]) for x in drawn]
    for observation, action, reward, next_observation, discount in zip(*flat, strict=True):
        copy, t = int(observation[0]), int(observation[1])
        rows = history[copy]
        np.testing.assert_array_equal(observation, rows[t].observation)
        np.testing.assert_array_equal(action, rows[t].action)
        wanted_reward, last, wanted_discount = transition(rows, t, steps)
        np.testing.assert_allclose(reward, wanted_reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(next_observation, rows[last].observation)
        np.testing.assert_allclose(discount, wanted_discount, rtol=1e-6)
        found.append((copy, t))
    return found


def same(one: Transitions, other: Transitions) -> None:
    for name, x, y in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("moments", [2, 17, 21, 22, 50, 63])
def test_what_is_drawn_is_every_true_transition_and_nothing_else(moments: int, steps: int) -> None:
    capacity = 60  # 21 rows: not yet full, exactly full, full and written over
    history = play(moments, moments)
    replay = filled(history, capacity)
    assert replay.count == min(moments, 21)
    drawn = replay.sample(np.random.default_rng(0), 4, 250, steps, DISCOUNT)
    shapes = [(OBSERVATION,), (ACTION,), (), (OBSERVATION,), ()]
    assert [x.shape for x in drawn] == [(4, 250, *shape) for shape in shapes]
    assert all(x.dtype == np.float32 for x in drawn)
    assert set(check(drawn, history, steps)) == starts(history, moments - replay.count)


def test_a_sum_that_an_end_cuts_short_occurs_in_every_form() -> None:
    history = play(1, 40)
    drawn = filled(history, 1000).sample(np.random.default_rng(0), 1, 2000, 3, DISCOUNT)
    check(drawn, history, 3)
    found = set(np.round(drawn.discount.ravel().astype(float), 4))
    assert found == {0.0, 0.9, 0.81, 0.729}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_cost_of_action_is_taken_from_the_reward_that_it_earned(steps: int) -> None:
    history = play(1, 40)
    replay = filled(history, 1000)
    cost = np.arange(1, 1 + ACTION, dtype=np.float32)
    free = replay.sample(np.random.default_rng(0), 1, 500, steps, DISCOUNT)
    drawn = replay.sample(np.random.default_rng(0), 1, 500, steps, DISCOUNT, cost)
    for i in range(500):
        copy, t = (int(x) for x in drawn.observation[0, i, :2])
        expected, factor = 0.0, 1.0
        for step in range(t, t + steps):
            expected += factor * float(np.abs(history[copy][step].action) @ cost)
            factor *= DISCOUNT
            after = history[copy][step + 1]
            if after.terminated or after.truncated or step + 1 == 39:
                break
        assert free.reward[0, i] - drawn.reward[0, i] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    same(free._replace(reward=drawn.reward), drawn)


def test_all_transitions_have_an_equal_chance() -> None:
    history = play(2, 40)
    replay = filled(history, 60)
    count = 30_000
    drawn = replay.sample(np.random.default_rng(0), 30, count // 30, 1, DISCOUNT)
    where, times = np.unique(drawn.observation.reshape(count, -1)[:, :2], axis=0, return_counts=True)
    choices = len(starts(history, 40 - 21))
    assert len(where) == choices
    expected = count / choices
    # Chi-square has the mean f and the variance 2 f, for f degrees of freedom.
    freedom = choices - 1
    assert abs(np.square(times - expected).sum() / expected - freedom) < 4 * np.sqrt(2 * freedom)


def test_observations_are_drawn_from_all_rows() -> None:
    history = play(3, 40)
    found = filled(history, 60).observations(np.random.default_rng(0), 2000)
    assert found.shape == (2000, OBSERVATION)
    for observation in found:
        np.testing.assert_array_equal(observation, history[int(observation[0])][int(observation[1])].observation)
    assert {(int(x[0]), int(x[1])) for x in found} == {(copy, t) for copy in range(COPIES) for t in range(19, 40)}


@pytest.mark.parametrize("moments", [2, 12, 21, 42, 50])
@pytest.mark.parametrize("before", [0, 5, 30])
def test_a_restored_replay_goes_on_as_the_first(moments: int, before: int) -> None:
    """Also where the ring was written over, or the second one held something `before`."""
    history = play(4, 80)
    first = filled(history, 60, moments)
    second = filled(play(5, before), 60)
    second.restore({"rows": first.state()["rows"].copy()})
    assert second.count == first.count
    for t in range(moments, 80):
        same(*(replay.sample(np.random.default_rng(t), 2, 20, 3, DISCOUNT) for replay in (first, second)))
        for replay in (first, second):
            replay.add(packed(history, t))
    np.testing.assert_array_equal(first.state()["rows"], second.state()["rows"])
    check(second.sample(np.random.default_rng(0), 1, 500, 3, DISCOUNT), history, 3)


def test_state_is_oldest_first() -> None:
    history = play(6, 50)
    wanted = np.stack([packed(history, t) for t in range(50 - 21, 50)])
    np.testing.assert_array_equal(filled(history, 60).state()["rows"], wanted)


@pytest.mark.parametrize("moments", [10, 21, 30])
def test_a_cut_keeps_what_follows_apart(moments: int) -> None:
    """21 is where the newest row is the last of the ring."""
    history = play(7, 38)
    for rows in history:
        rows[moments - 1] = rows[moments - 1]._replace(terminated=False, truncated=False)
    replay = filled(history, 60, moments)
    replay.cut()
    for rows in history:
        rows[moments - 1] = rows[moments - 1]._replace(truncated=True)
    for t in range(moments, 38):
        replay.add(packed(history, t))
    drawn = replay.sample(np.random.default_rng(0), 1, 2000, 3, DISCOUNT)
    assert set(check(drawn, history, 3)) == starts(history, 38 - 21)


@pytest.mark.parametrize("moments", [0, 1])
def test_a_replay_without_a_transition_says_so(moments: int) -> None:
    with pytest.raises(ValueError, match="no transition yet"):
        filled(play(8, 1), 60, moments).sample(np.random.default_rng(0), 1, 1, 1, DISCOUNT)


def test_a_replay_that_holds_only_ends_says_so() -> None:
    replay = filled(play(9, 1), 60)
    replay.cut()
    replay.add(packed(play(9, 1), 0))
    with pytest.raises(ValueError, match="no transition yet"):
        replay.sample(np.random.default_rng(0), 1, 1, 1, DISCOUNT)


@pytest.mark.parametrize("shape", [(22, COPIES, 9), (5, COPIES + 1, 9), (5, COPIES, 10)])
def test_rows_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    replay = Replay(60, COPIES, OBSERVATION, ACTION)
    with pytest.raises(ValueError, match="do not fit"):
        replay.restore({"rows": np.zeros(shape, np.float32)})
    replay.restore({"rows": np.zeros((21, COPIES, 9), np.float32)})


def test_memory_is_that_of_the_rows() -> None:
    assert row_size(OBSERVATION, ACTION) == 9
    # 20 transitions a copy need 21 rows, and a capacity of 61 is rounded up to 63.
    assert Replay(60, COPIES, OBSERVATION, ACTION).nbytes == 21 * COPIES * 9 * 4
    assert Replay(61, COPIES, OBSERVATION, ACTION).nbytes == 22 * COPIES * 9 * 4
