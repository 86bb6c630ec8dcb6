"""Velocity tracking: a robot follows commanded velocities forward, sideways and turning."""

from surefoot.tasks.velocity.reward_terms import RobotState, reward_term

__all__ = ["RobotState", "reward_term"]
