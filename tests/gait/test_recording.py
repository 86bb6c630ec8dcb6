"""Recorded motion against the state of the environments."""

import types
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

from surefoot.bodies.body import Body, Foot
from surefoot.errors import SurefootError
from surefoot.gait import recording
from surefoot.gait.measures import find_cycles, find_segments, measure_gait, measure_joints, measure_returns
from surefoot.gait.probes import find_probe
from surefoot.gait.recording import record_episodes, untrained
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.tasks.catalogue import find_task, make_env

STEPS = 60
TASKS = ("half-cheetah", "ant", "Hopper-v5", "bipedal-walker")


class Stub:
    """Random actions, the same for every instance."""

    def __init__(self, info):
        self.size, self.observation_size = info.action_size, info.observation_size
        self.rng = np.random.default_rng(0)

    def predict(self, observation):
        return self.rng.uniform(-1, 1, self.size).astype(np.float32), None


def short(name, **options):
    return find_task(name, {"max_episode_steps": STEPS} | options)


def recorded(info, episodes=1, body=None):
    policy: Any = Stub(info)
    return record_episodes(policy, info, body or info.body, episodes, 7)


def test_untrained_policies_are_equivariant_or_zero_like_the_trained_ones():
    info = find_task("ant")
    few = PolicySettings(actor=(8,), critic=(8,))
    trained = new_policy(jax.random.key(1), "ant", info.observation_size, info.action_low, info.action_high, few)
    mirror = info.mirror
    trained.controller = trained.controller._replace(mirror=mirror)
    observation = np.random.default_rng(0).normal(size=(5, info.observation_size)).astype(np.float32)
    initial = untrained(trained)
    assert not np.array_equal(initial.predict(observation)[0], trained.predict(observation)[0])
    mirrored = initial.predict(np.asarray(mirror.observation(observation)))[0]
    np.testing.assert_allclose(mirrored, mirror.action(initial.predict(observation)[0]), atol=1e-6)
    linear = PolicySettings(actor=(), critic=())
    searched = new_policy(jax.random.key(1), "ant", info.observation_size, info.action_low, info.action_high, linear)
    assert untrained(searched).predict(observation)[0].any()
    searched.origin = {"algorithm": "ars"}
    assert not untrained(searched).predict(observation)[0].any()


@pytest.mark.parametrize("name", TASKS)
def test_recording_does_not_change_the_episodes(name):
    info = short(name)
    episodes = recorded(info, 2).episodes
    policy = Stub(info)
    for episode in episodes:
        env = make_env(info)
        observation, _ = env.reset(seed=episode.seed)
        rewards, done = [], False
        while not done:
            observation, reward, terminated, truncated, _ = env.step(policy.predict(observation)[0])
            rewards.append(float(reward))
            done = terminated or truncated
        assert episode.reward.tolist() == rewards
        assert episode.terminated == terminated
        env.close()
    assert episodes[1].seed == episodes[0].seed + 1 and len(episodes[1].observation) == 0


def test_a_half_cheetah_is_sampled_at_every_physics_step():
    result = recorded(short("half-cheetah"))
    episode, motion = result.episodes[0], result.episodes[0].motion
    assert result.model.step_s == 0.01 and result.step_s == 0.05
    assert motion.time == pytest.approx(0.01 * np.arange(5 * STEPS))
    # The observation before each action holds the positions without the first, then the velocities.
    assert motion.angle[::5] == pytest.approx(episode.observation[:, 2:8], abs=1e-6)
    assert motion.speed[::5] == pytest.approx(episode.observation[:, 11:17], abs=1e-5)
    assert motion.position[::5, 2] == pytest.approx(episode.observation[:, 0] + 0.7, abs=1e-6)
    assert motion.velocity[::5, 0] == pytest.approx(episode.observation[:, 8], abs=1e-5)
    gears = [120, 90, 60, 120, 60, 30]
    assert result.model.torque_limit.tolist() == gears and np.isnan(result.model.speed_limit).all()
    assert motion.torque[::5] == pytest.approx(episode.action * gears, rel=1e-6)
    assert result.model.mass_kg == pytest.approx(14)
    assert set(episode.terms) == {"ctrl", "forward"}
    assert episode.terms["ctrl"] + episode.terms["forward"] == pytest.approx(episode.reward)


