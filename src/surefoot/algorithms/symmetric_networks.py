"""Networks that are symmetric by their weights: each hidden unit has a twin that sees the mirror image of what it sees.

The units of a hidden layer come in two halves; unit i of one is the twin of unit i of the other. If an observation is
mirrored, twins change places. For this the weights of each layer obey  W = P W Q, where P mirrors what enters the layer
and Q what leaves it (van der Pol et al. 2020, arXiv 2006.16908). A gradient averaged so, (g + P g Q) / 2, is that of a
batch together with its mirror images, and a step of Adam along it keeps the weights tied to the last bit, for it treats
twins alike.

So an exactly symmetric network costs what any of its size costs, as nothing is computed of mirror images; a network
whose answers to both are averaged (`Mirror.agreed`) costs twice that. And its policy is a plain one to whoever runs it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.critics import ActionEntry, Critic
from surefoot.policies.networks import Layer, Parameters, PolicySettings
from surefoot.policies.normaliser import Normaliser, merge
from surefoot.policies.symmetry import Mirror

# What weights drawn at random are multiplied by when they are tied, for averaging two draws takes half their variance.
START_SCALE = math.sqrt(2)


class Exchange(NamedTuple):
    """What the mirror does to a vector: value i becomes value `index[i]` times `sign[i]`.

    Attributes:
        index: (N,) int.
        sign: (N,) float32, 1 or -1.
    """

    index: Any
    sign: Any


_SAME = Exchange(np.zeros(1, int), np.ones(1, np.float32))


def tied(parameters: Parameters, mirror: Mirror, settings: PolicySettings, scale: float = 1.0) -> Parameters:
    """Average the arrays of actor and critic, or their gradients, with what they are in the mirror.

    Args:
        parameters: the networks; those of an off-policy actor have no critic.
        mirror: the task's symmetry.
        settings: their shape.
        scale: what weights are multiplied by.
    """
    seen = Exchange(mirror.observation_index, mirror.observation_sign)
    action = Exchange(mirror.action_index, mirror.action_sign)
    outputs = (
        _beside(action, Exchange(action.index, jnp.ones_like(action.sign)))
        if settings.std == "state_dependent"
        else action
    )
    log_std = parameters["log_std"]
    trunk, feature = _tied_layers(parameters["trunk"], [seen], None, scale)
    return {
        "trunk": trunk,
        "actor": _tied_layers(parameters["actor"], [feature], outputs, scale)[0],
        "critic": _tied_layers(parameters["critic"], [feature], _SAME, scale)[0],
        "log_std": (log_std + log_std[..., action.index]) / 2,
    }


def tied_critics(critics: Critic, mirror: Mirror, entry: ActionEntry, scale: float = 1.0) -> Critic:
    """Do the same for critics that judge actions, which enter as `entry` says."""
    seen = Exchange(mirror.observation_index, mirror.observation_sign)
    action = Exchange(mirror.action_index, mirror.action_sign)
    beside = {"first": [action], "second": [None, action], "branch": []}[entry]
    layers, _ = _tied_layers(critics["layers"], [seen], _SAME, scale, beside)
    branch, _ = _tied_layers(critics["branch"], [action], None, scale)
    return {"layers": layers, "branch": branch}


def merge_seen(statistics: Normaliser, observation: jax.Array, tie: Mirror | None) -> Normaliser:
    """Add observations (..., D) to the statistics; for tied networks, they and their images, together once."""
    if tie is None:
        return merge(statistics, observation)
    both = tie.both(observation)
    return symmetric(merge(statistics, both, jnp.full(both.shape[:-1], 0.5)), tie)


def symmetric(statistics: Normaliser, mirror: Mirror) -> Normaliser:
    """Average statistics with those of mirrored observations."""
    index = mirror.observation_index
    mean, variance, count = statistics
    return Normaliser(
        (mean + mirror.observation(mean)) / 2,
        (variance + variance[index]) / 2,
        count if count.ndim == 0 else (count + count[index]) / 2,
    )


def _tied_layers(
    layers: list[Layer],
    enters: list[Exchange],
    leaves: Exchange | None,
    scale: float,
    beside: Sequence[Exchange | None] = (),
) -> tuple[list[Layer], Exchange]:
    """Tie layers one after the other, and say what the mirror does to what leaves them.

    Args:
        layers: of a perceptron; arrays may have more dimensions in front.
        enters: what the mirror does to what enters the first.
        leaves: what it does to what leaves the last; None: that is a hidden layer too.
        scale: what weights are multiplied by.
        beside: what it does to what enters the first layers besides.
    """
    (flow,) = enters
    done = []
    for place, layer in enumerate(layers):
        if place < len(beside) and (more := beside[place]) is not None:
            flow = _beside(flow, more)
        width = layer["weight"].shape[-1]
        after = leaves if leaves is not None and place == len(layers) - 1 else _halves(width)
        tied = {name: _averaged(x, x[..., after.index] * after.sign) for name, x in layer.items()}
        weight = layer["weight"]
        image = (weight[..., flow.index, :] * flow.sign[:, None])[..., after.index] * after.sign
        done.append(tied | {"weight": scale * _averaged(weight, image)})
        flow = after
    return done, flow


def _averaged(x: jax.Array, image: jax.Array) -> jax.Array:
    return (x + image) / 2


def _halves(width: int) -> Exchange:
    return Exchange(np.roll(np.arange(width), width // 2), np.ones(width, np.float32))


def _beside(first: Exchange, second: Exchange) -> Exchange:
    size = first.index.shape[0]
    return Exchange(jnp.concatenate([first.index, size + second.index]), jnp.concatenate([first.sign, second.sign]))


def check_paired_units(policy: PolicySettings) -> None:
    """Make sure that the units of tied networks can form pairs.

    Raises:
        ValueError: a layer has an odd number of units.
    """
    for name in ("trunk", "actor", "critic"):
        widths = getattr(policy, name)
        if any(width % 2 for width in widths):
            raise ValueError(
                f"policy.{name} = {list(widths)}: tied networks have an even number of units in each layer"
            )
