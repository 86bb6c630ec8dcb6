"""Small environments, each odd in one way that people have reported trouble with; the import registers all of them.

The names are `helpers.odd_environments:Odd/NAME-v0`.
"""

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import WrapperSpec
from gymnasium.spaces import Box, Dict, Discrete

PREFIX = f"{__name__}:Odd/"
_FLOAT32 = np.finfo(np.float32)
_STEPS = 50


class Point(gymnasium.Env):
    """A point on a line earns most near zero; every other environment differs from this one in one respect."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    observation_space: Any = Box(-np.inf, np.inf, (3,), np.float32)
    action_space: Any = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.position, self.speed, self.steps = 0.0, 0.0, 0

    def observe(self) -> Any:
        return np.array([self.position, self.speed, 1.0], self.observation_space.dtype)

    def reward(self) -> Any:
        return -float(self.position**2)

    def reset(self, *, seed=None, options=None) -> Any:
        super().reset(seed=seed)
        self.position, self.speed = self.np_random.uniform(-1, 1, 2)
        self.steps = 0
        return self.observe(), {}

    def step(self, action) -> Any:
        self.steps += 1
        force = float(np.clip(np.asarray(action, float).sum(), -1, 1))
        self.position, self.speed = self.position + 0.05 * self.speed, 0.95 * self.speed + 0.1 * force
        return self.observe(), self.reward(), False, False, {}

    def render(self) -> Any:
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[:, int(np.clip(48 + 40 * self.position, 0, 95))] = 255
        return picture


# Spaces.


class Float64(Point):
    observation_space = Box(-np.inf, np.inf, (3,), np.float64)


class Float16(Point):
    observation_space = Box(-65504, 65504, (3,), np.float16)


class IntObs(Point):
    observation_space = Box(-1000, 1000, (3,), np.int64)

    def observe(self):
        return np.array([100 * self.position, 100 * self.speed, 1], np.int64)


class Unbounded(Point):
    action_space = Box(-np.inf, np.inf, (1,), np.float32)


class FarUnbounded(Point):
    """The best action is 5, which an actor that ends in tanh does not reach."""

    action_space = Box(-np.inf, np.inf, (1,), np.float32)

    def step(self, action):
        self.steps += 1
        return self.observe(), -abs(float(action[0]) - 5.0), False, False, {}


class HalfBounded(Point):
    action_space = Box(0.0, np.inf, (1,), np.float32)


class Asymmetric(Point):
    action_space = Box(np.array([-1, 0, -100], np.float32), np.array([3, 0.01, 5], np.float32))


class HugeBounds(Point):
    action_space = Box(float(_FLOAT32.min), float(_FLOAT32.max), (1,), np.float32)


class ZeroRange(Point):
    action_space = Box(0.0, 0.0, (1,), np.float32)


class IntAction(Point):
    """Takes only the whole numbers 0 to 3."""

    action_space = Box(0, 3, (2,), np.int64)

    def step(self, action):
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} of type {action.dtype} is not in {self.action_space}")
        return super().step(action - 1.5)


class Float64Action(Point):
    action_space = Box(-1.0, 1.0, (1,), np.float64)

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} of type {action.dtype} is not in {self.action_space}"
        return super().step(action)


class ManyActions(Point):
    action_space = Box(-1.0, 1.0, (120,), np.float32)


class NoActions(Point):
    action_space = Box(-1.0, 1.0, (0,), np.float32)


class NoObs(Point):
    observation_space = Box(-1.0, 1.0, (0,), np.float32)

    def observe(self):
        return np.zeros(0, np.float32)


class ScalarObs(Point):
    observation_space = Box(-1.0, 1.0, (), np.float32)


class Matrix(Point):
    observation_space = Box(-1.0, 1.0, (3, 4), np.float32)


class DictObs(Point):
    observation_space = Dict({"position": Box(-1, 1, (1,)), "speed": Box(-1, 1, (1,))})


class DiscreteObs(Point):
    observation_space = Discrete(5)


class NoSpacesYet(Point):
    @property
    def observation_space(self):
        raise RuntimeError("connect first")


class LateSpaces(Point):
    """Has spaces only after its first reset."""

    observation_space = None
    action_space = None

    def reset(self, **arguments):
        self.observation_space, self.action_space = Point.observation_space, Point.action_space
        return super().reset(**arguments)


class Wide(Point):
    """Observes 100,000 numbers."""

    observation_space = Box(-np.inf, np.inf, (100_000,), np.float32)

    def observe(self):
        return np.full(100_000, self.position, np.float32)


# Rewards and values that are not finite.


class IntReward(Point):
    def reward(self):
        return int(abs(self.position) < 0.1)


class ArrayReward(Point):
    def reward(self):
        return np.array([-(self.position**2)])


class NoneReward(Point):
    def reward(self):
        return None


class NanObs(Point):
    def observe(self):
        return np.array([self.position, np.nan if self.steps == 20 else self.speed, 1.0], np.float32)


class InfReward(Point):
    def reward(self):
        return float("inf") if self.steps == 20 else 0.0


class HugeReward(Point):
    def reward(self):
        return -1e30 * float(self.position**2)


# Odd return values of `reset` and `step`.


class ShortObs(Point):
    """States 4 numbers and returns 1."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float32)

    def observe(self):
        return np.array([self.position], np.float32)


