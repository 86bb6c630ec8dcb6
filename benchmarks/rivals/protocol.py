"""The protocol of benchmarks/rivals.py, for the adapters; it needs only NumPy and Gymnasium.

The clock runs from the start of the process, so imports and compilation count, and stands still during evaluations.
After `evaluate_every` further steps, and 5 % more time, the deterministic policy plays 20 held-out episodes. If their
mean score reaches the threshold, 100 new episodes confirm it; then the training has reached the threshold at the step
and the time of that evaluation. A training also ends once the clock passes the cap.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# The time of an evaluation is at least this many times that of the last, or fast learners would be evaluated always.
_SPACING = 1.05
# Seeds of evaluations and of confirmations; those of trainings are far below.
_SEEDS, _CONFIRM_SEEDS = 1_000_000_000, 1_500_000_000

Predict = Callable[[np.ndarray], np.ndarray]
"""Deterministic actions (N, A) for observations (N, D)."""
Play = Callable[[Predict, Sequence[int]], np.ndarray]
"""Scores (N,) of one episode for each of N seeds."""


class Protocol:
    """Clock and evaluations of one training.

    Attributes:
        order: the cell: task, seed, threshold, evaluate_every, episodes, confirm_episodes, cap_minutes, began (start of
            the process, seconds since 1970), settings of the contender, and where it has them environment (options of
            the Gymnasium task) and source (folder of a clone).
        settings: the contender's settings for the task.
        play: plays evaluation episodes.
    """

    def __init__(self, order: dict[str, Any], output: Path, play: Play | None = None) -> None:
        """Start.

        Args:
            order: the cell.
            output: file for the result, written after every evaluation.
            play: plays evaluation episodes; by default those of the Gymnasium task.
        """
        self.order, self.settings = order, order["settings"]
        self.seed: int = order["seed"]
        self._output = output
        self.play = play or gymnasium_play(order["task"], order.get("environment", {}))
        self._paused = self._first_step = 0.0
        self._evaluated_at, self._evaluated_s = 0, 0.0
        self._result: dict[str, Any] = {"reached": False, "curve": []}

    def seconds(self) -> float:
        """Return the wall-clock time since the start of the process, without evaluations."""
        return time.time() - self.order["began"] - self._paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock."""
        began = time.time()
        yield
        self._paused += time.time() - began

    def after(self, steps: int, predict: Callable[[], Predict], seconds: float | None = None) -> None:
        """Evaluate if it is time to; call this as often as the policy changes.

        Args:
            steps: environment steps so far, summed over all environments.
            predict: called for the policy if an evaluation is due.
            seconds: time at which the policy had been trained; by default now.

        Raises:
            SystemExit: the threshold is reached or the time is over.
        """
        seconds = self.seconds() if seconds is None else seconds
        self._first_step = self._first_step or seconds
        every = self.order["evaluate_every"]
        due = steps // every > self._evaluated_at // every and seconds >= _SPACING * self._evaluated_s
        over = seconds >= 60 * self.order["cap_minutes"]
        if not due and not over:
            return
        with self.paused():
            reached = self._evaluate(steps, predict(), seconds)
        self._evaluated_at, self._evaluated_s = steps, seconds
        if reached or over:
            self.finish()

    def finish(self) -> None:
        """End the process: the training is over."""
        self._result["finished"] = True
        self._write()
        sys.stdout.flush()
        raise SystemExit(0)

    def _evaluate(self, steps: int, predict: Predict, seconds: float) -> bool:
        number, threshold = len(self._result["curve"]), self.order["threshold"]
        mean = self._mean(predict, self.order["episodes"], _SEEDS, number)
        self._result["curve"].append([steps, round(seconds, 2), round(mean, 4)])
        if mean >= threshold:
            confirmed = self._mean(predict, self.order["confirm_episodes"], _CONFIRM_SEEDS, number)
            self._result |= {"confirmed": confirmed, "reached": confirmed >= threshold}
        self._result |= {"steps": steps, "minutes": seconds / 60, "minutes_to_first_step": self._first_step / 60}
        self._write()
        print(f"{steps} steps, {seconds / 60:.2f} min: {mean:.1f} {self._result.get('confirmed', '')}", flush=True)
        return self._result["reached"]

    def _mean(self, predict: Predict, episodes: int, first_seed: int, number: int) -> float:
        """Return the mean score of the `number`th set of episodes, played as many at a time as an evaluation has."""
        first, at_once = first_seed + number * episodes, self.order["episodes"]
        parts = [range(start, start + at_once) for start in range(first, first + episodes, at_once)]
        return float(np.mean([self.play(predict, seeds) for seeds in parts]))

    def _write(self) -> None:
        self._output.write_text(json.dumps(self._result))


def start(play: Play | None = None) -> Protocol:
    """Return the protocol of the cell that the command line describes: ADAPTER ORDER OUTPUT."""
    return Protocol(json.loads(sys.argv[1]), Path(sys.argv[2]), play)


def following_score(error: np.ndarray) -> np.ndarray:
    """Return the tracking terms of legged_gym with its weights, divided by their sum: (N,) in [0, 1].

    Args:
        error: error of the velocity forward and sideways, m/s, and of the turning rate, rad/s, (N, 3).
    """
    return (2 * np.exp(-(error[:, :2] ** 2).sum(1) / 0.25) + np.exp(-(error[:, 2] ** 2) / 0.25)) / 3


def gymnasium_play(task: str, options: dict[str, Any]) -> Play:
    """Return a function that plays episodes of a Gymnasium task; the score is the return."""
    import gymnasium
    from gymnasium.vector import SyncVectorEnv

    made: list[SyncVectorEnv] = []

    def play(predict: Predict, seeds: Sequence[int]) -> np.ndarray:
        if not made:  # as many environments as the first call has seeds
            made.append(SyncVectorEnv([lambda: gymnasium.make(task, **options)] * len(seeds)))
        envs = made[0]
        space = envs.single_action_space
        observations, _ = envs.reset(seed=list(seeds))
        returns, running = np.zeros(len(seeds)), np.ones(len(seeds), bool)
        while running.any():
            actions = np.clip(predict(np.asarray(observations, np.float32)), space.low, space.high)
            observations, rewards, terminated, truncated, _ = envs.step(actions.astype(space.dtype))
            returns += np.where(running, rewards, 0)
            running &= ~(terminated | truncated)
        return returns

    return play
