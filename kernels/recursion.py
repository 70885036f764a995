"""The kernel recursion on one tile, in JAX: squared distances and the NTK, layer by layer.

The state behind a layer holds D = E[(u - v)^2], S = E[(u + v)^2] and Theta for every pair of a sample of the
first batch and one of the second, and the variances q1, q2. Its layout is one of
    flat      [n1, n2]            behind Flatten or GlobalAvgPool, or for inputs [n, d];
    diagonal  [n1, n2, *shape]    positions p = p' only: all that Flatten needs, unless a pooling comes first;
    pairs     [n1, n2, *shape, *shape]   every position of the first with every position of the second.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from haarflow.kernels.architecture import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Residual,
)
from haarflow.kernels.duals import DUALS

__all__ = [
    "Spreads",
    "State",
    "distances",
    "finish",
    "flat_state",
    "layout",
    "pools_before_a_nonlinearity",
    "run",
]


class State(NamedTuple):
    """What is known behind a layer; q1, q2 have the tile's rank, with size 1 along the other's axes."""

    D: Array
    S: Array
    theta: Array
    q1: Array
    q2: Array
    rank: int  # number of spatial axes of one sample, 0 when flat
    paired: bool  # pairs layout


def _arrays(state: State) -> tuple[Array, ...]:
    return state.D, state.S, state.theta, state.q1, state.q2


def _with_arrays(state: State, arrays: Sequence[Array]) -> State:
    D, S, theta, q1, q2 = arrays
    return State(D, S, theta, q1, q2, state.rank, state.paired)


class Spreads(NamedTuple):
    """Per pooling layer, mean over window pairs of E[(u_p - u_p')^2] within one sample, tile-shaped."""

    first: tuple[Array, ...]
    second: tuple[Array, ...]


def layout(layers: tuple[Layer, ...], rank: int) -> str:
    """Return "flat", "diagonal" or "pairs": the cheapest layout that the network's poolings allow."""
    if rank == 0 or isinstance(layers[0], Flatten):
        return "flat"
    for layer in layers:
        if isinstance(layer, Flatten):
            return "diagonal"
        if layer.kind in ("pool", "collapse"):
            return "pairs"
    raise ValueError("the network never removes the spatial axes")


def flat_state(D: Array, S: Array, q1: Array, q2: Array) -> State:
    """Begin from flat inputs' squared distances D, S [n1, n2] and variances q1 [n1], q2 [n2]."""
    return State(D, S, jnp.zeros_like(D), q1[:, None], q2[None, :], 0, False)


def distances(x1: Array, x2: Array, paired: bool) -> State:
    """Begin from images x1 [n1, *shape, C], x2 [n2, *shape, C]; D comes from differences, never from a Gram."""
    rank, channels = x1.ndim - 2, x1.shape[-1]
    between = tuple(range(2, 2 + rank)) if paired else ()
    a = jnp.expand_dims(x1, (1, *(axis + rank for axis in between)))
    b = jnp.expand_dims(x2, (0, *between))

    def mean_square(term: Array) -> Array:
        return jnp.sum(term**2, axis=-1) / channels

    # A loop over channels keeps the [.., C] differences from ever being formed.
    D: Array | float = 0.0
    S: Array | float = 0.0
    for c in range(channels):
        D = D + (a[..., c] - b[..., c]) ** 2
        S = S + (a[..., c] + b[..., c]) ** 2
    D, S = jnp.asarray(D) / channels, jnp.asarray(S) / channels
    return State(D, S, jnp.zeros_like(D), mean_square(a), mean_square(b), rank, paired)


def _linear(layer: Dense | Conv, state: State) -> State:
    if isinstance(layer, Conv):
        state = _box(layer, state)
    weight, bias = layer.W_std**2, layer.b_std**2
    D, S = weight * state.D, weight * state.S + 4 * bias
    theta = weight * state.theta + (S - D) / 4
    return state._replace(D=D, S=S, theta=theta, q1=weight * state.q1 + bias, q2=weight * state.q2 + bias)


def _box(layer: Conv, state: State) -> State:
    """Average over the filter's offsets, applied to p and p' together."""
    first, second = (2, 3), ((4, 5) if state.paired else (2, 3))
    joint = (2, 3, 4, 5) if state.paired else (2, 3)
    axes = (joint, joint, joint, first, second)
    values: Sequence[Array] = _arrays(state)
    if layer.size > 1:
        values = [_pad(layer, part, along) for part, along in zip(values, axes, strict=True)]
        if layer.padding == "SAME" and state.paired:
            # Where one of the two positions lies outside, u - v is the other one alone.
            outside1 = 1 - _pad(layer, jnp.ones_like(state.q1[:1]), first)
            outside2 = 1 - _pad(layer, jnp.ones_like(state.q2[:, :1]), second)
            rim = values[3] * outside2 + outside1 * values[4]
            values = (values[0] + rim, values[1] + rim, *values[2:])
    return _with_arrays(state, [_mean(layer, part, along) for part, along in zip(values, axes, strict=True)])


def _pad(layer: Conv, values: Array, axes: tuple[int, ...]) -> Array:
    radius = layer.size // 2
    widths = [(radius, radius) if axis in axes else (0, 0) for axis in range(values.ndim)]
    return jnp.pad(values, widths, mode="wrap" if layer.padding == "CIRCULAR" else "constant")


def _mean(layer: Conv, values: Array, axes: tuple[int, ...]) -> Array:
    """Average displaced copies; `axes` are the image axes of p, or of p and p'."""
    radius = layer.size // 2
    vertical, horizontal = axes[::2], axes[1::2]

    def displaced(part: Array, along: tuple[int, ...], step: int) -> Array:
        for axis in along:
            start = radius + step
            part = jax.lax.slice_in_dim(part, start, start + part.shape[axis] - 2 * radius, axis=axis)
        return part

    if len(layer.offsets) == layer.size**2:  # the full square: one axis after the other
        for along in (vertical, horizontal):
            values = sum((displaced(values, along, step) for step in range(-radius, radius + 1)), jnp.zeros(()))
    else:
        values = sum(
            (displaced(displaced(values, vertical, dy), horizontal, dx) for dy, dx in layer.offsets),
            jnp.zeros(()),
        )
    return values / len(layer.offsets)


def _window_mean(values: Array, axes: tuple[int, ...], size: int) -> Array:
    # Descending, so that splitting an axis leaves the earlier ones in place.
    for axis in sorted(axes, reverse=True):
        shape = values.shape
        split = (*shape[:axis], shape[axis] // size, size, *shape[axis + 1 :])
        values = values.reshape(split).mean(axis=axis + 1)
    return values


def _pool(layer: Layer, state: State, spreads: Spreads | None, seen: list[Array]) -> State:
    """Average over windows (AvgPool) or the whole image (GlobalAvgPool), in p and p' independently."""
    rank = state.rank
    first = tuple(range(2, 2 + rank))
    second = tuple(range(2 + rank, 2 + 2 * rank))
    whole = isinstance(layer, GlobalAvgPool)

    def mean(values: Array, axes: tuple[int, ...]) -> Array:
        present = tuple(axis for axis in axes if values.shape[axis] > 1)
        if isinstance(layer, AvgPool):
            return _window_mean(values, present, layer.size)
        return values.mean(axis=axes)

    joint = first + second
    D, S, theta = (mean(values, joint) for values in (state.D, state.S, state.theta))
    q1, q2 = mean(state.q1, joint), mean(state.q2, joint)
    if spreads is None:  # a sample with itself: its own spread stands on the diagonal p = p'
        own = _own_spread(D, 0 if whole else rank)
        seen.append(own)
        spread1 = spread2 = own
        if not whole:
            spread1 = jnp.expand_dims(own, second)
            spread2 = jnp.expand_dims(own, first)
    else:
        spread1, spread2 = spreads.first[len(seen)], spreads.second[len(seen)]
        seen.append(spread1)
    # The distance of two means: the mean distance less the mean spread within each (energy distance).
    within = (spread1 + spread2) / 2
    D, S = D - within, S - within
    q1, q2 = q1 - spread1 / 2, q2 - spread2 / 2
    # Two equal windows leave rounding noise, which a rectifier's square root would amplify.
    noise = 16 * jnp.finfo(D.dtype).eps * (q1 + q2 + within)
    D, S = jnp.where(noise > D, 0, D), jnp.where(noise > S, 0, S)
    return State(D, S, theta, q1, q2, 0 if whole else rank, not whole)


def _own_spread(D: Array, rank: int) -> Array:
    if rank == 0:
        return D
    shape = D.shape[2 : 2 + rank]
    size = 1
    for side in shape:
        size *= side
    square = D.reshape(*D.shape[:2], size, size)
    return jnp.diagonal(square, axis1=2, axis2=3).reshape(*D.shape[:2], *shape)


def _flatten(state: State) -> State:
    axes = tuple(range(2, 2 + state.rank))
    shape = state.D.shape[2 : 2 + state.rank]

    def mean(values: Array) -> Array:
        if state.paired:
            values = _own_spread(jnp.broadcast_to(values, (*values.shape[:2], *shape, *shape)), state.rank)
        return values.mean(axis=axes)

    return _with_arrays(state, [mean(values) for values in _arrays(state)])._replace(rank=0, paired=False)


def _walk(layers: tuple[Layer, ...], state: State, spreads: Spreads | None, seen: list[Array], needed: int) -> State:
    for layer in layers:
        if isinstance(layer, (Dense, Conv)):
            state = _linear(layer, state)
        elif type(layer) in DUALS:
            dual = DUALS[type(layer)]
            D, S, slope = dual.pair(layer, state.D, state.S, state.q1, state.q2)
            q1, q2 = dual.marginal(layer, state.q1), dual.marginal(layer, state.q2)
            state = state._replace(D=D, S=S, theta=state.theta * slope, q1=q1, q2=q2)
        elif isinstance(layer, Residual):
            branch = _walk(layer.branch, state, spreads, seen, needed)
            state = _with_arrays(state, [a + b for a, b in zip(_arrays(state), _arrays(branch), strict=True)])
        elif isinstance(layer, Flatten):
            state = _flatten(state) if state.rank else state
        elif len(seen) < needed:
            state = _pool(layer, state, spreads, seen)
        else:
            state = _plain_pool(layer, state)
    return state


def _plain_pool(layer: Layer, state: State) -> State:
    """Pool where no nonlinearity follows: K and Theta are all that is needed, variances are not."""
    zero = jnp.zeros_like(state.theta)
    spread = jnp.zeros((1, 1, *(1,) * (0 if isinstance(layer, GlobalAvgPool) else 2 * state.rank)), zero.dtype)
    return _pool(layer, state, Spreads((spread,), (spread,)), [])


def pools_before_a_nonlinearity(layers: tuple[Layer, ...]) -> int:
    """Count the poolings that a nonlinearity follows: behind them, variances and distances are needed."""
    count, pools = 0, 0
    for layer in layers:
        pools += isinstance(layer, (AvgPool, GlobalAvgPool))
        nonlinear = (layer, *layer.branch) if isinstance(layer, Residual) else (layer,)
        if any(type(part) in DUALS for part in nonlinear):
            count = pools
    return count


def run(layers: tuple[Layer, ...], x1: Array, x2: Array, paired: bool) -> tuple[Array, Array]:
    """Run the recursion on images and return K, Theta [n1, n2]."""
    needed = pools_before_a_nonlinearity(layers)
    spreads = Spreads((), ())
    if needed:
        first, second = _spreads(layers, x1, needed), _spreads(layers, x2, needed)
        rank = x1.ndim - 2
        spreads = Spreads(tuple(_tiled(s, 1, 0, rank) for s in first), tuple(_tiled(s, 0, rank, 0) for s in second))
    return finish(layers, distances(x1, x2, paired), spreads)


def finish(layers: tuple[Layer, ...], state: State, spreads: Spreads) -> tuple[Array, Array]:
    """Walk all layers from a state and return K, Theta [n1, n2]."""
    state = _walk(layers, state, spreads, [], len(spreads.first))
    return (state.S - state.D) / 4, state.theta


def _tiled(spread: Array, batch: int, before: int, after: int) -> Array:
    # [n, *shape] -> the tile's rank, with size 1 along the other sample's axes.
    shape = spread.shape[1:]
    if shape:
        spread = spread.reshape(spread.shape[0], *(1,) * before, *shape, *(1,) * after)
    return jnp.expand_dims(spread, batch)


def _spreads(layers: tuple[Layer, ...], x: Array, needed: int) -> list[Array]:
    """Return each pooling's spread within every sample [n, ...], from the sample's tile with itself."""

    def one(sample: Array) -> list[Array]:
        seen: list[Array] = []
        _walk(layers, distances(sample[None], sample[None], True), None, seen, needed)
        return [spread[0, 0] for spread in seen[:needed]]

    return jax.vmap(one)(x)
