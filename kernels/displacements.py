"""The recursion over all displacements: for each, an image of the kernel over positions, walked on its own.

Convolutions never mix displacements, poolings do: AvgPool(s) takes the pair (p, p + d) to windows that lie
floor(d / s) or one more apart. So each segment of the network is one loop over the displacements that what comes
behind it needs: all under GlobalAvgPool, none but 0 under Flatten.

The squared distance of two means is a difference of means (an energy distance), of which rounding is left where the
pooled values nearly coincide; a rectifier behind it takes the root of that. What is to be feared of it is told beside
the kernels, as a `Doubt`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from haarflow.kernels.architecture import AvgPool, GlobalAvgPool, Layer
from haarflow.kernels.duals import Distances
from haarflow.kernels.recursion import Marginal, Pair, Place, State, covariance, marginals, walk
from haarflow.kernels.schedule import Segment, schedule

__all__ = ["Doubt", "distances", "grids_of", "of_pairs", "run", "spreads"]

Fence = Callable[..., Any]


class Doubt(NamedTuple):
    """How well the poolings in front of a nonlinearity resolve a pair of images: errors relative to the kernels.

    Attributes
    ----------
    error : Array [I, J]
        Of the angles between their windows, where those exceed the rounding of the distances.
    largest : Array [I, J]
        What windows one displacement apart may add that coincide up to this rounding, at the displacement where that
        is most: where the images are copies of each other, all windows coincide at one.
    rest : Array [I, J]
        The same of all other displacements.
    """

    error: Array
    largest: Array
    rest: Array


class _Grid(NamedTuple):
    """The positions of one segment, and the displacements it needs along each axis."""

    shape: tuple[int, ...]
    needed: tuple[tuple[int, ...], ...]

    @property
    def alone(self) -> bool:
        """Whether p = p' is all that is needed."""
        return all(steps == (0,) for steps in self.needed)

    @property
    def displacements(self) -> np.ndarray:
        """All needed displacements [count, axes], the zero first."""
        combined = list(product(*self.needed))
        return np.array(combined, np.int32).reshape(len(combined), len(self.shape))


