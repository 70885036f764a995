"""Derivatives of kernel sums with respect to the test point."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.architecture import Layer
from haarflow.kernels.backend import compiled, fence, precision, to_numpy
from haarflow.kernels.displacements import of_pairs
from haarflow.kernels.duals import Distances
from haarflow.kernels.flat import Vectors, flat_angles, of_states, prepare_vectors
from haarflow.kernels.images import root_mean_squares
from haarflow.kernels.schedule import homogeneous, layout
from haarflow.kernels.tiling import few_sizes, filled

__all__ = ["ntk_gradient"]

# Numbers of one array over test points and sources, or over pairs of positions and sources.
_NUMBERS = 2**20
# Pairs whose slopes are evaluated at a time, at least.
_FEWEST = 2**9


@compiled
def _slopes(layers: tuple[Layer, ...], apart: Distances, q1: Array, q2: Array) -> tuple[Distances, Array]:
    """Return Theta's derivatives with respect to distances and q1, element by element, of arrays of one shape."""

    def total(apart: Distances, q1: Array) -> Array:
        return jnp.sum(of_states(layers, apart, q1, q2)[1])

    return jax.grad(total, argnums=(0, 1))(apart, q1)


@compiled
def _image_gradient(layers: tuple[Layer, ...], x: Array, sources: Array, weights: Array, go: Array) -> Array:
    last = jnp.moveaxis(sources, 0, -1)

    def sums(x: Array) -> Array:
        return of_pairs(layers, x[..., None], last, partial(fence, go))[1] @ weights

    return jax.jacrev(sums)(x)


