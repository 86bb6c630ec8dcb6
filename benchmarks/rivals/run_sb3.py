"""Stable-Baselines3, sb3-contrib and SBX with the tuned settings of rl-zoo3, built by rl-zoo3's own code.

The zoo has settings for version 4 of the MuJoCo tasks; they are used for version 5. Policies act in the task itself,
with frozen observation statistics where the settings normalise observations.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import rl_zoo3
import yaml
from protocol import start
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3.common.callbacks import BaseCallback

protocol = start()
task, algorithm = protocol.order["task"], protocol.settings["algorithm"]
if protocol.settings.get("library") == "sbx":
    import rl_zoo3.exp_manager
    import rl_zoo3.train
    import sbx

    zoo_names = {"crossq": sbx.CrossQ, "ppo": sbx.PPO, "sac": sbx.SAC, "td3": sbx.TD3, "tqc": sbx.TQC}
    rl_zoo3.ALGOS.update(zoo_names)
    rl_zoo3.exp_manager.ALGOS.update(zoo_names)


class Evaluate(BaseCallback):
    """Calls the protocol after every step of the environments."""

    def _on_step(self) -> bool:
        protocol.after(self.num_timesteps, lambda: predict)
        return True


def predict(observations: np.ndarray) -> np.ndarray:
    """Return deterministic actions."""
    normaliser = model.get_vec_normalize_env()
    return model.predict(normaliser.normalize_obs(observations) if normaliser else observations, deterministic=True)[0]


with tempfile.TemporaryDirectory() as folder:
    settings = yaml.safe_load((Path(rl_zoo3.__file__).parent / "hyperparams" / f"{algorithm}.yml").read_text())
    chosen = settings.get(task) or settings[task.replace("-v5", "-v4")]
    chosen |= protocol.settings.get("changes", {})
    (config := Path(folder, "settings.yml")).write_text(yaml.safe_dump({task: chosen}))
    manager = ExperimentManager(
        argparse.Namespace(),
        algorithm,
        task,
        folder,
        eval_freq=-1,
        log_interval=-1,
        seed=protocol.seed,
        device="cpu",
        config=str(config),
        verbose=0,
    )
    model, _ = manager.setup_experiment()
    manager.callbacks = [Evaluate()]
    manager.learn(model)
    protocol.finish()
