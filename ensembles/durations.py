"""How long LAPACK will take on this machine, as it is now: from a product with the matrix, and one of two others."""

import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import blas

__all__ = ["eigendecomposition_seconds", "is_long"]

# An eigendecomposition multiplies n times with what is left of the matrix, and does so many times n^3 operations
# in products of matrices besides: measured at orders 500 to 4000, of kernels' and of random matrices.
_PRODUCTS = 5.8
# Below this order it takes two seconds or less, and is not worth a look.
_LONG = 3000
_ORDER = 512
_AT_LEAST = 0.02


def is_long(order: int) -> bool:
    """Whether a matrix of this order takes long enough for an estimate, a thread and a file of its own."""
    return order >= _LONG


def eigendecomposition_seconds(matrix: np.ndarray, order: int, products: float = 0.0) -> float:
    """Estimate how long an eigendecomposition will take.

    Parameters
    ----------
    matrix : array [N, N]
        Symmetric, float32 or float64.
    order : int
        Of what is factorised, N or less.
    products : float
        Operations in products of matrices besides, in units of order^3.

    Returns
    -------
    float
        Seconds, within 30 % on a machine that stays as busy as it is.

    Notes
    -----
    Half of the reduction to tridiagonal form are products of a vector with the part of the matrix that is left, which
    are bound by memory: n of them, a third of the size on average. The rest are products of matrices. Cost: a tenth
    of a second, or two products of a vector with the matrix.
    """
    symv = blas.dsymv if matrix.dtype == np.float64 else blas.ssymv
    transposed = matrix.T if matrix.flags.c_contiguous else np.asfortranarray(matrix)
    vector = np.ones(len(matrix), matrix.dtype)
    by_vector = _seconds(lambda: symv(1.0, transposed, vector)) * (order / len(matrix)) ** 2
    square = np.ones((_ORDER, _ORDER), matrix.dtype)
    by_matrix = _seconds(lambda: square @ square) / (2 * _ORDER**3)
    return order / 3 * by_vector + (_PRODUCTS + products) * order**3 * by_matrix


def _seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes, the first one left out, which wakes threads."""
    work()
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < _AT_LEAST:
        work()
        calls += 1
    return (time.perf_counter() - began) / calls
