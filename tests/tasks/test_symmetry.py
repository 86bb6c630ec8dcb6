"""Mirror images: against indices counted by hand, and against the simulators.

In a simulator the mirror image of a step is the step of the mirror image.
"""

from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from surefoot.errors import InputError
from surefoot.policies.symmetry import Mirror
from surefoot.tasks.catalogue import find_task
from surefoot.tasks.symmetry import known_mirror

AXIAL = np.array([-1, 1, -1])  # how a turning vector is mirrored at the plane of x and z
WALKERS = ["BipedalWalker-v3", "BipedalWalkerHardcore-v3"]


def mirror_of(task: str, options: dict | None = None) -> Mirror:
    mirror = find_task(task, options).mirror
    assert mirror is not None
    return mirror


# The mirror images as counted by hand from the order of the observations.
BIPED = np.r_[0:4, 9:14, 4:9, 14:24]
ANT_JOINTS = np.array([6, 7, 4, 5, 2, 3, 0, 1])
ANT = np.r_[0:5, 5 + ANT_JOINTS, 13:19, 19 + ANT_JOINTS]
ANT_FORCES = np.r_[ANT, 27:33, 87:105, 69:87, 51:69, 33:51]
ANT_SIGN = [1, 1, -1, 1, -1, *[-1, 1] * 4, 1, -1, 1, -1, 1, -1, *[-1, 1] * 4]
LEGS = np.r_[3:6, 0:3, 9:12, 6:9]  # ANYmal's joints, legs LF, RF, LH, RH
LEG_SIGN = [-1, 1, 1] * 4
RUN = np.r_[0:5, 5 + LEGS, 17:23, 23 + LEGS]
RUN_SIGN = [1, 1, -1, 1, -1, *LEG_SIGN, 1, -1, 1, -1, 1, -1, *LEG_SIGN]
TRACK = np.r_[0:12, 12 + LEGS, 24 + LEGS, 36 + LEGS, 49, 48, 51, 50]
TRACK_SIGN = [1, -1, 1, -1, 1, -1, 1, -1, 1, 1, -1, -1, *LEG_SIGN * 3, 1, 1, 1, 1]
GROUND = np.arange(45).reshape(9, 5)[:, ::-1].ravel()
WALK = np.r_[0:12, 12 + LEGS, 24 + LEGS, 36 + LEGS, 49, 48, 51, 50]
WALK_SIGN = [1, 1, -1, 1, 1, -1, 1, -1, 1, -1, 1, -1, *LEG_SIGN * 3, 1, 1, 1, 1]
# Of the runner: joints and their velocities, then positions from the head to the tali, then activations and side.
RUNNER = np.r_[0, 3, 4, 1, 2, 7, 8, 5, 6, 11, 12, 9, 10, 13:19, 21, 22, 19, 20, 25, 26, 23, 24, 27:33, 42:51, 33:42, 51]


