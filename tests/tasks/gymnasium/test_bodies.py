"""Names of bodies' parts against Gymnasium's models."""

import mujoco
import pytest

from surefoot.bodies.body import Body, Foot, joint_kinds
from surefoot.tasks.catalogue import find_task, make_env

MUJOCO_TASKS = ("HalfCheetah-v5", "Ant-v5", "Walker2d-v5", "Hopper-v5", "Humanoid-v5")


@pytest.mark.parametrize("name", MUJOCO_TASKS)
def test_names_are_those_of_the_model(name):
    info = find_task(name)
    body = info.body
    env = make_env(info)
    model = env.unwrapped.model
    assert model.body(body.trunk).id == 1
    for foot in body.feet:
        assert all(model.geom(geom).bodyid > 0 for geom in foot.geoms)
    hinges = [model.joint(joint) for joint in body.joints]
    assert all(joint.type == mujoco.mjtJoint.mjJNT_HINGE for joint in hinges)
    # In the order of the actions, and all of them.
    assert [int(joint.id) for joint in hinges] == model.actuator_trnid[:, 0].tolist()
    env.close()


def test_left_and_right_of_the_ant():
    env = make_env(find_task("ant"))
    env.reset(seed=0)
    place = {foot.name: env.unwrapped.data.geom(foot.geoms[0]).xpos for foot in find_task("ant").body.feet}
    assert all((place[name][0] > 0) == name.endswith("F") for name in place)
    assert all((place[name][1] > 0) == name.startswith("L") for name in place)
    env.close()


@pytest.mark.parametrize("name", [*MUJOCO_TASKS, "bipedal-walker"])
def test_pairs_name_existing_parts(name):
    body = find_task(name).body
    feet = {foot.name for foot in body.feet}
    assert all({left, right} <= set(body.joints) and left != right for left, right in body.joint_pairs)
    assert all({left, right} <= feet and left != right for left, right in body.foot_pairs)
    paired = [joint for pair in body.joint_pairs for joint in pair]
    assert len(paired) == len(set(paired))


def test_both_terrains_share_a_body_and_other_tasks_have_none():
    assert find_task("bipedal-walker-hardcore").body is find_task("bipedal-walker").body
    assert find_task("Pendulum-v1").body is None
    assert find_task("Swimmer-v5").body is None


def test_an_option_that_replaces_the_model_leaves_the_body_unknown():
    assert find_task("ant", {"main_body": 1}).body is None


def test_joints_by_kind():
    assert joint_kinds(find_task("bipedal-walker").body) == {
        "hip": ("hip_1", "hip_2"),
        "knee": ("knee_1", "knee_2"),
    }
    assert joint_kinds(find_task("Walker2d-v5").body)["leg"] == ("leg_joint", "leg_left_joint")
    joints = tuple(f"{leg}_{kind}" for leg in ("LF", "RH") for kind in ("HAA", "HFE", "KFE"))
    kinds = joint_kinds(Body("quadruped", "base", joints, (Foot("LF", ("LF_FOOT",)),)))
    assert kinds == {
        "shoulder, open and close (HAA)": ("LF_HAA", "RH_HAA"),
        "shoulder, rotation (HFE)": ("LF_HFE", "RH_HFE"),
        "elbow (KFE)": ("LF_KFE", "RH_KFE"),
    }
