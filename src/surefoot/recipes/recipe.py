"""A recipe: the task, the algorithm and all settings of a training run."""

from typing import TYPE_CHECKING, Any, Literal

import pydantic
from pydantic import Field, model_validator

from surefoot.algorithms.registry import ALGORITHMS, DEFAULT_ALGORITHM
from surefoot.errors import InputError
from surefoot.policies.networks import PolicySettings
from surefoot.settings import Option, Settings
from surefoot.simulation.cluster import ADDRESS
from surefoot.simulation.engine import MOST_ENVS, MOST_THREADS
from surefoot.tasks.catalogue import TaskInfo, find_task
from surefoot.tasks.reward_shaping import WrapperSettings

if TYPE_CHECKING:  # for type checkers; at run time these fields come from the registry
    AlgorithmName = str
    _AlgorithmTables = Settings
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]
    _AlgorithmTables = pydantic.create_model(
        "_AlgorithmTables",
        __base__=Settings,
        **{name: (algorithm | None, None) for name, algorithm in ALGORITHMS.items()},
    )


class EngineSettings(Settings):
    """Simulation of the task."""

    name: Literal["auto", "batch", "envpool", "processes", "opensim", "cluster"] = "auto"
    """The engine; auto: the fastest one that supports the task; cluster: `training.samplers` processes of Ray, each
    with an equal part of the environments (DDPG, TD3, SAC and ARS only)."""
    num_envs: int = Field(32, ge=1, le=MOST_ENVS)
    """Environments stepped together; PPO's default is 8."""
    threads: int = Field(0, ge=0, le=MOST_THREADS)
    """Threads or worker processes; 0: one per CPU core, on a cluster one per sampler."""
    inner: Literal["auto", "batch", "envpool", "processes", "opensim"] = "auto"
    """The engine inside each sampler of a cluster, and that of its evaluations."""
    address: str = Field("local", pattern=f"^({ADDRESS})$")
    """Ray cluster that samplers run on. local: started for this training, on this machine; auto: the one that this
    machine belongs to; HOST:PORT or ray://HOST:PORT: another one."""

    @property
    def simulator(self) -> str:
        """Name of the engine that simulates: on a cluster the one inside each sampler."""
        return self.inner if self.name == "cluster" else self.name


class TrainingSettings(Settings):
    """Length of the training, evaluations, checkpoints and starting point."""

    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """synchronous: collect, update and evaluate in turn; asynchronous: all three at the same time, in threads
    (off-policy algorithms only)."""
    samplers: int = Field(1, ge=1, le=1000)
    """Samplers that run at the same time, each with an equal part of the environments (asynchronous, or on a
    cluster)."""
    steps: int = Field(2_000_000, ge=1, le=10**12)
    """Environment steps, summed over all environments."""
    start_from: str = Field("", max_length=1000)
    """Warm start (`--from`) from an earlier run, by its path or as TASK/NAME, or from a policy file."""
    from_critic: bool = True
    """Whether a warm start takes over the earlier critic, if it fits."""
    from_std: float | None = Field(None, gt=0, le=10)
    """Action standard deviation after a warm start; none: that of the earlier run (PPO with policy.std = parameter)."""
    evaluate_every: int = Field(100_000, ge=1)
    """Environment steps between evaluations of the deterministic policy."""
    evaluation_episodes: int = Field(20, ge=1, le=10_000)
    """Episodes of each evaluation, with seeds that no other evaluation uses."""
    stop_at_return: float | None = None
    """Stop early at this mean return, once confirmed on `confirm_episodes` further episodes. An evaluation within one
    standard error below it is confirmed, too."""
    confirm_episodes: int = Field(100, ge=1, le=10_000)
    """Episodes that confirm `stop_at_return`. They run in quarters; the rest is skipped if the mean return so far is
    more than one standard error below `stop_at_return`."""
    stop_at_falls: float = Field(1.0, ge=0, le=1)
    """Stop early only if at most this fraction of the episodes ends in a fall."""
    snapshot_every: int = Field(0, ge=0)
    """Environment steps between policies saved as `policy/step-N.safetensors`; 0: none."""
    checkpoint_every_s: float = Field(30.0, ge=0)
    """Seconds between checkpoints."""
    keep_checkpoints: int = Field(3, ge=1, le=1000)
    """Number of checkpoints kept."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Experiment trackers that receive the metrics, besides the run folder."""


