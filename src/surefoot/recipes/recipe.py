"""A recipe: everything that decides what a training does."""

import typing
from typing import Any, Literal

from pydantic import Field, model_validator

from surefoot.algorithms.ars_settings import ARSSettings
from surefoot.algorithms.ddpg_settings import DDPGSettings, SACSettings, TD3Settings
from surefoot.algorithms.ppo_settings import PPOSettings
from surefoot.policies.networks import PolicySettings
from surefoot.settings import Option, Settings
from surefoot.tasks.reward_shaping import WrapperSettings

Algorithm = Literal["ppo", "ddpg", "td3", "sac", "ars"]
ALGORITHMS: tuple[str, ...] = typing.get_args(Algorithm)

# What networks look like in the papers' own code, where a recipe does not say.
_OFF_POLICY = {"actor": [256, 256], "critic": [256, 256], "activation": "relu", "normalise_observations": False}
_POLICY_DEFAULTS: dict[str, dict[str, Any]] = {
    "ddpg": _OFF_POLICY | {"squash": "tanh", "initial_std": 0.1},
    "td3": _OFF_POLICY | {"squash": "tanh", "initial_std": 0.1},
    "sac": _OFF_POLICY | {"squash": "tanh_gaussian", "std": "state_dependent", "minimum_std": 1e-5},
    "ars": {"actor": [], "critic": []},
}


class EngineSettings(Settings):
    """How the task is simulated."""

    name: Literal["auto", "batch", "envpool", "processes"] = "auto"
    """The engine; auto takes the fastest one that knows the task."""
    num_envs: int = Field(32, ge=1, le=100_000)
    """How many copies of the task are stepped together."""
    threads: int = Field(0, ge=0, le=1024)
    """Threads or worker processes; 0: one per CPU."""


class TrainingSettings(Settings):
    """How long to train, and what to do on the way."""

    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """Act, then learn, then judge; or all three side by side, in threads (off-policy algorithms only)."""
    samplers: int = Field(1, ge=1, le=1000)
    """How many act side by side, each with its share of the copies (asynchronous only)."""
    steps: int = Field(2_000_000, ge=1, le=10**12)
    """Environment steps, all copies together."""
    start_from: str = Field("", max_length=1000)
    """What to start from (`--from`): an earlier run, by its path or as TASK/NAME, or a policy's file."""
    from_critic: bool = True
    """Whether the earlier critic is taken over, too, where it fits."""
    from_std: float | None = Field(None, gt=0, le=10)
    """The standard deviation that exploration then starts with; none: what it had come to (PPO with a learnt one)."""
    evaluate_every: int = Field(100_000, ge=1)
    """Environment steps between evaluations of the deterministic policy."""
    evaluation_episodes: int = Field(20, ge=1, le=10_000)
    """Episodes of each such evaluation, with seeds of their own."""
    stop_at_return: float | None = None
    """End once the policy is this good: when an evaluation comes to it or within its own standard error of it, and
    `confirm_episodes` fresh episodes come to it."""
    confirm_episodes: int = Field(100, ge=1, le=10_000)
    """Episodes that must confirm `stop_at_return`, in quarters: if they fall short so far, by more than their standard
    error, the rest is spared."""
    stop_at_falls: float = Field(1.0, ge=0, le=1)
    """The largest share of falls with which `stop_at_return` counts as reached, and as confirmed."""
    snapshot_every: int = Field(0, ge=0)
    """Environment steps between policies that are kept on the way, as `policy/step-N.safetensors`; 0: none are."""
    checkpoint_every_s: float = Field(30.0, ge=0)
    """Seconds between checkpoints."""
    keep_checkpoints: int = Field(3, ge=1, le=1000)
    """How many checkpoints are kept."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go besides the run folder."""


