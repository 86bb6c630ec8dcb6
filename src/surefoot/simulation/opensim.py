"""Engine `opensim`: the running task in OpenSim, the simulator of the contest, in worker processes.

OpenSim takes about as long as the simulated time. The number of internal steps depends on the muscles, so environments
of a worker wait for each other; with as many `threads` as environments each has its own process.
"""

import copy
import importlib.util
from typing import Any

import gymnasium

from surefoot.errors import InputError
from surefoot.simulation.processes import ProcessesEngine
from surefoot.simulation.worker import Setup
from surefoot.tasks.catalogue import TaskInfo
from surefoot.tasks.registry import find_entry
from surefoot.tasks.wrappers import Guarded, wrap

INSTALL = 'pip install "surefoot[opensim]"'
_ENVIRONMENT = "surefoot.tasks.running.opensim_env:OpenSimRunner"
# A step of 10 ms takes 5 ms to some seconds. In some states of the runner OpenSim does not return at all.
_PATIENCE_S, _PATIENCE_PER_STEP_S = 20.0, 1.0


class OpenSimEngine(ProcessesEngine):
    """Environments of the running task in OpenSim.

    An episode is truncated if OpenSim's integrator fails, or if a step takes too long, after which its worker is
    replaced. `cut_episodes` counts both.
    """

    name = "opensim"

    def __init__(self, info: TaskInfo, num_envs: int, workers: int = 0) -> None:
        """Make `num_envs` environments in up to that many `workers` (0: one per CPU core).

        Raises:
            InputError: OpenSim is not installed or the task is another one.
        """
        _check(info)
        super().__init__(info, num_envs, workers)
        steps = info.action_repeat * -(-num_envs // len(self.pids))
        self._step_patience_s = _PATIENCE_S + _PATIENCE_PER_STEP_S * steps

    def _setup(self, info: TaskInfo, num_envs: int) -> Setup:
        setup = super()._setup(info, num_envs)
        setup.spec.entry_point = _ENVIRONMENT
        entry = find_entry(info.id)
        assert entry is not None
        return setup._replace(options={**getattr(entry.task, "headless_options", {}), **setup.options})


def make_opensim_env(info: TaskInfo, **kwargs: Any) -> gymnasium.Env:
    """Make one environment of the task in this process, as `tasks.catalogue.make_env` does in MuJoCo.

    Raises:
        InputError: OpenSim is not installed or the task is another one.
    """
    _check(info)
    spec = copy.deepcopy(gymnasium.spec(info.id))
    spec.entry_point = _ENVIRONMENT
    env = gymnasium.make(spec, disable_env_checker=True, **info.env_options, **kwargs)
    return Guarded(wrap(env, info.action_repeat, info.frame_stack, info.name), info.name)


def _check(info: TaskInfo) -> None:
    if reason := obstacle(info):
        raise InputError(f"engine 'opensim' cannot simulate task '{info.name}': {reason}")


def installed() -> bool:
    """Whether OpenSim is installed."""
    return importlib.util.find_spec("opensim") is not None


def obstacle(info: TaskInfo) -> str:
    """Return the reason why this engine cannot simulate the task, "" if it can."""
    entry = find_entry(info.id)
    if entry is None or entry.target != "surefoot.tasks.running.task:LearningToRun":
        return "it has only the muscle runner's, 'learning-to-run'"
    if not installed():
        return f"OpenSim is not installed; {INSTALL}"
    return ""
