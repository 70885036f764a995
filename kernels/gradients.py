"""Derivatives of kernel sums with respect to the test point."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from haarflow.kernels import recursion
from haarflow.kernels.analytic import AnalyticKernel, flat_distances, of_states
from haarflow.kernels.architecture import Layer
from haarflow.kernels.backend import precision, to_numpy

__all__ = ["ntk_gradient"]

# Numbers of one array over test points and sources, or over pairs of positions and sources.
_NUMBERS = 2**20


@partial(jax.jit, static_argnums=0)
def _slopes(layers: tuple[Layer, ...], D: Array, S: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """Return dTheta/dD, dTheta/dS and dTheta/dq1, element by element."""

    def total(D: Array, S: Array, q1: Array) -> Array:
        return jnp.sum(of_states(layers, D, S, q1, q2[None, :])[1])

    return jax.grad(total, argnums=(0, 1, 2))(D, S, jnp.broadcast_to(q1[:, None], D.shape))


@partial(jax.jit, static_argnums=(0, 4))
def _image_gradient(layers: tuple[Layer, ...], x: Array, sources: Array, weights: Array, paired: bool) -> Array:
    def sums(x: Array) -> Array:
        return (recursion.run(layers, x[None], sources, paired)[1] @ weights)[0]

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

    Notes
    -----
    A ReLU kernel has a kink where x meets a source: the mean of its one-sided derivatives is returned.
    Cost, kernels of inner products: three kernel evaluations for each pair and 3 m Z c d operations for samples
    of d numbers; others: c backward passes for each pair.
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
        return out
    kind = recursion.layout(layers, x.ndim - 2)
    positions = int(np.prod(x.shape[1:-1])) ** (2 if kind == "pairs" else 1)
    step = max(1, _NUMBERS // positions)
    with precision(kernel.dtype):
        for each, point in zip(out, x, strict=True):
            for start in range(0, len(sources), step):
                some = slice(start, start + step)
                each += to_numpy(_image_gradient(layers, point, sources[some], weights[some], kind == "pairs"))
    return out


def _flat_gradient(kernel: AnalyticKernel, x: np.ndarray, sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with precision(kernel.dtype):
        found = _slopes(kernel.architecture.layers, *flat_distances(x, sources))
        # Where points meet, D's slope is infinite and meets a difference of 0.
        near, far, own = (np.nan_to_num(to_numpy(part), nan=0.0, posinf=0.0, neginf=0.0) for part in found)
    # D = |x - z|^2 / d, S = |x + z|^2 / d, q1 = |x|^2 / d.
    along_x = (near + far + own) @ weights
    along_z = np.einsum("mz,zc,zd->mcd", far - near, weights, sources, optimize=True)
    return np.asarray(2 / x.shape[1] * (along_x[:, :, None] * x[:, None, :] + along_z))