@pytest.mark.parametrize(
    "task, options, index, sign, action_index, action_sign",
    [
        *((walker, {}, BIPED, [1] * 24, [2, 3, 0, 1], [1] * 4) for walker in WALKERS),
        ("ant", {}, ANT_FORCES, [*ANT_SIGN, *[-1, 1, -1, 1, -1, 1] * 13], [2, 3, 0, 1, 6, 7, 4, 5], [-1, 1] * 4),
        (
            "ant",
            {"include_cfrc_ext_in_observation": False},
            *(ANT, ANT_SIGN, [2, 3, 0, 1, 6, 7, 4, 5], [-1, 1] * 4),
        ),
        ("anymal", {}, RUN, RUN_SIGN, LEGS, LEG_SIGN),
        ("anymal", {"base": "menagerie", "motor": "limited"}, RUN, RUN_SIGN, LEGS, LEG_SIGN),
        ("anymal-step", {"observe_ground": True}, np.r_[RUN, 35:43], [*RUN_SIGN, *[1] * 8], LEGS, LEG_SIGN),
        ("anymal-velocity", {}, np.r_[TRACK, 52, 53], [*TRACK_SIGN, -1, -1], LEGS, LEG_SIGN),
        (
            "anymal-velocity",
            {"gait": "free", "observe_heights": True},
            *(np.r_[TRACK, 52 + GROUND], [*TRACK_SIGN, *[1] * 45], LEGS, LEG_SIGN),
        ),
        (
            "anymal-velocity",
            {"terrain": "stairs_up", "observe_heights": True},
            *(np.r_[TRACK, 52, 53, 54 + GROUND], [*TRACK_SIGN, -1, -1, *[1] * 45], LEGS, LEG_SIGN),
        ),
        ("walk", {}, WALK, WALK_SIGN, LEGS, LEG_SIGN),
        ("learning-to-run", {"observe_side": True}, RUNNER, [*[1] * 51, -1], np.r_[9:18, 0:9], [1] * 18),
    ],
)
def test_derived_mirror_equals_the_one_counted_by_hand(task, options, index, sign, action_index, action_sign) -> None:
    mirror = mirror_of(task, options)
    offset = np.zeros(len(index), np.float32)
    if task in WALKERS:
        offset[[4, 9]] = 0.1, -0.1
    for actual, expected in zip(mirror, (index, sign, offset, action_index, action_sign), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert [array.dtype.kind for array in mirror] == ["i", "f", "f", "i", "f"]


@pytest.mark.parametrize(
    "task, options", [*((task, {}) for task in (*WALKERS, "ant")), ("ant", {"include_cfrc_ext_in_observation": False})]
)
def test_mirroring_twice_is_the_identity(task: str, options: dict) -> None:
    info = find_task(task, options)
    mirror = mirror_of(task, options)
    random = np.random.default_rng(0)
    for size, image in ((info.observation_size, mirror.observation), (info.action_size, mirror.action)):
        x = random.normal(size=(5, size)).astype(np.float32)
        assert image(x).shape == x.shape
        assert image(x).dtype == np.float32
        np.testing.assert_allclose(image(image(x)), x, atol=1e-6)  # to the rounding of the offsets
        assert (image(x) != x).any()


@pytest.mark.parametrize(
    "task, options",
    [
        ("half-cheetah", {}),
        ("Hopper-v5", {}),
        ("Pendulum-v1", {}),
        ("ant", {"exclude_current_positions_from_observation": False}),
        ("ant", {"xml_file": "ant.xml"}),
        ("ant", {"contact_force_range": [-1.0, 2.0]}),
        ("ant", {"main_body": 4}),
    ],
)
def test_tasks_and_options_without_a_mirror_image(task: str, options: dict) -> None:
    assert find_task(task, options).mirror is None


@pytest.mark.parametrize(
    "task, options, message",
    [
        (
            "half-cheetah",
            {},
            "ppo.symmetry = 'augment': no mirror image of task 'half-cheetah' is known",
        ),
        (
            "ant",
            {"main_body": 4},
            "ppo.symmetry = 'augment': no mirror image of task 'ant' is known with these options: main_body",
        ),
    ],
)
def test_a_missing_mirror_image_is_a_one_line_error(task: str, options: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        known_mirror(find_task(task, options), "ppo.symmetry = 'augment'")
    assert str(error.value) == message


def test_other_options_of_the_ant_keep_its_mirror_image() -> None:
    options = {"frame_skip": 2, "healthy_reward": 0.5, "contact_cost_weight": 0.0, "reset_noise_scale": 0.2}
    for found, wanted in zip(mirror_of("ant", options), mirror_of("ant"), strict=True):
        np.testing.assert_array_equal(found, wanted)


def ant_partners(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the partner of each hinge, where its place's mirror image is, and whether its angle changes sign."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    place, axis = data.xanchor[1:], data.xaxis[1:]
    distance = np.linalg.norm((place * [1, -1, 1])[:, None] - place[None], axis=2)
    partner = distance.argmin(1)
    assert distance.min(1).max() < 1e-9
    sign = np.sum(AXIAL * axis * axis[partner], axis=1)
    np.testing.assert_allclose(np.abs(sign), 1)
    return partner, sign.round()


def ant_image(model: Any, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    partner, sign = ant_partners(model)
    w, x, y, z = qpos[3:7]
    position = [qpos[0], -qpos[1], qpos[2], w, -x, y, -z]
    velocity = [qvel[0], -qvel[1], qvel[2], *AXIAL * qvel[3:6]]
    return np.r_[position, sign * qpos[7:][partner]], np.r_[velocity, sign * qvel[6:][partner]]


@pytest.mark.parametrize("options", [{}, {"include_cfrc_ext_in_observation": False}])
def test_mirror_image_of_an_ants_step_is_the_simulators(options: dict) -> None:
    """Contact forces are not clipped here, so that their sizes count too.

    The two simulations sum in another order; contacts multiply the rounding errors from step to step. The measured
    difference is 5e-14 of the largest value; another processor may round differently.
    """
    mirror = mirror_of("ant", options)
    one, other = (gymnasium.make("Ant-v5", contact_force_range=(-1e6, 1e6), **options).unwrapped for _ in range(2))
    random = np.random.default_rng(0)
    touched = np.zeros(one.model.nbody, bool)
    for _ in range(40):
        for env in (one, other):
            env.reset(seed=0)
        qpos = one.init_qpos + random.uniform(-0.4, 0.4, one.model.nq)
        qpos[2] = random.uniform(0.4, 0.7)
        qpos[3:7] = random.normal(size=4)  # in any direction, also on its back
        qpos[3:7] /= np.linalg.norm(qpos[3:7])
        qvel = random.normal(size=one.model.nv)
        one.set_state(qpos, qvel)
        other.set_state(*ant_image(one.model, qpos, qvel))
        for _ in range(15):
            action = random.uniform(-1, 1, 8)
            observation, reward, terminated, _, _ = one.step(action)
            wanted, wanted_reward, wanted_terminated, _, _ = other.step(
                action[mirror.action_index] * mirror.action_sign
            )
            touched |= np.abs(one.data.cfrc_ext).max(1) > 1
            found = observation[mirror.observation_index] * mirror.observation_sign
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * max(1, np.abs(wanted).max()))
            assert np.abs(observation - wanted).max() > 1e-2, "it is not its own image"
            assert reward == pytest.approx(wanted_reward, rel=1e-10, abs=1e-10)
            assert terminated == wanted_terminated
            places, images = one.data.xpos * [1, -1, 1], other.data.xpos
            bodies = [0, 1, 11, 12, 13, 8, 9, 10, 5, 6, 7, 2, 3, 4]
            np.testing.assert_allclose(places[bodies], images, rtol=0, atol=1e-10)
    assert touched[[1, 4, 7, 10, 13]].all(), "torso and all feet must have touched the ground"


# Pybox2d takes the pose in which a joint is made for its zero, and the legs are made at -0.05 and 0.05 rad
# (gymnasium/envs/box2d/bipedal_walker.py, `reset`).
@pytest.mark.parametrize("task", WALKERS)
def test_zeros_of_the_bipedal_walkers_hips(task: str) -> None:
    env: Any = gymnasium.make(task).unwrapped
    env.reset(seed=0)
    angles = [joint.angle - (joint.bodyB.angle - joint.bodyA.angle) for joint in env.joints]
    np.testing.assert_allclose(angles, [0.05, 0, -0.05, 0], atol=1e-6)


def walk_beside_the_image(task: str, seed: int, steps: int, height_m: float) -> np.ndarray:
    """Drop a walker and its mirror image with random actions; return their differences, (steps, 2).

    Columns: largest difference of the mirrored observation, and of the plain observation; nan after termination.
    The image's hips have the same stops as the walker's, in absolute angles.
    """
    mirror = mirror_of(task)
    one, other = (gymnasium.make(task).unwrapped for _ in range(2))
    for env in (one, other):
        env.reset(seed=seed)
    other.joints[0].limits, other.joints[2].limits = (-0.7, 1.2), (-0.9, 1.0)
    for body in (one.hull, *one.legs):
        body.position = (body.position[0], body.position[1] + height_m)
    pairs = [(other.hull, one.hull), *zip(other.legs, [*one.legs[2:], *one.legs[:2]], strict=True)]
    for image, body in pairs:
        image.position, image.angle = body.position, body.angle
        image.linearVelocity, image.angularVelocity = body.linearVelocity, body.angularVelocity
    random = np.random.default_rng(seed)
    differences = np.full((steps, 2), np.nan)
    for t in range(steps):
        action = random.uniform(-1, 1, 4).astype(np.float32)
        observation, reward, terminated, _, _ = one.step(action)
        wanted, wanted_reward, wanted_terminated, _, _ = other.step(mirror.action(action))
        difference = np.abs(mirror.observation(observation) - wanted).max()
        if t:  # the first reward compares with the pose before the walkers were placed
            difference = max(difference, abs(reward - wanted_reward))
        differences[t] = difference, np.abs(observation - wanted).max()
        if terminated or wanted_terminated:
            break
    return differences


@pytest.mark.parametrize("task", WALKERS)
def test_mirror_image_of_a_bipedal_walkers_step_is_nearly_the_simulators(task: str) -> None:
    """Twelve walkers fall for about 20 steps and then lie on the ground.

    Box2D solves one joint after the other and stops before it is exact, so the order of the legs shows in the third
    digit. Contacts are discontinuous, so that on the ground only the median is compared.
    """
    differences = np.array([walk_beside_the_image(task, seed, steps=40, height_m=1.0) for seed in range(12)])
    assert np.isfinite(differences[:, :18]).all()
    mirrored, plain = differences[..., 0], differences[..., 1]
    assert mirrored[:, :18].max() < 0.01
    assert plain[:, :18].max(1).min() > 0.5, "it is not its own image"
    assert np.nanmedian(mirrored, 0).max() < 0.1
    assert np.nanmedian(plain, 0).min() > 0.3


def test_both_bipedal_walkers_have_the_same_mirror_image() -> None:
    for found, wanted in zip(*(mirror_of(task) for task in WALKERS), strict=True):
        np.testing.assert_array_equal(found, wanted)
