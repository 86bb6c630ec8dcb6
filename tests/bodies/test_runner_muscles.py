"""Muscles with elastic tendons: paths against MuJoCo's tendons, curves against the law, forces against OpenSim."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from surefoot.bodies.runner import COORDINATE_INDICES, MUSCLES, make_scene
from surefoot.bodies.runner_figures import figures, fitted
from surefoot.bodies.runner_muscles import (
    MUSCLE,
    SHORTEST,
    advance,
    equilibrium,
    fibre_speed,
    lengths_and_arms,
    next_fibre,
    passive_force,
    tendon_force,
)

JOINTS = COORDINATE_INDICES[3:]


@pytest.fixture(scope="module")
def states() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles (8, 6), lengths (8, 18) and activations (8, 18)."""
    random = np.random.default_rng(0)
    angles = random.uniform(np.radians([-40, -90, -30] * 2), np.radians([70, 8, 25] * 2), (8, 6)).astype(np.float32)
    return angles, lengths_and_arms(angles, np)[0], random.uniform(0.02, 1, (8, 18)).astype(np.float32)


def test_lengths_and_moment_arms_are_those_of_the_tendons(states: tuple[np.ndarray, ...]) -> None:
    angles, lengths, _ = states
    arms = lengths_and_arms(angles, np)[1]
    model = make_scene(visuals=False).compile()
    data, dense = mujoco.MjData(model), np.zeros((18, 9))
    excess = np.tile([fitted()["muscles"][muscle["name"]]["path_excess"] for muscle in figures()["muscles"]], 2)
    for row, pose in enumerate(angles):
        data.qpos[JOINTS] = pose
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(lengths[row], data.ten_length - excess, atol=1e-5)
        pattern = model.ten_J_rownnz, model.ten_J_rowadr, model.ten_J_colind
        mujoco.mju_sparse2dense(dense, data.ten_J.ravel(), *(part.ravel() for part in pattern))
        expected = -dense[:, JOINTS].reshape(2, 9, 2, 3)[[0, 1], :, [0, 1]]
        np.testing.assert_allclose(arms[row], expected, atol=1e-6)


def test_curves_have_the_published_values() -> None:
    lengths = MUSCLE.slack_length * (1 + MUSCLE.tendon_strain)
    # At the strain of the peak force the law of Thelen gives 0.33 + 1.712 (1 - 0.609).
    np.testing.assert_allclose(tendon_force(lengths, np), 0.33 + 1.712 * 0.391, rtol=1e-4)
    assert (tendon_force(0.9 * lengths, np) == 0).all()
    stretched = MUSCLE.optimal_length * (1 + MUSCLE.passive_strain)
    np.testing.assert_allclose(passive_force(stretched, np), 1, rtol=1e-5)
    assert (passive_force(0.9 * MUSCLE.optimal_length, np) == 0).all()


def test_equilibrium_is_at_rest_and_a_step_solves_backward_euler(states: tuple[np.ndarray, ...]) -> None:
    _, lengths, activations = states
    rest = equilibrium(lengths.astype(float), activations)
    assert np.abs(fibre_speed(rest, lengths.astype(float), activations, np)).max() < 1e-3
    fibre = (rest * np.random.default_rng(1).uniform(0.98, 1.02, rest.shape)).astype(np.float32)
    for seconds in (0.005, 0.001):
        later = np.asarray(jax.jit(next_fibre, static_argnums=3)(fibre, lengths, activations, seconds), float)
        residual = later - fibre - seconds * fibre_speed(later, lengths.astype(float), activations, np)
        free = later > 1.05 * SHORTEST
        assert free.mean() > 0.9
        assert np.quantile(np.abs(residual[free]), 0.98) < 2e-5  # m
        # Towards the equilibrium, not beyond it.
        assert np.mean(((later - rest) * (fibre - rest))[free] > -1e-8) > 0.99


def test_weaker_muscles_give_less_torque(states: tuple[np.ndarray, ...]) -> None:
    angles, lengths, activations = states
    fibre = jnp.asarray(equilibrium(lengths, activations), jnp.float32)
    strength = np.ones(18, np.float32)
    step = jax.jit(advance, static_argnums=4)
    torques = [np.asarray(step(angles, activations, fibre, scale * strength, 0.005)[1]) for scale in (1, 0.5)]
    np.testing.assert_allclose(torques[1], 0.5 * torques[0], rtol=1e-4, atol=1e-3)
    assert np.abs(torques[0]).max() > 50


def test_forces_in_equilibrium_are_those_of_opensim() -> None:
    pytest.importorskip("opensim", reason="OpenSim is not installed")
    from surefoot.bodies.runner_opensim import make_opensim_model

    model = make_opensim_model()
    state = model.initSystem()
    muscles = [model.getMuscles().get(name) for name in MUSCLES]
    activations = np.linspace(0.05, 0.9, 18)
    for muscle, activation in zip(muscles, activations, strict=True):
        muscle.setActivation(state, activation)
    model.equilibrateMuscles(state)
    model.realizeDynamics(state)
    lengths, forces = (np.array([getattr(m, get)(state) for m in muscles]) for get in ("getLength", "getActuation"))
    rest = equilibrium(lengths, activations)
    cosine = np.sqrt(1 - (MUSCLE.thickness / rest) ** 2)
    np.testing.assert_allclose(tendon_force(lengths - rest * cosine, np) * MUSCLE.peak_force, forces, rtol=2e-3, atol=1)
