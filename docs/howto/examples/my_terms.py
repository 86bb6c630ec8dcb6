"""A reward term for velocity tracking."""

from surefoot.tasks.velocity.reward_terms import reward_term


@reward_term(weight=-1.0)
def sideways_lean(state, xp):
    """Squared sideways tilt of the trunk."""
    return xp.square(state.gravity[:, 1])
