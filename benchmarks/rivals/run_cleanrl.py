"""CleanRL's scripts, unchanged, on present Gymnasium.

CleanRL is no library: the script is run from a clone. Its vector environment is replaced by one with the autoreset and
the infos of Gymnasium 0.29, for which the scripts were written, and which calls the protocol before each step.
"""

import runpy
import sys
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from protocol import start

protocol = start()


class SyncVectorEnv(gymnasium.vector.SyncVectorEnv):
    """Gymnasium 0.29's behaviour; the caller's variables are the script's."""

    def __init__(self, makers: list) -> None:
        super().__init__(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        self.steps = 0

    def step(self, actions: np.ndarray):
        variables = sys._getframe(1).f_globals
        protocol.after(self.steps, lambda: POLICIES[protocol.settings["script"]](variables))
        self.steps += self.num_envs
        observations, rewards, terminated, truncated, infos = super().step(actions)
        infos.pop("final_info", None)
        if "final_obs" in infos:
            infos["final_observation"] = infos.pop("final_obs")
        return observations, rewards, terminated, truncated, infos


def td3_jax(variables: dict):
    """Policy of td3_continuous_action_jax.py."""
    actor, state = variables["actor"], variables["actor_state"]
    return lambda observations: np.asarray(actor.apply(state.params, observations))


def td3_torch(variables: dict):
    """Policy of td3_continuous_action.py."""
    return lambda observations: variables["actor"](torch.from_numpy(observations)).detach().numpy()


POLICIES = {"td3_continuous_action_jax": td3_jax, "td3_continuous_action": td3_torch}

source = Path(protocol.order["source"]).resolve()
sys.path.insert(0, str(source))
gymnasium.vector.SyncVectorEnv = SyncVectorEnv
script = protocol.settings["script"]
sys.argv = [script, "--env-id", protocol.order["task"], "--seed", str(protocol.seed)]
runpy.run_path(str(source / "cleanrl" / f"{script}.py"), run_name="__main__")
protocol.finish()
