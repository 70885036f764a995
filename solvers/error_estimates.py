"""How wrong phi_t(A) Y is in a Krylov space: an estimate for each time, from the space alone."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.linalg

from haarflow.solvers.divided_differences import Carrier, carriers
from haarflow.solvers.filters import Filter
from haarflow.solvers.krylov_space import KrylovSpace
from haarflow.solvers.resolution import resolved_phi, ridged, too_late

__all__ = ["WORST", "Estimate", "Ritz"]

_EPS = float(np.finfo(float).eps)

# Between the likely and the worst answer, as a power, and how far above the likely one at most: on 14 spectra, three
# numbers of outputs and all stages of growing this is the least that is not a tenth too low (docs/krylov.md).
WORST, _MOST = 0.6, 1000.0

# Blocks whose directions are known better than this add nothing to the estimate that other rounding does not.
_SHOWN = 1e-13


@dataclass(frozen=True, eq=False)
class Estimate:
    """Relative errors of the coefficients at each time, of each column to itself.

    Attributes
    ----------
    growing : array [T, k]
        What more dimensions take away.
    rounding : array [T, k]
        What they do not: the product's noise and the arithmetic's, as the solution amplifies them.
    """

    growing: np.ndarray
    rounding: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Their sum, of the worst column, [T]."""
        return (self.growing + self.rounding).max(axis=1, initial=0.0)

    def met(self, tolerance: float) -> np.ndarray:
        """Return [T]: whether growing is over, since the tolerance is met, or since rounding is what is left."""
        small = self.growing + self.rounding <= tolerance
        return np.all(small | (self.growing <= 0.3 * self.rounding), axis=1)


