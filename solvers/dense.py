"""One eigendecomposition of a Gram block serves every training time, exactly, on singular matrices too."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse import csr_matrix, identity, issparse

from haarflow.solvers.filters import Filter, GradientFlow, check_times

__all__ = ["Spectrum", "eigendecompose", "timescales"]

Eigh = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

# An unresolved mode is followed while eps * lambda_max * t stays below this. Its eigenvalue is only known to
# eps * lambda_max, so that product is the relative error of phi = t: six digits of the prediction hold.
_NEGLIGIBLE = 1e-6

# Right-hand sides multiplied at once: enough to keep matrix products fast, few enough to bound memory.
_COLUMNS = 512

_FLOW = GradientFlow()


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigendecomposition of one block of the augmented Gram matrix.

    Attributes
    ----------
    eigenvalues : array [r]
        Ascending, float32 or float64.
    eigenvectors : array [r, r]
        In columns, in coordinates of `basis`; of the same dtype.
    basis : sparse matrix or array [N, r] or None
        Orthonormal basis of what the distinct points span; None where all are distinct.
    scale : float
        Upper bound of the largest eigenvalue of the WHOLE augmented Gram matrix.
    size : int
        Order of the whole augmented Gram matrix.

    Notes
    -----
    A mode whose eigenvalue (ridge included) is at most `threshold` is unresolved: the value is rounding. It
    follows the filter's limit at lambda = 0 while eps * scale * (that limit) <= 1e-6, and is left out after.
    The scale is the whole matrix's because a block may be zero up to the rounding of the others.
    """

    eigenvalues: np.ndarray = field(repr=False)
    eigenvectors: np.ndarray = field(repr=False)
    basis: csr_matrix | np.ndarray | None
    scale: float
    size: int

    @property
    def rows(self) -> int:
        """Order N of the block, before coinciding points were merged."""
        return len(self.eigenvectors) if self.basis is None else self.basis.shape[0]

    @property
    def dtype(self) -> np.dtype:
        """Precision of the block and of what is computed from it."""
        return self.eigenvalues.dtype

    @property
    def threshold(self) -> float:
        """Eigenvalues up to it are rounding: size * eps * scale, with eps of the block's dtype."""
        return self.size * self._eps * self.scale

    @property
    def unresolved(self) -> int:
        """Number of modes whose eigenvalue, without ridge, lies below the threshold."""
        return int(self._unresolved(0.0).sum())

    @property
    def _eps(self) -> float:
        return float(np.finfo(self.dtype).eps)

    @cached_property
    def _values(self) -> np.ndarray:
        return self.eigenvalues.astype(float)

    def _ridged(self, ridge: float) -> np.ndarray:
        # Rounding may push an eigenvalue below 0, but never below the ridge.
        return np.maximum(self._values, 0.0) + ridge if ridge > 0 else self._values

    def _unresolved(self, ridge: float) -> np.ndarray:
        return self._ridged(ridge) <= self.threshold

    def _too_late(self, filter: Filter, times: np.ndarray, rate: float) -> np.ndarray:
        travelled = filter(np.zeros(1), times, rate)[:, 0]
        with np.errstate(all="ignore"):
            return np.isinf(travelled) | (self._eps * self.scale * travelled > _NEGLIGIBLE)

    def cut(self, times: np.ndarray, rate: float, ridge: float = 0.0, filter: Filter = _FLOW) -> np.ndarray:
        """Count the modes left out at each time.

        Parameters
        ----------
        times : array [T]
            In the user's clock.
        rate : float
            The flow's time in one unit of it.
        ridge : float
            Added to every eigenvalue.
        filter : Filter
            The one that predicts: momentum travels farther in the same time.

        Returns
        -------
        array [T] int
        """
        if self.scale == 0:  # the kernel vanishes on the training set, so these modes predict exactly 0
            return np.zeros(len(check_times(times)), int)
        late = self._too_late(filter, check_times(times), rate)
        return np.where(late, self._unresolved(ridge).sum(), 0)

    def phi(self, filter: Filter, times: np.ndarray, rate: float, ridge: float = 0.0) -> np.ndarray:
        """Evaluate a filter on the spectrum, with unresolved modes as the class describes.

        Parameters
        ----------
        filter : Filter
            phi(lambda, t).
        times, rate, ridge
            As in `cut`.

        Returns
        -------
        array [T, r] float64

        Raises
        ------
        ValueError
            For times or a rate that the filter refuses.
        """
        times = check_times(times)
        unresolved = self._unresolved(ridge)
        values = np.where(unresolved, 0.0, self._ridged(ridge))
        left_out = self._too_late(filter, times, rate)[:, None] & unresolved
        return np.where(left_out, 0.0, filter(values, times, rate))

    def apply(
        self, filter: Filter, times: np.ndarray, rate: float, labels: np.ndarray, ridge: float = 0.0
    ) -> np.ndarray:
        """Return the coefficients alpha_t = phi_t(block + ridge) labels for every time.

        Parameters
        ----------
        filter, times, rate, ridge
            As in `phi`.
        labels : array [N, k]
            Right-hand sides.

        Returns
        -------
        array [T, N, k]
            In the block's dtype. With a `basis`, without what is orthogonal to it: no kernel row sees that.

        Raises
        ------
        ValueError
            For labels that do not fit the block, or times or a rate that the filter refuses.

        Notes
        -----
        Cost: r^2 k once and r^2 k for each time, N k T numbers. Source: theory, alpha_t of section 4.
        """
        phi, targets = self.phi(filter, times, rate, ridge), self._targets(labels)
        return self._lift(self._filtered(self.eigenvectors, phi, targets))

    def predict(
        self,
        rows: np.ndarray,
        filter: Filter,
        times: np.ndarray,
        rate: float,
        labels: np.ndarray,
        ridge: float = 0.0,
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
        array [T, m, k]
            In the block's dtype.

        Raises
        ------
        ValueError
            For rows or labels that do not fit the block, or times or a rate that the filter refuses.

        Notes
        -----
        Cost: r^2 k for the labels, then the cheaper of two orders. Fewer rows than right-hand sides,
        m < T k: the rows enter the eigenbasis, m r^2 once and m r k for each time. Otherwise the
        coefficients leave it, (r^2 + m r) k for each time. Memory: twice what is returned, and (m + T k) r
        numbers at most.
        Source: Lee et al. 2019, eq. 10.
        """
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != self.rows:
            raise ValueError(f"rows must be [m, {self.rows}] to fit the block, found shape {rows.shape}")
        phi, targets = self.phi(filter, times, rate, ridge), self._targets(labels)
        # A kernel that vanishes on the training set vanishes between it and any test point (Cauchy-Schwarz).
        rows = rows.astype(self.dtype, copy=False) if self.scale > 0 else np.zeros(rows.shape, self.dtype)
        if self.basis is not None:
            rows = np.asarray(rows @ self.basis.astype(self.dtype, copy=False))
        if len(rows) < len(phi) * targets.shape[1]:
            return self._filtered(rows @ self.eigenvectors, phi, targets)
        alpha = self._filtered(self.eigenvectors, phi, targets)
        stacked = rows @ alpha.transpose(1, 0, 2).reshape(len(self.eigenvalues), len(phi) * alpha.shape[2])
        return np.ascontiguousarray(stacked.reshape(len(rows), len(phi), alpha.shape[2]).transpose(1, 0, 2))

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        """Return the labels in the eigenbasis, [r, k]."""
        labels = np.asarray(labels)
        if labels.ndim != 2 or len(labels) != self.rows:
            raise ValueError(f"labels must be [{self.rows}, k] to fit the block, found shape {labels.shape}")
        labels = labels.astype(self.dtype, copy=False)
        if self.basis is not None:
            labels = np.asarray(self.basis.T.astype(self.dtype, copy=False) @ labels)
        return self.eigenvectors.T @ labels

    def _lift(self, alpha: np.ndarray) -> np.ndarray:
        """Return coefficients [T, r, k] in the block's own coordinates, [T, N, k]."""
        if self.basis is None:
            return alpha
        basis = self.basis.astype(self.dtype, copy=False)
        out = np.empty((len(alpha), self.rows, alpha.shape[2]), self.dtype)
        for lifted, coefficients in zip(out, alpha, strict=True):
            lifted[:] = basis @ coefficients
        return out

    def _filtered(self, left: np.ndarray, phi: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return left [m, r] (phi_t targets [r, k]) as [T, m, k], several times to one product."""
        k = targets.shape[1]
        out = np.empty((len(phi), len(left), k), self.dtype)
        step = max(1, _COLUMNS // max(k, 1))
        for start in range(0, len(phi), step):
            some = phi[start : start + step]
            weights = (some.T[:, :, None] * targets[:, None, :]).reshape(len(targets), len(some) * k)
            product = left @ weights.astype(self.dtype, copy=False)
            out[start : start + step] = product.reshape(len(left), len(some), k).transpose(1, 0, 2)
        return out


def eigendecompose(
    gram: np.ndarray,
    basis: csr_matrix | np.ndarray | None = None,
    *,
    scale: float | None = None,
    size: int | None = None,
    eigh: Eigh | None = None,
) -> Spectrum:
    """Factorise a symmetric positive semidefinite block.

    Parameters
    ----------
    gram : array [N, N]
        float32 or float64, symmetric: only one triangle is sure to be read. It is left unchanged.
    basis : sparse matrix or array [N, r], optional
        Orthonormal basis of what the distinct points span; the block is projected on it.
    scale : float, optional
        Upper bound of the largest eigenvalue of the whole augmented Gram matrix; default the block's own.
    size : int, optional
        Order of the whole augmented Gram matrix; default N.
    eigh : callable, optional
        matrix -> (ascending eigenvalues, eigenvectors), such as a GPU's; default LAPACK's divide and conquer.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        For a matrix that is not square, of another dtype or not finite, or a basis that does not fit it or is
        not orthonormal.

    Notes
    -----
    Cost: 4/3 r^3 operations to reduce to tridiagonal form and up to 9 r^3 in all; 2 N^2 r more with a dense
    basis. Memory: the block, and 3 matrices of order r.

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import solvers
    >>> spectrum = solvers.eigendecompose(np.diag([1.0, 4.0]))
    >>> spectrum.predict(np.eye(2), solvers.GradientFlow(), [np.inf], 1.0, np.ones((2, 1)))
    array([[[1.  ],
            [0.25]]])
    """
    gram = np.asarray(gram)
    _check_gram(gram)
    if scale is not None and not 0 <= scale < np.inf:
        raise ValueError(f"scale must be finite and >= 0, found {scale}")
    if size is not None and size < 1:
        raise ValueError(f"size must be >= 1, found {size}")
    if basis is not None:
        basis = basis.astype(gram.dtype, copy=False)
        _check_basis(basis, len(gram))
    reduced = gram.copy() if basis is None else np.asarray(basis.T @ (basis.T @ gram).T)
    if reduced.size == 0:  # no distinct point carries a label of this irrep
        values, vectors = np.empty(0, gram.dtype), np.empty((0, 0), gram.dtype)
    else:
        values, vectors = map(np.asarray, (_lapack if eigh is None else eigh)(reduced))
    order = len(reduced)
    if values.shape != (order,) or vectors.shape != (order, order) or not np.isfinite(values).all():
        raise ValueError(
            f"eigh must return finite eigenvalues [{order}] and eigenvectors [{order}, {order}], found "
            f"shapes {values.shape} and {vectors.shape}, {np.sum(~np.isfinite(values))} values not finite"
        )
    own = float(np.abs(values).max(initial=0.0))
    bound = own if scale is None else max(own, float(scale))
    # One memory layout, so that eigenvectors read back from disk give the same bits in products.
    values, vectors = values.astype(gram.dtype, copy=False), np.ascontiguousarray(vectors, gram.dtype)
    return Spectrum(values, vectors, basis, bound, len(gram) if size is None else int(size))


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
        In the user's clock.
    """
    values = [s._ridged(ridge)[~s._unresolved(ridge)] for s in spectra]
    with np.errstate(over="ignore", under="ignore"):
        return np.sort(1 / np.concatenate([*values, np.empty(0)]) / rate)


def _check_gram(gram: np.ndarray) -> None:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.size == 0:
        raise ValueError(f"gram must be square [N, N], found shape {gram.shape}")
    if gram.dtype not in (np.float32, np.float64):
        raise ValueError(f"gram must be float32 or float64, found {gram.dtype}")
    if not np.isfinite([gram.min(), gram.max()]).all():  # NaN passes through both, and no copy is made
        bad = np.argwhere(~np.isfinite(gram))
        first = tuple(bad[0].tolist())
        raise ValueError(f"gram must be finite: found {len(bad)} NaN or inf entries, the first at {first}")


def _check_basis(basis: Any, rows: int) -> None:
    if basis.ndim != 2 or basis.shape[0] != rows or basis.shape[1] > rows:
        raise ValueError(f"basis must be [{rows}, r] with r <= {rows}, found shape {basis.shape}")
    products = basis.T @ basis
    if issparse(products):
        deviation = (products - identity(basis.shape[1])).tocoo().data
    else:
        deviation = products - np.eye(basis.shape[1])
    defect = float(np.abs(deviation).max(initial=0.0))
    if not defect <= 1e-5:
        raise ValueError(f"basis must have orthonormal columns, found products off by {defect:.2g}")


def _lapack(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Divide and conquer: a fifth faster than "evr" in float64 and twice as fast in float32 at order 2000. The
    # transpose of a symmetric matrix is itself, in the order that LAPACK overwrites without a copy.
    return scipy.linalg.eigh(matrix.T, driver="evd", overwrite_a=True, check_finite=False)
