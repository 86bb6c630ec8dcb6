"""Does it really learn? Short trainings by the recipes that come with Surefoot, judged on seeds of their own."""

from pathlib import Path

import numpy as np
import pytest

from surefoot.face import load, train
from surefoot.simulation.episodes import EVALUATION_SEEDS, run_episodes
from surefoot.tasks.catalogue import find_task


@pytest.mark.parametrize(
    "task, steps, threshold",
    [
        # Seeds 0, 1 and 2 came to 2,275, 1,761 and 1,916; a body that lies still has about 0.
        ("half-cheetah", 150_000, 1200.0),
        # By the default settings. Seeds 0, 1 and 2 came to 338, 426 and 358; a body that falls at once has under 60.
        ("Hopper-v5", 150_000, 200.0),
    ],
)
def test_a_short_training_passes_its_threshold(task: str, steps: int, threshold: float, tmp_path: Path) -> None:
    outcome = train(task, root=tmp_path, seed=0, training__steps=steps, training__evaluate_every=steps)
    assert outcome.reason == "finished"
    policy = load(outcome.folder.policy_file)
    episodes = run_episodes(policy, "auto", find_task(task), 20, EVALUATION_SEEDS)
    assert np.mean(episodes.returns) > threshold
