"""Steps per second of the running task in MuJoCo and in OpenSim, with random excitations held for 50 ms.

    python benchmarks/runner_throughput.py
    python benchmarks/runner_throughput.py --osim_rl osim-rl-3.0.11   # also the contest's own code

A step is 10 ms of simulated time. Each round measures every contender once, in turn. Both engines use the same number
of threads or processes. Steps per second of CPU time depend less on other load of the machine than those of wall-clock
time; the ratios are of the former. Resets after falls count.

`--osim_rl` names the unpacked source distribution of osim-rl 3. Its simulator and the description of its state, which
it computes after every step, run in this process, in the OpenSim that is installed.
"""

import functools
import importlib.util
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from measuring import arguments_parser, background_load, format_spread, print_table, spread, take_turns, write_results
from surefoot.bodies.runner import MUSCLES
from surefoot.simulation.engine import Engine
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import find_task

REPEAT = 5
# Engine, environments per thread, task options.
CONTENDERS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "MuJoCo": ("batch", 64, {}),
    "MuJoCo, 2 ms": ("batch", 64, {"timestep_s": 0.002}),
    "OpenSim, SemiExplicitEuler2 1e-3": ("opensim", 2, {}),
    "OpenSim, RungeKuttaMerson 1e-3": ("opensim", 2, {"opensim_integrator": "RungeKuttaMerson"}),
    "OpenSim, RungeKuttaMerson 5e-5": (
        "opensim",
        2,
        {"opensim_integrator": "RungeKuttaMerson", "opensim_accuracy": 5e-5},
    ),
}
# Accuracies of OpenSim's default integrator with osim-rl: of the experiment of 2018, and osim-rl's own.
OSIM_RL = {"osim-rl, RungeKuttaMerson 1e-3": 1e-3, "osim-rl, RungeKuttaMerson 5e-5": 5e-5}
_FALL_HEIGHT_M = 0.65


class OsimRl:
    """The simulator of osim-rl, with the part of an engine that is measured."""

    num_envs = 1
    single_action_space = gymnasium.spaces.Box(0.0, 1.0, (len(MUSCLES),), np.float32)

    def __init__(self, folder: Path, accuracy: float) -> None:
        model = folder / "osim" / "models" / "gait9dof18musc.osim"
        self._model = _osim_rl(folder).OsimModel(str(model), False, accuracy)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode; it has nothing random."""
        del seed
        self._model.reset()

    def step(self, actions: np.ndarray) -> None:
        """Repeat the action as the engines do."""
        for _ in range(REPEAT):
            self._model.actuate(actions[0])
            self._model.integrate()
            if self._model.get_state_desc()["body_pos"]["pelvis"][1] < _FALL_HEIGHT_M:
                self._model.reset()

    def close(self) -> None:
        """Nothing needs to be closed."""


@functools.cache
def _osim_rl(folder: Path) -> Any:
    """Import the simulator of osim-rl; its tasks need Gym, which is replaced by empty modules."""
    import opensim

    opensim.Logger.setLevelString("error")
    stubs: dict[str, dict[str, Any]] = {
        "gym": {"Env": object},
        "osim_rl": {"__path__": []},
        "osim_rl.utils": {"__path__": []},
        "osim_rl.utils.mygym": {"convert_to_gym": None},
    }
    for name, attributes in stubs.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(attributes)
    prescribe = opensim.PrescribedController.prescribeControlForActuator

    def prescribe_by_name(controller: Any, actuator: int | str, function: Any) -> None:
        """OpenSim 4.6 refuses the number of a muscle."""
        prescribe(controller, MUSCLES[actuator] if isinstance(actuator, int) else actuator, function)

    opensim.PrescribedController.prescribeControlForActuator = prescribe_by_name
    spec = importlib.util.spec_from_file_location("osim_rl.osim", folder / "osim" / "env" / "osim.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the rounds, print the table and write the JSON file."""
    parser = arguments_parser(__doc__, "runner_throughput.json")
    parser.add_argument("--seconds", type=float, default=5.0, help="least duration of a measurement (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads, or processes of OpenSim (default: 1)")
    parser.add_argument("--osim_rl", type=Path, metavar="FOLDER", help="source distribution of osim-rl 3")
    arguments = parser.parse_args()
    load = background_load()
    engines: dict[str, Engine | OsimRl] = {
        name: _make(*contender, arguments.threads) for name, contender in CONTENDERS.items()
    }
    if arguments.osim_rl:
        engines |= {name: OsimRl(arguments.osim_rl, accuracy) for name, accuracy in OSIM_RL.items()}
    for engine in engines.values():
        engine.reset(seed=0)
        _measure(engine, 0.1)  # to compile
    rates = take_turns(
        {name: functools.partial(_measure, engine, arguments.seconds) for name, engine in engines.items()},
        arguments.rounds,
        lambda what, rate: print(f"{what}: {rate[0]:,.0f} steps/s, {rate[1]:,.0f} per second of CPU", flush=True),
    )
    for engine in engines.values():
        engine.close()
    wall, cpu = ({name: [rate[kind] for rate in found] for name, found in rates.items()} for kind in (0, 1))
    results = {
        name: {
            "steps_per_second": spread(wall[name]),
            "steps_per_cpu_second": spread(cpu[name]),
            "mujoco_is_faster_by": spread(ours / theirs for ours, theirs in zip(cpu["MuJoCo"], cpu[name], strict=True)),
        }
        for name in engines
    }
    write_results(arguments.output, load, {"threads": arguments.threads, "contenders": results})
    print_table(
        "learning-to-run, random excitations: median (min-max)",
        ("", "steps/s", "steps per second of CPU", "MuJoCo is faster by"),
        [
            [
                name,
                format_spread(result["steps_per_second"]),
                format_spread(result["steps_per_cpu_second"]),
                format_spread(result["mujoco_is_faster_by"]),
            ]
            for name, result in results.items()
        ],
    )


def _make(engine: str, envs: int, options: dict[str, Any], threads: int) -> Engine:
    info = find_task("learning-to-run", {"action_repeat": REPEAT, **options})
    return make_engine(engine, info, envs * threads, threads)


def _measure(engine: Engine | OsimRl, seconds: float) -> tuple[float, float]:
    """Return steps per second, of wall-clock time and of CPU time, with random actions."""
    random = np.random.default_rng(0)
    space = engine.single_action_space
    actions = random.uniform(space.low, space.high, (16, engine.num_envs, *space.shape)).astype(np.float32)
    began, cpu_began, calls = time.perf_counter(), _cpu_s(engine), 0
    while time.perf_counter() - began < seconds:
        for action in actions:
            engine.step(action)
        calls += len(actions)
    steps = calls * engine.num_envs * REPEAT
    return steps / (time.perf_counter() - began), steps / (_cpu_s(engine) - cpu_began)


def _cpu_s(engine: Engine | OsimRl) -> float:
    """Return the CPU time of this process and of the engine's workers, s."""
    total = time.process_time()
    for pid in getattr(engine, "pids", ()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    main()
