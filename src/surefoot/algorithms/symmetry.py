"""Use of a body's left-right symmetry in learning: one extension with four hooks, for all algorithms.

| kind     | hook      | effect                                                                           |
|----------|-----------|----------------------------------------------------------------------------------|
| augment  | `augment` | minibatches also hold mirror images (Mittal et al. 2024, arXiv 2403.04359)       |
| loss     | `loss`    | penalty on the asymmetry of the mean (Yu, Turk, Liu 2018, arXiv 1801.08093)      |
| averaged | `wrap`    | networks are averaged over an observation and its mirror image                   |
| tied     | `project` | weights are tied in pairs (van der Pol et al. 2020, arXiv 2006.16908)            |

Tied networks: the units of a hidden layer form two halves, and unit i of one half is the twin of unit i of the other.
For a mirrored observation, twins exchange their values. This holds if each layer's weights satisfy W = P W Q, where P
mirrors the layer's input and Q its output. The gradient (g + P g Q) / 2 is that of a batch together with its mirror
images. A step of Adam along it keeps the weights tied exactly, because Adam treats twins alike. A tied network costs as
much as any network of its size; an averaged one costs twice as much.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.algorithms.critics import Critics
from surefoot.policies.networks import ActorCritic, Layer, PolicySettings
from surefoot.policies.symmetry import Mirror, MirrorAveraged

Kind = Literal["none", "augment", "loss", "averaged", "tied"]
Network = TypeVar("Network", ActorCritic, Critics)

# Averaging two random draws halves their variance; this restores it.
INITIAL_SCALE = math.sqrt(2)


@functools.partial(jax.tree_util.register_dataclass, data_fields=("mirror",), meta_fields=("kind",))
@dataclasses.dataclass(frozen=True, eq=False)
class Symmetry:
    """Use of a task's symmetry by an algorithm: a pytree with a static kind.

    Attributes:
        kind: value of the setting `symmetry`.
        mirror: the task's symmetry; None only for "none".
    """

    kind: Kind = "none"
    mirror: Mirror | None = None

    @property
    def paired(self) -> Mirror | None:
        """The mirror if network inputs are pairs (..., 2, D), observations and mirror images; see `prepare`."""
        return self.mirror if self.kind in ("augment", "loss", "averaged") else None

    @property
    def averaged(self) -> Mirror | None:
        """The mirror if the policy is averaged over mirror images."""
        return self.mirror if self.kind == "averaged" else None

    @property
    def tied(self) -> Mirror | None:
        """The mirror if weights are tied."""
        return self.mirror if self.kind == "tied" else None

    def augment(self, batch: Any) -> Any:
        """Append the mirror images of M transitions to a batch, for "augment" and "loss".

        A batch is a NamedTuple. Its fields `observation` and `next_observation` hold pairs (M, 2, D), and `action` is
        mirrored. All other fields are repeated, old log-probabilities too: the mirrored policy gives the mirrored
        action the same probability. The `mask` is 0 for images that only the mirror loss uses.
        """
        if self.mirror is None or self.kind not in ("augment", "loss"):
            return batch
        fields = batch._asdict()
        images = fields.copy()
        for name in fields.keys() & {"observation", "next_observation"}:
            images[name] = fields[name][:, 1]
            fields[name] = fields[name][:, 0]
        images["action"] = self.mirror.action(batch.action)
        if self.kind == "loss":
            images["mask"] = jnp.zeros_like(batch.mask)
        return type(batch)(**{name: jnp.concatenate([fields[name], images[name]]) for name in fields})

    def loss(self, mean: jax.Array, weights: jax.Array) -> jax.Array:
        """Return the mirror loss, (): the mean square of net(M o) - M net(o), 0 without mirror images.

        `mean` (2 M, A) are means of the actions of an augmented batch, `weights` (M,) of sum 1 those of transitions.
        """
        if self.mirror is None or self.kind not in ("augment", "loss"):
            return jnp.zeros(())
        own, image = jnp.split(mean, 2)
        return jnp.square(image - self.mirror.action(own)).mean(-1) @ weights

    def wrap(self, network: ActorCritic) -> ActorCritic | MirrorAveraged:
        """Average a network over mirror images, for "averaged"."""
        return network if self.averaged is None else MirrorAveraged(network, self.averaged)

    def project(self, network: Network, weight_scale: float = 1.0) -> Network:
        """Tie the weights of networks, or their gradients, for "tied": average them with their mirror image.

        `weight_scale` is a factor on weights: `INITIAL_SCALE` for random ones.
        """
        if self.tied is None:
            return network
        tie: Any = _tie_critics if isinstance(network, Critics) else _tie_actor_critic
        return tie(network, self.tied, weight_scale)


NO_SYMMETRY = Symmetry()


def check_paired_units(policy: PolicySettings) -> None:
    """Check that the units of tied networks can form pairs; ValueError if a layer has an odd number."""
    for name in ("trunk", "actor", "critic"):
        widths = getattr(policy, name)
        if any(width % 2 for width in widths):
            raise ValueError(
                f"policy.{name} = {list(widths)}: tied networks have an even number of units in each layer"
            )


class Exchange(NamedTuple):
    """Effect of the mirror on a vector: value i becomes value `index[i]` times `sign[i]`, 1 or -1; both are (N,)."""

    index: Any
    sign: Any


_SAME = Exchange(np.zeros(1, int), np.ones(1, np.float32))


def _tie_actor_critic(network: ActorCritic, mirror: Mirror, scale: float) -> ActorCritic:
    observation = Exchange(mirror.observation_index, mirror.observation_sign)
    action = Exchange(mirror.action_index, mirror.action_sign)
    outputs = action
    if network.settings.std == "state_dependent":
        outputs = _beside(action, Exchange(action.index, jnp.ones_like(action.sign)))
    trunk, feature = _tie_layers(network.trunk, observation, None, scale)
    return dataclasses.replace(
        network,
        trunk=trunk,
        actor=_tie_layers(network.actor, feature, outputs, scale)[0],
        critic=_tie_layers(network.critic, feature, _SAME, scale)[0],
        log_std=(network.log_std + network.log_std[..., action.index]) / 2,
    )


def _tie_critics(critics: Critics, mirror: Mirror, scale: float) -> Critics:
    observation = Exchange(mirror.observation_index, mirror.observation_sign)
    action = Exchange(mirror.action_index, mirror.action_sign)
    beside = {"first": [action], "second": [None, action], "branch": []}[critics.action_layer]
    layers, _ = _tie_layers(critics.layers, observation, _SAME, scale, beside)
    branch, _ = _tie_layers(critics.branch, action, None, scale)
    return dataclasses.replace(critics, layers=layers, branch=branch)


def _tie_layers(
    layers: list[Layer],
    inputs: Exchange,
    outputs: Exchange | None,
    scale: float,
    beside: Sequence[Exchange | None] = (),
) -> tuple[list[Layer], Exchange]:
    """Tie the layers of a perceptron and return the mirror's effect on its output.

    Args:
        layers: the layers; arrays may have leading dimensions.
        inputs: effect of the mirror on the input of the first layer.
        outputs: its effect on the output of the last layer; None: that is a hidden layer.
        scale: factor on weights.
        beside: effect of the mirror on further inputs of the first layers.
    """
    tied_layers = []
    for index, layer in enumerate(layers):
        if index < len(beside) and (more := beside[index]) is not None:
            inputs = _beside(inputs, more)
        weight = layer["weight"]
        after = outputs if outputs is not None and index == len(layers) - 1 else _halves(weight.shape[-1])
        tied = {name: (x + x[..., after.index] * after.sign) / 2 for name, x in layer.items()}
        image = (weight[..., inputs.index, :] * inputs.sign[:, None])[..., after.index] * after.sign
        tied_layers.append(tied | {"weight": scale * ((weight + image) / 2)})
        inputs = after
    return tied_layers, inputs


def _halves(width: int) -> Exchange:
    return Exchange(np.roll(np.arange(width), width // 2), np.ones(width, np.float32))


def _beside(first: Exchange, second: Exchange) -> Exchange:
    size = first.index.shape[0]
    return Exchange(jnp.concatenate([first.index, size + second.index]), jnp.concatenate([first.sign, second.sign]))
