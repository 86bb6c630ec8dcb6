"""Parts of observations, and their names against the values in the simulators."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from surefoot.tasks import observation
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.symmetry import derive_mirror

MUJOCO = ["half-cheetah", "ant", "Hopper-v5", "Walker2d-v5", "Swimmer-v5"]
FREE = ("x", "y", "z", "quaternion w", "quaternion x", "quaternion y", "quaternion z")
SPEED = ("x speed", "y speed", "z speed", "x turning rate", "y turning rate", "z turning rate")


def columns_of(task: str, options: dict | None = None) -> tuple[str, ...]:
    names = find_task(task, options).observation_names
    assert names is not None
    return names


@pytest.mark.parametrize("task", MUJOCO)
def test_names_of_joint_positions_and_velocities_match_the_values(task):
    info = find_task(task)
    names = columns_of(task)
    assert len(names) == info.observation_size and len(set(names)) == len(names)
    env: Any = make_env(info).unwrapped
    env.reset(seed=0)
    random = np.random.default_rng(0)
    env.set_state(random.normal(size=env.model.nq), random.normal(size=env.model.nv))
    observed = dict(zip(names, env._get_obs(), strict=True))
    found = 0
    for number in range(env.model.njnt):
        joint = env.data.joint(number)
        free = len(joint.qpos) == 7
        for parts, values in (
            (FREE if free else ("angle", "position"), joint.qpos),
            (SPEED if free else ("turning rate", "speed"), joint.qvel),
        ):
            for part, value in zip(parts, values if free else [values[0]] * 2, strict=True):
                if f"{joint.name} {part}" in observed:
                    assert observed[f"{joint.name} {part}"] == value
                    found += 1
    env.close()
    assert found == sum(env.observation_structure[name] for name in ("qpos", "qvel"))


def test_names_of_the_ants_contact_forces():
    info = find_task("ant")
    env: Any = make_env(info).unwrapped
    env.reset(seed=0)
    env.data.cfrc_ext[:] = np.random.default_rng(0).uniform(-1, 1, env.data.cfrc_ext.shape)
    observed = dict(zip(columns_of("ant"), env._get_obs(), strict=True))
    for place, part in ((0, "x torque"), (5, "z force")):
        assert observed[f"aux_3 {part}"] == env.data.body("aux_3").cfrc_ext[place]
    env.close()
    without = columns_of("ant", {"include_cfrc_ext_in_observation": False})
    assert without == columns_of("ant")[: len(without)] and len(without) == 27


def test_positions_in_the_observation_are_named():
    names = columns_of("half-cheetah", {"exclude_current_positions_from_observation": False})
    assert names == ("rootx position", *columns_of("half-cheetah"))


@pytest.mark.parametrize("task", ["bipedal-walker", "bipedal-walker-hardcore"])
def test_names_of_the_bipedal_walker_match_the_values(task):
    env: Any = make_env(find_task(task))
    env.reset(seed=1)
    for _ in range(20):
        observation = env.step(np.array([0.5, -0.8, -0.3, 0.9], np.float32))[0]
    inner = env.unwrapped
    seen = dict(zip(columns_of(task), observation, strict=True))
    wanted = {"hull angle": inner.hull.angle, "lidar 3": inner.lidar[3].fraction}
    for leg in (0, 1):
        hip, knee = inner.joints[2 * leg : 2 * leg + 2]
        wanted |= {f"hip {leg + 1} angle": hip.angle, f"knee {leg + 1} angle": knee.angle + 1}
        wanted |= {f"hip {leg + 1} turning rate": hip.speed / 4, f"knee {leg + 1} turning rate": knee.speed / 6}
        wanted |= {f"leg {leg + 1} contact": float(inner.legs[2 * leg + 1].ground_contact)}
    for name, value in wanted.items():
        assert seen[name] == pytest.approx(value, abs=1e-6), name
    env.close()


def test_names_of_stacked_observations_carry_their_age():
    names = columns_of("Hopper-v5", {"frame_stack": 3})
    one = columns_of("Hopper-v5")
    assert names[22:] == one
    assert names[:22] == tuple(f"{name} ({age} before)" for age in (2, 1) for name in one)


class Named(gymnasium.Env):
    """A task that names its own values."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, names: Any = ("left", "right")) -> None:
        self.observation_names = names
        self.action_names = ["push"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("Named-v0", Named)
    yield
    del gymnasium.registry["Named-v0"]


def test_names_that_an_environment_states_itself():
    info = find_task("Named-v0")
    assert info.observation_names == ("left", "right") and info.action_names == ("push",)
    assert columns_of("Named-v0", {"frame_stack": 2}) == ("left (1 before)", "right (1 before)", "left", "right")


@pytest.mark.parametrize("own", [["one", "one"], ["one"], "ab", [1, 2], 3])
def test_invalid_names_are_ignored(own):
    assert find_task("Named-v0", {"names": own}).observation_names is None


def test_other_tasks_have_no_names():
    info = find_task("Pendulum-v1")
    assert info.observation_names is None and info.action_names is None


def test_actions_are_named_by_their_joints():
    assert find_task("Hopper-v5").action_names == ("thigh_joint", "leg_joint", "foot_joint")
    ant = find_task("ant").action_names
    assert ant is not None and ant[:2] == ("hip_4", "ankle_4")


def test_mirror_image_of_each_kind_of_part():
    partners = {"left": ("right", -1.0), "right": ("left", -1.0), "waist": ("waist", 1.0)}
    parts = (
        observation.scalars("height"),
        observation.sideways("command left"),
        observation.polar("velocity {}"),
        observation.axial("turning rate {}"),
        observation.quaternion("quaternion {}"),
        observation.per_joint("{} angle", ("left", "waist", "right")),
        observation.at_points("ground at {}, {}", [(0.0, 0.5), (0.0, 0.0), (0.0, -0.5)]),
    )
    mirror = derive_mirror(parts, ("right", "waist", "left"), partners)
    names = [name for part in parts for name in part.names]
    changed = {name: (names[i], s) for name, i, s in zip(names, *mirror[:2], strict=True) if (names[i], s) != (name, 1)}
    assert changed == {
        "command left": ("command left", -1),
        "velocity y": ("velocity y", -1),
        "turning rate x": ("turning rate x", -1),
        "turning rate z": ("turning rate z", -1),
        "quaternion x": ("quaternion x", -1),
        "quaternion z": ("quaternion z", -1),
        "left angle": ("right angle", -1),
        "right angle": ("left angle", -1),
        "ground at 0.0, 0.5": ("ground at 0.0, -0.5", 1),
        "ground at 0.0, -0.5": ("ground at 0.0, 0.5", 1),
    }
    assert mirror.action_index.tolist() == [2, 1, 0] and mirror.action_sign.tolist() == [-1, 1, -1]


def test_points_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="must come in pairs"):
        observation.at_points("ground at {}, {}", [(0.0, 0.5), (0.1, -0.5)])