@pytest.mark.parametrize("name", ["half-cheetah", "ant", "learning-to-run"])
def test_feet_in_contact_have_forces_and_are_low(name):
    motion = recorded(short(name)).episodes[0].motion
    assert motion.contact.any() and not motion.contact.all()
    assert (motion.force[motion.contact] > 0).all()
    assert np.abs(motion.height[motion.contact]).max() < 0.1
    assert not motion.contact[motion.height > 0.1].any()
    assert motion.foot[..., 2] == pytest.approx(motion.height)  # the floor is at height 0
    assert set(motion.other) <= {0.0, 1.0}


def test_a_bipedal_walkers_motion_equals_its_observations():
    result = recorded(short("bipedal-walker"))
    episode, motion = result.episodes[0], result.episodes[0].motion
    observed = episode.observation[1:]
    count = len(observed)  # there is no observation after the last step
    assert len(motion.time) == len(episode.reward) == count + 1
    assert motion.angle[:count] == pytest.approx(observed[:, [4, 6, 9, 11]] - [0, 1, 0, 1], abs=1e-5)
    assert motion.speed[:count] == pytest.approx(observed[:, [5, 7, 10, 12]] * [4, 6, 4, 6], abs=1e-4)
    assert motion.contact[:count].tolist() == (observed[:, [8, 13]] > 0.5).tolist()
    assert -2 * np.arcsin(motion.orientation[:count, 2]) == pytest.approx(observed[:, 0], abs=1e-5)
    assert np.abs(motion.torque).max() <= 80.001 and np.abs(motion.height[motion.contact]).max() < 0.15
    assert np.isnan(motion.force).all() and np.isnan(motion.other).all()
    assert result.model.speed_limit.tolist() == [4, 6, 4, 6]


def test_on_hardcore_terrain_heights_are_unknown():
    motion = recorded(short("bipedal-walker-hardcore")).episodes[0].motion
    assert np.isnan(motion.height).all() and np.isfinite(motion.foot).all()


def test_an_action_repeat_does_not_change_the_sampling_interval():
    result = recorded(short("bipedal-walker", action_repeat=3))
    assert len(result.episodes[0].motion.time) > 2 * len(result.episodes[0].reward)
    assert result.step_s == pytest.approx(3 * result.model.step_s)


def test_without_the_parts_of_the_body_there_is_no_motion():
    info = short("half-cheetah")
    body = Body("nobody", "torso", ("no_such_joint",), (Foot("foot", ("ffoot",)),))
    result = recorded(info, body=body)
    assert result.model is None and result.episodes[0].motion is None
    assert find_probe(make_env(find_task("Pendulum-v1")), body) is None


class CustomStepping(gymnasium.Env):
    """A MuJoCo environment with its own physics stepping."""

    def __init__(self):
        inner: Any = gymnasium.make("Hopper-v5").unwrapped
        self.inner, self.model, self.data, self.dt = inner, inner.model, inner.data, inner.dt
        self.step_count = 0

    def step(self, action):
        self.step_count += 1
        return self.inner.step(action)


def test_an_environment_with_its_own_stepping_is_sampled_at_environment_steps():
    env = CustomStepping()
    body = find_task("Hopper-v5").body
    probe = find_probe(env, body)
    env.inner.reset(seed=0)
    probe.begin()
    for _ in range(4):
        env.step(np.zeros(3))
    assert len(probe.motion().time) == 4 and probe.model.step_s == pytest.approx(0.008)


def test_a_non_finite_reward_is_an_error(monkeypatch):
    info = short("half-cheetah")

    def broken(*_, **__):
        env: Any = make_env(info)
        step = env.unwrapped.step
        env.unwrapped.step = lambda action: (step(action)[0], float("nan"), False, False, {})
        return env

    monkeypatch.setattr(recording, "make_single_env", broken)
    with pytest.raises(SurefootError, match="the reward of step 1 is nan"):
        recorded(info)


def test_reward_terms_are_read_from_both_forms_of_info():
    terms = recording._terms({"reward_terms": {"speed": 1.0, "many": np.zeros(3)}, "reward_x": 5.0})
    assert terms == {"speed": 1.0}
    assert recording._terms({"reward_run": np.float64(2.0), "x": 1.0}) == {"run": 2.0}


