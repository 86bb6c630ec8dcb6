"""All algorithms, by the name that a recipe gives."""

from surefoot.algorithms.algorithm import AlgorithmSettings
from surefoot.algorithms.ars import ARSSettings
from surefoot.algorithms.ppo import PPOSettings
from surefoot.algorithms.sac import SACSettings
from surefoot.algorithms.td3 import DDPGSettings, TD3Settings

ALGORITHMS: dict[str, type[AlgorithmSettings]] = {
    "ppo": PPOSettings,
    "ddpg": DDPGSettings,
    "td3": TD3Settings,
    "sac": SACSettings,
    "ars": ARSSettings,
}
DEFAULT_ALGORITHM = "ppo"
