"""All algorithms, by the name that a recipe gives."""

from surefoot.algorithms.algorithm import Algorithm
from surefoot.algorithms.ars import ARS
from surefoot.algorithms.ppo import PPO
from surefoot.algorithms.sac import SAC
from surefoot.algorithms.td3 import DDPG, TD3

ALGORITHMS: dict[str, Algorithm] = {"ppo": PPO, "ddpg": DDPG, "td3": TD3, "sac": SAC, "ars": ARS}
DEFAULT_ALGORITHM = "ppo"