def ntk_gradient(
    kernel: AnalyticKernel, x: np.ndarray, sources: np.ndarray, weights: np.ndarray, first: int = 0
) -> np.ndarray:
    """Return the derivative of sum_z Theta(x, z) w_zc with respect to x.

    Parameters
    ----------
    kernel : AnalyticKernel
        Of the network.
    x : array [m, ...]
        Where.
    sources : array [Z, ...]
        The points z.
    weights : array [Z, c]
        Their weights.
    first : int
        What errors count samples from.

    Returns
    -------
    array [m, c, ...] float64

    Raises
    ------
    ValueError
        Where there is no derivative: without bias, at blank patches and at the zero sample.

    Notes
    -----
    A ReLU kernel has a kink where x meets a source: the mean of its one-sided derivatives is returned where they
    agree to 64 eps of their norm. Cost, kernels of inner products: three kernel evaluations for each pair and
    3 m Z c d operations for samples of d numbers; others: c backward passes for each pair, at most 1 GB.
    """
    layers = kernel.architecture.layers
    x, sources = (np.ascontiguousarray(part, kernel.dtype) for part in (x, sources))
    weights = weights.astype(kernel.dtype)
    out = np.zeros((len(x), weights.shape[1], *x.shape[1:]))
    if kernel.of_inner_product(x.shape[1:]):
        flat = out.reshape(len(x), weights.shape[1], -1)
        points, others = x.reshape(len(x), -1), sources.reshape(len(sources), -1)
        step = max(1, _NUMBERS // len(x))
        for start in range(0, len(others), step):
            some = slice(start, start + step)
            flat += _flat_gradient(kernel, points, others[some], weights[some])
        _check(out, first)
        return out
    if homogeneous(layers):  # slopes at x are those at its direction, and in proportion to the source's size
        x = x / _divisor(root_mean_squares(x), x)
        size = root_mean_squares(sources)
        sources, weights = sources / _divisor(size, sources), weights * size[:, None]
        x, sources, weights = (part.astype(kernel.dtype) for part in (x, sources, weights))
    kind = layout(layers, x.ndim - 2)
    positions = int(np.prod(x.shape[1:-1])) ** (2 if kind == "displaced" else 1)
    step = few_sizes(min(len(sources), max(1, _NUMBERS // (positions * weights.shape[1]))))
    with precision(kernel.dtype):
        for each, point in zip(out, x, strict=True):
            for start in range(0, len(sources), step):
                some = slice(start, start + step)
                # Filled up with sources without weight, so that other numbers of them are not compiled for.
                more = ((0, step - len(sources[some])), (0, 0))
                parts = filled(sources[some], step), np.pad(weights[some], more)
                each += to_numpy(_image_gradient(layers, point, *parts, np.bool_(True)))
    _check(out, first)
    return out


def _divisor(size: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return sizes [n] in a shape that divides samples [n, ...]; 1 for blank ones."""
    return np.where(size > 0, size, 1).reshape(-1, *(1,) * (x.ndim - 1))


def _check(slopes: np.ndarray, first: int) -> None:
    bad = np.flatnonzero(~np.isfinite(slopes).reshape(len(slopes), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"x_test must be where the mean has a derivative, found none at sample {first + bad[0]}: without bias, "
            "ReLU networks have none at blank patches or at the zero sample"
        )


def _all_slopes(
    kernel: AnalyticKernel, apart: Distances, q1: np.ndarray, q2: np.ndarray
) -> tuple[Distances, np.ndarray]:
    """Return `_slopes` of distances [m, Z] and variances [m], [Z] as NumPy arrays, in parts of few sizes."""
    shape = len(q1), len(q2)
    arrays = apart, np.broadcast_to(q1[:, None], shape), np.broadcast_to(q2, shape)
    flat = jax.tree.map(lambda part: part.ravel(), arrays)
    found = jax.tree.map(lambda part: np.empty(shape, part.dtype), arrays[:2])
    size = len(q1) * len(q2)
    count = few_sizes(size, _FEWEST)
    with precision(kernel.dtype):
        for start in range(0, size, count):
            some = slice(start, start + count)
            parts = jax.tree.map(lambda part, some=some: filled(part[some], count), flat)
            slopes = _slopes(kernel.architecture.layers, *parts)
            for whole, part in zip(jax.tree.leaves(found), jax.tree.leaves(slopes), strict=True):
                flat_whole = whole.reshape(-1)
                flat_whole[some] = np.asarray(part)[: len(flat_whole[some])]
    return found


def _flat_gradient(kernel: AnalyticKernel, x: np.ndarray, sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
    a, b = prepare_vectors(x), prepare_vectors(sources)
    blank = a.q == 0
    slopes = np.empty((len(x), weights.shape[1], x.shape[1]), x.dtype)
    if not blank.all():
        slopes[~blank] = _of_angles(kernel, a[~blank], x[~blank], b, sources, weights)
    if blank.any():
        slopes[blank] = _at_zero(kernel, b, sources, weights)
    return 2 / x.shape[1] * slopes


def _of_angles(
    kernel: AnalyticKernel, a: Vectors, x: np.ndarray, b: Vectors, sources: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    apart = flat_angles(a, b)
    s1, s2 = np.sqrt(a.q)[:, None], np.sqrt(b.q)
    found, own = _all_slopes(kernel, apart, a.q, b.q)
    near, far = found.near, found.far
    eps = float(np.finfo(kernel.dtype).eps)
    # Where points meet, or are parallel, the slope along near is infinite, and the one-sided derivatives cancel.
    rounding = (64 * eps) ** 2 * s1 * s2
    meet = rounding >= apart.near
    near[meet] = 0
    far[rounding >= apart.far] = 0  # antipodes have a kink of their own without bias
    for part in (far, own):
        part[meet & ~np.isfinite(part)] = 0
    # With s = |x| / sqrt d: near = 2 (s s' - <x, z> / d), far = 2 (s s' + <x, z> / d), q1 = s^2.
    rows, columns = np.nonzero((eps**0.5 * s1 * s2 > apart.near) & ~meet)
    steep = near[rows, columns]
    near[rows, columns] = 0
    ratio = s2 / s1
    slopes = ((near + far) * ratio + own) @ weights
    slopes = slopes[:, :, None] * x[:, None, :]
    slopes += np.einsum("mz,zc,zd->mcd", far - near, weights, sources, optimize=True)
    # A difference of close directions, not of two large sums.
    turned = (s2[columns] * x.shape[1] ** 0.5)[:, None] * (a.unit[rows] - b.unit[columns])
    np.add.at(slopes, rows, (steep[:, None] * weights[columns])[:, :, None] * turned[:, None, :])
    return slopes


def _at_zero(kernel: AnalyticKernel, b: Vectors, sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the same at x = 0, which has no angle."""
    zero = np.zeros(1, b.q.dtype)
    found, own = _all_slopes(kernel, Distances(b.q[None], b.q[None]), zero, b.q)
    near, far = found.D, found.S
    # D = |x - z|^2 / d, S = |x + z|^2 / d; q1 = |x|^2 / d has no slope here, unless it is infinite.
    return np.asarray(np.einsum("z,zc,zd->cd", (far - near + 0 * own)[0], weights, sources, optimize=True))
