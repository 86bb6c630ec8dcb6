"""All algorithms, by the name that a recipe gives."""

from surefoot.algorithms.algorithm import Algorithm
from surefoot.algorithms.ars import ARS
from surefoot.algorithms.ddpg import DDPG, SAC, TD3
from surefoot.algorithms.ppo import PPO

ALGORITHMS: dict[str, Algorithm] = {"ppo": PPO, "ddpg": DDPG, "td3": TD3, "sac": SAC, "ars": ARS}
DEFAULT_ALGORITHM = "ppo"
