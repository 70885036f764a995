"""Derivatives of kernel sums with respect to the test point."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.architecture import Layer
from haarflow.kernels.backend import compiled, precision, to_numpy
from haarflow.kernels.duals import Distances
from haarflow.kernels.flat import flat_distances, of_states, prepare_vectors
from haarflow.kernels.images import of_pairs
from haarflow.kernels.schedule import layout
from haarflow.kernels.tiling import few_sizes, filled

__all__ = ["ntk_gradient"]

# Numbers of one array over test points and sources, or over pairs of positions and sources.
_NUMBERS = 2**20
# Pairs whose slopes are evaluated at a time, at least.
_FEWEST = 2**9


@compiled
def _slopes(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """Return dTheta/dD, dTheta/dS and dTheta/dq1, element by element, of arrays of one shape."""

    def total(D: Array, S: Array, q1: Array) -> Array:
        return jnp.sum(of_states(layers, Distances(D, S), q1, q2)[1])

    return jax.grad(total, argnums=(0, 1, 2))(D, S, q1)


@compiled
def _image_gradient(layers: tuple[Layer, ...], x: Array, sources: Array, weights: Array, go: Array) -> Array:
    last = jnp.moveaxis(sources, 0, -1)

    def sums(x: Array) -> Array:
        return of_pairs(layers, x[..., None], last, go)[1] @ weights

    return jax.jacrev(sums)(x)


def ntk_gradient(kernel: AnalyticKernel, x: np.ndarray, sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
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
        _check(out)
        return out
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
    _check(out)
    return out


def _check(slopes: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(slopes).reshape(len(slopes), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"x must be where the kernel has a derivative, found none at sample {bad[0]}: without bias, ReLU networks "
            "have none at blank patches or at the zero sample"
        )


def _all_slopes(kernel: AnalyticKernel, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return `_slopes` of arrays [m, Z] as NumPy arrays, in parts of few sizes."""
    flat = [part.ravel() for part in arrays]
    found = tuple(np.empty_like(flat[0]) for _ in range(3))
    count = few_sizes(flat[0].size, _FEWEST)
    with precision(kernel.dtype):
        for start in range(0, flat[0].size, count):
            some = slice(start, start + count)
            parts = _slopes(kernel.architecture.layers, *(filled(part[some], count) for part in flat))
            for whole, part in zip(found, parts, strict=True):
                whole[some] = np.asarray(part)[: len(whole[some])]
    return tuple(whole.reshape(arrays[0].shape) for whole in found)


def _flat_gradient(kernel: AnalyticKernel, x: np.ndarray, sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
    D, S, q1, q2 = flat_distances(prepare_vectors(x), prepare_vectors(sources))
    total = q1[:, None] + q2[None, :]
    near, far, own = _all_slopes(kernel, D, S, np.broadcast_to(q1[:, None], D.shape), np.broadcast_to(q2, D.shape))
    eps = float(np.finfo(kernel.dtype).eps)
    # Where points meet, the slope along D is infinite, and the one-sided derivatives cancel.
    meet = (64 * eps) ** 2 * total >= D
    near[meet] = 0
    far[(64 * eps) ** 2 * total >= S] = 0  # antipodes have a kink of their own without bias
    for part in (far, own):
        part[meet & ~np.isfinite(part)] = 0
    # D = |x - z|^2 / d, S = |x + z|^2 / d, q1 = |x|^2 / d.
    rows, columns = np.nonzero((eps**0.5 * total > D) & ~meet)
    steep = near[rows, columns]
    near[rows, columns] = 0
    along_x = (near + far + own) @ weights
    slopes = along_x[:, :, None] * x[:, None, :]
    slopes += np.einsum("mz,zc,zd->mcd", far - near, weights, sources, optimize=True)
    # A difference of close points, not of two large sums.
    np.add.at(slopes, rows, (steep[:, None] * weights[columns])[:, :, None] * (x[rows] - sources[columns])[:, None, :])
    return np.asarray(2 / x.shape[1] * slopes)
