"""Powers of two in which columns of labels are counted, so that none is lost beside another or out of range."""

import numpy as np

__all__ = ["column_units", "range_exponents"]

# Columns as alike as this, as powers of two, stay as they are: at most so many times the rounding of the largest.
_ALIKE = 4

# Magnitudes 2^-100 .. 2^100 stay as they are: their squares and products with what is no larger stay in range.
_SAFE = 100


def column_units(labels: np.ndarray) -> np.ndarray:
    """Return a power of two for each column, so that labels / units are of order 1.

    Parameters
    ----------
    labels : array [N, k] float64
        Finite.

    Returns
    -------
    array [k] float64
        1 for all where the columns are alike and far from the ends of the range, and where a column vanishes.

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow.solvers.units import column_units
    >>> column_units(np.array([[3.0, -5.0]])), column_units(np.array([[3.0, -5.0e-19, 0.0]]))
    (array([1., 1.]), array([2.00000000e+00, 4.33680869e-19, 1.00000000e+00]))
    """
    largest = np.abs(labels).max(axis=0, initial=0.0)
    some = largest > 0
    exponents = np.frexp(largest)[1] - 1
    found = exponents[some]
    if found.size == 0 or (np.ptp(found) <= _ALIKE and np.abs(found).max() <= _SAFE):
        return np.ones(len(largest))
    return np.ldexp(1.0, np.where(some, exponents, 0))


def range_exponents(largest: np.ndarray, safe: int) -> np.ndarray:
    """Return exponents of two to divide magnitudes by: 0 for those between 2^-safe and 2^safe, and for none.

    Parameters
    ----------
    largest : array
        Magnitudes, finite.
    safe : int
        What needs nothing.

    Returns
    -------
    array of int
    """
    exponents = np.frexp(largest)[1] - 1
    return np.where((largest > 0) & (np.abs(exponents) > safe), exponents, 0)
