"""A network of finite width: which parameters it has, and how they are drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import numpy as np

from haarflow.kernels import Conv, Dense, Flatten, Residual, Sequential
from haarflow.kernels.architecture import Layer

__all__ = ["LinearPlace", "Network", "Offsets", "initial_parameters"]

Offsets = tuple[tuple[int, int], ...]
# Members draw from a stream of their own: data sets take the seeds of theirs from another.
_STREAM = 101


@dataclass(frozen=True)
class LinearPlace:
    """A linear layer with the widths on both its sides.

    Attributes
    ----------
    layer : Dense or Conv
        The layer.
    spatial : tuple of int
        Spatial axes of what it sees; for Dense behind Flatten those that were flattened, else none.
    inputs, outputs : int
        Channels on both sides; for Dense behind Flatten the flattened ones.
    flattened : int
        Channels at each position before Flatten, 0 where there was none.
    """

    layer: Dense | Conv
    spatial: tuple[int, ...]
    inputs: int
    outputs: int
    flattened: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights: Dense [in, out], Conv [offsets, in, out]."""
        if isinstance(self.layer, Conv):
            return (len(self.layer.offsets), self.inputs, self.outputs)
        return (self.inputs, self.outputs)

    @property
    def fan_in(self) -> int:
        """Weights that one output sums over."""
        return prod(self.shape[:-1])


@dataclass(frozen=True)
class Network:
    """An architecture at finite width.

    Parameters
    ----------
    architecture : Sequential
        Its layers.
    width : int
        Channels of every hidden layer.
    sample_shape : tuple of int
        Of one sample: spatial axes, then channels.
    outputs : int
        k, of the read-out.
    """

    architecture: Sequential
    width: int
    sample_shape: tuple[int, ...]
    outputs: int

    @cached_property
    def places(self) -> tuple[LinearPlace, ...]:
        """Its linear layers, in the order in which they have parameters; a Residual's branch in its place."""
        return tuple(_walk(self))

    @cached_property
    def parameters(self) -> int:
        """How many numbers one member is."""
        return sum(prod(place.shape) + place.outputs * (place.layer.b_std > 0) for place in self.places)


def _walk(network: Network) -> Iterator[LinearPlace]:
    spatial, channels = tuple(network.sample_shape[:-1]), network.sample_shape[-1]
    flattened: tuple[tuple[int, ...], int] = ((), 0)

    def linear(layers: Sequence[Layer], read_out: int | None) -> Iterator[LinearPlace]:
        nonlocal spatial, channels, flattened
        for position, layer in enumerate(layers):
            if isinstance(layer, Residual):
                yield from linear(layer.branch, None)
                continue
            if isinstance(layer, (Dense, Conv)):
                # By its position: the same layer may stand at several.
                out = network.outputs if position == read_out else network.width
                before = spatial if isinstance(layer, Conv) else flattened[0]
                yield LinearPlace(layer, before, channels, out, flattened[1] if isinstance(layer, Dense) else 0)
                channels, flattened = out, ((), 0)
            if isinstance(layer, Flatten):
                flattened = (spatial, channels)
                channels *= prod(spatial)
            spatial = layer.spatial_shape(spatial)

    yield from linear(network.architecture.layers, len(network.architecture.layers) - 1)


def initial_parameters(
    network: Network, seed: int, member: int, dtype: str | np.dtype = "float32", support: Offsets | None = None
) -> tuple[dict[str, np.ndarray], ...]:
    """Draw one member's parameters, N(0, 1) each.

    Parameters
    ----------
    network : Network
        Whose.
    seed, member : int
        Of the ensemble, and which of its members: each has a stream of its own, the same on every machine.
    dtype : {"float32", "float64"}
        Drawn in float64 and rounded.
    support : tuple of (dy, dx), optional
        Weights of filters outside these offsets begin at 0.

    Returns
    -------
    tuple of dict
        For each linear layer weights, [in, out] or [offsets, in, out], and bias [out] where it has one.
    """
    rng = np.random.default_rng([_STREAM, seed, member])
    drawn = []
    for place in network.places:
        weights = rng.standard_normal(place.shape)
        if support is not None and isinstance(place.layer, Conv):
            weights[[offset not in support for offset in place.layer.offsets]] = 0.0
        layer = {"weights": weights.astype(dtype)}
        if place.layer.b_std > 0:
            layer["bias"] = rng.standard_normal(place.outputs).astype(dtype)
        drawn.append(layer)
    return tuple(drawn)


def check_parameters(network: Network, parameters: Any, name: str) -> None:
    """Refuse what are no parameters of a network, or not finite.

    Parameters
    ----------
    network : Network
        The network.
    parameters : tuple of dict
        Of one member.
    name : str
        Of the argument, for errors.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    wanted = tuple(
        ({"bias": (place.outputs,)} if place.layer.b_std > 0 else {}) | {"weights": place.shape}  # sorted, as found
        for place in network.places
    )
    found = jax.tree.map(np.shape, parameters)
    if found != wanted:
        raise ValueError(
            f"{name} must be the parameters of one member, a tuple of dicts of shapes {wanted}, found {found}"
        )
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)):
        raise ValueError(f"{name} must be finite, found NaN or inf")