def walking(body, seconds=10.0, step_s=0.01):
    """A synthetic biped: 2 strides per second at 1.5 m/s, feet half a cycle apart, duty factor 0.6."""
    time = np.arange(0, seconds, step_s)
    phase = (np.arange(len(time))[:, None] + [0, 25]) % 50 / 50
    joints = len(body.joints)
    angle = 0.3 * np.sin(2 * np.pi * 2 * time)[:, None] * np.ones(joints)
    speed = np.gradient(angle, step_s, axis=0)
    contact = phase < 0.6
    position = np.stack([1.5 * time, 0 * time, 1 + 0 * time], axis=1)
    height = np.where(contact, 0.0, 0.1 * np.sin(np.pi * (phase - 0.6) / 0.4))
    return recording.Motion(
        time, angle, speed, np.full_like(angle, 2.0), position, np.zeros((len(time), 4)), np.zeros((len(time), 3)),
        contact, np.where(contact, 100.0, 0.0), np.zeros(len(time)), np.zeros((len(time), 2, 3)), height,
    )  # fmt: skip


def test_measures_of_a_synthetic_walk():
    body = find_task("Walker2d-v5").body
    model = types.SimpleNamespace(
        step_s=0.01, mass_kg=20.0, gravity=10.0, joint_range=np.full((6, 2), np.nan),
        torque_limit=np.full(6, 2.0), speed_limit=np.full(6, np.nan),
    )  # fmt: skip
    motion = walking(body)
    episode = recording.Episode(
        0, np.ones(1000), {"run": np.full(1000, 0.5)}, np.zeros((1000, 6)), np.zeros((0, 17)), True, True, motion
    )
    segments = find_segments(body, model, [episode])
    assert len(segments[0].contact) == 800  # without 1 s at either end
    cycles = find_cycles(segments)
    measures = measure_gait(body, model, segments, cycles)
    assert measures["name"] == "walk"
    assert measures["speed_m_s"] == pytest.approx(1.5, rel=0.01) == measures["net_speed_m_s"]
    assert measures["turn_deg_per_10_s"] == 0.0
    assert measures["stride"]["frequency_hz"]["mean"] == pytest.approx(2.0, rel=0.01)
    assert measures["stride"]["length_m"]["mean"] == pytest.approx(0.75, rel=0.01)
    assert measures["duty_factor"] == pytest.approx(0.6, abs=0.01)
    assert measures["flight_fraction"] == 0.0 and measures["support_fractions"][2] == pytest.approx(0.2, abs=0.01)
    lags = sorted(foot["phase_lag"] for foot in measures["feet"].values())
    assert lags == pytest.approx([0.0, 0.5], abs=0.01)
    assert measures["feet"]["left"]["clearance_peak_m"]["mean"] == pytest.approx(0.1, rel=0.02)
    assert measures["feet"]["left"]["force_peak_body_weights"] == pytest.approx(0.5)
    assert measures["symmetry_percent"]["duty factor, left and right"] == pytest.approx(0, abs=2)
    # Six joints of 2 N m: positive work 2 * 6 * 0.6 J per stride of 0.75 m, weight 200 N.
    assert measures["cost_of_transport"] == pytest.approx(2 * 6 * 0.6 / (200 * 0.75), rel=0.02)
    assert measures["cost_of_transport_absolute"] == pytest.approx(2 * measures["cost_of_transport"], rel=0.02)
    joints = measure_joints(body, model, [episode])
    assert joints["leg_joint"]["sd_deg"] == pytest.approx(np.degrees(0.3 / np.sqrt(2)), rel=0.01)
    assert joints["leg_joint"]["fraction_at_torque_limit"] == 1.0
    assert joints["leg_joint"]["speed_peak_rad_s"] == pytest.approx(0.3 * 4 * np.pi, rel=0.01)
    returns = measure_returns(recording.Recording([episode], 0.01, None))
    assert returns["return"]["mean"] == 1000 and returns["falls"] == 1 and returns["reward_terms"] == {"run": 500.0}
    assert cycles.angle.shape[1:] == (101, 6) and cycles.contact[0].max() == 1.0


def test_a_short_episode_has_no_gait():
    body = find_task("Walker2d-v5").body
    model = types.SimpleNamespace(step_s=0.01, mass_kg=20.0, gravity=10.0)
    episode = recording.Episode(0, np.ones(1), {}, np.zeros((1, 6)), np.zeros((0, 17)), True, True, walking(body, 1.5))
    assert find_segments(body, model, [episode]) == [] and find_cycles([]) is None
    assert measure_gait(body, model, [], None) is None
