"""A block that is only multiplied with: its Krylov space, grown for the times asked for, and kept in a store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.kernels import Store

__all__ = ["KrylovBlock", "KrylovSolution", "Steps"]


@dataclass(frozen=True)
class Steps:
    """Where the steps of a block's Krylov space are kept.

    Attributes
    ----------
    store : Store
        The store.
    key : dict
        Of the block.
    """

    store: Store
    key: dict[str, Any]


@dataclass(frozen=True)
class KrylovSolution:
    """What a Krylov space says at given times.

    Attributes
    ----------
    alpha : array [T, N, k]
        Coefficients phi_t(block + ridge) labels.
    cut, error : array [T]
        Modes left out, and the estimated relative error.
    unresolved : int
        Ritz values below the block's rounding.
    """

    alpha: np.ndarray = field(repr=False)
    cut: np.ndarray
    error: np.ndarray
    unresolved: int

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return rows [m, N] times the coefficients: array [T, m, k] float64."""
        times, order, k = self.alpha.shape
        stacked = self.alpha.transpose(1, 0, 2).reshape(order, times * k)
        return (rows @ stacked).reshape(len(rows), times, k).transpose(1, 0, 2)

    def coefficients(self) -> np.ndarray:
        """Return alpha."""
        return self.alpha


@dataclass(frozen=True, eq=False)
class KrylovBlock:
    """One block of the augmented Gram matrix, known by its products.

    Attributes
    ----------
    rows : int
        Order N of the block.
    multiply : callable
        [N, p] -> block times it.
    columns : callable
        indices -> columns of the block.
    basis : csr_matrix [N, r] or None
        Of what the distinct points span.
    scale, size
        As in `solvers.Spectrum`.
    how : solvers.Krylov
        Tolerance and largest dimension.
    steps : Steps or None
        Where the space is kept.
    space : KrylovSpace or None
        As far as it has grown.
    """

    rows: int
    multiply: Callable[[np.ndarray], np.ndarray]
    columns: Callable[[np.ndarray], np.ndarray]
    basis: csr_matrix | None
    scale: float
    size: int
    how: solvers.Krylov
    steps: Steps | None
    space: Any = None
