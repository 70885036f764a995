"""LAPACK's drivers by order: workspaces that 32-bit integers cannot count, and what a factorisation takes."""

import os
from collections.abc import Sequence

import numpy as np
import scipy.linalg

from haarflow.solvers.unlocked import divide_and_conquer

__all__ = ["check_memory", "eigh", "eigh_driver", "factorising_bytes", "machine_memory", "svd", "svd_driver"]

# LAPACK counts its workspace in 32-bit integers; what is larger comes back from the query as another number.
_MOST = 2**31 - 1


def eigh_driver(order: int) -> str:
    """Return LAPACK's driver for a symmetric eigenproblem.

    Parameters
    ----------
    order : int
        Of the matrix.

    Returns
    -------
    {"evd", "evr"}
        Divide and conquer, a fifth faster in float64 and twice as fast in float32 at order 2000, while its workspace of
        2 n^2 + 6 n + 1 numbers can be counted: up to order 32,766. Above, relatively robust representations, whose
        workspace is 33 n.
    """
    return "evd" if 2 * order**2 + 6 * order + 1 <= _MOST else "evr"


def svd_driver(order: int) -> str:
    """Return LAPACK's driver for singular values.

    Parameters
    ----------
    order : int
        The smaller side of the matrix.

    Returns
    -------
    {"gesdd", "gesvd"}
        Divide and conquer while its workspace, at most 5 n^2 + 7 n and blocks of 64 n, can be counted; else QR steps.
    """
    return "gesdd" if 5 * order**2 + 71 * order <= _MOST else "gesvd"


def eigh(matrix: np.ndarray, overwrite: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Decompose a finite symmetric matrix.

    Parameters
    ----------
    matrix : array [n, n]
        float32 or float64.
    overwrite : bool
        Whether it may be destroyed.

    Returns
    -------
    array [n], array [n, n]
        Ascending eigenvalues, and eigenvectors in columns.

    Notes
    -----
    Cost: 9 n^3 operations, and workspace of two matrices up to order 32,766, of one above.
    """
    # The transpose of a symmetric matrix is itself, in the order that LAPACK overwrites without a copy.
    if eigh_driver(len(matrix)) == "evd":
        return divide_and_conquer(matrix.T if overwrite else np.array(matrix.T, order="F"))
    return scipy.linalg.eigh(matrix.T, driver="evr", overwrite_a=overwrite, check_finite=False)


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decompose a finite matrix [n, p] as U diag(values) V^T, in the thin form.

    Parameters
    ----------
    matrix : array [n, p]
        Destroyed.
    """
    driver = svd_driver(min(matrix.shape))
    return scipy.linalg.svd(matrix, full_matrices=False, overwrite_a=True, check_finite=False, lapack_driver=driver)


def factorising_bytes(order: int, rank: int, itemsize: int) -> int:
    """Return what `eigendecompose` takes at least: the block, and the matrices LAPACK works on.

    Parameters
    ----------
    order, rank : int
        Of the block, and of what its distinct points span.
    itemsize : int
        Bytes of a number.
    """
    matrices = 3 if eigh_driver(rank) == "evd" else 2
    return itemsize * (order**2 + matrices * rank**2)


def machine_memory() -> int | None:
    """Return the machine's memory in bytes, None where the system does not tell."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(names):
        return None
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return room if room > 0 else None


def check_memory(orders: Sequence[int], ranks: Sequence[int], dtype: str | np.dtype) -> None:
    """Refuse blocks that this machine cannot factorise, before anything is computed.

    Parameters
    ----------
    orders, ranks : sequence of int
        Of the blocks, and of what their distinct points span.
    dtype : {"float64", "float32"}
        Of the blocks.

    Raises
    ------
    ValueError
        Where one of them takes more than the machine's memory, as far as the system tells.
    """
    room, itemsize = machine_memory(), np.dtype(dtype).itemsize
    for order, rank in zip(orders, ranks, strict=True):
        size = factorising_bytes(order, rank, itemsize)
        if room is not None and size > room:
            finer = ', dtype="float32" half of it' if itemsize == 8 else ""
            raise ValueError(
                f"a block of order {order} takes {size / 1e9:.3g} GB to factorise, and this machine has "
                f'{room / 1e9:.3g} GB: means need solver="krylov", which factorises nothing{finer}; covariances and '
                "members need fewer samples"
            )
