"""Save the MuJoCo model of an exported policy's task, for programs in C: save_robot.py FOLDER ROBOT.mjb."""

import json
import sys
from pathlib import Path

import mujoco

from surefoot.tasks.catalogue import find_task, make_env

deploy = json.loads((Path(sys.argv[1]) / "deploy.json").read_text())
env = make_env(find_task(deploy["task"], deploy["task_options"]))
mujoco.mj_saveModel(env.unwrapped.model, sys.argv[2], None)
