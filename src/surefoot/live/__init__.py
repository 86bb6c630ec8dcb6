"""Live view: a robot in the browser that a policy controls, at the speed of the clock."""