class LongObs(Point):
    def observe(self):
        return np.zeros(5, np.float32)


class OldReset(Point):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class OldReset2(OldReset):
    """Returns two numbers, which could be unpacked as observation and info."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)

    def observe(self):
        return np.array([self.position, self.speed], np.float32)


class OldStep(Point):
    def step(self, action):
        return super().step(action)[:4]


class NoSeed(Point):
    def reset(self):
        return super().reset()


# Exceptions, exits and output.


class RaisesInStep(Point):
    def step(self, action):
        if self.steps == 30:
            raise RuntimeError("the gripper is open\nand so is the door")
        return super().step(action)


class RaisesInReset(Point):
    episodes = 0

    def reset(self, **arguments):
        self.episodes += 1
        if self.episodes == 3:
            raise OSError("cannot connect to the simulator at port 5000")
        return super().reset(**arguments)


class Exits(Point):
    def step(self, action):
        if self.steps == 30:
            sys.exit(3)
        return super().step(action)


class Dies(Point):
    """Ends its process at step 30, if the environment variable ODD_DIES is set."""

    def step(self, action):
        if self.steps == 30 and os.environ.get("ODD_DIES"):
            os._exit(7)
        return super().step(action)


class Chatty(Point):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        print("simulator 1.2.3, hello from its makers")

    def step(self, action):
        if self.steps % 25 == 0:
            print(f"step {self.steps}")
        return super().step(action)


class NeedsArg(Point):
    def __init__(self, mass, render_mode=None):
        super().__init__(render_mode)
        self.mass = mass


class Single(Point):
    """Drives something that there is one of, such as a robot."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.port = (Path(tempfile.gettempdir()) / f"surefoot-odd-single-{os.getuid()}.lock").open("w")
        try:
            fcntl.flock(self.port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.port.close()
            raise OSError("port 5005 is in use by another instance") from None

    def close(self):
        self.port.close()


class Slow(Point):
    def step(self, action):
        time.sleep(0.02)
        return super().step(action)


# Pictures and ends of episodes.


class NoRender(gymnasium.Env):
    """Has neither `render` nor a constructor argument for it."""

    observation_space, action_space = Point.observation_space, Point.action_space

    def __init__(self):
        self.point = Point()

    def reset(self, *, seed=None, options=None):
        return self.point.reset(seed=seed)

    def step(self, action):
        return self.point.step(action)


class GrowingPictures(Point):
    def render(self):
        return np.zeros((10 + 2 * self.steps, 21, 3), np.uint8)


class LargePictures(Point):
    def render(self):
        return np.zeros((2, 5000, 3), np.uint8)


class EmptyPictures(Point):
    def render(self):
        return np.zeros((0, 96, 3), np.uint8)


class RGBA(Point):
    def render(self):
        return np.dstack([super().render(), np.full((64, 96), 255, np.uint8)])


class RenderRaises(Point):
    def render(self):
        raise RuntimeError("no display")


class Falls(Point):
    """Terminates far from zero."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, bool(abs(self.position) > 1.2), False, info


class OneStep(Point):
    def step(self, action):
        observation, reward, *_ = super().step(action)
        return observation, reward, True, False, {}


_CLASSES = [kind for kind in list(vars().values()) if isinstance(kind, type) and issubclass(kind, gymnasium.Env)]
for _kind in _CLASSES:
    if _kind is not gymnasium.Env:
        _entry = f"{__name__}:{_kind.__name__}"
        gymnasium.register(f"Odd/{_kind.__name__}-v0", entry_point=_entry, max_episode_steps=_STEPS)
gymnasium.register("Odd/Endless-v0", entry_point=f"{__name__}:Point")
gymnasium.register("Odd/EndlessFalls-v0", entry_point=f"{__name__}:Falls")
gymnasium.register(
    "Odd/Wrapped-v0",
    entry_point=f"{__name__}:Point",
    max_episode_steps=_STEPS,
    additional_wrappers=(
        WrapperSpec("Normalise", "gymnasium.wrappers:NormalizeObservation", {}),
        WrapperSpec("Clip", "gymnasium.wrappers:ClipAction", {}),
    ),
)
NAMES = sorted(id.removeprefix("Odd/").removesuffix("-v0") for id in gymnasium.registry if id.startswith("Odd/"))
