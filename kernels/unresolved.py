"""Pairs of images that distances in working precision cannot resolve, evaluated again with more digits."""

from functools import cache

import numpy as np

from haarflow.kernels.architecture import AvgPool, Layer
from haarflow.kernels.backend import compiled, fence, precision
from haarflow.kernels.copies import are_copies
from haarflow.kernels.displacements import Doubt, of_pairs
from haarflow.kernels.listed import Variances, of_listed, variances
from haarflow.kernels.schedule import schedule
from haarflow.kernels.tiling import filled, power_of_two

__all__ = ["evaluated", "unresolved"]

# Errors of angles, averaged over windows, that are let pass.
_ANGLE = {"float64": 2e-12, "float32": 2e-6}
# Numbers of one array over positions and pairs, or over positions, displacements and pairs, that are held at a time.
_NUMBERS = 2**21

_pairs = compiled(lambda layers, x1, x2, go: of_pairs(layers, x1, x2, lambda f, *arrays: fence(go, f, *arrays)))


def unresolved(
    layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray, doubt: Doubt, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Find the pairs that need more digits.

    Parameters
    ----------
    layers : tuple of Layer
        The network's.
    a, b : array [*positions, C, I], [*positions, C, J]
        Samples.
    doubt : Doubt of array [pairs]
        What the walk says of its own accuracy.
    rows, columns : int array [pairs]
        Which pairs.

    Returns
    -------
    int array
        Which of the pairs.

    Notes
    -----
    Copies of an image, itself among them, have windows that coincide, as their distances up to rounding say; they
    are found by comparing the images, and are resolved.
    """
    blurred = doubt.error > _ANGLE[a.dtype.name]
    expected = _windows(layers, a.shape[:-2])
    alike = ~blurred & (doubt.same > 0)
    for k in np.flatnonzero(alike):
        alike[k] = doubt.same[k] > expected or not are_copies(layers, a[..., rows[k]], b[..., columns[k]])
    return np.flatnonzero(blurred | alike)


def evaluated(
    layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return K and Theta [2, pairs] of pairs of samples: of float32 in float64, of float64 in twice its digits.

    Notes
    -----
    Cost: in float64, three evaluations of each pair; beyond, about a microsecond for each pair of positions and layer.
    """
    if a.dtype == np.float64:
        return _listed(layers, a, b, rows, columns)
    found = np.empty((2, len(rows)))
    positions = int(np.prod(a.shape[:-2]))
    size = min(power_of_two(len(rows)), max(1, power_of_two(_NUMBERS / positions**2)))
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        i, j = rows[some], columns[some]
        first, second = a[..., i].astype(float), b[..., j].astype(float)
        with precision("float64"):
            *values, doubt = _pairs(layers, filled(first, size, -1), filled(second, size, -1), np.bool_(True))
            found[:, some] = [np.asarray(part)[: len(i)] for part in values]
            doubt = Doubt(*(np.asarray(part)[: len(i)] for part in doubt))
        every = np.arange(len(i))
        left = unresolved(layers, first, second, doubt, every, every)
        found[:, start + left] = _listed(layers, first, second, left, left)
    return found


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


def _windows(layers: tuple[Layer, ...], shape: tuple[int, ...]) -> int:
    """Return how many windows the poolings have that a nonlinearity follows."""
    count = 0
    for segment in schedule(layers, len(shape)):
        shape = tuple(side // segment.pooling.size for side in shape) if isinstance(segment.pooling, AvgPool) else ()
        count += segment.distances * int(np.prod(shape))
    return count
