"""One eigendecomposition of a Gram block serves every training time, exactly, on singular matrices too."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse import csr_matrix

from haarflow.solvers.filters import Filter

__all__ = ["Spectrum", "eigendecompose", "timescales"]

Eigh = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

# What rounding may add through an unresolved mode while it is still followed: eps * lambda_max * t.
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigendecomposition of one block of the augmented Gram matrix.

    Attributes
    ----------
    eigenvalues : array [r]
        Ascending.
    eigenvectors : array [r, r]
        In columns, in coordinates of `basis`.
    basis : csr_matrix [N, r] or None
        Orthonormal basis of what the distinct points span; None where all are distinct.
    scale : float
        Upper bound of the largest eigenvalue of the WHOLE augmented Gram matrix.
    size : int
        Order of the whole augmented Gram matrix.
    """

    eigenvalues: np.ndarray = field(repr=False)
    eigenvectors: np.ndarray = field(repr=False)
    basis: csr_matrix | None
    scale: float
    size: int

    @property
    def rows(self) -> int:
        """Order N of the block, before coinciding points were merged."""
        return len(self.eigenvectors) if self.basis is None else self.basis.shape[0]

    @property
    def threshold(self) -> float:
        """Eigenvalues below it are rounding: size * eps * scale, with eps of the block's dtype."""
        return self.size * float(np.finfo(self.eigenvalues.dtype).eps) * self.scale

    @cached_property
    def _values(self) -> np.ndarray:
        return self.eigenvalues.astype(float)

    def _unresolved(self, ridge: float) -> np.ndarray:
        return self._values + ridge <= self.threshold

    @property
    def unresolved(self) -> int:
        """Number of modes whose eigenvalue lies below the threshold."""
        return int(self._unresolved(0.0).sum())

    def _too_late(self, times: np.ndarray, rate: float) -> np.ndarray:
        eps = float(np.finfo(self.eigenvalues.dtype).eps)
        late = np.isinf(times)
        return late | (eps * self.scale * rate * np.where(late, 0.0, times) > _NEGLIGIBLE)

    def cut(self, times: np.ndarray, rate: float, ridge: float = 0.0) -> np.ndarray:
        """Count the modes left out at each time: int array [T].

        Parameters
        ----------
        times : array [T]
            In the user's clock.
        rate : float
            The flow's time in one unit of it.
        ridge : float
            Added to every eigenvalue.
        """
        return np.where(self._too_late(times, rate), self._unresolved(ridge).sum(), 0)

    def phi(self, filter: Filter, times: np.ndarray, rate: float, ridge: float = 0.0) -> np.ndarray:
        """Evaluate a filter on the spectrum: float64 array [T, r].

        An unresolved mode follows the filter's limit at lambda = 0 while what rounding adds through it is
        negligible, and is left out afterwards.

        Parameters
        ----------
        filter : Filter
            phi(lambda, t).
        times, rate, ridge
            As in `cut`.
        """
        unresolved = self._unresolved(ridge)
        values = np.where(unresolved, 0.0, self._values + ridge)
        phi = filter(values, times, rate)
        left_out = self._too_late(times, rate)[:, None] & unresolved
        return np.where(left_out, 0.0, phi)

    def predict(
        self, rows: np.ndarray, filter: Filter, times: np.ndarray, rate: float, labels: np.ndarray, ridge: float = 0.0
    ) -> np.ndarray:
        """Return rows phi_t(block + ridge) labels for every time.

        Parameters
        ----------
        rows : array [m, N]
            Kernel between test points and the block.
        filter, times, rate, ridge
            As in `phi`.
        labels : array [N, k]
            Right-hand sides.

        Returns
        -------
        array [T, m, k] float64

        Notes
        -----
        Cost: m N r once, and m r k for each time; memory 8 m r bytes.
        Source: Lee et al. 2019, eq. 10.
        """
        phi = self.phi(filter, times, rate, ridge)
        if self.basis is not None:
            rows, labels = np.asarray(rows @ self.basis), self.basis.T @ labels
        seen = np.asarray(rows @ self.eigenvectors, float)
        targets = self.eigenvectors.T.astype(float) @ labels
        out = np.empty((len(times), len(rows), labels.shape[1]))
        for i, factor in enumerate(phi):
            out[i] = seen @ (factor[:, None] * targets)
        return out


def eigendecompose(
    gram: np.ndarray,
    basis: csr_matrix | None = None,
    *,
    scale: float | None = None,
    size: int | None = None,
    eigh: Eigh | None = None,
) -> Spectrum:
    """Factorise a symmetric block.

    Parameters
    ----------
    gram : array [N, N]
        float32 or float64; only its symmetric part counts.
    basis : csr_matrix [N, r], optional
        Orthonormal basis of what the distinct points span; the block is projected on it.
    scale : float, optional
        Upper bound of the largest eigenvalue of the whole augmented Gram matrix; default the block's own.
    size : int, optional
        Order of the whole augmented Gram matrix; default N.
    eigh : callable, optional
        matrix -> (eigenvalues, eigenvectors), such as a GPU's; default LAPACK's divide and conquer.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        For a matrix that is not square, not real, or not finite.

    Notes
    -----
    Cost: about 9 r^3 operations; memory 3 matrices of order r.
    """
    gram = np.asarray(gram)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.size == 0:
        raise ValueError(f"gram must be square [N, N], found shape {gram.shape}")
    if gram.dtype not in (np.float32, np.float64):
        raise ValueError(f"gram must be float32 or float64, found {gram.dtype}")
    if not np.isfinite(gram).all():
        raise ValueError("gram must be finite, found NaN or inf")
    reduced = gram if basis is None else _project(gram, basis)
    values, vectors = (_lapack if eigh is None else eigh)(reduced)
    bound = float(np.abs(values).max(initial=0.0)) if scale is None else float(scale)
    return Spectrum(np.asarray(values), np.asarray(vectors), basis, bound, len(gram) if size is None else size)


def _project(gram: np.ndarray, basis: Any) -> np.ndarray:
    basis = basis.astype(gram.dtype)
    return np.asarray((basis.T @ (basis.T @ gram).T))


def _lapack(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if matrix.size == 0:  # no distinct point carries a label of this irrep
        return np.empty(0, matrix.dtype), np.empty((0, 0), matrix.dtype)
    return scipy.linalg.eigh(matrix, driver="evd", check_finite=False)


def timescales(spectra: Iterable[Spectrum], rate: float, ridge: float = 0.0) -> np.ndarray:
    """Return the decay times 1 / ((lambda + ridge) rate) of all resolved modes, ascending.

    Parameters
    ----------
    spectra : iterable of Spectrum
        The blocks.
    rate : float
        The flow's time in one unit of the user's clock.
    ridge : float
        Added to every eigenvalue.

    Returns
    -------
    array [modes] float64
    """
    rates = [(s._values + ridge)[~s._unresolved(ridge)] * rate for s in spectra]
    return np.sort(1 / np.concatenate([*rates, np.empty(0)]))
