"""Kernels of inner products: BLAS Gram tiles of unit vectors, and the recursion elementwise behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from haarflow.kernels.architecture import Layer
from haarflow.kernels.backend import compiled, precision
from haarflow.kernels.duals import Distances
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.recursion import Place, State, covariance, marginals, walk
from haarflow.kernels.schedule import schedule
from haarflow.kernels.tiling import Report, Tile, few_sizes, filled, in_tiles, power_of_two

__all__ = [
    "SMALL_SIDE",
    "Vectors",
    "flat_angles",
    "flat_gram",
    "of_distances",
    "of_products",
    "of_states",
    "prepare_vectors",
]

# Sides of a tile: large for BLAS, small for a core's cache; and of those for fewer samples, or for the rest of many.
# There are no others, since each would be compiled for.
_SIDE, _MIDDLE_SIDE, SMALL_SIDE = 512, 256, 64
# Numbers of the differences of close pairs that are held at a time.
_CLOSE = 2**19
# Numbers at relative positions that are evaluated at a time, at least.
_FEWEST = 2**12


@dataclass(frozen=True)
class Vectors:
    """Flat samples by direction and size.

    Attributes
    ----------
    unit : array [n, d]
        Samples of norm 1; the zero sample stays.
    q : array [n]
        Mean squares |x|^2 / d of the samples themselves.
    """

    unit: np.ndarray
    q: np.ndarray

    def __len__(self) -> int:
        return len(self.unit)

    def __getitem__(self, some: slice | np.ndarray) -> "Vectors":
        return Vectors(self.unit[some], self.q[some])


Pairs = Callable[[np.ndarray, np.ndarray], tuple[Vectors, Vectors]]


def prepare_vectors(x: np.ndarray) -> Vectors:
    """Normalise samples [n, ...]."""
    x = x.reshape(len(x), -1)
    q = (np.einsum("ij,ij->i", x, x, dtype=np.float64) / x.shape[1]).astype(x.dtype)
    norm = np.sqrt(q) * np.asarray(x.shape[1] ** 0.5, x.dtype)
    return Vectors(x / np.where(norm > 0, norm, 1)[:, None], q)


def of_states(layers: tuple[Layer, ...], apart: Distances, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Run the recursion from distances and variances of flat inputs, all of shapes that broadcast."""
    (segment,) = schedule(layers, 0)
    (tape1, end1), (tape2, end2) = (marginals(segment.units, q) for q in (q1, q2))
    place = Place(None, lambda f, *arrays: f(*arrays), angles=apart.near is not None)
    state, _ = walk(segment.units, State(apart), (q1, q2), iter(zip(tape1, tape2, strict=True)), place)
    assert state.theta is not None
    return covariance(state, end1, end2), state.theta


@compiled
def _of_distances(layers: tuple[Layer, ...], apart: Distances, q1: Array, q2: Array) -> tuple[Array, Array]:
    return of_states(layers, apart, q1, q2)