def grids_of(segments: Sequence[Segment], shape: tuple[int, ...]) -> list[_Grid]:
    """Return the positions and displacements of each segment, for samples of a spatial shape."""
    shapes = [shape]
    for segment in segments[:-1]:
        size = segment.pooling.size if isinstance(segment.pooling, AvgPool) else 0
        shapes.append(tuple(side // size for side in shapes[-1]) if size else ())
    grids: list[_Grid] = [_Grid((), ())]
    for segment, here in reversed(list(zip(segments[:-1], shapes, strict=False))):
        if isinstance(segment.pooling, AvgPool):
            size = segment.pooling.size
            # Windows that lie k apart hold positions from s k - s + 1 to s k + s - 1 apart.
            reach = range(1 - size, size)
            needed = tuple(
                tuple(sorted({(size * k + e) % side for k in steps for e in reach}))
                for steps, side in zip(grids[0].needed, here, strict=True)
            )
        elif isinstance(segment.pooling, GlobalAvgPool):
            needed = tuple(tuple(range(side)) for side in here)
        else:
            needed = ((0,),) * len(here)
        grids.insert(0, _Grid(here, needed))
    return grids


def distances(x1: Array, x2: Array) -> State:
    """Begin from images [*positions, C, ...] whose last axes broadcast; D comes from differences, never a Gram."""
    rank = x1.ndim - 3
    channels = x1.shape[rank]
    D: Array | float = 0.0
    S: Array | float = 0.0
    for c in range(channels):  # so that differences of all channels are never formed at once
        a, b = lax.index_in_dim(x1, c, rank, False), lax.index_in_dim(x2, c, rank, False)
        D, S = D + (a - b) ** 2, S + (a + b) ** 2
    return State(Distances(jnp.asarray(D) / channels, jnp.asarray(S) / channels))


def run(
    segments: tuple[Segment, ...], x1: Array, x2: Array, spread: tuple[Sequence[Array], Sequence[Array]], fence: Fence
) -> tuple[Array, Array, Doubt | None]:
    """Run the recursion on images.

    Parameters
    ----------
    segments : tuple of Segment
        The network.
    x1, x2 : Array [*positions, C, I, 1], [*positions, C, 1, J]
        Samples last; or both [*positions, C, 1, B] for B pairs.
    spread : (sequence of Array, sequence of Array)
        Of both, as `spreads` returns them.
    fence : callable
        fence(f, *arrays) = f(*arrays), keeping the compiler from merging f with what surrounds it.

    Returns
    -------
    Array, Array [I, J]
        K and Theta.
    Doubt or None
        None where no nonlinearity follows a pooling.
    """
    return _run(segments, x1, x2, spread, fence, [])


def of_pairs(layers: tuple[Layer, ...], x1: Array, x2: Array, fence: Fence) -> tuple[Array, Array, Doubt | None]:
    """Return what `run` does, [B] each, of aligned samples [*positions, C, B], or of one [*positions, C, 1] with B."""
    x1, x2 = x1[..., None, :], x2[..., None, :]
    segments = schedule(layers, x1.ndim - 3)
    spread = (spreads(segments, x1, fence), spreads(segments, x2, fence))
    found: tuple[Array, Array, Doubt | None] = jax.tree.map(lambda part: part[0], run(segments, x1, x2, spread, fence))
    return found


def spreads(segments: tuple[Segment, ...], x: Array, fence: Fence) -> list[Array]:
    """Return, for each pooling that a nonlinearity follows, the mean of E[(u_p - u_p')^2] inside its windows.

    x is [*positions, C, 1, B]; the spreads are [*windows, 1, B].
    """
    found: list[Array] = []
    if any(segment.distances for segment in segments):
        _run(segments, x, x, None, fence, found)
    return found


def _run(
    segments: tuple[Segment, ...],
    x1: Array,
    x2: Array,
    spread: tuple[Sequence[Array], Sequence[Array]] | None,
    fence: Fence,
    found: list[Array],
) -> tuple[Array, Array, Doubt | None]:
    rank = x1.ndim - 3
    grids = grids_of(segments, x1.shape[:rank])
    variances: Pair = (jnp.mean(x1 * x1, axis=rank), jnp.mean(x2 * x2, axis=rank))
    begin: Callable[[Any, Array], State] = lambda at, second: distances(x1, second)  # noqa: E731
    moving: Any = x2
    doubt: Doubt | None = None
    for k, (segment, grid) in enumerate(zip(segments, grids, strict=True)):
        tapes, ends = zip(*(marginals(segment.units, q) for q in variances), strict=True)
        walked = partial(_walked, segment, grid, begin, variances, tapes, ends, moving, fence)
        if segment.pooling is None:
            state, ends = walked(None, jnp.zeros((), int))
            theta = state.theta
            assert theta is not None
            return covariance(state, *ends), theta, doubt
        pooled = _pooled(segment, grid, grids[k + 1], walked, fence)
        averaged = (_window_mean(segment, ends[0], len(grid.shape)), _window_mean(segment, ends[1], len(grid.shape)))
        if not segment.distances:
            begin, moving, variances = partial(_plain, pooled), None, averaged
            continue
        if spread is None:
            assert pooled.apart is not None
            own = (pooled.apart.D[0], pooled.apart.D[0])
            found.append(own[0])
        else:
            number = sum(s.distances for s in segments[:k])
            own = (spread[0][number], spread[1][number])
        variances = (averaged[0] - own[0] / 2, averaged[1] - own[1] / 2)
        begin, moving = partial(_apart, pooled, own[0]), own[1]
        if spread is not None:
            more = _doubt(pooled, grids[k + 1], (variances[0], own[0]), (variances[1], own[1]), fence)
            doubt = more if doubt is None else jax.tree.map(jnp.add, doubt, more)
    raise AssertionError("a network ends in a segment without pooling")


def _plain(pooled: State, slot: Array, _: Any) -> State:
    return jax.tree.map(lambda part: part[slot], pooled)


def _apart(pooled: State, spread1: Array, slot: Array, spread2: Array) -> State:
    """Turn pooled distances into those of the means: less the mean spread within each (an energy distance)."""
    state = _plain(pooled, slot, None)
    within = (spread1 + spread2) / 2

    def clean(total: Array) -> Array:
        # Two equal windows leave rounding noise, which a rectifier's square root would amplify.
        return jnp.where(_noise(total + within) > total - within, 0, total - within)

    return state._replace(apart=jax.tree.map(clean, state.apart))


def _noise(scale: Array) -> Array:
    """Return what rounding may leave of a difference of distances."""
    return 16 * jnp.finfo(scale.dtype).eps * scale


def _doubt(pooled: State, grid: _Grid, first: Pair, second: Pair, fence: Fence) -> Doubt:
    """Return what rounding makes of the angles between pooled values, from both samples' variances and spreads."""
    q1, spread1 = first
    axes = tuple(range(len(grid.shape)))

    def look(slot: Array, q2: Array, spread2: Array, apart: Distances) -> tuple[Array, Array, Array]:
        within = (spread1 + spread2) / 2
        gap, size = (jnp.sqrt(q1) - jnp.sqrt(q2)) ** 2, jnp.sqrt(q1 * q2)
        # Constant windows are as exact as single positions.
        cancels = (within > jnp.finfo(q1.dtype).eps ** 2 * (q1 + q2)) & (size > 0)
        error, blur = jnp.zeros_like(within), jnp.zeros_like(within)
        for total in jax.tree.leaves(apart):
            near = total[slot] - within - gap
            noise = _noise(total[slot] + within + jnp.abs(q1 - q2))
            clear = near > noise
            # The angle is sqrt(near / size).
            error += jnp.where(cancels & clear, noise / 16 * jnp.sqrt(size / jnp.where(clear, near, 1)), 0)
            blur += jnp.where(cancels & ~clear, jnp.sqrt(noise * size), 0)
        return error.sum(axes), blur.sum(axes), size.sum(axes)

    def add(total: tuple[Array, ...], at: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        displacement, slot = at
        steps = tuple(displacement[axis] for axis in range(len(grid.shape)))
        moved = jax.tree.map(partial(_displaced, grid.shape, steps), second) if steps else second
        error, blur, size = fence(look, slot, *moved, pooled.apart)
        return (total[0] + error, jnp.maximum(total[1], blur), total[2] + blur, total[3] + size), None

    displacements = jnp.asarray(grid.displacements)
    shape = jnp.broadcast_shapes(q1.shape, second[0].shape)[len(axes) :]
    start = tuple(jnp.zeros(shape, q1.dtype) for _ in range(4))
    error, largest, blur, size = lax.scan(add, start, (displacements, jnp.arange(len(displacements))))[0]
    whole = jnp.where(size > 0, size, 1)
    return Doubt(error / whole, largest / whole, (blur - largest) / whole)


def _walked(
    segment: Segment,
    grid: _Grid,
    begin: Callable[[Any, Any], State],
    variances: Pair,
    tapes: tuple[list[Marginal], list[Marginal]],
    ends: Pair,
    moving: Any,
    fence: Fence,
    displacement: Array | None,
    slot: Array,
) -> tuple[State, Pair]:
    """Walk one displacement (None: p = p') through the segment."""
    tape2, q2, end2 = tapes[1], variances[1], ends[1]
    steps = None
    if displacement is not None:
        steps = tuple(displacement[axis] for axis in range(len(grid.shape)))
        moving, tape2, q2, end2 = jax.tree.map(partial(_displaced, grid.shape, steps), (moving, tape2, q2, end2))
    place = Place(steps, fence if grid.shape else _together)
    state, _ = walk(
        segment.units, begin(slot, moving), (variances[0], q2), iter(zip(tapes[0], tape2, strict=True)), place
    )
    return state, (ends[0], end2)


def _together(f: Callable[..., Any], *arrays: Any) -> Any:
    return f(*arrays)


def _displaced(shape: tuple[int, ...], steps: tuple[Array, ...], values: Array) -> Array:
    """Return values[p + d], positions modulo the sides."""
    twice = jnp.tile(values, (2,) * len(shape) + (1,) * (values.ndim - len(shape)))
    start = (*steps, *(jnp.zeros_like(steps[0]),) * (values.ndim - len(shape)))
    return lax.dynamic_slice(twice, start, (*shape, *values.shape[len(shape) :]))


def _pooled(
    segment: Segment,
    grid: _Grid,
    behind: _Grid,
    walked: Callable[[Array | None, Array], tuple[State, Pair]],
    fence: Fence,
) -> State:
    """Return what the pooling makes of all displacements, those needed behind it along the first axis."""

    def kept(state: State, ends: Pair) -> State:
        if segment.distances:
            return state
        return State(None, covariance(state, *ends), state.theta)

    def contribution(displacement: Array | None, slot: Array) -> State:
        return fence(kept, *walked(displacement, slot))

    axes = tuple(range(len(grid.shape)))
    if not isinstance(segment.pooling, AvgPool):
        count = int(np.prod(grid.shape))
        if grid.alone:
            state = contribution(None, jnp.zeros((), int))
            return jax.tree.map(lambda part: part.mean(axes)[None], state)

        def add(total: State, at: tuple[Array, Array]) -> State:
            part = fence(lambda state: jax.tree.map(lambda v: v.sum(axes), state), contribution(*at))
            return jax.tree.map(jnp.add, total, part)

        whole = _looped(add, grid, lambda shape: shape[len(axes) :], contribution)
        return jax.tree.map(lambda total: total[None] / count**2, whole)
    windows = _Windows(segment.pooling.size, grid, behind)

    def spread_out(total: State, at: tuple[Array, Array]) -> State:
        parts = fence(lambda state: jax.tree.map(partial(windows.sums, at[0]), state), contribution(*at))
        return jax.tree.map(partial(windows.add, at[0]), total, parts)

    return jax.tree.map(lambda total: total[:-1], _looped(spread_out, grid, windows.result, contribution))


def _looped(
    add: Callable[[State, tuple[Array, Array]], State],
    grid: _Grid,
    result: Callable[[tuple[int, ...]], tuple[int, ...]],
    contribution: Callable[[Array | None, Array], State],
) -> State:
    """Add up over the grid's displacements; `result` tells a total's shape from a contribution's."""
    displacements = jnp.asarray(grid.displacements)
    slots = jnp.arange(len(grid.displacements))
    form = jax.eval_shape(contribution, displacements[0], slots[0])
    start = jax.tree.map(lambda part: jnp.zeros(result(part.shape), part.dtype), form)
    # Checkpointed: derivatives would otherwise keep every displacement's arrays.
    step = jax.checkpoint(lambda total, at: (add(total, at), None))
    return lax.scan(step, start, (displacements, slots))[0]


class _Windows(NamedTuple):
    """Where AvgPool takes a displacement's positions."""

    size: int
    grid: _Grid
    behind: _Grid

    def result(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of all pooled displacements that are needed behind, and one more slot for the others."""
        return (len(self.behind.displacements) + 1, *self.behind.shape, *shape[len(self.grid.shape) :])

    def sums(self, displacement: Array, image: Array) -> list[Array]:
        """Return the window means, split along each axis by how far apart the two windows lie: 2^axes parts."""
        parts = [image / self.size ** (2 * len(self.grid.shape))]
        for axis in range(len(self.grid.shape)):
            # p = s P + a and p' = p + d lie floor(d / s) windows apart, or one more where a + d mod s reaches s.
            near = jnp.arange(self.size) + displacement[axis] % self.size < self.size
            parts = [self._split(part, axis, which) for part in parts for which in (near, ~near)]
        return parts

    def _split(self, part: Array, axis: int, which: Array) -> Array:
        split = part.reshape(*part.shape[:axis], -1, self.size, *part.shape[axis + 1 :])
        chosen = which.reshape(self.size, *(1,) * (split.ndim - axis - 2))
        return jnp.where(chosen, split, 0).sum(axis + 1)

    def add(self, displacement: Array, total: Array, parts: list[Array]) -> Array:
        """Add the parts to the displacements of windows that they belong to."""
        slots = np.full(self.behind.shape, len(self.behind.displacements), np.int32)
        slots[tuple(self.behind.displacements.T)] = np.arange(len(self.behind.displacements))
        for part, more in zip(parts, product((0, 1), repeat=len(self.grid.shape)), strict=True):
            apart = tuple(
                (displacement[axis] // self.size + more[axis]) % self.behind.shape[axis] for axis in range(len(more))
            )
            total = total.at[jnp.asarray(slots)[apart]].add(part)
        return total


def _window_mean(segment: Segment, q: Array, rank: int) -> Array:
    """Average variances [*positions, ...] over the pooling's windows."""
    if not isinstance(segment.pooling, AvgPool):
        return q.mean(axis=tuple(range(rank)))
    for axis in range(rank):
        q = q.reshape(*q.shape[:axis], -1, segment.pooling.size, *q.shape[axis + 1 :]).mean(axis=axis + 1)
    return q
