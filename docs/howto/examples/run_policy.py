"""Run an exported policy as a robot would: read sensors, compute an action, send it, at the control rate.

The robot is simulated: an environment of the policy's task, with noisy sensors and late actions on request.
"""

import argparse
import hashlib
import json
from collections import deque
from pathlib import Path

import numpy as np
import onnxruntime

from surefoot.tasks.catalogue import find_task, make_env


class Controller:
    """The exported policy; needs NumPy and ONNX Runtime only."""

    def __init__(self, folder, observation_names, action_names):
        self.deploy = json.loads((folder / "deploy.json").read_text())
        model = (folder / "policy.onnx").read_bytes()
        if hashlib.sha256(model).hexdigest() != self.deploy["files"]["policy.onnx"]:
            raise SystemExit("policy.onnx is not the file that deploy.json describes")
        for kind, names in (("observation", observation_names), ("action", action_names)):
            expected = [value["name"] for value in self.deploy[kind]]
            if list(names) != expected:
                raise SystemExit(f"the robot's {kind} is {list(names)}; the policy's is {expected}")
        self.std = np.array([value["std"] for value in self.deploy["observation"]], np.float32)
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def act(self, observation):
        return self.session.run(["action"], {"obs": observation[None].astype(np.float32)})[0][0]


def run_episode(env, controller, seed, latency, noise, rng):
    """Return the sum of rewards, the number of actions, and whether the robot fell."""
    observation, _ = env.reset(seed=seed)
    # The first actions are late: until they arrive the robot is given the action 0.
    late = deque(np.zeros((latency, *env.action_space.shape), np.float32))
    total, steps = 0.0, 0
    while True:
        sensed = observation + noise * controller.std * rng.standard_normal(len(observation))
        late.append(controller.act(sensed))
        observation, reward, terminated, truncated, _ = env.step(late.popleft())
        total, steps = total + reward, steps + 1
        if terminated or truncated:
            return total, steps, terminated


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="written by surefoot export")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds from sensing to acting")
    parser.add_argument("--noise", type=float, default=0.0, help="of the sensors, in standard deviations of each value")
    parser.add_argument("--seed", type=int, default=1_500_000_000, help="that of surefoot evaluate by default")
    options = parser.parse_args()
    deploy = json.loads((options.folder / "deploy.json").read_text())
    task = find_task(deploy["task"], deploy["task_options"])
    controller = Controller(options.folder, task.observation_names, task.action_names)
    rate = deploy["timing"]["rate_hz"]
    latency, rng = round(options.latency * rate), np.random.default_rng(options.seed)
    env = make_env(task)
    results = [
        run_episode(env, controller, options.seed + episode, latency, options.noise, rng)
        for episode in range(options.episodes)
    ]
    returns, lengths, terminated = map(np.array, zip(*results, strict=True))
    print(f"{rate:g} Hz, latency {latency} actions, noise {options.noise:g}")
    print(f"return {returns.mean():.1f} (sd {returns.std():.1f}) over {len(returns)} episodes")
    print(f"{lengths.mean():.1f} actions per episode; {terminated.sum()} ended before the time limit")


if __name__ == "__main__":
    main()
