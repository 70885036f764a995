"""Kernels of inner products: BLAS Gram tiles of unit vectors, and the recursion elementwise behind them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from haarflow.kernels.architecture import Layer
from haarflow.kernels.backend import on_cpu, precision, to_numpy
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.recursion import Place, State, covariance, marginals, walk
from haarflow.kernels.schedule import schedule
from haarflow.kernels.tiling import filled, in_tiles, power_of_two

__all__ = ["Vectors", "flat_distances", "flat_gram", "of_distances", "of_products", "of_states", "prepare_vectors"]

# Sides of a tile, and numbers of one array that stay in a core's cache while the recursion passes over it.
_SIDE = 512
_CACHED = 2**14
# Close pairs whose differences are held at a time.
_CLOSE = 2**10


@dataclass(frozen=True)
class Vectors:
    """Flat samples with what is evaluated once for each.

    Attributes
    ----------
    x : array [n, d]
        Samples.
    unit : array [n, d]
        The same, of norm 1; the zero sample stays.
    q : array [n]
        Mean squares |x|^2 / d.
    """

    x: np.ndarray
    unit: np.ndarray
    q: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, some: slice) -> "Vectors":
        return Vectors(self.x[some], self.unit[some], self.q[some])


def prepare_vectors(x: np.ndarray) -> Vectors:
    """Normalise samples [n, ...]."""
    x = x.reshape(len(x), -1)
    q = np.einsum("ij,ij->i", x, x) / x.shape[1]
    norm = np.sqrt(q) * np.asarray(x.shape[1] ** 0.5, x.dtype)
    return Vectors(x, x / np.where(norm > 0, norm, 1)[:, None], q)


def of_states(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Run the recursion from distances and variances of flat inputs, all of shapes that broadcast."""
    (segment,) = schedule(layers, 0)
    (tape1, end1), (tape2, end2) = (marginals(segment.units, q) for q in (q1, q2))
    place = Place(None, lambda f, *arrays: f(*arrays))
    state, _ = walk(
        segment.units, State(D, S, None, None), (q1, q2), iter(zip(tape1, tape2, strict=True)), place
    )
    assert state.theta is not None
    return covariance(state, end1, end2), state.theta


@partial(jax.jit, static_argnums=0)
def _of_distances(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    return of_states(layers, D, S, q1, q2)


@partial(jax.jit, static_argnums=0)
def _of_cosines(layers: tuple[Layer, ...], c: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Return K, Theta [I, J] from cosines, rows at a time so that intermediate arrays stay in cache."""

    def rows(c: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        s1, s2 = jnp.sqrt(q1), jnp.sqrt(q2)
        gap, size = (s1 - s2) ** 2, 2 * s1 * s2
        return of_states(layers, gap + size * (1 - c), gap + size * (1 + c), q1, q2)

    height = max(1, min(len(c), _CACHED // c.shape[1]))
    if len(c) == height or not on_cpu():
        return rows(c, q1, q2)

    def blocks(part: Array) -> Array:
        return part.reshape(-1, height, *part.shape[1:])

    if len(q2) == len(c):
        K, theta = lax.map(lambda part: rows(*part), (blocks(c), blocks(q1), blocks(q2)))
    else:
        K, theta = lax.map(lambda part: rows(*part, q2), (blocks(c), blocks(q1)))
    return K.reshape(c.shape), theta.reshape(c.shape)


def flat_gram(layers: tuple[Layer, ...], first: Vectors, second: Vectors, symmetric: bool) -> KernelPair:
    """Return K and Theta [n1, n2] of flat samples.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    first, second : Vectors
        Prepared samples.
    symmetric : bool
        Whether they are the same, so that half is evaluated.
    """
    height, width = (min(_SIDE, power_of_two(len(part))) for part in (first, second))

    def evaluate(rows: slice, columns: slice) -> tuple[np.ndarray, ...]:
        a, b = first[rows], second[columns]
        c = np.zeros((height, width), a.x.dtype)
        np.matmul(a.unit, b.unit.T, out=c[: len(a), : len(b)])

        def samples(i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return a.x[i], b.x[j]

        return of_products(layers, c, filled(a.q, height)[:, None], filled(b.q, width)[None], samples)

    return in_tiles(evaluate, len(first), len(second), (height, width), symmetric, first.x.dtype.name)


def of_products(
    layers: tuple[Layer, ...],
    c: np.ndarray,
    q1: np.ndarray,
    q2: np.ndarray,
    samples: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return K and Theta from the cosines of pairs.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    c : array [I, J]
        Inner products of unit vectors, with the rounding of a BLAS or Fourier transform.
    q1, q2 : array [I, 1], [1, J] or [I, 1]
        Mean squares of both samples of each pair.
    samples : callable
        (i, j) -> both samples [pairs, d] of the pairs c[i, j], asked for where they are close: there distances
        come from differences, since those of a Gram matrix carry its rounding into the angle.

    Returns
    -------
    array, array [I, J]
        Perhaps read-only.
    """
    with precision(c.dtype):
        K, theta = (np.asarray(part) for part in _of_cosines(layers, c, q1, q2))
    edge = _edge(c.dtype)
    if c.max(initial=-1.0) < edge and c.min(initial=1.0) > -edge:  # two cheap passes rule most tiles out
        return K, theta
    rows, columns = np.nonzero(np.abs(c) >= edge)
    K, theta = K.copy(), theta.copy()
    q1, q2 = np.broadcast_to(q1, c.shape), np.broadcast_to(q2, c.shape)
    for start in range(0, len(rows), _CLOSE):
        i, j = rows[start : start + _CLOSE], columns[start : start + _CLOSE]
        exact = of_distances(layers, *_exact(*samples(i, j)), q1[i, j], q2[i, j])
        K[i, j], theta[i, j] = exact.nngp, exact.ntk
    return K, theta


def of_distances(
    layers: tuple[Layer, ...], D: np.ndarray, S: np.ndarray, q1: np.ndarray, q2: np.ndarray
) -> KernelPair:
    """Return K and Theta from distances and variances of shapes that broadcast."""
    count = power_of_two(len(D))
    with precision(D.dtype):
        found = _of_distances(layers, *(filled(part, count) for part in (D, S, q1, q2)))
        return KernelPair(*(to_numpy(part)[: len(D)] for part in found))


def flat_distances(a: Vectors, b: Vectors) -> tuple[np.ndarray, ...]:
    """Return |x - x'|^2 / d, |x + x'|^2 / d [n1, n2] and q1, q2, close pairs from their differences."""
    c = a.unit @ b.unit.T
    s1, s2 = np.sqrt(a.q)[:, None], np.sqrt(b.q)[None]
    gap, size = (s1 - s2) ** 2, 2 * s1 * s2
    D, S = gap + size * (1 - c), gap + size * (1 + c)
    rows, columns = np.nonzero(np.abs(c) >= _edge(c.dtype))
    for start in range(0, len(rows), _CLOSE):
        i, j = rows[start : start + _CLOSE], columns[start : start + _CLOSE]
        D[i, j], S[i, j] = _exact(a.x[i], b.x[j])
    return D, S, a.q, b.q


def _exact(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return |a - b|^2 / d and |a + b|^2 / d of aligned samples [pairs, d]."""
    near, far = a - b, a + b
    return tuple(np.einsum("ij,ij->i", part, part) / a.shape[1] for part in (near, far))  # type: ignore[return-value]


def _edge(dtype: np.dtype) -> float:
    # Beyond this cosine a product's rounding, eps, would show up in the angle sqrt(2 - 2 c).
    return 1 - float(np.finfo(dtype).eps) ** 0.25
