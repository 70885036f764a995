"""The ensemble on the listed augmented set, in extended precision, and what rounding may change in float64.

Coinciding points become one, with weight and mean label. An eigenvalue is *resolved* where float64 (or float32) tells
it from 0 for certain, *null* where it is 0 to extended precision, and *hidden* between the two.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from fuzz.extended import EPS, LONG, eigh, phi
from fuzz.problems import Problem

__all__ = ["Listing"]

# An eigenvalue of the library's resolution, eps times the largest row sum for each sample, may be taken for either;
# how many roundings a kernel may be off besides.
_UNSURE, _ROUNDINGS = 8, 32


@dataclass(frozen=True, eq=False)
class Listing:
    """The right answers to a problem, and bounds."""

    problem: Problem

    @cached_property
    def eps(self):
        """Of the precision that the library was asked to compute in."""
        return float(np.finfo(self.problem.kernel.dtype).eps)

    @cached_property
    def _merged(self):
        points = self.problem.points
        size = float(np.linalg.norm(points, axis=1).max()) or 1.0
        near = np.linalg.norm(points[:, None] - points[None], axis=2) < 1e-12 * size
        _, first, inverse, counts = np.unique(
            near.argmax(axis=1), return_index=True, return_inverse=True, return_counts=True
        )
        labels = np.zeros((len(first), self.problem.y.shape[1]), LONG)
        np.add.at(labels, inverse, self.problem.labels.astype(LONG) / counts[inverse][:, None])
        return points[first].astype(LONG), np.sqrt(counts.astype(LONG)), labels, counts[inverse]

    @cached_property
    def inside(self):
        """Both kernels between the distinct points, weighted."""
        points, root, *_ = self._merged
        pair = self.problem.kernel.exactly(points, points)
        return [(part + part.T) / 2 * np.outer(root, root) for part in pair]

    @cached_property
    def invariant(self):
        """Whether the orbit reduction applies: neither kernel sees which element moved both of two points."""
        x = np.random.default_rng(self.problem.seed).standard_normal((2, 3, self.problem.points.shape[1]))
        before = self.problem.kernel.exactly(*x)
        for matrix in self.problem.acting.matrices:
            after = self.problem.kernel.exactly(*x @ matrix.T)
            if any(np.abs(a - b).max() > 1e-9 * np.abs(b).max() for a, b in zip(after, before, strict=True)):
                return False
        return True

    @cached_property
    def labels(self):
        """Those of the distinct points, weighted, [N, k]."""
        _, root, labels, _ = self._merged
        return labels * root[:, None]

    @cached_property
    def ridge(self):
        """In units of the list's mean Theta(x, x)."""
        return self.problem.ridge * np.trace(self.inside[1]) / self.problem.order

    @cached_property
    def scale(self):
        """The largest absolute row sum of the whole list: what the library bounds the largest eigenvalue by."""
        _, root, *_ = self._merged
        return float((np.abs(self.inside[1]) * root / root[:, None]).sum(axis=1).max())

    @cached_property
    def spectrum(self):
        """Eigenvalues without ridge, 0 where they are rounding of extended precision, and eigenvectors."""
        values, vectors = eigh(self.inside[1])
        return np.where(values > self._rounding, values, 0), vectors

    @property
    def _rounding(self):
        return 100 * len(self.labels) * EPS * self.scale

    @cached_property
    def values(self):
        """Eigenvalues with ridge, 0 for null modes only."""
        values, rows = self.spectrum[0], np.abs(self.turned)
        seen = (rows > 1e-16 * np.linalg.norm(rows, axis=1, keepdims=True)).any(axis=0)
        # A row sees the square root of an eigenvalue at most.
        return np.where((values == 0) & seen, 1e-3 * self._rounding, values) + self.ridge

    @cached_property
    def _threshold(self):
        return (self.problem.order + _ROUNDINGS) * self.eps * self.scale

    @cached_property
    def unsure(self):
        """Which modes are not resolved for certain."""
        return self.values <= _UNSURE * self._threshold

    @cached_property
    def hidden(self):
        """Which of them are no null modes either."""
        return self.unsure & (self.values > 0)

    @cached_property
    def phi(self):
        """phi_t of every mode [T, N], 0 on null modes, along which nothing that a row sees is moved."""
        found = phi(self.problem.flow, self.values, self.problem.times, self.problem.rate)
        return np.where(self.values > 0, found, 0)

    @cached_property
    def travelled(self):
        """phi_t(0) [T]: how far modes without eigenvalue go."""
        return phi(self.problem.flow, np.zeros(1), self.problem.times, self.problem.rate)[:, 0].astype(float)

    @cached_property
    def reach(self):
        """[T]: what the last bit of the largest eigenvalue makes of a mode without one, in units of the mode."""
        # Where the kernel vanishes nothing moves.
        return self.eps * self.scale * self.travelled if self.scale else np.full(len(self.travelled), np.inf)

    def _blurred(self, t):
        """What the library may make of the modes at a time, and divided differences of that: [N], [N, N]."""
        values, times, rate = self.values, self.problem.times[t : t + 1], self.problem.rate
        step = 1e-9 * values + 1e-3 * self.eps * (self.scale or 1.0)
        choices = [values]
        if self.unsure.any():
            choices.append(np.where(self.unsure, 0, values))
        largest, steep = np.zeros(len(values)), np.zeros((len(values),) * 2)
        for chosen in choices:
            there, further = (phi(self.problem.flow, v, times, rate)[0] for v in (chosen, chosen + step))
            # What is cut has phi = 0; where it is not known whether it is, the larger counts.
            cut = (chosen == 0) & (self.reach[t] > 2e-6)
            there, further = np.where(cut, 0, there), np.where(cut, 0, further)
            slope = np.abs(further - there) / step
            gap = np.abs(chosen[:, None] - chosen)
            near = gap <= 1e-6 * np.maximum(chosen[:, None], chosen)
            quotient = np.abs(there[:, None] - there) / np.where(near, 1, gap)
            quotient = np.where(near, np.maximum(slope[:, None], slope), quotient)
            largest, steep = np.maximum(largest, np.abs(there)), np.maximum(steep, quotient)
        return largest.astype(float), steep.astype(float)

    # --- at test points ----------------------------------------------------------------------------------------

    @cached_property
    def rows(self):
        """Both kernels between test points and distinct points, weighted, [m, N]."""
        points, root, *_ = self._merged
        x = self.problem.x_test.reshape(len(self.problem.x_test), -1).astype(LONG)
        return [part * root for part in self.problem.kernel.exactly(x, points)]

    @cached_property
    def prior(self):
        """Both kernels between test points."""
        x = self.problem.x_test.reshape(len(self.problem.x_test), -1).astype(LONG)
        return self.problem.kernel.exactly(x, x)

    @cached_property
    def turned(self):
        """Rows of Theta in the eigenbasis."""
        return self.rows[1] @ self.spectrum[1]

    @cached_property
    def coefficients(self):
        """phi_t(Theta) Y [T, N, k]."""
        vectors = self.spectrum[1]
        return np.einsum("in,tnk->tik", vectors, self.phi[:, :, None] * (vectors.T @ self.labels))

    @cached_property
    def mean(self):
        """[T, m, k]."""
        return self.rows[1] @ self.coefficients

    @cached_property
    def operators(self):
        """B_t(x) [T, m, N]: what the flow makes of labels and of f_0 at the distinct points."""
        return (self.turned[None] * self.phi[:, None, :]) @ self.spectrum[1].T

    @cached_property
    def _left(self):
        """B_t(x) K(X, X) - K(x, X), [T, m, N]."""
        return self.operators @ self.inside[0] - self.rows[0]

    @cached_property
    def covariance(self):
        """[T, m, m]."""
        B, back = self.operators, self.operators.transpose(0, 2, 1)
        return self.prior.nngp + self._left @ back - B @ self.rows[0].T

    # --- rounding ----------------------------------------------------------------------------------------------

    @cached_property
    def _noise(self):
        """How far kernel rows are from exact, in eps: sizes by Cauchy-Schwarz, [m, N] for both kernels."""
        return [
            np.sqrt(np.abs(np.outer(np.diagonal(own), np.diagonal(inside)))).astype(float)
            for own, inside in zip(self.prior, self.inside, strict=True)
        ]

    @cached_property
    def _moved(self):
        """First-order changes, in eps, of the mean [T, m, k] and of B_t(x) as a vector [T, m], and by hidden modes.

        A change E of Theta moves phi_t(Theta) by divided differences times E in the eigenbasis; the size of E is
        eps |Theta|, in all directions alike. A change of the rows moves what they see of the coefficients, and a
        rounded product moves labels and rows.
        """
        theta, y = self.turned.astype(float), np.abs(self.spectrum[1].T @ self.labels).astype(float)
        # Labels that cancel on coinciding points leave their rounding.
        norms = np.linalg.norm(self.problem.labels, axis=0)
        if self.problem.output is not None:  # which mixes columns
            y, norms = (np.sqrt(np.sum(each**2, axis=-1, keepdims=True)) for each in (y, norms))
        size = float(np.abs(self.spectrum[0]).max(initial=0)) + float(self.ridge)
        noise = self._noise[1]
        vectors = self.spectrum[1].astype(float)
        out = []
        for t in range(len(self.problem.times)):
            largest, steep = self._blurred(t)
            alpha = np.abs(vectors) @ (largest[:, None] * y)
            blur = np.sqrt(theta**2 @ steep**2)
            mean = size * np.sqrt(theta**2 @ steep**2 @ y**2) + np.sqrt(noise**2 @ alpha**2)
            mean += np.linalg.norm(theta * largest, axis=1)[:, None] * norms
            operator = size * np.linalg.norm(blur, axis=1) + np.linalg.norm(noise, axis=1) * largest.max(initial=0)
            # Modes that may be taken for either: followed, or left out.
            spread = np.where(self.hidden, largest + np.abs(self.phi[t].astype(float)), 0)
            lost = np.linalg.norm(theta * np.sqrt(spread), axis=1)[:, None] * np.linalg.norm(
                np.sqrt(spread)[:, None] * y, axis=0
            )
            out.append((mean, operator, lost, np.linalg.norm(theta * spread, axis=1)))
        return [np.stack(part) for part in zip(*out, strict=True)]

    @property
    def mean_noise(self):
        """What rounding may change in the mean, in eps, [T, m, k]."""
        return self._moved[0]

    @property
    def mean_lost(self):
        """What hidden modes add to the mean, or less, [T, m, k]."""
        return self._moved[2]

    def _through(self, operator):
        """A change of B_t(x) of that size, [T, m], as one of the covariance [T, m, m]."""
        left = np.linalg.norm(self._left.astype(float), axis=2)
        return operator[:, :, None] * left[:, None] + left[:, :, None] * operator[:, None]

    @cached_property
    def covariance_noise(self):
        """What rounding may change in the covariance, in eps, [T, m, m]."""
        own = np.sqrt(np.abs(np.diagonal(self.prior.nngp).astype(float)))
        B = np.linalg.norm(self.operators.astype(float), axis=2)
        inside = float(np.linalg.norm(self.inside[0].astype(float), 2))
        spread = own + B * np.sqrt(inside)
        return self._through(self._moved[1]) + spread[:, :, None] * spread[:, None]

    @cached_property
    def covariance_lost(self):
        """What hidden modes add to the covariance, or less, [T, m, m]."""
        inside = float(np.linalg.norm(self.inside[0].astype(float), 2))
        lost = self._moved[3]
        return self._through(lost) + inside * lost[:, :, None] * lost[:, None]
