"""An environment in a module that worker processes import quickly."""

import gymnasium
import numpy as np


class Reach(gymnasium.Env):
    """A point on a line; 0 is best."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, size: float = 1.0) -> None:
        self._size = size

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = self.np_random.uniform(-self._size, self._size)
        self._step = 0
        return np.array([self._place], np.float32), {}

    def step(self, action):
        self._place = float(np.clip(self._place + 0.1 * action[0], -1, 1))
        self._step += 1
        return np.array([self._place], np.float32), -abs(self._place), False, self._step == 10, {}