@dataclass(frozen=True, eq=False)
class Ritz:
    """The eigendecomposition of a space's projection, and what is known of its values.

    Attributes
    ----------
    space : KrylovSpace
        After at least one step.
    scale : float
        Upper bound of the largest eigenvalue of the whole augmented Gram matrix.
    size : int
        Order of it.
    eps : float
        Of the precision that the matrix was rounded to: noise that is symmetric, which no product shows.
    """

    space: KrylovSpace
    scale: float
    size: int
    values: np.ndarray = field(repr=False)
    vectors: np.ndarray = field(repr=False)
    eps: float = _EPS

    @classmethod
    def of(cls, space: KrylovSpace, scale: float | None, size: int | None, eps: float = _EPS) -> "Ritz":
        """Decompose the projection; 9 d^3 operations for dimension d."""
        # Divide and conquer loses what the graded projection knows of small values, a factor 10 at order 4000.
        values, vectors = scipy.linalg.eigh(space.projection(), driver="evr", overwrite_a=True, check_finite=False)
        own = float(np.abs(values).max())
        return cls(space, own if scale is None else max(own, scale), size or space.rows, values, vectors, eps)

    @cached_property
    def threshold(self) -> float:
        """Values up to it are unknown: rounding of the whole matrix, twice the product's noise, or the defect."""
        return max(self.size * _EPS * self.scale, self.eps * self.scale, 2 * self.space.noise, self._defect)

    @property
    def _defect(self) -> float:
        # As in Spectrum: a matrix that was rounded has eigenvalues as far below 0 as it has wrong ones above.
        lowest = -float(self.values.min())
        return 2 * lowest if lowest > self.size * _EPS * self.scale else 0.0

    @property
    def uncertainty(self) -> float:
        """How far an unresolved value is from the true one."""
        return max(self.eps * self.scale, 2 * self.space.noise, self._defect)

    def unresolved(self, ridge: float) -> np.ndarray:
        """Return [d]: whether a value, ridge included, is unknown."""
        return ridged(self.values, ridge) <= self.threshold

    def cut(self, filter: Filter, times: np.ndarray, rate: float, ridge: float) -> np.ndarray:
        """Count the modes left out at each time, [T]."""
        late = too_late(filter, times, rate, self.uncertainty) & (self.scale > 0)
        return np.where(late, self.unresolved(ridge).sum(), 0)

    def phi(self, filter: Filter, times: np.ndarray, rate: float, ridge: float) -> np.ndarray:
        """Return phi [T, d] with unresolved modes as in Spectrum."""
        values, unresolved = ridged(self.values, ridge), self.unresolved(ridge)
        return resolved_phi(filter, times, rate, values, unresolved, self.uncertainty)

    def coefficients(self, phi: np.ndarray) -> np.ndarray:
        """Return phi_t(A) Y in the space's basis, [d, T, k]."""
        turned = (phi.T[:, :, None] * self._labels[:, None, :]).reshape(len(self.values), phi.shape[0] * self._k)
        return (self.vectors @ turned).reshape(len(self.values), phi.shape[0], self._k)

    @cached_property
    def _labels(self) -> np.ndarray:
        first = self.space.coefficients
        return self.vectors[: len(first)].T @ first

    @property
    def _k(self) -> int:
        return self.space.coefficients.shape[1]

    def estimate(self, filter: Filter, times: np.ndarray, rate: float, ridge: float) -> Estimate:
        """Return the error of phi_t(A) Y at each time, of each column relative to itself.

        Notes
        -----
        The residual is V_{m+1} r(t), r = B E_m^T phi_t(T) E_1 R, and the error is phi's divided difference applied to
        it. Under gradient flow that is -phi phi within a factor of 2, so the error is about
        phi_t(A) V_{m+1} r(t); otherwise, as under momentum, where phi changes its sign, it is taken between the Ritz
        values, and carries the residual itself. Where V_{m+1} lies is not known. The likely answer: where the last
        blocks lie on the Ritz values. The worst: on the smallest known one, or wherever the filter carries most. The
        estimate is 3 likely^0.4 worst^0.6, and at most 6: by then nothing is known.
        Cost: d^2 (T + 2 k) operations for dimension d, 2 d b k T for each block of b with weak directions, and
        16 d^2 b k for each time at which the divided differences are needed, 2 d^3 once. Derivation: docs/krylov.md.
        """
        phi, unresolved = self.phi(filter, times, rate, ridge), self.unresolved(ridge)
        left_out = too_late(filter, times, rate, self.uncertainty)[:, None] & unresolved
        values = np.where(unresolved, 0.0, ridged(self.values, ridge))
        largest = np.abs(phi).max(axis=1, initial=0.0)
        unit = phi / np.where(largest > 0, largest, 1.0)[:, None]  # squares would overflow
        square, labels = _squares(unit), _squares(self._unit_labels)
        norm = np.sqrt(square @ labels)
        exact = norm == 0
        with np.errstate(all="ignore"):
            growing = largest[:, None] * self._galerkin(unit, square, unresolved)
            rounding = 2 * largest[:, None] * self._floor(square, labels, ridge)
            own = np.full(norm.shape, 10 * _EPS) * norm
            for time, carrier in carriers(filter, times, rate, values, phi, left_out):
                growing[time] = self._carried(carrier)
                rounding[time] = 2 * np.sqrt(carrier.squares(labels, self._crossings, self._noise))
                own[time] = 10 * _EPS * np.sqrt(_squares(carrier.usual) @ labels)
            growing = growing / norm
            growing = 3 * growing / (1 + growing / 2) + self._unknown(filter, times, rate, ridge, phi) / norm
            rounding = (rounding + own) / norm + self._drift
            rounding = rounding + self._basis_rounding(unit) / norm
        return Estimate(np.where(exact, 0.0, growing), np.where(exact, 0.0, rounding))

    @cached_property
    def _noise(self) -> float:
        # Entries of a computed matrix are a few roundings off, which no product shows.
        largest = float(np.abs(self.values).max()) or 1.0
        entries = largest * float(np.linalg.norm(self.values / largest)) / np.sqrt(self.space.rows)
        return max(self.space.noise, 4 * _EPS * entries)

    @cached_property
    def _drift(self) -> np.ndarray:
        """How far off labels come back from the Ritz vectors, which are orthonormal but for rounding, [k]."""
        again = self.vectors @ self._labels
        again[: len(self.space.coefficients)] -= self.space.coefficients
        return np.linalg.norm(again / self._label_norms, axis=0)

    @cached_property
    def _label_norms(self) -> np.ndarray:
        norms = np.linalg.norm(self._labels, axis=0)
        return np.where(norms > 0, norms, 1.0)

    @cached_property
    def _unit_labels(self) -> np.ndarray:
        return self._labels / self._label_norms

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.cumsum((0, *self.space.sizes))

    @cached_property
    def _through(self) -> np.ndarray:
        return self.space.coupling @ self.vectors[self._sizes[-2] :]  # [b, d]

    @cached_property
    def _spread(self) -> np.ndarray:
        """Where the last few blocks lie on the Ritz values: not the last one, between two clusters they alternate."""
        several = max(1, min(6, self.space.steps // 4))
        return np.stack(
            [
                np.mean(_squares(self.vectors[self._sizes[j - 1] : self._sizes[j]]), axis=0)
                for j in range(self.space.steps - several + 1, self.space.steps + 1)
            ]
        )

    def _galerkin(self, unit: np.ndarray, square: np.ndarray, unresolved: np.ndarray) -> np.ndarray:
        size = float(np.abs(self._through).max(initial=0.0)) or 1.0  # squares would underflow
        through = self._through / size
        residual = size * np.array([np.linalg.norm((through * row) @ self._unit_labels, axis=0) for row in unit])
        spread = self._spread.copy()
        known = self.values[~unresolved].min(initial=np.inf)
        if unresolved.any() and np.isfinite(known):
            # The next block is orthogonal to a null vector that the space holds, as far as it holds it.
            outside = np.sum(_squares(self._through[:, unresolved] / known), axis=0)
            spread[:, unresolved] = np.minimum(spread[:, unresolved], outside)
        likely = np.sqrt(np.max(square @ spread.T, axis=1, initial=0.0))
        worst = np.maximum(np.abs(unit[:, ~unresolved]).max(axis=1, initial=0.0), likely)
        return residual * _between(likely, worst)[:, None]

    def _carried(self, carrier: Carrier) -> np.ndarray:
        """Return [k]: the residual through the divided differences themselves."""
        through, outputs = _sketched(self._through), self._unit_labels.shape[1]
        moments = (through.T[:, :, None] * self._unit_labels[:, None, :]).reshape(len(self.values), -1)
        beside, worst = carrier.carry(moments, outputs)
        likely = np.sqrt((self._spread @ beside).max(axis=0, initial=0.0))
        return _between(likely, np.maximum(np.sqrt(worst), likely))

    def _floor(self, square: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
        """Random noise of size |E v| in each entry of the projection, carried to first order through the filter."""
        weights, known = _squares(self.vectors), ~self.unresolved(ridge)
        reached = weights @ square.T  # [d, T]
        sound = weights[:, known] @ square[:, known].T
        # Between two unresolved modes there is none: the rule sets their values to the same.
        all_by_known, known_by_unknown = weights.T @ sound, weights.T @ np.maximum(reached - sound, 0.0)
        met = all_by_known + known_by_unknown * known[:, None]
        return self._noise * np.sqrt((met.T * square) @ labels)

    @cached_property
    def _crossings(self) -> np.ndarray:
        """How noise that is independent in the entries of the projection, near its diagonal, meets two Ritz vectors."""
        weights = _squares(self.vectors)
        return weights.T @ weights

    @cached_property
    def _weak(self) -> list[tuple[slice, np.ndarray]]:
        """Blocks with directions that are small in the image they were made from, and the rounding of these."""
        found = []
        for stop, after, column in zip(self._sizes[1:-1], self._sizes[2:], self.space.columns[:-1], strict=True):
            # V_{j+1} is what is left of A V_j, times the inverse of its size.
            rounding = _EPS * np.linalg.norm(column, 2) * np.linalg.pinv(column[stop:])
            if np.linalg.norm(rounding, 2) > _SHOWN:
                found.append((slice(int(stop), int(after)), rounding))
        return found

    def _basis_rounding(self, unit: np.ndarray) -> np.ndarray:
        """What the rounding of weak directions of the basis is in each column of the solution, [T, k]."""
        total = np.zeros((len(unit), self._k))
        for block, rounding in self._weak:
            carried = rounding @ self.vectors[block]  # [b, d]
            total += [np.sum(_squares((carried * row) @ self._unit_labels), axis=0) for row in unit]
        return np.sqrt(total)

    def _unknown(self, filter: Filter, times: np.ndarray, rate: float, ridge: float, phi: np.ndarray) -> np.ndarray:
        """What following unresolved modes as if their values were 0 changes, where they are more than rounding."""
        unresolved = self.unresolved(ridge)
        if not unresolved.any():
            return np.zeros((len(phi), self._k))
        values = np.maximum(np.abs(ridged(self.values, ridge)[unresolved]) - 4 * self._noise, 0.0)
        followed = phi[:, unresolved]
        changed = np.where(followed == 0, 0.0, filter(values, times, rate))
        largest = np.abs(phi).max(axis=1, initial=0.0)
        changes = (changed - followed) / np.where(largest > 0, largest, 1.0)[:, None]
        return np.sqrt(_squares(changes) @ _squares(self._unit_labels[unresolved]))


def _between(likely: np.ndarray, worst: np.ndarray) -> np.ndarray:
    return np.minimum(likely ** (1 - WORST) * worst**WORST, _MOST * likely)


def _sketched(through: np.ndarray, most: int = 8, seed: int = 0) -> np.ndarray:
    """Return few combinations of rows whose size is that of all but for a third: sizes are all that is asked for."""
    if len(through) <= most:
        return through
    mixed = np.random.default_rng(seed).standard_normal((most, len(through))) / np.sqrt(most)
    return np.asarray(mixed @ through)


def _squares(values: np.ndarray) -> np.ndarray:
    """Square, and 0 for what is too small to count: products of such numbers would be subnormal, and slow."""
    return np.where(np.abs(values) > 1e-50, values, 0.0) ** 2
