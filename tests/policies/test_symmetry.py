"""An actor with a mirror: exactly equivariant with any weights, in training, in evaluation and in prediction."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.policies.distributions import Distribution, Gaussian
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser, prepare
from surefoot.policies.policy import Controller, Policy, new_policy, to_bounds
from surefoot.policies.symmetry import Mirror, MirrorAveraged
from surefoot.tasks.catalogue import TaskInfo, find_task

# (x, y, z) becomes (y + 0.5, x - 0.5, -z), and the actions (a, b) become (-b, -a).
SMALL = Mirror(
    np.array([1, 0, 2]),
    np.array([1, 1, -1], np.float32),
    np.array([0.5, -0.5, 0], np.float32),
    np.array([1, 0]),
    np.array([-1, -1], np.float32),
)
TASKS = {
    "bipedal-walker": {},
    "ant": {},
    "BipedalWalkerHardcore-v3": {"frame_stack": 3},
}
SHAPES = [
    {},
    {"trunk": (8,), "activation": "elu", "layer_norm": True},
    {"std": "state_dependent", "squash": "tanh"},
    {"std": "scheduled", "normalise_observations": False},
    {"observation_clip": 0.5},  # most values are clipped
]
CASES = [
    *(("ant", shape) for shape in SHAPES),
    ("bipedal-walker", {}),
    ("bipedal-walker", {"observation_clip": 0.5}),
    ("BipedalWalkerHardcore-v3", {}),
]


def make_policy(info: TaskInfo, mirror: Mirror | None, bounded: bool = True, **shape) -> Policy:
    """A policy of random numbers, its statistics among them."""
    settings = PolicySettings(**{"actor": (16,), "critic": (16,)} | shape)
    low, high = (bound if bounded else np.copysign(np.inf, bound) for bound in (info.action_low, info.action_high))
    policy = new_policy(jax.random.PRNGKey(0), info.name, info.observation_size, low, high, settings, info.options)
    random = np.random.default_rng(0)
    network = jax.tree.map(
        lambda x: jnp.asarray(random.normal(scale=0.5, size=x.shape), jnp.float32), policy.controller.network
    )
    mean, variance = random.normal(size=info.observation_size), random.uniform(0.1, 4, info.observation_size)
    normaliser = Normaliser(jnp.float32(mean), jnp.float32(variance), jnp.float32(1000))
    policy.controller = Controller(network, normaliser, mirror)
    return policy


def of_task(name: str) -> tuple[TaskInfo, Mirror]:
    info = find_task(name, TASKS[name])
    mirror = info.mirror
    assert mirror is not None
    return info, mirror


def observations(info: TaskInfo, count: int = 50) -> np.ndarray:
    return np.random.default_rng(1).normal(scale=2, size=(count, info.observation_size)).astype(np.float32)


def assert_near(result, expected) -> None:
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-5)


class Constant(NamedTuple):
    """A network with a constant output."""

    output: Gaussian

    def distribution(self, observation) -> Gaussian:
        return self.output


def test_pairs_and_averages_computed_by_hand() -> None:
    pairs = SMALL.pairs(jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(pairs, [[[1, 2, 3], [2.5, 0.5, -3]], [[0, 0, 0], [0.5, -0.5, 0]]])

    def averaged(mean: jax.Array, log_std: jax.Array) -> Distribution:
        network: Any = Constant(Gaussian(mean, log_std))
        return MirrorAveraged(network, SMALL).distribution(pairs[0])

    mean, log_std = averaged(jnp.array([[1.0, 2.0], [3.0, 5.0]]), jnp.array([0.0, 4.0]))
    np.testing.assert_array_equal(mean, [(1 - 5) / 2, (2 - 3) / 2])
    np.testing.assert_array_equal(log_std, [2, 2])
    _, log_std = averaged(jnp.zeros((2, 2)), jnp.array([[1.0, 2.0], [3.0, 5.0]]))
    np.testing.assert_array_equal(log_std, [(1 + 5) / 2, (2 + 3) / 2])


@pytest.mark.parametrize(
    "change",
    [
        {"observation_index": np.array([1, 2, 0])},
        {"observation_index": np.array([0, 0, 2])},
        {"observation_sign": np.array([1, -1, 1], np.float32)},
        {"observation_offset": np.array([0.5, 0.5, 0], np.float32)},
        {"observation_offset": np.array([0.5, -0.5, 0.1], np.float32), "observation_sign": np.ones(3, np.float32)},
        {"action_sign": np.array([-1, 1], np.float32)},
    ],
)
def test_a_mirror_must_be_an_involution(change: dict) -> None:
    assert SMALL.is_involution()
    assert not SMALL._replace(**change).is_involution()


@pytest.mark.parametrize("task", TASKS)
def test_mirrors_of_tasks_are_involutions(task: str) -> None:
    assert of_task(task)[1].is_involution()


@pytest.mark.parametrize("task, shape", CASES, ids=str)
def test_a_mirrored_observation_gives_the_mirrored_action(task: str, shape: dict) -> None:
    info, mirror = of_task(task)
    policy = make_policy(info, mirror, **shape)
    x = observations(info)
    image = np.asarray(mirror.observation(x))
    action = policy.predict(x)[0]
    assert len(np.unique(action, axis=0)) > 10
    assert_near(policy.predict(image)[0], mirror.action(action))
    assert_near(policy.predict(image[0])[0], mirror.action(action[0]))
    plain = make_policy(info, None, **shape)
    assert np.abs(plain.predict(image)[0] - mirror.action(plain.predict(x)[0])).max() > 0.1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_action_is_the_average_over_both_sides(shape: dict) -> None:
    info, mirror = of_task("ant")
    policy, plain = (make_policy(info, one, bounded=False, **shape) for one in (mirror, None))
    x = observations(info)
    own, other = plain.predict(x)[0], plain.predict(np.asarray(mirror.observation(x)))[0]
    expected = np.empty_like(own)
    for i in range(info.action_size):
        expected[:, i] = (own[:, i] + other[:, mirror.action_index[i]] * mirror.action_sign[i]) / 2
    assert_near(policy.predict(x)[0], expected)


@pytest.mark.parametrize("task, shape", CASES, ids=str)
def test_samples_and_values_are_symmetric(task: str, shape: dict) -> None:
    info, mirror = of_task(task)
    policy = make_policy(info, mirror, **shape)
    x = observations(info)
    noise = np.random.default_rng(2).normal(size=(len(x), info.action_size)).astype(np.float32)
    network, normaliser, _ = policy.controller
    sample_action = jax.jit(policy.controller.action)
    image, image_noise = mirror.observation(x), mirror.action(noise)
    assert_near(sample_action(image, image_noise), mirror.action(sample_action(x, noise)))

    @jax.jit
    def evaluate(x):
        distribution, value = MirrorAveraged(network, mirror)(prepare(policy.settings, normaliser, x, mirror))
        return value, distribution.log_std

    (value, log_std), (image_value, image_log_std) = evaluate(x), evaluate(image)
    assert value.shape == (len(x),) and np.std(value) > 0.1
    assert_near(image_value, value)
    assert_near(image_log_std, log_std[..., mirror.action_index])


def test_training_and_prediction_compute_equal_symmetric_actions() -> None:
    info, mirror = of_task("ant")
    policy = make_policy(info, mirror)
    x = observations(info)
    expected = policy.predict(x)[0]

    def in_training(controller: Controller, x: jax.Array) -> jax.Array:
        sample = controller.action(x, jnp.zeros((len(x), 8)))
        return to_bounds(sample, info.action_low, info.action_high)

    np.testing.assert_array_equal(jax.jit(in_training)(policy.controller, x), expected)
