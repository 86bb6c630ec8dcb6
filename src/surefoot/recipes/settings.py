"""A recipe: everything that decides what a training does."""

from typing import Any, Literal

from pydantic import Field, model_validator

from surefoot.algorithms.ppo import PPOSettings
from surefoot.policies.networks import PolicySettings
from surefoot.settings import Scalar, Settings


class EngineSettings(Settings):
    """How the task is simulated."""

    name: Literal["auto", "batch", "envpool", "processes"] = "auto"
    """The engine; auto takes the fastest one that knows the task."""
    copies: int = Field(32, ge=1, le=100_000)
    """How many copies of the task are stepped together."""
    threads: int = Field(0, ge=0, le=1024)
    """Threads or worker processes; 0: one per CPU."""


class TrainingSettings(Settings):
    """How long to train, and what to do on the way."""

    steps: int = Field(2_000_000, ge=1, le=10**12)
    """Environment steps, all copies together."""
    evaluate_every: int = Field(100_000, ge=1)
    """Environment steps between evaluations of the deterministic policy."""
    evaluation_episodes: int = Field(20, ge=1, le=10_000)
    """Episodes of each such evaluation, with seeds of their own."""
    stop_at_return: float | None = None
    """End once the policy is this good: when an evaluation reaches it, and `confirm_episodes` fresh episodes do too."""
    confirm_episodes: int = Field(100, ge=1, le=10_000)
    """Episodes that must confirm `stop_at_return`."""
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
    task_options: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    """Keyword arguments of the task."""
    algorithm: Literal["ppo"] = "ppo"
    """The learning rule."""
    seed: int = Field(0, ge=0, le=100_000)
    """Decides every random number of the training."""
    engine: EngineSettings = EngineSettings()
    policy: PolicySettings = PolicySettings()
    ppo: PPOSettings = PPOSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        transitions = self.engine.copies * self.ppo.horizon
        if self.ppo.minibatch_size > transitions:
            raise ValueError(
                f"ppo.minibatch_size = {self.ppo.minibatch_size} is more than the {transitions} transitions of an "
                "iteration (engine.copies x ppo.horizon)"
            )
        if transitions > 50_000_000:
            raise ValueError(f"{transitions} transitions an iteration (engine.copies x ppo.horizon) is over 50 million")
        return self


def replaced(recipe: Recipe, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe as plain data with dotted `changes` made, such as {"ppo.clip": 0.1}; not yet validated."""
    data = recipe.model_dump(mode="json")
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        table = data
        for name in parents:
            nested = table.setdefault(name, {})
            table[name] = table = nested if isinstance(nested, dict) else {}
        table[last] = value
    return data
