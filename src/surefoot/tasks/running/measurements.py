"""The quantities that the running task measures: their names, widths and order.

Observation, reward and termination are computed from these quantities alone, so that the task is the same in MuJoCo
and in OpenSim. The axes are OpenSim's: x forward, y up, angles counter-clockwise as seen from the right side (a
positive `pelvis_tilt` leans backward). Units are m, rad, s and N m. Each quantity is an array (N, width).
"""

# Points whose positions are measured: the origins of these bodies' frames.
POINTS = ("head", "pelvis", "torso", "toes_l", "toes_r", "talus_l", "talus_r")
# Bodies whose motion the observation set `everything` contains.
BODIES = ("head", "torso", "toes_l", "toes_r", "talus_l", "talus_r")
BODY_MOTION = ("vx", "vy", "ax", "ay", "rz", "vrz", "arz")
# Observed in place of an obstacle if none is ahead.
NO_OBSTACLE = (100.0, 0.0, 0.0)

WIDTHS = {
    "coordinates": 9,  # in the order of `bodies.runner.COORDINATES`
    "speeds": 9,  # their derivatives
    "positions": 14,  # x, y of each of POINTS, absolute
    "com": 4,  # centre of mass: x, y, vx, vy
    "activation": 18,  # of the muscles of the right leg, then of the left leg
    "limit_torque": 6,  # of the joint limits, in the order of `bodies.runner.LEG_JOINTS`
    "advance": 1,  # x of the pelvis less its x one control step (10 ms) before; 0 after a reset
    "strength": 2,  # scale of the varied muscle of the left leg, then of the right leg; 1 by default
    "side": 1,  # 1 or -1, drawn for each episode
    "obstacle": 3,  # next obstacle: x less the pelvis's x, y of its centre, radius; or NO_OBSTACLE
}
# Measured in addition for the set `full`.
ACCELERATION_WIDTHS = {
    "accelerations": 9,  # second derivatives of the coordinates
    "body_motion": 42,  # BODY_MOTION of each of BODIES
}
# Measured in addition to both for the set `everything`.
MUSCLE_WIDTHS = {
    "com_acceleration": 2,  # x, y
    "fibre": 36,  # lengths of the muscle fibres, m, then their velocities, m/s; muscles as for the activations
}


def measured_widths(observation: str) -> dict[str, int]:
    """Return the widths of the quantities that an observation set needs, by name.

    Args:
        observation: "contest", "reduced", "full" or "everything".
    """
    accelerations = ACCELERATION_WIDTHS if observation in ("full", "everything") else {}
    return WIDTHS | accelerations | (MUSCLE_WIDTHS if observation == "everything" else {})
