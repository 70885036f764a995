"""Pairs of images that distances in working precision cannot resolve, evaluated again with more digits."""

from functools import cache, partial

import jax
import numpy as np
from jax import Array

from haarflow.kernels import displacements
from haarflow.kernels.architecture import Conv, Dense, Layer
from haarflow.kernels.backend import compiled, fence, precision
from haarflow.kernels.copies import are_copies
from haarflow.kernels.displacements import Doubt
from haarflow.kernels.listed import Variances, of_listed, variances
from haarflow.kernels.schedule import homogeneous, schedule
from haarflow.kernels.spreads import spreads_of
from haarflow.kernels.tiling import few_sizes, filled, power_of_two

__all__ = ["evaluated", "unresolved"]

# Estimated errors that are let pass; the true ones are at most half of them.
_ERROR = {"float64": 1e-11, "float32": 1.2e-5}
# What 1 - |cos| of samples of unequal size may be where distances resolve their angle.
_PARALLEL = {"float64": 1e-6, "float32": 1e-3}
# Ratios of sizes that are let pass: distances lose that many units of rounding.
_RATIO = {"float64": 2.0**12, "float32": 2.0**4}
# Numbers of one array over positions and pairs, or over positions, displacements and pairs, that are held at a time.
_NUMBERS = 2**21


def unresolved(
    layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray, sizes: tuple[np.ndarray, np.ndarray], doubt: Doubt | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs that need more digits.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    a, b : array [*positions, C, I], [*positions, C, J]
        Samples.
    sizes : (float64 array, float64 array)
        Their root mean squares: [I, 1] and [J] for all pairs, [I] and [I] for aligned ones.
    doubt : Doubt of array [I, J] or [I], optional
        What the walk says of its own accuracy.

    Returns
    -------
    rows, columns : int array [pairs]

    Notes
    -----
    Copies of an image, itself among them, have windows that coincide, as their distances up to rounding say; they
    are found by comparing the images, and are resolved.
    """
    dtype = a.dtype.name
    first, second = (_behind(layers, size) for size in sizes)
    bound = _RATIO[dtype]
    blurred = (first * second > 0) & ((first > bound * second) | (second > bound * first))
    blurred |= _nearly_parallel(layers, a, b, sizes)
    alike = np.zeros_like(blurred)
    if doubt is not None:
        error = doubt.error + doubt.rest
        blurred |= error > _ERROR[dtype]
        alike = ~blurred & (error + doubt.largest > _ERROR[dtype])
        for at in np.argwhere(alike):
            alike[tuple(at)] = not are_copies(layers, a[..., at[0]], b[..., at[-1]])
    found = np.nonzero(blurred | alike)
    return found[0], found[-1]


def _nearly_parallel(
    layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray, sizes: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return which pairs of samples are nearly multiples of each other: distances hold little of their angle.

    Where a network is homogeneous its samples are of one size, and behind a bias the angle is no longer small.
    """
    first, second = sizes
    none = np.zeros(np.broadcast_shapes(first.shape, second.shape), bool)
    linear = next(layer for layer in layers if isinstance(layer, (Dense, Conv)))
    if homogeneous(layers) or linear.b_std > 0:
        return none
    u, v = (
        x.reshape(-1, x.shape[-1]).astype(float) / np.where(s > 0, s, 1) for x, s in ((a, first.ravel()), (b, second))
    )
    products = np.einsum("di,di->i", u, v) if first.ndim == 1 else u.T @ v
    alike = np.abs(products) / len(u) > 1 - _PARALLEL[a.dtype.name]
    apart = np.abs(first - second) > 1e-3 * np.maximum(first, second)
    return none | (alike & apart & (first * second > 0))


def _behind(layers: tuple[Layer, ...], size: np.ndarray) -> np.ndarray:
    """Return the samples' root mean squares behind the first linear layer; any, all the same, where none matter."""
    if homogeneous(layers):
        return np.ones_like(size)
    linear = next(layer for layer in layers if isinstance(layer, (Dense, Conv)))
    return np.hypot(linear.W_std * size, linear.b_std)


def evaluated(
    layers: tuple[Layer, ...],
    a: np.ndarray,
    b: np.ndarray,
    sizes: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Return K and Theta [2, pairs] of pairs of samples: of float32 in float64, of float64 in twice its digits.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    a, b : array [*positions, C, I], [*positions, C, J]
        Samples.
    sizes : (float64 array [I], float64 array [J])
        Their root mean squares.
    rows, columns : int array [pairs]
        Which pairs.

    Notes
    -----
    Cost: float64 takes twice as long as float32; beyond, a pair takes about a microsecond for each pair of positions
    and layer, and so does each of the samples.
    """
    if a.dtype == np.float64:
        return _listed(layers, a, b, rows, columns)
    found = np.empty((2, len(rows)))
    left, left_columns = np.unique(rows), np.unique(columns)
    first, second = a[..., left].astype(float), b[..., left_columns].astype(float)
    spread = spreads_of(layers, first), spreads_of(layers, second)
    size = min(few_sizes(len(rows)), max(1, power_of_two(_NUMBERS / int(np.prod(a.shape[:-2])) ** 2)))
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        i, j = np.searchsorted(left, rows[some]), np.searchsorted(left_columns, columns[some])
        x1, x2 = first[..., i], second[..., j]
        aligned = (x1, x2, tuple(part[..., i] for part in spread[0]), tuple(part[..., j] for part in spread[1]))
        found[:, some], doubt = _in_float64(layers, aligned, size)
        more, _ = unresolved(layers, x1, x2, (sizes[0][rows[some]], sizes[1][columns[some]]), doubt)
        found[:, start + more] = _listed(layers, x1, x2, more, more)
    return found


def _in_float64(layers: tuple[Layer, ...], aligned: tuple, size: int) -> tuple[np.ndarray, Doubt | None]:
    count = aligned[0].shape[-1]
    with precision("float64"):
        found = _pairs(layers, *jax.tree.map(lambda part: filled(part, size, -1), aligned), np.bool_(True))
        K, theta, doubt = jax.tree.map(lambda part: np.asarray(part)[:count], found)
    return np.stack([K, theta]), doubt


@compiled
def _pairs(layers: tuple[Layer, ...], x1: Array, x2: Array, spread1: tuple, spread2: tuple, go: Array) -> tuple:
    first, second = jax.tree.map(lambda part: part[..., None, :], ((x1, spread1), (x2, spread2)))
    segments = schedule(layers, x1.ndim - 2)
    found = displacements.run(segments, first[0], second[0], (first[1], second[1]), partial(fence, go))
    return jax.tree.map(lambda part: part[0], found)


def _listed(
    layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    @cache
    def sample(first: bool, number: int) -> tuple[np.ndarray, Variances]:
        x = np.ascontiguousarray((a if first else b)[..., number])
        return x, variances(layers, x)

    found = np.empty((2, len(rows)))
    for k, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        (x1, tape1), (x2, tape2) = sample(True, i), sample(False, j)
        found[:, k] = of_listed(layers, x1, x2, tape1, tape2)
    return found
