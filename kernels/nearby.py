"""Nearly coincident images under networks with a nonlinearity behind a pooling.

The squared distance of two pooled images is a difference of means (an energy distance), which cancels where
the images nearly coincide: K and Theta would be off by up to 4e-9. Along the segment from x through x' both are
smooth, exact at x itself and accurate a little way off, so that a polynomial through such points gives them in
between to 1e-12.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["close_pairs", "interpolate"]

_NODES = np.arange(6)  # 0 is x itself


def _step(dtype: np.dtype) -> float:
    # Balances the cancellation, eps / h, against the polynomial's remainder, about h^5: 1e-3 in float64.
    return float(np.finfo(dtype).eps ** 0.19)


def close_pairs(D: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs that are close but not equal.

    Parameters
    ----------
    D : array [n1, n2]
        Mean squared distances of the samples.
    q1, q2 : array [n1], [n2]
        Their mean squares.

    Returns
    -------
    rows, columns : int array [pairs]
        Which pairs.
    ratio : array [pairs]
        Their distance, relative to the samples' size.
    """
    scale = (q1[:, None] + q2[None, :]) / 2
    rows, columns = np.nonzero((D > 0) & (_step(D.dtype) ** 2 * scale > D))
    return rows, columns, np.sqrt(D[rows, columns] / scale[rows, columns])


def interpolate(
    evaluate: Callable[[np.ndarray, np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray, ratio: np.ndarray
) -> np.ndarray:
    """Return kernel values of nearly coincident pairs.

    Parameters
    ----------
    evaluate : callable
        (x1, x2) [pairs, ...] -> values [kernels, pairs].
    a, b : array [pairs, ...]
        The samples.
    ratio : array [pairs]
        Their distances relative to their size.

    Returns
    -------
    array [kernels, pairs]

    Notes
    -----
    Cost: six evaluations a pair.
    """
    step = _step(a.dtype)
    direction = (b - a) / ratio.reshape(-1, *(1,) * (a.ndim - 1)).astype(a.dtype)
    total: np.ndarray | float = 0.0
    position = ratio.astype(float) / step
    for node in _NODES:
        others = _NODES[node != _NODES]
        weight = np.prod([(position - other) / (node - other) for other in others], axis=0)
        total = total + weight * evaluate(a, a + np.asarray(node * step, a.dtype) * direction)
    return np.asarray(total)
