"""Fraction of MuJoCo's own speed that reaches a task: `mujoco.batch` alone, the engine around it, and PPO training.

    python benchmarks/physics_share.py --task anymal

All three run in turn, several rounds, in one process, with equally many environments. The first gets the controls that
random actions lead to, the second the actions themselves; no episode ends in either. The third is PPO with the task's
recipe, without evaluations, after its first iterations.
"""

import json
import time

import mujoco.batch
import numpy as np

from measuring import arguments_parser, background_load, format_spread, print_table, spread, write_results
from surefoot.api import make_recipe
from surefoot.simulation.batch import BatchEngine
from surefoot.simulation.factory import make_engine
from surefoot.tasks.catalogue import find_task
from surefoot.training.on_policy import OnPolicyLearner


def main() -> None:
    parser = arguments_parser(__doc__, "physics_share.json", rounds=5)
    parser.add_argument("--task", default="anymal")
    parser.add_argument("--options", type=json.loads, default={}, help="the task's options, JSON")
    parser.add_argument("--steps", type=int, default=150, help="vector steps in each timing")
    arguments = parser.parse_args()
    load = background_load()
    changes = {f"task_options.{name}": value for name, value in arguments.options.items()}
    recipe = make_recipe(arguments.task, None, changes)
    info = find_task(recipe.task, recipe.full_task_options)
    num_envs = recipe.engine.num_envs
    engine = BatchEngine(info, num_envs)
    learner = OnPolicyLearner(recipe, info, [make_engine("batch", info, num_envs)])
    learner.start(0)
    for _ in range(3):  # to compile
        learner.iterate(0.0)
    rates: dict[str, list[float]] = {"mujoco.batch": [], "engine": [], "training": []}
    for round in range(arguments.rounds):
        rates["mujoco.batch"].append(alone(engine, arguments.steps, round))
        rates["engine"].append(stepping(engine, arguments.steps, round))
        rates["training"].append(training(learner, arguments.steps))
    result = {
        "task": recipe.task,
        "task_options": recipe.task_options,
        "num_envs": num_envs,
        "steps_per_second": {name: spread(values) for name, values in rates.items()},
        "fraction_of_mujoco_batch": {
            name: spread(np.array(rates[name]) / rates["mujoco.batch"]) for name in ("engine", "training")
        },
    }
    write_results(arguments.output, load, result)
    print_table(
        f"{recipe.task}, {num_envs} environments",
        ("", "steps/s", "fraction of mujoco.batch"),
        [
            (
                name,
                format_spread(values),
                format_spread(result["fraction_of_mujoco_batch"][name], 2) if name != "mujoco.batch" else "",
            )
            for name, values in result["steps_per_second"].items()
        ],
    )


def alone(engine: BatchEngine, steps: int, seed: int) -> float:
    """Step `mujoco.batch` alone with the controls that random actions lead to."""
    task = engine.task
    random = np.random.default_rng(seed)
    engine.begin(seed)
    controls = []
    for _ in range(steps):
        engine.task.apply_action(engine.state, random_actions(engine, random))
        rows = engine.state
        controls.append((rows["ctrl_schedule"][:, -1] if task.per_substep_control else rows["ctrl"]).copy())
    batch = mujoco.batch.Batch(task.model, engine.num_envs, 0)
    state, ctrl = np.array(engine.get_state()["physics"]), batch.bind("ctrl")
    batch.state[:] = state
    began = time.perf_counter()
    for control in controls:
        ctrl[:] = control
        batch.step(None, nstep=task.frame_skip)
    return steps * engine.num_envs / (time.perf_counter() - began)


def stepping(engine: BatchEngine, steps: int, seed: int) -> float:
    """Step the engine with random actions; no episode ends, as in `alone`."""
    random = np.random.default_rng(seed)
    engine.begin(seed)
    actions = [random_actions(engine, random) for _ in range(steps)]
    none = np.zeros(engine.num_envs, bool)
    began = time.perf_counter()
    for action in actions:
        engine.advance(action, none)
    return steps * engine.num_envs / (time.perf_counter() - began)


def training(learner: OnPolicyLearner, steps: int) -> float:
    """Train PPO for about as many vector steps."""
    iterations = max(1, round(steps * learner.engine.num_envs / learner.steps_per_iteration))
    began = time.perf_counter()
    for _ in range(iterations):
        learner.iterate(0.0)
    return iterations * learner.steps_per_iteration / (time.perf_counter() - began)


def random_actions(engine: BatchEngine, random: np.random.Generator) -> np.ndarray:
    """Sample one action per environment, (N, A) float32."""
    space = engine.single_action_space
    return random.uniform(space.low, space.high, (engine.num_envs, *space.shape)).astype(np.float32)


if __name__ == "__main__":
    main()
