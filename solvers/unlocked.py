"""LAPACK's divide and conquer with Python's lock released, so that other threads, and Ctrl-C, go on meanwhile."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
import scipy.linalg
from scipy.linalg import cython_lapack

__all__ = ["divide_and_conquer"]

_ARGUMENTS = 11


def divide_and_conquer(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ascending eigenvalues [n] and eigenvectors [n, n] in columns, bit for bit what SciPy's "evd" gives.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric, float32 or float64, in Fortran's order or C's, of an order that `lapack.eigh_driver` leaves to it; it
        is overwritten.

    Raises
    ------
    scipy.linalg.LinAlgError
        Where LAPACK does not converge.

    Notes
    -----
    SciPy holds Python's lock while LAPACK works, for minutes at an order of 10,000: neither a progress bar nor Ctrl-C
    gets through. Its table of LAPACK functions for Cython is public; a call through ctypes releases the lock. Where
    that table has other types, SciPy's own call is made. Cost: up to 9 n^3 operations;
    memory: 2 n^2 numbers beside the matrix.
    """
    transposed = matrix if matrix.flags.f_contiguous else matrix.T  # of a symmetric matrix, itself
    function = _syevd(transposed.dtype.char)
    n = len(transposed)
    known = function is not None and transposed.flags.f_contiguous and transposed.flags.writeable
    if not known or n == 0:
        return scipy.linalg.eigh(transposed, driver="evd", overwrite_a=True, check_finite=False)
    values = np.empty(n, transposed.dtype)
    size, length = np.empty(1, transposed.dtype), np.empty(1, np.intc)
    _call(function, n, transposed, values, size, -1, length, -1)
    # A float32 may have been rounded down.
    work = np.empty(max(int(size[0]), 1 + 6 * n + 2 * n**2), transposed.dtype)
    integers = np.empty(max(int(length[0]), 3 + 5 * n), np.intc)
    info = _call(function, n, transposed, values, work, len(work), integers, len(integers))
    if info:
        why = "eigenvalues did not converge" if info > 0 else f"LAPACK refuses its argument {-info}"
        raise scipy.linalg.LinAlgError(f"{why} for a matrix of order {n}")
    return values, transposed


def _call(
    function: Any,
    n: int,
    matrix: np.ndarray,
    values: np.ndarray,
    work: np.ndarray,
    lwork: int,
    integers: np.ndarray,
    liwork: int,
) -> int:
    info = ctypes.c_int(0)
    order, long, longs = ctypes.c_int(n), ctypes.c_int(lwork), ctypes.c_int(liwork)
    function(
        b"V",
        b"L",
        ctypes.byref(order),
        matrix.ctypes.data,
        ctypes.byref(order),
        values.ctypes.data,
        work.ctypes.data,
        ctypes.byref(long),
        integers.ctypes.data,
        ctypes.byref(longs),
        ctypes.byref(info),
    )
    return info.value


@cache
def _syevd(kind: str) -> Any:
    """Return LAPACK's function for a dtype, or None where its arguments are not the ones that are known."""
    capsule = getattr(cython_lapack, "__pyx_capi__", {}).get({"d": "dsyevd", "f": "ssyevd"}.get(kind, ""))
    if capsule is None:
        return None
    # Prototypes of their own: ctypes.pythonapi's functions are everybody's.
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    name = name_of(capsule) or b""
    types = name.decode().removeprefix("void (").removesuffix(")").split(", ")
    # char, char, int, matrix, int, values, work, int, int, int, int: integers of 64 bits have another name.
    if len(types) != _ARGUMENTS or [types[i] for i in (2, 4, 7, 8, 9, 10)] != ["int *"] * 6:
        return None
    # CFUNCTYPE releases the lock, PYFUNCTYPE would not.
    prototype = ctypes.CFUNCTYPE(None, *([ctypes.c_char_p] * 2), *([ctypes.c_void_p] * (_ARGUMENTS - 2)))
    return prototype(pointer_of(capsule, name))
