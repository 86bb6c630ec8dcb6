"""RLtools through its Python package, which compiles its C++ for the task; compilation counts as time."""

import functools

import gymnasium
import numpy as np
import rltools
from protocol import start

protocol = start()
environment = protocol.order.get("environment", {})
settings = dict(protocol.settings)
algorithm = getattr(rltools, settings.pop("algorithm"))


def make() -> gymnasium.Env:
    """Return the task with float32 observations."""
    env = gymnasium.make(protocol.order["task"], **environment)
    env = gymnasium.wrappers.RescaleAction(env, -1, 1)
    return gymnasium.wrappers.DtypeObservation(env, np.float32)


example = make()
low, high = example.unwrapped.action_space.low, example.unwrapped.action_space.high
module = algorithm(make, interface_name="rivals", enable_evaluation=False, **settings)
state = module.State(protocol.seed)
per_update = settings["N_ENVIRONMENTS"] * settings["ON_POLICY_RUNNER_STEPS_PER_ENV"]
steps, finished = 0, False


def predict(observations: np.ndarray) -> np.ndarray:
    """Return deterministic actions in the task's range."""
    actions = np.array([state.action(row) for row in observations])
    return low + (np.clip(actions, -1, 1) + 1) / 2 * (high - low)


while not finished:
    finished = state.step()
    steps += per_update
    protocol.after(steps, functools.partial(lambda policy: policy, predict))
protocol.finish()
