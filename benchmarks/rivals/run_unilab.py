"""UniLab's training script with its own settings, in its own simulation of the robot.

The script downloads the robot's meshes. They are only drawn and have neither mass nor contacts, so where the download
is not possible `placeholder_meshes` in the settings puts a tetrahedron in the place of each.
"""

import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rsl_rl.runners
import torch
from protocol import Predict, following_score, start

SECONDS, CONTROL_STEP_S = 20.0, 0.02
_TETRAHEDRON = "v 0 0 0\nv .01 0 0\nv 0 .01 0\nv 0 0 .01\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
made: dict = {}  # what the script made its environment of, and the evaluation environment


def play(predict: Predict, seeds: Sequence[int]) -> np.ndarray:
    """Play one episode per seed; the first seed is that of all environments together."""
    if "envs" not in made:
        envs = create_env(*made["arguments"], **made["options"] | {"num_envs": len(seeds)})
        made["envs"] = RslRlVecEnvAdapter(envs, device="cpu")
    envs = made["envs"]
    envs.env.seed(seeds[0])
    observations, _ = envs.reset()
    standing, scores = np.ones(len(seeds), bool), np.zeros(len(seeds))
    steps = round(SECONDS / CONTROL_STEP_S)
    for _ in range(steps - 1):  # the last step begins the next episode
        # Of the observations: the command; of the critic's, the velocities.
        actor, critic = observations["actor"].numpy(), observations["critic"].numpy()
        command, velocity, turning = actor[:, 42:45], critic[:, -3:-1], actor[:, 2]
        scores += standing * following_score(command - np.c_[velocity, turning])
        observations, _, done, _ = envs.step(predict(observations))
        standing &= ~done.numpy()
    return scores / (steps - 1)


class Runner(rsl_rl.runners.OnPolicyRunner):
    """Calls the protocol after every update."""

    def learn(self, *arguments, **options) -> None:
        update, per_update = self.alg.update, self.env.num_envs * self.cfg["num_steps_per_env"]
        updates = 0

        def update_and_evaluate():
            nonlocal updates
            losses = update()
            updates += 1
            protocol.after(updates * per_update, lambda: self._policy)
            return losses

        self.alg.update = update_and_evaluate
        super().learn(*arguments, **options)

    def _policy(self, observations: object) -> torch.Tensor:
        actor = self.alg.get_policy()
        actor.eval()
        with torch.inference_mode():
            actions = actor(observations)
        actor.train()
        return actions


protocol = start(play)
rsl_rl.runners.OnPolicyRunner = Runner
from unilab.assets import ASSETS_ROOT_PATH  # noqa: E402
from unilab.base import config_adapter  # noqa: E402
from unilab.rl import RslRlVecEnvAdapter  # noqa: E402

robot = Path(ASSETS_ROOT_PATH, "robots", "go2")
if protocol.settings.get("placeholder_meshes"):
    (robot / "assets").mkdir(exist_ok=True)
    for name in re.findall(r'file="(\w+\.obj)"', (robot / "go2_mujoco.xml").read_text()):
        if not (mesh := robot / "assets" / name).exists():
            mesh.write_text(_TETRAHEDRON)

create_env = config_adapter.create_env


def remember_and_create(*arguments, **options):
    """Make the script's environment."""
    made.update(arguments=arguments, options=options)
    return create_env(*arguments, **options)


config_adapter.create_env = remember_and_create
# The settings name files as the repository lays them out.
Path("src").mkdir()
Path("src", "unilab").symlink_to(Path(ASSETS_ROOT_PATH).parent)
script = Path(ASSETS_ROOT_PATH).parent / "scripts" / "train_rsl_rl.py"
sys.argv = [str(script), f"task={protocol.settings['task']}", f"algo.seed={protocol.seed}", "training.device=cpu"]
sys.argv += ["training.no_play=true"]
runpy.run_path(str(script), run_name="__main__")
protocol.finish()
