"""The runner's OpenSim model, built from the figures, against numbers of the original file in OpenSim 4.6."""

import numpy as np
import pytest

from surefoot.bodies.runner_figures import figures
from surefoot.bodies.runner_opensim import Variation, make_opensim_model, vary_opensim_model
from surefoot.errors import InputError

pytest.importorskip("opensim", reason="OpenSim is not installed")

# gait9dof18musc.osim of osim-rl 3.0.11 in OpenSim 4.6, muscles in equilibrium at the default pose: forces of a leg's
# tendons (N), accelerations of the coordinates (rad/s2 and m/s2), vertical force of a foot's spheres (N).
_TENDON_FORCES = [194.3003, 42.7288, 171.7874, 158.0121, 99.033, 436.7939, 273.0178, 370.006, 104.0506]
_ACCELERATIONS = [24.19589, 11.63128, 3.2589, -166.34212, 259.57822, 2925.27219, -166.34212, 259.57822, 2925.27219, 0]
_FOOT_FORCE = 784.1684


@pytest.fixture(scope="module")
def model():
    model = make_opensim_model()
    state = model.initSystem()
    model.equilibrateMuscles(state)
    model.realizeAcceleration(state)
    return model, state


def test_model_has_mass_and_centre_of_mass_of_the_original(model):
    model, state = model
    assert model.getTotalMass(state) == pytest.approx(79.6646)
    centre = model.calcMassCenterPosition(state)
    assert [centre.get(axis) for axis in range(3)] == pytest.approx([-0.069734, 0.970769, 0], abs=1e-6)


def test_forces_and_accelerations_are_those_of_the_original(model):
    model, state = model
    muscles, coordinates = model.getMuscles(), model.getCoordinateSet()
    forces = [muscles.get(index).getTendonForce(state) for index in range(muscles.getSize())]
    assert forces == pytest.approx(2 * _TENDON_FORCES, abs=1e-3)
    accelerations = [coordinates.get(index).getAccelerationValue(state) for index in range(10)]
    assert accelerations == pytest.approx(_ACCELERATIONS, abs=1e-3)
    for foot in ("foot_r", "foot_l"):
        assert -model.getForceSet().get(foot).getRecordValues(state).get(1) == pytest.approx(_FOOT_FORCE, abs=1e-3)


def test_names_are_the_right_leg_then_the_left(model):
    muscles = model[0].getMuscles()
    names = [muscles.get(index).getName() for index in range(muscles.getSize())]
    assert names == [f"{muscle['name']}_{side}" for side in "rl" for muscle in figures()["muscles"]]


def test_file_that_is_missing_or_another_model_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="does not exist"):
        make_opensim_model(str(tmp_path / "none.osim"))
    path = tmp_path / "other.osim"
    path.write_text("<nonsense/>")
    with pytest.raises(InputError, match=r"cannot read|is not gait9dof18musc"):
        make_opensim_model(str(path))
    other = make_opensim_model()
    other.updMuscles().get(0).setName("biceps")
    other.printToXML(str(path))
    with pytest.raises(InputError, match=r"its muscles are.*biceps"):
        make_opensim_model(str(path))


def test_written_and_read_again_it_is_the_same(tmp_path, model):
    built, state = model
    path = tmp_path / "runner.osim"
    built.printToXML(str(path))
    read = make_opensim_model(str(path))
    again = read.initSystem()
    read.equilibrateMuscles(again)
    read.realizeAcceleration(again)
    values, expected = (
        [m.getCoordinateSet().get(index).getAccelerationValue(s) for index in range(10)]
        for m, s in ((read, again), (built, state))
    )
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)


def test_toes_lose_their_force_when_the_heel_rises_fast_unless_spheres_are_separate(tmp_path, model):
    import opensim

    height, path = opensim.Vec3(0.03, 0.04, 0), str(tmp_path / "runner.osim")
    model[0].printToXML(path)
    for source, separate, expected in (("", False, 0.0), ("", True, 486.938), (path, True, 486.938)):
        model = make_opensim_model(source, separate_spheres=separate)
        state = model.initSystem()
        toes, heel = (model.getBodySet().get(name) for name in ("toes_r", "calcn_r"))
        model.getCoordinateSet().get("ankle_angle_r").setSpeedValue(state, -3.0)
        model.realizeVelocity(state)
        rise = toes.findStationVelocityInGround(state, height).get(1)
        model.getCoordinateSet().get("pelvis_ty").setSpeedValue(state, -rise)
        model.realizeDynamics(state)
        assert heel.findStationVelocityInGround(state, height).get(1) == pytest.approx(0.535, abs=1e-3)
        values = model.getForceSet().get("toe_r" if separate else "foot_r").getRecordValues(state)
        assert -values.get(1) == pytest.approx(expected, abs=1e-2)


def test_obstacles_touch_the_spheres_of_the_feet_in_space():
    """As in MuJoCo: the feet are 9 cm beside the obstacles, so those of 5 cm touch only when less than 3.8 cm away."""
    import opensim

    radius, foot, aside = 0.05, 0.05, 0.0925
    chord = ((radius + foot) ** 2 - aside**2) ** 0.5
    forces = []
    for ahead in (chord - 0.002, chord + 0.002):
        model = make_opensim_model()
        state = model.initSystem()
        model.realizePosition(state)
        centre = opensim.Vec3(0.03, 0.04, 0)
        toes = model.getBodySet().get("toes_r").findStationLocationInGround(state, centre)
        assert toes.get(2) == pytest.approx(aside, abs=1e-9)
        obstacle = np.array([[toes.get(0) + ahead, toes.get(1), radius]])
        vary_opensim_model(model, Variation(np.ones(18), 0.8, 1.0, np.ones(6), obstacle))
        state = model.initSystem()
        model.realizeDynamics(state)
        values = model.getForceSet().get("obstacle_0_force").getRecordValues(state)
        forces.append(max(abs(values.get(index)) for index in range(values.size())))
    assert forces[0] > 10 and forces[1] == 0
