"""Episodes of the live view: actors, commands, pushes, new weights."""

from pathlib import Path

import numpy as np
import pytest

import surefoot
from surefoot.errors import InputError
from surefoot.live.episode import Episode, FixedActor, PolicyActor, SteadyActor
from surefoot.policies.files import save_policy
from surefoot.tasks.catalogue import find_task

RESULTS = Path(__file__).parents[2] / "results"
COMMANDS = RESULTS / "anymal-velocity-ppo.safetensors"


def episode_of(path: Path) -> Episode:
    policy = surefoot.load(path)
    return Episode(find_task(policy.task, policy.task_options), SteadyActor(policy), seed=3)


def run(episode: Episode, actions: int) -> np.ndarray:
    """Make actions; return the change of the trunk's position, (3,) m."""
    data = episode.env.unwrapped.data  # pyrefly: ignore
    before = data.qpos[:3].copy()
    for _ in range(actions):
        episode.step()
    return data.qpos[:3] - before


def test_a_command_given_by_hand_is_followed_and_its_end_gives_the_task_back_its_own() -> None:
    episode = episode_of(COMMANDS)
    assert episode.has_commands and episode.seconds_per_action == pytest.approx(0.02)
    moved = {}
    for turn in (0.8, -0.8):
        episode.reset(seed=3)
        episode.command = (0.0, 0.0, turn)
        run(episode, 100)
        w, _, _, z = episode.env.unwrapped.data.qpos[3:7]  # pyrefly: ignore
        moved[turn] = 2 * np.arctan2(z, w)
    assert (moved[0.8] - moved[-0.8] + np.pi) % (2 * np.pi) - np.pi == pytest.approx(2 * 1.6 - 0.0, rel=0.3)
    episode.command = None
    episode.reset(seed=3)
    own = episode.env.unwrapped.state["command"].copy()  # pyrefly: ignore
    run(episode, 5)
    np.testing.assert_array_equal(episode.env.unwrapped.state["command"], own)  # pyrefly: ignore


def test_a_push_moves_the_robot_until_it_ends() -> None:
    drift = []
    for force in (0.0, 400.0):
        episode = episode_of(COMMANDS)
        episode.command = (0.0, 0.0, 0.0)
        run(episode, 20)
        episode.push((0.0, force, 0.0))
        drift.append(run(episode, 10)[1])
        episode.push((0.0, 0.0, 0.0))
        run(episode, 10)
    assert drift[1] > drift[0] + 0.03


def test_figures_of_the_last_five_seconds_are_kept_and_cleared_by_a_reset() -> None:
    episode = episode_of(COMMANDS)
    run(episode, 300)
    assert len(episode.history) == 250 and episode.history[-1][0] == pytest.approx(6.0)
    _, terms, torques = episode.history[-1]
    assert "tracking_lin_vel" in terms and torques.shape == (12,) and np.abs(torques).max() > 1
    assert episode.total != 0
    episode.reset()
    assert (episode.number, episode.total, len(episode.history)) == (2, 0.0, 0)


def test_a_fall_is_counted_and_the_next_episode_starts() -> None:
    info = find_task("Hopper-v5")
    episode = Episode(info, FixedActor("random", info, seed=1), seed=1)
    for _ in range(300):
        episode.step()
    assert episode.falls >= 2 and episode.number == episode.falls + 1
    assert not episode.has_commands and episode.command is None


def test_actions_without_a_policy_lie_within_the_bounds() -> None:
    info = find_task("learning-to-run")
    for kind in ("zero", "random"):
        action = FixedActor(kind, info).act(np.zeros(info.observation_size))
        assert ((action >= info.action_low) & (action <= info.action_high)).all()
    assert np.ptp(FixedActor("random", info).act(np.zeros(1))) > 0.5
    with pytest.raises(InputError, match="policy = 'best': choose zero or random"):
        FixedActor("best", info)


def test_new_weights_are_used_and_damaged_or_other_policies_are_left_alone(tmp_path) -> None:
    path = tmp_path / "policy.safetensors"
    policy = surefoot.load(COMMANDS)
    save_policy(policy, path)
    actor, observation = PolicyActor(path), np.full(54, 0.3)
    before = actor.act(observation)
    assert actor.label == "policy.safetensors, 5,500,928 steps" and not actor.refresh()
    path.write_bytes(b"damaged")
    assert not actor.refresh()
    save_policy(surefoot.load(RESULTS / "bipedal-walker-ars.safetensors"), path)
    assert not actor.refresh()
    np.testing.assert_array_equal(actor.act(observation), before)
    policy.controller.network.actor[-1]["bias"] = policy.controller.network.actor[-1]["bias"] + 0.1
    policy.origin["steps"] = 6_000_000
    save_policy(policy, path)
    assert actor.refresh() and not actor.refresh()
    np.testing.assert_allclose(actor.act(observation), before + 0.2, atol=1e-5)  # bounds are -2 and 2
    assert actor.label == "policy.safetensors, 6,000,000 steps"
    path.unlink()
    assert not actor.refresh()