def _of_cosines(layers: tuple[Layer, ...], c: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    size = 2 * jnp.sqrt(q1) * jnp.sqrt(q2)
    return of_states(layers, Distances(near=size * (1 - c), far=size * (1 + c)), q1, q2)


_products_tile = compiled(_of_cosines)


@compiled
def _vectors_tile(layers: tuple[Layer, ...], u1: Array, u2: Array, q1: Array, q2: Array) -> tuple[Array, ...]:
    # HIGHEST: a GPU would round float32 to 10 bits.
    c = jnp.matmul(u1, u2.T, precision=lax.Precision.HIGHEST)
    close = jnp.abs(c) >= _edge(c.dtype)
    return *_of_cosines(layers, c, q1[:, None], q2[None]), close, jnp.any(close)


def flat_gram(
    layers: tuple[Layer, ...], first: Vectors, second: Vectors, symmetric: bool, report: Report | None = None
) -> KernelPair:
    """Return K and Theta [n1, n2] of flat samples.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    first, second : Vectors
        Prepared samples.
    symmetric : bool
        Whether they are the same, so that half is evaluated.
    report : callable, optional
        As in `in_tiles`.
    """
    dtype = first.unit.dtype
    sides = (_side(len(first)), _side(len(second)))

    def blocks(part: Vectors, side: int) -> list[tuple[Array, Array]]:
        parts = (part[i : i + side] for i in range(0, len(part), side))
        return [(jnp.asarray(filled(some.unit, side)), jnp.asarray(filled(some.q, side))) for some in parts]

    with precision(dtype):  # each block is taken to the device once, not once for every tile
        left = blocks(first, sides[0])
        right = left if symmetric else blocks(second, sides[1])

    def evaluate(rows: slice, columns: slice) -> Tile:
        a, b = first[rows], second[columns]
        (u1, q1), (u2, q2) = left[rows.start // sides[0]], right[columns.start // sides[1]]
        with precision(dtype):
            *values, close, some = (np.asarray(part) for part in _vectors_tile(layers, u1, u2, q1, q2))
        if not some:
            return Tile(tuple(values))
        i, j = np.nonzero(close[: len(a), : len(b)])
        return _mended(layers, values, i, j, lambda i, j: (a[i], b[j]))

    return in_tiles(evaluate, len(first), len(second), sides, symmetric, dtype.name, report)


def _side(n: int) -> int:
    """Return a tile's side: the largest of three by which little is filled up."""
    least = -(-n // SMALL_SIDE) * SMALL_SIDE
    return next(side for side in (_SIDE, _MIDDLE_SIDE, SMALL_SIDE) if -(-n // side) * side < 1.1 * least)


def of_products(
    layers: tuple[Layer, ...],
    c: np.ndarray,
    q1: np.ndarray,
    q2: np.ndarray,
    samples: Pairs,
) -> Tile:
    """Return K and Theta from the cosines of pairs.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    c : array [I, J]
        Inner products of unit vectors, with the rounding of a BLAS or Fourier transform.
    q1, q2 : array [I, 1]
        Mean squares of both samples of each pair.
    samples : callable
        (i, j) -> both samples, Vectors, of the pairs c[i, j], j ascending, asked for where they are close: there
        distances come from differences, since those of a Gram matrix carry its rounding into the angle.
    """
    with precision(c.dtype):
        values = tuple(np.asarray(part) for part in _products_tile(layers, c, q1, q2))
    edge = _edge(c.dtype)
    if c.max(initial=-1.0) < edge and c.min(initial=1.0) > -edge:  # two cheap passes rule most tiles out
        return Tile(values)
    j, i = np.nonzero((np.abs(c) >= edge).T)
    return _mended(layers, values, i, j, samples)


def _mended(
    layers: tuple[Layer, ...], values: Sequence[np.ndarray], rows: np.ndarray, columns: np.ndarray, samples: Pairs
) -> Tile:
    """Evaluate close pairs from differences of the samples."""
    parts: list[KernelPair] = []
    step = 1
    for start in iter(lambda: sum(len(part.ntk) for part in parts), len(rows)):
        a, b = samples(rows[start : start + step], columns[start : start + step])
        step = max(1, _CLOSE // a.unit.shape[1])
        parts.append(_of_close(layers, a, b))
    return Tile(tuple(values), rows, columns, [np.concatenate([part[k] for part in parts]) for k in range(2)])


def _of_close(layers: tuple[Layer, ...], a: Vectors, b: Vectors) -> KernelPair:
    """Return K and Theta [pairs] of aligned samples from the differences of their directions."""
    return of_distances(layers, _apart(a, b), a.q, b.q)


def _apart(a: Vectors, b: Vectors) -> Distances:
    """Return the distances of aligned samples [pairs]; rounding shifts the angle between them by eps."""
    s1, s2 = np.sqrt(a.q), np.sqrt(b.q)
    near, far = (s1 * s2 * np.einsum("ij,ij->i", part, part) for part in (a.unit - b.unit, a.unit + b.unit))
    return Distances(near=near, far=far)


def of_distances(layers: tuple[Layer, ...], apart: Distances, q1: np.ndarray, q2: np.ndarray) -> KernelPair:
    """Return K and Theta from distances and variances of shapes that broadcast."""
    shape = np.broadcast_shapes(*(part.shape for part in jax.tree.leaves(apart)), q1.shape)
    row = int(np.prod(shape[1:]))
    count = few_sizes(len(q1), SMALL_SIDE if row == 1 else power_of_two(_FEWEST / row))
    pair = KernelPair(*(np.empty(shape, q1.dtype) for _ in range(2)))
    for start in range(0, len(q1), count):
        some = slice(start, start + count)
        parts = jax.tree.map(lambda part, some=some: filled(part[some], count), (apart, q1, q2))
        with precision(q1.dtype):
            found = _of_distances(layers, *parts)
            for whole, part in zip(pair, found, strict=True):
                whole[some] = np.asarray(part)[: len(whole[some])]
    return pair


def flat_angles(a: Vectors, b: Vectors) -> Distances:
    """Return near and far [n1, n2] of all pairs, close ones from their differences."""
    c = a.unit @ b.unit.T
    size = 2 * np.sqrt(a.q)[:, None] * np.sqrt(b.q)
    near, far = size * (1 - c), size * (1 + c)
    rows, columns = np.nonzero(np.abs(c) >= _edge(c.dtype))
    step = max(1, _CLOSE // a.unit.shape[1])
    for start in range(0, len(rows), step):
        i, j = rows[start : start + step], columns[start : start + step]
        apart = _apart(a[i], b[j])
        near[i, j], far[i, j] = apart.near, apart.far
    return Distances(near=near, far=far)


def _edge(dtype: np.dtype) -> float:
    # A product's rounding, eps, is an error of eps / theta in the angle: beyond this cosine more than 1e-13, in
    # float32 more than 1e-6.
    angle = 2.0**-8 if dtype == np.float64 else 2.0**-3
    return 1 - angle**2 / 2
