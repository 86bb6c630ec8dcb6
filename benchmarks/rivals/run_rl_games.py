"""rl_games 2 with EnvPool, from a clone: PyPI has 1.6.5. Settings are the files that come with it.

Policies act in the Gymnasium task. Settings for a task without EnvPool are used with EnvPool's task of that name.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from protocol import start

protocol = start()
source = Path(protocol.order["source"]).resolve()
sys.path.insert(0, str(source))

from rl_games.common.algo_observer import DefaultAlgoObserver  # noqa: E402
from rl_games.torch_runner import Runner  # noqa: E402


class Observer(DefaultAlgoObserver):
    """Calls the protocol after every iteration."""

    def after_print_stats(self, frame: int, epoch_num: int, total_time: float) -> None:
        super().after_print_stats(frame, epoch_num, total_time)
        protocol.after(int(frame), lambda: self.predict)

    def predict(self, observations: np.ndarray) -> np.ndarray:
        """Return deterministic actions."""
        algorithm, rows = self.algo, torch.from_numpy(np.ascontiguousarray(observations))
        with torch.no_grad():
            if hasattr(algorithm, "act"):  # SAC
                return algorithm.act({"obs": rows}, None).numpy()
            # The inner module: torch.compile would compile for another batch size.
            model = getattr(algorithm.model, "_orig_mod", algorithm.model).eval()
            actions = model({"is_train": False, "prev_actions": None, "obs": rows, "rnn_states": None})["mus"]
            return algorithm.preprocess_actions(actions)


settings = yaml.safe_load((source / "rl_games" / "configs" / protocol.settings["file"]).read_text())
config = settings["params"]["config"]
task = protocol.order["task"]
config |= {"env_name": "envpool", "env_config": {"env_name": task, "seed": protocol.seed}, "device": "cpu"}
config |= {
    "device_name": "cpu",
    "score_to_win": float("inf"),
    "train_dir": "train",
    **protocol.settings.get("changes", {}),
}
settings["params"]["seed"] = protocol.seed
runner = Runner(Observer())
runner.load(settings)
runner.run({"train": True})
protocol.finish()
