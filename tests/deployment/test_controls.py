"""The way from actions to actuators, as deploy.json states it, is that of the task."""

from pathlib import Path

import numpy as np
import pytest

from surefoot.deployment import controls
from surefoot.deployment.controls import find_controls
from surefoot.tasks.catalogue import find_task, make_physics_task
from surefoot.tasks.task import Task

STRIDER = str(Path(__file__).parents[2] / "docs" / "howto" / "examples" / "strider.xml")


def physics(name: str, **options) -> tuple[Task, int]:
    info = find_task(name, options)
    return make_physics_task(info), info.action_size


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("anymal", {}),
        ("anymal", {"motor": "limited"}),
        ("anymal-velocity", {}),
        ("walk", {"body": STRIDER}),
        ("velocity", {"body": STRIDER}),
        ("learning-to-run", {}),
        ("ant", {}),
    ],
)
def test_controls_follow_from_actions_as_stated(name, options) -> None:
    task, actions = physics(name, **options)
    found = find_controls(task, actions)
    assert found is not None
    action = np.random.default_rng(0).uniform(-0.3, 0.3, actions)
    numbers = [next(i for i in range(task.model.nu) if acts(task, i, control)) for control in found]
    stated = [
        np.clip(control.offset + control.scale * value, *control.control_range)
        for control, value in zip(found, action, strict=True)
    ]
    np.testing.assert_allclose(controls._controls(task, action)[numbers], stated, atol=1e-6)


def acts(task: Task, actuator: int, control: controls.Control) -> bool:
    """Whether an actuator is the one of a control; Gymnasium's actuators have no names."""
    if control.actuator:
        return task.model.actuator(actuator).name == control.actuator
    return task.model.joint(task.model.actuator_trnid[actuator, 0]).name == control.joint


def test_anymals_servos_are_described_as_the_task_defines_them() -> None:
    for motor in ("servo", "limited"):
        control = (find_controls(*physics("anymal", motor=motor)) or [])[3]
        assert (control.actuator, control.joint, control.kind) == ("RF_HAA", "RF_HAA", "position")
        assert (control.scale, control.offset, control.kp, control.kd) == (0.6, 0.1, 100.0, 0.0)
        assert control.force_range == (-80.0, 80.0) and control.joint_range == (-0.49, 0.72)
    (control, *_) = find_controls(*physics("anymal-velocity")) or []
    assert (control.kp, control.kd, control.scale) == (80.0, 2.0, 0.5)


def test_torques_and_muscles_are_told_from_servos() -> None:
    (hip, *_) = find_controls(*physics("ant")) or []
    assert (hip.joint, hip.kind, hip.scale, hip.offset, hip.kp, hip.kd) == ("hip_4", "torque", 1.0, 0.0, 150.0, 0.0)
    (muscle, *_) = find_controls(*physics("learning-to-run")) or []
    assert (muscle.actuator, muscle.joint, muscle.kind) == ("hamstrings_r", "", "other")


def test_actions_that_do_not_each_set_one_control_have_no_stated_controls() -> None:
    class Mixed:
        def __init__(self, task: Task) -> None:
            self.__dict__ = {name: getattr(task, name) for name in ("model", "fields", "randomised_fields")}
            self.per_substep_control, self.init_buffers, self.init_substep_buffers = False, dict, dict

        def apply_action(self, state, action):
            state["ctrl"][:] = action.sum()

    task, actions = physics("ant")
    mixed = Mixed(task)
    mixed.init_buffers = mixed.init_substep_buffers = lambda num_envs: {}
    assert find_controls(mixed, actions) is None  # pyrefly: ignore
