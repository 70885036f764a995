"""The spectrum of a Gram block: it serves every training time, exactly, on singular matrices too."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from haarflow.solvers.filters import Filter, GradientFlow, check_times
from haarflow.solvers.resolution import disbelieved, resolved_phi, ridged, too_late
from haarflow.solvers.units import column_units, range_exponents

__all__ = ["Spectrum"]

# Right-hand sides multiplied at once: enough to keep matrix products fast, few enough to bound memory.
_COLUMNS = 1024

_FLOW = GradientFlow()

# Labels, and values of a filter, of magnitudes 2^-30 .. 2^30 need no scaling: products stay in float32's range.
_SAFE = 30


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
    noise : float
        What the block's entries are wrong by, in its norm, beyond `size` roundings of the scale.
    doubt : array [r] or None
        How far each eigenvalue is from what another quadrature of the same average makes it.

    Notes
    -----
    A mode whose eigenvalue (ridge included) is at most `threshold` is unresolved: the value is rounding. It
    follows the filter's limit at lambda = 0 while max(eps * scale, noise) * (that limit) <= 1e-6, and is left
    out after. The scale is the whole matrix's because a block may be zero up to the rounding of the others.
    A mode whose eigenvalue is at most twice its doubt is unresolved too: it is believed while doubt * (that limit)
    <= 1e-2, and left out after.
    """

    eigenvalues: np.ndarray = field(repr=False)
    eigenvectors: np.ndarray = field(repr=False)
    basis: csr_matrix | np.ndarray | None
    scale: float
    size: int
    noise: float = 0.0
    doubt: np.ndarray | None = field(default=None, repr=False)

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
        """Eigenvalues up to it are unknown: size * eps * scale, eps of the block's dtype, and noise; or the defect."""
        return max(self._rounding, self.defect)

    @cached_property
    def defect(self) -> float:
        """Twice the lowest eigenvalue's distance below 0, where that is more than rounding; else 0.

        Averages over a compact group with too few nodes leave a block indefinite; what is as small is unknown.
        """
        lowest = -float(self._values.min(initial=0.0))
        return 2 * lowest if lowest > self._rounding else 0.0

    @property
    def unresolved(self) -> int:
        """Number of modes whose eigenvalue, without ridge, lies below the threshold."""
        return int((self._unresolved(0.0) | self._doubtful).sum())

    def resolved(self, ridge: float) -> np.ndarray:
        """Return the eigenvalues above the threshold, ridge included."""
        return self._ridged(ridge)[~(self._unresolved(ridge) | self._doubtful)]

    def beside(self, other: "Spectrum") -> "tuple[Spectrum, Spectrum]":
        """Return this spectrum and another quadrature's, each with its eigenvalues held against the other's block.

        Parameters
        ----------
        other : Spectrum
            Of the same block and basis, averaged with other nodes.

        Returns
        -------
        tuple of Spectrum

        Raises
        ------
        ValueError
            For a block of another order.

        Notes
        -----
        |lambda_k - v_k^T B v_k|, to first order what the nodes change: a norm of the difference would doubt small
        modes that are known well. Cost: 4 r^3 operations and a matrix of order r.
        """
        if self.eigenvectors.shape != other.eigenvectors.shape:
            shapes = other.eigenvectors.shape, self.eigenvectors.shape
            raise ValueError(
                f"other must be a spectrum of the same block, found order {shapes[0][0]} for {shapes[1][0]}"
            )
        shares = (other.eigenvectors.T @ self.eigenvectors).astype(float) ** 2
        found = np.abs(self._values - other._values @ shares), np.abs(other._values - shares @ self._values)
        return replace(self, doubt=found[0]), replace(other, doubt=found[1])

    @property
    def _rounding(self) -> float:
        return self.size * self._eps * self.scale + self.noise

    @property
    def _eps(self) -> float:
        return float(np.finfo(self.dtype).eps)

    @cached_property
    def _values(self) -> np.ndarray:
        return self.eigenvalues.astype(float)

    def _ridged(self, ridge: float) -> np.ndarray:
        return ridged(self._values, ridge)

    def _unresolved(self, ridge: float) -> np.ndarray:
        return self._ridged(ridge) <= self.threshold

    @property
    def _doubtful(self) -> np.ndarray:
        return np.zeros(len(self._values), bool) if self.doubt is None else self._values <= 2 * self.doubt

    @property
    def _uncertainty(self) -> float:
        return max(self._eps * self.scale, self.noise, self.defect)

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
        return self._left_out(filter, check_times(times), rate, ridge).sum(axis=1)

    def left_out(self, labels: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """Return what of the labels lies in unresolved modes: array [N, k] float64.

        Parameters
        ----------
        labels : array [N, k]
            Right-hand sides.
        ridge : float
            Added to every eigenvalue.

        Notes
        -----
        Cost: 4 r k operations for each of these modes.
        """
        units = column_units(np.asarray(labels, float))
        targets, unknown = self._targets(labels / units), self._unresolved(ridge) | self._doubtful
        found = self.eigenvectors[:, unknown] @ targets[unknown]
        return self._lift(found[None])[0] * units

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
        phi = resolved_phi(filter, times, rate, self._ridged(ridge), unresolved, self._uncertainty)
        return phi if self.doubt is None else np.where(self._left_out(filter, times, rate, ridge), 0.0, phi)

    def _left_out(self, filter: Filter, times: np.ndarray, rate: float, ridge: float) -> np.ndarray:
        """Return [T, r]: which modes are left out at a time."""
        out = too_late(filter, times, rate, self._uncertainty)[:, None] & self._unresolved(ridge)
        return out if self.doubt is None else out | (disbelieved(filter, times, rate, self.doubt) & self._doubtful)

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
        Cost: r^2 k once and r^2 k for each time, N k T numbers. Source: docs/theory.md, the orbit reduction.
        """
        phi, targets, scales = self._scaled(self.phi(filter, times, rate, ridge), labels)
        return _rescaled(self._lift(self._filtered(self.eigenvectors, phi, targets)), scales)

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
        phi, targets, scales = self._scaled(self.phi(filter, times, rate, ridge), labels)
        rows = self._distinct(rows, learnt=True)
        if len(rows) < len(phi) * targets.shape[1]:
            return _rescaled(self._filtered(rows @ self.eigenvectors, phi, targets), scales)
        alpha = self._filtered(self.eigenvectors, phi, targets)
        stacked = rows @ alpha.transpose(1, 0, 2).reshape(len(self.eigenvalues), len(phi) * alpha.shape[2])
        found = np.ascontiguousarray(stacked.reshape(len(rows), len(phi), alpha.shape[2]).transpose(1, 0, 2))
        return _rescaled(found, scales)

    def project(self, rows: np.ndarray, learnt: bool = False) -> np.ndarray:
        """Return kernel rows in the eigenbasis.

        Parameters
        ----------
        rows : array [..., N]
            Kernel between test points and the block.
        learnt : bool
            Whether they are of the kernel that this is the spectrum of.

        Returns
        -------
        array [..., r]
            In the block's dtype.

        Raises
        ------
        ValueError
            For rows that do not fit the block.

        Notes
        -----
        Cost: 2 r^2 operations for each row.
        """
        rows = np.asarray(rows)
        if rows.ndim < 1 or rows.shape[-1] != self.rows:
            raise ValueError(f"rows must be [..., {self.rows}] to fit the block, found shape {rows.shape}")
        flat = self._distinct(rows.reshape(-1, self.rows), learnt)
        return (flat @ self.eigenvectors).reshape(*rows.shape[:-1], len(self.eigenvalues))

    def _distinct(self, rows: np.ndarray, learnt: bool) -> np.ndarray:
        """Return rows [m, N] in coordinates of the basis."""
        # A kernel that vanishes on the training set vanishes between it and any test point (Cauchy-Schwarz).
        vanishes = learnt and self.scale == 0
        rows = np.zeros(rows.shape, self.dtype) if vanishes else rows.astype(self.dtype, copy=False)
        return rows if self.basis is None else np.asarray(rows @ self.basis.astype(self.dtype, copy=False))

    def _scaled(self, phi: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return phi [T, r] and the labels in the eigenbasis [r, k], and exponents of two [T, k] taken out of both.

        Large labels times a large phi, or small ones times a small one, may be out of range where predictions are not.
        """
        labels = np.asarray(labels)
        if labels.ndim != 2 or len(labels) != self.rows:
            raise ValueError(f"labels must be [{self.rows}, k] to fit the block, found shape {labels.shape}")
        by_column = range_exponents(np.abs(labels).max(axis=0, initial=0.0), _SAFE)
        by_time = range_exponents(np.abs(phi).max(axis=1, initial=0.0), _SAFE)
        if not (by_column.any() or by_time.any()):
            return phi, self._targets(labels), None
        phi, labels = np.ldexp(phi, -by_time[:, None]), np.ldexp(labels.astype(float), -by_column)
        return phi, self._targets(labels), by_time[:, None] + by_column

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        """Return the labels in the eigenbasis, [r, k]."""
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
            # Times last: the inner loop of both products is then long.
            some = np.ascontiguousarray(phi[start : start + step].T, self.dtype)
            weights = (targets[:, :, None] * some[:, None, :]).reshape(len(targets), k * some.shape[1])
            product = (left @ weights).reshape(len(left), k, some.shape[1])
            out[start : start + step] = product.transpose(2, 0, 1)
        return out


def _rescaled(found: np.ndarray, exponents: np.ndarray | None) -> np.ndarray:
    """Return numbers [T, m, k] times powers of two [T, k]."""
    return found if exponents is None else np.ldexp(found, exponents[:, None, :])