class Recipe(_AlgorithmTables):
    """A task, an algorithm and all their settings.

    The settings of the algorithm are in the table of its name, such as `[ppo]`; `settings` returns them.
    """

    name: str = Field("custom", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Name of the recipe."""
    description: str = ""
    """Purpose of the recipe, and the source of its numbers."""
    task: str = Field(min_length=1, max_length=200)
    """A short name or a Gymnasium id."""
    task_options: dict[str, Option] = Field(default_factory=dict)
    """Options of the task."""
    train_task_options: dict[str, Option] = Field(default_factory=dict)
    """Further options of the task during training; evaluations run without them."""
    algorithm: AlgorithmName = DEFAULT_ALGORITHM
    """The learning algorithm. Its settings are in the table of its name; tables of other algorithms are rejected."""
    seed: int = Field(0, ge=0, le=100_000)
    """Seed of every random number of the training."""
    engine: EngineSettings = EngineSettings()
    wrappers: WrapperSettings = WrapperSettings()
    policy: PolicySettings = PolicySettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def settings(self) -> Any:
        """Settings of the algorithm."""
        return getattr(self, self.algorithm)

    @property
    def symmetry(self) -> Any:
        """The algorithm's `symmetry`, "none" if it has no such setting."""
        return getattr(self.settings, "symmetry", "none")

    @property
    def full_task_options(self) -> dict[str, Any]:
        """The task's options, including those of the wrappers that change observations or actions."""
        return self.task_options | self.wrappers.task_options

    def names(self, task: str, options: dict[str, Any]) -> bool:
        """Whether this is the recipe of a policy's task, so that its modules may be imported."""
        return (task, options) == (self.task, self.full_task_options)

    def evaluation_task(self) -> TaskInfo:
        """Return the task that the policy is evaluated on.

        Raises:
            InputError: there is no such task or option.
        """
        return find_task(self.task, self.full_task_options)

    def training_task(self) -> TaskInfo:
        """Return the task with the `train_task_options`.

        Raises:
            InputError: there is no such option, or it changes the size of observations or actions.
        """
        info = self.evaluation_task()
        if not self.train_task_options:
            return info
        changed = find_task(self.task, self.full_task_options | self.train_task_options)
        if (changed.observation_size, changed.action_size) != (info.observation_size, info.action_size):
            raise InputError("train_task_options change observations or actions; such options belong to task_options")
        return changed

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Add the algorithm's table and its defaults of policy and engine."""
        if not isinstance(data, dict):
            return data
        name = data.get("algorithm", DEFAULT_ALGORITHM)
        if not isinstance(name, str) or name not in ALGORITHMS:
            return data
        others = [other for other in ALGORITHMS if other != name and data.get(other) is not None]
        if others:
            raise ValueError(f"settings of '{others[0]}' are given, but the algorithm is '{name}'")
        algorithm, policy = ALGORITHMS[name], data.get("policy", {})
        settings = data[name] if data.get(name) is not None else {}
        if isinstance(policy, dict):
            implied = algorithm.implied_policy(settings) if isinstance(settings, dict) else {}
            data = data | {"policy": {**algorithm.policy_defaults, **implied, **policy}}
        if isinstance(engine := data.get("engine", {}), dict):
            data = data | {"engine": {"num_envs": algorithm.default_num_envs, **engine}}
        return data | {name: settings}

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        training, algorithm = self.training, self.settings
        cluster = self.engine.name == "cluster"
        if cluster and algorithm.learner == "on_policy":
            raise ValueError(f"engine.name = 'cluster' is not for '{self.algorithm}'; use ddpg, td3, sac or ars")
        needs_mode = training.samplers > 1 and not (cluster and algorithm.learner == "random_search")
        if cluster and algorithm.learner == "off_policy" and training.mode == "synchronous":
            raise ValueError(f"engine.name = 'cluster' needs training.mode = 'asynchronous' with '{self.algorithm}'")
        if needs_mode and training.mode == "synchronous":
            raise ValueError(f"training.samplers = {training.samplers} needs training.mode = 'asynchronous'")
        if self.engine.num_envs % training.samplers:
            raise ValueError(
                f"engine.num_envs = {self.engine.num_envs} cannot be split equally among {training.samplers} samplers"
            )
        learns_std = algorithm.learns_std and self.policy.std == "parameter"
        if training.from_std is not None and not (training.start_from and learns_std):
            raise ValueError("training.from_std needs training.start_from and a learned std, as PPO's with 'parameter'")
        if algorithm.learner != "off_policy":
            if training.mode == "asynchronous":
                raise ValueError(f"training.mode = 'asynchronous' is not for '{self.algorithm}', which has no replay")
            if self.wrappers.action_cost_from or self.wrappers.action_cost_until:
                raise ValueError(f"wrappers.action_cost_from and action_cost_until are not for '{self.algorithm}'")
        if cluster and getattr(algorithm, "statistics", "") == "step":
            raise ValueError(f"{self.algorithm}.statistics = 'step' needs all environments in one process")
        algorithm.check(self.algorithm, self.policy, self.engine.num_envs)
        return self


def replaced(recipe: Recipe, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe as plain data with dotted `changes` made, such as {"ppo.clip_eps": 0.1}; not yet validated."""
    data = recipe.model_dump(mode="json")
    # Tables and schedules are set before their parts.
    for dotted, value in sorted(changes.items(), key=lambda item: item[0].count(".")):
        *parents, last = dotted.split(".")
        table = data
        for name in parents:
            nested = table.setdefault(name, {})
            if isinstance(nested, (int, float)):  # if a part of a schedule is set, a number becomes its start
                nested = {"start": nested}
            table[name] = table = nested if isinstance(nested, dict) else {}
        table[last] = value
    # A policy setting that the changes imply replaces the recipe's own value.
    algorithm = ALGORITHMS.get(data["algorithm"])
    for name in algorithm.implied_policy(data.get(data["algorithm"]) or {}) if algorithm else ():
        if f"policy.{name}" not in changes:
            data["policy"].pop(name, None)
    return data