class Recipe(Settings):
    """A task, an algorithm and all their settings."""

    name: str = Field("custom", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """What the recipe is called."""
    description: str = ""
    """What it is for, and where its figures come from."""
    task: str = Field(min_length=1, max_length=200)
    """A short name or a Gymnasium id."""
    task_options: dict[str, Option] = Field(default_factory=dict)
    """Keyword arguments of the task."""
    train_task_options: dict[str, Option] = Field(default_factory=dict)
    """Further keyword arguments of the task while it is learnt; it is evaluated without them."""
    algorithm: Algorithm = "ppo"
    """The learning rule; its settings are in the table of its name, and there is no other such table."""
    seed: int = Field(0, ge=0, le=100_000)
    """Decides every random number of the training."""
    engine: EngineSettings = EngineSettings()
    wrappers: WrapperSettings = WrapperSettings()
    policy: PolicySettings = PolicySettings()
    ppo: PPOSettings | None = None
    ddpg: DDPGSettings | None = None
    td3: TD3Settings | None = None
    sac: SACSettings | None = None
    ars: ARSSettings | None = None
    training: TrainingSettings = TrainingSettings()

    @property
    def seen_options(self) -> dict[str, Any]:
        """The task's options, those of the wrappers that decide how it is seen among them."""
        return self.task_options | self.wrappers.view

    @property
    def on_policy(self) -> PPOSettings:
        """The settings of the on-policy algorithm."""
        assert self.ppo is not None
        return self.ppo

    @property
    def search(self) -> ARSSettings:
        """The settings of random search."""
        assert self.ars is not None
        return self.ars

    @property
    def off_policy(self) -> DDPGSettings:
        """The settings of the off-policy algorithm."""
        settings = self.ddpg or self.td3 or self.sac
        assert settings is not None
        return settings

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Give the algorithm its table, and the policy the form that the algorithm is used to."""
        if not isinstance(data, dict):
            return data
        algorithm = data.get("algorithm", "ppo")
        if algorithm not in ALGORITHMS:
            return data
        others = [name for name in ALGORITHMS if name != algorithm and data.get(name) is not None]
        if others:
            raise ValueError(f"settings of '{others[0]}' are given, but the algorithm is '{algorithm}'")
        policy = data.get("policy", {})
        if isinstance(policy, dict):
            data = data | {"policy": _POLICY_DEFAULTS.get(algorithm, {}) | policy}
        return data | {algorithm: data[algorithm] if data.get(algorithm) is not None else {}}

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        samplers = self.training.samplers
        if samplers > 1 and self.training.mode == "synchronous":
            raise ValueError(f"training.samplers = {samplers} needs training.mode = 'asynchronous'")
        if self.engine.num_envs % samplers:
            raise ValueError(f"engine.num_envs = {self.engine.num_envs} cannot be shared among {samplers} samplers")
        if (self.wrappers.action_cost_from or self.wrappers.action_cost_until) and self.algorithm in ("ppo", "ars"):
            raise ValueError(f"wrappers.action_cost_from and action_cost_until are not for '{self.algorithm}'")
        start, std = self.training.start_from, self.training.from_std
        if std is not None and (not start or self.ppo is None or self.policy.std != "parameter"):
            raise ValueError(
                "training.from_std is for PPO with policy.std = 'parameter' that starts from an earlier run"
            )
        if self.ppo is not None:
            _check_on_policy(self)
        elif self.ars is not None:
            _check_search(self)
        else:
            _check_off_policy(self)
        return self


def _check_on_policy(recipe: Recipe) -> None:
    settings, copies = recipe.on_policy, recipe.engine.num_envs
    if recipe.training.mode == "asynchronous":
        raise ValueError("training.mode = 'asynchronous' is not for PPO, which learns only from what it has just done")
    transitions = copies * settings.horizon
    if settings.minibatch_size > transitions:
        raise ValueError(
            f"ppo.minibatch_size = {settings.minibatch_size} is more than the {transitions} transitions of an "
            "iteration (engine.num_envs x ppo.horizon)"
        )
    if transitions > 50_000_000:
        raise ValueError(f"{transitions} transitions an iteration (engine.num_envs x ppo.horizon) is over 50 million")
    if recipe.policy.batch_norm or recipe.policy.squash == "tanh_gaussian":
        which = "policy.batch_norm" if recipe.policy.batch_norm else "policy.squash = 'tanh_gaussian'"
        raise ValueError(f"{which} is not for PPO")
    if settings.symmetry == "tied":
        _check_pairs(recipe.policy)


def _check_pairs(policy: PolicySettings) -> None:
    for name in ("trunk", "actor", "critic"):
        widths = getattr(policy, name)
        if any(width % 2 for width in widths):
            raise ValueError(
                f"policy.{name} = {list(widths)}: tied networks have an even number of units in each layer"
            )


def _check_search(recipe: Recipe) -> None:
    settings, policy, copies = recipe.search, recipe.policy, recipe.engine.num_envs
    if recipe.training.mode == "asynchronous":
        raise ValueError("training.mode = 'asynchronous' is not for 'ars', which learns from all its episodes at once")
    if copies > 2 * settings.directions:
        raise ValueError(
            f"engine.num_envs = {copies} is more than the {2 * settings.directions} episodes of an iteration "
            "(2 x ars.directions)"
        )
    if (settings.top_directions or 0) > settings.directions:
        raise ValueError(
            f"ars.top_directions = {settings.top_directions} is more than ars.directions = {settings.directions}"
        )
    if settings.step_size_schedule == "exponential" and not settings.final_share:
        raise ValueError("ars.final_share = 0 is never reached by ars.step_size_schedule = 'exponential'")
    if policy.trunk or policy.critic:
        which = f"policy.trunk = {list(policy.trunk)}" if policy.trunk else f"policy.critic = {list(policy.critic)}"
        raise ValueError(f"{which}: 'ars' has an actor only")
    if policy.batch_norm or policy.squash == "tanh_gaussian" or policy.std != "parameter":
        which = "policy.batch_norm = true" if policy.batch_norm else f"policy.squash = '{policy.squash}'"
        which = f"policy.std = '{policy.std}'" if policy.std != "parameter" else which
        raise ValueError(f"{which} is not for 'ars'")


def _check_off_policy(recipe: Recipe) -> None:
    settings, policy, name = recipe.off_policy, recipe.policy, recipe.algorithm
    updates = recipe.engine.num_envs * settings.train_freq * settings.utd_ratio
    if updates < 0.5 or abs(updates - round(updates)) > 1e-6 * updates or round(updates) % settings.policy_delay:
        raise ValueError(
            f"{updates:g} updates a round (engine.num_envs x {name}.train_freq x {name}.utd_ratio) is not a "
            f"multiple of {name}.policy_delay = {settings.policy_delay}; change {name}.train_freq"
        )
    if policy.trunk:
        raise ValueError(f"policy.trunk = {list(policy.trunk)}: actor and critic share no layers in '{name}'")
    if settings.critic_action_layer != "first" and not policy.critic:
        raise ValueError(
            f"{name}.critic_action_layer = '{settings.critic_action_layer}' needs a hidden layer in policy.critic"
        )
    if (policy.squash == "tanh_gaussian") != (name == "sac"):
        raise ValueError(f"policy.squash = '{policy.squash}' is not for '{name}'")
    if policy.std == "scheduled":
        raise ValueError(f"policy.std = 'scheduled' is not for '{name}'")
    if settings.tied:
        _check_pairs(policy)
        if settings.mirror:
            raise ValueError(f"{name}.mirror = true teaches tied networks nothing more; leave one of the two out")
    if not policy.batch_norm and (settings.unit_norm_weights or not settings.target_networks):
        which = "unit_norm_weights = true" if settings.unit_norm_weights else "target_networks = false"
        raise ValueError(f"{name}.{which} needs policy.batch_norm = true")
    least = recipe.engine.num_envs * (settings.n_step + 1)
    if settings.buffer_size < least:
        raise ValueError(
            f"{name}.buffer_size = {settings.buffer_size} is too small for {recipe.engine.num_envs} copies"
        )


def replaced(recipe: Recipe, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe as plain data with dotted `changes` made, such as {"ppo.clip_eps": 0.1}; not yet validated."""
    data = recipe.model_dump(mode="json")
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        table = data
        for name in parents:
            nested = table.setdefault(name, {})
            table[name] = table = nested if isinstance(nested, dict) else {}
        table[last] = value
    return data
